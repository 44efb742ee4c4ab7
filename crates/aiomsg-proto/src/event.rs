//! What happened, for whoever watches a socket.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;

use crate::budget::Usage;
use crate::dialect::Protocol;
use crate::error::CloseReason;
use crate::id::{ConnectionId, DialId};
use crate::identity::Identity;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// The peer connected to us.
    Accepted,
    /// We connected to the peer, for this dial.
    Dialled(DialId),
}

/// Something that happened to a socket: what `Socket::events` of an adapter gives, and
/// [`Socket::poll_event`](crate::Socket::poll_event) of the core.
///
/// [`Event::Connected`] and [`Event::Disconnected`] pair up exactly, unless [`Event::Lagged`] stands between them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Connections are accepted at this address.
    Listening {
        /// The address, with its real port.
        address: Arc<str>,
    },
    /// An attempt to connect starts.
    Connecting {
        /// The dial that it is for.
        dial: DialId,
        /// The address as it was given.
        address: Arc<str>,
    },
    /// A peer is there: it has introduced itself and messages flow.
    Connected {
        /// The connection.
        connection: ConnectionId,
        /// Who the peer says it is.
        identity: Identity,
        /// Its address.
        address: Arc<str>,
        /// Who connected to whom.
        origin: Origin,
        /// What is spoken.
        protocol: Protocol,
    },
    /// A peer that was there is gone.
    Disconnected {
        /// The connection.
        connection: ConnectionId,
        /// Who the peer said it was.
        identity: Identity,
        /// Its address.
        address: Arc<str>,
        /// Why.
        reason: CloseReason,
    },
    /// A connection ended before its peer was accepted. At most 32 of these are told in a second; the metrics count
    /// all of them.
    Refused {
        /// The address of the peer.
        address: Arc<str>,
        /// Who the peer says it is, if it came to that.
        identity: Option<Identity>,
        /// Why.
        reason: CloseReason,
    },
    /// A dial did not lead to a peer, or lost it, and is going to be tried again.
    Retrying {
        /// The dial.
        dial: DialId,
        /// The address as it was given.
        address: Arc<str>,
        /// How often in a row it has failed.
        failures: u32,
        /// Until the next attempt.
        delay: Duration,
        /// What ended the last attempt.
        reason: CloseReason,
        /// More about that from the system, if connecting itself failed.
        cause: Option<Arc<str>>,
    },
    /// A dial was given up, since it cannot succeed.
    GivenUp {
        /// The dial.
        dial: DialId,
        /// The address as it was given.
        address: Arc<str>,
        /// Why.
        reason: CloseReason,
    },
    /// Messages to an identity that left were held until its return, and it did not return.
    Undeliverable {
        /// The identity.
        identity: Identity,
        /// What was dropped.
        dropped: Usage,
    },
    /// A message was handed over [`Config::max_attempts`](crate::Config::max_attempts) times without being acknowledged,
    /// and was given up.
    Expired {
        /// The peer that had it last.
        identity: Identity,
        /// What was dropped.
        dropped: Usage,
    },
    /// Messages were acknowledged before the application took them, since it takes longer than
    /// [`Acknowledge::OnTake`](crate::Acknowledge::OnTake) allows. Told once, until it has caught up.
    AcknowledgedEarly {
        /// The peer that sent the first of them.
        identity: Identity,
    },
    /// A peer is not read, since the application does not take what has arrived, and acknowledgements that we await may
    /// be hidden behind that. Told once, until all that came from it is taken.
    AcknowledgementsHidden {
        /// The peer.
        identity: Identity,
    },
    /// A subscriber does not keep up. Told when it starts to miss messages, not for each of them. Not emitted with
    /// [`SlowPeer::Block`](crate::SlowPeer::Block).
    SlowPeer {
        /// The connection.
        connection: ConnectionId,
        /// The subscriber.
        identity: Identity,
    },
    /// A slow subscriber has caught up.
    SlowPeerRecovered {
        /// The connection.
        connection: ConnectionId,
        /// The subscriber.
        identity: Identity,
        /// What it missed.
        dropped: Usage,
    },
    /// This many events were dropped here, since nobody took them. Call [`Socket::peers`](crate::Socket::peers) to
    /// resynchronize.
    Lagged {
        /// How many.
        events: u64,
    },
}

