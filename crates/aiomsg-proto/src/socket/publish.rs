//! Publishing: one log of messages, and each subscriber's place in it.
//!
//! A published message is kept once, however many subscribers there are. Publishing costs a step for each subscriber
//! that was idle and must be woken, and none for those that are busy. A subscriber's queue is the part of the log that
//! it has not been given yet.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::mem;
use core::ops::Range;

use super::entries::{Entries, Entry, Place};
use crate::budget::{Limit, Usage};
use crate::connection::Connection;
use crate::id::ConnectionId;
use crate::outgoing::{Heading, Outgoing, Route};

/// What is published and not yet given to all who are to have it.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: Entries,
    /// Bytes ever published.
    bytes: u64,
    /// Subscribers that get the next message.
    following: u32,
    /// Of these, those that wait for nothing here.
    idle: BTreeSet<ConnectionId>,
    /// For the others, the place and the byte from which on their queue is full.
    full_at_place: BTreeSet<(Place, ConnectionId)>,
    full_at_byte: BTreeSet<(u64, ConnectionId)>,
    /// Subscribers that get no further message for now, and from where on they miss them.
    missing: BTreeMap<ConnectionId, (Place, u64)>,
}

/// One subscriber's place in the log.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    /// Parts of the log that are to be given to it, oldest first, before the open one.
    ranges: VecDeque<Range<Place>>,
    /// Where the part starts that reaches to the end of the log and grows with it.
    open: Option<Place>,
    /// Messages to this peer alone, each behind what was published before it.
    direct: VecDeque<(Place, Outgoing)>,
    direct_usage: Usage,
    /// Its entries in the two sets above.
    marks: Option<(Place, u64)>,
    /// What it has missed since it fell behind.
    missed: Usage,
    slow: bool,
}

impl Subscription {
    /// Messages to this peer alone that wait behind published ones.
    pub(super) const fn direct_usage(&self) -> Usage {
        self.direct_usage
    }

    /// Marks it as slow; true if it was not.
    pub(super) const fn turn_slow(&mut self) -> bool {
        !mem::replace(&mut self.slow, true)
    }
}

impl Log {
    fn end(&self) -> Place {
        self.entries.end()
    }

    /// Bytes published before `place`, which is waited for or the next one.
    fn start(&self, place: Place) -> u64 {
        self.entries.get(place).map_or(self.bytes, |entry| entry.start)
    }

    /// What stands in a part of the log that a subscriber waits for.
    fn span(&self, range: &Range<Place>) -> Usage {
        let last = range.end.checked_sub(1).and_then(|last| self.entries.get(last));
        let Some(last) = last.filter(|_| !range.is_empty()) else { return Usage::default() };
        let count = |from: u64, to: u64| usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
        Usage { messages: count(range.start, range.end), bytes: count(self.start(range.start), last.end()) }
    }

    /// What waits for a subscriber, apart from messages to it alone.
    pub(super) fn waiting(&self, subscription: &Subscription) -> Usage {
        let mut waiting = Usage::default();
        for range in &subscription.ranges {
            waiting.add(self.span(range));
        }
        if let Some(open) = subscription.open {
            waiting.add(self.span(&(open..self.end())));
        }
        waiting
    }

    /// Whether anything waits for a subscriber.
    pub(super) fn has_waiting(&self, subscription: &Subscription) -> bool {
        !subscription.ranges.is_empty()
            || !subscription.direct.is_empty()
            || subscription.open.is_some_and(|open| open < self.end())
    }

    /// Adds a subscriber; it gets what is published from now on.
    pub(super) fn subscribe(&mut self, id: ConnectionId, subscription: &mut Subscription) {
        subscription.open = Some(self.end());
        self.following += 1;
        self.idle.insert(id);
    }

    /// Removes a subscriber. Returns the messages to it alone, and its part of the log.
    pub(super) fn unsubscribe(
        &mut self,
        id: ConnectionId,
        subscription: &mut Subscription,
    ) -> VecDeque<Outgoing> {
        self.idle.remove(&id);
        self.unmark(id, subscription);
        let mut subscription = mem::take(subscription);
        if let Some(open) = subscription.open {
            self.following -= 1;
            subscription.ranges.push_back(open..self.end());
        }
        self.missing.remove(&id);
        let mut returned: VecDeque<Outgoing> =
            subscription.direct.into_iter().map(|(_, message)| message).collect();
        for place in subscription.ranges.into_iter().flatten() {
            if let Some(entry) = self.entries.get_mut(place) {
                let Outgoing { payload, heading } = entry.message.clone();
                returned.push_back(Outgoing {
                    payload,
                    heading: Heading { route: Route::Copy(place), ..heading },
                });
            }
        }
        returned
    }

