//! Time that passes when a test says so.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aiomsg_driver::{Clock, Timer};
use aiomsg_proto::Instant;

/// A clock that stands still until it is moved.
#[derive(Clone, Debug, Default)]
pub(crate) struct TestClock(Arc<AtomicU64>);

impl Clock for TestClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// Tasks that sleep, by when they are woken.
type Sleepers = Rc<RefCell<BTreeMap<(Instant, u64), Waker>>>;

/// The clock and who waits for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Time {
    pub(crate) clock: TestClock,
    sleepers: Sleepers,
    timers: Rc<RefCell<u64>>,
}

/// How true a timer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timing {
    Exact,
    /// Each deadline is announced this much early once, then on time.
    Early(Duration),
    /// Ready whenever it is asked.
    Broken,
}

/// A timer on the clock of a test.
#[derive(Debug)]
pub(crate) struct TestTimer {
    time: Time,
    id: u64,
    timing: Timing,
    armed: Option<Instant>,
    announced: Option<Instant>,
    /// How often it was asked.
    pub(crate) asked: Rc<RefCell<u64>>,
}

impl Time {
    pub(crate) fn timer(&self, timing: Timing) -> TestTimer {
        *self.timers.borrow_mut() += 1;
        let id = *self.timers.borrow();
        TestTimer { time: self.clone(), id, timing, armed: None, announced: None, asked: Rc::default() }
    }

    /// When the next sleeper wakes up.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.sleepers.borrow().keys().next().map(|(at, _)| *at)
    }

    /// Moves the clock to `at`, if that is later, and wakes those who slept until then.
    pub(crate) fn advance_to(&self, at: Instant) {
        self.clock.0.fetch_max(at.as_nanos(), Ordering::Relaxed);
        loop {
            let mut sleepers = self.sleepers.borrow_mut();
            match sleepers.first_entry() {
                Some(first) if first.key().0 <= self.clock.now() => {
                    let waker = first.remove();
                    drop(sleepers);
                    waker.wake();
                }
                _ => return,
            }
        }
    }
}

impl TestTimer {
    fn disarm(&mut self) {
        if let Some(at) = self.armed.take() {
            self.time.sleepers.borrow_mut().remove(&(at, self.id));
        }
    }
}

impl Timer for TestTimer {
    fn poll_until(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        *self.asked.borrow_mut() += 1;
        assert!(*self.asked.borrow() < 1_000_000, "the timer is asked in a loop");
        self.disarm();
        let wake_at = match self.timing {
            Timing::Early(early) if self.announced != Some(at) => {
                Instant::from_nanos(at.saturating_duration_since(Instant::EPOCH + early).as_nanos() as u64)
            }
            Timing::Exact | Timing::Early(_) => at,
            Timing::Broken => return Poll::Ready(()),
        };
        if wake_at <= self.time.clock.now() {
            self.announced = Some(at);
            return Poll::Ready(());
        }
        self.armed = Some(wake_at);
        self.time.sleepers.borrow_mut().insert((wake_at, self.id), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for TestTimer {
    fn drop(&mut self) {
        self.disarm();
    }
}
