//! Messages in the form in which they are written, and what has to be known of each until it is.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::{iter, mem};

use bytes::Bytes;
use slotmap::{Key, KeyData};

use crate::budget::Usage;
use crate::dialect::Protocol;
use crate::id::{DeliveryKey, MessageIds};
use crate::outgoing::{Heading, Outgoing, Route};

/// Payloads up to this many bytes are copied behind their heads into one contiguous buffer; longer ones are written
/// from where they are. Measured on loopback: below, copying costs less than a further slice in the system call.
pub(crate) const COPY_LIMIT: usize = 8 * 1024;

/// No frame has more bytes before its payload.
pub(crate) const HEAD: usize = 32;

/// How messages are put on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) protocol: Protocol,
    pub(crate) ids: MessageIds,
}

/// Messages as they are written, the first perhaps in part.
///
/// A message is encoded when it is lined up: a short one is copied once, and needs no memory of its own any more.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    entries: Vec<Entry>,
    /// The first of them of which not the last byte is written.
    first: usize,
    /// The frames of all messages, without the payloads that are written from where they are.
    encoded: Vec<u8>,
    /// Those payloads, each with the end of what is encoded before it.
    apart: VecDeque<(usize, Bytes)>,
    /// Payloads of all messages.
    usage: Usage,
    /// Messages of which more is to be told than that they were written.
    special: usize,
    /// Bytes that are not written.
    left: usize,
    /// Bytes of the first message that are written.
    first_written: usize,
    /// Where the first message starts in `encoded`, and up to where that is written.
    first_encoded: usize,
    encoded_written: usize,
    /// Bytes of the first payload in `apart` that are written.
    apart_written: usize,
}

/// What is known of a message beside its bytes.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The place among all that the socket accepted for sending.
    sequence: u64,
    /// Depending on its kind, the place in the log, or the name under which its acknowledgement is awaited.
    key: u64,
    /// Bytes of its frame, and of these the payload.
    frame: u32,
    payload: u32,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Any,
    Direct,
    Copy,
    AnyTracked,
    DirectTracked,
}

/// What has been taken by the link to the last byte since this was last asked.
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
    pub(crate) fn is_empty(&self) -> bool {
        self.usage.is_empty() && self.deliveries.is_empty()
    }

    #[inline]
    fn add(&mut self, entry: &Entry) {
        let usage = Usage::one(entry.payload as usize);
        match entry.kind {
            Kind::Any | Kind::Direct => {
                self.usage.add(usage);
                self.released.add(usage);
            }
            Kind::Copy => {
                self.usage.add(usage);
                self.copies.push(entry.key);
            }
            Kind::AnyTracked | Kind::DirectTracked => {
                self.deliveries.push(KeyData::from_ffi(entry.key).into());
            }
        }
    }
}

impl Frames {
    pub(crate) const fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Bytes that are not written.
    pub(crate) const fn left(&self) -> usize {
        self.left
    }

    /// Payloads of the messages of which not the last byte is written.
    pub(crate) const fn usage(&self) -> Usage {
        self.usage
    }

    /// Lines up a message behind the others.
    #[inline]
    pub(crate) fn push(&mut self, wire: Wire, heading: Heading, payload: &Bytes) {
        let Heading { sequence, route, delivery } = heading;
        let (kind, key) = match (route, delivery) {
            (Route::Any, None) => (Kind::Any, 0),
            (Route::Direct, None) => (Kind::Direct, 0),
            (Route::Copy(place), _) => (Kind::Copy, place),
            (Route::Any, Some(key)) => (Kind::AnyTracked, key.data().as_ffi()),
            (Route::Direct, Some(key)) => (Kind::DirectTracked, key.data().as_ffi()),
        };
        self.special += usize::from(!matches!(kind, Kind::Any | Kind::Direct));
        let before = self.encoded.len();
        // One look at the capacity, and small steps are none.
        self.encoded.reserve(HEAD + payload.len().min(COPY_LIMIT));
        wire.protocol.encode_head(payload, heading.id(wire.ids), delivery.is_some(), &mut self.encoded);
        let frame = self.encoded.len() - before + payload.len();
        self.left += frame;
        self.usage.add(Usage::one(payload.len()));
        // No message is longer than the settings allow, which is 1 GiB at most.
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let entry = Entry { sequence, key, frame: length(frame), payload: length(payload.len()), kind };
        self.entries.push(entry);
        if payload.len() <= COPY_LIMIT {
            self.encoded.extend_from_slice(payload);
        } else {
            self.apart.push_back((self.encoded.len(), payload.clone()));
        }
    }

