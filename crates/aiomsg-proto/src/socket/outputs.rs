//! What to do next.

use super::link::LinkState;
use super::{Ready, Socket};
use crate::batch::Batch;
use crate::budget::Usage;
use crate::event::Event;
use crate::id::{ConnectionId, DialId};
use crate::inbox::Inbox;
use crate::time::Instant;

impl Socket {
    /// Whether [`poll_ready`](Self::poll_ready) or [`poll_event`](Self::poll_event) has something: most messages that are
    /// sent change nothing that anybody has to do.
    #[inline]
    pub fn has_output(&self) -> bool {
        !self.ready.is_empty() || !self.events.is_empty()
    }

    /// The next thing to do. Each is queued once, until it is returned here.
    #[must_use]
    pub fn poll_ready(&mut self) -> Option<Ready> {
        let ready = self.ready.pop_front()?;
        match ready {
            Ready::Connection(id) => {
                if let Some(link) = self.links.get_mut(id.0) {
                    link.ready = false;
                }
            }
            Ready::Dial(id) => {
                if let Some(dial) = self.dials.get_mut(id.0) {
                    dial.ready = false;
                }
            }
            Ready::Received
            | Ready::Room
            | Ready::PeerRoom(_)
            | Ready::Accept
            | Ready::Receipt
            | Ready::Closed => {}
        }
        Some(ready)
    }

    /// What happened, oldest first. Up to 1,024 events wait; then the oldest give way to [`Event::Lagged`].
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called, if nothing else is called before.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first()
    }

    /// Fills `batch` with what is to be written to a connection next, if it is empty; returns whether there is
    /// something to write. One batch belongs to one connection.
    pub fn transmit(&mut self, now: Instant, id: ConnectionId, batch: &mut Batch) -> bool {
        self.advance(now);
        if !batch.is_empty() {
            return true;
        }
        let Some(link) = self.links.get(id.0).filter(|link| !link.dead) else { return false };
        if !link.connection.wants_transmit() && !self.router.log.has_waiting(&link.subscription) {
            return false;
        }
        self.feed(id);
        if self.drop_stale(id) {
            self.use_room(id);
        }
        let Some(link) = self.links.get_mut(id.0) else { return false };
        let filled = link.connection.transmit(batch);
        if filled {
            self.use_room(id);
        }
        filled
    }

    /// Less waits at a connection than did: lets others take the room.
    fn use_room(&mut self, id: ConnectionId) {
        let Some(identity) = self.links.get(id.0).and_then(|link| link.identity()) else { return };
        self.enter_ring(id);
        self.drain_queue();
        self.announce_peer_room(identity);
    }

    /// What the driver of a connection is to do with it.
    pub fn link_state(&self, id: ConnectionId) -> LinkState {
        self.links.get(id.0).map_or(LinkState::Close, super::Link::state)
    }

    /// Whether a connection is to end: what the peer still sends is read for a second or two, and no longer.
    pub fn is_ending(&self, id: ConnectionId) -> bool {
        self.links.get(id.0).is_none_or(|link| link.ending.is_some())
    }

    /// Whether the peer of a connection has introduced itself, and was accepted.
    pub fn is_established(&self, id: ConnectionId) -> bool {
        self.links.get(id.0).is_some_and(|link| link.connection.is_established())
    }

    /// How many bytes may be read from a connection now, when `buffered` ones stand in its buffer already. Zero: do not
    /// read, until [`Ready::Connection`] comes.
    pub fn wants_read(&self, id: ConnectionId, buffered: &[u8]) -> usize {
        match self.links.get(id.0) {
            Some(link) if !link.dead && link.paused.is_none() => link.connection.wants_read(buffered),
            Some(_) | None => 0,
        }
    }

    /// Whether acknowledgements are awaited of messages that are bound to this connection, those that still wait there
    /// included.
    pub fn awaits_acknowledgement(&self, id: ConnectionId) -> bool {
        self.links.get(id.0).is_some_and(|link| link.unacknowledged.bound() > 0)
    }

    /// Messages that were received and not taken yet, as [`Metrics::receive_held`](crate::Metrics::receive_held) says.
    pub fn receive_held(&self) -> Usage {
        self.receiver.held()
    }

    /// Whether a connection is not read until messages have been taken. Otherwise [`poll_received`](Self::poll_received) may
    /// be told the time of the latest event, and no clock has to be read for it.
    pub fn is_holding_back(&self) -> bool {
        self.receiver.has_paused()
    }

    /// Hands received messages over: all there are, if `inbox` is empty. Settles what was taken out of it since the last
    /// call, which may let reading go on; so call it now and then, and when the inbox is empty. Returns whether the
    /// inbox has messages.
    pub fn poll_received(&mut self, now: Instant, inbox: &mut Inbox) -> bool {
        self.advance(now);
        self.exchange(inbox)
    }

    /// Whether a further connection may be accepted. If not, [`Ready::Accept`] comes when it may.
    pub fn poll_accept(&mut self) -> bool {
        let wanted = self.wants_accept();
        self.accept_wanted |= !wanted;
        wanted
    }

    pub(super) fn wants_accept(&self) -> bool {
        !self.is_finishing()
            && self.metrics.handshakes < self.config.max_handshakes
            && self.links.len() < self.config.max_connections
    }

    /// The address of a dial, as it was given; `None` once it is withdrawn.
    pub fn dial_address(&self, dial: DialId) -> Option<&str> {
        self.dials.get(dial.0).map(|dial| &*dial.address)
    }
}
