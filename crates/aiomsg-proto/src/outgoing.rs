//! A message on its way out, and the order in which messages that come back are lined up again.

use alloc::collections::VecDeque;

use bytes::Bytes;

use crate::budget::Usage;
use crate::id::{DeliveryKey, MessageId, MessageIds};

/// How a message is addressed, which decides where it goes when it comes back unsent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// To whichever peer can take it.
    Any,
    /// To one identity.
    Direct,
    /// One copy of the published message at this place in the log.
    Copy(u64),
}

/// A message on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) payload: Bytes,
    pub(crate) heading: Heading,
}

/// What is known of a message on its way out beside what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heading {
    /// The place among all that this socket accepted for sending.
    pub(crate) sequence: u64,
    pub(crate) route: Route,
    /// Its acknowledgement is awaited under this name. It has one once it is bound to a connection, or if somebody wants to
    /// know what becomes of it.
    pub(crate) delivery: Option<DeliveryKey>,
}

impl Outgoing {
    pub(crate) fn usage(&self) -> Usage {
        Usage::one(self.payload.len())
    }
}

impl Heading {
    /// That of a message whose acknowledgement is not awaited.
    pub(crate) const fn new(sequence: u64, route: Route) -> Self {
        Self { sequence, route, delivery: None }
    }

    /// The id that it has on the wire, where it needs one.
    #[inline]
    pub(crate) fn id(&self, ids: MessageIds) -> MessageId {
        self.delivery.map_or_else(|| ids.untracked(self.sequence), |key| ids.tracked(key))
    }
}

/// Lines messages that came back up with those that wait, by the order in which they were accepted.
pub(crate) fn merge(waiting: &mut VecDeque<Outgoing>, mut returned: VecDeque<Outgoing>) {
    let sequence = |message: Option<&Outgoing>| message.map(|message| message.heading.sequence);
    returned.make_contiguous().sort_unstable_by_key(|message| message.heading.sequence);
    if returned.is_empty() {
        return;
    }
    if waiting.is_empty() || sequence(returned.back()) < sequence(waiting.front()) {
        returned.append(waiting);
        *waiting = returned;
        return;
    }
    let mut merged = VecDeque::with_capacity(returned.len() + waiting.len());
    while let (Some(ours), Some(theirs)) = (sequence(waiting.front()), sequence(returned.front())) {
        merged.extend(if ours < theirs { waiting.pop_front() } else { returned.pop_front() });
    }
    merged.append(waiting);
    merged.append(&mut returned);
    *waiting = merged;
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn messages(sequences: &[u64]) -> VecDeque<Outgoing> {
        let message =
            |&sequence| Outgoing { payload: Bytes::new(), heading: Heading::new(sequence, Route::Any) };
        sequences.iter().map(message).collect()
    }

    #[test]
    fn returned_messages_take_their_old_places() {
        for (waiting, returned, expected) in [
            (&[][..], &[2, 1][..], &[1, 2][..]),
            (&[5, 6], &[1, 2], &[1, 2, 5, 6]),
            (&[1, 4, 6], &[5, 2], &[1, 2, 4, 5, 6]),
            (&[1], &[], &[1]),
        ] {
            let mut queue = messages(waiting);
            merge(&mut queue, messages(returned));
            let order: Vec<u64> = queue.iter().map(|message| message.heading.sequence).collect();
            assert_eq!(order, expected);
        }
    }
}
