//! When a socket is to be woken.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aiomsg_driver::{MonotonicClock, Timer};
use aiomsg_proto::Instant;

/// A timer that is set anew only when the deadline changes.
#[derive(Debug)]
pub struct SmolTimer {
    clock: MonotonicClock,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    #[cfg(target_os = "linux")]
    OfSystem(aiomsg_driver::SystemTimer<watched::Descriptor>),
    OfRuntime {
        timer: async_io::Timer,
        /// When it goes off, if it has not yet.
        set_to: Option<Instant>,
    },
}

impl SmolTimer {
    /// A timer of `async-io`.
    pub(crate) fn of_runtime(clock: MonotonicClock) -> Self {
        Self { clock, kind: Kind::of_runtime() }
    }

    /// As [`of_runtime`](Self::of_runtime), for a socket, which has it set all the time. On Linux it is one of the system, which
    /// takes a descriptor, and makes a round trip a fortieth shorter.
    pub(crate) fn lasting(clock: MonotonicClock) -> Self {
        #[cfg(target_os = "linux")]
        if let Ok(timer) = aiomsg_driver::SystemTimer::new() {
            return Self { clock, kind: Kind::OfSystem(timer) };
        }
        Self::of_runtime(clock)
    }
}

impl Kind {
    fn of_runtime() -> Self {
        Self::OfRuntime { timer: async_io::Timer::never(), set_to: None }
    }
}

impl Timer for SmolTimer {
    fn poll_until(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        #[cfg(target_os = "linux")]
        if let Kind::OfSystem(timer) = &mut self.kind {
            match timer.poll_until(cx, &self.clock, at) {
                Ok(poll) => return poll,
                Err(_) => self.kind = Kind::of_runtime(),
            }
        }
        match &mut self.kind {
            #[cfg(target_os = "linux")]
            Kind::OfSystem(_) => Poll::Pending,
            Kind::OfRuntime { timer, set_to } => {
                if *set_to != Some(at) {
                    timer.set_at(self.clock.to_std(at));
                    *set_to = Some(at);
                }
                ready!(Pin::new(timer).poll(cx));
                *set_to = None;
                Poll::Ready(())
            }
        }
    }
}

#[cfg(target_os = "linux")]
mod watched {
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::task::{Context, Poll, ready};

    use aiomsg_driver::Watched;
    use async_io::Async;

    #[derive(Debug)]
    pub(super) struct Descriptor(Async<OwnedFd>);

    impl AsFd for Descriptor {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    impl Watched for Descriptor {
        fn watch(descriptor: OwnedFd) -> io::Result<Self> {
            Async::new_nonblocking(descriptor).map(Self)
        }

        fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
            loop {
                match rustix::io::read(&self.0, &mut *buffer) {
                    Err(rustix::io::Errno::AGAIN) => ready!(self.0.poll_readable(cx))?,
                    result => return Poll::Ready(Ok(result?)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use aiomsg_driver::Clock;

    use super::*;

    const NEVER: Duration = Duration::from_secs(3_600);

    fn timers() -> [SmolTimer; 2] {
        [SmolTimer::of_runtime(MonotonicClock::start()), SmolTimer::lasting(MonotonicClock::start())]
    }

    fn is_ready(timer: &mut SmolTimer, at: Instant) -> bool {
        smol::block_on(poll_fn(|cx| Poll::Ready(timer.poll_until(cx, at).is_ready())))
    }

    /// While a timer of the reactor is set, each wait of the reactor costs more.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_socket_has_a_timer_of_the_system() {
        let [of_runtime, lasting] = timers();
        assert!(matches!(of_runtime.kind, Kind::OfRuntime { .. }));
        assert!(matches!(lasting.kind, Kind::OfSystem(_)));
    }

    #[test]
    fn only_the_latest_deadline_counts() {
        for mut timer in timers() {
            let clock = timer.clock;
            for _ in 0..3 {
                assert!(!is_ready(&mut timer, clock.now() + NEVER));
                let soon = clock.now() + Duration::from_millis(1);
                smol::block_on(poll_fn(|cx| timer.poll_until(cx, soon)));
                assert!(clock.now() >= soon);
            }
        }
    }

    #[test]
    fn what_expired_before_it_was_set_anew_does_not_count() {
        for mut timer in timers() {
            let clock = timer.clock;
            let soon = clock.now() + Duration::from_millis(1);
            // On a busy machine it may be ready at once.
            let _ = is_ready(&mut timer, soon);
            while clock.now() <= soon {
                std::hint::spin_loop();
            }
            assert!(!is_ready(&mut timer, clock.now() + NEVER), "it had expired, but was set anew");
            assert!(!is_ready(&mut timer, clock.now() + 2 * NEVER));
        }
    }
}
