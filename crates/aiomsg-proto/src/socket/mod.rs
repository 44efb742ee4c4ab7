//! Many connections as one socket: who gets a message, when to connect, what is held, what is read.

mod acknowledge;
mod deadlock;
mod delivery;
mod dials;
mod duplicates;
mod entries;
mod inputs;
mod lifecycle;
mod link;
mod outputs;
mod peers;
mod publish;
mod receive;
mod routing;

use alloc::collections::{BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use slotmap::{DefaultKey, SlotMap};

use self::deadlock::Standstill;
use self::delivery::Deliveries;
pub use self::delivery::Receipt;
use self::dials::{Dial, DialState, Dials};
pub use self::lifecycle::CloseReport;
use self::lifecycle::Closing;
use self::link::Link;
pub use self::link::LinkState;
use self::peers::Peers;
use self::receive::Receiver;
use self::routing::Router;
use crate::budget::Usage;
use crate::config::{Config, DeliveryGuarantee, SendMode};
use crate::dialect::Protocol;
use crate::error::{CloseReason, Closed, ConfigError, Refusal, SendError};
use crate::event::{Event, Events, Origin};
use crate::id::{ConnectionId, DialId, MessageIds, ReceiptId};
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::outgoing::{Heading, Outgoing, Route};
use crate::seen::SeenMessages;
use crate::time::Instant;
use crate::timers::{Armed, Timers};

/// Something that can be done now, told by [`Socket::poll_ready`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ready {
    /// For this connection there may be something to write, reading may go on, or it must be closed: ask
    /// [`Socket::transmit`], [`Socket::wants_read`] and [`Socket::link_state`].
    Connection(ConnectionId),
    /// Try to connect this dial, and report by [`Socket::handle_connected`] or [`Socket::handle_dial_failed`].
    Dial(DialId),
    /// Messages have arrived: ask [`Socket::poll_received`].
    Received,
    /// Try again to send what was refused with [`SendError::Full`]: there may be room, or the answer has changed.
    Room,
    /// Try again to send what was refused with [`SendError::PeerFull`] to this peer: there may be room, or the answer
    /// has changed.
    PeerRoom(Identity),
    /// Connections may be accepted again, see [`Socket::poll_accept`].
    Accept,
    /// It is known what became of a message: ask [`Socket::poll_receipt`].
    Receipt,
    /// The socket has closed: ask [`Socket::close_report`].
    Closed,
}

/// A peer that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerInfo {
    /// Who it says it is.
    pub identity: Identity,
    /// Its connection.
    pub connection: ConnectionId,
    /// Its address.
    pub address: Arc<str>,
    /// Who connected to whom.
    pub origin: Origin,
    /// What is spoken.
    pub protocol: Protocol,
    /// What waits to be written to it, for its window too, beside the batch being written.
    pub queued: Usage,
    /// What came from it and was not taken by the application yet.
    pub unread: Usage,
}

/// What has a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum TimerKey {
    Connection(ConnectionId),
    Dial(DialId),
    SlowPeer(ConnectionId),
    Resend(ConnectionId),
    LateAcknowledgement,
    Standstill,
    Departure,
    Eviction,
    Close,
}

/// A socket: many connections as one, without I/O, clock or runtime.
///
/// The crate's front page shows how to drive it. There are four kinds of methods: *commands* of the application
/// ([`send`](Self::send), [`send_to`](Self::send_to), [`send_with_receipt`](Self::send_with_receipt),
/// [`acknowledge`](Self::acknowledge), [`reject`](Self::reject), [`dial`](Self::dial), [`undial`](Self::undial),
/// [`disconnect`](Self::disconnect), [`keep_out`](Self::keep_out), [`let_in`](Self::let_in), [`close`](Self::close)),
/// *inputs* that report what happened outside (`handle_*`), *outputs* that say what to do (`poll_*`,
/// [`transmit`](Self::transmit), [`wants_read`](Self::wants_read), [`link_state`](Self::link_state)), and *getters*.
/// Any order of calls is legal.
#[derive(Debug)]
pub struct Socket {
    config: Arc<Config>,
    identity: Identity,
    ids: MessageIds,
    rng: fastrand::Rng,
    /// The latest time seen.
    now: Instant,
    /// Messages ever accepted.
    sequence: u64,
    links: SlotMap<DefaultKey, Link>,
    peers: Peers,
    kept_out: BTreeSet<Identity>,
    router: Router,
    receiver: Receiver,
    deliveries: Deliveries,
    standstill: Standstill,
    seen: SeenMessages,
    dials: Dials,
    /// Accepted connections in the order in which they came, as long as they may be evicted.
    introductions: VecDeque<(Instant, ConnectionId)>,
    timers: Timers<TimerKey>,
    departure: Armed,
    late_acknowledgement: Armed,
    eviction: Armed,
    close_timer: Armed,
    ready: VecDeque<Ready>,
    accept_wanted: bool,
    events: Events,
    /// When the latest refusals were told.
    refusals_told: VecDeque<Instant>,
    metrics: Metrics,
    closing: Closing,
}

