//! At-least-once, the receiving side: which messages are acknowledged when, and which are copies.

use alloc::collections::VecDeque;

use bytes::Bytes;

use super::{Socket, TimerKey};
use crate::budget::Usage;
use crate::config::Acknowledge;
use crate::event::Event;
use crate::id::{ConnectionId, MessageId};
use crate::identity::Identity;
use crate::inbox::Answer;
use crate::seen::Seen;
use crate::time::Instant;

/// Messages that are acknowledged when the application takes them, in the order in which they arrived, which is the
/// order in which they are taken.
#[derive(Debug, Default)]
pub(super) struct Awaiting {
    /// Those that are not acknowledged.
    ids: VecDeque<MessageId>,
    /// What is known of them.
    runs: VecDeque<Run>,
    /// Messages before them that are not taken: they were acknowledged since their time was up.
    early: usize,
    /// An application that is too slow was told of.
    told: bool,
}

/// Messages of one peer that came behind each other.
#[derive(Clone, Copy, Debug)]
struct Run {
    identity: Identity,
    messages: usize,
    /// The place behind the last of them, see [`Arrivals::end`](crate::seen::Arrivals::end).
    end: u64,
    /// When they are acknowledged at the latest.
    deadline: Option<Instant>,
}

impl Awaiting {
    /// Adds a message that was noted. The call of [`close_run`](Self::close_run) follows.
    #[inline]
    pub(super) fn push(&mut self, id: MessageId) {
        self.ids.push_back(id);
    }

    /// Notes of whom the last `messages` that were added are.
    pub(super) fn close_run(
        &mut self,
        identity: Identity,
        messages: usize,
        end: u64,
        deadline: Option<Instant>,
    ) {
        match self.runs.back_mut() {
            Some(last)
                if (last.identity, last.deadline) == (identity, deadline)
                    && last.end + messages as u64 == end =>
            {
                last.messages += messages;
                last.end = end;
            }
            Some(_) | None => self.runs.push_back(Run { identity, messages, end, deadline }),
        }
    }

    /// Some of the `count` messages that were taken next: as many as were acknowledged before, or as came behind each
    /// other from one peer, which are returned, and then their ids are to be taken out.
    fn pop(&mut self, count: &mut usize) -> Option<Run> {
        let early = self.early.min(*count);
        self.early -= early;
        *count -= early;
        let run = self.runs.front_mut().filter(|_| *count > 0)?;
        self.told = false;
        let messages = run.messages.min(*count);
        *count -= messages;
        run.messages -= messages;
        let taken = Run { messages, end: run.end - run.messages as u64, ..*run };
        if run.messages == 0 {
            self.runs.pop_front();
        }
        Some(taken)
    }

    /// As [`pop`](Self::pop), of messages whose time is up; they stay until they are taken.
    fn pop_late(&mut self, now: Instant) -> Option<Run> {
        self.next_deadline().filter(|deadline| *deadline <= now)?;
        let late = self.runs.pop_front()?;
        self.early += late.messages;
        Some(late)
    }

    /// Acknowledges nothing any more before it is taken: perhaps nobody takes it.
    pub(super) fn forget_deadlines(&mut self) {
        self.runs.iter_mut().for_each(|run| run.deadline = None);
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.runs.front()?.deadline
    }
}

