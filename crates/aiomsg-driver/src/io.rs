//! What a runtime has to bring: a byte stream, a timer and a clock.

use core::fmt::Debug;
use core::task::{Context, Poll};
use std::io::{self, IoSlice};

use aiomsg_proto::Instant;
use bytes::BytesMut;

/// A byte stream to a peer, both directions independent of each other.
///
/// At most one task polls a link. Each `poll_*` that returns [`Poll::Pending`] wakes that task when it is worth trying
/// again, separately for reading and for writing.
pub trait Link {
    /// Whether it is worth while to read: asked before memory is taken for that. Who cannot tell says yes.
    fn poll_readable(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// Reads into the spare capacity of `buffer`, which is not empty, and appends what came. Zero means that the peer
    /// has closed its writing half.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>>;

    /// Writes from `slices`, in order, and says how many bytes were taken.
    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

    /// The system is to take no more than about `bytes` bytes that it cannot send yet (`TCP_NOTSENT_LOWAT`). By default, it
    /// takes what it likes, and so it does where there is no such limit.
    fn limit_unsent(&self, _bytes: u32) {}

    /// Closes the writing half, behind what was written; reading goes on.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// Wakes a task at a point in time.
pub trait Timer {
    /// Ready when `at` has come. Only the latest `at` counts. May be ready early; the caller looks at the clock.
    fn poll_until(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()>;
}

/// Tells the time.
pub trait Clock: Debug + Send + Sync {
    /// The time since an epoch of the clock's choice; it never runs back.
    fn now(&self) -> Instant;
}

/// The clock of the operating system, counted from when it was made.
///
/// It may stand still while the machine sleeps. A socket notices a sleep by its timers being late, and first reads what
/// came meanwhile before it takes a peer for dead.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    epoch: std::time::Instant,
}

impl MonotonicClock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { epoch: std::time::Instant::now() }
    }

    /// The operating system's name for a point in time of this clock.
    pub fn to_std(self, at: Instant) -> std::time::Instant {
        self.epoch + at.saturating_duration_since(Instant::EPOCH)
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Instant {
        Instant::EPOCH + self.epoch.elapsed()
    }
}
