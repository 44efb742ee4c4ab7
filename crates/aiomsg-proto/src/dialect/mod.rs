//! What frames mean: the two dialects, and how the first frame tells them apart.
//!
//! In the repository, `docs/PROTOCOL.md` has the bytes of both, with examples.
#![deny(clippy::arithmetic_side_effects)]

pub mod classic;
pub mod v1;

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::id::MessageId;
use crate::identity::Identity;

/// The longest first frame that is read, in bytes. No identity and no HELLO of any known peer is longer.
pub const FIRST_FRAME_LIMIT: u32 = 255;

/// Which dialects a socket speaks. Default: [`Dialect::Auto`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// Both, told apart by the peer's first frame. A connector speaks v1 first, or what its address spoke last time.
    #[default]
    Auto,
    /// Typed envelopes only: `aiomsg` 2026 and its sister languages. Classic peers are refused.
    V1,
    /// Bare payloads only: the 2018 and 2019 Python packages. A v1 connector is answered in classic all the same, which
    /// one of ours with [`Dialect::Auto`] goes along with, and others do not.
    Classic,
}

/// How a classic peer writes identities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IdentityForm {
    /// 16 raw bytes: Python packages from 2019.5.2 on.
    Raw,
    /// 36 characters, a hyphenated UUID: Python packages up to 2019.5.0.
    Text,
}

/// What is spoken on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// Typed envelopes.
    V1,
    /// Bare payloads, with identities of this form.
    Classic(IdentityForm),
}

impl Protocol {
    /// The most bytes that a frame of this protocol has beside its payload.
    pub(crate) const fn overhead(self) -> u32 {
        match self {
            Self::V1 => v1::OVERHEAD,
            Self::Classic(_) => classic::OVERHEAD,
        }
    }

    /// What a frame behind the greeting means.
    pub fn decode(self, frame: Bytes) -> Incoming {
        match self {
            Self::V1 => v1::decode(frame),
            Self::Classic(_) => classic::decode(frame),
        }
    }

    /// If a frame is a message: its bytes before the payload, and the id under which it is to be acknowledged, if it is.
    #[inline]
    pub(crate) fn message_head(self, frame: &[u8]) -> Option<(usize, Option<&[u8; 16]>)> {
        match self {
            Self::V1 => v1::message_head(frame),
            Self::Classic(_) => classic::message_head(frame),
        }
    }

    /// The id of the message that a frame acknowledges, if it does that.
    #[inline]
    pub(crate) fn acknowledged(self, frame: &[u8]) -> Option<&[u8; 16]> {
        match self {
            Self::V1 => v1::acknowledged(frame),
            Self::Classic(_) => classic::acknowledged(frame),
        }
    }

    /// Appends the frame by which `identity` introduces itself.
    pub fn encode_greeting(self, identity: &Identity, out: &mut Vec<u8>) {
        match self {
            Self::V1 => v1::encode_hello(identity, out),
            Self::Classic(form) => classic::encode_identity(identity, form, out),
        }
    }

    /// Appends a heartbeat.
    pub fn encode_heartbeat(self, out: &mut Vec<u8>) {
        match self {
            Self::V1 => v1::encode_heartbeat(out),
            Self::Classic(_) => classic::encode_heartbeat(out),
        }
    }

    /// Appends the acknowledgement of a message.
    #[inline]
    pub fn encode_acknowledgement(self, id: MessageId, out: &mut Vec<u8>) {
        match self {
            Self::V1 => v1::encode_acknowledgement(id, out),
            Self::Classic(_) => classic::encode_acknowledgement(id, out),
        }
    }

    /// Appends all of a message's frame but the payload itself, which must follow. `id` is used if the message is to
    /// be acknowledged, or if it could be mistaken for something else without.
    #[inline]
    pub fn encode_head(self, payload: &[u8], id: MessageId, acknowledge: bool, out: &mut Vec<u8>) {
        match self {
            Self::V1 if acknowledge => v1::encode_request_head(payload, id, out),
            Self::V1 => v1::encode_message_head(payload, out),
            Self::Classic(_) if acknowledge || classic::is_ambiguous(payload) => {
                classic::encode_request_head(payload, id, out);
            }
            Self::Classic(_) => classic::encode_message_head(payload, out),
        }
    }
}

/// A frame of the peer, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incoming {
    /// The first frame: who the peer is.
    Greeting(Greeting),
    /// A message that wants no acknowledgement.
    Message(Bytes),
    /// A message that is to be acknowledged under this id.
    Request(MessageId, Bytes),
    /// The peer has the message of this id.
    Acknowledgement(MessageId),
    /// The peer is alive.
    Heartbeat,
    /// Nothing that this protocol knows; skipping it is what the protocol asks for.
    Skipped(Skipped),
}

/// Why a frame was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Skipped {
    /// It had no bytes.
    Empty,
    /// An envelope of a type that is not known.
    UnknownType,
    /// An envelope that ends before its fields do.
    Truncated,
    /// A second HELLO.
    RepeatedHello,
}

/// The peer's first frame, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Who the peer says it is.
    pub identity: Identity,
    /// What it speaks.
    pub protocol: Protocol,
}

/// Why a first frame is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum GreetingError {
    /// It has no bytes.
    #[error("the first frame is empty")]
    Empty,
    /// It is longer than any identity and any HELLO: the peer speaks another protocol, and its first four bytes were taken
    /// for a length. The message shows them if they are text.
    #[error("the peer does not speak aiomsg: {}", Stranger(*length))]
    TooLong {
        /// The announced length in bytes.
        length: u32,
    },
    /// It starts like a HELLO and ends before the identity does.
    #[error("the HELLO is truncated")]
    TruncatedHello,
    /// A HELLO of a version that is not known.
    #[error("the HELLO has version {version}, only 1 is known")]
    UnknownVersion {
        /// The version that the peer speaks.
        version: u8,
    },
}

