//! Receiving: the queue of the core is taken over as a whole, and handed out one by one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use aiomsg_proto::{Closed, Inbox, Received};
use bytes::Bytes;
use futures_core::Stream;

use crate::message::acknowledge;
use crate::shared::Shared;
use crate::waiters::Ticket;

/// After this many messages taken, the core is told, so that reading may go on.
const SETTLE: usize = 64;

/// A task's wait for a message.
#[derive(Debug, Default)]
struct Receiver {
    ticket: Option<Ticket>,
}

/// Takes a message that is there.
pub(crate) fn try_recv(shared: &Shared) -> Result<Option<Received>, Closed> {
    let received = take_now(shared)?;
    Ok(received.inspect(|received| acknowledge(shared, received.identity, received.request)))
}

fn take_now(shared: &Shared) -> Result<Option<Received>, Closed> {
    let mut inbox = shared.inbox();
    match take(shared, &mut inbox) {
        Some(message) => Ok(Some(message)),
        None => shared.with_time(|state, now| {
            if state.core.poll_received(now, &mut inbox) {
                Ok(inbox.next())
            } else if state.core.is_closing() {
                Err(Closed)
            } else {
                Ok(None)
            }
        }),
    }
}

/// Takes a message out of the inbox, and tells the core now and then.
#[inline]
fn take(shared: &Shared, inbox: &mut Inbox) -> Option<Received> {
    let message = inbox.next()?;
    if inbox.unsettled() >= SETTLE {
        shared.with_time(|state, now| state.core.poll_received(now, inbox));
    }
    Some(message)
}

impl Receiver {
    fn poll(&mut self, shared: &Shared, cx: &Context<'_>) -> Poll<Result<Received, Closed>> {
        let mut inbox = shared.inbox();
        let result = match take(shared, &mut inbox) {
            Some(message) => Ok(message),
            None => {
                let ticket = &mut self.ticket;
                let polled = shared.with_time(|state, now| {
                    if state.core.poll_received(now, &mut inbox) {
                        return Poll::Ready(inbox.next().ok_or(Closed));
                    }
                    if state.core.is_closing() {
                        return Poll::Ready(Err(Closed));
                    }
                    state.receivers.wait(ticket, cx.waker());
                    Poll::Pending
                });
                match polled {
                    Poll::Ready(result) => result,
                    Poll::Pending => return Poll::Pending,
                }
            }
        };
        let more = !inbox.is_empty();
        drop(inbox);
        self.leave(shared, more);
        Poll::Ready(result)
    }

    /// Stops waiting. A task that was woken and does not take what it was woken for, or leaves something behind, has
    /// the next one look.
    fn leave(&mut self, shared: &Shared, more: bool) {
        if self.ticket.is_none() && (!more || shared.receivers_waiting.load(Ordering::Relaxed) == 0) {
            return;
        }
        let ticket = &mut self.ticket;
        shared.with(|state| {
            let waited = ticket.is_some();
            let was_woken = waited && !state.receivers.leave(ticket);
            if more || was_woken {
                let next = state.receivers.take_first();
                state.woken.extend(next);
            }
        });
    }
}

/// A message that is awaited.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub(crate) struct Recv<'a> {
    shared: &'a Arc<Shared>,
    receiver: Receiver,
}

impl<'a> Recv<'a> {
    pub(crate) fn new(shared: &'a Arc<Shared>) -> Self {
        Self { shared, receiver: Receiver::default() }
    }
}

impl Future for Recv<'_> {
    type Output = Result<Received, Closed>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { shared, receiver } = self.get_mut();
        receiver.poll(shared, cx)
    }
}

impl Drop for Recv<'_> {
    fn drop(&mut self) {
        self.receiver.leave(self.shared, false);
    }
}

/// The messages of a socket with what is known of them, as a stream that ends when the socket is closed.
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct ReceivedStream {
    shared: Arc<Shared>,
    receiver: Receiver,
}

impl ReceivedStream {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, receiver: Receiver::default() }
    }
}

impl Stream for ReceivedStream {
    type Item = Received;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Received>> {
        let Self { shared, receiver } = self.get_mut();
        receiver.poll(shared, cx).map(|result| {
            result.ok().inspect(|received| acknowledge(shared, received.identity, received.request))
        })
    }
}

impl Drop for ReceivedStream {
    fn drop(&mut self) {
        self.receiver.leave(&self.shared, false);
    }
}

/// The payloads that a socket receives, as a stream that ends when the socket is closed.
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct MessageStream(pub(crate) ReceivedStream);

impl Stream for MessageStream {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        Pin::new(&mut self.0).poll_next(cx).map(|received| received.map(|received| received.payload))
    }
}
