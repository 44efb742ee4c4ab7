//! When a peer counts as dead, and when it must hear from us.

use core::time::Duration;

use crate::time::Instant;

/// A timeout that is noticed later than this after it was due says more about us than about the peer: the machine
/// slept, the process was stopped, or the clock went ahead. What the peer sent meanwhile is read first.
pub(crate) const LATE: Duration = Duration::from_secs(1);

/// Signs of life in both directions of one connection.
#[derive(Debug)]
pub(super) struct Liveness {
    /// When the last byte came, or when reading was taken up again; later by the time that we have slept since.
    received: Instant,
    /// Who has slept until a peer seems dead waits until then.
    grace: Option<Instant>,
    /// We have stopped reading, so silence says nothing.
    paused: bool,
    /// Since when there has been nothing to write, or when we last saw that there is something.
    written: Instant,
}

impl Liveness {
    pub(super) const fn new(now: Instant) -> Self {
        Self { received: now, grace: None, paused: false, written: now }
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

    /// There is nothing to write, or something that is as good as a heartbeat.
    pub(super) const fn note_written(&mut self, now: Instant) {
        self.written = now;
    }

    /// When silence has lasted for too long.
    pub(super) fn dead_at(&self, timeout: Duration) -> Option<Instant> {
        (!self.paused).then(|| self.grace.unwrap_or(self.received + timeout))
    }

    /// When a heartbeat is due, if there is nothing to write by then. If there is, it is time to look again all the same:
    /// who looks too late knows that he slept.
    pub(super) fn heartbeat_at(&self, interval: Duration) -> Instant {
        self.written + interval
    }

    /// Time that we have slept through is no silence of the peer. It may have slept as we did, or not at all if only our
    /// clock went ahead, and says something within `least`.
    pub(super) fn note_slept(&mut self, now: Instant, late: Duration, timeout: Duration, least: Duration) {
        self.received = now.min(self.received + late);
        if self.is_dead(now, timeout) {
            self.grace = Some(now + least);
        }
    }

    /// Whether the peer is to be given up at `now`.
    pub(super) fn is_dead(&self, now: Instant, timeout: Duration) -> bool {
        self.dead_at(timeout).is_some_and(|due| due <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(15);
    const LEAST: Duration = Duration::from_secs(6);

    fn seconds(seconds: u64) -> Instant {
        Instant::EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn silence_kills_unless_we_do_not_listen() {
        let mut liveness = Liveness::new(seconds(0));
        assert!(!liveness.is_dead(seconds(14), TIMEOUT));
        assert!(liveness.is_dead(seconds(15), TIMEOUT));
        liveness.set_paused(seconds(10), true);
        assert_eq!(liveness.dead_at(TIMEOUT), None);
        assert!(!liveness.is_dead(seconds(100), TIMEOUT));
        liveness.set_paused(seconds(100), false);
        assert!(!liveness.is_dead(seconds(114), TIMEOUT));
        assert!(liveness.is_dead(seconds(115), TIMEOUT));
    }

    #[test]
    fn what_we_slept_through_is_no_silence() {
        let mut liveness = Liveness::new(seconds(0));
        // A heartbeat was due at 5 s.
        liveness.note_slept(seconds(3_600), Duration::from_secs(3_595), TIMEOUT, LEAST);
        assert_eq!(liveness.dead_at(TIMEOUT), Some(seconds(3_610)));
        assert!(!liveness.is_dead(seconds(3_609), TIMEOUT));
        assert!(liveness.is_dead(seconds(3_610), TIMEOUT));
    }

    #[test]
    fn who_seems_dead_when_we_wake_up_has_a_little_time_each_time() {
        let mut liveness = Liveness::new(seconds(0));
        for woken in [3_600, 7_200] {
            let late = seconds(woken).saturating_duration_since(seconds(15));
            liveness.note_slept(seconds(woken), late.min(Duration::from_secs(2)), TIMEOUT, LEAST);
            assert_eq!(liveness.dead_at(TIMEOUT), Some(seconds(woken + 6)));
        }
        assert!(liveness.is_dead(seconds(7_206), TIMEOUT));
        liveness.note_received(seconds(7_206));
        assert!(!liveness.is_dead(seconds(7_220), TIMEOUT));
        assert!(liveness.is_dead(seconds(7_221), TIMEOUT));
    }
}