impl Socket {
    /// Takes a message in that asks to be acknowledged, unless it is a copy.
    pub(super) fn take_in_request(&mut self, id: ConnectionId, message: MessageId, payload: Bytes) {
        let Some(identity) = self.links.get(id.0).and_then(|link| link.identity()) else { return };
        if self.discards(id) {
            // Not acknowledged either: the peer keeps it for somebody who takes it.
            return self.take_in(id, payload, Answer::Nothing);
        }
        let mut arrivals = self.seen.arrivals(identity, id);
        let seen = match self.config.acknowledge {
            Acknowledge::Manual => arrivals.hold(message),
            Acknowledge::OnReceive | Acknowledge::OnTake { .. } => arrivals.note(message),
        };
        let end = arrivals.end();
        if let Some(seen) = seen {
            self.metrics.duplicates.add(Usage::one(payload.len()));
            // A copy of one that waits is answered when that one is.
            if seen == Seen::Acknowledged {
                self.answer(identity, id, message);
            }
            return;
        }
        let answer = match self.config.acknowledge {
            Acknowledge::OnReceive => {
                self.seen.acknowledge_to(identity, end);
                self.answer(identity, id, message);
                Answer::Nothing
            }
            Acknowledge::OnTake { at_latest } => {
                let deadline = at_latest.map(|patience| self.now + patience);
                self.receiver.awaiting.push(message);
                self.receiver.awaiting.close_run(identity, 1, end, deadline);
                self.arm_late_acknowledgement();
                Answer::OnTake
            }
            Acknowledge::Manual => Answer::Manual(message),
        };
        self.take_in(id, payload, answer);
    }

    pub(super) fn arm_late_acknowledgement(&mut self) {
        if let Some(at) = self.receiver.awaiting.next_deadline() {
            self.timers.arm(TimerKey::LateAcknowledgement, &mut self.late_acknowledgement, at);
        }
    }

    /// Messages were taken: acknowledges them.
    pub(super) fn acknowledge_taken(&mut self, mut count: usize) {
        while let Some(run) = self.receiver.awaiting.pop(&mut count) {
            self.acknowledge_run(run);
        }
    }

    /// Acknowledges messages that the application does not take in time.
    pub(super) fn acknowledge_late(&mut self) {
        while let Some(run) = self.receiver.awaiting.pop_late(self.now) {
            if !core::mem::replace(&mut self.receiver.awaiting.told, true) {
                self.events.push(Event::AcknowledgedEarly { identity: run.identity });
            }
            self.acknowledge_run(run);
        }
        self.arm_late_acknowledgement();
    }

    /// Acknowledges the messages that wait first, which are those of this run.
    fn acknowledge_run(&mut self, run: Run) {
        let latest = self.seen.acknowledge_to(run.identity, run.end);
        let connection = latest.map(|latest| self.answers_on(run.identity, latest));
        let ids = self.receiver.awaiting.ids.drain(..run.messages.min(self.receiver.awaiting.ids.len()));
        if let Some(connection) = connection
            && let Some(link) = self.links.get_mut(connection.0)
        {
            ids.for_each(|id| link.connection.acknowledge(id));
            if link.connection.wants_batch() {
                self.mark_ready(connection);
            }
        }
    }

    /// Says that the application has done with a message that came with
    /// [`Received::request`](crate::Received::request).
    pub fn acknowledge(&mut self, now: Instant, identity: Identity, message: MessageId) {
        self.advance(now);
        if let Some(latest) = self.seen.acknowledge(identity, message) {
            self.answer(identity, latest, message);
        }
    }

    /// Says that the application has not done with a message that came with
    /// [`Received::request`](crate::Received::request): when its sender sends it again, it is delivered again.
    pub fn reject(&mut self, now: Instant, identity: Identity, message: MessageId) {
        self.advance(now);
        self.seen.forget(identity, message);
    }

    /// Where acknowledgements to a peer are written: where it asked for one last, or where it is, if that connection ends and
    /// carries none any more.
    fn answers_on(&self, identity: Identity, latest: ConnectionId) -> ConnectionId {
        match self.links.get(latest.0) {
            Some(link) if !link.is_open() => self.peers.holder(identity).unwrap_or(latest),
            Some(_) | None => latest,
        }
    }

    /// Has an acknowledgement written.
    fn answer(&mut self, identity: Identity, latest: ConnectionId, message: MessageId) {
        let id = self.answers_on(identity, latest);
        if let Some(link) = self.links.get_mut(id.0) {
            link.connection.acknowledge(message);
            if link.connection.wants_batch() {
                self.mark_ready(id);
            }
        }
    }
}
