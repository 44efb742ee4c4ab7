//! How connections come and go, and how the socket as a whole ends.

use core::time::Duration;

use super::dials::{Next, Outcome, parked_on};
use super::{Ready, Socket, TimerKey};
use crate::batch::Batch;
use crate::budget::Usage;
use crate::config::SendMode;
use crate::error::CloseReason;
use crate::event::{Event, Origin};
use crate::id::{ConnectionId, DialId};
use crate::identity::Identity;
use crate::time::Instant;

/// How long connections may take to end once everything is handed over, or the linger time is up.
const FINISH: Duration = Duration::from_secs(1);

/// Refusals told within [`TELLING_SPAN`], at most.
const REFUSALS_TOLD: usize = 32;

/// See [`REFUSALS_TOLD`].
const TELLING_SPAN: Duration = Duration::from_secs(1);

/// How far the closing of a socket has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    No,
    /// What is held is handed over, until then.
    Lingering {
        until: Instant,
        before: CloseReport,
    },
    /// Connections end.
    Finishing {
        before: CloseReport,
    },
    Done(CloseReport),
}

impl Closing {
    /// Nobody will take what arrives now.
    pub(super) fn discards(self) -> bool {
        self != Self::No
    }
}

/// What became of the messages that a socket held when it was closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// Handed to links to the last byte, while closing. At-least-once: acknowledged.
    pub handed_over: Usage,
    /// Not handed over: no peer came, or a peer did not read in time. At-least-once: not acknowledged. What was given
    /// up while closing, as undeliverable or expired, is included.
    pub dropped: Usage,
}

impl Socket {
    /// Lets messages flow to and from a peer that has introduced itself.
    pub(super) fn open(&mut self, id: ConnectionId) {
        let Some(link) = self.links.get_mut(id.0).filter(|link| link.ending.is_none()) else { return };
        link.connection.establish(self.now);
        link.open_since = Some(self.now);
        link.waits_for_holder = None;
        let (Some(identity), Some(protocol)) = (link.identity(), link.connection.protocol()) else { return };
        // The introduction is over: nobody need look at it any more.
        self.timers.disarm(TimerKey::Connection(id), &mut link.armed);
        self.router.open += 1;
        self.metrics.connected += 1;
        let (origin, address) = (link.origin, link.address.clone());
        self.events.push(Event::Connected { connection: id, identity, address, origin, protocol });
        if self.config.send_mode == SendMode::Publish {
            self.router.log.subscribe(id, &mut link.subscription);
        }
        self.peers.arrive(identity, id);
        self.release_held(identity);
        if let Origin::Dialled(dial) = origin
            && let Some(dial) = self.dials.get_mut(dial.0)
        {
            dial.opened(protocol);
        }
        self.enter_ring(id);
        self.drain_queue();
        self.mark_ready(id);
        self.rearm(id);
    }

    /// An accepted connection is past its handshake, or gone.
    pub(super) fn end_handshake(&mut self, id: ConnectionId) {
        if let Some(link) = self.links.get_mut(id.0)
            && core::mem::take(&mut link.handshaking)
        {
            self.metrics.handshakes -= 1;
            self.announce_accept();
        }
    }

    pub(super) fn announce_accept(&mut self) {
        if self.accept_wanted && self.wants_accept() {
            self.accept_wanted = false;
            self.ready.push_back(Ready::Accept);
        }
    }

    /// Ends a connection at once.
    pub(super) fn abort(&mut self, id: ConnectionId, reason: CloseReason) {
        let Some(link) = self.links.get_mut(id.0) else { return };
        link.dead = true;
        self.unroute(id, reason);
        self.mark_ready(id);
    }

    /// Ends a connection when what is being written to it is written and what the peer has sent is read. One that waits
    /// for the holder of its identity is read in its turn, or what came later would be given out first.
    pub(super) fn finish(&mut self, id: ConnectionId, reason: CloseReason) {
        let waits = self.waits_for_turn(id) && !self.is_finishing();
        let Some(link) = self.links.get_mut(id.0).filter(|link| link.ending.is_none()) else { return };
        if link.connection.is_unanswered() {
            link.dead = true;
        } else if !waits {
            link.connection.finish(self.now);
        }
        self.unroute(id, reason);
        self.mark_ready(id);
        self.rearm(id);
    }

    /// Leaves it to the peer to end a connection that neither of us wants.
    pub(super) fn yield_to_peer(&mut self, id: ConnectionId, reason: CloseReason) {
        let Some(link) = self.links.get_mut(id.0).filter(|link| link.ending.is_none()) else { return };
        link.connection.yield_to_peer(self.now);
        self.unroute(id, reason);
        self.mark_ready(id);
        self.rearm(id);
    }

