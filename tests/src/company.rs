//! A socket that listens, in the company of raw peers. What many tests start from that need no well-behaved friend.

use core::time::Duration;

use aiomsg_proto::{Config, Identity};

use crate::network::Network;
use crate::node::NodeId;
use crate::raw::RawId;
use crate::scene::Scene;
use crate::wire;

/// Long enough for all that is on its way to arrive, and for answers to come back.
pub const MOMENT: Duration = Duration::from_millis(50);

/// The length of a v1 HELLO with its prefix.
pub const HELLO: usize = 22;

/// What a pipe holds that is not kept short.
const AMPLE: usize = 1 << 20;

/// A socket that listens at [`Scene::ADDRESS`].
pub fn server(config: Config) -> (Network, NodeId) {
    let mut net = Network::new(5);
    let server = net.socket(config);
    net.listen(server, Scene::ADDRESS);
    (net, server)
}

/// The identity of a raw peer.
pub const fn id(number: u8) -> Identity {
    Identity::from_bytes([number; 16])
}

/// A raw peer that has introduced itself in v1.
pub fn peer(net: &mut Network, number: u8) -> RawId {
    peer_of(net, number, AMPLE, true)
}

/// A raw peer that has introduced itself in v1, does not read, and to which no more than `capacity` bytes can be written.
pub fn stalled_peer(net: &mut Network, number: u8, capacity: usize) -> RawId {
    peer_of(net, number, capacity, false)
}

/// A raw peer that has introduced itself in v1, to which no more than `capacity` bytes can be written as long as it does
/// not read.
pub fn peer_of(net: &mut Network, number: u8, capacity: usize, reading: bool) -> RawId {
    net.set_capacity(capacity);
    let raw = net.dial_raw(Scene::ADDRESS);
    net.set_reading(raw, reading);
    net.set_capacity(AMPLE);
    net.write(raw, wire::hello(id(number)));
    net.run_for(MOMENT);
    raw
}

/// Cuts the connection of a raw peer.
pub fn lose(net: &mut Network, raw: RawId) {
    let wire = net.wire_of_raw(raw);
    net.cut(wire);
    net.run_for(MOMENT);
}
