//! What can be set, with its bounds and defaults.

use core::num::NonZeroU32;
use core::time::Duration;

use crate::budget::Limit;
use crate::dialect::Dialect;
use crate::error::ConfigError;

/// How [`Socket::send`](crate::Socket::send) distributes messages. Default: [`SendMode::RoundRobin`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SendMode {
    /// Each message to one peer, to one after another. A peer that cannot take a message now is passed over.
    #[default]
    RoundRobin,
    /// Each message to every connected peer.
    Publish,
}

/// What is promised of a message. Default: [`DeliveryGuarantee::AtMostOnce`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeliveryGuarantee {
    /// It arrives once or not at all. It is held until the operating system has taken its last byte; what a connection
    /// had taken when it was lost may be lost with it.
    #[default]
    AtMostOnce,
    /// It arrives once or more. It is held until its recipient has acknowledged it, and sent again if that does not
    /// happen in time or the connection is lost: to the same peer, or to another under round-robin.
    ///
    /// When that is, the receiver chooses. By default its application has taken the message then, and has perhaps not done
    /// with it: what it dies with is lost. To have messages kept until they are done with, the receiver needs
    /// [`Acknowledge::Manual`].
    AtLeastOnce,
}

/// When messages that ask for it are acknowledged. Default: [`Acknowledge::OnTake`] with 4 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Acknowledge {
    /// When they arrive. What waits here when the process dies is lost.
    OnReceive,
    /// When the application takes them. What it has taken and not done with when it dies is lost.
    OnTake {
        /// At the latest this long after they arrived, if at all. The packages of other languages send a message again
        /// after 5 s as a new one, Python without end, most others up to six times; `None` is for peers that do not.
        at_latest: Option<Duration>,
    },
    /// When the application says that it has done with them. What it has not done with when it dies is sent again.
    Manual,
}

impl Default for Acknowledge {
    fn default() -> Self {
        Self::OnTake { at_latest: Some(Duration::from_secs(4)) }
    }
}

/// What is done with messages that arrive. Default: [`Receive::Keep`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Receive {
    /// They wait until the application takes them. If it does not, reading stops, and that hides acknowledgements, too.
    #[default]
    Keep,
    /// They are counted and dropped, and never acknowledged. For sockets that only send.
    Discard,
}

/// What happens to a connection whose peer shows an identity that another connection already has.
/// Default: [`DuplicateIdentity::Probe`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DuplicateIdentity {
    /// Ask the connection that holds the identity for a sign of life, and keep the newcomer waiting meanwhile. It
    /// takes the place of a holder that fails, or that stays silent for a heartbeat interval and one second; it is
    /// refused as soon as one byte arrives from the holder. A peer that comes back while its old connection is
    /// half-open is so served within seconds, and a healthy one is never displaced.
    #[default]
    Probe,
    /// Refuse the newcomer. A peer whose old connection is half-open stays out until that one times out.
    Reject,
    /// Let the newcomer take the place of the holder. Anybody who knows an identity can displace its owner.
    Replace,
}

/// What happens under [`SendMode::Publish`] to a peer whose queue is full. Default: [`SlowPeer::DropNewest`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SlowPeer {
    /// It misses what is published until its queue is half empty again. Nobody else notices.
    #[default]
    DropNewest,
    /// It misses the oldest messages that wait for it, never those already being written. Nobody else notices.
    DropOldest,
    /// It is disconnected, and nobody else notices. Only while messages wait that were published when nobody was there,
    /// it has one second to take some of what it was given, and the others wait with it: or those who come would have each
    /// other disconnected.
    Disconnect,
    /// Publishing waits for it, for all peers. A subscriber that takes nothing for this long while it is waited for is
    /// disconnected; one that has just come has a second at least. At least 1 ms.
    Block(Duration),
}

