//! Driving sockets by the contract of the core, and moving bytes.

use aiomsg_proto::{Batch, CloseReason, ConnectionId, Instant, LinkState, Origin, Ready};
use bytes::{Buf, BytesMut};

use crate::connection::{End, Side, WireId};
use crate::network::{Chunking, Dialler, Happening, Network};
use crate::node::{Link, NodeId, Taking};

/// How many slices a driver writes in one go.
const SLICES: usize = 16;

/// The most that a driver reads in one go.
const READ: usize = 256 * 1024;

impl Network {
    /// Does all that a socket asks for.
    pub(crate) fn serve(&mut self, id: NodeId) {
        if self.nodes[id.0].frozen {
            return;
        }
        if self.pestering {
            let now = self.clock(id);
            for now in [now, Instant::EPOCH, now] {
                self.nodes[id.0].socket.handle_timeout(now);
            }
        }
        while let Some(ready) = self.nodes[id.0].socket.poll_ready() {
            let now = self.clock(id);
            self.nodes[id.0].note_events(now);
            match ready {
                Ready::Connection(connection) => {
                    self.nodes[id.0].record.services += 1;
                    self.service(id, connection);
                    continue;
                }
                Ready::Dial(dial) => self.start_dial(id, dial),
                Ready::Received if self.nodes[id.0].taking == Taking::All => self.nodes[id.0].take_all(now),
                Ready::Accept => self.accept_backlog(id),
                _ => {}
            }
            self.nodes[id.0].record.ready.push((now, ready));
        }
        let now = self.clock(id);
        self.nodes[id.0].note_events(now);
    }

    fn start_dial(&mut self, id: NodeId, dial: aiomsg_proto::DialId) {
        let Some(address) = self.nodes[id.0].socket.dial_address(dial).map(str::to_owned) else { return };
        let wire = self.add_wire();
        self.request(wire, Dialler::Node(id, dial), address);
        self.dialling.insert(wire, (id, dial));
    }

    /// Takes connections from a socket's backlog, as long as it wants some.
    pub(crate) fn accept_backlog(&mut self, id: NodeId) {
        let now = self.clock(id);
        loop {
            let node = &mut self.nodes[id.0];
            if node.frozen || !node.socket.poll_accept() {
                break;
            }
            let Some((wire, from)) = node.backlog.pop_front() else { break };
            if self.wires[wire.0].is_closed(Side::Listener) {
                continue;
            }
            match node.socket.handle_connected(now, Origin::Accepted, from) {
                Ok(connection) => self.attach(id, connection, wire, Side::Listener),
                Err(_) => self.close_end(wire, Side::Listener),
            }
        }
        self.dirty.push_back(id);
    }

    /// Tells a dialling socket that its connection came to be.
    pub(crate) fn complete_dial(&mut self, wire: WireId) {
        let Some((id, dial)) = self.dialling.remove(&wire) else { return };
        let now = self.clock(id);
        let address = format!("to {}", wire.0);
        match self.nodes[id.0].socket.handle_connected(now, Origin::Dialled(dial), address) {
            Ok(connection) => self.attach(id, connection, wire, Side::Dialler),
            Err(_) => self.close_end(wire, Side::Dialler),
        }
        self.dirty.push_back(id);
    }

    fn attach(&mut self, id: NodeId, connection: ConnectionId, wire: WireId, side: Side) {
        let link = Link {
            wire,
            side,
            buffer: BytesMut::new(),
            batch: Batch::default(),
            half_closed: false,
            stalled: false,
        };
        self.nodes[id.0].links.insert(connection, link);
        self.wires[wire.0].set_end(side, End::Socket(id, connection));
        self.lose_on_new(wire);
        self.service(id, connection);
    }

    /// Something changed for an end.
    pub(crate) fn wake_end(&mut self, wire: WireId, side: Side) {
        match self.wires[wire.0].end(side) {
            End::Socket(node, connection) => {
                if self.nodes[node.0].frozen {
                    return;
                }
                if let Some(later) = self.puts_off() {
                    self.plan(later, Happening::Window(wire, side == Side::Listener));
                    return;
                }
                self.service(node, connection);
                self.dirty.push_back(node);
            }
            End::Raw(raw) => self.serve_raw(raw),
            End::Open | End::Closed => {}
        }
    }

