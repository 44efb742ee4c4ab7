//! The v1 dialect: each frame is an envelope whose first byte is its type.
#![deny(clippy::arithmetic_side_effects)]

use alloc::vec::Vec;

use bytes::{Buf, Bytes};

use super::{GreetingError, Incoming, Skipped, prefix};
use crate::frame::PREFIX;
use crate::id::MessageId;
use crate::identity::Identity;

/// Type of the envelope that introduces a socket: version, then the identity.
pub const HELLO: u8 = 0x01;
/// Type of the envelope that says no more than that the peer is alive.
pub const HEARTBEAT: u8 = 0x02;
/// Type of a message.
pub const DATA: u8 = 0x03;
/// Type of a message to be acknowledged: its id, then the payload.
pub const DATA_REQ: u8 = 0x04;
/// Type of an acknowledgement: the id of the message.
pub const ACK: u8 = 0x05;
/// The one version there is.
pub const VERSION: u8 = 0x01;

/// The most bytes beside the payload: the type and a message id.
pub(super) const OVERHEAD: u32 = 17;

pub(super) fn decode_hello(body: &[u8]) -> Result<Identity, GreetingError> {
    match body.split_first() {
        Some((&VERSION, rest)) => match rest.first_chunk() {
            Some(identity) => Ok(Identity::from_bytes(*identity)),
            None => Err(GreetingError::TruncatedHello),
        },
        Some((&version, _)) => Err(GreetingError::UnknownVersion { version }),
        None => Err(GreetingError::TruncatedHello),
    }
}

#[inline]
pub(super) fn decode(mut frame: Bytes) -> Incoming {
    let Some(&kind) = frame.first() else { return Incoming::Skipped(Skipped::Empty) };
    frame.advance(1);
    match kind {
        DATA => Incoming::Message(frame),
        DATA_REQ => match take_id(&mut frame) {
            Some(id) => Incoming::Request(id, frame),
            None => Incoming::Skipped(Skipped::Truncated),
        },
        ACK => match take_id(&mut frame) {
            Some(id) => Incoming::Acknowledgement(id),
            None => Incoming::Skipped(Skipped::Truncated),
        },
        HEARTBEAT => Incoming::Heartbeat,
        HELLO => Incoming::Skipped(Skipped::RepeatedHello),
        _ => Incoming::Skipped(Skipped::UnknownType),
    }
}

/// The same of a message only, without taking it apart: its bytes before the payload, and its id if it has one.
#[inline]
pub(super) fn message_head(frame: &[u8]) -> Option<(usize, Option<&[u8; 16]>)> {
    match frame.split_first()? {
        (&DATA, _) => Some((1, None)),
        (&DATA_REQ, body) => Some((17, Some(body.first_chunk()?))),
        _ => None,
    }
}

/// The id in an acknowledgement.
#[inline]
pub(super) fn acknowledged(frame: &[u8]) -> Option<&[u8; 16]> {
    match frame.split_first()? {
        (&ACK, body) => body.first_chunk(),
        _ => None,
    }
}

fn take_id(frame: &mut Bytes) -> Option<MessageId> {
    let id = MessageId::from_bytes(*frame.first_chunk()?);
    frame.advance(size_of::<MessageId>());
    Some(id)
}

pub(super) fn encode_hello(identity: &Identity, out: &mut Vec<u8>) {
    out.extend_from_slice(&prefix(&[], 18));
    out.extend_from_slice(&[HELLO, VERSION]);
    out.extend_from_slice(identity.as_bytes());
}

pub(super) fn encode_heartbeat(out: &mut Vec<u8>) {
    out.extend_from_slice(&prefix(&[], 1));
    out.push(HEARTBEAT);
}

#[inline]
pub(super) fn encode_acknowledgement(id: MessageId, out: &mut Vec<u8>) {
    encode_head_with_id(&[], ACK, id, out);
}

#[inline]
pub(super) fn encode_message_head(payload: &[u8], out: &mut Vec<u8>) {
    let [a, b, c, d] = prefix(payload, 1);
    out.extend_from_slice(&[a, b, c, d, DATA]);
}

#[inline]
pub(super) fn encode_request_head(payload: &[u8], id: MessageId, out: &mut Vec<u8>) {
    encode_head_with_id(payload, DATA_REQ, id, out);
}

/// Appends in one step, and writes where it is to be: to append has its price each time, and what is put together elsewhere
/// is waited for when it is copied.
#[inline]
fn encode_head_with_id(payload: &[u8], kind: u8, id: MessageId, out: &mut Vec<u8>) {
    const HEAD: usize = PREFIX + OVERHEAD as usize;
    out.extend_from_slice(&[0; HEAD]);
    if let Some(head) = out.last_chunk_mut::<HEAD>()
        && let Some((length, rest)) = head.split_first_chunk_mut()
        && let Some((first, rest)) = rest.split_first_mut()
    {
        *length = prefix(payload, OVERHEAD);
        *first = kind;
        rest.copy_from_slice(id.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn envelopes_are_understood() {
        let id = MessageId::from_bytes([9; 16]);
        let mut request = vec![DATA_REQ];
        request.extend([9; 16]);
        request.extend(b"x");
        let mut ack = vec![ACK];
        ack.extend([9; 16]);
        for (frame, expected) in [
            (vec![DATA, 1, 2], Incoming::Message(Bytes::from_static(&[1, 2]))),
            (vec![DATA], Incoming::Message(Bytes::new())),
            (request, Incoming::Request(id, Bytes::from_static(b"x"))),
            (ack, Incoming::Acknowledgement(id)),
            (vec![HEARTBEAT], Incoming::Heartbeat),
            (vec![HEARTBEAT, 1], Incoming::Heartbeat),
            (vec![], Incoming::Skipped(Skipped::Empty)),
            (vec![DATA_REQ, 1], Incoming::Skipped(Skipped::Truncated)),
            (vec![ACK], Incoming::Skipped(Skipped::Truncated)),
            (vec![HELLO, VERSION], Incoming::Skipped(Skipped::RepeatedHello)),
            (vec![0], Incoming::Skipped(Skipped::UnknownType)),
            (vec![0x47, 0x45], Incoming::Skipped(Skipped::UnknownType)),
        ] {
            assert_eq!(decode(Bytes::from(frame.clone())), expected, "{frame:?}");
        }
    }
}
