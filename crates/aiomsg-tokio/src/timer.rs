//! When a socket is to be woken.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use aiomsg_driver::Timer;
use aiomsg_proto::Instant;
use tokio::time::Sleep;

/// A timer that is set anew only when the deadline changes.
#[derive(Debug)]
pub struct TokioTimer {
    epoch: tokio::time::Instant,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    #[cfg(target_os = "linux")]
    OfSystem(of_system::SystemTimer),
    OfRuntime(Pin<Box<Sleep>>),
}

impl TokioTimer {
    /// A timer of the runtime that the caller is in, which counts from `epoch`.
    pub(crate) fn of_runtime(epoch: tokio::time::Instant) -> Self {
        Self { epoch, kind: Kind::of_runtime() }
    }

    /// As [`of_runtime`](Self::of_runtime), for a socket.
    ///
    /// While a timer of the runtime is set, the runtime tells the system whenever it has nothing to do how long to wait at
    /// most, which makes a round trip a twentieth longer. Sockets have one set all the time, for their heartbeats. So where
    /// the system has timers that it is told of once, such a one is taken. It takes a descriptor.
    pub(crate) fn lasting(epoch: tokio::time::Instant) -> Self {
        #[cfg(target_os = "linux")]
        if !is_time_paused()
            && let Ok(timer) = of_system::SystemTimer::new()
        {
            return Self { epoch, kind: Kind::OfSystem(timer) };
        }
        Self::of_runtime(epoch)
    }
}

impl Kind {
    fn of_runtime() -> Self {
        Self::OfRuntime(Box::pin(tokio::time::sleep(Duration::ZERO)))
    }
}

impl Timer for TokioTimer {
    fn poll_until(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let deadline = self.epoch + at.saturating_duration_since(Instant::EPOCH);
        #[cfg(target_os = "linux")]
        if let Kind::OfSystem(timer) = &mut self.kind {
            match timer.poll_until(cx, deadline) {
                Ok(poll) => return poll,
                Err(_) => self.kind = Kind::of_runtime(),
            }
        }
        match &mut self.kind {
            #[cfg(target_os = "linux")]
            Kind::OfSystem(_) => Poll::Pending,
            Kind::OfRuntime(sleep) => {
                if sleep.deadline() != deadline {
                    sleep.as_mut().reset(deadline);
                }
                sleep.as_mut().poll(cx)
            }
        }
    }
}

/// Whether a test has stopped the clock of the runtime: then it goes on by leaps, of which only the runtime knows.
#[cfg(target_os = "linux")]
fn is_time_paused() -> bool {
    let (now, start) = (tokio::time::Instant::now(), std::time::Instant::now());
    while start.elapsed().is_zero() {}
    tokio::time::Instant::now() == now
}

#[cfg(target_os = "linux")]
mod of_system {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::task::{Context, Poll, ready};

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;
    use tokio::time::Instant;

    /// A timer of the system, which becomes readable when its time has come.
    #[derive(Debug)]
    pub(super) struct SystemTimer {
        descriptor: AsyncFd<OwnedFd>,
        set_to: Option<Instant>,
    }

    impl SystemTimer {
        /// # Errors
        /// There are no descriptors left, for example.
        pub(super) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            #[allow(deprecated, reason = "what took its place is newer than the oldest tokio that will do")]
            let descriptor = AsyncFd::with_interest(timer, Interest::READABLE)?;
            Ok(Self { descriptor, set_to: None })
        }

        /// # Errors
        /// The runtime has ended, for example.
        pub(super) fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> io::Result<Poll<()>> {
            if self.set_to != Some(deadline) {
                self.set(deadline)?;
            }
            match self.poll_expired(cx) {
                Poll::Ready(result) => {
                    self.set_to = None;
                    result.map(Poll::Ready)
                }
                Poll::Pending => Ok(Poll::Pending),
            }
        }

        fn set(&mut self, deadline: Instant) -> io::Result<()> {
            let wait = deadline.saturating_duration_since(Instant::now());
            let unset = Timespec { tv_sec: 0, tv_nsec: 0 };
            // Zero would mean never.
            let wait = Timespec::try_from(wait.max(std::time::Duration::from_nanos(1))).unwrap_or(unset);
            let spec = Itimerspec { it_interval: unset, it_value: wait };
            timerfd_settime(&self.descriptor, TimerfdTimerFlags::empty(), &spec)?;
            self.set_to = Some(deadline);
            Ok(())
        }

        /// Whether it has expired since it was last set.
        fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            loop {
                let mut ready = ready!(self.descriptor.poll_read_ready(cx))?;
                let mut expirations = [0; 8];
                match ready.try_io(|timer| Ok(rustix::io::read(timer, &mut expirations)?)) {
                    Ok(result) => return Poll::Ready(result.map(|_| ())),
                    // It was set anew meanwhile.
                    Err(_would_block) => {}
                }
            }
        }
    }
}
