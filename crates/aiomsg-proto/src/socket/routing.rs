//! Who gets a message, and where messages go that come back.

use alloc::collections::{BTreeSet, VecDeque};
use core::time::Duration;

use bytes::Bytes;

use super::link::Link;
use super::publish::{Abandoned, Log};
use super::{Ready, Socket, TimerKey};
use crate::budget::Usage;
use crate::config::{SendMode, SlowPeer};
use crate::error::CloseReason;
use crate::event::Event;
use crate::frames::Settled;
use crate::id::ConnectionId;
use crate::identity::Identity;
use crate::outgoing::{self, Heading, Outgoing, Route};

/// A subscriber has at least so long from when it came to take some of what it was given, before it is disconnected for being
/// slow; and with [`SlowPeer::Disconnect`], while messages wait that were published when nobody was there.
const BACKLOG_PATIENCE: Duration = Duration::from_secs(1);

/// The messages that are bound to no peer, and who is next.
#[derive(Debug, Default)]
pub(super) struct Router {
    /// Messages that wait for a peer that can take them.
    pub(super) queue: VecDeque<Outgoing>,
    /// Under round-robin, the connections that can take a message, the next one first. Those that ended meanwhile or
    /// are full are taken out when their turn comes.
    ring: VecDeque<ConnectionId>,
    /// Connections in the ring that have ended.
    stale: usize,
    pub(super) log: Log,
    /// All that is held for sending.
    pub(super) held: Usage,
    /// Open connections.
    pub(super) open: usize,
    /// A sender was refused since the send buffer was full, and wants to know when there is room.
    pub(super) room_wanted: bool,
    /// A sender was refused since publishing waits for subscribers, and wants to know when it goes on: the length of the
    /// message, of the shortest if there are several.
    pub(super) held_up: Option<usize>,
}

impl Socket {
    /// Gives a message to the next peer that can take it, or keeps it for one.
    #[inline]
    pub(super) fn route(&mut self, heading: Heading, payload: &mut Bytes) {
        if self.router.queue.is_empty()
            && let Some(id) = self.next_in_ring(payload.len())
        {
            self.push_to(id, heading, payload);
        } else {
            // Put together anew: what was written just now is waited for when it is copied as a whole.
            let heading = Heading { route: Route::Any, ..heading };
            self.router.queue.push_back(Outgoing { payload: core::mem::take(payload), heading });
        }
    }

    /// The next connection that can take a message of `bytes` bytes; it goes to the end of the ring.
    #[inline]
    fn next_in_ring(&mut self, bytes: usize) -> Option<ConnectionId> {
        loop {
            let id = *self.router.ring.front()?;
            match self.links.get_mut(id.0) {
                Some(link) if link.takes(&self.config, bytes) => {
                    if self.router.ring.len() > 1 {
                        self.router.ring.rotate_left(1);
                    }
                    return Some(id);
                }
                Some(link) => link.in_ring = false,
                None => self.router.stale = self.router.stale.saturating_sub(1),
            }
            self.router.ring.pop_front();
        }
    }

    #[inline(always)]
    pub(super) fn push_to(&mut self, id: ConnectionId, mut heading: Heading, payload: &mut Bytes) {
        let tracked = self.is_tracked(heading);
        let Some(link) = self.links.get_mut(id.0) else { return };
        let payload = if tracked {
            let Some(kept) = self.deliveries.bind(id, link, &mut heading, payload) else { return };
            kept
        } else {
            payload
        };
        // One that has something to write has been told of, or is told of when its batch is written.
        let told = !link.connection.is_idle();
        link.connection.push(heading, payload);
        if !told && !core::mem::replace(&mut link.ready, true) {
            self.ready.push_back(Ready::Connection(id));
        }
    }

    /// Gives a message to one peer, or keeps it until the peer is back.
    pub(super) fn route_to(&mut self, identity: Identity, message: Outgoing) {
        let tracked = self.is_tracked(message.heading);
        let open =
            self.peers.holder(identity).filter(|id| self.links.get(id.0).is_some_and(|link| link.is_open()));
        let Some(id) = open else {
            if let Some(peer) = self.peers.get_mut(identity) {
                peer.hold(message);
            }
            return;
        };
        let Some(link) = self.links.get_mut(id.0) else { return };
        let behind = self.peers.get(identity).is_some_and(|peer| !peer.held().is_empty());
        if behind || (tracked && link.unacknowledged.bound() >= self.config.window) {
            if let Some(peer) = self.peers.get_mut(identity) {
                peer.hold(message);
            }
        } else {
            self.push_behind(id, message);
        }
    }