    /// Does for one connection of a socket what can be done now.
    pub(crate) fn service(&mut self, id: NodeId, connection: ConnectionId) {
        let now = self.clock(id);
        let node = &mut self.nodes[id.0];
        let Some(link) = node.links.get_mut(&connection) else { return };
        if !link.buffer.is_empty() {
            node.socket.handle_received(now, connection, &mut link.buffer);
        }
        if self.write_out(id, connection) && self.read_in(id, connection) {
            // What was read may have left something to write.
            self.write_out(id, connection);
        }
        self.nodes[id.0].note_events(now);
    }

    /// Writes what a connection has to write, as far as it goes. False if it is gone.
    fn write_out(&mut self, id: NodeId, connection: ConnectionId) -> bool {
        let now = self.clock(id);
        loop {
            let node = &mut self.nodes[id.0];
            let Some(link) = node.links.get_mut(&connection) else { return false };
            let (wire, side) = (link.wire, link.side);
            if node.socket.link_state(connection) == LinkState::Close {
                self.hang_up(id, connection, CloseReason::Ended);
                return false;
            }
            if !node.socket.transmit(now, connection, &mut link.batch) {
                let half = node.socket.link_state(connection) == LinkState::HalfClose;
                if half && !core::mem::replace(&mut link.half_closed, true) {
                    self.finish_writing(wire, side);
                }
                return true;
            }
            if self.wires[wire.0].is_reset(side) {
                self.hang_up(id, connection, CloseReason::Failed);
                return false;
            }
            if self.write_some(id, connection) == 0 {
                return true;
            }
        }
    }

    /// One system call's worth of writing.
    fn write_some(&mut self, id: NodeId, connection: ConnectionId) -> usize {
        let Some(link) = self.nodes[id.0].links.get_mut(&connection) else { return 0 };
        let (wire, side) = (link.wire, link.side);
        let window = self.wires[wire.0].written_by(side).window();
        let most =
            if self.chunking == Chunking::Random && window > 0 { self.rng.usize(1..=window) } else { window };
        let mut bytes = BytesMut::new();
        for slice in link.batch.slices().take(SLICES) {
            bytes.extend_from_slice(&slice[..slice.len().min(most - bytes.len())]);
        }
        let taken = bytes.len();
        if taken == 0 {
            return 0;
        }
        link.batch.advance(taken);
        self.transport(wire, side, bytes);
        let now = self.clock(id);
        let node = &mut self.nodes[id.0];
        if let Some(link) = node.links.get_mut(&connection) {
            node.socket.handle_transmitted(now, connection, &mut link.batch);
        }
        taken
    }

    /// Reads what has arrived, as far as the socket wants it. False if the connection is gone.
    fn read_in(&mut self, id: NodeId, connection: ConnectionId) -> bool {
        let now = self.now;
        loop {
            let node = &mut self.nodes[id.0];
            let Some(link) = node.links.get_mut(&connection).filter(|link| !link.stalled) else {
                return true;
            };
            let wanted = node.socket.wants_read(connection, &link.buffer);
            if node.socket.link_state(connection) == LinkState::Close {
                self.hang_up(id, connection, CloseReason::Ended);
                return false;
            }
            if wanted == 0 {
                return true;
            }
            let (wire, side) = (link.wire, link.side);
            let is_reset = self.wires[wire.0].is_reset(side);
            let pipe = self.wires[wire.0].read_by(side);
            if pipe.available() == 0 {
                let ended = pipe.is_ended(now);
                if !ended && !is_reset {
                    return true;
                }
                let reason = if ended { CloseReason::PeerClosed } else { CloseReason::Failed };
                self.hang_up(id, connection, reason);
                return false;
            }
            let most = pipe.available().min(wanted).min(READ);
            let most = if self.chunking == Chunking::Random { self.rng.usize(1..=most) } else { most };
            let bytes = pipe.take(most);
            self.announce_window(wire, side.other());
            self.hand_over(id, connection, &bytes);
        }
    }

