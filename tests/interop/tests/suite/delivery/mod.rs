//! At-least-once against the Python package of 2026: its processes and ours are killed, connections are cut, and the
//! application is slow. What is lost by whom, and what comes twice, is counted and told; run with `--nocapture` to see.
//!
//! The package acknowledges a message 20 ms after it has put it in its queue, not when the application takes it. What
//! waits in that queue when it dies is lost, and that is the package's loss: no sender can know. As a sender it sends a
//! message again every 5 s, under a new id, as long as it lives.

mod cuts;
mod kills;
mod proxy;
mod slow;
pub(crate) mod support;

use std::sync::{Mutex, MutexGuard, PoisonError};

use aiomsg_interop::{Peer, Program};

/// The package that all of these tests speak to.
const PYTHON: Program = Program::Peer(Peer::V1_2026_7_1);

/// Tests that keep Python busy take turns: those in which it receives, and those in which it sends. All at once they
/// would keep one another from answering within the 5 s after which everything is sent again.
#[derive(Debug)]
struct Turn(Mutex<()>);

static PYTHON_RECEIVES: Turn = Turn(Mutex::new(()));
static PYTHON_SENDS: Turn = Turn(Mutex::new(()));

impl Turn {
    /// Waits for it. One that failed has had its turn, too.
    fn wait(&self) -> MutexGuard<'_, ()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
