//! The outermost layer of both dialects: a `u32` length, big-endian, then that many bytes.
//!
//! The reader's buffer belongs to the caller. [`split`] takes whole frames off its front without copying them, and
//! leaves a frame that has not arrived in full where it is.
#![deny(clippy::arithmetic_side_effects)]

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of the length before each frame.
pub const PREFIX: usize = 4;

/// A frame was announced that is longer than the receiver allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("a frame of {length} bytes was announced, at most {limit} are allowed by `max_message`")]
pub struct FrameTooLong {
    /// The announced length in bytes.
    pub length: u32,
    /// The largest length allowed here.
    pub limit: u32,
}

/// The length announced at the front of `buffer`, or `None` while the prefix is incomplete.
#[inline]
pub fn announced(buffer: &[u8]) -> Option<u32> {
    buffer.first_chunk::<PREFIX>().map(|prefix| u32::from_be_bytes(*prefix))
}

/// Where the frame at the front of `buffer` ends, whether it is there to its end or not; `None` while the prefix is
/// incomplete.
#[inline]
pub(crate) fn end(buffer: &[u8]) -> Option<usize> {
    usize::try_from(announced(buffer)?).ok().and_then(|length| length.checked_add(PREFIX))
}

/// The frame at the front of `buffer`, without its prefix, if it is there to its end and no longer than `limit` bytes.
#[inline]
pub(crate) fn whole(buffer: &[u8], limit: u32) -> Option<&[u8]> {
    let length = announced(buffer).filter(|length| *length <= limit)?;
    buffer.get(PREFIX..)?.get(..usize::try_from(length).ok()?)
}

/// Takes the frame at the front of `buffer` off it, without its prefix.
///
/// `Ok(None)` means that more bytes are needed; nothing was taken then.
///
/// # Errors
/// [`FrameTooLong`] for a frame longer than `limit` bytes, as soon as its prefix is there, before memory is spent on
/// it.
pub fn split(buffer: &mut BytesMut, limit: u32) -> Result<Option<Bytes>, FrameTooLong> {
    let Some(length) = announced(buffer) else { return Ok(None) };
    if length > limit {
        return Err(FrameTooLong { length, limit });
    }
    let Some(end) = end(buffer) else { return Err(FrameTooLong { length, limit }) };
    if buffer.len() < end {
        return Ok(None);
    }
    let mut frame = buffer.split_to(end);
    frame.advance(PREFIX);
    Ok(Some(frame.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_whole_frames_and_leaves_the_rest() {
        let mut buffer = BytesMut::from(&b"\0\0\0\x02ab\0\0\0\0\0\0\0\x03xy"[..]);
        assert_eq!(split(&mut buffer, 3), Ok(Some(Bytes::from_static(b"ab"))));
        assert_eq!(split(&mut buffer, 3), Ok(Some(Bytes::new())));
        assert_eq!(split(&mut buffer, 3), Ok(None));
        assert_eq!(&buffer[..], b"\0\0\0\x03xy");
        buffer.extend_from_slice(b"z");
        assert_eq!(split(&mut buffer, 3), Ok(Some(Bytes::from_static(b"xyz"))));
        assert!(buffer.is_empty());
    }

    #[test]
    fn refuses_a_long_frame_at_its_prefix() {
        let mut buffer = BytesMut::from(&b"\xff\xff\xff\xff"[..]);
        assert_eq!(split(&mut buffer, 255), Err(FrameTooLong { length: u32::MAX, limit: 255 }));
        assert_eq!(split(&mut BytesMut::from(&b"\xff\xff\xff"[..]), 255), Ok(None));
    }
}