/// Hands all settings to a macro, each with its documentation, type and default: [`Config`] has a setter for each, and so
/// has whatever else sets them.
#[doc(hidden)]
#[macro_export]
macro_rules! with_settings {
    ($callback:ident) => {
        $callback! {
            /// Which peers `send` delivers to. Sending to one identity works in any mode.
            ///
            /// Default: [`SendMode::RoundRobin`].
            send_mode: SendMode = SendMode::default();

            /// What is promised of a message. Under [`SendMode::Publish`], at-least-once is for messages to one
            /// identity only.
            ///
            /// Default: [`DeliveryGuarantee::AtMostOnce`].
            delivery: DeliveryGuarantee = DeliveryGuarantee::default();

            /// When messages are acknowledged whose senders ask for it. Later is safer, and keeps more messages at
            /// their senders.
            ///
            /// Default: [`Acknowledge::OnTake`], when the application takes them, and at the latest 4 s after they
            /// arrived.
            acknowledge: Acknowledge = Acknowledge::default();

            /// What is done with messages that arrive. A socket that only sends should not keep them: once the receive
            /// buffer is full, peers are not read any more, and their acknowledgements are not seen.
            ///
            /// Default: [`Receive::Keep`].
            receive: Receive = Receive::default();

            /// At-least-once: a message is sent again to the same peer if it is not acknowledged this long after its
            /// last byte was handed over. The time doubles with each further copy, and stands still while that peer is
            /// not read. A copy has the id of the message, so that the receiver can drop it. If it is shorter than a
            /// receiver takes to acknowledge, every message arrives twice.
            ///
            /// Default: 5 s. At least 1 ms.
            resend_after: Duration = Duration::from_secs(5);

            /// At-least-once: the longest time between two copies.
            ///
            /// Default: 60 s. No less than [`Config::resend_after`].
            resend_after_max: Duration = Duration::from_secs(60);

            /// At-least-once: how often a message is handed over without being acknowledged before it is given up,
            /// which is an event and a counter. Counted over all peers and connections; copies sent while the receiver
            /// works on the message count, too.
            ///
            /// Default: `None`, no bound. At least 1.
            max_attempts: Option<NonZeroU32> = None;

            /// At-least-once: unacknowledged messages at one peer, at most. What is beyond waits for another peer, or
            /// for its acknowledgements. With 1, each worker gets its next message when it has done with the one
            /// before.
            ///
            /// Default: 4,096. At least 1.
            window: usize = 4_096;

            /// Which dialects are spoken. Peers of another one are refused, but for what [`Dialect::Classic`] tells.
            ///
            /// Default: [`Dialect::Auto`], both.
            dialect: Dialect = Dialect::default();

            /// What happens to a peer that shows an identity already connected.
            ///
            /// Default: [`DuplicateIdentity::Probe`].
            duplicate_identity: DuplicateIdentity = DuplicateIdentity::default();

            /// What happens to a subscriber whose queue is full, see [`Config::peer_queue`].
            ///
            /// Default: [`SlowPeer::DropNewest`].
            slow_peer: SlowPeer = SlowPeer::default();

            /// A heartbeat is sent after this long without sending. Peers give up on a connection after 15 s of
            /// silence, so with more than that, idle connections are lost and made again.
            ///
            /// Default: 5 s. At least 1 ms.
            heartbeat_interval: Duration = Duration::from_secs(5);

            /// A connection is dead after this long without receiving a byte, unless reading was paused on our side.
            /// Peers send a heartbeat every 5 s, so with less than that, idle connections are lost and made again. With
            /// more, it takes longer to notice that a peer has vanished.
            ///
            /// Default: 15 s. More than [`Config::heartbeat_interval`].
            heartbeat_timeout: Duration = Duration::from_secs(15);

            /// The time in which a peer must have introduced itself, counted from accept or from the start of a dial.
            /// One deadline for all of it, so a peer that sends a byte now and then gains nothing. A peer that is later
            /// is refused.
            ///
            /// Default: 10 s. At least 1 ms.
            handshake_timeout: Duration = Duration::from_secs(10);

            /// The time that one attempt to connect may take, names and all addresses included. One that takes longer
            /// has failed, and is made again. The core itself does not connect: kept here for adapters.
            ///
            /// Default: 5 s. At least 1 ms.
            connect_timeout: Duration = Duration::from_secs(5);

            /// The delay before the first attempt to reconnect. It doubles with each further one. The delay used is
            /// drawn evenly between zero and this, so that a fleet does not come back in one instant.
            ///
            /// Default: 100 ms. At least 1 ms.
            reconnect_delay: Duration = Duration::from_millis(100);

            /// The longest delay between two attempts to reconnect. A larger value finds a returned peer later; a
            /// smaller one retries more often.
            ///
            /// Default: 10 s. No less than [`Config::reconnect_delay`].
            reconnect_delay_max: Duration = Duration::from_secs(10);

            /// The largest payload that is sent or received. A longer message from a peer closes its connection before
            /// memory is spent on it; a longer one of ours is refused with
            /// [`SendError::TooLong`](crate::SendError::TooLong).
            ///
            /// Set it to the same at both ends: a sender does not know the limit of the receiver. A message above that
            /// ends the connection, and is sent again on the next one, which ends as well: at least once each time, at most
            /// once as long as the system has not taken all of it. What is behind it does not get through meanwhile.
            ///
            /// Default: 67,108,864 bytes, which is 64 MiB. 1 byte to 1 GiB.
            max_message: usize = 64 * (1 << 20);

            /// All that this socket holds for sending: unrouted, queued at peers, being written, unacknowledged. A
            /// payload that goes to many peers counts once. At the bound, `send` waits and `try_send` refuses.
            ///
            /// Default: 65,536 messages, 64 MiB. At least 1 message and 1 byte.
            send_buffer: Limit = Limit::new(65_536, 64 * (1 << 20));

            /// What may wait at one peer under [`SendMode::RoundRobin`], beside the batch being written to it. The rest
            /// waits for the first peer that can take it. With more, messages are bound to peers earlier, and wait
            /// behind a slow one while others are idle; with less, a fast one may run dry. It is the same under
            /// [`SendMode::Publish`] with [`SlowPeer::Block`], where the rest waits for all peers.
            ///
            /// Default: 1,024 messages, 256 KiB. At least 1 message and 1 byte.
            prefetch: Limit = Limit::new(1_024, 256 << 10);

            /// What may wait at one peer under [`SendMode::Publish`], and of messages to one identity in any mode,
            /// beside the batch being written to it. A subscriber over it is slow, see [`Config::slow_peer`]; a message
            /// to an identity over it waits, or is refused. Where publishing waits for slow subscribers
            /// ([`SlowPeer::Block`]), a long queue is not needed, and [`Config::prefetch`] bounds what is published.
            ///
            /// Default: 16,384 messages, 16 MiB. At least 1 message and 1 byte.
            peer_queue: Limit = Limit::new(16_384, 16 * (1 << 20));

            /// What has been received and not yet taken by the application, large messages that are still arriving
            /// included. One peer may use as much as is still free, so that none can take it all from the others; a
            /// peer over that is not read until the application has caught up, and nothing is dropped. A message of
            /// more than 64 KiB that would take more than half of what is free arrives beside this, one at a time.
            ///
            /// The adapters fill it for an application that takes nothing. For one that takes messages, little is read
            /// ahead, 16 KiB and one read of each connection of up to 96 KiB or a message: the rest stays with the
            /// system, and holds the sender back.
            ///
            /// Default: 65,536 messages, 64 MiB. At least 1 message and 1 byte.
            receive_buffer: Limit = Limit::new(65_536, 64 * (1 << 20));

            /// How long sends may be blocked while the application receives nothing, peers are therefore not read, and
            /// nothing makes progress. Then [`SendError::WouldDeadlock`](crate::SendError::WouldDeadlock) gives the
            /// message back: the acknowledgements that would make room are perhaps behind what is not read, or the
            /// peer waits for us to read, as we wait for it.
            ///
            /// Default: 15 s. At least 1 ms.
            deadlock_timeout: Duration = Duration::from_secs(15);

            /// Connections at once, those still introducing themselves included. At the bound no connection is
            /// accepted, and dials fail and are tried again.
            ///
            /// Default: 65,536. At least 1.
            max_connections: usize = 65_536;

            /// Accepted connections that have not introduced themselves, at once. At the bound no connection is
            /// accepted, and those that have shown nothing for a second are closed.
            ///
            /// Default: 1,024. At least 1.
            max_handshakes: usize = 1_024;

            /// How long messages to an identity that has left are held, and how long its return is expected. Then they
            /// are reported as undeliverable. Zero gives them up at once. It is also how long message ids of a peer
            /// that left are remembered: with zero, copies after a reconnect are delivered again. At most 65,536
            /// departed identities are remembered.
            ///
            /// Default: 60 s.
            peer_retention: Duration = Duration::from_secs(60);

            /// How long `close` may take to hand over what is still held. What is left then is reported. With zero,
            /// only the batch already being written is completed (at most 1 s); the rest is dropped and reported.
            ///
            /// Default: 10 s.
            linger: Duration = Duration::from_secs(10);
        }
    };
}

