//! Which messages have been received, so that copies of them can be told.

use alloc::collections::{BTreeMap, VecDeque};

use crate::id::{ConnectionId, MessageId};
use crate::identity::Identity;

/// Ids that are remembered of one peer, at least, and of all peers together, at most.
const PER_PEER: usize = 8_192;
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
#[derive(Debug, Default)]
pub(crate) struct SeenMessages {
    peers: BTreeMap<Identity, Window>,
    total: usize,
}

/// The messages of one sender.
#[derive(Debug, Default)]
struct Window {
    known: BTreeMap<MessageId, Seen>,
    /// The same in the order in which they came first.
    order: VecDeque<MessageId>,
}

impl SeenMessages {
    /// Notes that a message came on a connection. Returns what was known of it, which is nothing if it is new.
    pub(crate) fn note(
        &mut self,
        identity: Identity,
        id: MessageId,
        connection: ConnectionId,
    ) -> Option<Seen> {
        let window = self.peers.entry(identity).or_default();
        if let Some(seen) = window.known.get_mut(&id) {
            let before = *seen;
            if let Seen::Waiting(latest) = seen {
                *latest = connection;
            }
            return Some(before);
        }
        if window.order.len() >= PER_PEER || self.total >= IN_ALL {
            self.total -= window.evict();
        }
        window.known.insert(id, Seen::Waiting(connection));
        window.order.push_back(id);
        self.total += 1;
        None
    }

    /// Notes that a message is acknowledged. Returns the connection that its acknowledgement belongs on, if it was not
    /// acknowledged before.
    pub(crate) fn acknowledge(&mut self, identity: Identity, id: MessageId) -> Option<ConnectionId> {
        let seen = self.peers.get_mut(&identity)?.known.get_mut(&id)?;
        match core::mem::replace(seen, Seen::Acknowledged) {
            Seen::Waiting(connection) => Some(connection),
            Seen::Acknowledged => None,
        }
    }

    /// Forgets a message, so that a copy of it counts as new.
    pub(crate) fn forget(&mut self, identity: Identity, id: MessageId) {
        if let Some(window) = self.peers.get_mut(&identity)
            && window.known.remove(&id).is_some()
        {
            window.order.retain(|known| *known != id);
            self.total -= 1;
        }
    }

    /// Forgets all messages of a peer.
    pub(crate) fn forget_peer(&mut self, identity: Identity) {
        if let Some(window) = self.peers.remove(&identity) {
            self.total -= window.known.len();
        }
    }
}

impl Window {
    /// Makes room for one more, at the cost of the oldest that was acknowledged. Those that wait are bounded by the
    /// receive buffer, and stay. Returns how many were forgotten.
    fn evict(&mut self) -> usize {
        let acknowledged = |id: &MessageId| self.known.get(id) == Some(&Seen::Acknowledged);
        // Messages are mostly acknowledged in the order in which they came.
        let Some(place) = self.order.iter().take(64).position(acknowledged) else { return 0 };
        self.order.remove(place).and_then(|id| self.known.remove(&id)).map_or(0, |_| 1)
    }
}

#[cfg(test)]
mod tests {
    use slotmap::{DefaultKey, Key};

    use super::*;

    fn id(number: usize) -> MessageId {
        MessageId::from_bytes((number as u128).to_be_bytes())
    }

    fn connection() -> ConnectionId {
        ConnectionId(DefaultKey::null())
    }

    #[test]
    fn a_copy_is_known_until_the_window_has_moved_on() {
        let peer = Identity::from_bytes([1; 16]);
        let mut seen = SeenMessages::default();
        assert_eq!(seen.note(peer, id(0), connection()), None);
        assert_eq!(seen.note(peer, id(0), connection()), Some(Seen::Waiting(connection())));
        assert_eq!(seen.acknowledge(peer, id(0)), Some(connection()));
        assert_eq!(seen.acknowledge(peer, id(0)), None);
        assert_eq!(seen.note(peer, id(0), connection()), Some(Seen::Acknowledged));
        for number in 1..PER_PEER {
            assert_eq!(seen.note(peer, id(number), connection()), None);
        }
        assert_eq!(seen.note(peer, id(0), connection()), Some(Seen::Acknowledged));
        assert_eq!(seen.note(peer, id(PER_PEER), connection()), None);
        assert_eq!(seen.note(peer, id(0), connection()), None, "forgotten, and so new again");
        assert_eq!(seen.total, PER_PEER + 1, "those that wait are kept beyond the bound");
    }

    #[test]
    fn forgetting_makes_new() {
        let peer = Identity::from_bytes([1; 16]);
        let mut seen = SeenMessages::default();
        seen.note(peer, id(0), connection());
        seen.forget(peer, id(0));
        assert_eq!(seen.note(peer, id(0), connection()), None);
        seen.forget_peer(peer);
        assert_eq!(seen.total, 0);
    }
}
