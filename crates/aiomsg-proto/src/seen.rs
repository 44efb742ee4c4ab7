//! Which messages have been received, so that copies of them can be told.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::id::{ConnectionId, MessageId};
use crate::identity::Identity;

/// Acknowledged messages that are remembered of one peer, at least. At most, they are three times as many.
const PER_PEER: usize = 8_192;

/// The same of all peers together. Where it does not suffice for all, each has an equal part of it.
const IN_ALL: usize = 1 << 18;

/// What is known of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It waits to be acknowledged.
    Waiting,
    /// It was acknowledged.
    Acknowledged,
}

/// The messages that were received lately, by sender.
#[derive(Debug)]
pub(crate) struct SeenMessages {
    peers: BTreeMap<Identity, Window>,
    hasher: IdHasher,
    /// Where the next window begins: behind all that were forgotten, so that a place never means two messages of a peer.
    start: u64,
}

/// The messages of one sender.
///
/// Each has a place, in the order in which they arrived, which is the order in which they are acknowledged. So nothing has
/// to be noted of each for that. Those that the application acknowledges in an order of its own have none before it does.
#[derive(Debug)]
struct Window {
    /// Where a message that is to be acknowledged, or a copy of one, last came.
    connection: ConnectionId,
    recent: Generation,
    /// Those before. They are forgotten together, when enough of the recent ones are acknowledged, and so all of these.
    older: Generation,
    /// The messages before this place are acknowledged, the others wait. They are bounded by what may wait for the
    /// application, and are remembered for as long as they do.
    acknowledged: u64,
    /// Messages that the application is to acknowledge by itself.
    held: HashTable<MessageId>,
}

/// The messages of one sender, while some come.
pub(crate) struct Arrivals<'a> {
    window: &'a mut Window,
    hasher: &'a IdHasher,
}

/// Messages that are forgotten together.
#[derive(Debug, Default)]
struct Generation {
    /// The place of the first of them.
    start: u64,
    ids: Vec<MessageId>,
    /// Where in `ids` a message is, by its hash.
    index: HashTable<u32>,
}

/// How ids are hashed. They are the peers' choice, so nothing of it may be known: with a part that is the same everywhere,
/// as `FixedState` has one, ids can be made that all have one hash.
#[derive(Debug)]
struct IdHasher(SharedSeed, u64);

impl IdHasher {
    #[inline]
    fn hash(&self, id: MessageId) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.1, &self.0);
        hasher.write_u128(u128::from_be_bytes(*id.as_bytes()));
        hasher.finish()
    }
}

impl SeenMessages {
    /// Nothing is known. `seed` decides how ids are hashed, and nothing that can be seen.
    pub(crate) fn new(seed: u64) -> Self {
        Self { peers: BTreeMap::new(), hasher: IdHasher(SharedSeed::from_u64(seed), seed), start: 0 }
    }

    /// The messages of a peer, of which some come on a connection.
    pub(crate) fn arrivals(&mut self, identity: Identity, connection: ConnectionId) -> Arrivals<'_> {
        let Self { peers, hasher, start } = self;
        let window = peers.entry(identity).or_insert_with(|| Window::new(connection, *start));
        window.connection = connection;
        Arrivals { window, hasher }
    }

    /// Notes that the messages of a peer up to a place are acknowledged. Returns the connection that the acknowledgements
    /// belong on, if they were not acknowledged before.
    pub(crate) fn acknowledge_to(&mut self, identity: Identity, place: u64) -> Option<ConnectionId> {
        let part = self.part();
        let window = self.peers.get_mut(&identity).filter(|window| window.acknowledged < place)?;
        window.acknowledged = place;
        window.forget_oldest(part);
        window.older.forget_spare(place, part, &self.hasher);
        Some(window.connection)
    }

    /// Notes that a message that was held is acknowledged. Returns the connection that its acknowledgement belongs on, if
    /// it was not acknowledged before.
    pub(crate) fn acknowledge(&mut self, identity: Identity, id: MessageId) -> Option<ConnectionId> {
        let hash = self.hasher.hash(id);
        let window = self.peers.get_mut(&identity)?;
        window.held.find_entry(hash, |held| *held == id).ok()?.remove();
        window.recent.find_or_insert(hash, id, &self.hasher);
        let place = window.end();
        self.acknowledge_to(identity, place)
    }

    /// Forgets a message that is held, so that a copy of it counts as new.
    pub(crate) fn forget(&mut self, identity: Identity, id: MessageId) {
        let hash = self.hasher.hash(id);
        if let Some(window) = self.peers.get_mut(&identity)
            && let Ok(held) = window.held.find_entry(hash, |held| *held == id)
        {
            held.remove();
        }
    }

    /// Forgets all messages of a peer.
    pub(crate) fn forget_peer(&mut self, identity: Identity) {
        if let Some(window) = self.peers.remove(&identity) {
            self.start = self.start.max(window.end());
        }
    }

    /// How many acknowledged messages are remembered of each peer.
    fn part(&self) -> usize {
        (IN_ALL / self.peers.len().max(1)).clamp(1, PER_PEER)
    }
}

