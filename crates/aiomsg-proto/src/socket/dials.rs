//! When to connect, and in which dialect to open.

use alloc::sync::Arc;
use core::time::Duration;

use slotmap::SlotMap;

use crate::config::Config;
use crate::dialect::Protocol;
use crate::error::CloseReason;
use crate::id::{ConnectionId, DialId};
use crate::identity::Identity;
use crate::time::Instant;
use crate::timers::Armed;

/// A connection that has stayed up for this long was a success; the delays start anew.
const STABLE: Duration = Duration::from_secs(5);

/// Where an attempt to reach an address stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DialState {
    /// The next attempt is made then.
    Waiting(Instant),
    /// An attempt is being made.
    Connecting,
    /// It led to this connection.
    Connected(ConnectionId),
    /// The peer there is this one, and another connection to it is up.
    Parked(Identity),
    /// It cannot succeed.
    GivenUp,
}

/// One address that is to be connected.
#[derive(Debug)]
pub(super) struct Dial {
    pub(super) address: Arc<str>,
    pub(super) state: DialState,
    /// Failures in a row.
    failures: u32,
    /// What the address spoke last.
    pub(super) spoke: Option<Protocol>,
    /// It has been tried again at once, in another dialect.
    redirected: bool,
    /// Why the attempt to connect failed, in the words of the system.
    pub(super) cause: Option<Arc<str>>,
    /// When the attempt began.
    pub(super) started: Instant,
    pub(super) armed: Armed,
    pub(super) ready: bool,
}

/// How the connection of a dial ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) reason: CloseReason,
    /// Who the peer said it was, if it came to that.
    pub(super) peer: Option<Identity>,
    /// Another connection has that identity.
    pub(super) held: bool,
    pub(super) open_since: Option<Instant>,
}

/// What becomes of a dial whose connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Now,
    After { failures: u32, delay: Duration },
    Parked,
    GivenUp,
}

impl Dial {
    pub(super) fn new(address: Arc<str>, now: Instant) -> Self {
        Self {
            address,
            state: DialState::Waiting(now),
            failures: 0,
            spoke: None,
            redirected: false,
            cause: None,
            started: now,
            armed: Armed::default(),
            ready: false,
        }
    }

    /// The peer is accepted.
    pub(super) fn opened(&mut self, protocol: Protocol) {
        self.spoke = Some(protocol);
        self.redirected = false;
    }

    /// Decides how to go on.
    pub(super) fn ended(
        &mut self,
        outcome: Outcome,
        now: Instant,
        config: &Config,
        rng: &mut fastrand::Rng,
    ) -> Next {
        match outcome.reason {
            CloseReason::OwnIdentity => {
                self.state = DialState::GivenUp;
                return Next::GivenUp;
            }
            CloseReason::OtherDialect { spoken } => {
                self.spoke = Some(spoken);
                if !core::mem::replace(&mut self.redirected, true) {
                    return Next::Now;
                }
            }
            CloseReason::ConnectFailed => {}
            _ if outcome.peer.is_none() => self.spoke = None,
            _ => {}
        }
        if let Some(peer) = outcome.peer.filter(|_| outcome.held) {
            self.state = DialState::Parked(peer);
            return Next::Parked;
        }
        if outcome.open_since.is_some_and(|since| now.saturating_duration_since(since) >= STABLE) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        let delay = self.draw_delay(config, rng);
        self.state = DialState::Waiting(now + delay);
        Next::After { failures: self.failures, delay }
    }

    /// Evenly between zero and a bound that doubles with each failure.
    fn draw_delay(&self, config: &Config, rng: &mut fastrand::Rng) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(30);
        let bound = config.reconnect_delay.saturating_mul(1 << doublings).min(config.reconnect_delay_max);
        Duration::from_nanos(rng.u64(0..=u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// The dials of a socket by id.
pub(super) type Dials = SlotMap<slotmap::DefaultKey, Dial>;

/// The dials that wait for connections of this peer to end.
pub(super) fn parked_on(dials: &Dials, identity: Identity) -> alloc::vec::Vec<DialId> {
    let parked = dials.iter().filter(|(_, dial)| dial.state == DialState::Parked(identity));
    parked.map(|(key, _)| DialId(key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Outcome {
        Outcome { reason: CloseReason::PeerClosed, peer: None, held: false, open_since: None }
    }

    fn end(dial: &mut Dial, outcome: Outcome) -> Next {
        let now = Instant::EPOCH + Duration::from_secs(100);
        dial.ended(outcome, now, &Config::default(), &mut fastrand::Rng::with_seed(1))
    }

    #[test]
    fn delays_double_to_a_bound_and_are_spread() {
        let config = Config::default();
        let mut rng = fastrand::Rng::with_seed(3);
        for (failures, bound) in
            [(1, 100), (2, 200), (3, 400), (7, 6_400), (8, 10_000), (4_000_000_000, 10_000)]
        {
            let mut largest = Duration::ZERO;
            let mut smallest = Duration::MAX;
            for _ in 0..1_000 {
                let mut dial = Dial::new("a".into(), Instant::EPOCH);
                dial.failures = failures - 1;
                let Next::After { delay, .. } = dial.ended(failed(), Instant::EPOCH, &config, &mut rng)
                else {
                    panic!("a failed dial is tried again");
                };
                largest = largest.max(delay);
                smallest = smallest.min(delay);
            }
            let bound = Duration::from_millis(bound);
            assert!(largest <= bound && largest > bound * 9 / 10, "{failures}: {largest:?}");
            assert!(smallest < bound / 10, "{failures}: {smallest:?}");
        }
    }

    #[test]
    fn only_a_connection_that_stayed_up_resets_the_delay() {
        let mut dial = Dial::new("a".into(), Instant::EPOCH);
        dial.failures = 5;
        let up_for = |seconds: u64| Outcome {
            open_since: Some(Instant::EPOCH + Duration::from_secs(100 - seconds)),
            peer: Some(Identity::from_bytes([1; 16])),
            ..failed()
        };
        assert!(matches!(end(&mut dial, up_for(4)), Next::After { failures: 6, .. }));
        assert!(matches!(end(&mut dial, up_for(5)), Next::After { failures: 1, .. }));
    }

    #[test]
    fn another_dialect_is_tried_at_once_but_once() {
        let mut dial = Dial::new("a".into(), Instant::EPOCH);
        let other = Outcome { reason: CloseReason::OtherDialect { spoken: Protocol::V1 }, ..failed() };
        assert_eq!(end(&mut dial, other), Next::Now);
        assert_eq!(dial.spoke, Some(Protocol::V1));
        assert!(matches!(end(&mut dial, other), Next::After { .. }));
        dial.opened(Protocol::V1);
        assert_eq!(end(&mut dial, other), Next::Now);
        end(&mut dial, failed());
        assert_eq!(dial.spoke, None, "an end before the peer showed anything clears the memory");
    }
}
