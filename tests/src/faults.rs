//! What goes wrong: connections that fail or fall silent, and processes that stop.

use aiomsg_proto::{Identity, Instant};

use crate::connection::{End, Side, WireId};
use crate::network::{Happening, Network};
use crate::node::NodeId;

impl Network {
    /// The connections that a socket has now, oldest first, unfinished ones included.
    pub fn wires(&self, node: NodeId) -> Vec<WireId> {
        let mut wires: Vec<WireId> = self.nodes[node.0].links.values().map(|link| link.wire).collect();
        wires.sort_unstable();
        wires
    }

    /// The connection over which a socket has the peer `identity`.
    ///
    /// # Panics
    /// If it has no such peer.
    pub fn wire_to(&self, node: NodeId, identity: Identity) -> WireId {
        let peers = self.node(node).peers();
        let peer = peers.iter().find(|peer| peer.identity == identity).expect("the peer is there");
        self.nodes[node.0].links[&peer.connection].wire
    }

    /// Whether a socket has `wire` and dialled it itself; `None` if it has no part in it.
    pub fn dialled(&self, node: NodeId, wire: WireId) -> Option<bool> {
        self.nodes[node.0]
            .links
            .values()
            .find(|link| link.wire == wire)
            .map(|link| link.side == Side::Dialler)
    }

    /// Lets a connection fail at both ends, now. What was on its way is lost.
    pub fn cut(&mut self, wire: WireId) {
        self.plan(self.now, Happening::Reset(wire, false));
        self.plan(self.now, Happening::Reset(wire, true));
    }

    /// Lets bytes vanish in both directions, without a word to either end.
    pub fn blackhole(&mut self, wire: WireId) {
        for side in [Side::Dialler, Side::Listener] {
            self.wires[wire.0].written_by(side).swallows = true;
        }
    }

    /// Lets what one end writes vanish, without a word to either end.
    pub(crate) fn swallow(&mut self, wire: WireId, side: Side) {
        self.wires[wire.0].written_by(side).swallows = true;
    }

    /// Sets whether a socket's driver leaves a connection unread although it may read it.
    pub fn set_stalled(&mut self, node: NodeId, wire: WireId, stalled: bool) {
        for link in self.nodes[node.0].links.values_mut().filter(|link| link.wire == wire) {
            link.stalled = stalled;
        }
        for side in [Side::Dialler, Side::Listener] {
            self.wake_end(wire, side);
        }
        self.settle();
    }

    /// Stops the process of a socket: nothing is done for it, and its deadlines pass unnoticed.
    pub fn freeze(&mut self, node: NodeId) {
        self.nodes[node.0].frozen = true;
        self.touch(node);
    }

    /// Lets the process of a socket go on. It notices what time it is before it reads anything, the less lucky of both
    /// orders.
    pub fn thaw(&mut self, node: NodeId) {
        let now = self.clock(node);
        let state = self.node_mut(node);
        state.frozen = false;
        state.socket.handle_timeout(now);
        self.serve(node);
        let links: Vec<_> = self.nodes[node.0].links.keys().copied().collect();
        for link in links {
            self.service(node, link);
        }
        self.accept_backlog(node);
        self.settle();
    }

    /// All that was written on a connection by its dialling end and by its listening end, if
    /// [`record_bytes`](Self::record_bytes) was called before it was made.
    pub fn written(&mut self, wire: WireId) -> [Vec<u8>; 2] {
        let wire = &mut self.wires[wire.0];
        [Side::Dialler, Side::Listener]
            .map(|side| wire.written_by(side).transcript.clone().unwrap_or_default())
    }

    /// Bytes that the sockets at the ends of a connection have read and their cores have not taken.
    pub fn unread_by_core(&self, wire: WireId) -> usize {
        let ends = [Side::Dialler, Side::Listener].map(|side| self.wires[wire.0].end(side));
        let unread = |end: End| match end {
            End::Socket(node, connection) => self.nodes[node.0].links[&connection].buffer.len(),
            End::Open | End::Raw(_) | End::Closed => 0,
        };
        ends.into_iter().map(unread).sum()
    }

    /// How many connections there ever were.
    pub const fn wire_count(&self) -> usize {
        self.wires.len()
    }

    /// The connection with this number, counted from zero in the order in which they were dialled.
    pub const fn nth_wire(number: usize) -> WireId {
        WireId(number)
    }

    /// Whether a connection exists no more for either end.
    pub fn is_over(&self, wire: WireId) -> bool {
        [Side::Dialler, Side::Listener].iter().all(|side| self.wires[wire.0].end(*side) == End::Closed)
    }

    /// When a socket wants to be called, if nothing happens before.
    pub fn deadline(&self, node: NodeId) -> Option<Instant> {
        self.node(node).poll_timeout()
    }
}
