//! When a peer counts as dead, and when it must hear from us.

use core::time::Duration;

use crate::time::Instant;

/// A timeout that is noticed later than this after it was due says more about us than about the peer: the machine
/// slept, or the process was stopped. What the peer sent meanwhile is read first.
pub(crate) const LATE: Duration = Duration::from_secs(1);

/// Signs of life in both directions of one connection.
#[derive(Debug)]
pub(super) struct Liveness {
    /// When the last byte came, or when reading was taken up again.
    received: Instant,
    /// Until when a late timeout is forgiven.
    grace: Option<Instant>,
    /// We have stopped reading, so silence says nothing.
    paused: bool,
    /// Since when there has been nothing to write.
    idle_since: Instant,
}

impl Liveness {
    pub(super) const fn new(now: Instant) -> Self {
        Self { received: now, grace: None, paused: false, idle_since: now }
    }

    pub(super) const fn note_received(&mut self, now: Instant) {
        self.received = now;
        self.grace = None;
    }

    pub(super) fn set_paused(&mut self, now: Instant, paused: bool) {
        if self.paused && !paused {
            self.note_received(now);
        }
        self.paused = paused;
    }

    pub(super) const fn is_paused(&self) -> bool {
        self.paused
    }

    pub(super) const fn note_idle(&mut self, now: Instant) {
        self.idle_since = now;
    }

    /// When silence has lasted for too long.
    pub(super) fn dead_at(&self, timeout: Duration) -> Option<Instant> {
        (!self.paused).then(|| self.grace.unwrap_or(self.received + timeout))
    }

    /// When a heartbeat is due, if there is still nothing to write by then.
    pub(super) fn heartbeat_at(&self, interval: Duration) -> Instant {
        self.idle_since + interval
    }

    /// Whether the peer is to be given up at `now`. Grants a grace period if the machine `slept`, and again if it has
    /// slept through that, too.
    pub(super) fn is_dead(&mut self, now: Instant, timeout: Duration, slept: bool) -> bool {
        if self.dead_at(timeout).is_none_or(|due| due > now) {
            return false;
        }
        if slept {
            self.grace = Some(now + LATE);
        }
        !slept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(15);

    fn seconds(seconds: u64) -> Instant {
        Instant::EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn silence_kills_unless_we_do_not_listen() {
        let mut liveness = Liveness::new(seconds(0));
        assert!(!liveness.is_dead(seconds(14), TIMEOUT, false));
        assert!(liveness.is_dead(seconds(15), TIMEOUT, false));
        liveness.set_paused(seconds(10), true);
        assert_eq!(liveness.dead_at(TIMEOUT), None);
        assert!(!liveness.is_dead(seconds(100), TIMEOUT, false));
        liveness.set_paused(seconds(100), false);
        assert!(!liveness.is_dead(seconds(114), TIMEOUT, false));
        assert!(liveness.is_dead(seconds(115), TIMEOUT, false));
    }

    #[test]
    fn a_machine_that_slept_reads_first() {
        let mut liveness = Liveness::new(seconds(0));
        assert!(!liveness.is_dead(seconds(3_600), TIMEOUT, true));
        assert_eq!(liveness.dead_at(TIMEOUT), Some(seconds(3_601)));
        assert!(liveness.is_dead(seconds(3_601), TIMEOUT, false));
        liveness.note_received(seconds(3_601));
        assert!(!liveness.is_dead(seconds(3_615), TIMEOUT, false));
        assert!(liveness.is_dead(seconds(3_616), TIMEOUT, false));
    }

    #[test]
    fn a_machine_that_falls_asleep_again_reads_first_all_the_same() {
        let mut liveness = Liveness::new(seconds(0));
        assert!(!liveness.is_dead(seconds(3_600), TIMEOUT, true));
        assert!(!liveness.is_dead(seconds(7_200), TIMEOUT, true));
        assert!(liveness.is_dead(seconds(7_201), TIMEOUT, false));
    }
}
