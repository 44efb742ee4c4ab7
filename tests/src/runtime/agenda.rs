//! What happens when.

use alloc::collections::BTreeMap;
use core::task::Waker;

use aiomsg_proto::Instant;

use super::ProcessId;
use super::tasks::TaskId;
use crate::connection::{Side, WireId};

/// Something that is going to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// Bytes, or the end of the stream, arrive where this side reads.
    Arrival(WireId, Side),
    /// What this side wrote was read: it may write again.
    Window(WireId, Side),
    /// This side learns that the other one does not exist any more.
    Reset(WireId, Side),
    /// A connection reaches whom it is for.
    Request(WireId),
    /// The dialler learns what became of its connection.
    Answer(WireId, bool),
    /// A task gets to what it has left lying.
    Run(TaskId),
}

/// What is going to happen, in order; at the same time, as it was planned.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    queue: BTreeMap<(Instant, u64), Happening>,
    planned: u64,
}

impl Agenda {
    pub(super) fn plan(&mut self, at: Instant, happening: Happening) {
        self.planned += 1;
        self.queue.insert((at, self.planned), happening);
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes out the first that is due.
    pub(super) fn take(&mut self, now: Instant) -> Option<Happening> {
        let entry = self.queue.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove())
    }
}

/// A timer; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TimerId(u64);

/// Timers that are set.
#[derive(Debug, Default)]
pub(super) struct Timers {
    set: BTreeMap<TimerId, (ProcessId, Instant, Waker)>,
    issued: u64,
}

impl Timers {
    pub(super) const fn issue(&mut self) -> TimerId {
        self.issued += 1;
        TimerId(self.issued)
    }

    pub(super) fn set(&mut self, id: TimerId, of: ProcessId, due: Instant, waker: &Waker) {
        self.set.insert(id, (of, due, waker.clone()));
    }

    pub(super) fn cancel(&mut self, id: TimerId) {
        self.set.remove(&id);
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.set.values().map(|(_, due, _)| *due).min()
    }

    /// Wakes who waits for a timer of which this is so.
    pub(super) fn wake(&mut self, is_so: impl Fn(ProcessId, Instant) -> bool) {
        self.set.retain(|_, (of, due, waker)| {
            let rings = is_so(*of, *due);
            if rings {
                waker.wake_by_ref();
            }
            !rings
        });
    }
}
