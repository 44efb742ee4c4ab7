//! What a link writes in one go.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

use bytes::Bytes;

use crate::budget::Usage;
use crate::dialect::Protocol;
use crate::id::{DeliveryKey, MessageIds};
use crate::outgoing::{Outgoing, Route};

/// Payloads up to this many bytes are copied behind their heads into one contiguous buffer; longer ones are written
/// from where they are. Measured on loopback: below, copying costs less than a further slice in the system call.
const COPY_LIMIT: usize = 8 * 1024;

/// A batch takes no further message once it has this many bytes.
pub(crate) const BATCH_BYTES: usize = 128 * 1024;

/// A run of bytes to be written.
#[derive(Debug)]
enum Segment {
    /// Up to this offset of the encoded bytes, from where the segment before it ended.
    Encoded(usize),
    /// A payload that is written from where it is.
    Payload(Bytes),
}

/// The frames that a link writes next, taken out of the core so that they can be encoded and written while nobody
/// holds the core.
///
/// [`transmit`](crate::Socket::transmit) fills it, [`slices`](Self::slices) shows what to write,
/// [`advance`](Self::advance) notes what the link took, and
/// [`handle_transmitted`](crate::Socket::handle_transmitted) tells the core. A connection that ends takes its batch
/// back with [`handle_disconnected`](crate::Socket::handle_disconnected): exactly the messages of which not the last
/// byte was taken are then sent elsewhere or kept.
///
/// At most 128 KiB or one message at a time, control frames beside it.
#[derive(Debug, Default)]
pub struct Batch {
    wire: Option<Wire>,
    /// Messages of which not the last byte was taken, in the order in which they are written.
    messages: VecDeque<Outgoing>,
    encoded: Vec<u8>,
    segments: VecDeque<Segment>,
    /// Messages that are encoded, counted from the front.
    encoded_messages: usize,
    /// Bytes before the first message that are neither written nor part of a message.
    control_left: usize,
    /// Bytes of the first message that were written.
    head_written: usize,
    /// Bytes of `encoded` that were written.
    encoded_written: usize,
    /// Bytes that are encoded and not written.
    left: usize,
    settled: Settled,
}

/// How the messages of a batch are put on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) protocol: Protocol,
    pub(crate) ids: MessageIds,
}

/// What has been taken by the link to the last byte since the core was last told.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// Bytes of messages, whole or not, with what frames them.
    pub(crate) written: usize,
    /// Messages that need no acknowledgement.
    pub(crate) usage: Usage,
    /// What need not be held any more: as above, without published copies.
    pub(crate) released: Usage,
    /// The places in the log of the published copies.
    pub(crate) copies: Vec<u64>,
    /// Messages to be acknowledged.
    pub(crate) deliveries: Vec<DeliveryKey>,
}

impl Settled {
    fn is_empty(&self) -> bool {
        self.usage.is_empty() && self.deliveries.is_empty()
    }
}

impl Batch {
    /// Whether all of it was taken by the link.
    pub fn is_empty(&self) -> bool {
        self.left == 0 && self.messages.is_empty()
    }

    /// Shows what to write next, as far as `slices` reaches, and returns how many were filled in.
    pub fn slices<'a>(&'a mut self, slices: &mut [&'a [u8]]) -> usize {
        self.encode();
        let this: &'a Self = self;
        let mut from = this.encoded_written;
        let mut count = 0;
        for (segment, slot) in this.segments.iter().zip(slices) {
            *slot = match segment {
                Segment::Encoded(to) => {
                    let slice = this.encoded.get(from..*to).unwrap_or_default();
                    from = *to;
                    slice
                }
                Segment::Payload(payload) => payload,
            };
            count += 1;
        }
        count
    }

    /// Notes that the link took `count` bytes more.
    ///
    /// More than were shown cannot have been taken; what is over is ignored.
    pub fn advance(&mut self, count: usize) {
        let count = count.min(self.left);
        self.left -= count;
        self.drop_segments(count);
        self.settle(count);
        if self.left == 0 {
            self.encoded.clear();
            self.encoded_written = 0;
            // What the encoding of a burst took is given back, so that a connection that falls idle costs little.
            self.encoded.shrink_to(2 * BATCH_BYTES);
        }
    }

    /// Frees the buffers of a batch that is written. Adapters do so when a connection falls idle.
    pub fn shrink(&mut self) {
        if self.is_empty() && self.settled.is_empty() {
            *self = Self::default();
        }
    }

    /// The bytes before the messages: greeting, heartbeats, acknowledgements. The batch is empty before.
    pub(crate) fn start(&mut self, wire: Wire, control: &mut Vec<u8>) {
        debug_assert!(self.is_empty(), "a batch is filled only when it is written");
        self.wire = Some(wire);
        self.encoded_messages = 0;
        self.encoded.append(control);
        self.control_left = self.encoded.len();
        self.left = self.encoded.len();
        if self.left > 0 {
            self.segments.push_back(Segment::Encoded(self.left));
        }
    }

