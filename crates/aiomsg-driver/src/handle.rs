//! All that an application does with a socket, whatever the runtime.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use aiomsg_proto::{
    CloseReport, Closed, Config, DialId, Identity, Metrics, PeerInfo, Received, SendError, Socket,
};
use bytes::Bytes;

use crate::acceptor::Acceptor;
use crate::dialer::Dialer;
use crate::events::EventStream;
use crate::io::{Clock, Timer};
use crate::message::{Message, acknowledge};
use crate::receipt::PendingReceipt;
use crate::recv::{self, MessageStream, ReceivedStream, Recv};
use crate::send::{self, Order, Recipient, Send};
use crate::shared::{ListenerId, ListenerTask, Shared, State};
use crate::timer::TimerDriver;
use crate::waiters::Ticket;

/// A socket without a runtime: an adapter's socket is one of these and a way to connect, listen and spawn.
///
/// Cheap to clone; the clones are the same socket. When the last one is dropped, the socket closes without lingering.
/// The futures that serve it ([`LinkDriver`](crate::LinkDriver), [`TimerDriver`], [`Dialer`], [`Acceptor`]) do not keep
/// it open.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    _last: Arc<LastHandle>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shared, f)
    }
}

/// Closes the socket when the last handle is gone.
struct LastHandle(Arc<Shared>);

impl Drop for LastHandle {
    fn drop(&mut self) {
        self.0.with_time(|state, now| {
            let held = state.core.metrics().send_held;
            if !state.core.is_closing() && held.messages > 0 {
                tracing::warn!(
                    messages = held.messages,
                    bytes = held.bytes,
                    "a socket with unsent messages was dropped"
                );
            }
            state.core.close(now, Duration::ZERO);
            state.end_waiting();
        });
    }
}

impl Handle {
    /// A socket around a core.
    pub fn new(core: Socket, clock: impl Clock + 'static) -> Self {
        let shared = Arc::new(Shared::new(core, Arc::new(clock)));
        Self { _last: Arc::new(LastHandle(shared.clone())), shared }
    }

    /// The future that lets the socket do what is due; it must be spawned once.
    pub fn timer_driver<T: Timer>(&self, timer: T) -> TimerDriver<T> {
        TimerDriver::new(self.shared.clone(), timer)
    }

    /// Keeps a connection to `address` from now on; what is returned must be served.
    ///
    /// # Errors
    /// [`Closed`] if the socket is closed.
    pub fn dial(&self, address: impl Into<Arc<str>>) -> Result<(DialId, Dialer), Closed> {
        let address = address.into();
        self.shared.with_time(|state, now| {
            let id = state.core.dial(now, address)?;
            state.dials.entry(id).or_default();
            Ok((id, Dialer::new(self.shared.clone(), id)))
        })
    }

    /// Stops keeping connections to `address`; false if there were none.
    pub fn undial(&self, address: &str) -> bool {
        self.shared.with_time(|state, now| {
            let dialled: Vec<DialId> = state
                .dials
                .keys()
                .copied()
                .filter(|id| state.core.dial_address(*id) == Some(address))
                .collect();
            for id in &dialled {
                state.core.undial(now, *id);
                let waker = state.dials.get_mut(id).and_then(|task| task.waker.take());
                state.woken.extend(waker);
            }
            !dialled.is_empty()
        })
    }

    /// Notes that connections are accepted at `address`; what is returned must be served.
    ///
    /// # Errors
    /// [`Closed`] if the socket is closed.
    pub fn listen(&self, address: &str) -> Result<Acceptor, Closed> {
        self.shared.with(|state| {
            if state.core.is_closing() {
                return Err(Closed);
            }
            state.listeners_made += 1;
            let id = ListenerId(state.listeners_made);
            state
                .listeners
                .insert(id, ListenerTask { address: address.to_owned(), ..ListenerTask::default() });
            state.core.handle_listening(address);
            Ok(Acceptor::new(self.shared.clone(), id))
        })
    }

