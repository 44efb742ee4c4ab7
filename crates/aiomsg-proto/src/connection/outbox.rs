//! What waits to be written on one connection.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::batch::{BATCH_BYTES, Batch, Settled, Wire};
use crate::budget::Usage;
use crate::id::MessageId;
use crate::outgoing::Outgoing;

/// Acknowledgements that wait on one connection, at most. A peer that does not read them sends its messages again.
const MAX_ACKNOWLEDGEMENTS: usize = 8_192;

/// What waits to be written on one connection, and what is being written.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Encoded frames that carry no message; they go first.
    control: Vec<u8>,
    /// Messages whose receipt is to be acknowledged; they go next.
    acknowledgements: VecDeque<MessageId>,
    queue: VecDeque<Outgoing>,
    queued: Usage,
    /// Whether a batch is being written.
    writing: bool,
}

impl Outbox {
    pub(crate) fn control(&mut self) -> &mut Vec<u8> {
        &mut self.control
    }

    pub(crate) fn push_acknowledgement(&mut self, id: MessageId) {
        if self.acknowledgements.len() == MAX_ACKNOWLEDGEMENTS {
            self.acknowledgements.pop_front();
        }
        self.acknowledgements.push_back(id);
    }

    #[inline]
    pub(crate) fn push(&mut self, message: Outgoing) {
        self.queued.add(message.usage());
        self.queue.push_back(message);
    }

    /// What waits, beside the batch being written.
    pub(crate) const fn queued(&self) -> Usage {
        self.queued
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
        self.has_control() || !self.queue.is_empty()
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
        self.queued.bytes < BATCH_BYTES
    }

    /// Moves what is to be written next into `batch`, which must be written by then.
    pub(crate) fn fill(&mut self, wire: Wire, batch: &mut Batch, with_messages: bool) {
        for id in self.acknowledgements.drain(..) {
            wire.protocol.encode_acknowledgement(id, &mut self.control);
        }
        batch.start(wire, &mut self.control);
        if with_messages {
            let messages = batch.messages_mut();
            if self.queued.bytes <= BATCH_BYTES {
                core::mem::swap(messages, &mut self.queue);
                self.queued = Usage::default();
            } else {
                let mut filled = 0;
                while let Some(message) = self.queue.front()
                    && (filled == 0 || filled + message.payload.len() <= BATCH_BYTES)
                {
                    filled += message.payload.len();
                    self.queued.sub(message.usage());
                    messages.extend(self.queue.pop_front());
                }
            }
        }
        self.writing = !batch.is_empty();
    }

    /// Notes how far a batch has come, and returns what was settled since.
    pub(crate) fn settle(&mut self, batch: &mut Batch) -> Settled {
        self.writing = !batch.is_empty();
        batch.take_settled()
    }

    /// Drops messages that wait and are not `wanted`.
    pub(crate) fn retain(&mut self, wanted: impl Fn(&Outgoing) -> bool) {
        self.queue.retain(|message| {
            let keeps = wanted(message);
            if !keeps {
                self.queued.sub(message.usage());
            }
            keeps
        });
    }

    /// Takes all messages that wait.
    pub(crate) fn take_queue(&mut self) -> VecDeque<Outgoing> {
        self.queued = Usage::default();
        core::mem::take(&mut self.queue)
    }
}