/// For people, in one line: who, where and why, without the numbers by which a program tells connections apart.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening { address } => write!(f, "listening at {address}"),
            Self::Connecting { address, .. } => write!(f, "connecting to {address}"),
            Self::Connected { identity, address, origin, .. } => {
                let how = if matches!(origin, Origin::Accepted) { "from" } else { "at" };
                write!(f, "connected: {identity} {how} {address}")
            }
            Self::Disconnected { identity, address, reason, .. } => {
                write!(f, "disconnected: {identity} at {address}: {reason}")
            }
            Self::Refused { address, identity: Some(identity), reason } => {
                write!(f, "not connected: {identity} at {address}: {reason}")
            }
            Self::Refused { address, identity: None, reason } => {
                write!(f, "not connected: {address}: {reason}")
            }
            Self::Retrying { address, failures, delay, reason, cause, .. } => {
                write!(
                    f,
                    "trying {address} again in {delay:?}, after {failures} failures in a row: {reason}"
                )?;
                cause.as_ref().map_or(Ok(()), |cause| write!(f, ": {cause}"))
            }
            Self::GivenUp { address, reason, .. } => write!(f, "not trying {address} any more: {reason}"),
            Self::Undeliverable { identity, dropped } => {
                write!(f, "dropped {dropped} to {identity}, which has not returned")
            }
            Self::Expired { identity, dropped } => {
                write!(f, "dropped {dropped} that {identity} has not acknowledged, as often as it was sent")
            }
            Self::AcknowledgedEarly { identity } => {
                write!(f, "messages of {identity} are acknowledged before the application has taken them")
            }
            Self::AcknowledgementsHidden { identity } => write!(
                f,
                "{identity} is not read, since what has arrived is not taken; acknowledgements may be behind that"
            ),
            Self::SlowPeer { identity, .. } => write!(f, "{identity} does not keep up, and misses messages"),
            Self::SlowPeerRecovered { identity, dropped, .. } => {
                write!(f, "{identity} keeps up again, and has missed {dropped}")
            }
            Self::Lagged { events } => write!(f, "{events} events were not taken in time, and are not told"),
        }
    }
}

/// The events that wait to be taken: the latest ones, and how many older ones were dropped.
#[derive(Debug, Default)]
pub(crate) struct Events {
    queue: VecDeque<Event>,
    lagged: u64,
}

impl Events {
    /// How many wait before the oldest are dropped.
    const CAPACITY: usize = 1_024;

    pub(crate) fn push(&mut self, event: Event) {
        if self.queue.len() == Self::CAPACITY {
            self.queue.pop_front();
            self.lagged = self.lagged.saturating_add(1);
        }
        self.queue.push_back(event);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.lagged == 0
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        match core::mem::take(&mut self.lagged) {
            0 => self.queue.pop_front(),
            events => Some(Event::Lagged { events }),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn people_read_who_where_and_why() {
        let address: Arc<str> = "10.0.0.1:25000".into();
        let identity = Identity::from_bytes([7; 16]);
        let reason = CloseReason::from(crate::frame::FrameTooLong { length: 9, limit: 8 });
        let dropped = Usage { messages: 1, bytes: 5 };
        for (event, text) in [
            (
                Event::Refused { address: address.clone(), identity: None, reason },
                "not connected: 10.0.0.1:25000: a frame of 9 bytes was announced, at most 8 are allowed by `max_message`",
            ),
            (
                Event::Retrying {
                    dial: DialId(slotmap::DefaultKey::default()),
                    address,
                    failures: 2,
                    delay: Duration::from_millis(150),
                    reason: CloseReason::ConnectFailed,
                    cause: Some("refused".into()),
                },
                "trying 10.0.0.1:25000 again in 150ms, after 2 failures in a row: connecting failed: refused",
            ),
            (
                Event::Undeliverable { identity, dropped },
                "dropped 1 message of 5 bytes to 07070707070707070707070707070707, which has not returned",
            ),
        ] {
            assert_eq!(format!("{event}"), text);
        }
    }

    #[test]
    fn old_events_give_way_and_are_counted() {
        let mut events = Events::default();
        for _ in 0..Events::CAPACITY + 3 {
            events.push(Event::Listening { address: "a".into() });
        }
        assert_eq!(events.pop(), Some(Event::Lagged { events: 3 }));
        let left = core::iter::from_fn(|| events.pop()).count();
        assert_eq!(left, Events::CAPACITY);
    }
}