    /// What to write next, in pieces that are not empty.
    pub(crate) fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let mut apart = self.apart.iter();
        let mut payload: Option<&[u8]> = None;
        let (mut from, mut skipped) = (self.encoded_written, self.apart_written);
        let pieces = iter::from_fn(move || {
            if let Some(payload) = payload.take() {
                return Some(payload);
            }
            let end = apart.next().map_or(self.encoded.len(), |(end, next)| {
                payload = next.get(mem::take(&mut skipped)..);
                *end
            });
            let encoded = self.encoded.get(mem::replace(&mut from, end)..end);
            encoded.filter(|encoded| payload.is_some() || !encoded.is_empty())
        });
        pieces.filter(|piece| !piece.is_empty())
    }

    /// Notes that the link took `count` bytes more, and keeps account of the messages that it took to the last byte.
    pub(crate) fn advance(&mut self, count: usize, settled: &mut Settled) {
        settled.written += count;
        if count >= self.left {
            self.finish(settled);
            return;
        }
        self.left -= count;
        self.move_on(count);
        self.first_written += count;
        while let Some(entry) = self.entries.get(self.first)
            && self.first_written >= entry.frame as usize
        {
            self.first_written -= entry.frame as usize;
            self.first_encoded += entry.encoded();
            self.special -= usize::from(entry.is_special());
            self.usage.sub(Usage::one(entry.payload as usize));
            settled.add(entry);
            self.first += 1;
        }
    }

    /// All is written.
    fn finish(&mut self, settled: &mut Settled) {
        if self.special == 0 {
            settled.usage.add(self.usage);
            settled.released.add(self.usage);
        } else {
            // Those that are special are nearly always of one kind.
            if self.entries.last().is_some_and(Entry::is_tracked) {
                settled.deliveries.reserve(self.special);
            }
            self.entries.iter().skip(self.first).for_each(|entry| settled.add(entry));
        }
        self.reset();
    }

    /// Nothing is left; what memory there is stays for what comes next.
    fn reset(&mut self) {
        let Self {
            entries,
            encoded,
            apart,
            usage,
            first,
            special,
            left,
            first_written,
            first_encoded,
            encoded_written,
            apart_written,
        } = self;
        entries.clear();
        encoded.clear();
        apart.clear();
        *usage = Usage::default();
        for count in [first, special, left, first_written, first_encoded, encoded_written, apart_written] {
            *count = 0;
        }
    }

    /// Moves the place up to which is written.
    fn move_on(&mut self, mut count: usize) {
        while let Some((end, payload)) = self.apart.front() {
            let before = (*end - self.encoded_written).min(count);
            self.encoded_written += before;
            count -= before;
            let rest = payload.len() - self.apart_written;
            if count < rest {
                self.apart_written += count;
                return;
            }
            count -= rest;
            self.apart_written = 0;
            self.apart.pop_front();
        }
        self.encoded_written += count;
    }

    /// Takes all messages out of which not the last byte is written, in their order.
    pub(crate) fn take_unsent(&mut self) -> VecDeque<Outgoing> {
        let Self { entries, first, encoded, apart, first_encoded, .. } = mem::take(self);
        let mut apart = apart.into_iter();
        let mut start = first_encoded;
        let unsent = entries.into_iter().skip(first).map(|entry| {
            let end = start + entry.encoded();
            let payload = if entry.is_apart() {
                apart.next().map(|(_, payload)| payload).unwrap_or_default()
            } else {
                Bytes::copy_from_slice(encoded.get(end - entry.payload as usize..end).unwrap_or_default())
            };
            start = end;
            entry.message(payload)
        });
        unsent.collect()
    }

    /// Whether there is memory for messages.
    pub(crate) const fn has_room(&self) -> bool {
        self.encoded.capacity() > 0
    }

    /// Empty ones that are likely to become as many.
    pub(crate) fn successor(&self) -> Self {
        Self {
            entries: Vec::with_capacity(self.entries.len()),
            encoded: Vec::with_capacity(self.encoded.len()),
            ..Self::default()
        }
    }

    /// Gives memory back that a burst took.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        self.encoded.shrink_to(bytes);
        self.entries.shrink_to(bytes / size_of::<Entry>());
        self.apart.shrink_to(bytes / COPY_LIMIT);
    }
}

impl Entry {
    /// Whether its payload is not among what is encoded.
    const fn is_apart(&self) -> bool {
        self.payload as usize > COPY_LIMIT
    }

    /// Bytes of it among what is encoded.
    const fn encoded(&self) -> usize {
        if self.is_apart() { self.frame as usize - self.payload as usize } else { self.frame as usize }
    }

    const fn is_tracked(&self) -> bool {
        matches!(self.kind, Kind::AnyTracked | Kind::DirectTracked)
    }

    const fn is_special(&self) -> bool {
        !matches!(self.kind, Kind::Any | Kind::Direct)
    }

    fn message(&self, payload: Bytes) -> Outgoing {
        let key = || Some(KeyData::from_ffi(self.key).into());
        let (route, delivery) = match self.kind {
            Kind::Any => (Route::Any, None),
            Kind::Direct => (Route::Direct, None),
            Kind::Copy => (Route::Copy(self.key), None),
            Kind::AnyTracked => (Route::Any, key()),
            Kind::DirectTracked => (Route::Direct, key()),
        };
        Outgoing { payload, heading: Heading { sequence: self.sequence, route, delivery } }
    }
}
