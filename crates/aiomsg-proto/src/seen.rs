//! Which messages have been received, so that copies of them can be told.

use alloc::collections::{BTreeMap, VecDeque};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::id::{ConnectionId, MessageId};
use crate::identity::Identity;

/// Acknowledged messages that are remembered of one peer, at most.
const PER_PEER: usize = 8_192;

/// The same of all peers together. Where it does not suffice for all, each has an equal part of it.
const IN_ALL: usize = 1 << 18;

/// What is known of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It waits to be acknowledged; its latest copy came on this connection.
    Waiting(ConnectionId),
    /// It was acknowledged.
    Acknowledged,
}

/// The messages that were received lately, by sender.
#[derive(Debug)]
pub(crate) struct SeenMessages {
    peers: BTreeMap<Identity, Window>,
    /// Ids are the peers' choice, so they must not know how they are hashed.
    hasher: FixedState,
}

/// The messages of one sender.
#[derive(Debug)]
struct Window {
    known: HashMap<MessageId, Seen, FixedState>,
    /// Those that were acknowledged, in that order. The others are bounded by what may wait for the application, and
    /// are remembered for as long as they do.
    acknowledged: VecDeque<MessageId>,
}

impl SeenMessages {
    /// Nothing is known. `seed` decides how ids are hashed, and nothing that can be seen.
    pub(crate) fn new(seed: u64) -> Self {
        Self { peers: BTreeMap::new(), hasher: FixedState::with_seed(seed) }
    }

    /// Notes that a message came on a connection. Returns what was known of it, which is nothing if it is new.
    pub(crate) fn note(
        &mut self,
        identity: Identity,
        id: MessageId,
        connection: ConnectionId,
    ) -> Option<Seen> {
        let Self { peers, hasher } = self;
        let window = peers.entry(identity).or_insert_with(|| Window::new(hasher.clone()));
        match window.known.entry(id) {
            Entry::Occupied(mut seen) => {
                let before = *seen.get();
                if let Seen::Waiting(latest) = seen.get_mut() {
                    *latest = connection;
                }
                Some(before)
            }
            Entry::Vacant(place) => {
                place.insert(Seen::Waiting(connection));
                None
            }
        }
    }

    /// As [`note`](Self::note), if the message is new; false, and nothing is noted, if it is not.
    pub(crate) fn note_new(&mut self, identity: Identity, id: MessageId, connection: ConnectionId) -> bool {
        let Self { peers, hasher } = self;
        let window = peers.entry(identity).or_insert_with(|| Window::new(hasher.clone()));
        match window.known.entry(id) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(Seen::Waiting(connection));
                true
            }
        }
    }

    /// Notes that a message is acknowledged. Returns the connection that its acknowledgement belongs on, if it was not
    /// acknowledged before.
    pub(crate) fn acknowledge(&mut self, identity: Identity, id: MessageId) -> Option<ConnectionId> {
        let part = IN_ALL / self.peers.len().max(1);
        let window = self.peers.get_mut(&identity)?;
        let Seen::Waiting(connection) = core::mem::replace(window.known.get_mut(&id)?, Seen::Acknowledged)
        else {
            return None;
        };
        window.acknowledged.push_back(id);
        while window.acknowledged.len() > part.clamp(1, PER_PEER) {
            window.forget_oldest();
        }
        Some(connection)
    }

    /// Forgets a message that waits, so that a copy of it counts as new.
    pub(crate) fn forget(&mut self, identity: Identity, id: MessageId) {
        if let Some(window) = self.peers.get_mut(&identity)
            && let Some(Seen::Waiting(_)) = window.known.get(&id)
        {
            window.known.remove(&id);
        }
    }

    /// Forgets all messages of a peer.
    pub(crate) fn forget_peer(&mut self, identity: Identity) {
        self.peers.remove(&identity);
    }
}

impl Window {
    fn new(hasher: FixedState) -> Self {
        Self { known: HashMap::with_hasher(hasher), acknowledged: VecDeque::new() }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.acknowledged.pop_front() {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use slotmap::{DefaultKey, Key};

    use super::*;

    fn peer(number: u32) -> Identity {
        Identity::from_bytes(u128::from(number).to_be_bytes())
    }

    fn id(number: usize) -> MessageId {
        MessageId::from_bytes((number as u128).to_be_bytes())
    }

    fn connection() -> ConnectionId {
        ConnectionId(DefaultKey::null())
    }

    fn note(seen: &mut SeenMessages, from: Identity, number: usize) -> Option<Seen> {
        seen.note(from, id(number), connection())
    }

    #[test]
    fn a_copy_is_known_until_the_window_has_moved_on() {
        let mut seen = SeenMessages::new(1);
        assert_eq!(note(&mut seen, peer(1), 0), None);
        assert_eq!(note(&mut seen, peer(1), 0), Some(Seen::Waiting(connection())));
        assert_eq!(seen.acknowledge(peer(1), id(0)), Some(connection()));
        assert_eq!(seen.acknowledge(peer(1), id(0)), None);
        for number in 1..PER_PEER {
            assert_eq!(note(&mut seen, peer(1), number), None);
            seen.acknowledge(peer(1), id(number));
        }
        assert_eq!(note(&mut seen, peer(1), 0), Some(Seen::Acknowledged));
        note(&mut seen, peer(1), PER_PEER);
        seen.acknowledge(peer(1), id(PER_PEER));
        assert_eq!(note(&mut seen, peer(1), 0), None, "forgotten, and so new again");
        assert_eq!(note(&mut seen, peer(1), 1), Some(Seen::Acknowledged));
    }

    #[test]
    fn messages_that_wait_do_not_keep_acknowledged_ones_from_being_forgotten() {
        let mut seen = SeenMessages::new(1);
        for number in 0..100 {
            note(&mut seen, peer(1), number);
        }
        for number in 100..3 * PER_PEER {
            note(&mut seen, peer(1), number);
            seen.acknowledge(peer(1), id(number));
        }
        assert_eq!(seen.peers[&peer(1)].known.len(), PER_PEER + 100);
        assert_eq!(note(&mut seen, peer(1), 0), Some(Seen::Waiting(connection())));
    }

    #[test]
    fn many_peers_share_the_memory_equally() {
        let mut seen = SeenMessages::new(1);
        let peers = 64;
        for number in 0..IN_ALL / 64 + 10 {
            for from in 0..peers {
                note(&mut seen, peer(from), number);
                seen.acknowledge(peer(from), id(number));
            }
        }
        let remembered = |from: u32| seen.peers[&peer(from)].known.len();
        assert!((0..peers).all(|from| remembered(from) == IN_ALL / 64));
    }

    #[test]
    fn forgetting_makes_new() {
        let mut seen = SeenMessages::new(1);
        note(&mut seen, peer(1), 0);
        seen.forget(peer(1), id(0));
        assert_eq!(note(&mut seen, peer(1), 0), None);
        seen.acknowledge(peer(1), id(0));
        seen.forget(peer(1), id(0));
        assert_eq!(note(&mut seen, peer(1), 0), Some(Seen::Acknowledged));
        seen.forget_peer(peer(1));
        assert_eq!(note(&mut seen, peer(1), 0), None);
    }
}