macro_rules! config {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $default:expr;)*) => {
        /// The settings of a socket.
        ///
        /// Each setter takes the configuration and gives it back, so that they chain. What contradicts itself is
        /// reported when a socket is made of it.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Config {
            $(pub(crate) $name: $type,)*
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Config {
            $($(#[$doc])*
            #[must_use]
            pub fn $name(mut self, value: $type) -> Self {
                self.$name = value;
                self
            })*
        }
    };
}

with_settings!(config);

/// The largest value of [`Config::max_message`]: 1 GiB.
const MAX_MESSAGE: usize = 1 << 30;

impl Config {
    /// How long `close` may take. Set by [`Config::linger`], used by adapters.
    pub fn linger_time(&self) -> Duration {
        self.linger
    }

    /// Whether sending waits for slow subscribers, and the time of a call to send matters. Set by [`Config::slow_peer`],
    /// used by adapters.
    pub fn waits_for_slow_peers(&self) -> bool {
        matches!(self.slow_peer, SlowPeer::Block(_))
    }

    /// Whether `send` delivers to all peers. Set by [`Config::send_mode`], used by adapters.
    pub fn publishes(&self) -> bool {
        self.send_mode == SendMode::Publish
    }

    /// What is published and may wait at one subscriber.
    pub(crate) fn subscriber_queue(&self) -> Limit {
        if self.waits_for_slow_peers() { self.prefetch } else { self.peer_queue }
    }

