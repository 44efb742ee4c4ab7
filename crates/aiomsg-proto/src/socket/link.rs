//! What a socket knows of one connection.

use alloc::sync::Arc;

use super::delivery::Unacknowledged;
use super::publish::Subscription;
use crate::budget::Usage;
use crate::config::Config;
use crate::connection::Connection;
use crate::error::CloseReason;
use crate::event::Origin;
use crate::identity::Identity;
use crate::time::Instant;
use crate::timers::Armed;

/// What the driver of a connection is to do with it, see [`Socket::link_state`](super::Socket::link_state).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LinkState {
    /// Read and write.
    Open,
    /// All is written: close the writing half, and go on reading until the peer closes.
    HalfClose,
    /// Close at once, and report it by [`Socket::handle_disconnected`](super::Socket::handle_disconnected).
    Close,
}

/// What a socket knows of one connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) origin: Origin,
    pub(super) address: Arc<str>,
    /// Why it ends, once that is decided.
    pub(super) ending: Option<CloseReason>,
    /// The link must be dropped; nothing more is read or written.
    pub(super) dead: bool,
    /// Since when its peer is accepted. Stays when it ends.
    pub(super) open_since: Option<Instant>,
    /// It counts as an unfinished handshake.
    pub(super) handshaking: bool,
    /// It shows an identity that another connection has, which is asked for a sign of life and given up then.
    pub(super) waits_for_holder: Option<Instant>,
    /// Another connection shows its identity, and waits for it to fail or to show a sign of life; no longer than this.
    pub(super) probed_until: Option<Instant>,
    /// What arrives is of no interest any more.
    pub(super) discard: bool,
    pub(super) in_ring: bool,
    pub(super) subscription: Subscription,
    pub(super) slow: Armed,
    /// Since when publishing waits for it.
    pub(super) blocking_until: Option<Instant>,
    pub(super) unacknowledged: Unacknowledged,
    /// Received and not settled, a large frame that is arriving included.
    pub(super) held: Usage,
    /// Of these, a large frame that is still arriving.
    pub(super) reserved: Usage,
    /// Since when it is not read, if it is not.
    pub(super) paused: Option<Instant>,
    /// When it last took something that was to be written.
    pub(super) moved_at: Instant,
    /// It was told that acknowledgements may be hidden behind what is not read; not told again until all is taken.
    pub(super) hiding_told: bool,
    pub(super) ready: bool,
    pub(super) armed: Armed,
}

impl Link {
    pub(super) fn new(connection: Connection, origin: Origin, address: Arc<str>) -> Self {
        Self {
            connection,
            handshaking: origin == Origin::Accepted,
            origin,
            address,
            ending: None,
            dead: false,
            open_since: None,
            waits_for_holder: None,
            probed_until: None,
            discard: false,
            in_ring: false,
            subscription: Subscription::default(),
            slow: Armed::default(),
            blocking_until: None,
            unacknowledged: Unacknowledged::default(),
            held: Usage::default(),
            reserved: Usage::default(),
            paused: None,
            moved_at: Instant::EPOCH,
            hiding_told: false,
            ready: false,
            armed: Armed::default(),
        }
    }

    /// Messages flow to and from its peer.
    pub(super) fn is_open(&self) -> bool {
        self.open_since.is_some() && self.ending.is_none()
    }

    /// Whether it can take a message of `bytes` bytes that is for any peer.
    #[inline]
    pub(super) fn takes(&self, config: &Config, bytes: usize) -> bool {
        self.is_open()
            && config.prefetch.admits(self.connection.queued(), bytes)
            && self.unacknowledged.bound() < config.window
    }

    pub(super) const fn identity(&self) -> Option<Identity> {
        self.connection.peer()
    }

    /// Its next deadline.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.dead {
            return None;
        }
        self.connection.poll_timeout().into_iter().chain(self.waits_for_holder).min()
    }

    pub(super) fn state(&self) -> LinkState {
        if self.dead {
            LinkState::Close
        } else if self.connection.wants_half_close() {
            LinkState::HalfClose
        } else {
            LinkState::Open
        }
    }
}