impl Arrivals<'_> {
    /// Notes that a message came, which waits from now on. Returns what was known of it, which is nothing if it is new.
    #[inline(never)]
    pub(crate) fn note(&mut self, id: MessageId) -> Option<Seen> {
        let Self { window, hasher } = self;
        let hash = hasher.hash(id);
        let place = match window.older.find(hash, id) {
            Some(place) => place,
            None => window.recent.find_or_insert(hash, id, hasher)?,
        };
        Some(if place < window.acknowledged { Seen::Acknowledged } else { Seen::Waiting })
    }

    /// As [`note`](Self::note), for a message that the application is to acknowledge by itself.
    pub(crate) fn hold(&mut self, id: MessageId) -> Option<Seen> {
        let Self { window, hasher } = self;
        let hash = hasher.hash(id);
        if window.older.find(hash, id).or_else(|| window.recent.find(hash, id)).is_some() {
            return Some(Seen::Acknowledged);
        }
        match window.held.entry(hash, |held| *held == id, |held| hasher.hash(*held)) {
            Entry::Occupied(_) => Some(Seen::Waiting),
            Entry::Vacant(free) => {
                free.insert(id);
                None
            }
        }
    }

    /// The place behind the message that came last.
    pub(crate) fn end(&self) -> u64 {
        self.window.end()
    }
}

impl Window {
    fn new(connection: ConnectionId, start: u64) -> Self {
        Self {
            connection,
            recent: Generation::at(start),
            older: Generation::default(),
            acknowledged: start,
            held: HashTable::new(),
        }
    }

    fn end(&self) -> u64 {
        self.recent.start + self.recent.ids.len() as u64
    }

    /// Forgets the older messages, if of the recent ones at least `part` are acknowledged.
    fn forget_oldest(&mut self, part: usize) {
        if self.acknowledged.saturating_sub(self.recent.start) >= part as u64 {
            let mut next = core::mem::take(&mut self.older);
            next.start = self.end();
            next.ids.clear();
            next.index.clear();
            // They are likely to become as many; to grow costs more than to forget.
            next.ids.reserve(part);
            next.index.reserve(part, |_| 0);
            self.older = core::mem::replace(&mut self.recent, next);
        }
    }
}

impl Generation {
    fn at(start: u64) -> Self {
        Self { start, ..Self::default() }
    }