    /// Stops accepting connections at `address`, and waits until nobody listens there any more; false if none were
    /// accepted there. Connections that are up stay.
    ///
    /// # Cancel safety
    /// Once polled, it is done even if the future is dropped.
    pub async fn unlisten(&self, address: &str) -> bool {
        let found = self.shared.with(|state| {
            let mut found = false;
            for task in state.listeners.values_mut().filter(|task| task.address == address && !task.stopped) {
                found = true;
                task.stopped = true;
                state.woken.extend(task.waker.take());
            }
            found
        });
        let stopping = |task: &ListenerTask| task.stopped && task.address == address;
        self.watch(|state| (!state.listeners.values().any(stopping)).then_some(())).await;
        found
    }

    /// Ends the connection of a peer, see [`Socket::disconnect`].
    pub fn disconnect(&self, identity: Identity) -> bool {
        self.shared.with_time(|state, now| state.core.disconnect(now, identity))
    }

    /// Ends the connection of a peer and refuses it from now on, see [`Socket::keep_out`].
    pub fn keep_out(&self, identity: Identity) {
        self.shared.with_time(|state, now| state.core.keep_out(now, identity));
    }

    /// Takes back [`keep_out`](Self::keep_out); false if the identity was not kept out.
    pub fn let_in(&self, identity: Identity) -> bool {
        self.shared.with(|state| state.core.let_in(identity))
    }

    /// Sends to whom the send mode says; waits while there is no room.
    ///
    /// # Errors
    /// As [`Socket::send`], but for [`SendError::Full`].
    ///
    /// # Cancel safety
    /// Dropped before it is ready, the message was not accepted.
    pub async fn send(&self, payload: Bytes) -> Result<(), SendError> {
        self.submit(Recipient::Mode, payload).await
    }

    /// Sends to one peer; waits while there is no room.
    ///
    /// # Errors
    /// As [`Socket::send_to`], but for [`SendError::Full`] and [`SendError::PeerFull`].
    ///
    /// # Cancel safety
    /// Dropped before it is ready, the message was not accepted.
    pub async fn send_to(&self, identity: Identity, payload: Bytes) -> Result<(), SendError> {
        self.submit(Recipient::Peer(identity), payload).await
    }

    async fn submit(&self, to: Recipient, payload: Bytes) -> Result<(), SendError> {
        Send::new(&self.shared, Order { to, receipt: false }, payload).await.map(|_| ())
    }

    /// As [`send`](Self::send), or as [`send_to`](Self::send_to) if there is a `recipient`, delivered at-least-once; what
    /// is returned tells what becomes of the message.
    ///
    /// # Errors
    /// Those of [`send`](Self::send) and [`send_to`](Self::send_to).
    ///
    /// # Cancel safety
    /// Dropped before it is ready, the message was not accepted.
    pub async fn send_with_receipt(
        &self,
        recipient: Option<Identity>,
        payload: Bytes,
    ) -> Result<PendingReceipt, SendError> {
        let to = recipient.map_or(Recipient::Mode, Recipient::Peer);
        let receipt = Send::new(&self.shared, Order { to, receipt: true }, payload).await?;
        Ok(PendingReceipt::new(self.shared.clone(), receipt))
    }

    /// Sends to whom the send mode says, if there is room and nobody waits for it.
    ///
    /// # Errors
    /// As [`Socket::send`].
    pub fn try_send(&self, payload: Bytes) -> Result<(), SendError> {
        send::try_send(&self.shared, Recipient::Mode, payload)
    }

    /// Sends to one peer, if there is room and nobody waits for it.
    ///
    /// # Errors
    /// As [`Socket::send_to`].
    pub fn try_send_to(&self, identity: Identity, payload: Bytes) -> Result<(), SendError> {
        send::try_send(&self.shared, Recipient::Peer(identity), payload)
    }

