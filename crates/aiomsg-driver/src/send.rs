//! Sending, with backpressure.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aiomsg_proto::{Identity, Instant, ReceiptId, SendError};
use bytes::Bytes;

use crate::receipt::ReceiptState;
use crate::recv::settle;
use crate::shared::{Shared, State};
use crate::waiters::Ticket;

/// After this many messages without a link having taken any, a sender lets others run once. A loop that does nothing
/// but send would otherwise keep a single-threaded runtime from writing.
const FAIR_SHARE: u32 = 1_024;

/// Where a message is to go, and who waits for room there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Recipient {
    /// To whom the send mode says.
    Mode,
    Peer(Identity),
}

impl Recipient {
    const fn peer(self) -> Option<Identity> {
        match self {
            Self::Mode => None,
            Self::Peer(identity) => Some(identity),
        }
    }
}

/// How a message is handed to the core, and what its sender has of it then.
pub(crate) trait Order: Copy + Unpin {
    type Accepted;

    fn to(self) -> Recipient;

    fn hand_over(self, state: &mut State, now: Instant, payload: Bytes) -> Result<Self::Accepted, SendError>;
}

/// A message, and no more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain(pub(crate) Recipient);

impl Order for Plain {
    type Accepted = ();

    fn to(self) -> Recipient {
        self.0
    }

    fn hand_over(self, state: &mut State, now: Instant, payload: Bytes) -> Result<(), SendError> {
        match self.0 {
            Recipient::Mode => state.core.send(now, payload),
            Recipient::Peer(identity) => state.core.send_to(now, identity, payload),
        }
    }
}

/// A message of which the sender wants to know what becomes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WithReceipt(pub(crate) Recipient);

impl Order for WithReceipt {
    type Accepted = ReceiptId;

    fn to(self) -> Recipient {
        self.0
    }

    fn hand_over(self, state: &mut State, now: Instant, payload: Bytes) -> Result<ReceiptId, SendError> {
        let id = state.core.send_with_receipt(now, self.0.peer(), payload)?;
        state.receipts.insert(id, ReceiptState::Awaited(None));
        Ok(id)
    }
}

impl State {
    /// Whether nobody came before the holder of this place, to the socket and to this peer.
    fn is_turn(&self, to: Recipient, place: &Place) -> bool {
        // Who waits for one peer has no claim to the place of those who wait for the socket, and the reverse.
        self.is_peer_turn(to, place) && (place.peer.is_some() || self.senders.is_next(place.socket))
    }

    fn submit<O: Order>(&mut self, now: Instant, order: O, payload: Bytes) -> Result<O::Accepted, SendError> {
        let accepted = order.hand_over(self, now, payload)?;
        self.sent_in_a_row = self.sent_in_a_row.saturating_add(1);
        Ok(accepted)
    }

    /// Gives up the places of a sender, and lets the next ones try.
    fn leave(&mut self, to: Recipient, place: &mut Place) {
        self.leave_socket(place);
        if let Recipient::Peer(identity) = to
            && let Some(waiters) = self.peer_senders.get_mut(&identity)
        {
            if waiters.leave(&mut place.peer) {
                self.woken.extend(waiters.first());
            }
            if waiters.is_empty() {
                self.peer_senders.remove(&identity);
            }
        }
    }

    fn leave_socket(&mut self, place: &mut Place) {
        if self.senders.leave(&mut place.socket) {
            self.woken.extend(self.senders.first());
        }
    }

    fn wait_for_turn(&mut self, to: Recipient, place: &mut Place, cx: &Context<'_>) {
        match to {
            Recipient::Peer(identity) if !self.is_peer_turn(to, place) => {
                self.wait_for_peer(identity, place, cx);
            }
            Recipient::Mode | Recipient::Peer(_) => self.wait_for_socket(place, cx),
        }
    }

    fn wait_for_socket(&mut self, place: &mut Place, cx: &Context<'_>) {
        self.senders.wait(&mut place.socket, cx.waker());
        self.read_on();
    }

    /// Whether nobody came before the holder of this place, to this peer.
    fn is_peer_turn(&self, to: Recipient, place: &Place) -> bool {
        let waiters = to.peer().and_then(|identity| self.peer_senders.get(&identity));
        waiters.is_none_or(|waiters| waiters.is_next(place.peer))
    }

    /// Waits for one peer only: that one may be stalled, and those who wait for the socket need not be.
    fn wait_for_peer(&mut self, identity: Identity, place: &mut Place, cx: &Context<'_>) {
        self.leave_socket(place);
        self.peer_senders.entry(identity).or_default().wait(&mut place.peer, cx.waker());
        self.read_on();
    }
}

/// The places of a sender in the queues that it waits in.
#[derive(Debug, Default)]
struct Place {
    socket: Option<Ticket>,
    peer: Option<Ticket>,
}

impl Place {
    const fn waits(&self) -> bool {
        self.socket.is_some() || self.peer.is_some()
    }
}

/// A message that is being sent.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub(crate) struct Sending<'a, O: Order> {
    shared: &'a Arc<Shared>,
    order: O,
    payload: Option<Bytes>,
    place: Place,
    yielded: bool,
}

