//! Which deadline comes next.

use alloc::collections::BTreeSet;

use crate::time::Instant;

/// Deadlines by key, at most one for each. The earliest is known at once.
///
/// A key's deadline may be armed too early, never too late: who moves it back leaves it, and when it is due looks
/// whether something really is. So the deadlines that move with each received byte cost nothing until then.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    queue: BTreeSet<(Instant, K)>,
    first: Option<Instant>,
}

/// The deadline of one key in a [`Timers`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Armed(Option<Instant>);

impl<K: Ord + Copy> Timers<K> {
    pub(crate) const fn new() -> Self {
        Self { queue: BTreeSet::new(), first: None }
    }

    /// Makes sure that `key` is due no later than `at`.
    pub(crate) fn arm(&mut self, key: K, armed: &mut Armed, at: Instant) {
        // Set to the end of time, it would be due again and again once that has come.
        if at == Instant::MAX || armed.0.is_some_and(|earlier| earlier <= at) {
            return;
        }
        self.remove(key, armed);
        armed.0 = Some(at);
        self.queue.insert((at, key));
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
    }

    /// Forgets the deadline of `key`.
    pub(crate) fn disarm(&mut self, key: K, armed: &mut Armed) {
        if self.remove(key, armed) {
            self.refresh();
        }
    }

    fn remove(&mut self, key: K, armed: &mut Armed) -> bool {
        armed.0.take().is_some_and(|at| self.queue.remove(&(at, key)))
    }

    /// The earliest deadline.
    pub(crate) const fn first(&self) -> Option<Instant> {
        self.first
    }

    /// Takes a key that is due at `now`. Its owner's [`Armed`] must be reset by [`Armed::fired`].
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<K> {
        self.first.filter(|first| *first <= now)?;
        let (_, key) = self.queue.pop_first()?;
        self.refresh();
        Some(key)
    }

    fn refresh(&mut self) {
        self.first = self.queue.first().map(|(at, _)| *at);
    }
}

impl Armed {
    /// Notes that the deadline was taken out by [`Timers::pop_due`].
    pub(crate) const fn fired(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_early_ones_stay() {
        let at = Instant::from_nanos;
        let mut timers = Timers::new();
        let (mut a, mut b) = (Armed::default(), Armed::default());
        timers.arm('a', &mut a, at(10));
        timers.arm('b', &mut b, at(5));
        timers.arm('a', &mut a, at(20));
        assert_eq!(timers.first(), Some(at(5)));
        assert_eq!(timers.pop_due(at(4)), None);
        assert_eq!(timers.pop_due(at(30)), Some('b'));
        b.fired();
        assert_eq!(timers.first(), Some(at(10)));
        timers.arm('a', &mut a, at(3));
        assert_eq!(timers.first(), Some(at(3)));
        timers.disarm('a', &mut a);
        timers.disarm('a', &mut a);
        assert_eq!(timers.first(), None);
        assert_eq!(timers.pop_due(at(30)), None);
    }
}
