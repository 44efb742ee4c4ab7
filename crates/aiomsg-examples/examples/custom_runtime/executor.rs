//! An executor and a reactor of one thread.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::mem;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use aiomsg_driver::{Clock, MonotonicClock};
use aiomsg_proto::Instant;
use mio::{Events, Registry, Token};

/// A runtime of one thread. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Mini {
    pub(crate) clock: MonotonicClock,
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) registry: Registry,
    /// Ends the waiting for the system, from any thread.
    nudge: mio::Waker,
    /// Tasks that are to run.
    queue: Mutex<VecDeque<Arc<Task>>>,
    pub(crate) waiting: Mutex<Waiting>,
    pub(crate) names: AtomicUsize,
}

/// Who waits for what.
#[derive(Default)]
pub(crate) struct Waiting {
    /// To read, and to write.
    pub(crate) io: HashMap<Token, [Option<Waker>; 2]>,
    pub(crate) time: BTreeMap<(Instant, usize), Waker>,
}

/// A task, and its own waker: to wake it is to put it into the queue.
pub(crate) struct Task {
    pub(crate) work: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    pub(crate) queued: AtomicBool,
    pub(crate) shared: Arc<Shared>,
}

impl Mini {
    pub(crate) fn start() -> io::Result<(Self, mio::Poll)> {
        let poll = mio::Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let nudge = mio::Waker::new(&registry, Token(0))?;
        let (queue, waiting, names) = (Mutex::default(), Mutex::default(), AtomicUsize::new(1));
        let shared = Arc::new(Shared { registry, nudge, queue, waiting, names });
        Ok((Self { clock: MonotonicClock::start(), shared }, poll))
    }

    /// Runs `main`, and all tasks meanwhile.
    pub(crate) fn block_on<T>(&self, mut poll: mio::Poll, main: impl Future<Output = T>) -> io::Result<T> {
        let mut main = pin!(main);
        let waker = Waker::from(self.shared.clone());
        let mut events = Events::with_capacity(256);
        loop {
            if let Poll::Ready(result) = main.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Ok(result);
            }
            // Those that are woken by these have their turn when the system was asked.
            let tasks = mem::take(&mut *lock(&self.shared.queue));
            tasks.into_iter().for_each(Task::run);
            let next = lock(&self.shared.waiting).time.first_key_value().map(|((at, _), _)| *at);
            match poll.poll(&mut events, next.map(|at| at.saturating_duration_since(self.now()))) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.wake(&events);
        }
    }

    fn wake(&self, events: &Events) {
        let mut woken = Vec::new();
        let mut waiting = lock(&self.shared.waiting);
        for event in events {
            let Some([reader, writer]) = waiting.io.get_mut(&event.token()) else { continue };
            woken.extend(
                reader.take_if(|_| event.is_readable() || event.is_read_closed() || event.is_error()),
            );
            woken.extend(
                writer.take_if(|_| event.is_writable() || event.is_write_closed() || event.is_error()),
            );
        }
        while let Some(first) = waiting.time.first_entry().filter(|first| first.key().0 <= self.now()) {
            woken.push(first.remove());
        }
        drop(waiting);
        woken.into_iter().for_each(Waker::wake);
    }
}

impl Task {
    fn run(self: Arc<Self>) {
        self.queued.store(false, Ordering::Release);
        let waker = Waker::from(self.clone());
        let mut work = lock(&self.work);
        if work.as_mut().is_some_and(|work| work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()) {
            *work = None;
        }
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            let shared = self.shared.clone();
            lock(&shared.queue).push_back(self);
            shared.wake();
        }
    }
}

/// Wakes what `block_on` was given.
impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        let _ = self.nudge.wake();
    }
}

impl fmt::Debug for Mini {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mini").field("clock", &self.clock).finish_non_exhaustive()
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