impl<'a, O: Order> Sending<'a, O> {
    pub(crate) fn new(shared: &'a Arc<Shared>, order: O, payload: Bytes) -> Self {
        Self { shared, order, payload: Some(payload), place: Place::default(), yielded: false }
    }
}

impl<O: Order> Sending<'_, O> {
    /// Tries once. `None`: this would wait for ever, as far as the core was told what the application has taken.
    fn attempt(&mut self, cx: &Context<'_>, told: bool) -> Option<Poll<<Self as Future>::Output>> {
        let Self { shared, order, payload, place, yielded } = self;
        let (order, to) = (*order, order.to());
        shared.with(|state| {
            if state.sent_in_a_row >= FAIR_SHARE && !*yielded {
                *yielded = true;
                state.sent_in_a_row = 0;
                cx.waker().wake_by_ref();
                return Some(Poll::Pending);
            }
            if !state.core.is_closing() && !state.is_turn(to, place) {
                state.wait_for_turn(to, place, cx);
                return Some(Poll::Pending);
            }
            // Done already, if there is nothing: nobody may be told twice what has become of the message.
            let Some(message) = payload.take() else { return Some(Poll::Pending) };
            let now = shared.send_time(state);
            match (state.submit(now, order, message), to) {
                (Err(SendError::Full(message)), _) => {
                    *payload = Some(message);
                    state.wait_for_socket(place, cx);
                    Some(Poll::Pending)
                }
                (Err(SendError::PeerFull(message)), Recipient::Peer(identity)) => {
                    *payload = Some(message);
                    state.wait_for_peer(identity, place, cx);
                    Some(Poll::Pending)
                }
                (Err(SendError::WouldDeadlock(message)), _) if !told => {
                    *payload = Some(message);
                    None
                }
                (result, _) => {
                    if place.waits() {
                        state.leave(to, place);
                    }
                    Some(Poll::Ready(result))
                }
            }
        })
    }
}

impl<O: Order> Future for Sending<'_, O> {
    type Output = Result<O::Accepted, SendError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.attempt(cx, false).unwrap_or_else(|| {
            settle(this.shared);
            this.attempt(cx, true).unwrap_or(Poll::Pending)
        })
    }
}

impl<O: Order> Drop for Sending<'_, O> {
    fn drop(&mut self) {
        let Self { shared, order, place, .. } = self;
        if place.waits() {
            shared.with(|state| state.leave(order.to(), place));
        }
    }
}

/// A message to whom the send mode says, that is being sent.
///
/// Not an `async fn`, and the message stays where it is until it is accepted: to move it from place to place costs more
/// than all else that is done for a short one.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub(crate) struct SendByMode<'a> {
    shared: &'a Arc<Shared>,
    payload: Option<Bytes>,
    /// In a box, or every message would carry the room for waiting around with it.
    waiting: Option<Pin<Box<Sending<'a, Plain>>>>,
}

impl<'a> SendByMode<'a> {
    #[inline]
    pub(crate) fn new(shared: &'a Arc<Shared>, payload: Bytes) -> Self {
        Self { shared, payload: Some(payload), waiting: None }
    }

    #[cold]
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let Self { shared, payload, waiting } = self;
        if let Some(payload) = payload.take() {
            *waiting = Some(Box::pin(Sending::new(shared, Plain(Recipient::Mode), payload)));
        }
        // Done already, as above.
        let Some(send) = waiting else { return Poll::Pending };
        let result = std::task::ready!(send.as_mut().poll(cx));
        *waiting = None;
        Poll::Ready(result)
    }
}

impl Future for SendByMode<'_> {
    type Output = Result<(), SendError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Some(payload) = &mut this.payload
            && send_at_once(this.shared, payload)
        {
            this.payload = None;
            return Poll::Ready(Ok(()));
        }
        this.wait(cx)
    }
}

/// Accepts a message, if nobody and nothing has to be waited for, and nothing is wrong with it. What nearly always happens
/// is worth a short way.
#[inline]
fn send_at_once(shared: &Shared, payload: &mut Bytes) -> bool {
    shared.with_sending(|state| {
        if state.sent_in_a_row >= FAIR_SHARE || !state.senders.is_empty() {
            return false;
        }
        let now = shared.send_time(state);
        let accepted = state.core.send_from(now, payload).is_ok();
        state.sent_in_a_row += u32::from(accepted);
        accepted
    })
}

/// Accepts a message now or not at all.
pub(crate) fn try_send(shared: &Shared, to: Recipient, payload: Bytes) -> Result<(), SendError> {
    match try_once(shared, to, payload) {
        Err(SendError::WouldDeadlock(payload)) => {
            settle(shared);
            try_once(shared, to, payload)
        }
        result => result,
    }
}

fn try_once(shared: &Shared, to: Recipient, payload: Bytes) -> Result<(), SendError> {
    shared.with(|state| {
        let place = Place::default();
        if !state.core.is_closing() && !state.is_turn(to, &place) {
            let full = if state.is_peer_turn(to, &place) { SendError::Full } else { SendError::PeerFull };
            return Err(full(payload));
        }
        let now = shared.send_time(state);
        state.submit(now, Plain(to), payload)
    })
}