    /// Gives a message for this peer alone to its connection, behind all that waits there.
    fn push_behind(&mut self, id: ConnectionId, mut message: Outgoing) {
        let tracked = self.is_tracked(message.heading);
        let Some(link) = self.links.get_mut(id.0) else { return };
        if !self.router.log.has_waiting(&link.subscription) {
            return self.push_to(id, message.heading, &mut message.payload);
        }
        if tracked {
            let mut kept = message.payload.clone();
            if self.deliveries.bind(id, link, &mut message.heading, &mut kept).is_none() {
                return;
            }
        }
        self.router.log.push_direct(&mut link.subscription, message);
        self.mark_ready(id);
    }

    /// Lets messages that wait for a peer that is there go to it, as far as its window allows.
    pub(super) fn release_held(&mut self, identity: Identity) {
        let Some(id) = self.peers.holder(identity) else { return };
        loop {
            let Some(link) = self.links.get(id.0).filter(|link| link.is_open()) else { return };
            if link.unacknowledged.bound() >= self.config.window {
                return;
            }
            let Some(message) = self.peers.get_mut(identity).and_then(super::peers::Peer::take_next) else {
                return;
            };
            if self.deliveries.is_wanted(&message) {
                self.push_behind(id, message);
            }
        }
    }

    /// What waits for one peer alone, there or not; `None` if it was never there.
    pub(super) fn queued_for(&self, identity: Identity) -> Option<Usage> {
        let peer = self.peers.get(identity)?;
        let mut queued = peer.held();
        if let Some(link) = peer.connection.and_then(|id| self.links.get(id.0)) {
            queued.add(link.connection.queued());
            queued.add(link.subscription.direct_usage());
        }
        Some(queued)
    }

    /// Publishes a message, behind those that wait.
    pub(super) fn publish(&mut self, message: Outgoing) {
        self.router.queue.push_back(message);
        if self.router.queue.len() == 1 {
            self.publish_front(true);
        } else {
            self.drain_queue();
        }
    }

    /// Whether publishing a message of `bytes` bytes has to wait for a slow subscriber.
    pub(super) fn is_blocked(&mut self, bytes: usize) -> bool {
        if !self.config.waits_for_slow_peers() {
            return false;
        }
        let full = self.router.log.full_for(bytes);
        self.wait_for(&full);
        !full.is_empty()
    }

    /// How long a subscriber that is waited for may take nothing.
    pub(super) fn patience(&self) -> Duration {
        match self.config.slow_peer {
            SlowPeer::Block(patience) => patience,
            SlowPeer::DropNewest | SlowPeer::DropOldest | SlowPeer::Disconnect => BACKLOG_PATIENCE,
        }
    }

    /// Gives subscribers that are full so much time from now on, or from when they have been waited for.
    fn wait_for(&mut self, full: &BTreeSet<ConnectionId>) {
        let until = self.now + self.patience();
        for id in full {
            if let Some(link) = self.links.get_mut(id.0)
                && link.blocking_until.is_none()
            {
                // What waited for it may fill its queue before anything could be written to it.
                let at_least = link.open_since.map_or(until, |since| since + BACKLOG_PATIENCE);
                let until = until.max(at_least);
                link.blocking_until = Some(until);
                self.timers.arm(TimerKey::SlowPeer(*id), &mut link.slow, until);
            }
        }
    }

    /// Publishes the message at the front of the queue; false if it must wait. A `fresh` one is missed by subscribers
    /// that are full; one that has waited goes on waiting until somebody can take it.
    fn publish_front(&mut self, fresh: bool) -> bool {
        if self.router.open == 0 {
            return false;
        }
        let Some(bytes) = self.router.queue.front().map(|message| message.payload.len()) else {
            return false;
        };
        let full = self.router.log.full_for(bytes);
        if self.must_wait_for(&full, fresh) {
            return false;
        }
        let ends_some = self.config.slow_peer == SlowPeer::Disconnect && !full.is_empty();
        for id in full {
            self.handle_full(id, bytes);
        }
        if ends_some {
            // What they left goes first, and the queue was drained as far as it goes.
            return true;
        }
        let Some(message) = self.router.queue.pop_front() else { return false };
        match self.router.log.append(message) {
            Ok(woken) => {
                for id in &woken {
                    if let Some(link) = self.links.get_mut(id.0) {
                        self.router.log.mark(*id, &mut link.subscription, self.config.subscriber_queue());
                    }
                }
                self.mark_all_ready(woken);
            }
            Err(missed_by_all) => self.release(missed_by_all.usage()),
        }
        true
    }

