//! Names for connections, dials and messages.

use core::cmp::Ordering;
use core::fmt;

use slotmap::{DefaultKey, Key, KeyData};

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub(crate) DefaultKey);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0.data().as_ffi())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

key! {
    /// One connection of a socket, from the moment it is told of until it is gone. Never used twice by one socket.
    ConnectionId
}

key! {
    /// A message whose fate its sender wants to know, see
    /// [`Socket::send_with_receipt`](crate::Socket::send_with_receipt).
    ReceiptId
}

key! {
    /// One address that a socket keeps a connection to: a call of `Socket::connect` of an adapter, or of
    /// [`Socket::dial`](crate::Socket::dial) of the core.
    DialId
}

/// The name of one message in at-least-once delivery, 16 bytes, chosen by its sender.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageId([u8; 16]);

/// The order of the bytes, found in one step.
impl Ord for MessageId {
    fn cmp(&self, other: &Self) -> Ordering {
        u128::from_be_bytes(self.0).cmp(&u128::from_be_bytes(other.0))
    }
}

impl PartialOrd for MessageId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl MessageId {
    /// An id of these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({:032x})", u128::from_be_bytes(self.0))
    }
}

/// Makes the ids of one socket's messages: 8 bytes that are random for each life of the socket, then 8 bytes that name
/// the message. A resend carries the id of the first copy, and no two lives share an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageIds {
    life: u64,
}

/// The name of a message whose acknowledgement is awaited, among all of its socket's. Never used twice.
pub(crate) type DeliveryKey = DefaultKey;

impl MessageIds {
    pub(crate) const fn new(life: u64) -> Self {
        Self { life }
    }

    /// The id of a message that is to be acknowledged.
    pub(crate) fn tracked(self, key: DeliveryKey) -> MessageId {
        Self::join(self.life, key.data().as_ffi())
    }

    /// The message that an id of ours names.
    pub(crate) fn key(self, id: MessageId) -> Option<DeliveryKey> {
        let bytes = u128::from_be_bytes(*id.as_bytes());
        let ours = (bytes >> 64) as u64 == self.life;
        ours.then(|| KeyData::from_ffi(bytes as u64).into())
    }

    /// An id for a message whose acknowledgement nobody awaits; different from all of the others.
    pub(crate) const fn untracked(self, sequence: u64) -> MessageId {
        Self::join(!self.life, sequence)
    }

    const fn join(life: u64, message: u64) -> MessageId {
        MessageId::from_bytes((((life as u128) << 64) | message as u128).to_be_bytes())
    }
}
