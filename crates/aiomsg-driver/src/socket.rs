//! All that an application does with a socket.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use aiomsg_proto::{
    Acknowledge, CloseReport, Closed, Config, DialId, Identity, Inbox, Metrics, PeerInfo, Received, SendError,
};
use bytes::Bytes;

use crate::acceptor::Acceptor;
use crate::address::{ConnectError, ToAddress};
use crate::builder::Builder;
use crate::dialer::Dialer;
use crate::events::EventStream;
use crate::io::Clock;
use crate::message::{Message, acknowledge};
use crate::receipt::PendingReceipt;
use crate::recv::{self, MessageStream, ReceivedStream, Recv, RecvPayload};
use crate::runtime::{Listener, Runtime, resolve};
use crate::send::{self, Plain, Recipient, SendByMode, Sending, WithReceipt};
use crate::serve;
use crate::shared::{ListenerId, ListenerTask, Shared, State};
use crate::timer::TimerDriver;
use crate::waiters::Ticket;

/// A smart socket: any number of connections, in both directions, as one.
///
/// Cheap to clone; the clones are the same socket and may be used from many tasks at once. When the last one is
/// dropped, the socket closes without waiting: what was not written yet is dropped, counted and logged. Call
/// [`close`](Self::close) to hand it over first.
///
/// `R` is the runtime that serves it. An adapter crate has a name for the socket of its runtime. Code for any runtime
/// is generic over `R`.
#[derive(Clone)]
pub struct Socket<R> {
    pub(crate) shared: Arc<Shared>,
    runtime: R,
    last: Arc<LastHandle>,
}

impl<R> fmt::Debug for Socket<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shared, f)
    }
}

/// Closes the socket when the last handle is gone.
struct LastHandle {
    shared: Arc<Shared>,
    /// Nobody has chosen when messages are acknowledged, and who takes one to acknowledge it by hand is to be told so.
    warns: AtomicBool,
}

