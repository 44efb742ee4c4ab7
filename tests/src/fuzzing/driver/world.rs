//! Tasks on one thread, in virtual time.

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::task::Wake;
use core::cell::{Cell, RefCell};
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use aiomsg_driver::{Clock, Timer};
use aiomsg_proto::Instant;

/// Longer than anything takes that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// More polls than this without time passing are a loop.
const TOO_MANY: u64 = 100_000;

type Task = (Pin<Box<dyn Future<Output = ()>>>, Arc<Flag>);

/// Set when a task is to be polled.
#[derive(Debug)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A clock that stands still until it is moved.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing(Arc<AtomicU64>);

impl Clock for Standing {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

type Sleepers = Rc<RefCell<BTreeMap<u64, (Instant, Waker)>>>;

/// A timer that goes by a clock that stands.
#[derive(Debug)]
pub(super) struct Alarm {
    number: u64,
    clock: Standing,
    sleepers: Sleepers,
}

impl Timer for Alarm {
    fn poll_until(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        if self.clock.now() >= at {
            return Poll::Ready(());
        }
        self.sleepers.borrow_mut().insert(self.number, (at, cx.waker().clone()));
        Poll::Pending
    }
}

/// Tasks and time.
#[derive(Default)]
pub(super) struct World {
    clock: Standing,
    sleepers: Sleepers,
    timers: Cell<u64>,
    tasks: RefCell<Vec<Task>>,
    polls: Cell<u64>,
}

impl World {
    pub(super) fn clock(&self) -> Standing {
        self.clock.clone()
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(super) fn timer(&self) -> Alarm {
        self.timers.set(self.timers.get() + 1);
        Alarm { number: self.timers.get(), clock: self.clock(), sleepers: self.sleepers.clone() }
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        self.tasks.borrow_mut().push((Box::pin(task), flag));
    }

    pub(super) fn spawn_some(&self, task: Option<impl Future<Output = ()> + 'static>) {
        if let Some(task) = task {
            self.spawn(task);
        }
    }

    /// How often tasks were polled.
    pub(super) fn polls(&self) -> u64 {
        self.polls.get()
    }

    /// Polls tasks until none is woken.
    pub(super) fn run(&self) {
        let limit = self.polls() + TOO_MANY;
        let mut tasks = self.tasks.borrow_mut();
        while tasks.iter().any(|(_, flag)| flag.0.load(Ordering::Relaxed)) {
            tasks.retain_mut(|(task, flag)| {
                if !flag.0.swap(false, Ordering::Relaxed) {
                    return true;
                }
                self.polls.set(self.polls() + 1);
                let waker = Waker::from(flag.clone());
                task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending()
            });
            assert!(self.polls() < limit, "something goes round in circles");
        }
    }

    /// Lets time pass.
    pub(super) fn pass(&self, span: Duration) {
        let end = self.now() + span;
        self.run();
        while let Some(at) = self.next().filter(|at| *at <= end) {
            self.go_to(at);
        }
        self.go_to(end);
    }

    fn next(&self) -> Option<Instant> {
        self.sleepers.borrow().values().map(|(at, _)| *at).min()
    }

    fn go_to(&self, at: Instant) {
        self.clock.0.fetch_max(at.as_nanos(), Ordering::Relaxed);
        let mut due = Vec::new();
        self.sleepers.borrow_mut().retain(|_, (until, waker)| {
            let late = *until <= at;
            if late {
                due.push(waker.clone());
            }
            !late
        });
        due.into_iter().for_each(Waker::wake);
        self.run();
    }

    /// Polls a future once.
    pub(super) fn poll_once<F: Future>(&self, future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Runs a future to its end.
    pub(super) fn finish<F: Future>(&self, mut future: Pin<&mut F>) -> F::Output {
        let end = self.now() + PATIENCE;
        loop {
            if let Poll::Ready(output) = self.poll_once(future.as_mut()) {
                return output;
            }
            self.run();
            if let Poll::Ready(output) = self.poll_once(future.as_mut()) {
                return output;
            }
            let next = self.next().expect("something is due, or it would wait for ever");
            assert!(next <= end, "it takes too long");
            self.go_to(next);
        }
    }
}
