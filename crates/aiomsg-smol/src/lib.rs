//! Smart sockets for smol: messages instead of streams, over TCP, between any number of peers.
//!
//! One [`Socket`] binds, connects, or both, to any number of peers. [`Socket::send`] distributes messages, to one peer
//! after another or to all; [`Socket::send_to`] addresses one; [`Socket::recv`] gets what any of them sends. Lost
//! connections are re-established, messages are buffered while no peer is connected, heartbeats detect vanished peers.
//! It interoperates with the `aiomsg` packages of Python and other languages, those of 2026 as well as those of 2018
//! and 2019.
//!
//! ```
//! use aiomsg_smol::Socket;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # smol::block_on(async {
//! let server = Socket::builder().build()?;
//! let address = server.bind("127.0.0.1:0").await?;
//!
//! let client = Socket::builder().build()?;
//! client.connect(address)?;
//! client.send("what time is it?").await?;
//!
//! let question = server.recv_from().await?;
//! assert_eq!(question.payload, "what time is it?");
//! server.send_to(question.identity, "high time").await?;
//! assert_eq!(client.recv().await?, "high time");
//!
//! client.close().await;
//! server.close().await;
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # Runtime
//!
//! A socket is served by the global executor of smol, whose threads start by themselves (one, unless `SMOL_THREADS` says
//! more). To have it served by another executor, on threads of your choice or on one alone, give it to the builder:
//!
//! ```
//! use std::sync::Arc;
//!
//! use aiomsg_smol::{Smol, Socket};
//!
//! let executor = Arc::new(smol::Executor::new());
//! smol::block_on(executor.run(async {
//!     let socket = Socket::builder().runtime(Smol::on(&executor)).build()?;
//!     socket.bind("127.0.0.1:0").await?;
//!     socket.close().await;
//!     Ok::<(), Box<dyn std::error::Error>>(())
//! }))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
#![doc = aiomsg_driver::guide!()]
#[expect(unnameable_types, reason = "what serves a socket needs no name")]
mod runtime;
#[expect(unnameable_types, reason = "what wakes a socket needs no name")]
mod timer;

pub use aiomsg_driver::{
    Acknowledge, BuildError, Bytes, CloseReason, CloseReport, Closed, Config, ConfigError, ConnectError,
    ConnectionId, DeliveryGuarantee, DialId, Dialect, DuplicateIdentity, Event, EventStream, FrameTooLong,
    GreetingError, Identity, IdentityForm, IdentityLengthError, Limit, Message, MessageId, MessageStream,
    Metrics, Origin, ParseIdentityError, PeerInfo, PendingReceipt, Protocol, Receipt, Receive, Received,
    ReceivedStream, Runtime, SendError, SendMode, SlowPeer, ToAddress, Usage,
};

pub use self::runtime::Smol;

/// A smart socket that is served by smol.
pub type Socket = aiomsg_driver::Socket<Smol>;

/// Sets up a [`Socket`].
pub type Builder = aiomsg_driver::Builder<Smol>;
