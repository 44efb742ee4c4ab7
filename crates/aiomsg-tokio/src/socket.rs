//! The socket.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use aiomsg_driver::{
    Acceptor, Build, Builder, Dialer, EventStream, Gate, Handle, LinkDriver, Message, MessageStream,
    PendingReceipt, ReceivedStream,
};
use aiomsg_proto::{
    CloseReport, Closed, Config, ConfigError, Identity, Metrics, PeerInfo, Received, SendError,
};
use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::runtime;

use crate::net::{self, Resolve, RuntimeClock, SleepTimer, SystemResolver, TcpLink};

/// The pause after accepting failed, for example since the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A smart socket: any number of connections, in both directions, as one.
///
/// Cheap to clone; the clones are the same socket and may be used from many tasks at once. When the last one is
/// dropped, the socket closes without waiting: what was not written yet is dropped, counted and logged. Call
/// [`close`](Self::close) to hand it over first.
#[derive(Clone)]
pub struct Socket {
    handle: Handle,
    /// The runtime that it was built in, and is served by.
    runtime: runtime::Handle,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}

/// A socket could not be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Settings contradict themselves.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It was not built inside a tokio runtime, which serves its connections.
    #[error("a socket must be built inside a tokio runtime")]
    NoRuntime,
}

/// An address cannot be connected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address is not a host and a port.
    #[error("{address:?} is not an address; expected HOST:PORT, for example 127.0.0.1:25000")]
    Address {
        /// The address as it was given.
        address: String,
    },
    /// The socket is closed.
    #[error(transparent)]
    Closed(#[from] Closed),
}

impl Build for Socket {
    type Error = BuildError;

    fn build(builder: Builder<Self>) -> Result<Self, BuildError> {
        let runtime = runtime::Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let clock = RuntimeClock::start();
        let handle = builder.build_handle(clock)?;
        runtime.spawn(handle.timer_driver(SleepTimer::new(clock)));
        Ok(Self { handle, runtime })
    }
}

impl Socket {
    /// Sets up a socket.
    pub fn builder() -> Builder<Self> {
        Builder::default()
    }