    /// Subscribers whose queue cannot take a message of `bytes` bytes.
    pub(super) fn full_for(&self, bytes: usize) -> BTreeSet<ConnectionId> {
        self.cannot_take(bytes).collect()
    }

    /// Whether the queue of a subscriber cannot take a message of `bytes` bytes.
    pub(super) fn is_full_for(&self, subscription: &Subscription, bytes: usize) -> bool {
        let after = self.bytes.saturating_add(bytes as u64);
        subscription.marks.is_some_and(|(place, byte)| place <= self.end() || byte < after)
    }

    /// As [`full_for`](Self::full_for), one after another, and some of them twice.
    pub(super) fn cannot_take(&self, bytes: usize) -> impl Iterator<Item = ConnectionId> {
        let end = self.end();
        let byte = self.bytes.saturating_add(bytes as u64);
        let by_place = self.full_at_place.iter().take_while(move |(full, _)| *full <= end).map(|(_, id)| *id);
        let by_byte = self.full_at_byte.iter().take_while(move |(full, _)| *full < byte).map(|(_, id)| *id);
        by_place.chain(by_byte)
    }

    /// Whether any of the subscribers gets the next message.
    pub(super) const fn following(&self) -> usize {
        self.following as usize
    }

    /// Appends a message, and returns the subscribers that were idle and have something to do now. The message comes
    /// back at once, as `Err`, if no subscriber is to have it.
    pub(super) fn append(&mut self, message: Outgoing) -> Result<BTreeSet<ConnectionId>, Outgoing> {
        let start = self.bytes;
        self.bytes = self.bytes.saturating_add(message.payload.len() as u64);
        if self.following == 0 {
            // The place is used up all the same, so that what is missed can be counted by places.
            let empty = Outgoing { payload: bytes::Bytes::new(), ..message };
            self.entries.push(Entry { message: empty, start, copies: 0, handed_over: true });
            return Err(message);
        }
        self.entries.push(Entry { message, start, copies: self.following, handed_over: false });
        Ok(mem::take(&mut self.idle))
    }

    /// Works out anew from where on the queue of a subscriber is full; one that waits for nothing is idle instead.
    pub(super) fn mark(&mut self, id: ConnectionId, subscription: &mut Subscription, limit: Limit) {
        self.unmark(id, subscription);
        let Some(open) = subscription.open else { return };
        if open == self.end() && subscription.ranges.is_empty() {
            self.idle.insert(id);
            return;
        }
        let mut older = Usage::default();
        for range in &subscription.ranges {
            older.add(self.span(range));
        }
        let free = limit.free(older);
        let marks =
            (open.saturating_add(free.messages as u64), self.start(open).saturating_add(free.bytes as u64));
        subscription.marks = Some(marks);
        self.full_at_place.insert((marks.0, id));
        self.full_at_byte.insert((marks.1, id));
    }

    fn unmark(&mut self, id: ConnectionId, subscription: &mut Subscription) {
        if let Some((place, byte)) = subscription.marks.take() {
            self.full_at_place.remove(&(place, id));
            self.full_at_byte.remove(&(byte, id));
        }
    }

    /// Lets a subscriber miss what is published from now on.
    pub(super) fn stop(&mut self, id: ConnectionId, subscription: &mut Subscription) {
        if let Some(open) = subscription.open.take() {
            self.following -= 1;
            self.unmark(id, subscription);
            // An empty range would have a place taken that is none of its own.
            if open < self.end() {
                subscription.ranges.push_back(open..self.end());
            }
            self.missing.insert(id, (self.end(), self.bytes));
        }
    }

    /// Drops the oldest messages that wait for a subscriber, until one of `bytes` bytes has a place. Returns what need
    /// not be held any more.
    pub(super) fn drop_oldest(
        &mut self,
        id: ConnectionId,
        subscription: &mut Subscription,
        limit: Limit,
        bytes: usize,
    ) -> Usage {
        let mut released = Usage::default();
        while !limit.admits(self.waiting(subscription), bytes) {
            let Some(place) = self.next_place(subscription) else { break };
            let copy = match self.abandon(place) {
                Abandoned::Copy(copy) => copy,
                Abandoned::Last(copy) => {
                    released.add(copy);
                    copy
                }
                Abandoned::Orphan(message) => {
                    released.add(message.usage());
                    message.usage()
                }
            };
            subscription.missed.add(copy);
        }
        self.mark(id, subscription, limit);
        released
    }

