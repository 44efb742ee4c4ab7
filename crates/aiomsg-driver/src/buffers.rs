//! What is read into, used again.

use std::sync::{Mutex, PoisonError};

use bytes::BytesMut;

/// Buffers that are kept, at most. One is being filled while the messages in others wait or are looked at.
const KEPT: usize = 4;

/// Large buffers that were read into, for whichever connection of the socket reads next. To take their memory from the
/// system each time, and to give it back, costs as much as reading does.
///
/// They may still have messages in them: such a one is of use again when the last of these is dropped. Kept for a few
/// seconds at most.
#[derive(Debug, Default)]
pub(crate) struct Buffers(Mutex<Vec<BytesMut>>);

impl Buffers {
    /// An empty one with room for `size` bytes, and no more.
    pub(crate) fn take(&self, size: usize) -> BytesMut {
        let mut kept = self.lock();
        let Some(place) = kept.iter_mut().position(|buffer| buffer.try_reclaim(size)) else {
            return BytesMut::with_capacity(size);
        };
        let mut buffer = kept.swap_remove(place);
        // What is behind comes back when all of it is reclaimed.
        drop(buffer.split_off(size));
        buffer
    }

    /// Keeps one that was read into, in place of another if there are enough.
    pub(crate) fn give_back(&self, mut buffer: BytesMut) {
        buffer.clear();
        let mut kept = self.lock();
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push(buffer);
    }

    /// Frees those that no message is in.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<BytesMut>> {
        // What is in the buffers is of no interest.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
