//! Who is there, who was there, and what waits for them.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::budget::Usage;
use crate::id::ConnectionId;
use crate::identity::Identity;
use crate::outgoing::{self, Outgoing};
use crate::time::Instant;

/// Identities that have left and are remembered, at most. Beyond, the one that left first is forgotten.
const MAX_DEPARTED: usize = 65_536;

/// A peer that is there, or was.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// The connection that has this identity.
    pub(super) connection: Option<ConnectionId>,
    /// Connections that show this identity, too, and wait for the holder to be gone, in the order of their turns: those
    /// that are to end but have something to be read, then the latest that is to stay.
    pub(super) newcomers: VecDeque<ConnectionId>,
    /// Until when its return is awaited.
    departed_until: Option<Instant>,
    /// Messages to it that wait for its return.
    waiting: VecDeque<Outgoing>,
    held: Usage,
    /// A sender was refused since its queue was full, and wants to know when that changes.
    pub(super) wants_room: bool,
}

impl Peer {
    pub(super) const fn held(&self) -> Usage {
        self.held
    }

    pub(super) fn hold(&mut self, message: Outgoing) {
        self.held.add(message.usage());
        self.waiting.push_back(message);
    }

    /// Takes messages back that were on their way to it.
    pub(super) fn hold_returned(&mut self, messages: VecDeque<Outgoing>) {
        for message in &messages {
            self.held.add(message.usage());
        }
        outgoing::merge(&mut self.waiting, messages);
    }

    /// Takes the message that has waited longest.
    pub(super) fn take_next(&mut self) -> Option<Outgoing> {
        let message = self.waiting.pop_front()?;
        self.held.sub(message.usage());
        Some(message)
    }

    pub(super) fn take_held(&mut self) -> VecDeque<Outgoing> {
        self.held = Usage::default();
        core::mem::take(&mut self.waiting)
    }
}

/// All peers by identity.
#[derive(Debug, Default)]
pub(super) struct Peers {
    known: BTreeMap<Identity, Peer>,
    /// Departures in their order; those who returned are still in it, and passed over.
    departures: VecDeque<(Instant, Identity)>,
    departed: usize,
}

impl Peers {
    pub(super) fn get(&self, identity: Identity) -> Option<&Peer> {
        self.known.get(&identity)
    }

    pub(super) fn get_mut(&mut self, identity: Identity) -> Option<&mut Peer> {
        self.known.get_mut(&identity)
    }

    /// The connection that has an identity.
    pub(super) fn holder(&self, identity: Identity) -> Option<ConnectionId> {
        self.known.get(&identity).and_then(|peer| peer.connection)
    }

    /// Gives an identity to a connection.
    pub(super) fn arrive(&mut self, identity: Identity, connection: ConnectionId) {
        let peer = self.known.entry(identity).or_default();
        peer.connection = Some(connection);
        if peer.departed_until.take().is_some() {
            self.departed -= 1;
        }
    }

    /// Takes an identity from its connection; its return is awaited until then.
    pub(super) fn depart(&mut self, identity: Identity, until: Instant) {
        if let Some(peer) = self.known.get_mut(&identity) {
            peer.connection = None;
            peer.departed_until = Some(until);
            self.departed += 1;
            self.departures.push_back((until, identity));
        }
        if self.departures.len() > 2 * MAX_DEPARTED {
            let known = &self.known;
            let awaited = |until: &Instant, identity: &Identity| {
                known.get(identity).is_some_and(|peer| peer.departed_until == Some(*until))
            };
            self.departures.retain(|(until, identity)| awaited(until, identity));
        }
    }

    /// When the first return stops being awaited, or an earlier time.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.departures.front().map(|(until, _)| *until)
    }

    /// Forgets a peer whose return is awaited no longer, and returns what waited for it.
    pub(super) fn expire(&mut self, now: Instant) -> Option<(Identity, Peer)> {
        while let Some((until, identity)) = self.departures.front().copied() {
            if until > now && self.departed <= MAX_DEPARTED {
                return None;
            }
            self.departures.pop_front();
            if self.known.get(&identity).is_some_and(|peer| peer.departed_until == Some(until)) {
                self.departed -= 1;
                return self.known.remove(&identity).map(|peer| (identity, peer));
            }
        }
        None
    }

    /// Whether the memory of departed identities is over its bound.
    pub(super) const fn is_over_bound(&self) -> bool {
        self.departed > MAX_DEPARTED
    }

    /// Takes all that waits for peers that are not there.
    pub(super) fn take_all_held(&mut self) -> Vec<Outgoing> {
        self.known.values_mut().flat_map(Peer::take_held).collect()
    }
}
