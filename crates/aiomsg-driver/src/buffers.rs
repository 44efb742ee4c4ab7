//! What is read into, used again.

use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

use bytes::BytesMut;

use crate::reader::LARGEST_READ;

/// Buffers that are kept, at most. One is being filled while the messages in others wait or are looked at.
const KEPT: usize = 4;

/// The size of a buffer that is worth being kept, in bytes: less is cheap to have anew, and more was needed for one large
/// message.
const WORTHWHILE: RangeInclusive<usize> = 32 * 1024..=2 * LARGEST_READ;

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
        let mut buffer = self.take_kept(size).unwrap_or_else(|| BytesMut::with_capacity(size));
        if buffer.capacity() > size {
            // What is behind comes back when all of it is reclaimed.
            drop(buffer.split_off(size));
        }
        buffer
    }

    fn take_kept(&self, size: usize) -> Option<BytesMut> {
        if !WORTHWHILE.contains(&size) {
            return None;
        }
        let mut kept = self.lock();
        let free = kept.iter_mut().position(|buffer| buffer.try_reclaim(size))?;
        Some(kept.remove(free))
    }

    /// Keeps one that was read into, in place of another if there are enough. It had `size` bytes before anything was cut
    /// off it.
    pub(crate) fn give_back(&self, mut buffer: BytesMut, size: usize) {
        if !WORTHWHILE.contains(&size) {
            return;
        }
        buffer.clear();
        let mut kept = self.lock();
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push(buffer);
    }

    /// Lets go of all. Those that messages are in are freed with the last of these.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<BytesMut>> {
        // What is in the buffers is of no interest.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A buffer is known again by where it is. Were it freed, the one that is made before it is asked for would be there.
    #[test]
    fn a_buffer_is_used_again_when_no_message_is_in_it() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take(LARGEST_READ);
        let place = buffer.as_ptr();
        buffer.extend_from_slice(b"message");
        let message = buffer.split().freeze();
        buffers.give_back(buffer, LARGEST_READ);
        let another = buffers.take(LARGEST_READ);
        assert_ne!(another.as_ptr(), place, "a message is in the first one");
        assert_eq!(message, "message");
        drop(message);
        let made = BytesMut::with_capacity(LARGEST_READ);
        assert_ne!(made.as_ptr(), place, "it is still there");
        let again = buffers.take(LARGEST_READ);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        assert!(again.capacity() >= LARGEST_READ, "what was cut off is there again");
    }

    #[test]
    fn no_more_are_kept_than_are_of_use_and_none_for_ever() {
        let buffers = Buffers::default();
        let some: Vec<BytesMut> = (0..2 * KEPT).map(|_| buffers.take(LARGEST_READ)).collect();
        let places: Vec<_> = some.iter().map(|buffer| buffer.as_ptr()).collect();
        some.into_iter().for_each(|buffer| buffers.give_back(buffer, LARGEST_READ));
        let kept: Vec<_> = buffers.lock().iter().map(|buffer| buffer.as_ptr()).collect();
        assert_eq!(kept, places[KEPT..], "the latest ones");
        buffers.clear();
        assert!(buffers.lock().is_empty());
    }

    #[test]
    fn neither_small_nor_huge_ones_take_the_place_of_one_that_is_worthwhile() {
        let buffers = Buffers::default();
        buffers.give_back(buffers.take(LARGEST_READ), LARGEST_READ);
        for size in [0, 64, 4_096, 3 * LARGEST_READ, 64 << 20] {
            for _ in 0..KEPT {
                buffers.give_back(BytesMut::with_capacity(size), size);
            }
        }
        let sizes: Vec<usize> = buffers.lock().iter().map(BytesMut::capacity).collect();
        assert_eq!(sizes, [LARGEST_READ]);
    }
}