    /// Once a slow subscriber has caught up with half of what may wait for it: lets it follow again, and returns what
    /// it has missed.
    pub(super) fn recover(
        &mut self,
        id: ConnectionId,
        subscription: &mut Subscription,
        limit: Limit,
    ) -> Option<Usage> {
        let half = Limit::new(limit.messages / 2, limit.bytes / 2);
        let waiting = self.waiting(subscription);
        if !subscription.slow || (half.is_reached(waiting) && !waiting.is_empty()) {
            return None;
        }
        subscription.slow = false;
        if let Some((place, byte)) = self.missing.remove(&id) {
            subscription.missed.add(self.missed_since(place, byte));
            subscription.open = Some(self.end());
            self.following += 1;
            self.mark(id, subscription, limit);
        }
        Some(mem::take(&mut subscription.missed))
    }

    /// What a subscriber has missed since it fell behind, if it has not caught up.
    pub(super) fn missed(&self, id: ConnectionId, subscription: &Subscription) -> Usage {
        let mut missed = subscription.missed;
        if let Some((place, byte)) = self.missing.get(&id) {
            missed.add(self.missed_since(*place, *byte));
        }
        missed
    }

    fn missed_since(&self, place: Place, byte: u64) -> Usage {
        Usage {
            messages: usize::try_from(self.end() - place).unwrap_or(usize::MAX),
            bytes: usize::try_from(self.bytes - byte).unwrap_or(usize::MAX),
        }
    }

    /// Appends a message to one peer alone, behind what was published before.
    pub(super) fn push_direct(&self, subscription: &mut Subscription, message: Outgoing) {
        subscription.direct_usage.add(message.usage());
        subscription.direct.push_back((self.end(), message));
    }

    /// Gives a subscriber what is to be written to it next.
    pub(super) fn feed(
        &mut self,
        id: ConnectionId,
        subscription: &mut Subscription,
        limit: Limit,
        connection: &mut Connection,
    ) {
        while connection.has_batch_room() {
            let next = self.peek_place(subscription);
            if let Some((place, _)) = subscription.direct.front()
                && next.is_none_or(|next| *place <= next)
                && let Some((_, message)) = subscription.direct.pop_front()
            {
                subscription.direct_usage.sub(message.usage());
                connection.push(message.heading, &message.payload);
                continue;
            }
            let Some(place) = self.next_place(subscription) else { break };
            if let Some(entry) = self.entries.get_mut(place) {
                let Outgoing { payload, heading } = &entry.message;
                connection.push(Heading { route: Route::Copy(place), ..*heading }, payload);
            }
        }
        self.mark(id, subscription, limit);
    }

    fn peek_place(&self, subscription: &Subscription) -> Option<Place> {
        let open = subscription.open.filter(|open| *open < self.end());
        subscription.ranges.front().map(|range| range.start).or(open)
    }

    fn next_place(&self, subscription: &mut Subscription) -> Option<Place> {
        let place = self.peek_place(subscription)?;
        match subscription.ranges.front_mut() {
            Some(range) => {
                range.start += 1;
                if range.is_empty() {
                    subscription.ranges.pop_front();
                }
            }
            None => subscription.open = Some(place + 1),
        }
        Some(place)
    }

    /// Notes that a copy was taken to the last byte. Returns what need not be held any more.
    pub(super) fn handed_over(&mut self, place: Place) -> Usage {
        let Some(entry) = self.entries.get_mut(place) else { return Usage::default() };
        entry.handed_over = true;
        entry.copies = entry.copies.saturating_sub(1);
        if entry.copies > 0 {
            return Usage::default();
        }
        let released = entry.message.usage();
        entry.message.payload = bytes::Bytes::new();
        self.entries.retire(place);
        released
    }

    /// Gives up a copy that was not handed over.
    pub(super) fn abandon(&mut self, place: Place) -> Abandoned {
        let Some(entry) = self.entries.get_mut(place) else { return Abandoned::Copy(Usage::default()) };
        entry.copies = entry.copies.saturating_sub(1);
        if entry.copies > 0 {
            return Abandoned::Copy(entry.message.usage());
        }
        let handed_over = entry.handed_over;
        let emptied = Outgoing { payload: bytes::Bytes::new(), ..entry.message };
        let message = mem::replace(&mut entry.message, emptied);
        self.entries.retire(place);
        if handed_over { Abandoned::Last(message.usage()) } else { Abandoned::Orphan(message) }
    }
}

/// What became of a message when one copy of it was given up.
#[derive(Debug)]
pub(super) enum Abandoned {
    /// Others wait for it.
    Copy(Usage),
    /// Nobody else waits for it, and somebody has it: it need not be held any more.
    Last(Usage),
    /// Nobody else waits for it, and nobody has it.
    Orphan(Outgoing),
}
