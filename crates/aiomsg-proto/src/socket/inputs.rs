//! What happened outside.

use alloc::sync::Arc;
use core::time::Duration;

use bytes::BytesMut;

use super::dials::{DialState, Outcome};
use super::link::Link;
use super::{Socket, TimerKey};
use crate::batch::Batch;
use crate::connection::{Connection, LATE, Role};
use crate::error::{CloseReason, ConnectionRefused};
use crate::event::Origin;
use crate::id::{ConnectionId, DialId};
use crate::time::Instant;

/// At the bound of unfinished handshakes, those that have shown nothing for this long give way.
const EVICTION_AGE: Duration = Duration::from_secs(1);

/// Entries of handshakes that are over, beside as many as there are others, before they are taken out.
const INTRODUCTION_SLACK: usize = 64;

impl Socket {
    /// A connection has come to be: accepted, or made for a dial. `address` is the peer's, for events.
    ///
    /// # Errors
    /// [`ConnectionRefused`]: the caller closes it, and the core keeps nothing of it.
    pub fn handle_connected(
        &mut self,
        now: Instant,
        origin: Origin,
        address: impl Into<Arc<str>>,
    ) -> Result<ConnectionId, ConnectionRefused> {
        self.advance(now);
        if self.is_finishing() {
            return Err(ConnectionRefused::Closed);
        }
        let (role, started) = match origin {
            Origin::Accepted => (Role::Accepted, self.now),
            Origin::Dialled(dial) => {
                let dial = self.dials.get(dial.0).filter(|dial| dial.state == DialState::Connecting);
                let dial = dial.ok_or(ConnectionRefused::NotDialled)?;
                (Role::Dialled(self.config.dialect.opening(dial.spoke)), dial.started)
            }
        };
        if !self.has_place(origin) {
            return Err(ConnectionRefused::Limit);
        }
        let mut connection =
            Connection::assemble(self.config.clone(), self.identity, role, self.ids, self.now);
        connection.started_at(started, self.now);
        let id = ConnectionId(self.links.insert(Link::new(connection, origin, address.into())));
        match origin {
            Origin::Accepted => self.note_introduction(id),
            Origin::Dialled(dial) => self.set_dial_state(dial, DialState::Connected(id)),
        }
        self.mark_ready(id);
        self.rearm(id);
        Ok(id)
    }

    fn set_dial_state(&mut self, id: DialId, state: DialState) {
        if let Some(dial) = self.dials.get_mut(id.0) {
            dial.state = state;
        }
    }

    /// Whether a further connection has a place. A dial that finds none is tried again later.
    fn has_place(&mut self, origin: Origin) -> bool {
        match origin {
            Origin::Accepted => {
                let place = self.wants_accept();
                self.accept_wanted |= !place;
                if !place {
                    self.evict();
                }
                place
            }
            Origin::Dialled(dial) => {
                let place = self.links.len() < self.config.max_connections;
                if !place {
                    self.fail_dial(dial);
                }
                place
            }
        }
    }

    /// Counts an accepted connection that is to introduce itself.
    fn note_introduction(&mut self, id: ConnectionId) {
        self.metrics.handshakes += 1;
        self.introductions.push_back((self.now, id));
        // Those that are over are taken out once they are most of all.
        if self.introductions.len() > 2 * self.metrics.handshakes + INTRODUCTION_SLACK {
            let links = &self.links;
            self.introductions.retain(|(_, id)| links.get(id.0).is_some_and(|link| link.handshaking));
        }
        if !self.wants_accept() {
            self.evict();
        }
    }

    /// Closes connections that take up a place and have shown nothing for too long, or makes sure that this is done
    /// when they have.
    fn evict(&mut self) {
        while let Some((since, id)) = self.introductions.front().copied() {
            let handshaking =
                self.links.get(id.0).is_some_and(|link| link.handshaking && link.connection.is_introducing());
            if handshaking && self.now.saturating_duration_since(since) < EVICTION_AGE {
                self.timers.arm(TimerKey::Eviction, &mut self.eviction, since + EVICTION_AGE);
                return;
            }
            self.introductions.pop_front();
            if handshaking {
                self.abort(id, CloseReason::Evicted);
            }
        }
    }