/// What is known of a peer that speaks another protocol: its first four bytes.
struct Stranger(u32);

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.to_be_bytes();
        let is_text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n');
        match bytes {
            // A handshake, or the alert with which TLS answers what it does not understand.
            [0x15 | 0x16, 0x03, ..] => f.write_str("its first bytes look like TLS"),
            _ if bytes.iter().all(is_text) => write!(f, "it begins with \"{}\"", bytes.escape_ascii()),
            _ => write!(f, "its first frame is announced with {} bytes, at most 255 are allowed", self.0),
        }
    }
}

impl Greeting {
    /// Understands the first frame of a peer.
    ///
    /// 16 bytes are a classic identity. Otherwise a frame that starts with `01` is a HELLO, behind whose identity more
    /// bytes may follow. Any other frame of 1 to 255 bytes is a classic identity, taken to be of the text form if it is
    /// printable ASCII.
    ///
    /// # Errors
    /// [`GreetingError`] if the frame is empty, longer than 255 bytes, or a HELLO that is cut short or of another
    /// version.
    pub fn decode(frame: &[u8]) -> Result<Self, GreetingError> {
        if frame.is_empty() {
            return Err(GreetingError::Empty);
        }
        if u32::try_from(frame.len()).is_ok_and(|length| length > FIRST_FRAME_LIMIT) {
            return Err(GreetingError::TooLong { length: u32::try_from(frame.len()).unwrap_or(u32::MAX) });
        }
        if let Some((&v1::HELLO, body)) = frame.split_first()
            && frame.len() != size_of::<Identity>()
        {
            return v1::decode_hello(body).map(|identity| Self { identity, protocol: Protocol::V1 });
        }
        let form = classic::form_of(frame);
        Ok(Self { identity: Identity::from_classic(frame), protocol: Protocol::Classic(form) })
    }
}

/// A frame's length prefix. Payloads are checked against the largest message when they are accepted for sending, so
/// the length fits; were it not to, the peer would close the connection rather than misread it.
#[inline]
fn prefix(payload: &[u8], extra: u32) -> [u8; crate::frame::PREFIX] {
    u32::try_from(payload.len()).unwrap_or(u32::MAX).saturating_add(extra).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;

    fn decode(frame: &[u8]) -> Result<Greeting, GreetingError> {
        Greeting::decode(frame)
    }

    #[test]
    fn the_first_frame_decides_the_dialect() {
        let raw = Protocol::Classic(IdentityForm::Raw);
        let text = Protocol::Classic(IdentityForm::Text);
        let mut hello = vec![1, 1];
        hello.extend([7; 16]);
        for (frame, protocol) in [
            (hello.as_slice(), Protocol::V1),
            (&[1; 16], raw),
            (b"abcdefghijklmnop", raw),
            (b"11111111-2222-4333-8444-555555555555", text),
            (b"worker-1", text),
            (&[0xff; 15], raw),
            (&[0xff; 17], raw),
            (&[0xff; 255], raw),
        ] {
            assert_eq!(decode(frame).map(|greeting| greeting.protocol), Ok(protocol), "{frame:?}");
        }
        hello.extend(b"behind");
        assert_eq!(decode(&hello).map(|greeting| greeting.identity), Ok(Identity::from_bytes([7; 16])));
    }

    #[test]
    fn malformed_first_frames_have_a_reason() {
        assert_eq!(decode(b""), Err(GreetingError::Empty));
        assert_eq!(decode(&[1]), Err(GreetingError::TruncatedHello));
        assert_eq!(decode(&[1; 15]), Err(GreetingError::TruncatedHello));
        assert_eq!(decode(&[1; 17]), Err(GreetingError::TruncatedHello));
        let mut hello = [2; 18];
        hello[0] = 1;
        assert_eq!(decode(&hello), Err(GreetingError::UnknownVersion { version: 2 }));
        assert_eq!(decode(&[0; 256]), Err(GreetingError::TooLong { length: 256 }));
    }

    #[test]
    fn who_speaks_something_else_is_told_by_its_first_bytes() {
        for (bytes, said) in [
            (*b"GET ", "it begins with \"GET \""),
            (*b"HTTP", "it begins with \"HTTP\""),
            (*b"SSH-", "it begins with \"SSH-\""),
            (*b"\"a\r\n", r#"it begins with "\"a\r\n""#),
            ([0x16, 0x03, 0x01, 0x02], "its first bytes look like TLS"),
            ([0x15, 0x03, 0x03, 0x00], "its first bytes look like TLS"),
            (
                [0x16, 0x04, 0x01, 0x02],
                "its first frame is announced with 369361154 bytes, at most 255 are allowed",
            ),
            ([0, 0, 1, 0], "its first frame is announced with 256 bytes, at most 255 are allowed"),
            ([0xff; 4], "its first frame is announced with 4294967295 bytes, at most 255 are allowed"),
            (*b"HTT\x1b", "its first frame is announced with 1213486107 bytes, at most 255 are allowed"),
        ] {
            let error = GreetingError::TooLong { length: u32::from_be_bytes(bytes) };
            assert_eq!(error.to_string(), format!("the peer does not speak aiomsg: {said}"));
        }
    }
}