    /// Forgets messages that came at once with many others, and so are more than `part` that are acknowledged. At least as
    /// many are forgotten as stay, so that it takes no more time than it took to note them.
    fn forget_spare(&mut self, acknowledged: u64, part: usize, hasher: &IdHasher) {
        let before = usize::try_from(acknowledged.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let spare = before.min(self.ids.len()).saturating_sub(part);
        let left = self.ids.len() - spare;
        if spare > 0 && spare >= left {
            let mut latest = Self::at(self.start + spare as u64);
            latest.ids.reserve_exact(left);
            latest.index.reserve(left, |_| 0);
            for id in self.ids.iter().skip(spare) {
                latest.find_or_insert(hasher.hash(*id), *id, hasher);
            }
            *self = latest;
        }
    }

    /// The place of a message that is there.
    #[inline]
    fn find(&self, hash: u64, id: MessageId) -> Option<u64> {
        let at = self.index.find(hash, |at| self.ids.get(*at as usize) == Some(&id))?;
        Some(self.start + u64::from(*at))
    }

    /// As [`find`](Self::find); one that is not there is there from now on.
    #[inline]
    fn find_or_insert(&mut self, hash: u64, id: MessageId, hasher: &IdHasher) -> Option<u64> {
        let Self { start, ids, index } = self;
        let known = |at: &u32| ids.get(*at as usize) == Some(&id);
        let hash_at = |at: &u32| ids.get(*at as usize).map_or(0, |id| hasher.hash(*id));
        match index.entry(hash, known, hash_at) {
            Entry::Occupied(place) => Some(*start + u64::from(*place.get())),
            Entry::Vacant(free) => {
                free.insert(ids.len() as u32);
                ids.push(id);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

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
        seen.arrivals(from, connection()).note(id(number))
    }

    fn hold(seen: &mut SeenMessages, from: Identity, number: usize) -> Option<Seen> {
        seen.arrivals(from, connection()).hold(id(number))
    }

    /// Notes a message, and acknowledges all that came.
    fn take(seen: &mut SeenMessages, from: Identity, number: usize) -> Option<Seen> {
        let before = note(seen, from, number);
        let place = seen.arrivals(from, connection()).end();
        seen.acknowledge_to(from, place);
        before
    }

    fn remembered(seen: &SeenMessages, from: Identity) -> usize {
        let window = &seen.peers[&from];
        window.recent.ids.len() + window.older.ids.len()
    }

    /// Ids that there is memory for.
    fn room(seen: &SeenMessages, from: Identity) -> usize {
        let window = &seen.peers[&from];
        [&window.recent, &window.older]
            .iter()
            .map(|some| some.ids.capacity().max(some.index.capacity()))
            .sum()
    }

    #[test]
    fn a_copy_is_known_until_the_window_has_moved_on() {
        let mut seen = SeenMessages::new(1);
        assert_eq!(note(&mut seen, peer(1), 0), None);
        assert_eq!(note(&mut seen, peer(1), 0), Some(Seen::Waiting));
        assert_eq!(seen.acknowledge_to(peer(1), 1), Some(connection()));
        assert_eq!(seen.acknowledge_to(peer(1), 1), None);
        for number in 1..2 * PER_PEER {
            assert_eq!(note(&mut seen, peer(1), number.saturating_sub(PER_PEER)), Some(Seen::Acknowledged));
            assert_eq!(take(&mut seen, peer(1), number), None);
        }
        assert_eq!(note(&mut seen, peer(1), PER_PEER), Some(Seen::Acknowledged));
        assert_eq!(note(&mut seen, peer(1), 0), None, "forgotten, and so new again");
    }

    #[test]
    fn those_that_wait_are_not_forgotten_nor_do_they_keep_others_from_being_forgotten() {
        let mut seen = SeenMessages::new(1);
        for number in 0..100 {
            assert_eq!(hold(&mut seen, peer(1), number), None);
        }
        for number in 100..4 * PER_PEER {
            assert_eq!(hold(&mut seen, peer(1), number), None);
            assert_eq!(seen.acknowledge(peer(1), id(number)), Some(connection()));
            assert_eq!(seen.acknowledge(peer(1), id(number)), None);
            assert!(remembered(&seen, peer(1)) <= 2 * PER_PEER);
        }
        assert_eq!(hold(&mut seen, peer(1), 4 * PER_PEER - 1), Some(Seen::Acknowledged));
        assert_eq!(hold(&mut seen, peer(1), 99), Some(Seen::Waiting));
        assert_eq!(hold(&mut seen, peer(1), 100), None, "forgotten, and so new again");

        for number in 0..4 * PER_PEER {
            assert_eq!(note(&mut seen, peer(2), number), None);
        }
        assert_eq!(seen.acknowledge_to(peer(2), 1), Some(connection()));
        assert_eq!(note(&mut seen, peer(2), 0), Some(Seen::Acknowledged));
        assert!((1..4 * PER_PEER).all(|number| note(&mut seen, peer(2), number) == Some(Seen::Waiting)));
    }

    #[test]
    fn many_peers_share_the_memory_equally() {
        let mut seen = SeenMessages::new(1);
        let peers = 64;
        for number in 0..3 * (IN_ALL / 64) {
            for from in 0..peers {
                take(&mut seen, peer(from), number);
            }
        }
        for from in 0..peers {
            assert!((IN_ALL / 64..=2 * IN_ALL / 64).contains(&remembered(&seen, peer(from))));
        }
    }

    #[test]
    fn of_what_came_at_once_no_more_is_remembered_than_of_what_came_one_by_one() {
        let mut seen = SeenMessages::new(1);
        let (peers, burst) = (512, 2 * PER_PEER);
        let part = IN_ALL / peers as usize;
        for from in 0..peers {
            seen.arrivals(peer(from), connection());
        }
        for first in [0, burst, 2 * burst] {
            assert!((first..first + burst).all(|number| note(&mut seen, peer(1), number).is_none()));
            let end = seen.arrivals(peer(1), connection()).end();
            for waiting in [burst - 1, burst - 2 * part, burst / 2, 0] {
                seen.acknowledge_to(peer(1), end - waiting as u64);
                assert!(remembered(&seen, peer(1)) <= 3 * part + 2 * waiting);
            }
            assert!(room(&seen, peer(1)) <= 8 * part);
            let mut latest = first + burst - part..first + burst;
            assert!(latest.all(|number| note(&mut seen, peer(1), number) == Some(Seen::Acknowledged)));
        }
    }

    #[test]
    fn forgetting_makes_new() {
        let mut seen = SeenMessages::new(1);
        hold(&mut seen, peer(1), 0);
        seen.forget(peer(1), id(0));
        assert_eq!(hold(&mut seen, peer(1), 0), None);
        seen.acknowledge(peer(1), id(0));
        seen.forget(peer(1), id(0));
        assert_eq!(hold(&mut seen, peer(1), 0), Some(Seen::Acknowledged));
        seen.forget_peer(peer(1));
        assert_eq!(hold(&mut seen, peer(1), 0), None);
    }

    #[test]
    fn what_was_taken_of_a_peer_that_was_forgotten_says_nothing_of_what_it_sends_now() {
        let mut seen = SeenMessages::new(1);
        note(&mut seen, peer(1), 0);
        note(&mut seen, peer(1), 1);
        seen.forget_peer(peer(1));
        note(&mut seen, peer(1), 2);
        assert_eq!(seen.acknowledge_to(peer(1), 2), None);
        assert_eq!(note(&mut seen, peer(1), 2), Some(Seen::Waiting));
    }

    #[test]
    fn no_choice_of_ids_gives_all_of_them_one_hash() {
        // What the hash is made of where nothing of it is secret; a product with nothing is nothing.
        let known =
            [0xc0ac_29b7_c97c_50dd_u64, 0x3f84_d5b5_b547_0917, 0x9216_d5d9_8979_fb1b, 0xd131_0ba6_98df_b5ac];
        let seen = SeenMessages::new(1);
        for constant in known.iter().flat_map(|constant| [*constant, constant.swap_bytes()]) {
            for shift in [0, 64] {
                let id = |number: u64| {
                    let other = u128::from(number) << (64 - shift);
                    MessageId::from_bytes((u128::from(constant) << shift | other).to_be_bytes())
                };
                let hashes: BTreeSet<u64> = (0..100).map(|number| seen.hasher.hash(id(number))).collect();
                assert_eq!(hashes.len(), 100);
            }
        }
    }
}
