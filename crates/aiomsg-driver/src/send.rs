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

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) to: Recipient,
    /// The sender wants to know what becomes of the message.
    pub(crate) receipt: bool,
}

impl State {
    /// Whether nobody came before the holder of these tickets, to the socket and to this peer.
    fn is_turn(&self, to: Recipient, place: &Place) -> bool {
        let Place { socket, peer } = place;
        let peer_turn = match to {
            Recipient::Mode => true,
            Recipient::Peer(identity) => {
                self.peer_senders.get(&identity).is_none_or(|waiters| waiters.is_next(*peer))
            }
        };
        // Who waits for one peer has no claim to the place of those who wait for the socket, and the reverse.
        peer_turn && (peer.is_some() || self.senders.is_next(*socket))
    }

    fn submit(&mut self, now: Instant, order: Order, payload: Bytes) -> Result<Option<ReceiptId>, SendError> {
        let receipt = match order {
            Order { to: Recipient::Mode, receipt: false } => {
                self.core.send(now, payload)?;
                None
            }
            Order { to: Recipient::Peer(identity), receipt: false } => {
                self.core.send_to(now, identity, payload)?;
                None
            }
            Order { to, receipt: true } => {
                let id = self.core.send_with_receipt(now, to.peer(), payload)?;
                self.receipts.insert(id, ReceiptState::Awaited(None));
                Some(id)
            }
        };
        self.sent_in_a_row = self.sent_in_a_row.saturating_add(1);
        Ok(receipt)
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
            Recipient::Peer(identity) if !self.is_peer_turn(identity, place) => {
                self.wait_for_peer(identity, place, cx);
            }
            Recipient::Mode | Recipient::Peer(_) => self.wait_for_socket(place, cx),
        }
    }

    fn wait_for_socket(&mut self, place: &mut Place, cx: &Context<'_>) {
        self.senders.wait(&mut place.socket, cx.waker());
        self.read_on();
    }

    fn is_peer_turn(&self, identity: Identity, place: &Place) -> bool {
        self.peer_senders.get(&identity).is_none_or(|waiters| waiters.is_next(place.peer))
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
pub(crate) struct Send<'a> {
    shared: &'a Arc<Shared>,
    order: Order,
    payload: Option<Bytes>,
    place: Place,
    yielded: bool,
}

impl<'a> Send<'a> {
    pub(crate) fn new(shared: &'a Arc<Shared>, order: Order, payload: Bytes) -> Self {
        Self { shared, order, payload: Some(payload), place: Place::default(), yielded: false }
    }
}

impl Send<'_> {
    /// Tries once. `None`: this would wait for ever, as far as the core was told what the application has taken.
    fn attempt(&mut self, cx: &Context<'_>, told: bool) -> Option<Poll<<Self as Future>::Output>> {
        let Self { shared, order, payload, place, yielded } = self;
        let (order, to) = (*order, order.to);
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
            let Some(message) = payload.take() else { return Some(Poll::Ready(Ok(None))) };
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

impl Future for Send<'_> {
    type Output = Result<Option<ReceiptId>, SendError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.attempt(cx, false).unwrap_or_else(|| {
            settle(this.shared);
            this.attempt(cx, true).unwrap_or(Poll::Pending)
        })
    }
}

impl Drop for Send<'_> {
    fn drop(&mut self) {
        let Self { shared, order, place, .. } = self;
        if place.waits() {
            shared.with(|state| state.leave(order.to, place));
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
    waiting: Option<Pin<Box<Send<'a>>>>,
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
            *waiting =
                Some(Box::pin(Send::new(shared, Order { to: Recipient::Mode, receipt: false }, payload)));
        }
        // Done already, if there is nothing: nobody may be told twice what has become of the message.
        let Some(send) = waiting else { return Poll::Pending };
        let result = std::task::ready!(send.as_mut().poll(cx));
        *waiting = None;
        Poll::Ready(result.map(|_| ()))
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
        if !state.core.is_closing() && !state.is_turn(to, &Place::default()) {
            return Err(SendError::Full(payload));
        }
        let now = shared.send_time(state);
        state.submit(now, Order { to, receipt: false }, payload).map(|_| ())
    })
}
