//! What a comparison asks of a library.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use clap::ValueEnum;

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends each message to one peer.
    Push,
    /// Receives from so many peers.
    Pull {
        senders: usize,
    },
    /// Sends now and then, and has heartbeats, if the library knows any.
    Idle,
    /// Receives from so many that are idle, and has heartbeats, too.
    Hold {
        senders: usize,
    },
    /// Sends each message to so many subscribers, without losing any.
    Publish {
        subscribers: usize,
    },
    Subscribe,
    /// Sends a message and waits for the answer.
    Ask,
    Answer,
}

impl Role {
    /// How often each end has to show that it is alive: as often as ours does by default, and only where it is asked for.
    #[cfg(any(feature = "zmq", feature = "omq", feature = "rzmq"))]
    pub fn heartbeats(self) -> Option<Duration> {
        matches!(self, Self::Idle | Self::Hold { .. }).then_some(Duration::from_secs(5))
    }
}

/// Which end of a connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Bind,
    Connect,
}

/// A library: how to open a socket, and what to do with it. Sockets have their default settings, except that nothing may
/// be lost.
pub trait Library: 'static {
    type Socket: Send;
    /// A message as it is received.
    type Message: AsRef<[u8]> + Send;

    /// How long to wait before a few more idle sockets are opened.
    const PAUSE: Duration = Duration::from_millis(1);

    /// Runs a whole process.
    fn block_on<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T;

    /// A socket at `address`, a host and a port. A publisher is ready when its subscribers are there.
    fn open(role: Role, way: Way, address: &str) -> impl Future<Output = Self::Socket> + Send;

    /// Sends a message, or lines it up.
    fn send(socket: &mut Self::Socket, payload: &Bytes) -> impl Future<Output = ()> + Send;

    /// Sends a message if that goes without waiting for a peer. Otherwise it may be lost.
    fn offer(socket: &mut Self::Socket, payload: &Bytes) -> impl Future<Output = ()> + Send;

    /// Sends what is lined up, where that has to be asked for.
    fn flush(_socket: &mut Self::Socket) -> impl Future<Output = ()> + Send {
        async {}
    }

    fn receive(socket: &mut Self::Socket) -> impl Future<Output = Self::Message> + Send;

    /// Sends a message that was received.
    fn send_on(socket: &mut Self::Socket, message: Self::Message) -> impl Future<Output = ()> + Send;
}

/// All libraries of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// One stream of frames over TCP: what is possible.
    Raw,
    /// libzmq.
    Zmq,
    /// aiomsg on one thread of tokio.
    Aiomsg,
    /// aiomsg on two threads of tokio.
    AiomsgMulti,
    /// aiomsg on smol.
    AiomsgSmol,
    /// aiomsg on one thread of tokio, at-least-once.
    AiomsgAcknowledged,
    /// omq, by `send` and `recv`.
    Omq,
    /// omq, by `try_send` and `try_recv` as long as these find something to do.
    OmqTry,
    /// monocoque, which is flushed by hand.
    Monocoque,
    /// The pure Rust zeromq.
    Zeromq,
    /// rzmq.
    Rzmq,
    /// The proxy in Python, with the package of 2026; its ends are ours.
    Python,
}
