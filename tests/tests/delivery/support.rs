//! A sender or receiver among raw peers that speak either dialect.

use core::time::Duration;

use aiomsg_proto::{Config, DeliveryGuarantee, Identity, Usage};
use aiomsg_tests::{Network, NodeId, RawId, Scene, wire};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MOMENT: Duration = Duration::from_millis(50);

/// The length of a v1 HELLO with its prefix.
pub(crate) const HELLO: usize = 22;

/// At-least-once, among peers that send no heartbeats.
pub(crate) fn at_least_once() -> Config {
    patient().delivery(DeliveryGuarantee::AtLeastOnce)
}

/// Default settings, among peers that send no heartbeats.
pub(crate) fn patient() -> Config {
    Config::default().heartbeat_timeout(SECOND * 100_000)
}

/// A socket that listens at [`Scene::ADDRESS`].
pub(crate) fn server(config: Config) -> (Network, NodeId) {
    let mut net = Network::new(5);
    let server = net.socket(config);
    net.listen(server, Scene::ADDRESS);
    (net, server)
}

pub(crate) fn id(number: u8) -> Identity {
    Identity::from_bytes([number; 16])
}

/// The id of a message of a raw peer.
pub(crate) fn message_id(number: usize) -> [u8; 16] {
    (number as u128).to_be_bytes()
}

/// A raw peer that has introduced itself in v1.
pub(crate) fn peer(net: &mut Network, number: u8) -> RawId {
    let raw = net.dial_raw(Scene::ADDRESS);
    net.write(raw, wire::hello(id(number)));
    net.run_for(MOMENT);
    raw
}

/// A raw peer that has introduced itself in the classic dialect.
pub(crate) fn classic_peer(net: &mut Network, number: u8) -> RawId {
    let raw = net.dial_raw(Scene::ADDRESS);
    net.write(raw, wire::frame(id(number).as_bytes()));
    net.run_for(MOMENT);
    raw
}

/// A raw peer that has introduced itself, does not read, and to which no more than `capacity` bytes can be written.
pub(crate) fn stalled_peer(net: &mut Network, number: u8, capacity: usize) -> RawId {
    net.set_capacity(capacity);
    let raw = net.dial_raw(Scene::ADDRESS);
    net.set_reading(raw, false);
    net.set_capacity(1 << 20);
    net.write(raw, wire::hello(id(number)));
    net.run_for(MOMENT);
    raw
}

pub(crate) fn lose(net: &mut Network, raw: RawId) {
    let wire = net.wire_of_raw(raw);
    net.cut(wire);
    net.run_for(MOMENT);
}

/// The DATA_REQ that a v1 peer got: ids and payloads.
pub(crate) fn requests(net: &Network, raw: RawId) -> Vec<([u8; 16], Vec<u8>)> {
    let request = |frame: Vec<u8>| match frame.split_first() {
        Some((4, body)) => body.split_first_chunk().map(|(id, payload)| (*id, payload.to_vec())),
        _ => None,
    };
    wire::partial_frames(net.bytes(raw)).0.into_iter().filter_map(request).collect()
}

/// The payloads of the DATA_REQ that a v1 peer got.
pub(crate) fn requested(net: &Network, raw: RawId) -> Vec<Vec<u8>> {
    requests(net, raw).into_iter().map(|(_, payload)| payload).collect()
}

/// The ids of the ACK that a v1 peer got.
pub(crate) fn acknowledged(net: &Network, raw: RawId) -> Vec<[u8; 16]> {
    let acknowledgement = |frame: Vec<u8>| match frame.split_first() {
        Some((5, id)) => id.try_into().ok(),
        _ => None,
    };
    wire::partial_frames(net.bytes(raw)).0.into_iter().filter_map(acknowledgement).collect()
}

/// Has a v1 peer acknowledge all that it got from the `from`th request on.
pub(crate) fn acknowledge_from(net: &mut Network, raw: RawId, from: usize) {
    for (id, _) in requests(net, raw).into_iter().skip(from) {
        net.write(raw, wire::ack(id));
    }
    net.run_for(MOMENT);
}

pub(crate) fn sum(parts: &[Usage]) -> Usage {
    parts.iter().fold(Usage::default(), |sum, part| Usage {
        messages: sum.messages + part.messages,
        bytes: sum.bytes + part.bytes,
    })
}

/// Checks that each accepted message is in exactly one state.
pub(crate) fn assert_conserved(net: &Network, node: NodeId) {
    let metrics = net.node(node).metrics();
    let parts = sum(&[
        metrics.handed_over,
        metrics.acknowledged,
        metrics.send_held,
        metrics.dropped_undeliverable,
        metrics.dropped_expired,
        metrics.dropped_at_close,
    ]);
    assert_eq!(metrics.accepted, parts, "{metrics:?}");
}

/// How many messages a socket holds for sending.
pub(crate) fn held(net: &Network, node: NodeId) -> usize {
    net.node(node).metrics().send_held.messages
}
