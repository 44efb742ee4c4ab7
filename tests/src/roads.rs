//! The ways between sockets: long ones, and those on which nothing gets through.

use core::time::Duration;

use aiomsg_proto::Instant;

use crate::connection::{End, Side, WireId};
use crate::network::{Dialler, Happening, Network};
use crate::node::NodeId;

/// A driver gives up a dial that has had no answer for this long.
const DIAL_DEADLINE: Duration = Duration::from_secs(10);

/// A system asks again this long after a first attempt to connect had no answer, and after twice as long each time.
const ASKED_AGAIN: Duration = Duration::from_secs(1);

/// A connection on its way to its listener.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) dialler: Dialler,
    pub(crate) address: String,
    pub(crate) since: Instant,
}

impl Network {
    /// Lets connections to `address` take so much longer to be made from now on.
    pub fn set_delay(&mut self, address: &str, delay: Duration) {
        self.delays.insert(address.into(), delay);
    }

    /// Lets nothing that one socket writes get to another, and no connection come to be between them.
    pub fn sever(&mut self, from: NodeId, to: NodeId) {
        self.severed.insert((from, to));
        for (wire, side) in self.wires_between(from, to) {
            self.swallow(wire, side);
        }
    }

    /// Lets what one socket writes get to another again, what was lost first.
    pub fn mend(&mut self, from: NodeId, to: NodeId) {
        self.severed.remove(&(from, to));
        for (wire, side) in self.wires_between(from, to) {
            self.restore(wire, side);
        }
    }

    /// Lets a socket's clock go ahead at once, as after a pause of its machine that no other has noticed.
    pub fn set_clock_ahead(&mut self, node: NodeId, by: Duration) {
        self.node_mut(node).ahead += by;
        self.touch(node);
    }

    /// What time it is for a socket.
    pub fn clock(&self, node: NodeId) -> Instant {
        self.now + self.nodes[node.0].ahead
    }

    /// A new connection is between two of which one does not hear the other.
    pub(crate) fn lose_on_new(&mut self, wire: WireId) {
        for side in [Side::Dialler, Side::Listener] {
            if let Some(from) = self.holder(wire, side)
                && let Some(to) = self.holder(wire, side.other())
                && self.severed.contains(&(from, to))
            {
                self.swallow(wire, side);
            }
        }
    }

    /// Sends a connection on its way to `address`.
    pub(crate) fn request(&mut self, wire: WireId, dialler: Dialler, address: String) {
        let delay = self.delays.get(&address).copied().unwrap_or_default();
        self.requests.push(Request { dialler, address, since: self.now });
        let number = self.requests.len() - 1;
        if let (Dialler::Node(node, dial), true) = (dialler, delay > DIAL_DEADLINE) {
            self.plan(self.now + DIAL_DEADLINE, Happening::NoAnswer(node.0, dial));
        } else {
            let arrival = self.arrival(wire, Side::Dialler) + delay;
            self.plan(arrival, Happening::Request(wire, number));
        }
    }

    /// Whether a connection is lost on its way to `listener`. It is sent again then, or given up.
    pub(crate) fn is_lost(&mut self, wire: WireId, number: usize, listener: NodeId) -> bool {
        let Dialler::Node(node, dial) = self.requests[number].dialler else { return false };
        if !self.severed.contains(&(node, listener)) && !self.severed.contains(&(listener, node)) {
            return false;
        }
        let since = self.requests[number].since;
        let again = self.now + ASKED_AGAIN.max(self.now.saturating_duration_since(since));
        if again < since + DIAL_DEADLINE {
            self.plan(again, Happening::Request(wire, number));
        } else {
            self.plan(since + DIAL_DEADLINE, Happening::NoAnswer(node.0, dial));
        }
        true
    }

    /// Connections between two sockets, and the side of the first.
    fn wires_between(&self, from: NodeId, to: NodeId) -> Vec<(WireId, Side)> {
        let side = |wire: WireId| {
            let sides = [Side::Dialler, Side::Listener];
            sides.into_iter().find(|side| {
                self.holder(wire, *side) == Some(from) && self.holder(wire, side.other()) == Some(to)
            })
        };
        self.wires(from).into_iter().filter_map(|wire| Some((wire, side(wire)?))).collect()
    }

    fn holder(&self, wire: WireId, side: Side) -> Option<NodeId> {
        match self.wires[wire.0].end(side) {
            End::Socket(node, _) => Some(node),
            End::Open if side == Side::Dialler => self.dialling.get(&wire).map(|(node, _)| *node),
            End::Open | End::Raw(_) | End::Closed => None,
        }
    }

    fn restore(&mut self, wire: WireId, side: Side) {
        let arrival = self.arrival(wire, side);
        let arrival = self.wires[wire.0].written_by(side).restore(arrival);
        self.plan(arrival, Happening::Arrival(wire, side == Side::Dialler));
    }

    /// Lets bytes arrive again, those that vanished first.
    pub fn heal(&mut self, wire: WireId) {
        self.restore(wire, Side::Dialler);
        self.restore(wire, Side::Listener);
    }
}
