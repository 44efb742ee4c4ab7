//! The aiomsg smart-socket protocol as a pure state machine.
//!
//! One [`Socket`] stands for any number of connections. It routes messages to peers (one after another, all of them, or
//! one by its identity), keeps what has no peer yet, decides when to connect again, watches over signs of life, and
//! speaks two wire dialects. It does none of the following itself: open a connection, read, write, tell the time, draw
//! a random number, start a task, take a lock. Whoever embeds it does, in whatever event loop there is. Adapters for
//! tokio and others are crates of their own; this one needs `core` and `alloc` only.
//!
//! # The layers
//!
//! ```text
//!    bytes of one stream                                          the application
//!          |                                                            |
//!   [frame] split off whole frames     [Connection] one stream:    [Socket] many streams:
//!   [dialect] what a frame means       introduction, signs of      routing, buffering, dials,
//!          |                           life, what to write         duplicates, limits, events
//!          '------------- used by ------------'----- used by ------------'
//! ```
//!
//! Each layer can be used alone: [`frame`] and [`dialect`] to look at captured bytes, [`Connection`] for a program that
//! has one peer and needs no routing, [`Socket`] for everything else.
//!
//! # The run loop
//!
//! 1. Tell the core what happened: a connection came to be ([`Socket::handle_connected`]), bytes came
//!    ([`Socket::handle_received`]), bytes were taken ([`Socket::handle_transmitted`]), a connection ended
//!    ([`Socket::handle_disconnected`]), time passed ([`Socket::handle_timeout`]). Or give it a command of the
//!    application: [`Socket::send`], [`Socket::dial`], [`Socket::close`].
//! 2. Drain [`Socket::poll_ready`] and do what it says: for a connection, ask [`Socket::link_state`],
//!    [`Socket::transmit`] and [`Socket::wants_read`]; for a dial, connect; and so on.
//! 3. Drain [`Socket::poll_event`] if anybody is interested; undrained events give way to newer ones.
//! 4. Ask [`Socket::poll_timeout`], and sleep until then or until something happens.
//!
//! Any order of calls is legal, and nothing has to be drained between two inputs. Deadlines are about time only:
//! sleeping exactly until [`Socket::poll_timeout`] is enough, and calls of [`Socket::handle_timeout`] that come early,
//! late or twice do no harm. An idle socket does nothing, and each poll takes the same time however many connections
//! there are.
//!
//! Here two sockets talk through two vectors of bytes. With real streams, the loop is the same.
//!
//! ```
//! use aiomsg_proto::{Batch, Config, ConnectionId, Identity, Inbox, Instant, Origin, Ready, Socket};
//! use bytes::{Bytes, BytesMut};
//!
//! /// A socket, its one connection, and the bytes that are on their way to it.
//! struct Node {
//!     socket: Socket,
//!     link: ConnectionId,
//!     batch: Batch,
//!     incoming: BytesMut,
//! }
//!
//! impl Node {
//!     /// Does all there is to do at `now`, and appends what is to be written to `wire`.
//!     fn run(&mut self, now: Instant, wire: &mut BytesMut) {
//!         // Inputs: what came, and what is due. What the core leaves in the buffer stays there.
//!         self.socket.handle_received(now, self.link, &mut self.incoming);
//!         self.socket.handle_timeout(now);
//!         // Outputs: what to do now.
//!         while let Some(ready) = self.socket.poll_ready() {
//!             if ready != Ready::Connection(self.link) {
//!                 continue;
//!             }
//!             while self.socket.transmit(now, self.link, &mut self.batch) {
//!                 self.batch.slices().for_each(|slice| wire.extend_from_slice(slice));
//!                 // A real stream may take less than it was shown.
//!                 self.batch.advance(usize::MAX);
//!                 self.socket.handle_transmitted(now, self.link, &mut self.batch);
//!             }
//!         }
//!     }
//! }
//!
//! let now = Instant::EPOCH;
//! let node = |name: u8, origin: fn(&mut Socket) -> Origin| {
//!     let identity = Identity::from_bytes([name; 16]);
//!     let mut socket = Socket::new(Config::default(), identity, u64::from(name), now)?;
//!     let origin = origin(&mut socket);
//!     let link = socket.handle_connected(now, origin, "memory")?;
//!     Ok::<_, Box<dyn core::error::Error>>(Node {
//!         socket,
//!         link,
//!         batch: Batch::default(),
//!         incoming: BytesMut::new(),
//!     })
//! };
//! let mut dialler = node(1, |socket| Origin::Dialled(socket.dial(Instant::EPOCH, "memory").unwrap()))?;
//! let mut listener = node(2, |_| Origin::Accepted)?;
//!
//! dialler.socket.send(now, Bytes::from_static(b"hello"))?;
//! for _ in 0..3 {
//!     dialler.run(now, &mut listener.incoming);
//!     listener.run(now, &mut dialler.incoming);
//! }
//!
//! let mut inbox = Inbox::default();
//! assert!(listener.socket.poll_received(now, &mut inbox));
//! assert_eq!(inbox.next().unwrap().payload, "hello");
//! // Both peers are there, and nothing is due before the next heartbeat.
//! assert_eq!(dialler.socket.poll_timeout(), Some(now + core::time::Duration::from_secs(5)));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # After which call ask what
//!
//! | after | `poll_ready` | `poll_event` | `poll_timeout` |
//! |---|---|---|---|
//! | `send`, `send_to`, `send_with_receipt` | something to write | a slow subscriber | if publishing waits for one, or it was refused while a connection is not read |
//! | `acknowledge` | something to write | | |
//! | `reject`, `let_in` | | | |
//! | `dial` | the dial is due | connecting | |
//! | `undial`, `disconnect`, `keep_out` | connections to end, something to write elsewhere, room for senders | a slow subscriber | yes |
//! | `close` | connections to end, room for senders, closed | | yes |
//! | `handle_connected` | something to write | | yes |
//! | `handle_received` | messages, something to write, or to close, room for senders, a receipt, that accepting may go on | connected, acknowledgements hidden, a slow subscriber | yes |
//! | `handle_transmitted` | more to write, room for senders | | yes |
//! | `handle_disconnected` | something to write elsewhere, a dial, room for senders, a receipt, that accepting may go on, closed | disconnected, refused, retrying, given up, connected, expired, a slow subscriber | yes |
//! | `handle_dial_failed` | | retrying | yes |
//! | `handle_timeout` | anything | anything | yes |
//! | `transmit` | room for senders | a subscriber that has recovered | |
//! | `poll_received` | connections to be read again, something to write | | yes |
//! | `poll_receipt` | room for senders | | |
//! | `poll_accept` | later, that accepting may go on | | |
//!
//! # What is promised
//!
//! * Every queue is bounded in messages and in bytes ([`Config`] has the bounds), and nothing is allocated because a
//!   peer announced a length.
//! * What a peer does wrong costs that one connection, and is told with its reason ([`CloseReason`]). No bytes of a
//!   peer can cause a panic.
//! * The same seed and the same calls give the same results, byte for byte.
//! * Every accepted message is, for each recipient, at any time exactly one of handed over, still held, or counted as
//!   dropped for a reason that can be seen ([`Metrics`]).
//! * When a connection ends, exactly the messages whose last byte was not taken are sent elsewhere or kept; at least
//!   once, those that were not acknowledged, too. Published copies that other subscribers have are dropped and counted.
//!
//! # The types
//!
//! | for | there is |
//! |---|---|
//! | many connections | [`Socket`]; what it says is to be done: [`Ready`], [`LinkState`]; what has arrived: [`Inbox`], [`Received`] |
//! | one connection | [`Connection`], [`Role`] |
//! | what is written | [`Batch`] |
//! | settings | [`Config`], [`Limit`] and the policies: [`SendMode`], [`DeliveryGuarantee`], [`Acknowledge`], [`Receive`], [`SlowPeer`], [`DuplicateIdentity`], [`Dialect`] |
//! | names | [`Identity`], [`ConnectionId`], [`DialId`], [`MessageId`], [`ReceiptId`] |
//! | what happened | [`Event`], [`Metrics`], [`Usage`], [`PeerInfo`], [`Receipt`], [`CloseReport`] |
//! | what went wrong | [`SendError`], [`CloseReason`], [`ConnectionRefused`], [`ConfigError`], [`Closed`] |
//! | bytes | [`frame`], [`dialect`], [`Protocol`], [`IdentityForm`] |
//! | time | [`Instant`] |
//!
//! There are no feature flags: it is `no_std` always, and needs `alloc`. Rust 1.89 or newer is needed.
//!
//! In the repository, `docs/EMBEDDING.md` has the loop for readiness, completions and threads, with the mistakes that can be
//! made, and `crates/aiomsg-examples` a program for each. `docs/PROTOCOL.md` has what goes over the wire,
//! `docs/ARCHITECTURE.md` the way of a message through these files.
#![no_std]
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]
#![warn(clippy::alloc_instead_of_core, clippy::std_instead_of_alloc, clippy::std_instead_of_core)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

extern crate alloc;

mod batch;
mod budget;
mod config;
mod connection;
pub mod dialect;
mod error;
mod event;
pub mod frame;
mod frames;
mod id;
mod identity;
mod inbox;
mod metrics;
mod outgoing;
mod seen;
mod socket;
mod time;
mod timers;

pub use self::batch::Batch;
pub use self::budget::{Limit, Usage};
pub use self::config::{
    Acknowledge, Config, DeliveryGuarantee, DuplicateIdentity, Receive, SendMode, SlowPeer,
};
pub use self::connection::{Connection, Role};
pub use self::dialect::{Dialect, IdentityForm, Protocol};
pub use self::error::{CloseReason, Closed, ConfigError, ConnectionRefused, Refusal, SendError};
pub use self::event::{Event, Origin};
pub use self::id::{ConnectionId, DialId, MessageId, ReceiptId};
pub use self::identity::{Identity, IdentityLengthError, ParseIdentityError};
pub use self::inbox::{Inbox, Received};
pub use self::metrics::Metrics;
pub use self::socket::{CloseReport, LinkState, PeerInfo, Ready, Receipt, Socket};
pub use self::time::Instant;
