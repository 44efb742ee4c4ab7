//! One direction of a connection.

use alloc::collections::VecDeque;

use aiomsg_proto::Instant;
use bytes::{Bytes, BytesMut};

/// One direction of a connection: a bounded buffer in which bytes travel for a while, in order.
///
/// What is travelling and what has arrived and was not read share one bound, as the buffers of two kernels and the wire
/// between them do. So a reader that stops reading stops the writer.
#[derive(Debug)]
pub(crate) struct Pipe {
    capacity: usize,
    travelling: VecDeque<(Instant, Bytes)>,
    arrived: BytesMut,
    occupied: usize,
    /// When the news arrives that nothing more is written.
    end: Option<Instant>,
    /// How much was sent, the end included, for [`Network::keep_apart`](crate::Network::keep_apart).
    pub(crate) sent: u64,
    /// Nothing arrives earlier than what was sent before it.
    latest: Instant,
    /// Bytes are accepted and do not arrive.
    pub(crate) swallows: bool,
    /// All that was ever written, if that is of interest.
    pub(crate) transcript: Option<Vec<u8>>,
}

impl Pipe {
    pub(crate) fn new(capacity: usize, recorded: bool) -> Self {
        Self {
            capacity,
            travelling: VecDeque::new(),
            arrived: BytesMut::new(),
            occupied: 0,
            end: None,
            sent: 0,
            latest: Instant::EPOCH,
            swallows: false,
            transcript: recorded.then(Vec::new),
        }
    }

    /// How much the writer may write now.
    pub(crate) fn window(&self) -> usize {
        if self.end.is_some() { 0 } else { self.capacity.saturating_sub(self.occupied) }
    }

    /// Sends bytes on their way, to arrive at `arrival` or with those before them; returns when they do.
    pub(crate) fn send(&mut self, bytes: Bytes, arrival: Instant) -> Instant {
        if let Some(transcript) = &mut self.transcript {
            transcript.extend_from_slice(&bytes);
        }
        self.latest = self.latest.max(arrival);
        self.occupied += bytes.len();
        self.travelling.push_back((self.latest, bytes));
        self.latest
    }

    /// Ends the stream behind what was sent; returns when the reader learns of it.
    pub(crate) fn finish(&mut self, arrival: Instant) -> Instant {
        self.latest = self.latest.max(arrival);
        *self.end.get_or_insert(self.latest)
    }

    /// Lets arrive what is due. Returns whether bytes did.
    pub(crate) fn arrive(&mut self, now: Instant) -> bool {
        let mut some = false;
        while !self.swallows
            && let Some((at, _)) = self.travelling.front()
            && *at <= now
            && let Some((_, bytes)) = self.travelling.pop_front()
        {
            self.arrived.extend_from_slice(&bytes);
            some = true;
        }
        some
    }

    /// Bytes that can be read now.
    pub(crate) fn available(&self) -> usize {
        self.arrived.len()
    }

    /// Takes up to `most` bytes that have arrived.
    pub(crate) fn take(&mut self, most: usize) -> BytesMut {
        let taken = self.arrived.split_to(most.min(self.arrived.len()));
        self.occupied -= taken.len();
        taken
    }

    /// Whether the reader has seen all there will ever be.
    pub(crate) fn is_ended(&self, now: Instant) -> bool {
        let drained = self.arrived.is_empty() && self.travelling.is_empty();
        drained && !self.swallows && self.end.is_some_and(|end| end <= now)
    }

    /// Drops what has arrived and was not read, or never will be.
    pub(crate) fn discard_arrived(&mut self) {
        self.occupied -= self.arrived.len();
        self.arrived.clear();
    }

    /// Drops what is on its way.
    pub(crate) fn discard_travelling(&mut self) {
        let lost: usize = self.travelling.drain(..).map(|(_, bytes)| bytes.len()).sum();
        self.occupied -= lost;
    }

    /// Lets all that was swallowed travel again from now on; returns when it arrives.
    pub(crate) fn restore(&mut self, arrival: Instant) -> Instant {
        self.swallows = false;
        self.latest = self.latest.max(arrival);
        for (at, _) in &mut self.travelling {
            *at = self.latest;
        }
        if let Some(end) = &mut self.end {
            *end = self.latest;
        }
        self.latest
    }
}