    pub(crate) fn messages_mut(&mut self) -> &mut VecDeque<Outgoing> {
        &mut self.messages
    }

    /// What the link took since this was last asked.
    pub(crate) fn take_settled(&mut self) -> Settled {
        Settled {
            written: mem::take(&mut self.settled.written),
            usage: mem::take(&mut self.settled.usage),
            released: mem::take(&mut self.settled.released),
            copies: mem::take(&mut self.settled.copies),
            deliveries: mem::take(&mut self.settled.deliveries),
        }
    }

    /// The messages of which not the last byte was taken. The batch is empty afterwards.
    pub(crate) fn take_unsent(&mut self) -> VecDeque<Outgoing> {
        let unsent = mem::take(&mut self.messages);
        *self = Self { settled: mem::take(&mut self.settled), ..Self::default() };
        unsent
    }

    fn encode(&mut self) {
        let Some(Wire { protocol, ids }) = self.wire else { return };
        if self.encoded_messages >= self.messages.len() {
            return;
        }
        let before = self.encoded.len();
        let mut end = before;
        for message in self.messages.iter().skip(self.encoded_messages) {
            let payload = &message.payload;
            protocol.encode_head(payload, message.id(ids), message.delivery.is_some(), &mut self.encoded);
            if payload.len() <= COPY_LIMIT {
                self.encoded.extend_from_slice(payload);
            } else {
                push_encoded(&mut self.segments, &mut end, self.encoded.len());
                self.segments.push_back(Segment::Payload(payload.clone()));
                self.left += payload.len();
            }
        }
        push_encoded(&mut self.segments, &mut end, self.encoded.len());
        self.left += self.encoded.len() - before;
        self.encoded_messages = self.messages.len();
    }

    /// Drops what was written off the front of the segments.
    fn drop_segments(&mut self, mut count: usize) {
        while let Some(segment) = self.segments.front_mut() {
            let length = match segment {
                Segment::Encoded(to) => *to - self.encoded_written,
                Segment::Payload(payload) => payload.len(),
            };
            let written = count.min(length);
            match segment {
                Segment::Encoded(_) => self.encoded_written += written,
                Segment::Payload(payload) => bytes::Buf::advance(payload, written),
            }
            if written < length {
                return;
            }
            count -= written;
            self.segments.pop_front();
        }
    }

    /// Takes the messages that were written to the last byte out, and keeps account of them.
    fn settle(&mut self, count: usize) {
        let Some(Wire { protocol, .. }) = self.wire else { return };
        let control = count.min(self.control_left);
        self.control_left -= control;
        self.head_written += count - control;
        self.settled.written += count - control;
        while let Some(message) = self.messages.front() {
            let length = protocol.frame_length(&message.payload, message.delivery.is_some());
            if self.head_written < length {
                return;
            }
            self.head_written -= length;
            self.encoded_messages -= 1;
            match (message.route, message.delivery) {
                (_, Some(key)) => self.settled.deliveries.push(key),
                (Route::Copy(place), None) => {
                    self.settled.usage.add(message.usage());
                    self.settled.copies.push(place);
                }
                (Route::Any | Route::Direct, None) => {
                    self.settled.usage.add(message.usage());
                    self.settled.released.add(message.usage());
                }
            }
            self.messages.pop_front();
        }
    }
}

/// Closes the run of encoded bytes that ends at `to`.
fn push_encoded(segments: &mut VecDeque<Segment>, end: &mut usize, to: usize) {
    if to == *end {
        return;
    }
    *end = to;
    match segments.back_mut() {
        Some(Segment::Encoded(last)) => *last = to,
        Some(Segment::Payload(_)) | None => segments.push_back(Segment::Encoded(to)),
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::dialect::IdentityForm;

    fn batch(protocol: Protocol, payloads: &[Bytes]) -> Batch {
        let mut batch = Batch::default();
        batch.start(Wire { protocol, ids: MessageIds::new(7) }, &mut vec![1, 2, 3]);
        for (sequence, payload) in (0..).zip(payloads) {
            batch.messages_mut().push_back(Outgoing {
                payload: payload.clone(),
                sequence,
                route: Route::Any,
                delivery: None,
            });
        }
        batch
    }

    fn payloads() -> [Bytes; 5] {
        let long = Bytes::from(vec![9; COPY_LIMIT + 1]);
        [Bytes::from_static(b"a"), long.clone(), long, Bytes::new(), Bytes::from_static(b"aiomsg-heartbeat")]
    }

    fn write(batch: &mut Batch, most: usize, out: &mut Vec<u8>) -> usize {
        let mut slices = [&[][..]; 3];
        let count = batch.slices(&mut slices);
        let bytes = slices[..count].concat();
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
                    assert_eq!(settled + batch.messages.len(), 5);
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
