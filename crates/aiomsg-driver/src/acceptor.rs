//! The part of accepting that does not depend on a runtime: whether, and what becomes of it.

use std::sync::Arc;
use std::task::{Context, Poll};

use aiomsg_proto::Origin;

use crate::dialer::accept;
use crate::io::Link;
use crate::link::LinkDriver;
use crate::shared::{ListenerId, Shared};

/// Says whether connections may be accepted at one address, and is given them. The socket runs a task for each through
/// its [`Runtime`](crate::Runtime); with a [`Handle`](crate::Handle), you run it.
///
/// When the gate is shut, the task stops listening and then drops this. Closing the socket waits for that, so that the
/// address is free afterwards.
#[derive(Debug)]
pub struct Acceptor {
    shared: Arc<Shared>,
    id: ListenerId,
}

/// Whether connections may be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gate {
    /// They may.
    Open,
    /// No more of them: stop listening.
    Shut,
}

impl Acceptor {
    pub(crate) const fn new(shared: Arc<Shared>, id: ListenerId) -> Self {
        Self { shared, id }
    }

    /// Whether a connection may be accepted now. Pending at the bound of connections or of unfinished handshakes. The
    /// task is woken when the answer changes, also after [`Gate::Open`].
    pub fn poll_gate(&self, cx: &Context<'_>) -> Poll<Gate> {
        self.shared.with(|state| {
            let closing = state.core.is_finishing();
            let Some(task) = state.listeners.get_mut(&self.id).filter(|task| !task.stopped && !closing)
            else {
                return Poll::Ready(Gate::Shut);
            };
            task.waker = Some(cx.waker().clone());
            if state.core.poll_accept() { Poll::Ready(Gate::Open) } else { Poll::Pending }
        })
    }

    /// A connection was accepted: serves it, unless there are too many.
    pub fn accepted<L: Link>(&self, link: L, peer: impl Into<Arc<str>>) -> Option<LinkDriver<L>> {
        accept(&self.shared, Origin::Accepted, link, peer.into())
    }

    /// Logs that accepting failed and is going to be tried again. Call it once per series of failures.
    pub fn failed(&self, error: &std::io::Error) {
        tracing::warn!(%error, "accepting connections fails; trying again until it succeeds");
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.shared.with(|state| {
            state.listeners.remove(&self.id);
            // Somebody may wait for the address to be free.
            state.woken.extend(state.watchers.take_all());
        });
    }
}
