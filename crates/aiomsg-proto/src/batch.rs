//! What a link writes in one go.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

use crate::frames::{Frames, HEAD, Settled};
use crate::outgoing::Outgoing;

/// Bytes in the largest packet of the loopback interface, and nearly as many are in those that a system hands to a card.
/// One with a few bytes takes as much time as a full one.
const PACKET: usize = 65_483;

/// Bytes of a batch, unless a few more messages fill its packets better.
pub(crate) const BATCH_BYTES: usize = 2 * PACKET;

/// Whether a batch of `bytes` bytes is written without a further message of `next` bytes.
#[inline]
pub(crate) fn ends(bytes: usize, next: usize) -> bool {
    let more = bytes + HEAD + next;
    more > BATCH_BYTES && !is_fuller(bytes, more)
}

/// Whether the packets of a batch are fuller with `more` bytes, by a thirtieth at least: four messages of 64 KiB go in five,
/// one by itself in two.
#[cold]
fn is_fuller(bytes: usize, more: usize) -> bool {
    let filling = |bytes: usize| bytes.checked_div(bytes.div_ceil(PACKET)).unwrap_or_default();
    bytes < 2 * BATCH_BYTES && filling(more) > filling(bytes) / 30 * 31
}

/// The frames that a link writes next, taken out of the core so that they can be written while nobody holds the core.
///
/// [`transmit`](crate::Socket::transmit) fills it, [`slices`](Self::slices) shows what to write,
/// [`advance`](Self::advance) notes what the link took, and
/// [`handle_transmitted`](crate::Socket::handle_transmitted) tells the core. A connection that ends takes its batch
/// back with [`handle_disconnected`](crate::Socket::handle_disconnected): the messages in it whose last byte was
/// not taken are then sent elsewhere or kept; published copies that other subscribers have are dropped and counted.
///
/// At most 128 KiB or one message at a time, or 256 KiB and one message where these are long; control frames beside it.
#[derive(Debug, Default)]
pub struct Batch {
    /// The bytes before the messages: greeting, heartbeats, acknowledgements; and how many of them are written.
    control: Vec<u8>,
    control_written: usize,
    frames: Frames,
    settled: Settled,
    /// How often it was to be freed since it last carried a message.
    unused: u8,
}

/// A batch that carries nothing is freed when it was to be freed so often: who answers what comes has nothing to write
/// every other time.
const UNUSED: u8 = 8;

impl Batch {
    /// Whether all of it was taken by the link.
    pub fn is_empty(&self) -> bool {
        self.control_left() == 0 && self.frames.is_empty()
    }

