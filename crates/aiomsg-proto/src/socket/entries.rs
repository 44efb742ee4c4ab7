//! The published messages that somebody waits for, by their place.

use alloc::collections::{BTreeMap, VecDeque};

use crate::outgoing::Outgoing;

/// A place in the log: the number of messages that were published before.
pub(super) type Place = u64;

/// Messages that nobody waits for and that are kept all the same, beside as many as there are others.
const SLACK: usize = 1_024;

/// A published message, for as long as somebody waits for it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) message: Outgoing,
    /// Bytes published before.
    pub(super) start: u64,
    /// Copies that are neither handed over nor dropped.
    pub(super) copies: u32,
    /// Whether some subscriber was given all of it.
    pub(super) handed_over: bool,
}

impl Entry {
    /// Bytes published when this one was.
    pub(super) fn end(&self) -> u64 {
        self.start.saturating_add(self.message.payload.len() as u64)
    }
}

/// The messages of the log.
///
/// Most subscribers are about equally far, so the messages between the first and the last of them stand side by side. What
/// a subscriber waits for that is far behind the others is set aside, or the log would grow with all that these are
/// given meanwhile.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// Those from `first` on, waited for or not.
    recent: VecDeque<Entry>,
    first: Place,
    /// How many of these are waited for.
    awaited: usize,
    /// Older ones that are waited for.
    older: BTreeMap<Place, Entry>,
}

impl Entries {
    /// The place of the next message.
    pub(super) fn end(&self) -> Place {
        self.first + self.recent.len() as u64
    }

    fn index(&self, place: Place) -> Option<usize> {
        place.checked_sub(self.first).and_then(|index| usize::try_from(index).ok())
    }

    pub(super) fn get(&self, place: Place) -> Option<&Entry> {
        match self.index(place) {
            Some(index) => self.recent.get(index),
            None => self.older.get(&place),
        }
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Entry> {
        match self.index(place) {
            Some(index) => self.recent.get_mut(index),
            None => self.older.get_mut(&place),
        }
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.awaited += usize::from(entry.copies > 0);
        self.recent.push_back(entry);
        self.trim();
    }

    /// Nobody waits for the message at `place` any more.
    pub(super) fn retire(&mut self, place: Place) {
        if self.older.remove(&place).is_none() {
            self.awaited = self.awaited.saturating_sub(1);
            self.trim();
        }
    }

    fn trim(&mut self) {
        while let Some(front) = self.recent.front()
            && (front.copies == 0 || self.recent.len() > 2 * self.awaited + SLACK)
            && let Some(entry) = self.recent.pop_front()
        {
            if entry.copies > 0 {
                self.awaited = self.awaited.saturating_sub(1);
                self.older.insert(self.first, entry);
            }
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::outgoing::{Heading, Route};

    fn entry(place: Place, copies: u32) -> Entry {
        let message = Outgoing { payload: Bytes::new(), heading: Heading::new(place, Route::Any) };
        Entry { message, start: 0, copies, handed_over: false }
    }

    #[test]
    fn one_that_is_far_behind_does_not_make_the_log_grow() {
        let mut entries = Entries::default();
        for place in 0..100 {
            entries.push(entry(place, 2));
        }
        for place in 100..100_000 {
            entries.push(entry(place, 1));
            entries.get_mut(place).unwrap().copies = 0;
            entries.retire(place);
            assert!(entries.recent.len() + entries.older.len() <= 2 * 100 + SLACK + 100);
        }
        assert_eq!(entries.end(), 100_000);
        for place in 0..100 {
            assert_eq!(entries.get(place).map(|entry| entry.message.heading.sequence), Some(place));
            entries.retire(place);
            assert!(entries.get(place).is_none());
        }
        assert!(entries.older.is_empty());
    }
}