impl Socket {
    /// A socket known to its peers as `identity`.
    ///
    /// `seed` decides the delays between attempts to connect and the ids of messages, so it must be different for each
    /// life of the socket; 8 random bytes do. The same seed and the same calls give the same results, byte for byte.
    ///
    /// # Errors
    /// [`ConfigError`] if the configuration contradicts itself.
    pub fn new(config: Config, identity: Identity, seed: u64, now: Instant) -> Result<Self, ConfigError> {
        config.validate()?;
        let mut rng = fastrand::Rng::with_seed(seed);
        Ok(Self {
            ids: MessageIds::new(rng.u64(..)),
            router: Router::default(),
            receiver: Receiver::new(config.receive_buffer),
            deliveries: Deliveries::default(),
            standstill: Standstill::new(now),
            seen: SeenMessages::new(rng.u64(..)),
            config: Arc::new(config),
            identity,
            rng,
            now,
            sequence: 0,
            links: SlotMap::new(),
            peers: Peers::default(),
            kept_out: BTreeSet::new(),
            dials: Dials::new(),
            introductions: VecDeque::new(),
            timers: Timers::new(),
            departure: Armed::default(),
            late_acknowledgement: Armed::default(),
            eviction: Armed::default(),
            close_timer: Armed::default(),
            ready: VecDeque::new(),
            accept_wanted: false,
            events: Events::default(),
            refusals_told: VecDeque::new(),
            metrics: Metrics::default(),
            closing: Closing::No,
        })
    }

    /// Accepts a message for whom [`Config::send_mode`] says: one peer after another, or all of them.
    ///
    /// With nobody there it waits for the first peer to come.
    ///
    /// # Errors
    /// [`SendError::Full`] at the bound of the send buffer, or [`SendError::WouldDeadlock`] if that is not going to
    /// change, [`SendError::TooLong`], [`SendError::Closed`], and [`SendError::PublishAtLeastOnce`]. The error has the
    /// message.
    pub fn send(&mut self, now: Instant, mut payload: Bytes) -> Result<(), SendError> {
        self.send_from(now, &mut payload).map_err(|refusal| refusal.of(payload))
    }

    /// As [`send`](Self::send), for who keeps the message until it is accepted, and drops then what is left of it.
    /// A message that is refused is left as it was. To hand a message over and back again costs more than it costs to
    /// line up a short one.
    ///
    /// # Errors
    /// [`Refusal`], for the same reasons.
    #[inline]
    pub fn send_from(&mut self, now: Instant, payload: &mut Bytes) -> Result<(), Refusal> {
        self.advance(now);
        let acknowledged = self.is_at_least_once();
        self.admit_for_mode(payload.len(), acknowledged)?;
        let heading = self.accept(payload.len(), Route::Any);
        match self.config.send_mode {
            SendMode::RoundRobin => self.route(heading, payload),
            SendMode::Publish => self.publish(Outgoing { payload: core::mem::take(payload), heading }),
        }
        Ok(())
    }

    /// Accepts a message for the peer of this identity, whatever the send mode.
    ///
    /// A peer that was there and left is waited for, for [`Config::peer_retention`].
    ///
    /// # Errors
    /// [`SendError::UnknownPeer`] if no such peer has been there, [`SendError::PeerFull`] at the bound of its queue, or
    /// [`SendError::WouldDeadlock`] if that is not going to change, and those of [`send`](Self::send). The error has the message.
    pub fn send_to(&mut self, now: Instant, identity: Identity, payload: Bytes) -> Result<(), SendError> {
        self.advance(now);
        if let Err(refusal) = self.admit_for_peer(identity, payload.len()) {
            return Err(refusal.of(payload));
        }
        let heading = self.accept(payload.len(), Route::Direct);
        self.route_to(identity, Outgoing { payload, heading });
        Ok(())
    }

    /// As [`send`](Self::send), or as [`send_to`](Self::send_to) if there is a `recipient`, and tells what becomes of the
    /// message by [`poll_receipt`](Self::poll_receipt). It is delivered at-least-once, whatever the setting.
    ///
    /// A receipt that was not asked for yet has a place in the send buffer as a message has, as far as further messages
    /// with a receipt go.
    ///
    /// # Errors
    /// Those of [`send`](Self::send) and [`send_to`](Self::send_to).
    pub fn send_with_receipt(
        &mut self,
        now: Instant,
        recipient: Option<Identity>,
        mut payload: Bytes,
    ) -> Result<ReceiptId, SendError> {
        self.advance(now);
        let (route, admitted) = match recipient {
            Some(identity) => (Route::Direct, self.admit_for_peer(identity, payload.len())),
            None => (Route::Any, self.admit_for_mode(payload.len(), true)),
        };
        let admitted = admitted.and_then(|()| self.admit_receipt(payload.len()));
        if let Err(refusal) = admitted {
            return Err(refusal.of(payload));
        }
        let mut heading = self.accept(payload.len(), route);
        let key = self.deliveries.track(&mut heading, true);
        match recipient {
            Some(identity) => self.route_to(identity, Outgoing { payload, heading }),
            None => self.route(heading, &mut payload),
        }
        Ok(ReceiptId(key))
    }

