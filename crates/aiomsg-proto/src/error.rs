//! What can go wrong: for a caller, and with a connection.

use core::fmt;

use bytes::Bytes;

use crate::dialect::{GreetingError, Protocol};
use crate::frame::FrameTooLong;

/// A configuration contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A span of time is under a millisecond.
    #[error("{setting} must be at least 1 ms")]
    TooShort {
        /// The name of the setting.
        setting: &'static str,
    },
    /// A bound of zero.
    #[error("{setting} must be at least 1")]
    Zero {
        /// The name of the setting.
        setting: &'static str,
    },
    /// No peer could ever send a heartbeat in time.
    #[error("heartbeat_timeout must be longer than heartbeat_interval")]
    HeartbeatTimeout,
    /// The longest delay is shorter than the first.
    #[error("reconnect_delay_max must be no shorter than reconnect_delay")]
    ReconnectDelay,
    /// The longest time between two copies is shorter than the first.
    #[error("resend_after_max must be no shorter than resend_after")]
    ResendAfter,
    /// The largest message is zero bytes, or more than can be framed safely.
    #[error("max_message must be between 1 byte and {limit} bytes")]
    MaxMessage {
        /// The largest value allowed, in bytes.
        limit: usize,
    },
}

/// A message was not accepted. Each variant hands it back, see [`SendError::into_payload`].
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// No room for now: the send buffer is at its bound, or publishing waits for a slow subscriber. With an adapter, `send`
    /// waits until there is room, and only `try_send` gives this; the core says by [`Ready::Room`](crate::Ready::Room) when
    /// to try again.
    #[error("there is no room to send")]
    Full(Bytes),
    /// As much as may wait for this one peer waits for it, see [`Config::peer_queue`](crate::Config::peer_queue). With an
    /// adapter, `send_to` waits until there is room, and only `try_send_to` gives this; the core says by
    /// [`Ready::PeerRoom`](crate::Ready::PeerRoom) when to try again.
    #[error("the queue of this peer is full")]
    PeerFull(Bytes),
    /// No peer of this identity has been seen, or it left longer ago than it is remembered: 60 s by default, see
    /// [`Config::peer_retention`](crate::Config::peer_retention).
    #[error("no peer of this identity is known")]
    UnknownPeer(Bytes),
    /// There is no room, and waiting for it would perhaps never end: for
    /// [`Config::deadlock_timeout`](crate::Config::deadlock_timeout) the application has taken nothing of what has
    /// arrived, so peers are not read, and nothing has moved that could make room. Receive something, then send again.
    #[error("sending waits for a peer that is not read, since the application does not receive")]
    WouldDeadlock(Bytes),
    /// The payload is longer than [`Config::max_message`](crate::Config::max_message).
    #[error("the message is longer than the largest allowed, {limit} bytes")]
    TooLong {
        /// The message.
        payload: Bytes,
        /// The largest length allowed in bytes.
        limit: usize,
    },
    /// Publishing at-least-once: there is no fixed set of recipients to wait for. Send to each identity in
    /// [`Socket::peers`](crate::Socket::peers) instead, or in turn, with [`SendMode::RoundRobin`](crate::SendMode::RoundRobin);
    /// or publish [at most once](crate::DeliveryGuarantee::AtMostOnce), without a receipt.
    #[error(
        "published messages cannot be delivered at-least-once: send to each identity, or in turn, or publish at-most-once"
    )]
    PublishAtLeastOnce(Bytes),
    /// The socket is closing or closed.
    #[error("the socket is closed")]
    Closed(Bytes),
}

/// Why a message was not accepted that its sender still has; see the [`SendError`] of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// [`SendError::Full`].
    Full,
    /// [`SendError::PeerFull`].
    PeerFull,
    /// [`SendError::UnknownPeer`].
    UnknownPeer,
    /// [`SendError::WouldDeadlock`].
    WouldDeadlock,
    /// [`SendError::TooLong`].
    TooLong {
        /// The largest length allowed in bytes.
        limit: usize,
    },
    /// [`SendError::PublishAtLeastOnce`].
    PublishAtLeastOnce,
    /// [`SendError::Closed`].
    Closed,
}

impl Refusal {
    /// The error that hands the message back.
    #[cold]
    pub fn of(self, payload: Bytes) -> SendError {
        match self {
            Self::Full => SendError::Full(payload),
            Self::PeerFull => SendError::PeerFull(payload),
            Self::UnknownPeer => SendError::UnknownPeer(payload),
            Self::WouldDeadlock => SendError::WouldDeadlock(payload),
            Self::TooLong { limit } => SendError::TooLong { payload, limit },
            Self::PublishAtLeastOnce => SendError::PublishAtLeastOnce(payload),
            Self::Closed => SendError::Closed(payload),
        }
    }
}

