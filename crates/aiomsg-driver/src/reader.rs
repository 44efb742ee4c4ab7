//! Reading from a link: how much at a time, and into what.

use std::io;
use std::task::{Context, Poll};

use aiomsg_proto::frame;
use bytes::BytesMut;

use crate::buffers::Buffers;
use crate::io::Link;

/// The first read of a connection that has become readable, in bytes. Reads that fill their buffer double the next.
const FIRST_READ: usize = 4 * 1024;

/// The largest read, in bytes, but for a frame that is longer.
const LARGEST_READ: usize = 128 * 1024;

/// From this length on, copying the part of a frame that has arrived costs more than reading the rest of it by itself.
const LONG_FRAME: usize = 16 * 1024;

/// What was read and not taken by the core, and how much to read next.
#[derive(Debug)]
pub(crate) struct Reader {
    /// Bytes that the core has left: a frame that has not arrived in full, or what it has no room for.
    pub(crate) buffer: BytesMut,
    next_read: usize,
    /// Bytes of the latest frame that was seen to arrive in parts, if it is a long one. Those that follow are often as
    /// long.
    long_frame: usize,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self { buffer: BytesMut::new(), next_read: FIRST_READ, long_frame: 0 }
    }

    /// Reads at most `most` bytes behind what is left in the buffer.
    pub(crate) fn poll_read<L: Link>(
        &mut self,
        cx: &mut Context<'_>,
        link: &mut L,
        buffers: &Buffers,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        self.make_room(buffers, most);
        let room = self.room();
        let result = link.poll_read(cx, &mut self.buffer);
        if let Poll::Ready(Ok(read)) = &result {
            self.adapt(*read, room);
        }
        self.trim(buffers);
        result
    }

    fn room(&self) -> usize {
        self.buffer.capacity() - self.buffer.len()
    }

    /// Sees to it that there is room for what is to be read next, and for no more than `most` bytes.
    fn make_room(&mut self, buffers: &Buffers, most: usize) {
        let rest = self.rest_of_frame();
        let size = self.size(rest).min(most);
        let room = self.room();
        let goes_on = if rest >= LONG_FRAME || self.buffer.len() >= LONG_FRAME {
            room >= rest
        } else {
            room >= size / 4
        };
        if room > 0 && room <= most && goes_on {
            return;
        }
        let mut fresh = buffers.take(self.buffer.len() + size);
        fresh.extend_from_slice(&self.buffer);
        let used = core::mem::replace(&mut self.buffer, fresh);
        self.give_back(buffers, used);
    }

    /// What is missing of the frame that has arrived in part.
    fn rest_of_frame(&mut self) -> usize {
        let Some(announced) = frame::announced(&self.buffer) else { return 0 };
        let length = frame::PREFIX + announced as usize;
        self.long_frame = if length >= LONG_FRAME { length } else { 0 };
        length.saturating_sub(self.buffer.len())
    }

    /// How much to read, when `rest` bytes are missing of a frame. Of long frames, as many as fit and no part of a further
    /// one, which would have to be copied to where the rest of it is read. A frame that is longer than all that gets room
    /// as its bytes come, not as its length was announced.
    fn size(&self, rest: usize) -> usize {
        let size = self.next_read.max(self.buffer.len().min(LARGEST_READ));
        match size.checked_sub(rest).and_then(|beside| beside.checked_div(self.long_frame)) {
            Some(further) if rest + further > 0 => rest + further * self.long_frame,
            Some(_) | None => size,
        }
    }

    /// A few bytes must not pin a large buffer, for as long as the application keeps the message, or the rest of it does
    /// not come.
    fn trim(&mut self, buffers: &Buffers) {
        if self.buffer.len() < self.buffer.capacity() / 4 {
            let large = core::mem::take(&mut self.buffer);
            self.buffer.extend_from_slice(&large);
            self.give_back(buffers, large);
        }
    }

    fn give_back(&self, buffers: &Buffers, used: BytesMut) {
        if self.next_read > FIRST_READ {
            buffers.give_back(used);
        }
    }

    fn adapt(&mut self, read: usize, room: usize) {
        if read == room {
            self.next_read = (room * 2).min(LARGEST_READ).max(self.next_read);
        } else if read < room / 4 {
            self.next_read = (self.next_read / 2).max(FIRST_READ);
        }
    }
}
