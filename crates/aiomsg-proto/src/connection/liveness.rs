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
    /// We have stopped reading, so silence says nothing.
    paused: bool,
    /// Since when there has been nothing to write, or when we last saw that there is something.
    written: Instant,
}

impl Liveness {
    pub(super) const fn new(now: Instant) -> Self {
        Self { received: now, paused: false, written: now }
    }

    pub(super) const fn note_received(&mut self, now: Instant) {
        self.received = now;
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
        (!self.paused).then(|| self.received + timeout)
    }

    /// When a heartbeat is due, if there is nothing to write by then. If there is, it is time to look again all the same:
    /// who looks too late knows that he slept.
    pub(super) fn heartbeat_at(&self, interval: Duration) -> Instant {
        self.written + interval
    }

    /// Time that we have slept through is no silence of the peer, and nobody knows when the sleep began: as silence counts
    /// what had passed when we last did something. What came meanwhile is read before the peer is given up.
    pub(super) fn note_slept(&mut self, now: Instant, timeout: Duration) {
        let awake = self.received.max(self.written);
        let silence = awake.saturating_duration_since(self.received).min(timeout.saturating_sub(LATE));
        self.received = self.received + now.saturating_duration_since(self.received).saturating_sub(silence);
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
        liveness.note_written(seconds(5));
        liveness.note_slept(seconds(3_600), TIMEOUT);
        assert_eq!(liveness.dead_at(TIMEOUT), Some(seconds(3_610)));
        assert!(!liveness.is_dead(seconds(3_609), TIMEOUT));
        assert!(liveness.is_dead(seconds(3_610), TIMEOUT));
    }

    #[test]
    fn sleep_after_sleep_adds_nothing() {
        let mut liveness = Liveness::new(seconds(0));
        liveness.note_written(seconds(3));
        for woken in [100, 500, 1_000] {
            liveness.note_slept(seconds(woken), TIMEOUT);
            liveness.note_written(seconds(woken));
        }
        assert_eq!(liveness.dead_at(TIMEOUT), Some(seconds(1_012)));
    }

    #[test]
    fn who_was_silent_before_we_slept_has_a_little_time_when_we_wake_up() {
        let mut liveness = Liveness::new(seconds(0));
        liveness.note_written(seconds(15));
        for woken in [3_600, 7_200] {
            liveness.note_slept(seconds(woken), TIMEOUT);
            liveness.note_written(seconds(woken));
            assert_eq!(liveness.dead_at(TIMEOUT), Some(seconds(woken + 1)));
        }
        liveness.note_received(seconds(7_206));
        assert!(!liveness.is_dead(seconds(7_220), TIMEOUT));
        assert!(liveness.is_dead(seconds(7_221), TIMEOUT));
    }
}