    /// Whether the message at the front of the queue waits for subscribers that are full.
    fn must_wait_for(&mut self, full: &BTreeSet<ConnectionId>, fresh: bool) -> bool {
        match self.config.slow_peer {
            SlowPeer::Block(_) => {
                self.wait_for(full);
                !full.is_empty()
            }
            SlowPeer::Disconnect if !fresh => {
                // Who has come just now could take it at once, and would have all others disconnected, which come back
                // and do the same to that one.
                self.wait_for(full);
                !full.is_empty()
            }
            SlowPeer::DropNewest | SlowPeer::DropOldest | SlowPeer::Disconnect => {
                !fresh && full.len() >= self.router.log.following()
            }
        }
    }

    /// Does to a subscriber that is full what the policy says.
    fn handle_full(&mut self, id: ConnectionId, bytes: usize) {
        let limit = self.config.subscriber_queue();
        let Some(link) = self.links.get_mut(id.0) else { return };
        let first = link.subscription.turn_slow();
        if let Some(identity) = link.identity().filter(|_| first) {
            self.events.push(Event::SlowPeer { connection: id, identity });
        }
        match self.config.slow_peer {
            SlowPeer::DropNewest => self.router.log.stop(id, &mut link.subscription),
            SlowPeer::DropOldest => {
                let released = self.router.log.drop_oldest(id, &mut link.subscription, limit, bytes);
                self.release(released);
            }
            SlowPeer::Disconnect | SlowPeer::Block(_) => self.abort(id, CloseReason::SlowPeer),
        }
    }

    /// Moves what is to be written next to a connection's outbox, from the log.
    pub(super) fn feed(&mut self, id: ConnectionId) {
        let limit = self.config.subscriber_queue();
        let Some(link) = self.links.get_mut(id.0).filter(|link| link.is_open()) else { return };
        if !self.router.log.has_waiting(&link.subscription) {
            return;
        }
        let link = &mut *link;
        self.router.log.feed(id, &mut link.subscription, limit, &mut link.connection);
        let full = self.router.log.is_full_for(&link.subscription, self.router.held_up.unwrap_or(1));
        let caught_up = !full && link.blocking_until.take().is_some();
        if let Some(dropped) = self.router.log.recover(id, &mut link.subscription, limit) {
            self.metrics.dropped_slow_peer.add(dropped);
            if let Some(identity) = link.identity() {
                self.events.push(Event::SlowPeerRecovered { connection: id, identity, dropped });
            }
        }
        if caught_up {
            self.announce_if_room();
        }
    }

    /// Whether publishing a message of `bytes` bytes waits for some subscriber. Those that are full are waited for as a rule,
    /// so the first one tells.
    fn waits_for_subscribers(&self, bytes: usize) -> bool {
        let mut full = self.router.log.cannot_take(bytes);
        full.any(|id| self.links.get(id.0).is_some_and(|link| link.blocking_until.is_some()))
    }

    /// Whether a subscriber that publishing has waited for is still waited for.
    pub(super) fn is_waited_for(&self, link: &Link) -> bool {
        let Router { log, queue, held_up, room_wanted, .. } = &self.router;
        let first = queue.front().map(|message| message.payload.len());
        let mut lengths = held_up.iter().chain(&first);
        let fills_buffer = *room_wanted && has_unsent(log, link);
        lengths.any(|bytes| log.is_full_for(&link.subscription, *bytes)) || fills_buffer
    }

    /// Has a publisher that finds the send buffer full wait for those for whom it is kept full.
    pub(super) fn wait_for_unsent(&mut self) {
        if self.config.waits_for_slow_peers() {
            let log = &self.router.log;
            let unsent = self.links.iter().filter(|(_, link)| link.is_open() && has_unsent(log, link));
            let unsent = unsent.map(|(key, _)| ConnectionId(key)).collect();
            self.wait_for(&unsent);
        }
    }

    /// Takes a connection into the ring, if it can take messages.
    pub(super) fn enter_ring(&mut self, id: ConnectionId) {
        if self.config.send_mode != SendMode::RoundRobin {
            return;
        }
        if let Some(link) = self.links.get_mut(id.0)
            && link.is_open()
            && !link.in_ring
            && !self.config.prefetch.is_reached(link.connection.queued())
            && link.unacknowledged.bound() < self.config.window
        {
            link.in_ring = true;
            self.router.ring.push_back(id);
        }
    }

    /// Takes a connection that has ended out of the ring, sooner or later.
    pub(super) fn leave_ring(&mut self, was_in_ring: bool) {
        if was_in_ring {
            self.router.stale += 1;
        }
        if self.router.stale * 2 > self.router.ring.len() {
            let links = &self.links;
            self.router.ring.retain(|id| links.contains_key(id.0));
            self.router.stale = 0;
        }
    }

