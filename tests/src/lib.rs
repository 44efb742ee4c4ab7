//! A network in virtual time, for sockets of the protocol core.
//!
//! [`Network`] holds any number of sockets, drives each exactly as the core's contract asks, and carries bytes between
//! them over links with latency, bounded buffers and faults. Nothing here reads a clock, opens a port or sleeps: the same
//! seed and the same calls give the same run, byte for byte, and an hour of silence costs nothing.
//!
//! Whoever is no socket is a [raw peer](RawId): bytes in and bytes out, for peers that break the rules. [`wire`] writes
//! and reads their bytes with code of its own, so that the core is not checked against itself.
//!
//! Apart from that, [`program`] runs the examples as they are: as processes, in real time.

extern crate alloc;

mod check;
pub mod company;
mod connection;
pub mod crowd;
mod drive;
mod faults;
pub mod fuzzing;
mod habits;
mod network;
mod node;
mod pipe;
mod ports;
pub mod program;
mod raw;
mod roads;
pub mod runtime;
mod scene;
pub mod simulation;
pub mod wire;

pub use self::check::{assert_conserved, departures, numbered, refusals};
pub use self::connection::WireId;
pub use self::network::{Chunking, Network};
pub use self::node::{NodeId, Taking};
pub use self::ports::free_address;
pub use self::raw::{Ended, RawId};
pub use self::scene::Scene;

/// The snippets of the documents, compiled, and run where they end. Those of the cookbook are quotations of programs; the
/// test `cookbook` sees to it that they are true.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[doc = include_str!("../../docs/ADAPTERS.md")]
#[doc = include_str!("../../docs/COOKBOOK.md")]
#[doc = include_str!("../../docs/EMBEDDING.md")]
#[doc = include_str!("../../docs/FROM_PYTHON.md")]
#[doc = include_str!("../../docs/FROM_ZEROMQ.md")]
#[allow(missing_docs)]
pub struct Documents;
