//! The network: who is in it, what time it is, and what happens next.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use core::time::Duration;

use aiomsg_proto::{Config, DialId, Event, Identity, Instant, Ready, Received, SendError, Socket};
use bytes::Bytes;

use crate::connection::{Connection, End, Side, WireId};
use crate::node::{Node, NodeId, Taking};
use crate::raw::{Raw, RawId};
use crate::roads::Request;

/// How the bytes of one write are cut on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunking {
    /// They arrive as they were written, and a write takes all there is room for.
    Whole,
    /// One by one.
    Bytes,
    /// Anyhow, by the seed; writes and reads take anything from one byte up, too.
    Random,
}

/// Something that is going to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Happening {
    /// Bytes, or the end of the stream, arrive where `side` reads.
    Arrival(WireId, bool),
    /// What was written by this side was read: it may write again.
    Window(WireId, bool),
    /// The other end does not exist any more.
    Reset(WireId, bool),
    /// A connection reaches whom it is for.
    Request(WireId, usize),
    /// The dialler learns that its connection came to be.
    Answer(WireId),
    /// The dialler learns that nobody listens.
    NoAnswer(usize, DialId),
    /// A driver gets to what it has left lying.
    Wake(usize),
}

/// Who accepts connections at an address.
#[derive(Clone, Copy, Debug)]
enum Listener {
    Node(NodeId),
    Raw,
}

/// Whoever makes a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Dialler {
    Node(NodeId, DialId),
    Raw,
}

/// Work at one instant of virtual time after which something must be going round in circles.
const RESTLESS: u64 = 2_000_000;

/// A network of sockets and raw peers in virtual time.
///
/// Every call that changes something lets all that follows at the same instant happen before it returns; time passes
/// only in [`run_for`](Self::run_for) and [`run_until`](Self::run_until).
#[derive(Debug)]
pub struct Network {
    pub(crate) now: Instant,
    pub(crate) rng: fastrand::Rng,
    pub(crate) latency: Duration,
    pub(crate) jitter: Duration,
    /// How late bytes are on one connection does not depend on what happens on others.
    pub(crate) apart: bool,
    pub(crate) capacity: usize,
    pub(crate) chunking: Chunking,
    pub(crate) recorded: bool,
    /// Drivers call `handle_timeout` at every occasion, with old times, too.
    pub(crate) pestering: bool,
    /// How much later than its deadline a timer may fire.
    pub(crate) lateness: Duration,
    /// How long a driver may leave lying what it could do.
    pub(crate) laziness: Duration,
    /// What is going to happen, in order; at the same time, as it was planned.
    queue: BTreeMap<(Instant, u64), Happening>,
    planned: u64,
    deadlines: BTreeSet<(Instant, NodeId)>,
    pub(crate) wires: Vec<Connection>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) raws: Vec<Raw>,
    listeners: BTreeMap<String, Listener>,
    /// Raw listeners' connections that no test has asked for yet.
    pub(crate) accepted: BTreeMap<String, VecDeque<RawId>>,
    pub(crate) requests: Vec<Request>,
    /// How much longer connections to an address take.
    pub(crate) delays: BTreeMap<String, Duration>,
    /// Who is not heard by whom.
    pub(crate) severed: BTreeSet<(NodeId, NodeId)>,
    /// Connections on their way that sockets asked for.
    pub(crate) dialling: BTreeMap<WireId, (NodeId, DialId)>,
    pub(crate) dirty: VecDeque<NodeId>,
}

impl Network {
    /// An empty network. Latency is a millisecond, a connection holds 256 KiB each way, and bytes are cut anyhow.
    pub fn new(seed: u64) -> Self {
        Self {
            now: Instant::EPOCH + Duration::from_secs(1_000),
            rng: fastrand::Rng::with_seed(seed),
            latency: Duration::from_millis(1),
            jitter: Duration::ZERO,
            apart: false,
            capacity: 256 * 1024,
            chunking: Chunking::Random,
            recorded: false,
            pestering: false,
            lateness: Duration::ZERO,
            laziness: Duration::ZERO,
            queue: BTreeMap::new(),
            planned: 0,
            deadlines: BTreeSet::new(),
            wires: Vec::new(),
            nodes: Vec::new(),
            raws: Vec::new(),
            listeners: BTreeMap::new(),
            accepted: BTreeMap::new(),
            requests: Vec::new(),
            delays: BTreeMap::new(),
            severed: BTreeSet::new(),
            dialling: BTreeMap::new(),
            dirty: VecDeque::new(),
        }
    }

    /// A socket with this configuration; its identity is its number, 16 times.
    pub fn socket(&mut self, config: Config) -> NodeId {
        let number = u8::try_from(self.nodes.len() + 0x10).unwrap_or(u8::MAX);
        self.socket_as(config, Identity::from_bytes([number; 16]))
    }

    /// A socket with this configuration and identity.
    pub fn socket_as(&mut self, config: Config, identity: Identity) -> NodeId {
        let seed = self.rng.u64(..);
        let socket = Socket::new(config, identity, seed, self.now).expect("the configuration is valid");
        self.nodes.push(Node::new(socket));
        NodeId(self.nodes.len() - 1)
    }

