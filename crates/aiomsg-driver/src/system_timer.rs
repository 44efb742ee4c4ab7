//! A timer of the operating system, for runtimes whose own cost more.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aiomsg_proto::Instant;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::io::Clock;

/// A descriptor that a runtime watches.
pub trait Watched: AsFd + Sized {
    /// Has the runtime that the caller is in watch a descriptor, which does not block.
    ///
    /// # Errors
    /// Those of the runtime.
    fn watch(descriptor: OwnedFd) -> io::Result<Self>;

    /// Reads, or has the task woken when there is something to read.
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;
}

/// A timer of the system (`timerfd`), on Linux. It takes a descriptor.
///
/// Runtimes tell the system whenever they have nothing to do how long to wait at most, if one of their timers is set. Such a
/// timer is told of once, so it suits who has one set all the time, as a socket has for its heartbeats.
#[derive(Debug)]
pub struct SystemTimer<D> {
    descriptor: D,
    /// When it expires, if it has not yet.
    set_to: Option<Instant>,
}

impl<D: Watched> SystemTimer<D> {
    /// A timer that is watched by the runtime that the caller is in.
    ///
    /// # Errors
    /// There are no descriptors left, for example.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let descriptor = D::watch(timerfd_create(TimerfdClockId::Monotonic, flags)?)?;
        Ok(Self { descriptor, set_to: None })
    }

    /// As [`Timer::poll_until`](crate::Timer::poll_until), by a clock that goes as fast as that of the system.
    ///
    /// # Errors
    /// The runtime has ended, for example. Then it wakes nobody any more.
    pub fn poll_until(
        &mut self,
        cx: &mut Context<'_>,
        clock: &impl Clock,
        at: Instant,
    ) -> io::Result<Poll<()>> {
        if self.set_to != Some(at) {
            self.set(at.saturating_duration_since(clock.now()))?;
            self.set_to = Some(at);
        }
        match self.poll_expired(cx) {
            Poll::Ready(result) => {
                self.set_to = None;
                result.map(Poll::Ready)
            }
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    fn set(&self, wait: Duration) -> io::Result<()> {
        let unset = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Zero would mean never.
        let wait = Timespec::try_from(wait.max(Duration::from_nanos(1))).unwrap_or(unset);
        let spec = Itimerspec { it_interval: unset, it_value: wait };
        Ok(timerfd_settime(&self.descriptor, TimerfdTimerFlags::empty(), &spec).map(|_| ())?)
    }

    /// Whether it has expired since it was last set.
    fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut expirations = [0; 8];
        let read = ready!(self.descriptor.poll_read(cx, &mut expirations));
        Poll::Ready(read.map(|_| ()))
    }
}
