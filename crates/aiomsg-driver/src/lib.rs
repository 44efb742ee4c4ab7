//! What every aiomsg adapter shares, whatever its runtime.
//!
//! An application uses an adapter crate, such as `aiomsg-tokio`. This crate is for who writes one. It owns the protocol
//! core of a socket behind one lock, and everything asynchronous that a runtime has no part in: waiting for room and for
//! messages, waking, streams, and the futures that serve connections and deadlines. It knows neither sockets nor
//! tasks; an adapter brings these:
//!
//! * a [`Link`]: a byte stream to a peer,
//! * a [`Timer`], and a [`Clock`], which may be [`MonotonicClock`],
//! * a way to spawn: one [`TimerDriver`] for each socket, one [`LinkDriver`] for each connection, and tasks of its own
//!   that connect for a [`Dialer`] and accept for an [`Acceptor`],
//! * a public socket type around a [`Handle`], built by a [`Builder`].
//!
//! ```text
//!   application -- send, recv --> Handle --.
//!                                          |
//!   adapter's tasks:   TimerDriver --------+--> the core behind one lock
//!                      LinkDriver (each) --+
//!                      dial loop, Dialer --+
//!                      accept loop, Acceptor
//! ```
//!
//! `send` only queues under the lock and wakes the connection's task if that was idle. That task takes a batch of
//! messages, encodes and writes it without the lock, reads, and hands what it read to the core in one step. `recv` takes
//! over all that has arrived at once, and hands it out one by one. State changes under the lock; tasks are woken when it
//! is released.
mod acceptor;
mod builder;
mod dialer;
mod events;
mod handle;
mod io;
mod link;
mod message;
mod receipt;
mod recv;
mod send;
mod shared;
mod timer;
mod waiters;

pub use self::acceptor::{Acceptor, Gate};
pub use self::builder::{Build, Builder};
pub use self::dialer::Dialer;
pub use self::events::EventStream;
pub use self::handle::Handle;
pub use self::io::{Clock, Link, MonotonicClock, Timer};
pub use self::link::LinkDriver;
pub use self::message::Message;
pub use self::receipt::PendingReceipt;
pub use self::recv::{MessageStream, ReceivedStream};
pub use self::timer::TimerDriver;
