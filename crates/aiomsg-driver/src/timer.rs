//! The future that lets a socket do what is due.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::io::Timer;
use crate::recv;
use crate::shared::Shared;

/// How often the timer is set anew in one poll, at most.
const ROUNDS: usize = 8;

/// Lets a socket do what is due when it is due; it ends when the socket has closed. The socket spawns it through its
/// [`Runtime`](crate::Runtime); with a [`Handle`](crate::Handle), you run it.
#[derive(Debug)]
pub struct TimerDriver<T> {
    shared: Arc<Shared>,
    timer: T,
}

impl<T: Timer> TimerDriver<T> {
    pub(crate) const fn new(shared: Arc<Shared>, timer: T) -> Self {
        Self { shared, timer }
    }
}

/// A runtime that drops its tasks ends its sockets: nobody would serve them any more.
impl<T> Drop for TimerDriver<T> {
    fn drop(&mut self) {
        self.shared.with_time(|state, now| {
            if !state.is_closed() {
                state.core.close(now, Duration::ZERO);
                state.end_waiting();
            }
        });
    }
}

impl<T: Timer + Unpin> Future for TimerDriver<T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        // What was taken must not count as waiting for longer than it may.
        recv::settle(&this.shared);
        // Something is due every few seconds.
        this.shared.buffers.clear();
        for _ in 0..ROUNDS {
            // Whether something is due is for the clock to say; the timer only wakes us.
            let next = this.shared.with_time(|state, now| {
                state.handle_timeout(now);
                if state.is_closed() { None } else { Some(state.arm_timer(cx.waker())) }
            });
            match next {
                None => return Poll::Ready(()),
                Some(None) => return Poll::Pending,
                Some(Some(at)) => {
                    if this.timer.poll_until(cx, at).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
        // Timer and clock do not agree, or there is much to do: others run meanwhile.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