    /// Accepts connections at `address`, and returns the address with its real port: port 0 stands for any free one.
    /// May be called for any number of addresses.
    ///
    /// # Errors
    /// What the system says if it cannot listen there, or that the socket is closed.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, nothing is bound.
    pub async fn bind(&self, address: impl ToSocketAddrs) -> io::Result<SocketAddr> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no addresses");
        for address in tokio::net::lookup_host(address).await? {
            let listening = {
                // The listener belongs to the runtime of the socket, whichever the caller is in.
                let _entered = self.runtime.enter();
                net::listen(address)
            };
            match listening {
                Ok(listener) => return self.serve_listener(listener),
                Err(error) => {
                    last = io::Error::new(error.kind(), format!("cannot listen at {address}: {error}"));
                }
            }
        }
        Err(last)
    }

    fn serve_listener(&self, listener: TcpListener) -> io::Result<SocketAddr> {
        let address = listener.local_addr()?;
        let acceptor = self.handle.listen(&address.to_string()).map_err(io::Error::other)?;
        self.runtime.spawn(accept(acceptor, listener));
        Ok(address)
    }

    /// Stops accepting connections at `address`, as [`bind`](Self::bind) returned it, and waits until the address is
    /// free. Connections that are up stay. False if none were accepted there.
    ///
    /// # Cancel safety
    /// Once polled, it is done even if the future is dropped.
    pub async fn unbind(&self, address: SocketAddr) -> bool {
        self.handle.unlisten(&address.to_string()).await
    }

    /// Keeps a connection to `address`, a host and a port, from now on. Returns at once; the name is resolved and all
    /// its addresses are tried at each attempt, now and whenever the connection is lost. May be called for any number
    /// of addresses. [`wait_for_peers`](Self::wait_for_peers) waits until a peer is there, [`events`](Self::events)
    /// tells what happens meanwhile.
    ///
    /// # Errors
    /// [`ConnectError`] if it is not an address, or the socket is closed.
    pub fn connect(&self, address: impl Into<String>) -> Result<(), ConnectError> {
        self.connect_resolving(address.into(), SystemResolver)
    }

    pub(crate) fn connect_resolving(
        &self,
        address: String,
        resolver: impl Resolve,
    ) -> Result<(), ConnectError> {
        if !is_address(&address) {
            return Err(ConnectError::Address { address });
        }
        let (_, dialer) = self.handle.dial(address)?;
        self.runtime.spawn(dial(dialer, resolver, self.handle.config().connect_deadline()));
        Ok(())
    }

    /// Stops keeping a connection to `address`, as it was given to [`connect`](Self::connect). What is being written
    /// there is finished, what the peer has sent is read. False if there was none.
    pub fn disconnect(&self, address: &str) -> bool {
        self.handle.undial(address)
    }

    /// Ends the connection of a peer, whoever made it. A peer that keeps a connection to us comes back. False if no
    /// such peer is there.
    pub fn disconnect_peer(&self, identity: Identity) -> bool {
        self.handle.disconnect(identity)
    }

    /// Ends the connection of a peer, and refuses all that show its identity from now on, told by
    /// [`CloseReason::KeptOut`](aiomsg_proto::CloseReason::KeptOut). An identity is a claim: this keeps out who is mistaken
    /// or in the way, not who means harm.
    pub fn keep_out(&self, identity: Identity) {
        self.handle.keep_out(identity);
    }

    /// Takes back [`keep_out`](Self::keep_out). False if the identity was not kept out.
    pub fn let_in(&self, identity: Identity) -> bool {
        self.handle.let_in(identity)
    }

    /// Sends a message to whom [`Config::send_mode`] says: to one peer after another, or to all. With nobody there it
    /// waits for the first peer to come.
    ///
    /// Ready when the message is accepted, which is at once unless the send buffer is full; then it waits for room,
    /// first come, first served.
    ///
    /// # Errors
    /// [`SendError::TooLong`], [`SendError::Closed`], and [`SendError::WouldDeadlock`] if there is no room and the
    /// application takes nothing of what has arrived. The error has the message.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, the message was not accepted, and is dropped.
    pub async fn send(&self, payload: impl Into<Bytes>) -> Result<(), SendError> {
        self.handle.send(payload.into()).await
    }

    /// Sends a message to one peer, whatever the send mode. A peer that was there and left is waited for, for
    /// [`Config::peer_retention`].
    ///
    /// Ready when the message is accepted, which is at once unless the queue of this peer is full, or the send buffer;
    /// then it waits for room, first come, first served.
    ///
    /// # Errors
    /// [`SendError::UnknownPeer`], [`SendError::TooLong`], [`SendError::Closed`], and [`SendError::WouldDeadlock`] if there
    /// is no room and the application takes nothing of what has arrived. The error has the message.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, the message was not accepted, and is dropped.
    pub async fn send_to(&self, identity: Identity, payload: impl Into<Bytes>) -> Result<(), SendError> {
        self.handle.send_to(identity, payload.into()).await
    }

    /// As [`send`](Self::send), and tells what becomes of the message: the receipt that is returned is awaited for that.
    /// Such a message is delivered at-least-once, whatever [`Config::delivery`] says, and may not be published.
    ///
    /// # Errors
    /// Those of [`send`](Self::send), and [`SendError::PublishAtLeastOnce`].
    ///
    /// # Cancel safety
    /// Dropped before it is ready, the message was not accepted. Dropping the receipt cancels nothing.
    pub async fn send_with_receipt(&self, payload: impl Into<Bytes>) -> Result<PendingReceipt, SendError> {
        self.handle.send_with_receipt(None, payload.into()).await
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
        self.handle.send_with_receipt(Some(identity), payload.into()).await
    }

    /// As [`send`](Self::send), now or not at all. Never overtakes one that waits.
    ///
    /// # Errors
    /// [`SendError::Full`] if it would have to wait, and those of [`send`](Self::send). The error has the message.
    pub fn try_send(&self, payload: impl Into<Bytes>) -> Result<(), SendError> {
        self.handle.try_send(payload.into())
    }

    /// As [`send_to`](Self::send_to), now or not at all. Never overtakes one that waits.
    ///
    /// # Errors
    /// [`SendError::Full`] or [`SendError::PeerFull`] if it would have to wait, and those of
    /// [`send_to`](Self::send_to). The error has the message.
    pub fn try_send_to(&self, identity: Identity, payload: impl Into<Bytes>) -> Result<(), SendError> {
        self.handle.try_send_to(identity, payload.into())
    }

    /// The next message, from whichever peer.
    ///
    /// # Errors
    /// [`Closed`] when the socket is closed and all that came before was taken.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, no message was taken: safe in `select!` and under a timeout.
    pub async fn recv(&self) -> Result<Bytes, Closed> {
        self.handle.recv().await.map(|received| received.payload)
    }

    /// The next message with what is known of it, above all who sent it.
    ///
    /// # Errors
    /// [`Closed`] when the socket is closed and all that came before was taken.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, no message was taken: safe in `select!` and under a timeout.
    pub async fn recv_from(&self) -> Result<Received, Closed> {
        self.handle.recv().await
    }

    /// The next message, to be acknowledged when the application has done with it; for [`Acknowledge::Manual`](aiomsg_proto::Acknowledge::Manual). Dropped
    /// unacknowledged, it is received again when its sender sends it again. The other ways to receive acknowledge when
    /// they return.
    ///
    /// # Errors
    /// [`Closed`] when the socket is closed and all that came before was taken.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, no message was taken: safe in `select!` and under a timeout.
    pub async fn recv_message(&self) -> Result<Message, Closed> {
        self.handle.recv_message().await
    }

    /// The next message with what is known of it, if one is there.
    ///
    /// # Errors
    /// [`Closed`] when the socket is closed and all that came before was taken.
    pub fn try_recv(&self) -> Result<Option<Received>, Closed> {
        self.handle.try_recv()
    }

    /// The messages that arrive, as a stream that ends when the socket is closed. Several streams and
    /// [`recv`](Self::recv) share the messages: each goes to one of them.
    pub fn messages(&self) -> MessageStream {
        self.handle.messages()
    }

    /// As [`messages`](Self::messages), with what is known of each.
    pub fn messages_from(&self) -> ReceivedStream {
        self.handle.messages_from()
    }

    /// What happens to the socket from now on: peers that come and go, attempts to connect, losses. Each stream gets
    /// all events, and one that is 1,024 behind is told how many it missed.
    pub fn events(&self) -> EventStream {
        self.handle.events()
    }

    /// The peers that are there, in no particular order.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.handle.peers()
    }

    /// Waits until at least `count` peers are there. What is published from then on reaches all of them.
    ///
    /// # Errors
    /// [`Closed`] if the socket is closed before.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn wait_for_peers(&self, count: usize) -> Result<(), Closed> {
        self.handle.wait_for_peers(count).await
    }

    /// Counters since the socket was built, and what it holds now.
    pub fn metrics(&self) -> Metrics {
        self.handle.metrics()
    }

    /// Who this socket says it is.
    pub fn identity(&self) -> Identity {
        self.handle.identity()
    }

    /// The settings of this socket.
    pub fn config(&self) -> Config {
        self.handle.config()
    }

    /// Closes the socket: accepts no further message, hands over what is held for up to [`Config::linger`], then ends
    /// all connections within a second. The report says what was handed over and what was not.
    ///
    /// Messages that arrive meanwhile are dropped and counted; those that arrived before can still be received.
    ///
    /// # Cancel safety
    /// Once polled, closing goes on by itself; another call gives the report.
    pub async fn close(&self) -> CloseReport {
        self.close_within(self.handle.config().linger_time()).await
    }

    /// As [`close`](Self::close), lingering for at most this long.
    ///
    /// # Cancel safety
    /// Once polled, closing goes on by itself; another call gives the report.
    pub async fn close_within(&self, linger: Duration) -> CloseReport {
        self.handle.close(linger).await
    }
}

