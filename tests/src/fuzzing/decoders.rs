//! Frames, and what they mean.

use aiomsg_proto::dialect::{Greeting, Incoming, Skipped};
use aiomsg_proto::frame::{FrameTooLong, split};
use aiomsg_proto::{Identity, IdentityForm, MessageId, Protocol};
use arbitrary::{Result, Unstructured};
use bytes::{Bytes, BytesMut};

use super::pieces;
use crate::wire::{self, Classic};

/// What a decoder made of a stream.
#[derive(Debug, Default, PartialEq)]
struct Decoded {
    frames: Vec<Vec<u8>>,
    error: Option<FrameTooLong>,
    rest: Vec<u8>,
}

impl Decoded {
    fn take_from(&mut self, buffer: &mut BytesMut, limit: u32) {
        while self.error.is_none() {
            let before = buffer.len();
            match split(buffer, limit) {
                Ok(Some(frame)) => self.frames.push(frame.to_vec()),
                Ok(None) => {
                    assert_eq!(buffer.len(), before, "nothing is taken of a frame that is not whole");
                    break;
                }
                Err(error) => self.error = Some(error),
            }
        }
        self.rest = buffer.to_vec();
    }
}

/// The frame decoder, given a stream at once and in pieces, beside one that is written down plainly.
pub(super) fn frame(input: &mut Unstructured<'_>) -> Result<()> {
    let limit = *input.choose(&[0, 1, 16, 255, 4_096, 64 << 20, u32::MAX])?;
    let seed = input.arbitrary()?;
    let stream = input.bytes(input.len())?;

    let mut expected = Decoded::default();
    let (frames, rest) = wire::partial_frames(stream);
    let allowed = frames.iter().take_while(|frame| frame.len() as u64 <= u64::from(limit)).count();
    expected.rest = stream[frames[..allowed].iter().map(|frame| frame.len() + 4).sum::<usize>()..].to_vec();
    if let Some(prefix) = expected.rest.first_chunk() {
        let length = u32::from_be_bytes(*prefix);
        expected.error = (length > limit).then_some(FrameTooLong { length, limit });
    }
    assert!(allowed < frames.len() || rest == expected.rest);
    expected.frames = frames[..allowed].to_vec();

    let mut at_once = Decoded::default();
    at_once.take_from(&mut BytesMut::from(stream), limit);
    assert_eq!(at_once, expected);

    let (mut in_pieces, mut buffer) = (Decoded::default(), BytesMut::new());
    for piece in pieces(stream, seed) {
        buffer.extend_from_slice(piece);
        in_pieces.take_from(&mut buffer, limit);
    }
    in_pieces.rest = buffer.to_vec();
    assert_eq!(in_pieces, expected);
    assert!(buffer.capacity() <= 4 * stream.len() + 64, "memory is spent on what has come");
    Ok(())
}

/// Reads the single frame in `encoded`.
fn only_frame(encoded: &[u8]) -> Bytes {
    let mut buffer = BytesMut::from(encoded);
    let frame = split(&mut buffer, u32::MAX).expect("short").expect("whole");
    assert!(buffer.is_empty(), "one frame");
    frame
}

/// All that a protocol writes, read again.
fn round_trips(protocol: Protocol, id: [u8; 16], payload: &[u8], acknowledge: bool) -> Incoming {
    let message_id = MessageId::from_bytes(id);
    let encoded = |encode: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        only_frame(&bytes)
    };
    let acknowledgement = encoded(&|out| protocol.encode_acknowledgement(message_id, out));
    assert_eq!(protocol.decode(acknowledgement), Incoming::Acknowledgement(message_id));
    assert_eq!(protocol.decode(encoded(&|out| protocol.encode_heartbeat(out))), Incoming::Heartbeat);
    let identity = Identity::from_bytes(id);
    let greeting = encoded(&|out| protocol.encode_greeting(&identity, out));
    assert_eq!(Greeting::decode(&greeting), Ok(Greeting { identity, protocol }));
    let message = encoded(&|out| {
        protocol.encode_head(payload, message_id, acknowledge, out);
        out.extend_from_slice(payload);
    });
    let read = protocol.decode(message);
    let same = match &read {
        Incoming::Request(of, read) => *of == message_id && read == payload,
        Incoming::Message(read) => !acknowledge && read == payload,
        _ => false,
    };
    assert!(same, "{payload:?} was read as {read:?}");
    read
}

/// A classic frame, beside what the Python packages make of it.
pub(super) fn classic(input: &mut Unstructured<'_>) -> Result<()> {
    let (id, text, acknowledge) = (input.arbitrary()?, input.arbitrary()?, input.arbitrary()?);
    let body = input.bytes(input.len())?;
    let form = if text { IdentityForm::Text } else { IdentityForm::Raw };
    let protocol = Protocol::Classic(form);

    let incoming = protocol.decode(Bytes::copy_from_slice(body));
    let expected = match wire::classic(body) {
        Classic::Delivered(payload) => Incoming::Message(payload.into()),
        Classic::Requested(id, payload) => Incoming::Request(message_id(&id), payload.into()),
        Classic::Acknowledged(id) if body.len() == 21 => Incoming::Acknowledgement(message_id(&id)),
        // They take it for an acknowledgement, and nobody sends one with something behind it.
        Classic::Acknowledged(_) => Incoming::Message(Bytes::copy_from_slice(body)),
        Classic::Heartbeat => Incoming::Heartbeat,
        Classic::Hangup => Incoming::Skipped(Skipped::Empty),
    };
    assert_eq!(incoming, expected);
    // What they take for something else goes with a header.
    let read = round_trips(protocol, id, body, acknowledge);
    let plain = matches!(wire::classic(body), Classic::Delivered(_)) && !acknowledge;
    assert_eq!(matches!(read, Incoming::Message(_)), plain);
    Ok(())
}

fn message_id(bytes: &[u8]) -> MessageId {
    MessageId::from_bytes(bytes.try_into().expect("16 bytes"))
}

/// A v1 envelope, beside what its description says.
pub(super) fn v1(input: &mut Unstructured<'_>) -> Result<()> {
    let (id, acknowledge) = (input.arbitrary()?, input.arbitrary()?);
    let body = input.bytes(input.len())?;
    let incoming = Protocol::V1.decode(Bytes::copy_from_slice(body));
    let expected = match (body.first(), body.get(1..17), body.get(17..)) {
        (None, ..) => Incoming::Skipped(Skipped::Empty),
        (Some(1), ..) => Incoming::Skipped(Skipped::RepeatedHello),
        (Some(2), ..) => Incoming::Heartbeat,
        (Some(3), ..) => Incoming::Message(Bytes::copy_from_slice(&body[1..])),
        (Some(4), Some(id), Some(rest)) => Incoming::Request(message_id(id), Bytes::copy_from_slice(rest)),
        (Some(5), Some(id), _) => Incoming::Acknowledgement(message_id(id)),
        (Some(4 | 5), ..) => Incoming::Skipped(Skipped::Truncated),
        _ => Incoming::Skipped(Skipped::UnknownType),
    };
    assert_eq!(incoming, expected);
    let read = round_trips(Protocol::V1, id, body, acknowledge);
    assert_eq!(matches!(read, Incoming::Request(..)), acknowledge);
    Ok(())
}
