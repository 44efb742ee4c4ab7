//! What peers say: right, almost right, and wrong.

use aiomsg_proto::{Identity, Protocol};
use arbitrary::Arbitrary;

use crate::wire;

/// One thing that a peer writes.
#[derive(Arbitrary, Clone, Debug)]
pub(super) enum Speech {
    Hello(u8),
    ClassicIdentity(u8),
    TextIdentity(u8),
    Heartbeat,
    ClassicHeartbeat,
    Data(Vec<u8>),
    Request(u8, Vec<u8>),
    Acknowledgement(u8),
    ClassicRequest(u8, Vec<u8>),
    ClassicAcknowledgement(u8),
    /// A frame with anything in it.
    Frame(Vec<u8>),
    /// Anything at all.
    Noise(Vec<u8>),
    /// Some of what is said again, with a bit changed.
    Damaged(Box<Self>, u16),
    /// The start of it.
    Broken(Box<Self>, u16),
    /// Many times the same.
    Repeated(Box<Self>, u8),
}

/// The identity with this number.
pub(super) const fn identity(number: u8) -> Identity {
    Identity::from_bytes([number; 16])
}

impl Speech {
    /// The bytes of it.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let id = |number: &u8| [*number; 16];
        match self {
            Self::Hello(number) => wire::hello(identity(*number)),
            Self::ClassicIdentity(number) => wire::frame(&id(number)),
            Self::TextIdentity(number) => wire::frame(identity(*number).to_string().as_bytes()),
            Self::Heartbeat => wire::heartbeat(),
            Self::ClassicHeartbeat => wire::frame(wire::CLASSIC_HEARTBEAT),
            Self::Data(payload) => wire::data(payload),
            Self::Request(number, payload) => wire::data_req(id(number), payload),
            Self::Acknowledgement(number) => wire::ack(id(number)),
            Self::ClassicRequest(number, payload) => {
                wire::frame(&[&id(number)[..], b"\0REQ\0", payload].concat())
            }
            Self::ClassicAcknowledgement(number) => wire::frame(&[&id(number)[..], b"\0REP\0"].concat()),
            Self::Frame(body) => wire::frame(body),
            Self::Noise(bytes) => bytes.clone(),
            Self::Damaged(said, place) => {
                let mut bytes = said.bytes();
                if !bytes.is_empty() {
                    let length = bytes.len();
                    bytes[usize::from(*place) / 8 % length] ^= 1 << (place % 8);
                }
                bytes
            }
            Self::Broken(said, place) => {
                let mut bytes = said.bytes();
                bytes.truncate(usize::from(*place) % (bytes.len() + 1));
                bytes
            }
            Self::Repeated(said, times) => {
                let bytes = said.bytes();
                // Depth is bounded by the input, and so is the length with it.
                bytes.repeat(usize::from(*times).min(4_096 / (bytes.len() + 1)))
            }
        }
    }

    /// What a peer says first that speaks this protocol.
    pub(super) fn greeting(protocol: Protocol, of: Identity) -> Vec<u8> {
        let mut bytes = Vec::new();
        protocol.encode_greeting(&of, &mut bytes);
        bytes
    }
}