    /// Checks what a message of `bytes` bytes to whom the send mode says needs.
    #[inline]
    fn admit_for_mode(&mut self, bytes: usize, acknowledged: bool) -> Result<(), Refusal> {
        let publishes = self.config.send_mode == SendMode::Publish;
        if publishes && acknowledged {
            return Err(Refusal::PublishAtLeastOnce);
        }
        let admitted = self.admit(bytes);
        if publishes && matches!(admitted, Err(Refusal::Full)) {
            self.wait_for_unsent();
        }
        admitted?;
        if publishes && self.is_blocked(bytes) {
            self.router.held_up = Some(self.router.held_up.map_or(bytes, |other| other.min(bytes)));
            return Err(self.refuse());
        }
        Ok(())
    }

    /// Checks what a message of `bytes` bytes to one peer needs.
    fn admit_for_peer(&mut self, identity: Identity, bytes: usize) -> Result<(), Refusal> {
        self.admit(bytes)?;
        let queued = self.queued_for(identity).ok_or(Refusal::UnknownPeer)?;
        if self.config.peer_queue.admits(queued, bytes) {
            return Ok(());
        }
        let peer = self.peers.get_mut(identity).ok_or(Refusal::UnknownPeer)?;
        peer.wants_room = true;
        if peer.connection.is_some_and(|id| self.stands_still(id)) {
            return Err(Refusal::WouldDeadlock);
        }
        self.watch_for_standstill();
        Err(Refusal::PeerFull)
    }

    /// Checks what the receipt of a message of `bytes` bytes needs: who never asks for receipts is to run full, not the
    /// memory.
    fn admit_receipt(&mut self, bytes: usize) -> Result<(), Refusal> {
        let mut held = self.router.held;
        held.messages += self.deliveries.receipts();
        if self.config.send_buffer.admits(held, bytes) {
            return Ok(());
        }
        self.router.room_wanted = true;
        Err(self.refuse())
    }

    fn is_at_least_once(&self) -> bool {
        self.config.delivery == DeliveryGuarantee::AtLeastOnce
    }

    /// Whether the acknowledgement of a message is awaited from when it is bound to a connection.
    #[inline]
    fn is_tracked(&self, heading: Heading) -> bool {
        heading.delivery.is_some() || self.is_at_least_once()
    }

    /// Keeps a connection to `address` from now on, and says so by [`Ready::Dial`]. What an address means is the
    /// driver's business.
    ///
    /// # Errors
    /// [`Closed`] if the socket is closing.
    pub fn dial(&mut self, now: Instant, address: impl Into<Arc<str>>) -> Result<DialId, Closed> {
        self.advance(now);
        if self.closing != Closing::No {
            return Err(Closed);
        }
        let id = DialId(self.dials.insert(Dial::new(address.into(), self.now)));
        self.start_dial(id);
        Ok(id)
    }

    /// Stops keeping a connection for `dial`. One that is up is ended: what is being written is finished, what waits
    /// goes to other peers, and what the peer has sent is read. It is gone after [`Config::heartbeat_timeout`] at the
    /// latest, whatever the peer does; if an earlier connection of that peer has not ended yet, this one is read when
    /// that is gone, and has as long from then on. False if there is no such dial.
    pub fn undial(&mut self, now: Instant, dial: DialId) -> bool {
        self.advance(now);
        let Some(mut gone) = self.dials.remove(dial.0) else { return false };
        self.timers.disarm(TimerKey::Dial(dial), &mut gone.armed);
        let mine = |link: &Link| link.origin == Origin::Dialled(dial);
        let links: Vec<ConnectionId> =
            self.links.iter().filter(|(_, link)| mine(link)).map(|(key, _)| ConnectionId(key)).collect();
        for id in links {
            self.finish(id, CloseReason::Ended);
        }
        true
    }

    /// Ends the connection of a peer: what is being written is finished, what the peer has sent is read. It is gone after
    /// [`Config::heartbeat_timeout`] at the latest. A peer that keeps a connection comes back. False if no such peer is
    /// there.
    pub fn disconnect(&mut self, now: Instant, identity: Identity) -> bool {
        self.advance(now);
        let Some(id) = self.peers.holder(identity) else { return false };
        self.finish(id, CloseReason::Ended);
        true
    }