    /// Gives bytes that were read to the core.
    fn hand_over(&mut self, id: NodeId, connection: ConnectionId, bytes: &[u8]) {
        let now = self.clock(id);
        let node = &mut self.nodes[id.0];
        let Some(link) = node.links.get_mut(&connection) else { return };
        link.buffer.extend_from_slice(bytes);
        node.socket.handle_received(now, connection, &mut link.buffer);
        let unread = link.buffer.len();
        node.note_events(now);
        if !node.record.open.contains(&connection) {
            let high_water = &mut node.record.introduction_high_water;
            *high_water = (*high_water).max(unread);
        }
    }

    /// Ends a connection on a socket's side, and tells it.
    pub(crate) fn hang_up(&mut self, id: NodeId, connection: ConnectionId, reason: CloseReason) {
        let now = self.clock(id);
        let node = &mut self.nodes[id.0];
        let Some(mut link) = node.links.remove(&connection) else { return };
        node.socket.handle_disconnected(now, connection, &mut link.batch, reason);
        node.note_events(now);
        self.close_end(link.wire, link.side);
        self.dirty.push_back(id);
    }

    /// Sends bytes on their way.
    pub(crate) fn transport(&mut self, wire: WireId, side: Side, mut bytes: BytesMut) {
        while bytes.has_remaining() {
            let length = match self.chunking {
                Chunking::Whole => bytes.len(),
                Chunking::Bytes => 1,
                Chunking::Random if self.rng.u8(..) < 64 => self.rng.usize(1..=bytes.len().min(8)),
                Chunking::Random => self.rng.usize(1..=bytes.len()),
            };
            let arrival = self.arrival(wire, side);
            let chunk = bytes.split_to(length).freeze();
            let arrival = self.wires[wire.0].written_by(side).send(chunk, arrival);
            self.plan(arrival, Happening::Arrival(wire, side == Side::Dialler));
        }
    }

    /// Ends what `side` writes.
    pub(crate) fn finish_writing(&mut self, wire: WireId, side: Side) {
        let arrival = self.arrival(wire, side);
        let arrival = self.wires[wire.0].written_by(side).finish(arrival);
        self.plan(arrival, Happening::Arrival(wire, side == Side::Dialler));
    }

    /// Closes an end for good. As with TCP, input that was not read makes the other end fail, and what it had not
    /// received yet is lost.
    pub(crate) fn close_end(&mut self, wire: WireId, side: Side) {
        let connection = &mut self.wires[wire.0];
        if connection.is_closed(side) {
            return;
        }
        connection.set_end(side, End::Closed);
        if connection.is_reset(side) {
            return;
        }
        let unread = connection.read_by(side).available() > 0;
        connection.read_by(side).discard_arrived();
        if unread {
            self.send_reset(wire, side);
        } else {
            self.finish_writing(wire, side);
        }
    }

    /// Tells the other end of `side` that it writes to nobody.
    fn send_reset(&mut self, wire: WireId, side: Side) {
        self.wires[wire.0].written_by(side).discard_travelling();
        if self.wires[wire.0].written_by(side).swallows {
            return;
        }
        let arrival = self.arrival(wire, side);
        self.plan(arrival, Happening::Reset(wire, side == Side::Dialler));
    }

    pub(crate) fn handle_arrival(&mut self, wire: WireId, side: Side) {
        let now = self.now;
        let connection = &mut self.wires[wire.0];
        let closed = connection.is_closed(side);
        let some = connection.read_by(side).arrive(now);
        if closed {
            connection.read_by(side).discard_arrived();
            if some && !connection.is_reset(side.other()) {
                self.send_reset(wire, side);
            }
            return;
        }
        self.wake_end(wire, side);
    }

    pub(crate) fn handle_reset(&mut self, wire: WireId, side: Side) {
        let connection = &mut self.wires[wire.0];
        if connection.is_closed(side) || connection.is_reset(side) {
            return;
        }
        connection.set_reset(side);
        connection.read_by(side).discard_travelling();
        connection.written_by(side).discard_travelling();
        self.wake_end(wire, side);
    }

    /// Tells a writer that what it wrote was read.
    pub(crate) fn announce_window(&mut self, wire: WireId, writer: Side) {
        let at = self.now + self.latency;
        self.plan(at, Happening::Window(wire, writer == Side::Listener));
    }
}
