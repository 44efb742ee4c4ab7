//! The classic dialect: frames are payloads, and a few payloads mean something else.
#![deny(clippy::arithmetic_side_effects)]

use alloc::vec::Vec;

use bytes::{Buf, Bytes};

use super::{IdentityForm, Incoming, Skipped, prefix};
use crate::id::MessageId;
use crate::identity::Identity;

/// The payload that is a heartbeat.
pub const HEARTBEAT: &[u8; 16] = b"aiomsg-heartbeat";

/// What stands between the id and the payload of a message that is to be acknowledged.
const REQUEST: &[u8; 5] = b"\0REQ\0";
/// What stands behind the id in an acknowledgement.
const REPLY: &[u8; 5] = b"\0REP\0";

/// The bytes before the payload of a message that is to be acknowledged: the id and the mark.
pub(super) const OVERHEAD: u32 = 21;

/// Whether a first frame that is a classic identity is of the text form.
pub(super) fn form_of(identity: &[u8]) -> IdentityForm {
    let printable = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    if identity.len() != size_of::<Identity>() && identity.iter().all(printable) {
        IdentityForm::Text
    } else {
        IdentityForm::Raw
    }
}

/// The id, the mark and what follows, of a payload long enough to have them.
fn split_header(payload: &[u8]) -> Option<(MessageId, &[u8; 5], &[u8])> {
    let (id, rest) = payload.split_first_chunk()?;
    let (mark, body) = rest.split_first_chunk()?;
    Some((MessageId::from_bytes(*id), mark, body))
}

#[inline]
pub(super) fn decode(mut frame: Bytes) -> Incoming {
    if frame.is_empty() {
        return Incoming::Skipped(Skipped::Empty);
    }
    if frame == HEARTBEAT[..] {
        return Incoming::Heartbeat;
    }
    match split_header(&frame) {
        Some((id, REQUEST, body)) => {
            let header = frame.len().saturating_sub(body.len());
            frame.advance(header);
            Incoming::Request(id, frame)
        }
        // With anything behind it, it is a payload that happens to look like one.
        Some((id, REPLY, [])) => Incoming::Acknowledgement(id),
        Some(_) | None => Incoming::Message(frame),
    }
}

/// The same of a message only, without taking it apart: its bytes before the payload, and its id if it has one.
#[inline]
pub(super) fn message_head(frame: &[u8]) -> Option<(usize, Option<&[u8; 16]>)> {
    if frame.is_empty() || frame == HEARTBEAT {
        return None;
    }
    match split_header(frame) {
        Some((_, REQUEST, body)) => Some((frame.len().saturating_sub(body.len()), frame.first_chunk())),
        Some((_, REPLY, [])) => None,
        Some(_) | None => Some((0, None)),
    }
}

/// The id in an acknowledgement.
#[inline]
pub(super) fn acknowledged(frame: &[u8]) -> Option<&[u8; 16]> {
    matches!(split_header(frame), Some((_, REPLY, []))).then(|| frame.first_chunk()).flatten()
}

/// Whether a classic peer would take `payload` for something other than itself: a heartbeat, the end of the
/// connection, or a message with a header. Sent as a request, whose header the receiver strips, it arrives unchanged.
#[inline]
pub(super) fn is_ambiguous(payload: &[u8]) -> bool {
    payload.is_empty()
        || payload == HEARTBEAT
        || matches!(split_header(payload), Some((_, REQUEST | REPLY, _)))
}

pub(super) fn encode_identity(identity: &Identity, form: IdentityForm, out: &mut Vec<u8>) {
    let mut hyphenated = [0; uuid::fmt::Hyphenated::LENGTH];
    let shown = match form {
        IdentityForm::Raw => identity.as_bytes().as_slice(),
        IdentityForm::Text => identity.encode_hyphenated(&mut hyphenated),
    };
    encode_message_head(shown, out);
    out.extend_from_slice(shown);
}

pub(super) fn encode_heartbeat(out: &mut Vec<u8>) {
    encode_message_head(HEARTBEAT, out);
    out.extend_from_slice(HEARTBEAT);
}

pub(super) fn encode_acknowledgement(id: MessageId, out: &mut Vec<u8>) {
    out.extend_from_slice(&prefix(&[], OVERHEAD));
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(REPLY);
}

#[inline]
pub(super) fn encode_message_head(payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&prefix(payload, 0));
}

#[inline]
pub(super) fn encode_request_head(payload: &[u8], id: MessageId, out: &mut Vec<u8>) {
    out.extend_from_slice(&prefix(payload, OVERHEAD));
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(REQUEST);
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn with_mark(mark: &[u8], body: &[u8]) -> Vec<u8> {
        let mut payload = vec![9; 16];
        payload.extend(mark);
        payload.extend(body);
        payload
    }

    #[test]
    fn payloads_and_what_looks_like_them() {
        let id = MessageId::from_bytes([9; 16]);
        for (frame, expected) in [
            (b"hello".to_vec(), Incoming::Message(Bytes::from_static(b"hello"))),
            (vec![], Incoming::Skipped(Skipped::Empty)),
            (HEARTBEAT.to_vec(), Incoming::Heartbeat),
            (with_mark(REQUEST, b"job"), Incoming::Request(id, Bytes::from_static(b"job"))),
            (with_mark(REQUEST, b""), Incoming::Request(id, Bytes::new())),
            (with_mark(REPLY, b""), Incoming::Acknowledgement(id)),
        ] {
            assert_eq!(decode(Bytes::from(frame.clone())), expected, "{frame:?}");
        }
        for almost in [
            with_mark(REPLY, b"x"),
            with_mark(b"\0REX\0", b""),
            with_mark(b"\0REQ\x01", b""),
            with_mark(b"\0RE", b""),
        ] {
            assert_eq!(decode(Bytes::from(almost.clone())), Incoming::Message(Bytes::from(almost)));
        }
    }

    #[test]
    fn ambiguous_payloads_are_recognised() {
        for payload in [
            vec![],
            HEARTBEAT.to_vec(),
            with_mark(REQUEST, b"x"),
            with_mark(REPLY, b""),
            with_mark(REPLY, b"x"),
        ] {
            assert!(is_ambiguous(&payload), "{payload:?}");
        }
        for payload in [b"x".to_vec(), b"aiomsg-heartbeat!".to_vec(), with_mark(b"\0REX\0", b"")] {
            assert!(!is_ambiguous(&payload), "{payload:?}");
        }
    }
}
