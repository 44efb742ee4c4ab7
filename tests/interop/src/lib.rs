//! The stage on which the interoperability tests play.
//!
//! A test puts processes on a [`Stage`]: the `agent` example of this
//! workspace, and the test program `peer.py` around one of the published
//! Python packages. Both take the same flags, so either can play either part.
//! Nothing here knows a scenario; those are in `tests/suite`.

extern crate alloc;

mod program;
mod stage;

pub use program::{Flags, Peer, Program, Role, Runtime};
pub use stage::{ActorId, PATIENCE, Stage, free_port};
