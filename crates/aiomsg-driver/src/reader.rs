//! Reading from a link: how much at a time, and into what.

use std::io;
use std::task::{Context, Poll};

use aiomsg_proto::frame;
use bytes::BytesMut;

use crate::buffers::Buffers;
use crate::io::Link;

/// The largest read, in bytes, but for a frame that is longer.
pub(crate) const LARGEST_READ: usize = 96 * 1024;

/// From this length on, copying the part of a frame that has arrived costs more than reading the rest of it by itself.
const LONG_FRAME: usize = 16 * 1024;

/// What was read and not taken by the core.
#[derive(Debug)]
pub(crate) struct Reader {
    /// Bytes that the core has left: a frame that has not arrived in full, or what it has no room for.
    pub(crate) buffer: BytesMut,
    /// Bytes of that buffer before anything was cut off it: so much is held by whatever is in it.
    whole: usize,
    /// Bytes of the latest frame that was seen to arrive in parts, if it is a long one. Those that follow are often as
    /// long.
    long_frame: usize,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self { buffer: BytesMut::new(), whole: 0, long_frame: 0 }
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
        let result = link.poll_read(cx, &mut self.buffer);
        self.trim(buffers);
        result
    }

    /// Sees to it that there is room for what is to be read next, and, but for a large message on its way, for no more
    /// than `most` bytes.
    fn make_room(&mut self, buffers: &Buffers, most: usize) {
        let held = self.buffer.len();
        let rest = self.rest_of_frame();
        let size = self.size(held, rest).min(held.saturating_add(most));
        let room = self.buffer.capacity() - held;
        if held > LARGEST_READ {
            if room == 0 || room < (size - held).min(rest) {
                // To be copied at each read would cost the square of its length.
                self.buffer.reserve(size - held);
                self.whole = self.whole.max(self.buffer.capacity());
            }
            return;
        }
        let is_long = rest.max(held) >= LONG_FRAME;
        let has_room = if is_long { room >= rest } else { room >= LARGEST_READ / 4 };
        if room == 0 || room > most || !has_room {
            let mut fresh = buffers.take(size);
            let whole = fresh.capacity();
            fresh.extend_from_slice(&self.buffer);
            self.replace(buffers, fresh, whole);
        }
    }

    /// What is missing of the frame that has arrived in part.
    fn rest_of_frame(&mut self) -> usize {
        let Some(announced) = frame::announced(&self.buffer) else { return 0 };
        let length = frame::PREFIX + announced as usize;
        self.long_frame = if length >= LONG_FRAME { length } else { 0 };
        length.saturating_sub(self.buffer.len())
    }

    /// How much the buffer is to hold, when `held` bytes are in it, and `rest` are missing of the first frame. Of long frames,
    /// as many as fit and no part of a further one, which would have to be copied to where the rest of it is read. A frame
    /// that is longer than all that gets room as its bytes come, not as its length was announced.
    fn size(&self, held: usize, rest: usize) -> usize {
        let end = held.saturating_add(rest);
        match LARGEST_READ.checked_sub(end).map(|room| room.checked_div(self.long_frame)) {
            Some(Some(further)) if rest + further > 0 => end + further * self.long_frame,
            Some(_) => LARGEST_READ.max(held + 1),
            None => held + rest.clamp(1, LARGEST_READ),
        }
    }

    /// A few bytes must not pin a large buffer, for as long as the application keeps the message, or the rest of it does
    /// not come.
    pub(crate) fn trim(&mut self, buffers: &Buffers) {
        if self.buffer.len() < self.whole / 4 {
            let small = BytesMut::from(&self.buffer[..]);
            let whole = small.capacity();
            self.replace(buffers, small, whole);
        }
    }

    /// Goes on with another buffer of `whole` bytes, that has the same in it.
    fn replace(&mut self, buffers: &Buffers, buffer: BytesMut, whole: usize) {
        let used = core::mem::replace(&mut self.buffer, buffer);
        let size = core::mem::replace(&mut self.whole, whole);
        buffers.give_back(used, size);
    }
}