    /// Stops giving messages to a connection, and finds new places for those that wait there. What is being written is
    /// left to be written, or to come back with the end of the link.
    fn unroute(&mut self, id: ConnectionId, reason: CloseReason) {
        let Some(link) = self.links.get_mut(id.0).filter(|link| link.ending.is_none()) else { return };
        let was_open = link.is_open();
        link.ending = Some(reason);
        let identity = link.identity();
        let mut returned = link.connection.take_queue();
        if was_open {
            self.router.open -= 1;
            if self.config.send_mode == SendMode::Publish {
                let missed = self.router.log.missed(id, &link.subscription);
                self.metrics.dropped_slow_peer.add(missed);
                returned.append(&mut self.router.log.unsubscribe(id, &mut link.subscription));
                self.timers.disarm(TimerKey::SlowPeer(id), &mut link.slow);
            }
        }
        self.give_back(identity, returned);
        self.drain_queue();
        // Whoever was refused because of this subscriber may try again.
        self.announce_if_room();
    }

    /// A link is gone: finds new places for what was not written, and lets those go on who waited for its end.
    pub(super) fn handle_gone(&mut self, id: ConnectionId, batch: &mut Batch, reason: CloseReason) {
        self.unroute(id, reason);
        self.end_handshake(id);
        let Some(link) = self.links.get_mut(id.0) else { return };
        let settled = link.connection.settle(self.now, batch);
        self.note_settled(id, settled);
        let mut returned = self.take_unacknowledged(id);
        returned.append(&mut batch.take_unsent());
        let Some(mut link) = self.links.remove(id.0) else { return };
        self.give_back(link.identity(), returned);
        self.timers.disarm(TimerKey::Connection(id), &mut link.armed);
        self.receiver.forget(id, &mut link);
        self.leave_ring(link.in_ring);
        let reason = link.ending.unwrap_or(reason);
        let identity = link.identity();
        if link.open_since.is_some() {
            self.tell_disconnected(id, &link.address, identity, reason);
        } else {
            self.tell_refused(link.address.clone(), identity, reason);
        }
        if let Some(identity) = identity {
            self.vacate(identity, id);
        }
        if let Origin::Dialled(dial) = link.origin {
            let held = identity.is_some_and(|identity| self.peers.holder(identity).is_some());
            self.end_dial(dial, Outcome { reason, peer: identity, held, open_since: link.open_since });
        }
        self.resume();
        self.drain_queue();
        self.announce_accept();
        self.check_closing();
    }

    fn tell_disconnected(
        &mut self,
        id: ConnectionId,
        address: &alloc::sync::Arc<str>,
        identity: Option<Identity>,
        reason: CloseReason,
    ) {
        self.metrics.disconnected += 1;
        let Some(identity) = identity else { return };
        self.events.push(Event::Disconnected { connection: id, identity, address: address.clone(), reason });
    }

    /// Tells of a connection that came to nothing, unless there are too many of them.
    fn tell_refused(
        &mut self,
        address: alloc::sync::Arc<str>,
        identity: Option<Identity>,
        reason: CloseReason,
    ) {
        self.metrics.refused += 1;
        let told = &mut self.refusals_told;
        if told.front().is_some_and(|oldest| self.now.saturating_duration_since(*oldest) >= TELLING_SPAN) {
            told.pop_front();
        }
        if told.len() < REFUSALS_TOLD {
            told.push_back(self.now);
            self.events.push(Event::Refused { address, identity, reason });
        }
    }

    /// A connection that showed `identity` is gone: if it had it, the newcomer that waits gets it, or parked dials go
    /// on.
    fn vacate(&mut self, identity: Identity, id: ConnectionId) {
        let Some(peer) = self.peers.get_mut(identity) else { return };
        peer.newcomers.retain(|newcomer| *newcomer != id);
        if peer.connection != Some(id) {
            return;
        }
        let newcomer = peer.newcomers.pop_front();
        self.peers.depart(identity, self.now + self.config.peer_retention);
        if let Some(newcomer) = newcomer {
            self.take_turn(newcomer, identity);
        }
        if self.peers.holder(identity).is_some() {
            return;
        }
        self.arm_departure();
        for dial in parked_on(&self.dials, identity) {
            self.start_dial(dial);
        }
    }

    /// The holder that a connection has waited for is gone: it opens, or is read to its end.
    fn take_turn(&mut self, id: ConnectionId, identity: Identity) {
        let Some(link) = self.links.get_mut(id.0) else { return };
        if link.ending.is_none() {
            return self.open(id);
        }
        link.connection.finish(self.now);
        self.peers.arrive(identity, id);
        self.mark_ready(id);
        self.rearm(id);
    }

    pub(super) fn arm_departure(&mut self) {
        let next = if self.peers.is_over_bound() { Some(self.now) } else { self.peers.next_expiry() };
        if let Some(at) = next {
            self.timers.arm(TimerKey::Departure, &mut self.departure, at);
        }
    }

    /// Reports what waited for peers that did not come back in time.
    pub(super) fn expire_departed(&mut self) {
        while let Some((identity, mut peer)) = self.peers.expire(self.now) {
            let dropped = self.end_undeliverable(&peer.take_held());
            self.seen.forget_peer(identity);
            if !dropped.is_empty() {
                self.metrics.dropped_undeliverable.add(dropped);
                self.events.push(Event::Undeliverable { identity, dropped });
                self.release(dropped);
            }
            if peer.wants_room {
                self.ready.push_back(Ready::PeerRoom(identity));
            }
        }
        self.arm_departure();
        self.check_closing();
    }