    /// The next message, from whichever peer.
    ///
    /// # Errors
    /// [`Closed`] when the socket is closed and all that came before was taken.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, no message was taken.
    pub async fn recv(&self) -> Result<Received, Closed> {
        let received = Recv::new(&self.shared).await?;
        acknowledge(&self.shared, received.identity, received.request);
        Ok(received)
    }

    /// The next message, to be acknowledged when the application has done with it.
    ///
    /// # Errors
    /// [`Closed`] when the socket is closed and all that came before was taken.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, no message was taken.
    pub async fn recv_message(&self) -> Result<Message, Closed> {
        Ok(Message::new(self.shared.clone(), Recv::new(&self.shared).await?))
    }

    /// The next message, if one is there.
    ///
    /// # Errors
    /// [`Closed`] when the socket is closed and all that came before was taken.
    pub fn try_recv(&self) -> Result<Option<Received>, Closed> {
        recv::try_recv(&self.shared)
    }

    /// The payloads that arrive.
    pub fn messages(&self) -> MessageStream {
        MessageStream(self.messages_from())
    }

    /// The messages that arrive, with what is known of them.
    pub fn messages_from(&self) -> ReceivedStream {
        ReceivedStream::new(self.shared.clone())
    }

    /// What happens from now on.
    pub fn events(&self) -> EventStream {
        EventStream::new(self.shared.clone())
    }

    /// The peers that are there.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.shared.with(|state| state.core.peers())
    }

    /// Counters.
    pub fn metrics(&self) -> Metrics {
        self.shared.with(|state| state.core.metrics())
    }

    /// Who this socket says it is.
    pub fn identity(&self) -> Identity {
        self.shared.with(|state| state.core.identity())
    }

    /// The settings of this socket.
    pub fn config(&self) -> Config {
        self.shared.with(|state| state.core.config().clone())
    }

    /// Waits until at least `count` peers are there.
    ///
    /// # Errors
    /// [`Closed`] if the socket is closed before.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn wait_for_peers(&self, count: usize) -> Result<(), Closed> {
        self.watch(|State { core, .. }| {
            if core.is_closing() { Some(Err(Closed)) } else { (core.peer_count() >= count).then_some(Ok(())) }
        })
        .await
    }

    /// Closes the socket: accepts no further message, hands over what is held for up to `linger`, then ends all
    /// connections within a second. Nobody listens any more when it returns.
    ///
    /// # Cancel safety
    /// Once polled, closing goes on even if the future is dropped; only the report is lost, and can be had by another
    /// call.
    pub async fn close(&self, linger: Duration) -> CloseReport {
        self.start_close(linger);
        self.watch(|state| state.core.close_report().filter(|_| state.listeners.is_empty())).await
    }

    fn start_close(&self, linger: Duration) {
        // What was taken is acknowledged before.
        self.shared.with_inbox(|inbox, wakes| {
            self.shared.with_time_into(wakes, |state, now| {
                state.core.poll_received(now, inbox);
                state.core.close(now, linger);
                state.end_waiting();
            });
        });
    }

    /// Waits until `look` finds something.
    async fn watch<T>(&self, look: impl Fn(&State) -> Option<T>) -> T {
        let mut watch = Watch { shared: &self.shared, ticket: None };
        poll_fn(|cx| {
            let Watch { shared, ticket } = &mut watch;
            shared.with(|state| match look(state) {
                Some(found) => {
                    state.watchers.leave(ticket);
                    Poll::Ready(found)
                }
                None => {
                    state.watchers.wait(ticket, cx.waker());
                    Poll::Pending
                }
            })
        })
        .await
    }
}

/// A task's place among the watchers.
#[derive(Debug)]
struct Watch<'a> {
    shared: &'a Arc<Shared>,
    ticket: Option<Ticket>,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let Self { shared, ticket } = self;
        if ticket.is_some() {
            shared.with(|state| state.watchers.leave(ticket));
        }
    }
}
