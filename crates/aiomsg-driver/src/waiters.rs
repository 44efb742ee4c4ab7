//! Tasks that wait for the same thing, first come first served; and those that are to be woken.

use std::collections::VecDeque;
use std::task::Waker;

/// The place of a task in a [`Waiters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// Tasks that wait for the same thing, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    queue: VecDeque<(Ticket, Waker)>,
    issued: u64,
}

impl Waiters {
    /// Lets a task wait: at the end, or at the place that it has.
    pub(crate) fn wait(&mut self, ticket: &mut Option<Ticket>, waker: &Waker) {
        if let Some((_, place)) = self.queue.iter_mut().find(|(waiting, _)| Some(*waiting) == *ticket) {
            place.clone_from(waker);
            return;
        }
        self.issued += 1;
        *ticket = Some(Ticket(self.issued));
        self.queue.push_back((Ticket(self.issued), waker.clone()));
    }

    /// Takes a task out; false if it was not waiting any more.
    pub(crate) fn leave(&mut self, ticket: &mut Option<Ticket>) -> bool {
        let Some(ticket) = ticket.take() else { return false };
        let place = self.queue.iter().position(|(waiting, _)| *waiting == ticket);
        place.is_some_and(|place| self.queue.remove(place).is_some())
    }

    /// Whether nobody came before the holder of `ticket`, or before who has none.
    pub(crate) fn is_next(&self, ticket: Option<Ticket>) -> bool {
        self.queue.front().is_none_or(|(first, _)| Some(*first) == ticket)
    }

    /// The waker of the task that came first, which stays.
    pub(crate) fn first(&self) -> Option<Waker> {
        self.queue.front().map(|(_, waker)| waker.clone())
    }

    /// Takes the task that came first out.
    pub(crate) fn take_first(&mut self) -> Option<Waker> {
        self.queue.pop_front().map(|(_, waker)| waker)
    }

    /// Takes all tasks out.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Waker> {
        self.queue.drain(..).map(|(_, waker)| waker)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// Tasks to be woken once the lock is released. Mostly none, or one, which needs no memory.
#[derive(Debug, Default)]
pub(crate) enum Wakes {
    #[default]
    Nobody,
    One(Waker),
    Several(Vec<Waker>),
}

impl Wakes {
    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        matches!(self, Self::Nobody)
    }

    pub(crate) fn push(&mut self, waker: Waker) {
        *self = match core::mem::take(self) {
            Self::Nobody => Self::One(waker),
            Self::One(first) => Self::Several(vec![first, waker]),
            Self::Several(mut wakers) => {
                wakers.push(waker);
                Self::Several(wakers)
            }
        };
    }

    /// Takes those of `other` over.
    pub(crate) fn append(&mut self, other: &mut Self) {
        match core::mem::take(other) {
            Self::Nobody => {}
            others if self.is_empty() => *self = others,
            Self::One(waker) => self.push(waker),
            Self::Several(wakers) => self.extend(wakers),
        }
    }

    /// In place, since nearly always there is nobody.
    #[inline(always)]
    pub(crate) fn wake_all(self) {
        match self {
            Self::Nobody => {}
            Self::One(waker) => waker.wake(),
            Self::Several(wakers) => wakers.into_iter().for_each(Waker::wake),
        }
    }
}

impl Extend<Waker> for Wakes {
    fn extend<T: IntoIterator<Item = Waker>>(&mut self, wakers: T) {
        wakers.into_iter().for_each(|waker| self.push(waker));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_come_first_served_and_leaving_frees_the_place() {
        let waker = Waker::noop();
        let mut waiters = Waiters::default();
        let (mut a, mut b, mut c) = (None, None, None);
        assert!(waiters.is_next(None));
        waiters.wait(&mut a, waker);
        waiters.wait(&mut b, waker);
        waiters.wait(&mut a, waker);
        assert!(waiters.is_next(a) && !waiters.is_next(b) && !waiters.is_next(None));
        assert!(waiters.leave(&mut a));
        assert!(waiters.is_next(b));
        waiters.wait(&mut c, waker);
        assert!(waiters.take_first().is_some());
        assert!(!waiters.leave(&mut b), "it was taken out before");
        assert!(waiters.is_next(c));
    }
}