    /// Bytes have come from a peer and stand in `buffer`, behind those that were left there the last time. What can be
    /// taken is taken off its front. The rest stays, and belongs to the caller, who may only append to it.
    ///
    /// Call it also, without new bytes, when [`Ready::Connection`](crate::Ready::Connection) came and bytes are left.
    pub fn handle_received(&mut self, now: Instant, id: ConnectionId, buffer: &mut BytesMut) {
        self.advance(now);
        let Some(link) = self.links.get(id.0).filter(|link| !link.dead) else {
            buffer.clear();
            return;
        };
        let news = link.connection.is_news(buffer.len());
        if let Err(reason) = self.receive(id, buffer) {
            buffer.clear();
            self.abort(id, reason);
            return;
        }
        let Some(link) = self.links.get(id.0) else { return };
        if news && link.probed_until.is_some() {
            self.refuse_newcomer(id);
        }
        self.offer(id);
        // Acknowledgements may have been all that was awaited.
        self.check_closing();
    }

    /// Has a connection written to, if it has something to write, and takes note of its deadline.
    fn offer(&mut self, id: ConnectionId) {
        if self.links.get(id.0).is_some_and(|link| link.connection.wants_batch()) {
            self.mark_ready(id);
        }
        self.rearm(id);
    }

    /// The link took bytes of `batch`, as noted by [`Batch::advance`]: all of them, or some.
    pub fn handle_transmitted(&mut self, now: Instant, id: ConnectionId, batch: &mut Batch) {
        self.advance(now);
        let Some(link) = self.links.get_mut(id.0) else { return };
        let settled = link.connection.settle(self.now, batch);
        self.note_settled(id, settled);
        self.offer_more(id);
        self.check_closing();
    }

    /// As [`offer`](Self::offer), and messages that wait in the log count.
    fn offer_more(&mut self, id: ConnectionId) {
        let Some(link) = self.links.get(id.0) else { return };
        if link.is_open()
            && link.connection.may_fill_batch()
            && self.router.log.has_waiting(&link.subscription)
        {
            self.mark_ready(id);
        }
        self.offer(id);
    }

    /// The link is gone, closed by the peer, by us or by a failure; `batch` is the one that was being written, if any.
    /// Messages whose last byte was not taken are sent elsewhere or kept, and at-least-once those that were not
    /// acknowledged; published copies that other subscribers have are dropped and counted. If the core had decided to
    /// end the connection, events carry the core's reason; otherwise `reason`.
    pub fn handle_disconnected(
        &mut self,
        now: Instant,
        id: ConnectionId,
        batch: &mut Batch,
        reason: CloseReason,
    ) {
        self.advance(now);
        self.handle_gone(id, batch, reason);
    }

    /// The attempt to connect a dial failed. It is made again after a delay. `cause` says why, for events.
    pub fn handle_dial_failed(&mut self, now: Instant, id: DialId, cause: impl Into<Arc<str>>) {
        self.advance(now);
        let dial = self.dials.get_mut(id.0).filter(|dial| dial.state == DialState::Connecting);
        if let Some(dial) = dial {
            dial.cause = Some(cause.into());
        }
        self.fail_dial(id);
    }

    fn fail_dial(&mut self, id: DialId) {
        if self.dials.get(id.0).is_some_and(|dial| dial.state == DialState::Connecting) {
            let reason = CloseReason::ConnectFailed;
            self.end_dial(id, Outcome { reason, peer: None, held: false, open_since: None });
        }
    }