/// Says how long the message is, not what is in it: errors end up in logs.
impl fmt::Debug for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, payload) = match self {
            Self::Full(payload) => ("Full", payload),
            Self::PeerFull(payload) => ("PeerFull", payload),
            Self::WouldDeadlock(payload) => ("WouldDeadlock", payload),
            Self::UnknownPeer(payload) => ("UnknownPeer", payload),
            Self::TooLong { payload, .. } => ("TooLong", payload),
            Self::PublishAtLeastOnce(payload) => ("PublishAtLeastOnce", payload),
            Self::Closed(payload) => ("Closed", payload),
        };
        write!(f, "{name}({} bytes)", payload.len())
    }
}

impl SendError {
    /// The message that was not accepted.
    pub fn into_payload(self) -> Bytes {
        match self {
            Self::Full(payload)
            | Self::PeerFull(payload)
            | Self::WouldDeadlock(payload)
            | Self::UnknownPeer(payload)
            | Self::PublishAtLeastOnce(payload)
            | Self::TooLong { payload, .. }
            | Self::Closed(payload) => payload,
        }
    }
}

/// The socket is closing or closed. When receiving: and nothing is left to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the socket is closed")]
pub struct Closed;

/// A connection was not taken on. The caller closes it; the core keeps nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionRefused {
    /// There are as many connections, or as many unfinished handshakes, as are allowed.
    #[error("the connection limit is reached")]
    Limit,
    /// The dial it belongs to was withdrawn meanwhile.
    #[error("the dial was withdrawn")]
    NotDialled,
    /// The socket is closed.
    #[error("the socket is closed")]
    Closed,
}

/// Why a connection ended, or was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer closed it.
    #[error("closed by the peer")]
    PeerClosed,
    /// Reading or writing failed.
    #[error("the connection failed")]
    Failed,
    /// Connecting failed: name, route, port or time limit.
    #[error("connecting failed")]
    ConnectFailed,
    /// The peer did not introduce itself in time.
    #[error("the peer did not introduce itself in time")]
    HandshakeTimeout,
    /// The peer's first frame is not a valid introduction.
    #[error(transparent)]
    Greeting(#[from] GreetingError),
    /// The peer speaks a dialect that this socket is set not to speak.
    #[error("the peer speaks a dialect that is switched off here")]
    DialectOff,
    /// The peer answered in another dialect, or with another form of identity, than it was addressed in. A dial tries
    /// again at once in the peer's.
    #[error("the peer speaks {spoken:?}, another dialect than it was addressed in")]
    OtherDialect {
        /// What the peer speaks.
        spoken: Protocol,
    },
    /// The peer announced a frame that is longer than the largest message.
    #[error(transparent)]
    FrameTooLong(#[from] FrameTooLong),
    /// Not a byte came from the peer for [`Config::heartbeat_timeout`](crate::Config::heartbeat_timeout).
    #[error("the peer has been silent for too long")]
    Silent,
    /// The peer shows our own identity: the socket dialled itself, or an identity is used twice.
    #[error("the peer shows our own identity")]
    OwnIdentity,
    /// The peer shows an identity that another connection has, and that connection is alive.
    #[error("another connection has this identity")]
    DuplicateIdentity,
    /// A newer connection of the same identity took its place.
    #[error("a newer connection of the same identity took its place")]
    Replaced,
    /// Too many connections were introducing themselves at once, and this one had shown nothing.
    #[error("closed to make room for other handshakes")]
    Evicted,
    /// The peer was too slow for what is published, see [`SlowPeer`](crate::SlowPeer).
    #[error("the peer was too slow")]
    SlowPeer,
    /// This socket's user ended it, or the runtime dropped the task of the connection.
    #[error("ended on this side")]
    Ended,
    /// Its identity is kept out, see [`Socket::keep_out`](crate::Socket::keep_out).
    #[error("the identity is kept out")]
    KeptOut,
    /// This socket is closed.
    #[error("this socket is closed")]
    SocketClosed,
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn an_error_shows_nobody_the_message() {
        let error = SendError::Full(Bytes::from_static(b"secret"));
        assert_eq!(format!("{error:?}: {error}"), "Full(6 bytes): there is no room to send");
    }

    #[test]
    fn who_publishes_at_least_once_is_told_what_to_do_instead() {
        let error = format!("{}", SendError::PublishAtLeastOnce(Bytes::new()));
        assert!(error.contains("to each identity") && error.contains("publish at-most-once"), "{error}");
    }
}