/// Whether this is a host and a port.
fn is_address(address: &str) -> bool {
    address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0))
}

/// Serves a connection, if the core takes it on.
fn spawn(driver: Option<LinkDriver<TcpLink>>) {
    if let Some(driver) = driver {
        tokio::spawn(driver);
    }
}

/// Accepts connections until the socket closes or stops listening here. The listener is dropped first then, so that its
/// address is free when the acceptor says that nobody listens.
async fn accept(acceptor: Acceptor, listener: TcpListener) {
    let mut failing = false;
    loop {
        let accepted = poll_fn(|cx| match ready!(acceptor.poll_gate(cx)) {
            Gate::Open => listener.poll_accept(cx).map(Some),
            _ => Poll::Ready(None),
        });
        match accepted.await {
            None => return,
            Some(Ok((stream, peer))) => {
                failing = false;
                if let Ok(link) = TcpLink::new(stream) {
                    spawn(acceptor.accepted(link, peer.to_string()));
                }
            }
            // The peer gave up while it waited to be accepted.
            Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Some(Err(error)) => {
                if !core::mem::replace(&mut failing, true) {
                    acceptor.failed(&error);
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Connects to an address whenever it is due.
async fn dial(dialer: Dialer, resolver: impl Resolve, deadline: Duration) {
    while let Some(address) = dialer.attempt().await {
        let attempt = tokio::time::timeout(deadline, net::connect(&address, &resolver)).await;
        match attempt.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok((stream, peer)) => serve_dialled(&dialer, stream, peer),
            Err(error) => dialer.failed(&error),
        }
    }
}

fn serve_dialled(dialer: &Dialer, stream: TcpStream, peer: SocketAddr) {
    match TcpLink::new(stream) {
        Ok(link) => spawn(dialer.connected(link, Arc::from(peer.to_string()))),
        Err(error) => dialer.failed(&error),
    }
}