    /// Ends the connection of a peer, and refuses all that show its identity from now on. An identity is a claim: this
    /// keeps out who is mistaken or in the way, not who means harm. The list is as long as its user makes it.
    pub fn keep_out(&mut self, now: Instant, identity: Identity) {
        self.kept_out.insert(identity);
        self.disconnect(now, identity);
    }

    /// Takes back [`keep_out`](Self::keep_out). False if the identity was not kept out.
    pub fn let_in(&mut self, identity: Identity) -> bool {
        self.kept_out.remove(&identity)
    }

    /// Tells watchers that connections are accepted at `address`.
    pub fn handle_listening(&mut self, address: impl Into<Arc<str>>) {
        self.events.push(Event::Listening { address: address.into() });
    }

    /// Who this socket says it is.
    pub const fn identity(&self) -> Identity {
        self.identity
    }

    /// The settings of this socket.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The peers that are there, in no particular order. Takes time in proportion to their number.
    pub fn peers(&self) -> Vec<PeerInfo> {
        let open = self.links.iter().filter(|(_, link)| link.is_open());
        let info = |(key, link): (DefaultKey, &Link)| {
            let identity = link.identity()?;
            let mut queued = self.queued_for(identity)?;
            queued.add(self.router.log.waiting(&link.subscription));
            Some(PeerInfo {
                identity,
                connection: ConnectionId(key),
                address: link.address.clone(),
                origin: link.origin,
                protocol: link.connection.protocol()?,
                queued,
                unread: link.held,
            })
        };
        open.filter_map(info).collect()
    }

    /// How many peers are there.
    pub const fn peer_count(&self) -> usize {
        self.router.open
    }

    /// Counters. Takes time in proportion to the number of connections if messages are published, else the same time
    /// whatever there are.
    pub fn metrics(&self) -> Metrics {
        let mut metrics = self.metrics;
        metrics.send_held = self.router.held;
        metrics.receive_held = self.receiver.held();
        metrics.connections = self.links.len();
        if self.config.send_mode == SendMode::Publish {
            for (key, link) in &self.links {
                metrics.dropped_slow_peer.add(self.router.log.missed(ConnectionId(key), &link.subscription));
            }
        }
        metrics
    }

    /// Moves the time on; it never runs back.
    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// Checks what does not depend on the recipient.
    #[inline]
    fn admit(&mut self, bytes: usize) -> Result<(), Refusal> {
        if self.closing != Closing::No {
            return Err(Refusal::Closed);
        }
        let limit = self.config.max_message;
        if bytes > limit {
            return Err(Refusal::TooLong { limit });
        }
        if !self.config.send_buffer.admits(self.router.held, bytes) {
            self.router.room_wanted = true;
            return Err(self.refuse());
        }
        Ok(())
    }

    /// There is no room, and whoever wants to send is told when there is.
    #[cold]
    fn refuse(&mut self) -> Refusal {
        if self.standstill.declared {
            return Refusal::WouldDeadlock;
        }
        self.watch_for_standstill();
        Refusal::Full
    }

    /// Accepts a message of `bytes` bytes that was admitted.
    #[inline]
    fn accept(&mut self, bytes: usize, route: Route) -> Heading {
        self.sequence += 1;
        self.metrics.accepted.add(Usage::one(bytes));
        self.router.held.add(Usage::one(bytes));
        Heading::new(self.sequence, route)
    }

    /// Starts an attempt to connect.
    fn start_dial(&mut self, id: DialId) {
        let Some(dial) = self.dials.get_mut(id.0) else { return };
        dial.state = DialState::Connecting;
        dial.started = self.now;
        self.metrics.dial_attempts += 1;
        self.events.push(Event::Connecting { dial: id, address: dial.address.clone() });
        if !core::mem::replace(&mut dial.ready, true) {
            self.ready.push_back(Ready::Dial(id));
        }
    }

    /// Notes that a connection has something to do.
    #[inline]
    fn mark_ready(&mut self, id: ConnectionId) {
        if let Some(link) = self.links.get_mut(id.0)
            && !core::mem::replace(&mut link.ready, true)
        {
            self.ready.push_back(Ready::Connection(id));
        }
    }

    fn mark_all_ready(&mut self, ids: BTreeSet<ConnectionId>) {
        for id in ids {
            self.mark_ready(id);
        }
    }

    /// Takes note of the next deadline of a connection.
    fn rearm(&mut self, id: ConnectionId) {
        if let Some(link) = self.links.get_mut(id.0)
            && let Some(at) = link.deadline()
        {
            self.timers.arm(TimerKey::Connection(id), &mut link.armed, at);
        }
    }
}