impl Drop for LastHandle {
    fn drop(&mut self) {
        self.shared.with_time(|state, now| {
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

/// Served by a runtime.
impl<R: Runtime> Socket<R> {
    /// Sets up a socket.
    pub fn builder() -> Builder<R> {
        Builder::default()
    }

    pub(crate) fn start(core: aiomsg_proto::Socket, runtime: R) -> Self {
        let socket = Self::assemble(core, Arc::new(runtime.clone()), runtime);
        socket.runtime.spawn(TimerDriver::new(socket.shared.clone(), socket.runtime.lasting_timer()));
        socket
    }

    /// The runtime that serves it, for code that is generic over it.
    pub const fn runtime(&self) -> &R {
        &self.runtime
    }

    /// Accepts connections at `address`, a host and a port, and returns the address with its real port: port 0 stands
    /// for any free one. A name is bound at the first of its addresses that works, not at all of them. May be called
    /// for any number of addresses.
    ///
    /// # Errors
    /// What the system says if it cannot listen there; [`ConnectError`] as an error of this type, which is
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if that is not an address, and
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the socket is closed.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, nothing is bound.
    pub async fn bind(&self, address: impl ToAddress) -> io::Result<SocketAddr> {
        let address = address.to_bind()?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{address} has no addresses"));
        let resolved = resolve(&self.runtime, &address).await;
        let unknown =
            |error: io::Error| io::Error::new(error.kind(), format!("cannot resolve {address}: {error}"));
        for address in resolved.map_err(unknown)? {
            match self.runtime.listen(address) {
                Ok(listener) => return self.serve_listener(listener),
                Err(error) => {
                    last = io::Error::new(error.kind(), format!("cannot listen at {address}: {error}"));
                }
            }
        }
        Err(last)
    }

    fn serve_listener(&self, listener: R::Listener) -> io::Result<SocketAddr> {
        let address = listener.local_addr()?;
        let acceptor = self.start_listening(&address.to_string()).map_err(ConnectError::from)?;
        self.runtime.spawn(serve::accept(self.runtime.clone(), acceptor, listener));
        Ok(address)
    }

    /// Connects to `address` (`HOST:PORT`) and reconnects until [`disconnect`](Self::disconnect). Returns at once; each
    /// attempt resolves the name and tries all its addresses. May be called for any number of addresses, but once for each
    /// peer: a second connection to the same one is refused there as a duplicate, and tried again and again.
    /// [`wait_for_peers`](Self::wait_for_peers) waits until a peer is connected, [`events`](Self::events) tells what
    /// happens meanwhile. An address that leads to this socket itself is given up
    /// ([`Event::GivenUp`](aiomsg_proto::Event::GivenUp)).
    ///
    /// # Errors
    /// [`ConnectError`] if it is not an address, or the socket is closed.
    pub fn connect(&self, address: impl ToAddress) -> Result<(), ConnectError> {
        let address = address.to_connect()?;
        let (_, dialer) = self.start_dialling(address)?;
        let deadline = self.config().connect_deadline();
        self.runtime.spawn(serve::dial(self.runtime.clone(), dialer, deadline));
        Ok(())
    }
}

impl<R> Socket<R> {
    pub(crate) fn assemble(core: aiomsg_proto::Socket, clock: Arc<dyn Clock>, runtime: R) -> Self {
        let warns = AtomicBool::new(core.config().acknowledges() == Acknowledge::default());
        let shared = Arc::new(Shared::new(core, clock));
        Self { last: Arc::new(LastHandle { shared: shared.clone(), warns }), shared, runtime }
    }

    /// Warns, once, of messages that are taken to be acknowledged by hand and are acknowledged already. Not where another
    /// setting than the default was chosen: a program may leave it to its user when messages are acknowledged, and take
    /// all of them the same way.
    fn expect_manual(&self) {
        if self.last.warns.load(Ordering::Relaxed) && self.last.warns.swap(false, Ordering::Relaxed) {
            tracing::warn!(
                "`recv_message` is used without `Acknowledge::Manual`: messages are acknowledged when they are taken, \
                 not by `Message::acknowledge`, and are lost if the program dies before it has done with them"
            );
        }
    }

    pub(crate) fn start_dialling(&self, address: impl Into<Arc<str>>) -> Result<(DialId, Dialer), Closed> {
        let address = address.into();
        self.shared.with_time(|state, now| {
            let id = state.core.dial(now, address)?;
            state.dials.entry(id).or_default();
            Ok((id, Dialer::new(self.shared.clone(), id)))
        })
    }

    pub(crate) fn start_listening(&self, address: &str) -> Result<Acceptor, Closed> {
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

    /// Stops accepting connections at `address`, as [`bind`](Self::bind) returned it, and waits until the address is
    /// free. Connections that are up stay. False if none were accepted there.
    ///
    /// # Cancel safety
    /// Once polled, it is done even if the future is dropped.
    pub async fn unbind(&self, address: impl ToAddress) -> bool {
        let address = address.to_address();
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

    /// Stops reconnecting to `address`, as it was given to [`connect`](Self::connect), and closes gracefully: the batch
    /// being written is completed, and what the peer has sent is received, for [`Config::heartbeat_timeout`] at most. False
    /// if `address` was not connected to.
    pub fn disconnect(&self, address: impl ToAddress) -> bool {
        let address = address.to_address();
        self.shared.with_time(|state, now| {
            let dialled: Vec<DialId> = state
                .dials
                .keys()
                .copied()
                .filter(|id| state.core.dial_address(*id) == Some(&*address))
                .collect();
            for id in &dialled {
                state.core.undial(now, *id);
                let waker = state.dials.get_mut(id).and_then(|task| task.waker.take());
                state.woken.extend(waker);
            }
            !dialled.is_empty()
        })
    }

    /// Ends the connection of a peer, whoever made it, as [`disconnect`](Self::disconnect) does. A peer that keeps a
    /// connection to us comes back. False if no such peer is there.
    pub fn disconnect_peer(&self, identity: Identity) -> bool {
        self.shared.with_time(|state, now| state.core.disconnect(now, identity))
    }

    /// Ends the connection of a peer, and rejects later connections with its identity, for the reason
    /// [`CloseReason::KeptOut`](aiomsg_proto::CloseReason::KeptOut). Identities are not authenticated: this stops
    /// misconfigured peers, not attackers.
    pub fn keep_out(&self, identity: Identity) {
        self.shared.with_time(|state, now| state.core.keep_out(now, identity));
    }

    /// Takes back [`keep_out`](Self::keep_out). False if the identity was not kept out.
    pub fn let_in(&self, identity: Identity) -> bool {
        self.shared.with(|state| state.core.let_in(identity))
    }

    /// Sends a message as [`Config::send_mode`] says: to the next peer in turn, or to all. With no peer connected it is
    /// buffered for the first one. Takes `Bytes`, `Vec<u8>`, `String`, `&'static str`; copy other borrowed data with
    /// `Bytes::copy_from_slice`.
    ///
    /// Ready when the message is accepted, which is at once unless the send buffer is full; then it waits for room,
    /// first come, first served.
    ///
    /// Payloads, however they are sent, may be dropped while the socket is locked. If one has an owner of yours
    /// (`Bytes::from_owner`), that must not use the socket when it is dropped, nor wait for somebody who does.
    ///
    /// # Errors
    /// [`SendError::TooLong`], [`SendError::Closed`], [`SendError::PublishAtLeastOnce`] if the socket publishes
    /// at-least-once, and [`SendError::WouldDeadlock`] if there is no room and the application takes nothing of what
    /// has arrived. The error has the message.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, the message was not accepted, and is dropped.
    #[inline]
    pub fn send(&self, payload: impl Into<Bytes>) -> impl Future<Output = Result<(), SendError>> {
        SendByMode::new(&self.shared, payload.into())
    }

    /// Sends a message to one peer, whatever the send mode. A peer that was there and left is waited for, for
    /// [`Config::peer_retention`].
    ///
    /// Ready when the message is accepted, which is at once unless the queue of this peer is full, or the send buffer;
    /// then it waits for room, first come, first served. That is so beside a [`send`](Self::send) that waits for slow
    /// subscribers ([`SlowPeer::Block`](crate::SlowPeer::Block)), too: who answers and publishes uses a socket for each.
    ///
    /// # Errors
    /// [`SendError::UnknownPeer`], [`SendError::TooLong`], [`SendError::Closed`], and [`SendError::WouldDeadlock`] if there
    /// is no room and the application takes nothing of what has arrived. The error has the message.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, the message was not accepted, and is dropped.
    pub async fn send_to(&self, identity: Identity, payload: impl Into<Bytes>) -> Result<(), SendError> {
        Sending::new(&self.shared, Plain(Recipient::Peer(identity)), payload.into()).await
    }

    /// As [`send`](Self::send), and tells what becomes of the message: the receipt that is returned is awaited for that.
    /// Such a message is delivered at-least-once, whatever [`Config::delivery`] says, and may not be published.
    ///
    /// # Errors
    /// Those of [`send`](Self::send); [`SendError::PublishAtLeastOnce`] if messages are published, whatever the guarantee.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, the message was not accepted. Dropping the receipt cancels nothing.
    pub async fn send_with_receipt(&self, payload: impl Into<Bytes>) -> Result<PendingReceipt, SendError> {
        self.submit_with_receipt(Recipient::Mode, payload.into()).await
    }

    /// As [`send_to`](Self::send_to), and tells what becomes of the message: the receipt that is returned is awaited for
    /// that. Such a message is delivered at-least-once, whatever [`Config::delivery`] says.
    ///
    /// # Errors
    /// Those of [`send_to`](Self::send_to).
    ///
    /// # Cancel safety
    /// Dropped before it is ready, the message was not accepted. Dropping the receipt cancels nothing.
    pub async fn send_to_with_receipt(
        &self,
        identity: Identity,
        payload: impl Into<Bytes>,
    ) -> Result<PendingReceipt, SendError> {
        self.submit_with_receipt(Recipient::Peer(identity), payload.into()).await
    }

    /// Like [`send`](Self::send), but returns an error instead of waiting. Never overtakes a waiting send.
    ///
    /// # Errors
    /// [`SendError::Full`] if it would have to wait, and those of [`send`](Self::send). The error has the message.
    pub fn try_send(&self, payload: impl Into<Bytes>) -> Result<(), SendError> {
        send::try_send(&self.shared, Recipient::Mode, payload.into())
    }

    /// Like [`send_to`](Self::send_to), but returns an error instead of waiting. Never overtakes a waiting send.
    ///
    /// # Errors
    /// [`SendError::Full`] or [`SendError::PeerFull`] if it would have to wait, and those of
    /// [`send_to`](Self::send_to). The error has the message.
    pub fn try_send_to(&self, identity: Identity, payload: impl Into<Bytes>) -> Result<(), SendError> {
        send::try_send(&self.shared, Recipient::Peer(identity), payload.into())
    }

    /// The next message, from whichever peer.
    ///
    /// # Errors
    /// [`Closed`] when the socket is closed and all that came before was taken.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, no message was taken: safe in `select!` and under a timeout.
    #[inline]
    pub fn recv(&self) -> impl Future<Output = Result<Bytes, Closed>> {
        RecvPayload(Recv::new(&self.shared))
    }

    /// The next message with what is known of it, above all who sent it.
    ///
    /// # Errors
    /// [`Closed`] when the socket is closed and all that came before was taken.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, no message was taken: safe in `select!` and under a timeout.
    pub async fn recv_from(&self) -> Result<Received, Closed> {
        let mut received = match recv::take_at_once(&self.shared, Inbox::next) {
            Some(received) => received,
            None => Recv::new(&self.shared).await?,
        };
        acknowledge(&self.shared, &mut received);
        Ok(received)
    }

    /// The next message, to be acknowledged when the application has done with it. If it is dropped unacknowledged, it is
    /// delivered again when its sender resends it. The other ways to receive acknowledge when they return.
    ///
    /// All of that only if the socket was built with
    /// [`acknowledge(Acknowledge::Manual)`](aiomsg_proto::Config::acknowledge). Otherwise this, too, acknowledges when it
    /// returns, and the message is lost if the program dies with it; by default, that is logged as a warning, once.
    ///
    /// # Errors
    /// [`Closed`] when the socket is closed and all that came before was taken.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, no message was taken: safe in `select!` and under a timeout.
    pub async fn recv_message(&self) -> Result<Message, Closed> {
        self.expect_manual();
        Ok(Message::new(self.shared.clone(), Recv::new(&self.shared).await?))
    }

    /// As [`recv_message`](Self::recv_message), if a message is there; for
    /// [`Acknowledge::Manual`] as well.
    ///
    /// # Errors
    /// [`Closed`] when the socket is closed and all that came before was taken.
    pub fn try_recv_message(&self) -> Result<Option<Message>, Closed> {
        self.expect_manual();
        let received = recv::take_now(&self.shared)?;
        Ok(received.map(|received| Message::new(self.shared.clone(), received)))
    }

    /// The next message with what is known of it, if one is there.
    ///
    /// # Errors
    /// [`Closed`] when the socket is closed and all that came before was taken.
    pub fn try_recv(&self) -> Result<Option<Received>, Closed> {
        recv::try_recv(&self.shared)
    }

    /// The messages that arrive, as a stream that ends when the socket is closed. Several streams and
    /// [`recv`](Self::recv) share the messages: each goes to one of them. A stream takes a message only when it gives it out,
    /// so dropping it, or the future of its next message, loses none.
    pub fn messages(&self) -> MessageStream {
        MessageStream(self.messages_from())
    }

    /// As [`messages`](Self::messages), with what is known of each.
    pub fn messages_from(&self) -> ReceivedStream {
        ReceivedStream::new(self.shared.clone())
    }

    /// What happens to the socket from now on: peers that come and go, attempts to connect, losses. Each stream gets
    /// all events; one more than 1,024 behind gets [`Event::Lagged`](aiomsg_proto::Event::Lagged) with the number
    /// missed.
    pub fn events(&self) -> EventStream {
        EventStream::new(self.shared.clone())
    }

    /// Whether the socket is closing or closed: it accepts nothing to send, and keeps nothing that arrives. What had
    /// arrived before can still be received.
    pub fn is_closed(&self) -> bool {
        self.shared.with(|state| state.core.is_closing())
    }

    /// How many peers are connected.
    pub fn peer_count(&self) -> usize {
        self.shared.with(|state| state.core.peer_count())
    }

    /// The peers that are connected, in no particular order.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.shared.with(|state| state.core.peers())
    }

    /// Waits until at least `count` peers are there. What is published from then on reaches all of them.
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

    /// Counters since the socket was built, and what it holds now.
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

    /// Closes the socket: accepts no further message, hands over what is held for up to [`Config::linger`], then ends
    /// all connections within a second. The report says what was handed over and what was not.
    ///
    /// Messages that arrive meanwhile are dropped and counted; those that arrived before can still be received.
    ///
    /// [Acknowledge](Message::acknowledge) before what was taken to be acknowledged by hand: closing does not wait for
    /// that, and once the connections end it has no effect. The sender then keeps the message, for another peer.
    ///
    /// # Cancel safety
    /// Once polled, closing goes on by itself; another call gives the report.
    pub async fn close(&self) -> CloseReport {
        self.close_within(self.config().linger_time()).await
    }

    /// As [`close`](Self::close), lingering for at most this long; ready at the latest 1 s after it. With
    /// [`Duration::ZERO`] only the batch already being written is completed; the rest is dropped and reported. A second
    /// call can only shorten the time.
    ///
    /// # Cancel safety
    /// Once polled, closing goes on by itself; another call gives the report.
    pub async fn close_within(&self, linger: Duration) -> CloseReport {
        self.start_close(linger);
        self.watch(|state| state.core.close_report().filter(|_| state.listeners.is_empty())).await
    }

    async fn submit_with_receipt(&self, to: Recipient, payload: Bytes) -> Result<PendingReceipt, SendError> {
        let id = Sending::new(&self.shared, WithReceipt(to), payload).await?;
        Ok(PendingReceipt::new(self.shared.clone(), id))
    }

    fn start_close(&self, linger: Duration) {
        // What was taken is acknowledged before.
        self.shared.with_inbox(|inbox, wakes| {
            self.shared.with_taking(wakes, |state, _| {
                let now = state.note_time(self.shared.now());
                state.exchange(now, inbox);
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
