//! Receiving: the queue of the core is taken over as a whole, and handed out one by one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use aiomsg_proto::{Closed, Inbox, Instant, Received};
use bytes::Bytes;
use futures_core::Stream;

use crate::message::acknowledge;
use crate::shared::{Shared, State};
use crate::waiters::{Ticket, Waiters, Wakes};

/// After this many messages taken, the core is told, so that reading may go on.
const SETTLE: usize = 64;

/// After this many messages taken without anybody having had to wait, a receiver lets others run once. A loop that finds
/// a message each time would otherwise keep its thread to itself until all have been taken.
const FAIR_SHARE: u32 = 1_024;

/// A task's wait for a message.
#[derive(Debug, Default)]
struct Receiver {
    ticket: Option<Ticket>,
    /// It stays when it is not polled, as a stream does, so it must not be the only one to be woken.
    stays: bool,
}

/// Takes a message, if one is there and this is not to wait for others. What nearly always happens under load is worth a
/// short way.
#[inline]
pub(crate) fn take_at_once<T>(shared: &Shared, next: impl FnOnce(&mut Inbox) -> Option<T>) -> Option<T> {
    let in_a_row = shared.taken_in_a_row.load(Ordering::Relaxed);
    if in_a_row >= FAIR_SHARE {
        return None;
    }
    let (message, more) =
        shared.with_inbox(|inbox, wakes| (take(shared, inbox, wakes, next), !inbox.is_empty()));
    if message.is_some() {
        shared.taken_in_a_row.store(in_a_row + 1, Ordering::Relaxed);
        if more && shared.is_awaited() {
            shared.with(State::wake_receivers);
        }
    }
    message
}

/// Takes a message that is there.
pub(crate) fn try_recv(shared: &Shared) -> Result<Option<Received>, Closed> {
    let mut received = take_now(shared)?;
    if let Some(received) = &mut received {
        acknowledge(shared, received);
    }
    Ok(received)
}

/// As [`try_recv`], and the acknowledgement is left to the caller.
pub(crate) fn take_now(shared: &Shared) -> Result<Option<Received>, Closed> {
    shared.with_inbox(|inbox, wakes| match take(shared, inbox, wakes, Inbox::next) {
        Some(message) => Ok(Some(message)),
        None => shared.with_taking(wakes, |state, now| match refill(state, now, inbox) {
            None if state.core.is_closing() => Err(Closed),
            message => Ok(message),
        }),
    })
}

/// Takes a message out of the inbox, and tells the core now and then, above all of the last one.
#[inline]
fn take<T>(
    shared: &Shared,
    inbox: &mut Inbox,
    wakes: &mut Wakes,
    next: impl FnOnce(&mut Inbox) -> Option<T>,
) -> Option<T> {
    let message = next(inbox)?;
    if inbox.is_empty() || inbox.unsettled() >= SETTLE {
        shared.with_taking(wakes, |state, now| state.exchange(now, inbox));
    }
    Some(message)
}

/// Tells the core of what was taken.
pub(crate) fn settle(shared: &Shared) {
    shared.with_inbox(|inbox, wakes| {
        if inbox.unsettled() > 0 {
            shared.with_taking(wakes, |state, now| state.exchange(now, inbox));
        }
    });
}

/// Has the core fill the inbox, and takes a message out.
fn refill(state: &mut State, now: Instant, inbox: &mut Inbox) -> Option<Received> {
    state.exchange(now, inbox);
    let message = inbox.next()?;
    if inbox.is_empty() {
        state.exchange(now, inbox);
    }
    Some(message)
}

impl State {
    /// Those who wait for messages: streams, which stay when they are not polled, or others.
    const fn receivers(&mut self, stay: bool) -> &mut Waiters {
        if stay { &mut self.streams } else { &mut self.receivers }
    }
}