    /// Lets a socket accept connections at `address`.
    pub fn listen(&mut self, node: NodeId, address: &str) {
        self.listeners.insert(address.into(), Listener::Node(node));
        self.node_mut(node).socket.handle_listening(address);
        self.touch(node);
    }

    /// Lets raw peers accept connections at `address`, see [`accept`](Self::accept).
    pub fn listen_raw(&mut self, address: &str) {
        self.listeners.insert(address.into(), Listener::Raw);
    }

    /// Lets nobody accept connections at `address` any more.
    pub fn unlisten(&mut self, address: &str) {
        self.listeners.remove(address);
    }

    /// Lets a socket keep a connection to `address`.
    pub fn dial(&mut self, node: NodeId, address: &str) -> DialId {
        let now = self.clock(node);
        let dial = self.node_mut(node).socket.dial(now, address).expect("the socket is not closed");
        self.touch(node);
        dial
    }

    /// A raw peer that connects to `address`. It can be written to at once.
    pub fn dial_raw(&mut self, address: &str) -> RawId {
        let wire = self.add_wire();
        let raw = self.add_raw(wire, Side::Dialler);
        self.request(wire, Dialler::Raw, address.into());
        self.settle();
        raw
    }

    /// The next connection made to a raw listener that has not been asked for.
    pub fn accept(&mut self, address: &str) -> Option<RawId> {
        self.accepted.get_mut(address)?.pop_front()
    }

