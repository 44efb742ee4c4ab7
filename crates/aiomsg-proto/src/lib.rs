//! placeholder
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
mod id;
mod identity;
mod inbox;
mod metrics;
mod outgoing;
mod socket;
mod time;
mod timers;

pub use self::batch::Batch;
pub use self::budget::{Limit, Usage};
pub use self::config::{Config, DuplicateIdentity, SendMode, SlowPeer};
pub use self::connection::{Connection, Role};
pub use self::dialect::{Dialect, IdentityForm, Protocol};
pub use self::error::{CloseReason, Closed, ConfigError, ConnectionRefused, SendError};
pub use self::event::{Event, Origin};
pub use self::id::{ConnectionId, DialId, MessageId};
pub use self::identity::{Identity, ParseIdentityError};
pub use self::inbox::{Inbox, Received};
pub use self::metrics::Metrics;
pub use self::socket::{CloseReport, LinkState, PeerInfo, Ready, Socket};
pub use self::time::Instant;