    /// Lets messages that wait go to peers, as far as these can take them.
    pub(super) fn drain_queue(&mut self) {
        if self.is_finishing() {
            return;
        }
        match self.config.send_mode {
            SendMode::RoundRobin => {
                while let Some(bytes) = self.next_wanted()
                    && let Some(id) = self.next_in_ring(bytes)
                    && let Some(message) = self.router.queue.front_mut()
                {
                    // Taken out where it stands: to move it as a whole costs as much as to line it up.
                    let (heading, mut payload) = (message.heading, core::mem::take(&mut message.payload));
                    self.push_to(id, heading, &mut payload);
                    self.router.queue.pop_front();
                }
            }
            SendMode::Publish => while self.publish_front(false) {},
        }
    }

    /// The length of the first message that waits and is still to be sent.
    fn next_wanted(&mut self) -> Option<usize> {
        while let Some(message) = self.router.queue.front() {
            if self.deliveries.is_wanted(message) {
                return Some(message.payload.len());
            }
            self.router.queue.pop_front();
        }
        None
    }

    /// Keeps account of what a link took to the last byte.
    pub(super) fn note_settled(&mut self, id: ConnectionId, settled: Settled) {
        if settled.written > 0
            && let Some(link) = self.links.get_mut(id.0)
        {
            link.moved_at = self.now;
        }
        if !settled.deliveries.is_empty() {
            self.note_delivered(id, settled.deliveries);
        }
        self.metrics.handed_over.add(settled.usage);
        let mut released = settled.released;
        for place in settled.copies {
            released.add(self.router.log.handed_over(place));
        }
        self.release(released);
    }

    /// Notes that messages need not be held any more.
    pub(super) fn release(&mut self, released: Usage) {
        self.router.held.sub(released);
        self.standstill.note_released(self.now, released);
        if self.router.room_wanted {
            self.announce_if_room();
        }
    }

    /// Tells senders to try again that were refused for a reason that is no more.
    pub(super) fn announce_if_room(&mut self) {
        let router = &self.router;
        let room = router.room_wanted && !self.config.send_buffer.is_reached(router.held);
        let goes_on = router.held_up.is_some_and(|bytes| !self.waits_for_subscribers(bytes));
        self.router.room_wanted &= !room;
        if goes_on {
            self.router.held_up = None;
        }
        if room || goes_on {
            self.ready.push_back(Ready::Room);
        }
    }

    /// Tells all senders that were refused to try again.
    pub(super) fn announce_room(&mut self) {
        if core::mem::take(&mut self.router.room_wanted) | self.router.held_up.take().is_some() {
            self.ready.push_back(Ready::Room);
        }
    }

    /// Tells senders to one peer that were refused to try again, once half of what may wait for it does.
    pub(super) fn announce_peer_room(&mut self, identity: Identity) {
        if !self.peers.get(identity).is_some_and(|peer| peer.wants_room) {
            return;
        }
        let queued = self.queued_for(identity).unwrap_or_default();
        let limit = self.config.peer_queue;
        if queued.messages <= limit.messages / 2
            && queued.bytes <= limit.bytes / 2
            && let Some(peer) = self.peers.get_mut(identity)
        {
            peer.wants_room = false;
            self.ready.push_back(Ready::PeerRoom(identity));
        }
    }

    /// Finds new places for messages that were on their way to a peer and are not going to be written.
    pub(super) fn give_back(&mut self, peer: Option<Identity>, messages: VecDeque<Outgoing>) {
        let mut direct = VecDeque::new();
        let mut any = VecDeque::new();
        for message in messages {
            if !self.deliveries.is_wanted(&message) {
                continue;
            }
            self.deliveries.unbind(&message);
            match message.heading.route {
                Route::Direct => direct.push_back(message),
                Route::Any => any.push_back(message),
                Route::Copy(place) => match self.router.log.abandon(place) {
                    Abandoned::Orphan(message) => any.push_back(message),
                    Abandoned::Copy(copy) => self.metrics.dropped_peer_left.add(copy),
                    Abandoned::Last(copy) => {
                        self.metrics.dropped_peer_left.add(copy);
                        self.release(copy);
                    }
                },
            }
        }
        outgoing::merge(&mut self.router.queue, any);
        match peer.and_then(|identity| self.peers.get_mut(identity)) {
            Some(peer) => peer.hold_returned(direct),
            None => debug_assert!(direct.is_empty(), "messages to one peer have a peer"),
        }
        if let Some(identity) = peer {
            self.announce_peer_room(identity);
        }
    }
}

/// Whether something waits for a subscriber or is being written to it.
fn has_unsent(log: &Log, link: &Link) -> bool {
    log.has_waiting(&link.subscription) || !link.connection.is_idle()
}
