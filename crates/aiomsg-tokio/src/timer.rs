//! When a socket is to be woken.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use aiomsg_driver::Timer;
use aiomsg_proto::Instant;
use tokio::time::Sleep;

use crate::runtime::TokioClock;

/// A timer that is set anew only when the deadline changes.
#[derive(Debug)]
pub struct TokioTimer {
    clock: TokioClock,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    #[cfg(target_os = "linux")]
    OfSystem(aiomsg_driver::SystemTimer<watched::Descriptor>),
    OfRuntime(Pin<Box<Sleep>>),
}

impl TokioTimer {
    /// A timer of the runtime that the caller is in, which goes by `clock`.
    pub(crate) fn of_runtime(clock: TokioClock) -> Self {
        Self { clock, kind: Kind::of_runtime() }
    }

    /// As [`of_runtime`](Self::of_runtime), for a socket.
    ///
    /// While a timer of the runtime is set, the runtime tells the system whenever it has nothing to do how long to wait at
    /// most, which makes a round trip a twentieth longer. Sockets have one set all the time, for their heartbeats. So where
    /// the system has timers that it is told of once, such a one is taken. It takes a descriptor.
    pub(crate) fn lasting(clock: TokioClock) -> Self {
        #[cfg(target_os = "linux")]
        if let Ok(timer) = aiomsg_driver::SystemTimer::new() {
            return Self { clock, kind: Kind::OfSystem(timer) };
        }
        Self::of_runtime(clock)
    }
}

impl Kind {
    fn of_runtime() -> Self {
        Self::OfRuntime(Box::pin(tokio::time::sleep(Duration::ZERO)))
    }
}

impl Timer for TokioTimer {
    fn poll_until(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        #[cfg(target_os = "linux")]
        if let Kind::OfSystem(timer) = &mut self.kind {
            match timer.poll_until(cx, &self.clock, at) {
                Ok(poll) if !is_time_paused() => return poll,
                Ok(_) | Err(_) => self.kind = Kind::of_runtime(),
            }
        }
        match &mut self.kind {
            #[cfg(target_os = "linux")]
            Kind::OfSystem(_) => Poll::Pending,
            Kind::OfRuntime(sleep) => {
                let deadline = self.clock.to_tokio(at);
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
mod watched {
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::task::{Context, Poll, ready};

    use aiomsg_driver::Watched;
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    #[derive(Debug)]
    pub(super) struct Descriptor(AsyncFd<OwnedFd>);

    impl AsFd for Descriptor {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    impl Watched for Descriptor {
        fn watch(descriptor: OwnedFd) -> io::Result<Self> {
            #[allow(deprecated, reason = "what took its place is newer than the oldest tokio that will do")]
            AsyncFd::with_interest(descriptor, Interest::READABLE).map(Self)
        }

        fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
            loop {
                let mut ready = ready!(self.0.poll_read_ready(cx))?;
                // Nothing is there after all if it would block.
                if let Ok(result) = ready.try_io(|descriptor| Ok(rustix::io::read(descriptor, &mut *buffer)?))
                {
                    return Poll::Ready(result);
                }
            }
        }
    }
}