    /// The connection of a dial ended, or did not come to be.
    pub(super) fn end_dial(&mut self, id: DialId, outcome: Outcome) {
        if matches!(self.closing, Closing::Finishing { .. } | Closing::Done(_)) {
            return;
        }
        let Some(dial) = self.dials.get_mut(id.0) else { return };
        let next = dial.ended(outcome, self.now, &self.config, &mut self.rng);
        let (address, cause) = (dial.address.clone(), dial.cause.take());
        match next {
            Next::Now => self.start_dial(id),
            Next::After { failures, delay } => {
                self.timers.arm(TimerKey::Dial(id), &mut dial.armed, self.now + delay);
                let reason = outcome.reason;
                self.events.push(Event::Retrying { dial: id, address, failures, delay, reason, cause });
            }
            Next::Parked => {}
            Next::GivenUp => self.events.push(Event::GivenUp { dial: id, address, reason: outcome.reason }),
        }
    }

    /// Ends the socket: no message is accepted any more, what is held is handed over for up to `linger`, then all
    /// connections end, within a second. [`Ready::Closed`] tells that it is done. Messages that arrive meanwhile are
    /// counted and dropped. A second call can only shorten the time.
    pub fn close(&mut self, now: Instant, linger: Duration) {
        self.advance(now);
        let until = self.now + linger;
        self.closing = match self.closing {
            Closing::No => Closing::Lingering { until, before: self.tally() },
            Closing::Lingering { until: earlier, before } => {
                Closing::Lingering { until: earlier.min(until), before }
            }
            Closing::Finishing { .. } | Closing::Done(_) => return,
        };
        self.announce_room();
        self.receiver.awaiting.forget_deadlines();
        self.resume_all();
        self.timers.arm(TimerKey::Close, &mut self.close_timer, until);
        self.check_closing();
    }

    /// Whether everything is handed over that will be, and connections only end.
    pub fn is_finishing(&self) -> bool {
        matches!(self.closing, Closing::Finishing { .. } | Closing::Done(_))
    }

    /// What became of the messages that were held; `None` until the socket has closed.
    pub const fn close_report(&self) -> Option<CloseReport> {
        match self.closing {
            Closing::Done(report) => Some(report),
            Closing::No | Closing::Lingering { .. } | Closing::Finishing { .. } => None,
        }
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closing(&self) -> bool {
        self.closing != Closing::No
    }

    /// Goes on with closing as far as things have come.
    pub(super) fn check_closing(&mut self) {
        if let Closing::Lingering { until, before } = self.closing
            && (self.router.held.is_empty() || until <= self.now)
        {
            self.closing = Closing::Finishing { before };
            self.timers.disarm(TimerKey::Close, &mut self.close_timer);
            self.timers.arm(TimerKey::Close, &mut self.close_timer, self.now + FINISH);
            for (key, mut dial) in self.dials.drain() {
                self.timers.disarm(TimerKey::Dial(DialId(key)), &mut dial.armed);
            }
            let links: alloc::vec::Vec<ConnectionId> = self.links.keys().map(ConnectionId).collect();
            for id in links {
                self.finish(id, CloseReason::SocketClosed);
            }
        }
        if let Closing::Finishing { before } = self.closing
            && self.links.is_empty()
        {
            self.complete_close(before);
        }
    }

    /// What was handed over and what was given up, ever.
    const fn tally(&self) -> CloseReport {
        let metrics = &self.metrics;
        let (mut handed_over, mut dropped) = (metrics.handed_over, metrics.dropped_undeliverable);
        handed_over.add(metrics.acknowledged);
        dropped.add(metrics.dropped_expired);
        CloseReport { handed_over, dropped }
    }

    fn complete_close(&mut self, before: CloseReport) {
        let mut report = self.tally();
        report.handed_over.sub(before.handed_over);
        report.dropped.sub(before.dropped);
        report.dropped.add(self.router.held);
        self.metrics.dropped_at_close.add(self.router.held);
        self.router.held = Usage::default();
        self.router.queue.clear();
        self.deliveries.end_all(&mut self.ready);
        drop(self.peers.take_all_held());
        self.timers.disarm(TimerKey::Close, &mut self.close_timer);
        self.timers.disarm(TimerKey::Departure, &mut self.departure);
        self.standstill.disarm(&mut self.timers);
        self.timers.disarm(TimerKey::Eviction, &mut self.eviction);
        self.timers.disarm(TimerKey::LateAcknowledgement, &mut self.late_acknowledgement);
        self.closing = Closing::Done(report);
        self.ready.push_back(Ready::Closed);
    }

    /// The time for handing over, or for ending the connections, is up.
    pub(super) fn handle_close_timeout(&mut self) {
        if matches!(self.closing, Closing::Finishing { .. }) {
            let links: alloc::vec::Vec<ConnectionId> = self.links.keys().map(ConnectionId).collect();
            for id in links {
                self.abort(id, CloseReason::SocketClosed);
            }
        }
        self.check_closing();
    }
}
