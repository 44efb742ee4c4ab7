//! When waiting for room would perhaps never end.
//!
//! A peer that is not read, since the application takes nothing, may have said all that a sender waits for: the
//! acknowledgement is behind its messages, or it waits for us to read before it reads itself. If the application, in
//! turn, waits for that sender, nothing moves any more. So a sender that finds no room while nothing moves is told.

use super::link::Link;
use super::{Ready, Socket, TimerKey};
use crate::budget::Usage;
use crate::id::ConnectionId;
use crate::time::Instant;
use crate::timers::{Armed, Timers};

/// What is known of the last moves.
#[derive(Debug)]
pub(super) struct Standstill {
    /// When the application last took something.
    pub(super) taken_at: Instant,
    /// When something held for sending was last done with.
    pub(super) released_at: Instant,
    /// There is no room in the send buffer, and nothing moves.
    pub(super) declared: bool,
    armed: Armed,
}

impl Standstill {
    pub(super) fn new(now: Instant) -> Self {
        Self { taken_at: now, released_at: now, declared: false, armed: Armed::default() }
    }

    /// The application has taken something.
    pub(super) const fn note_taken(&mut self, now: Instant) {
        self.taken_at = now;
        self.declared = false;
    }

    pub(super) fn disarm(&mut self, timers: &mut Timers<TimerKey>) {
        timers.disarm(TimerKey::Standstill, &mut self.armed);
    }

    /// Something held for sending is done with.
    pub(super) const fn note_released(&mut self, now: Instant, released: Usage) {
        if !released.is_empty() {
            self.released_at = now;
            self.declared = false;
        }
    }
}

impl Socket {
    /// Makes sure that a standstill is noticed, if one begins now or has begun.
    pub(super) fn watch_for_standstill(&mut self) {
        if self.receiver.has_paused() {
            let at = self.now + self.config.deadlock_timeout;
            self.timers.arm(TimerKey::Standstill, &mut self.standstill.armed, at);
        }
    }

    /// When a connection that is not read, and that nothing is taken from or written to any more, has been so for too
    /// long. `None` if it is read.
    fn stands_still_at(&self, link: &Link) -> Option<Instant> {
        let since = link.paused?.max(self.standstill.taken_at).max(link.moved_at);
        Some(since + self.config.deadlock_timeout)
    }

    /// Whether waiting for this connection would perhaps never end.
    pub(super) fn stands_still(&self, id: ConnectionId) -> bool {
        let link = self.links.get(id.0);
        link.and_then(|link| self.stands_still_at(link)).is_some_and(|at| at <= self.now)
    }

    /// Lets senders try again that are to be told.
    pub(super) fn handle_standstill_timeout(&mut self) {
        self.standstill.armed.fired();
        let mut later: Option<Instant> = None;
        let mut at_least_one = false;
        for id in self.receiver.paused_ids() {
            let Some(link) = self.links.get(id.0) else { continue };
            match self.stands_still_at(link) {
                Some(at) if at <= self.now => at_least_one = true,
                Some(at) => {
                    later = Some(later.map_or(at, |later| later.min(at)));
                    continue;
                }
                None => continue,
            }
            if let Some(identity) = link.identity()
                && let Some(peer) = self.peers.get_mut(identity)
                && core::mem::take(&mut peer.wants_room)
            {
                self.ready.push_back(Ready::PeerRoom(identity));
            }
        }
        if at_least_one {
            let at = self.standstill.released_at + self.config.deadlock_timeout;
            if at > self.now {
                later = Some(later.map_or(at, |later| later.min(at)));
            } else {
                self.standstill.declared = true;
                self.announce_room();
            }
        }
        if let Some(at) = later {
            self.timers.arm(TimerKey::Standstill, &mut self.standstill.armed, at);
        }
    }
}
