//! What may be delivered to whom: the promises in their plainest form, against which every run is held.

use alloc::collections::{BTreeMap, BTreeSet};

use aiomsg_proto::Identity;
use bytes::Bytes;

/// One life of a member: a process from its start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Life(pub(crate) usize);

/// For whom a message was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addressee {
    /// One peer, whichever.
    Anyone,
    /// All peers.
    Everyone,
    One(Identity),
}

/// A message that was accepted.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) from: Life,
    pub(crate) to: Addressee,
    pub(crate) at_least_once: bool,
    /// Its place among those that this life accepted.
    pub(crate) number: u64,
}

/// All that was accepted and delivered.
#[derive(Debug, Default)]
pub(crate) struct Model {
    identities: BTreeMap<Life, Identity>,
    accepted: BTreeMap<Bytes, Accepted>,
    /// Who got it, in order.
    delivered: BTreeMap<Bytes, Vec<Life>>,
    /// Who is done with it: got it, and did not reject it.
    done: BTreeSet<Bytes>,
    /// The number of the last message that came from one life to another, by itself and by addressing.
    latest: BTreeMap<(Life, Life, bool), u64>,
}

/// What is known of a delivery beside the message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances {
    /// The identity that the receiver saw.
    pub(crate) shown: Identity,
    /// The sender was away for longer than the receiver remembers what it has got from him.
    pub(crate) forgotten: bool,
    /// Both dial each other. If one connection takes the place of the other while that is not read, or its bytes vanish,
    /// what the other still has comes second.
    pub(crate) crossing: bool,
    /// The receiver rejects messages, which come again, out of order.
    pub(crate) rejects: bool,
}

impl Model {
    pub(crate) fn begin(&mut self, life: Life, identity: Identity) {
        self.identities.insert(life, identity);
    }

    pub(crate) fn accept(&mut self, payload: Bytes, accepted: Accepted) {
        assert!(self.accepted.insert(payload, accepted).is_none(), "payloads are unique");
    }

    /// A message was taken by the application of `to`. It may be again, if it was rejected before. `undisturbed` says of
    /// which senders it is known that they never lost a connection, so that nothing was given to another peer than the
    /// first.
    pub(crate) fn deliver(
        &mut self,
        to: Life,
        payload: &Bytes,
        seen: Circumstances,
        undisturbed: impl Fn(Life) -> bool,
    ) {
        let what = || String::from_utf8_lossy(&payload[..payload.len().min(40)]).into_owned();
        let Some(accepted) = self.accepted.get(payload) else {
            panic!("{to:?} got what nobody sent: {:?}", what());
        };
        let (from, number) = (accepted.from, accepted.number);
        assert_eq!(seen.shown, self.identities[&from], "{:?} came from another one", what());
        let identity = self.identities[&to];
        if let Addressee::One(addressee) = accepted.to {
            assert_eq!(addressee, identity, "{:?} is for another one", what());
        }
        let takers = self.delivered.entry(payload.clone()).or_default();
        let again = takers.contains(&to);
        assert!(!again || seen.rejects || seen.forgotten, "{to:?} got {:?} twice", what());
        if !accepted.at_least_once && accepted.to != Addressee::Everyone {
            assert!(
                takers.is_empty(),
                "{:?} was delivered to {takers:?} and to {to:?}, at most once",
                what()
            );
        }
        takers.push(to);
        let direct = matches!(accepted.to, Addressee::One(_));
        // A message that came back from a peer that was lost may come behind later ones that went elsewhere.
        if !seen.rejects && !seen.forgotten && ((direct && !seen.crossing) || undisturbed(from)) {
            let latest = self.latest.entry((from, to, direct)).or_insert(number);
            assert!(
                *latest <= number,
                "{:?} came to {to:?} behind number {latest} of {from:?}, {accepted:?}",
                what()
            );
            *latest = number;
        }
    }

    pub(crate) fn finish(&mut self, payload: &Bytes) {
        self.done.insert(payload.clone());
    }

    /// How many deliveries of messages of one life there were.
    pub(crate) fn deliveries_of(&self, from: Life) -> usize {
        let mine = |payload: &Bytes| self.accepted[payload].from == from;
        self.delivered.iter().filter(|(payload, _)| mine(payload)).map(|(_, takers)| takers.len()).sum()
    }

    /// How many messages of one life somebody is done with.
    pub(crate) fn done_of(&self, from: Life) -> usize {
        self.done.iter().filter(|payload| self.accepted[*payload].from == from).count()
    }

    pub(crate) fn accepted_of(&self, from: Life) -> usize {
        self.accepted.values().filter(|accepted| accepted.from == from).count()
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.len()
    }

    pub(crate) fn delivered(&self) -> usize {
        self.delivered.values().map(Vec::len).sum()
    }
}