    /// Does what is due. Calls that are early, late or repeated are safe.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        while let Some(key) = self.timers.pop_due(self.now) {
            match key {
                TimerKey::Connection(id) => self.handle_connection_timeout(id),
                TimerKey::Dial(id) => self.handle_dial_timeout(id),
                TimerKey::SlowPeer(id) => self.handle_slow_timeout(id),
                TimerKey::Resend(id) => {
                    if let Some(link) = self.links.get_mut(id.0) {
                        link.unacknowledged.armed.fired();
                    }
                    self.handle_resend_timeout(id);
                    self.check_closing();
                }
                TimerKey::LateAcknowledgement => {
                    self.late_acknowledgement.fired();
                    self.acknowledge_late();
                }
                TimerKey::Standstill => self.handle_standstill_timeout(),
                TimerKey::Departure => {
                    self.departure.fired();
                    self.expire_departed();
                }
                TimerKey::Eviction => {
                    self.eviction.fired();
                    if !self.wants_accept() {
                        self.evict();
                    }
                }
                TimerKey::Close => {
                    self.close_timer.fired();
                    self.handle_close_timeout();
                }
            }
        }
    }

    fn handle_connection_timeout(&mut self, id: ConnectionId) {
        let Some(link) = self.links.get_mut(id.0) else { return };
        link.armed.fired();
        if link.dead {
            return;
        }
        if let Err(reason) = link.connection.handle_timeout(self.now) {
            self.abort(id, reason);
            return;
        }
        if link.connection.wants_half_close() {
            self.mark_ready(id);
        }
        self.displace_holder(id);
        self.offer(id);
    }

    fn handle_dial_timeout(&mut self, id: DialId) {
        let Some(dial) = self.dials.get_mut(id.0) else { return };
        dial.armed.fired();
        if let DialState::Waiting(until) = dial.state {
            if until <= self.now {
                self.start_dial(id);
            } else {
                self.timers.arm(TimerKey::Dial(id), &mut dial.armed, until);
            }
        }
    }

    /// Publishing has waited for a subscriber: if it still does, for too long, the subscriber is disconnected.
    fn handle_slow_timeout(&mut self, id: ConnectionId) {
        let patience = self.patience();
        let waited_for = self.links.get(id.0).is_some_and(|link| self.is_waited_for(link));
        let Some(link) = self.links.get_mut(id.0) else { return };
        link.slow.fired();
        match link.blocking_until.filter(|_| waited_for) {
            Some(until) if self.now.saturating_duration_since(until) > LATE => {
                // The machine slept: what the subscriber has read meanwhile is noticed first.
                link.blocking_until = Some(self.now + LATE);
                self.timers.arm(TimerKey::SlowPeer(id), &mut link.slow, self.now + LATE);
            }
            Some(until) if until <= self.now => {
                let moved = link.moved_at + patience;
                if moved > self.now {
                    link.blocking_until = Some(moved);
                    self.timers.arm(TimerKey::SlowPeer(id), &mut link.slow, moved);
                } else {
                    self.abort(id, CloseReason::SlowPeer);
                }
            }
            Some(until) => self.timers.arm(TimerKey::SlowPeer(id), &mut link.slow, until),
            None => link.blocking_until = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::identity::Identity;

    #[test]
    fn connections_that_are_gone_leave_nothing_behind_one_that_is_slow() {
        let mut now = Instant::EPOCH;
        let config = Config::default().handshake_timeout(Duration::from_secs(3_600));
        let mut socket = Socket::new(config, Identity::from_bytes([1; 16]), 1, now).expect("valid");
        let _slow = socket.handle_connected(now, Origin::Accepted, "slow").expect("a place");
        for _ in 0..10_000 {
            now = now + Duration::from_millis(1);
            let link = socket.handle_connected(now, Origin::Accepted, "peer").expect("a place");
            socket.handle_disconnected(now, link, &mut Batch::default(), CloseReason::PeerClosed);
        }
        assert!(socket.introductions.len() <= 2 + INTRODUCTION_SLACK, "{}", socket.introductions.len());
    }
}
