//! What a run is made of, drawn from its seed.

use core::num::NonZeroU32;
use core::time::Duration;

use aiomsg_proto::{
    Acknowledge, Config, DeliveryGuarantee, Dialect, DuplicateIdentity, Limit, Metrics, SendMode, SlowPeer,
};

const SECOND: Duration = Duration::from_secs(1);

/// What goes wrong in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Nothing but delays: bytes are split and late, applications and timers slow. Nothing may be lost at all.
    Calm,
    /// All machines sleep now and then, and wake up one by one. No connection may be lost for that.
    Drowsy,
    /// Connections fail, fall silent in one or both directions, processes die, and strangers talk nonsense.
    Stormy,
}

/// One member of the fleet.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) config: Config,
    /// Its application takes messages now and then; otherwise as soon as they arrive.
    pub(crate) slow: bool,
    /// Its application acknowledges by hand.
    pub(crate) manual: bool,
    /// Whom it dials.
    pub(crate) dials: Vec<usize>,
    /// Messages that arrive are dropped before they are acknowledged when it dies.
    pub(crate) at_least_once: bool,
    pub(crate) publishes: bool,
    /// What waits in it when it dies had been acknowledged.
    pub(crate) acknowledges_early: bool,
    pub(crate) gives_up: bool,
    pub(crate) retention: Duration,
    /// What it may hold for sending, and received.
    sending: Limit,
    receiving: Limit,
}

/// How a run is made up.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) weather: Weather,
    pub(crate) steps: usize,
    pub(crate) members: Vec<Member>,
    pub(crate) largest: usize,
}

fn limit(rng: &mut fastrand::Rng, messages: core::ops::Range<usize>) -> Limit {
    Limit::new(rng.usize(messages), rng.usize(1_000..1 << 20))
}

impl Plan {
    pub(crate) fn draw(rng: &mut fastrand::Rng) -> Self {
        let weather = match rng.u8(0..8) {
            0 | 1 => Weather::Calm,
            2 => Weather::Drowsy,
            _ => Weather::Stormy,
        };
        let count = rng.usize(2..6);
        let mut members: Vec<Member> = (0..count).map(|_| Member::draw(rng)).collect();
        // The first one speaks with everybody, so that nobody is alone.
        members[0].config = members[0].config.clone().dialect(Dialect::Auto);
        for number in 1..count {
            let (dialler, listener) = if rng.bool() { (0, number) } else { (number, 0) };
            members[dialler].dials.push(listener);
            if rng.u8(..) < 50 {
                members[listener].dials.push(dialler);
            }
        }
        Self {
            weather,
            steps: rng.usize(20..120),
            members,
            largest: *rng.choice(&[40, 300, 20_000, 150_000]).unwrap_or(&40),
        }
    }
}

impl Member {
    /// Checks that a socket holds no more than it may, with messages of up to `largest` bytes and a name. An empty buffer
    /// takes any one message, and one may be beside what has been received.
    pub(crate) fn assert_within_bounds(&self, metrics: &Metrics, largest: usize) {
        let largest = largest + 100;
        let (sent, received) = (metrics.send_held, metrics.receive_held);
        assert!(sent.messages <= self.sending.messages, "{metrics:?}");
        assert!(sent.messages <= 1 || sent.bytes <= self.sending.bytes, "{metrics:?}");
        assert!(received.messages <= self.receiving.messages + 1, "{metrics:?}");
        assert!(received.messages <= 1 || received.bytes <= self.receiving.bytes + largest, "{metrics:?}");
    }

    fn draw(rng: &mut fastrand::Rng) -> Self {
        let publishes = rng.u8(..) < 80;
        let at_least_once = !publishes && rng.bool();
        let slow = rng.u8(..) < 100;
        let (acknowledge, early) = match rng.u8(0..6) {
            0 => (Acknowledge::OnReceive, true),
            1 | 2 => (Acknowledge::default(), slow),
            3 if slow => (Acknowledge::Manual, false),
            _ => (Acknowledge::OnTake { at_latest: None }, false),
        };
        let dialects = [Dialect::Auto, Dialect::Auto, Dialect::V1, Dialect::Classic];
        let slow_peers = [
            SlowPeer::DropNewest,
            SlowPeer::DropOldest,
            SlowPeer::Disconnect,
            SlowPeer::Block(Duration::from_millis(rng.u64(1..3_000))),
        ];
        let duplicates = [
            DuplicateIdentity::Probe,
            DuplicateIdentity::Probe,
            DuplicateIdentity::Reject,
            DuplicateIdentity::Replace,
        ];
        let (sending, receiving) = (limit(rng, 20..2_000), limit(rng, 1..100));
        let retention = SECOND * rng.u32(20..90);
        let gives_up = at_least_once && rng.u8(..) < 30;
        let config = Config::default()
            .send_mode(if publishes { SendMode::Publish } else { SendMode::RoundRobin })
            .delivery(if at_least_once {
                DeliveryGuarantee::AtLeastOnce
            } else {
                DeliveryGuarantee::AtMostOnce
            })
            .acknowledge(acknowledge)
            .dialect(dialects[rng.usize(..dialects.len())])
            .slow_peer(slow_peers[rng.usize(..slow_peers.len())])
            .duplicate_identity(duplicates[rng.usize(..duplicates.len())])
            .max_attempts(if gives_up { NonZeroU32::new(rng.u32(1..4)) } else { None })
            .window([1, 2, 10, 4_096][rng.usize(..4)])
            .prefetch(limit(rng, 1..50))
            .peer_queue(limit(rng, 1..200))
            .send_buffer(sending)
            .receive_buffer(receiving)
            .peer_retention(retention)
            .linger(SECOND * rng.u32(0..20));
        Self {
            config,
            slow,
            manual: acknowledge == Acknowledge::Manual,
            dials: Vec::new(),
            at_least_once,
            publishes,
            acknowledges_early: early,
            gives_up,
            retention,
            sending,
            receiving,
        }
    }
}
