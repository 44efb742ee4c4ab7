//! What waits to be written on one connection.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::batch::{self, BATCH_BYTES, Batch};
use crate::budget::Usage;
use crate::frames::{Frames, Settled, Wire};
use crate::id::MessageId;
use crate::outgoing::{Heading, Outgoing};

/// Acknowledgements that wait on one connection, at most. A peer that does not read them sends its messages again.
const MAX_ACKNOWLEDGEMENTS: usize = 8_192;

/// Bytes of an acknowledgement, at most.
const ACKNOWLEDGEMENT: usize = 32;

/// What waits to be written on one connection, and what is being written.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Encoded frames that carry no message; they go first.
    control: Vec<u8>,
    /// Messages whose receipt is to be acknowledged; they go next.
    acknowledgements: VecDeque<MessageId>,
    /// The messages that wait: full batches, oldest first, and the one that is being filled.
    full: VecDeque<Frames>,
    filling: Frames,
    /// The buffers of a batch that is written, for the next one that is begun while others wait. Taking them anew from
    /// the system each time costs more than the copying that they are for.
    spare: Frames,
    /// Payloads in the full ones.
    full_usage: Usage,
    /// Whether a batch is being written.
    writing: bool,
}

impl Outbox {
    pub(crate) fn control(&mut self) -> &mut Vec<u8> {
        &mut self.control
    }

    #[inline]
    pub(crate) fn push_acknowledgement(&mut self, id: MessageId) {
        if self.acknowledgements.len() == MAX_ACKNOWLEDGEMENTS {
            self.acknowledgements.pop_front();
        }
        self.acknowledgements.push_back(id);
    }

    #[inline]
    pub(crate) fn push(&mut self, wire: Wire, heading: Heading, payload: &Bytes) {
        if batch::ends(self.filling.left(), payload.len()) {
            self.begin_next();
        }
        self.filling.push(wire, heading, payload);
    }

    #[cold]
    fn begin_next(&mut self) {
        if !self.filling.is_empty() {
            self.full_usage.add(self.filling.usage());
            let next = if self.spare.has_room() {
                core::mem::take(&mut self.spare)
            } else {
                self.filling.successor()
            };
            self.full.push_back(core::mem::replace(&mut self.filling, next));
        }
    }

    /// What waits, beside the batch being written.
    #[inline]
    pub(crate) const fn queued(&self) -> Usage {
        let mut queued = self.filling.usage();
        queued.add(self.full_usage);
        queued
    }

    /// Nothing waits and nothing is being written.
    pub(crate) fn is_idle(&self) -> bool {
        !self.writing && !self.wants_transmit()
    }

    /// Whether a batch is being written.
    pub(crate) const fn is_writing(&self) -> bool {
        self.writing
    }

    pub(crate) fn wants_transmit(&self) -> bool {
        self.has_control() || !self.filling.is_empty() || !self.full.is_empty()
    }

    pub(crate) fn has_control(&self) -> bool {
        !self.control.is_empty() || !self.acknowledgements.is_empty()
    }

    /// Nothing but messages waits, and nothing is being written.
    pub(crate) fn is_written(&self) -> bool {
        !self.writing && !self.has_control()
    }

    /// Whether a batch has room for more than what waits here.
    pub(crate) const fn has_batch_room(&self) -> bool {
        self.queued().bytes < BATCH_BYTES
    }

    /// Moves what is to be written next into `batch`, which must be written by then.
    pub(crate) fn fill(&mut self, wire: Wire, batch: &mut Batch, with_messages: bool) {
        self.control.reserve(ACKNOWLEDGEMENT * self.acknowledgements.len());
        for id in self.acknowledgements.drain(..) {
            wire.protocol.encode_acknowledgement(id, &mut self.control);
        }
        if !with_messages {
            batch.fill(&mut self.control, &mut Frames::default());
        } else if let Some(mut first) = self.full.pop_front() {
            self.full_usage.sub(first.usage());
            batch.fill(&mut self.control, &mut first);
            self.spare = first;
        } else {
            batch.fill(&mut self.control, &mut self.filling);
        }
        self.writing = !batch.is_empty();
    }

    /// Notes how far a batch has come, and returns what was settled since.
    pub(crate) fn settle(&mut self, batch: &mut Batch) -> Settled {
        self.writing = !batch.is_empty();
        batch.take_settled()
    }

    /// Frees all buffers, if nothing waits.
    pub(crate) fn shrink(&mut self) {
        if self.full.is_empty() && self.filling.is_empty() {
            (self.full, self.filling, self.spare) = Default::default();
        }
    }

    /// Drops messages that wait and are not `wanted`.
    pub(crate) fn retain(&mut self, wire: Wire, wanted: impl Fn(&Outgoing) -> bool) {
        for message in self.take_queue().into_iter().filter(wanted) {
            self.push(wire, message.heading, &message.payload);
        }
    }

    /// Takes all messages that wait.
    pub(crate) fn take_queue(&mut self) -> VecDeque<Outgoing> {
        self.full_usage = Usage::default();
        self.full.push_back(core::mem::take(&mut self.filling));
        core::mem::take(&mut self.full).iter_mut().flat_map(Frames::take_unsent).collect()
    }
}