    /// Sends a message from a socket.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn send(&mut self, node: NodeId, payload: impl Into<Bytes>) -> Result<(), SendError> {
        self.command(node, |socket, now| socket.send(now, payload.into()))
    }

    /// Sends a message from a socket to one identity.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn send_to(
        &mut self,
        node: NodeId,
        to: Identity,
        payload: impl Into<Bytes>,
    ) -> Result<(), SendError> {
        self.command(node, |socket, now| socket.send_to(now, to, payload.into()))
    }

    /// Does anything to a socket, and serves it afterwards.
    pub fn command<T>(&mut self, node: NodeId, command: impl FnOnce(&mut Socket, Instant) -> T) -> T {
        let now = self.clock(node);
        let result = command(&mut self.node_mut(node).socket, now);
        self.touch(node);
        result
    }

    /// Sets whether messages are taken as soon as they arrive, which they are unless told otherwise.
    pub fn set_taking(&mut self, node: NodeId, taking: Taking) {
        let now = self.clock(node);
        self.node_mut(node).taking = taking;
        if taking == Taking::All {
            self.node_mut(node).take_all(now);
        }
        self.touch(node);
    }

    /// Takes up to `most` messages from a socket, as an application does that does not take all.
    pub fn take(&mut self, node: NodeId, most: usize) -> Vec<Received> {
        let now = self.clock(node);
        let node_state = self.node_mut(node);
        let mut taken = Vec::new();
        while taken.len() < most && node_state.socket.poll_received(now, &mut node_state.inbox) {
            let missing = most - taken.len();
            taken.extend(node_state.inbox.by_ref().take(missing));
        }
        // Settles what was taken.
        node_state.socket.poll_received(now, &mut node_state.inbox);
        self.touch(node);
        taken
    }

    /// A socket, to be looked at.
    pub fn node(&self, node: NodeId) -> &Socket {
        &self.nodes[node.0].socket
    }

    /// Who a socket says it is.
    pub fn identity(&self, node: NodeId) -> Identity {
        self.node(node).identity()
    }

    /// What a socket's application took by itself, in order.
    pub fn received(&self, node: NodeId) -> &[Received] {
        &self.nodes[node.0].record.received
    }

    /// The payloads of [`received`](Self::received).
    pub fn payloads(&self, node: NodeId) -> Vec<Bytes> {
        self.received(node).iter().map(|message| message.payload.clone()).collect()
    }

    /// All events of a socket, and when they were told.
    pub fn events(&self, node: NodeId) -> &[(Instant, Event)] {
        &self.nodes[node.0].record.events
    }

    /// All that a socket announced but what names a connection, and when.
    pub fn announced(&self, node: NodeId) -> &[(Instant, Ready)] {
        &self.nodes[node.0].record.ready
    }

    /// How often a connection of a socket was served because the socket asked for it.
    pub fn services(&self, node: NodeId) -> u64 {
        self.nodes[node.0].record.services
    }

    /// The most bytes that a socket ever left unread in the buffer of a connection whose peer was not accepted.
    pub fn introduction_high_water(&self, node: NodeId) -> usize {
        self.nodes[node.0].record.introduction_high_water
    }

    /// What time it is.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Lets time pass.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        self.settle();
        while self.step(end) {}
        self.now = end;
    }

    /// Lets time pass until something is so, and panics if it is not so within `patience`. Returns how long it took.
    pub fn run_until(
        &mut self,
        what: &str,
        patience: Duration,
        mut is_so: impl FnMut(&Self) -> bool,
    ) -> Duration {
        let start = self.now;
        let end = start + patience;
        self.settle();
        while !is_so(self) {
            assert!(self.step(end), "not within {patience:?}: {what}");
        }
        self.now.saturating_duration_since(start)
    }

    /// Goes to the next instant at which something happens, no later than `end`, and lets it happen.
    fn step(&mut self, end: Instant) -> bool {
        let planned = self.queue.first_key_value().map(|((at, _), _)| *at);
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        let Some(next) = planned.into_iter().chain(deadline).min().filter(|next| *next <= end) else {
            return false;
        };
        self.now = self.now.max(next);
        while let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= self.now
        {
            let happening = entry.remove();
            self.happen(happening);
            self.settle();
        }
        while let Some((at, node)) = self.deadlines.first().copied()
            && at <= self.now
        {
            self.deadlines.pop_first();
            let now = self.clock(node);
            let state = self.node_mut(node);
            state.deadline = None;
            state.socket.handle_timeout(now);
            let next = state.socket.poll_timeout();
            assert!(
                next.is_none_or(|next| next > now),
                "still due after handle_timeout at {now:?}: {next:?}"
            );
            self.touch(node);
        }
        true
    }

    fn happen(&mut self, happening: Happening) {
        let side = |listener: bool| if listener { Side::Listener } else { Side::Dialler };
        match happening {
            Happening::Arrival(wire, listener) => self.handle_arrival(wire, side(listener)),
            Happening::Window(wire, listener) => self.wake_end(wire, side(listener)),
            Happening::Reset(wire, listener) => self.handle_reset(wire, side(listener)),
            Happening::Request(wire, request) => self.handle_request(wire, request),
            Happening::Answer(wire) => self.handle_answer(wire),
            Happening::Wake(node) => self.serve(NodeId(node)),
            Happening::NoAnswer(node, dial) => {
                let now = self.clock(NodeId(node));
                self.nodes[node].socket.handle_dial_failed(now, dial, "nobody listens");
                self.touch(NodeId(node));
            }
        }
    }

    /// A connection arrives at its address.
    fn handle_request(&mut self, wire: WireId, request: usize) {
        let Request { dialler, address, .. } = self.requests[request].clone();
        let listener = self.listeners.get(&address).copied();
        if let Some(Listener::Node(node)) = listener
            && self.is_lost(wire, request, node)
        {
            return;
        }
        let back = self.arrival(wire, Side::Listener);
        match listener {
            None => match dialler {
                Dialler::Node(node, dial) => self.plan(back, Happening::NoAnswer(node.0, dial)),
                Dialler::Raw => self.plan(back, Happening::Reset(wire, false)),
            },
            Some(Listener::Raw) => {
                let raw = self.add_raw(wire, Side::Listener);
                self.accepted.entry(address).or_default().push_back(raw);
                self.plan(back, Happening::Answer(wire));
            }
            Some(Listener::Node(node)) => {
                let from: Arc<str> = format!("from {}", wire.0).into();
                self.node_mut(node).backlog.push_back((wire, from));
                self.accept_backlog(node);
                self.plan(back, Happening::Answer(wire));
            }
        }
    }

    fn handle_answer(&mut self, wire: WireId) {
        // A raw dialler has its end from the start.
        if let End::Socket(..) | End::Raw(_) | End::Closed = self.wires[wire.0].end(Side::Dialler) {
            return;
        }
        self.complete_dial(wire);
    }

    pub(crate) fn add_wire(&mut self) -> WireId {
        self.wires.push(Connection::new(self.capacity, self.recorded));
        WireId(self.wires.len() - 1)
    }

    pub(crate) fn plan(&mut self, at: Instant, happening: Happening) {
        self.planned += 1;
        self.queue.insert((at, self.planned), happening);
    }

    pub(crate) fn node_mut(&mut self, node: NodeId) -> &mut Node {
        &mut self.nodes[node.0]
    }

    /// Serves a socket to which something was done.
    pub(crate) fn touch(&mut self, node: NodeId) {
        self.dirty.push_back(node);
        self.settle();
    }

    /// Lets all that follows at this instant happen.
    pub(crate) fn settle(&mut self) {
        let mut work = 0_u64;
        while let Some(node) = self.dirty.pop_front() {
            work += 1;
            assert!(work < RESTLESS, "something never comes to rest at {:?}", self.now);
            if let Some(later) = self.puts_off() {
                self.plan(later, Happening::Wake(node.0));
            } else {
                self.serve(node);
            }
            self.note_deadline(node);
        }
    }

    fn note_deadline(&mut self, id: NodeId) {
        let node = &mut self.nodes[id.0];
        let asked_for = node.asks_for();
        if asked_for == node.asked_for && asked_for.is_some() == node.deadline.is_some() {
            return;
        }
        node.asked_for = asked_for;
        let deadline = asked_for.map(|at| self.late(at));
        let node = &mut self.nodes[id.0];
        if let Some(before) = node.deadline.take() {
            self.deadlines.remove(&(before, id));
        }
        node.deadline = deadline;
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, id));
        }
    }
}