impl Receiver {
    fn poll(&mut self, shared: &Shared, cx: &Context<'_>) -> Poll<Result<Received, Closed>> {
        let in_a_row = shared.taken_in_a_row.load(Ordering::Relaxed);
        if in_a_row >= FAIR_SHARE {
            shared.taken_in_a_row.store(0, Ordering::Relaxed);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let (polled, more) =
            shared.with_inbox(|inbox, wakes| match take(shared, inbox, wakes, Inbox::next) {
                Some(message) => (Poll::Ready(Ok(message)), !inbox.is_empty()),
                None => (shared.with_taking(wakes, |state, now| self.look(state, now, inbox, cx)), false),
            });
        // Not exact when several take at once, and need not be.
        let in_a_row = if polled.is_ready() { in_a_row + 1 } else { 0 };
        shared.taken_in_a_row.store(in_a_row, Ordering::Relaxed);
        if polled.is_ready() {
            self.leave(shared, more);
        }
        polled
    }

    /// Takes a message that the core has, or waits for one.
    fn look(
        &mut self,
        state: &mut State,
        now: Instant,
        inbox: &mut Inbox,
        cx: &Context<'_>,
    ) -> Poll<Result<Received, Closed>> {
        let result = match refill(state, now, inbox) {
            Some(message) => Ok(message),
            None if state.core.is_closing() => Err(Closed),
            None => {
                state.receivers(self.stays).wait(&mut self.ticket, cx.waker());
                return Poll::Pending;
            }
        };
        self.stop_waiting(state, !inbox.is_empty());
        Poll::Ready(result)
    }

    #[inline]
    fn leave(&mut self, shared: &Shared, more: bool) {
        if self.ticket.is_some() || (more && shared.is_awaited()) {
            shared.with(|state| self.stop_waiting(state, more));
        }
    }

    /// Stops waiting. A task that was woken and does not take what it was woken for, or leaves something behind, has
    /// the next one look.
    fn stop_waiting(&mut self, state: &mut State, more: bool) {
        let Self { ticket, stays } = self;
        let waited = ticket.is_some();
        let was_woken = waited && !state.receivers(*stays).leave(ticket);
        if more || (was_woken && !*stays) {
            state.wake_receivers();
        }
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

/// A payload that is awaited. Not an `async fn` for the reason for which [`SendByMode`](crate::send::SendByMode) is none.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub(crate) struct RecvPayload<'a>(pub(crate) Recv<'a>);

impl Future for RecvPayload<'_> {
    type Output = Result<Bytes, Closed>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Recv { shared, receiver } = &self.0;
        if receiver.ticket.is_none()
            && let Some(payload) = take_at_once(shared, Inbox::next_payload)
        {
            return Poll::Ready(Ok(payload));
        }
        self.wait(cx)
    }
}

impl RecvPayload<'_> {
    #[cold]
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Closed>> {
        let Self(recv) = self;
        let mut received = std::task::ready!(Pin::new(&mut *recv).poll(cx))?;
        acknowledge(recv.shared, &mut received);
        Poll::Ready(Ok(received.payload))
    }
}

/// The messages of a socket with what is known of them, as a stream that ends when the socket is closed. Does not keep
/// the socket open.
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct ReceivedStream {
    shared: Arc<Shared>,
    receiver: Receiver,
}

impl ReceivedStream {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, receiver: Receiver { ticket: None, stays: true } }
    }
}

impl Stream for ReceivedStream {
    type Item = Received;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Received>> {
        let Self { shared, receiver } = self.get_mut();
        let mut received = std::task::ready!(receiver.poll(shared, cx)).ok();
        if let Some(received) = &mut received {
            acknowledge(shared, received);
        }
        Poll::Ready(received)
    }
}

impl Drop for ReceivedStream {
    fn drop(&mut self) {
        self.receiver.leave(&self.shared, false);
    }
}

/// The payloads that a socket receives, as a stream that ends when the socket is closed. Does not keep the socket open.
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct MessageStream(pub(crate) ReceivedStream);

impl Stream for MessageStream {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        Pin::new(&mut self.0).poll_next(cx).map(|received| received.map(|received| received.payload))
    }
}
