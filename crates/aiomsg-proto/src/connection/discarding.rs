//! Long frames of which nobody takes what is in them.

use alloc::boxed::Box;

use bytes::{Buf, Bytes, BytesMut};

use super::Connection;
use crate::dialect::Incoming;
use crate::error::CloseReason;
use crate::frame;
use crate::frames::HEAD;
use crate::time::Instant;

/// A frame that is dropped as it comes.
#[derive(Debug)]
pub(super) struct Discarding {
    /// How it begins, by which it is understood.
    head: Bytes,
    /// Bytes of it behind that.
    cut: usize,
    /// Bytes of it that have not come.
    left: usize,
}

impl Connection {
    /// Drops what has come of a frame that has more than `long` bytes, and is not here to its end. When that has come,
    /// returns what it meant, with no more than the beginning of its payload, and how many bytes more that had.
    pub(crate) fn discard_long(
        &mut self,
        now: Instant,
        buffer: &mut BytesMut,
        long: usize,
    ) -> Result<Option<(Incoming, usize)>, CloseReason> {
        self.note_received(now, buffer.len());
        if self.discarding.is_none() {
            self.discarding = self.begin_discarding(buffer, long);
        }
        let Some(discarding) = &mut self.discarding else { return Ok(None) };
        let here = discarding.left.min(buffer.len());
        discarding.left -= here;
        buffer.advance(here);
        self.left_over = buffer.len();
        match self.discarding.take_if(|discarding| discarding.left == 0) {
            Some(whole) => self.understand(whole.head, whole.cut).map(|incoming| Some((incoming, whole.cut))),
            None => Ok(None),
        }
    }

    fn begin_discarding(&self, buffer: &mut BytesMut, long: usize) -> Option<Box<Discarding>> {
        // One that is too long is left to be refused.
        let announced = frame::announced(buffer).filter(|length| *length <= self.frame_limit())?;
        let length = usize::try_from(announced).ok().filter(|length| *length > long.max(HEAD))?;
        let here = buffer.get(frame::PREFIX..).filter(|here| here.len() < length)?;
        let head = Bytes::copy_from_slice(here.get(..HEAD)?);
        buffer.advance(frame::PREFIX);
        Some(Box::new(Discarding { head, cut: length - HEAD, left: length }))
    }
}
