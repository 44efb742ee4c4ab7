//! At-least-once, the receiving side: which messages are acknowledged when, and which are copies.

use alloc::collections::VecDeque;
use core::time::Duration;

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
    messages: VecDeque<(Identity, MessageId)>,
    /// When those that arrived together are acknowledged at the latest, and how many they are.
    deadlines: VecDeque<(Instant, usize)>,
    /// Of the messages, those at the front that were acknowledged since their time was up.
    early: usize,
    /// An application that is too slow was told of.
    told: bool,
}

impl Awaiting {
    #[inline]
    pub(super) fn push(&mut self, identity: Identity, id: MessageId, deadline: Option<Instant>) {
        self.messages.push_back((identity, id));
        match (self.deadlines.back_mut(), deadline) {
            (_, None) => {}
            (Some((last, count)), Some(deadline)) if *last == deadline => *count += 1,
            (_, Some(deadline)) => self.deadlines.push_back((deadline, 1)),
        }
    }

    /// The message that was taken next, unless it was acknowledged before.
    fn pop(&mut self) -> Option<(Identity, MessageId)> {
        let message = self.messages.pop_front()?;
        if self.early > 0 {
            self.early -= 1;
            return None;
        }
        self.told = false;
        if let Some((_, count)) = self.deadlines.front_mut() {
            *count -= 1;
            if *count == 0 {
                self.deadlines.pop_front();
            }
        }
        Some(message)
    }

    /// A message whose time is up; it stays until it is taken.
    fn pop_late(&mut self, now: Instant) -> Option<(Identity, MessageId)> {
        let (deadline, count) = self.deadlines.front_mut()?;
        if *deadline > now {
            return None;
        }
        *count -= 1;
        if *count == 0 {
            self.deadlines.pop_front();
        }
        let message = self.messages.get(self.early).copied();
        self.early += 1;
        message
    }

    /// Acknowledges nothing any more before it is taken: perhaps nobody takes it.
    pub(super) fn forget_deadlines(&mut self) {
        self.deadlines.clear();
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|(deadline, _)| *deadline)
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
        match self.seen.note(identity, message, id) {
            None => {}
            Some(seen) => {
                self.metrics.duplicates.add(Usage::one(payload.len()));
                // A copy of one that waits is answered when that one is.
                if seen == Seen::Acknowledged {
                    self.answer(id, message);
                }
                return;
            }
        }
        let answer = match self.config.acknowledge {
            Acknowledge::OnReceive => {
                self.seen.acknowledge(identity, message);
                self.answer(id, message);
                Answer::Nothing
            }
            Acknowledge::OnTake { at_latest } => {
                self.await_take(identity, message, at_latest);
                Answer::OnTake
            }
            Acknowledge::Manual => Answer::Manual(message),
        };
        self.take_in(id, payload, answer);
    }

    fn await_take(&mut self, identity: Identity, message: MessageId, at_latest: Option<Duration>) {
        let deadline = at_latest.map(|patience| self.now + patience);
        self.receiver.awaiting.push(identity, message, deadline);
        self.arm_late_acknowledgement();
    }

    pub(super) fn arm_late_acknowledgement(&mut self) {
        if let Some(at) = self.receiver.awaiting.next_deadline() {
            self.timers.arm(TimerKey::LateAcknowledgement, &mut self.late_acknowledgement, at);
        }
    }

    /// Messages were taken: acknowledges them.
    pub(super) fn acknowledge_taken(&mut self, count: usize) {
        for _ in 0..count {
            if let Some((identity, message)) = self.receiver.awaiting.pop() {
                self.acknowledge_message(identity, message);
            }
        }
    }

    /// Acknowledges messages that the application does not take in time.
    pub(super) fn acknowledge_late(&mut self) {
        while let Some((identity, message)) = self.receiver.awaiting.pop_late(self.now) {
            if !core::mem::replace(&mut self.receiver.awaiting.told, true) {
                self.events.push(Event::AcknowledgedEarly { identity });
            }
            self.acknowledge_message(identity, message);
        }
        self.arm_late_acknowledgement();
    }

    /// Says that the application has done with a message that came with
    /// [`Received::request`](crate::Received::request).
    pub fn acknowledge(&mut self, now: Instant, identity: Identity, message: MessageId) {
        self.advance(now);
        self.acknowledge_message(identity, message);
    }

    /// Says that the application has not done with a message that came with
    /// [`Received::request`](crate::Received::request): when its sender sends it again, it is delivered again.
    pub fn reject(&mut self, now: Instant, identity: Identity, message: MessageId) {
        self.advance(now);
        self.seen.forget(identity, message);
    }

    fn acknowledge_message(&mut self, identity: Identity, message: MessageId) {
        if let Some(connection) = self.seen.acknowledge(identity, message) {
            self.answer(connection, message);
        }
    }

    /// Has an acknowledgement written.
    fn answer(&mut self, id: ConnectionId, message: MessageId) {
        if let Some(link) = self.links.get_mut(id.0) {
            link.connection.acknowledge(message);
            if link.connection.wants_batch() {
                self.mark_ready(id);
            }
        }
    }
}
