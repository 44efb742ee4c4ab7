//! What every aiomsg adapter shares, whatever its runtime.
//!
//! An application uses an adapter crate, such as `aiomsg-tokio`; code that is to work with any of them is generic over
//! [`Runtime`]. This crate has the [`Socket`] that all of them share: the protocol core behind one lock, and everything
//! asynchronous around it. It runs no task and opens no connection by itself. That is what a runtime brings:
//!
//! * [`Runtime`]: spawn, connect, listen, resolve, and the time,
//! * [`Link`]: a byte stream to a peer; [`Listener`]: where they come from,
//! * [`Timer`] and [`Clock`]; where there is no clock to follow, [`MonotonicClock`] will do.
//!
//! An adapter is little more than an implementation of these. Where tasks cannot move between threads, or connections are
//! something else than TCP, a [`Handle`] is the same socket with its futures in the hands of whoever makes it: one
//! [`TimerDriver`], one [`LinkDriver`] for each connection, a loop around each [`Dialer`] and [`Acceptor`].
//!
//! A service that answers whoever asks, on any runtime:
//!
//! ```
//! use aiomsg_driver::{Runtime, Socket, ToAddress};
//!
//! async fn serve<R: Runtime>(address: impl ToAddress) -> Result<(), Box<dyn std::error::Error>> {
//!     let socket = Socket::<R>::builder().build()?;
//!     socket.bind(address).await?;
//!     loop {
//!         let question = socket.recv_from().await?;
//!         socket.send_to(question.identity, question.payload).await?;
//!     }
//! }
//! ```
//!
//! # How it works
//!
//! ```text
//!   application -- send, recv --> Socket --.
//!                                          |
//!   tasks of a runtime:  TimerDriver ------+--> the core behind one lock
//!                        LinkDriver (each)-+
//!                        dial loop, Dialer +
//!                        accept loop, Acceptor
//! ```
//!
//! `send` only lines a message up, as it will be written, under the lock, and wakes the connection's task if that was
//! idle; of several that are woken together, the first serves all. That task takes a batch of messages and writes it
//! without the lock, reads, and hands what it read to the core in one step. `recv` takes over all that has arrived at
//! once, and cuts it off message by message. State changes under the lock; tasks are woken when it is released.
//!
//! # The types
//!
//! | for | there is |
//! |---|---|
//! | an application | [`Socket`], [`Builder`], [`ToAddress`]; what a socket gives: [`Message`], [`MessageStream`], [`ReceivedStream`], [`EventStream`], [`PendingReceipt`] |
//! | settings and what is told | those of the core: [`Config`], [`Event`], [`Metrics`], [`SendError`] and more |
//! | an adapter | [`Runtime`], [`Listener`], [`Link`], [`Timer`], [`Clock`], [`MonotonicClock`]; on Linux `SystemTimer`, `Watched` |
//! | whoever runs the futures himself | [`Handle`], [`TimerDriver`], [`LinkDriver`], [`Dialer`], [`Acceptor`], [`Gate`] |
//!
//! There are no feature flags. Rust 1.89 or newer is needed.
//!
//! In the repository, `docs/ADAPTERS.md` has the rules for an adapter and examples of all of this, `docs/ARCHITECTURE.md`
//! the way of a message through these files, `docs/DELIVERY.md` what is promised of it.
mod acceptor;
mod address;
mod buffers;
mod builder;
mod dialer;
mod events;
mod guide;
mod handle;
mod io;
mod leader;
mod link;
mod message;
mod reader;
mod receipt;
mod recv;
mod runtime;
mod send;
mod serve;
mod shared;
mod socket;
#[cfg(target_os = "linux")]
mod system_timer;
mod timer;
mod waiters;

// What code that is generic over the runtime needs of the core. No documentation: it would stand before that of each.
pub use aiomsg_proto::{
    Acknowledge, CloseReason, CloseReport, Closed, Config, ConfigError, ConnectionId, DeliveryGuarantee,
    DialId, Dialect, DuplicateIdentity, Event, Identity, IdentityForm, IdentityLengthError, Limit, MessageId,
    Metrics, Origin, ParseIdentityError, PeerInfo, Protocol, Receipt, Receive, Received, SendError, SendMode,
    SlowPeer, Usage,
};
pub use aiomsg_proto::{dialect::GreetingError, frame::FrameTooLong};
pub use bytes::Bytes;

pub use self::acceptor::{Acceptor, Gate};
pub use self::address::{ConnectError, ToAddress};
pub use self::builder::{BuildError, Builder};
pub use self::dialer::Dialer;
pub use self::events::EventStream;
pub use self::handle::Handle;
pub use self::io::{Clock, Link, MonotonicClock, Timer};
pub use self::link::LinkDriver;
pub use self::message::Message;
pub use self::receipt::PendingReceipt;
pub use self::recv::{MessageStream, ReceivedStream};
pub use self::runtime::{Listener, Runtime};
pub use self::socket::Socket;
#[cfg(target_os = "linux")]
pub use self::system_timer::{SystemTimer, Watched};
pub use self::timer::TimerDriver;
