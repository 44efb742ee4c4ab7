//! A sender or receiver among raw peers that speak either dialect.

use core::time::Duration;

use aiomsg_proto::{Config, DeliveryGuarantee};
pub(crate) use aiomsg_tests::assert_conserved;
pub(crate) use aiomsg_tests::company::{HELLO, MOMENT, id, lose, peer, server, stalled_peer};
use aiomsg_tests::{Network, NodeId, RawId, Scene, wire};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// At-least-once, among peers that send no heartbeats.
pub(crate) fn at_least_once() -> Config {
    patient().delivery(DeliveryGuarantee::AtLeastOnce)
}

/// Default settings, among peers that send no heartbeats.
pub(crate) fn patient() -> Config {
    Config::default().heartbeat_timeout(SECOND * 100_000)
}

/// The id of a message of a raw peer.
pub(crate) fn message_id(number: usize) -> [u8; 16] {
    (number as u128).to_be_bytes()
}

/// A raw peer that has introduced itself in the classic dialect.
pub(crate) fn classic_peer(net: &mut Network, number: u8) -> RawId {
    let raw = net.dial_raw(Scene::ADDRESS);
    net.write(raw, wire::frame(id(number).as_bytes()));
    net.run_for(MOMENT);
    raw
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

/// How many messages a socket holds for sending.
pub(crate) fn held(net: &Network, node: NodeId) -> usize {
    net.node(node).metrics().send_held.messages
}