    /// When messages are acknowledged. Set by [`Config::acknowledge`], used by adapters.
    pub fn acknowledges(&self) -> Acknowledge {
        self.acknowledge
    }

    /// The time that one attempt to connect may take. Set by [`Config::connect_timeout`], used by adapters.
    pub fn connect_deadline(&self) -> Duration {
        self.connect_timeout
    }

    /// So much later than it came may a sign of life be noticed, or its peer is taken for dead:
    /// [`Config::heartbeat_timeout`] less [`Config::heartbeat_interval`]. Used by adapters.
    pub fn silence_margin(&self) -> Duration {
        self.heartbeat_timeout.saturating_sub(self.heartbeat_interval)
    }

    /// Reports the first setting that contradicts itself or another.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let spans = [
            ("heartbeat_interval", self.heartbeat_interval),
            ("handshake_timeout", self.handshake_timeout),
            ("connect_timeout", self.connect_timeout),
            ("reconnect_delay", self.reconnect_delay),
            ("resend_after", self.resend_after),
            ("deadlock_timeout", self.deadlock_timeout),
        ];
        let patience = match self.slow_peer {
            SlowPeer::Block(patience) => Some(("slow_peer", patience)),
            SlowPeer::DropNewest | SlowPeer::DropOldest | SlowPeer::Disconnect => None,
        };
        if let Some((setting, _)) =
            spans.into_iter().chain(patience).find(|(_, span)| *span < Duration::from_millis(1))
        {
            return Err(ConfigError::TooShort { setting });
        }
        if self.heartbeat_timeout <= self.heartbeat_interval {
            return Err(ConfigError::HeartbeatTimeout);
        }
        if self.reconnect_delay_max < self.reconnect_delay {
            return Err(ConfigError::ReconnectDelay);
        }
        if self.resend_after_max < self.resend_after {
            return Err(ConfigError::ResendAfter);
        }
        if self.max_message == 0 || self.max_message > MAX_MESSAGE {
            return Err(ConfigError::MaxMessage { limit: MAX_MESSAGE });
        }
        let limits = [
            ("send_buffer", self.send_buffer),
            ("prefetch", self.prefetch),
            ("peer_queue", self.peer_queue),
            ("receive_buffer", self.receive_buffer),
            ("max_connections", Limit::new(self.max_connections, 1)),
            ("max_handshakes", Limit::new(self.max_handshakes, 1)),
            ("window", Limit::new(self.window, 1)),
        ];
        match limits.into_iter().find(|(_, limit)| limit.messages == 0 || limit.bytes == 0) {
            Some((setting, _)) => Err(ConfigError::Zero { setting }),
            None => Ok(()),
        }
    }

    /// The longest frame that a peer may send, in a protocol that adds `overhead` bytes to a payload.
    pub(crate) fn frame_limit(&self, overhead: u32) -> u32 {
        u32::try_from(self.max_message).unwrap_or(u32::MAX).saturating_add(overhead)
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn defaults_are_valid_and_contradictions_are_named() {
        let config = Config::default;
        assert_eq!(config().validate(), Ok(()));
        assert_eq!(
            config().heartbeat_timeout(Duration::from_secs(5)).validate(),
            Err(ConfigError::HeartbeatTimeout)
        );
        assert_eq!(
            config().handshake_timeout(Duration::ZERO).validate(),
            Err(ConfigError::TooShort { setting: "handshake_timeout" })
        );
        assert_eq!(
            config().slow_peer(SlowPeer::Block(Duration::ZERO)).validate(),
            Err(ConfigError::TooShort { setting: "slow_peer" })
        );
        assert_eq!(
            config().send_buffer(Limit::new(0, 1)).validate(),
            Err(ConfigError::Zero { setting: "send_buffer" })
        );
        assert_eq!(config().max_message(0).validate(), Err(ConfigError::MaxMessage { limit: 1 << 30 }));
        assert_eq!(
            config().reconnect_delay_max(Duration::from_millis(99)).validate(),
            Err(ConfigError::ReconnectDelay)
        );
    }

    /// What can be written in the documentation of a setting as its default and its bound.
    trait Value: Sized {
        fn written(&self) -> String;

        /// Values on both sides of a bound: one that is refused, and one that is not.
        fn around(bound: &str) -> Option<(Self, Self)>;
    }

    fn grouped(number: usize) -> String {
        match number {
            0..1_000 => number.to_string(),
            _ => format!("{},{:03}", grouped(number / 1_000), number % 1_000),
        }
    }

    impl Value for Duration {
        fn written(&self) -> String {
            match self.as_millis() {
                seconds if seconds % 1_000 == 0 => format!("{} s", seconds / 1_000),
                millis => format!("{millis} ms"),
            }
        }

        fn around(bound: &str) -> Option<(Self, Self)> {
            let default = Config::default();
            let nano = Self::from_nanos(1);
            match bound {
                "At least 1 ms" => Some((Self::from_micros(999), Self::from_millis(1))),
                "No less than [`Config::resend_after`]" => {
                    Some((default.resend_after - nano, default.resend_after))
                }
                "No less than [`Config::reconnect_delay`]" => {
                    Some((default.reconnect_delay - nano, default.reconnect_delay))
                }
                "More than [`Config::heartbeat_interval`]" => {
                    Some((default.heartbeat_interval, default.heartbeat_interval + nano))
                }
                _ => None,
            }
        }
    }

    impl Value for usize {
        fn written(&self) -> String {
            grouped(*self)
        }

        fn around(bound: &str) -> Option<(Self, Self)> {
            match bound {
                "At least 1" | "1 byte to 1 GiB" => Some((0, 1)),
                _ => None,
            }
        }
    }

    impl Value for Limit {
        fn written(&self) -> String {
            let bytes = match self.bytes {
                bytes if bytes < 1 << 20 => format!("{} KiB", bytes >> 10),
                bytes => format!("{} MiB", bytes >> 20),
            };
            format!("{} messages, {bytes}", grouped(self.messages))
        }

        fn around(bound: &str) -> Option<(Self, Self)> {
            (bound == "At least 1 message and 1 byte").then_some((Self::new(1, 0), Self::new(1, 1)))
        }
    }

    /// Policies have no bounds.
    macro_rules! policies {
        ($($type:ty),*) => {
            $(impl Value for $type {
                fn written(&self) -> String {
                    let value = format!("{self:?}");
                    let variant = value.split(' ').next().unwrap_or_default();
                    format!("[`{}::{variant}`]", stringify!($type))
                }

                fn around(_: &str) -> Option<(Self, Self)> {
                    None
                }
            })*
        };
    }

    policies! { Acknowledge, DeliveryGuarantee, Dialect, DuplicateIdentity, Receive, SendMode, SlowPeer }

    impl Value for Option<NonZeroU32> {
        fn written(&self) -> String {
            format!("`{self:?}`")
        }

        fn around(_: &str) -> Option<(Self, Self)> {
            None
        }
    }

    /// The last paragraph of a setting's documentation, in one line.
    fn last_paragraph(doc: &[&str]) -> String {
        let lines: Vec<&str> =
            doc.iter().rev().map(|line| line.trim()).take_while(|line| !line.is_empty()).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" ")
    }

    fn check<T: Value>(name: &str, doc: &[&str], default: &T, set: impl Fn(Config, T) -> Config) -> usize {
        let last = last_paragraph(doc);
        assert!(doc.len() > 2, "{name} says what follows from it");
        let rest = last.strip_prefix("Default: ").and_then(|rest| rest.strip_prefix(&default.written()));
        let rest = rest.unwrap_or_else(|| panic!("{name}: {last:?} is not {}", default.written()));
        let bounds = rest.split(". ").filter_map(|sentence| T::around(sentence.trim_end_matches('.')));
        bounds
            .map(|(refused, allowed)| {
                assert!(set(Config::default(), refused).validate().is_err(), "{name}: {last:?}");
                // The longest time must not be shorter than the first; this is the way to say so.
                let wide = Config::default().heartbeat_timeout(Duration::from_secs(60));
                assert_eq!(set(wide, allowed).validate(), Ok(()), "{name}: {last:?}");
            })
            .count()
    }

    macro_rules! check_all {
        ($($(#[doc = $doc:expr])* $name:ident: $type:ty = $default:expr;)*) => {
            [$((stringify!($name), check::<$type>(
                stringify!($name), &[$($doc),*], &Config::default().$name, Config::$name,
            ))),*]
        };
    }

    #[test]
    fn defaults_and_bounds_are_as_documented() {
        let bounds = with_settings!(check_all);
        let bounded = bounds.iter().filter(|(_, count)| *count == 1).count();
        let unbounded: Vec<&str> =
            bounds.iter().filter(|(_, count)| *count == 0).map(|(name, _)| *name).collect();
        assert_eq!(bounded + unbounded.len(), 27);
        let expected = [
            "send_mode",
            "delivery",
            "acknowledge",
            "receive",
            "max_attempts",
            "dialect",
            "duplicate_identity",
            "slow_peer",
            "peer_retention",
            "linger",
        ];
        assert_eq!(unbounded, expected, "all others have a bound, and it is checked");
    }
}
