//! The part of connecting that does not depend on a runtime: when, and what becomes of it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use aiomsg_proto::{DialId, Origin};

use crate::io::Link;
use crate::link::LinkDriver;
use crate::shared::Shared;

/// So much of what is published may wait in the system for one subscriber that takes no more. If it were all that the system
/// has room for (4 MiB on Linux), what a subscriber has not taken would be sent when it reads, by its processor, which
/// makes a slow one slower; and it would be noticed late that it is slow.
const UNSENT: u32 = 128 * 1024;

/// Says when an address is to be connected, and is told what became of it. The socket runs a task for each through its
/// [`Runtime`](crate::Runtime); with a [`Handle`](crate::Handle), you run it:
///
/// ```text
/// while let Some(address) = dialer.attempt().await {
///     match connect(&address).await {
///         Ok((link, peer)) => spawn(dialer.connected(link, peer)),
///         Err(error) => dialer.failed(&error),
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Dialer {
    shared: Arc<Shared>,
    id: DialId,
}

impl Dialer {
    pub(crate) const fn new(shared: Arc<Shared>, id: DialId) -> Self {
        Self { shared, id }
    }

    /// Waits until an attempt is due, and returns the address; `None` when there are to be no more.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, the attempt is still due.
    pub async fn attempt(&self) -> Option<Arc<str>> {
        poll_fn(|cx| {
            self.shared.with(|state| {
                let address = state.core.dial_address(self.id).map(Arc::from);
                let Some(task) = state.dials.get_mut(&self.id).filter(|_| address.is_some()) else {
                    return Poll::Ready(None);
                };
                if core::mem::take(&mut task.due) {
                    return Poll::Ready(address);
                }
                task.waker = Some(cx.waker().clone());
                Poll::Pending
            })
        })
        .await
    }

    /// The attempt succeeded: serves the connection, if it is still wanted.
    pub fn connected<L: Link>(&self, link: L, peer: impl Into<Arc<str>>) -> Option<LinkDriver<L>> {
        accept(&self.shared, Origin::Dialled(self.id), link, peer.into())
    }

    /// The attempt failed.
    pub fn failed(&self, error: &std::io::Error) {
        self.shared.with_time(|state, now| {
            state.core.handle_dial_failed(now, self.id, error.to_string());
        });
    }
}

impl Drop for Dialer {
    fn drop(&mut self) {
        self.shared.with_time(|state, now| {
            state.dials.remove(&self.id);
            state.core.undial(now, self.id);
        });
    }
}

/// Takes a connection on.
pub(crate) fn accept<L: Link>(
    shared: &Arc<Shared>,
    origin: Origin,
    link: L,
    peer: Arc<str>,
) -> Option<LinkDriver<L>> {
    let (connected, publishes) = shared.with_time(|state, now| {
        (state.core.handle_connected(now, origin, peer), state.core.config().publishes())
    });
    if publishes {
        link.limit_unsent(UNSENT);
    }
    match connected {
        Ok(id) => Some(LinkDriver::new(shared.clone(), id, link)),
        Err(refused) => {
            tracing::debug!(%refused, "a connection was not taken on");
            None
        }
    }
}