    /// What to write next, in pieces that are not empty. A link may take as many of them as it likes.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let control = self.control.get(self.control_written..).filter(|control| !control.is_empty());
        control.into_iter().chain(self.frames.slices())
    }

    /// Notes that the link took `count` bytes more.
    ///
    /// More than were shown cannot have been taken; what is over is ignored.
    pub fn advance(&mut self, count: usize) {
        let control = count.min(self.control_left());
        self.control_written += control;
        let count = (count - control).min(self.frames.left());
        if count > 0 {
            self.frames.advance(count, &mut self.settled);
        }
        if self.is_empty() {
            self.control.clear();
            self.control_written = 0;
            // What a burst took is given back, so that a connection that falls idle costs little.
            self.frames.shrink_to(2 * BATCH_BYTES);
        }
    }

    /// Frees the buffers of a batch that is written, if it has carried no message when this was last called a few times.
    /// Adapters call this whenever a connection has nothing to do: one that has only its heartbeats costs little, and one
    /// that has something now and then keeps its buffers.
    pub fn shrink(&mut self) {
        self.unused = self.unused.saturating_add(1);
        if self.unused >= UNUSED && self.is_empty() && self.settled.is_empty() {
            *self = Self { unused: UNUSED, ..Self::default() };
        }
    }

    /// Fills the batch, which is empty before, and leaves its buffers in exchange.
    pub(crate) fn fill(&mut self, control: &mut Vec<u8>, frames: &mut Frames) {
        debug_assert!(self.is_empty(), "a batch is filled only when it is written");
        mem::swap(&mut self.control, control);
        if !frames.is_empty() {
            self.unused = 0;
        }
        mem::swap(&mut self.frames, frames);
    }

    /// What the link took since this was last asked.
    pub(crate) fn take_settled(&mut self) -> Settled {
        mem::take(&mut self.settled)
    }

    /// The messages of which not the last byte was taken. The batch is empty afterwards.
    pub(crate) fn take_unsent(&mut self) -> VecDeque<Outgoing> {
        let unsent = self.frames.take_unsent();
        *self = Self { settled: mem::take(&mut self.settled), ..Self::default() };
        unsent
    }

    const fn control_left(&self) -> usize {
        self.control.len() - self.control_written
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use bytes::Bytes;

    use super::*;
    use crate::dialect::{IdentityForm, Protocol};
    use crate::frames::{COPY_LIMIT, Wire};
    use crate::id::MessageIds;
    use crate::outgoing::{Heading, Route};

    #[test]
    fn a_batch_ends_where_its_packets_are_fullest() {
        let short = [(4, 14_548), (256, 501), (4_096, 31), (16 << 10, 7), (32 << 10, 3)];
        let long = [(64 << 10, 4), (96 << 10, 1), (128 << 10, 2), (1 << 20, 1)];
        for (bytes, expected) in short.into_iter().chain(long) {
            let frame = bytes + 5;
            let count = (1_usize..).find(|count| ends(count * frame, bytes));
            assert_eq!(count, Some(expected), "messages of {bytes} bytes");
        }
    }

    fn batch(protocol: Protocol, payloads: &[Bytes]) -> Batch {
        let mut frames = Frames::default();
        let wire = Wire { protocol, ids: MessageIds::new(7) };
        for (sequence, payload) in (0..).zip(payloads) {
            frames.push(wire, Heading::new(sequence, Route::Any), payload);
        }
        let mut batch = Batch::default();
        batch.fill(&mut vec![1, 2, 3], &mut frames);
        batch
    }

    fn payloads() -> [Bytes; 5] {
        let long = Bytes::from(vec![9; COPY_LIMIT + 1]);
        [Bytes::from_static(b"a"), long.clone(), long, Bytes::new(), Bytes::from_static(b"aiomsg-heartbeat")]
    }

    fn write(batch: &mut Batch, most: usize, out: &mut Vec<u8>) -> usize {
        assert!(batch.slices().all(|slice| !slice.is_empty()), "a link would seem to be closed");
        let bytes = batch.slices().take(3).collect::<Vec<_>>().concat();
        let taken = bytes.len().min(most);
        out.extend_from_slice(&bytes[..taken]);
        batch.advance(taken);
        taken
    }

    #[test]
    fn any_split_of_the_writes_gives_the_same_bytes_and_settles_whole_messages() {
        for protocol in [Protocol::V1, Protocol::Classic(IdentityForm::Raw)] {
            let mut whole = Vec::new();
            let mut reference = batch(protocol, &payloads());
            while write(&mut reference, usize::MAX, &mut whole) > 0 {}
            assert!(reference.is_empty());
            for step in [1, 2, 7, 1_000, COPY_LIMIT + 10] {
                let mut batch = batch(protocol, &payloads());
                let mut out = Vec::new();
                let mut settled = 0;
                while write(&mut batch, step, &mut out) > 0 {
                    settled += batch.take_settled().usage.messages;
                    assert_eq!(settled + batch.frames.usage().messages, 5);
                }
                assert!(out == whole, "{protocol:?} in steps of {step}");
                assert_eq!(settled, 5);
            }
        }
    }

    #[test]
    fn what_was_cut_short_comes_back_whole() {
        let total = {
            let mut out = Vec::new();
            let mut batch = batch(Protocol::V1, &payloads());
            while write(&mut batch, usize::MAX, &mut out) > 0 {}
            out.len()
        };
        for cut in 0..total {
            let mut batch = batch(Protocol::V1, &payloads());
            let mut out = Vec::new();
            while out.len() < cut {
                let left = cut - out.len();
                write(&mut batch, left, &mut out);
            }
            let settled = batch.take_settled().usage.messages;
            let unsent = batch.take_unsent();
            assert_eq!(settled + unsent.len(), 5);
            assert!(
                unsent
                    .iter()
                    .zip(&payloads()[settled..])
                    .all(|(message, payload)| message.payload == payload)
            );
            let whole_frames: usize = payloads()[..settled].iter().map(|payload| payload.len() + 5).sum();
            assert!(3 + whole_frames <= cut.max(3), "settled before the last byte was taken");
            assert!(batch.is_empty());
        }
    }
}
