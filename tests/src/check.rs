//! What many tests check.

use aiomsg_proto::{CloseReason, Event, Metrics, Usage};
use bytes::Bytes;

use crate::network::Network;
use crate::node::NodeId;

/// `count` short payloads that tell their place.
pub fn numbered(count: usize) -> Vec<Bytes> {
    (0..count).map(|number| Bytes::from(format!("message {number}"))).collect()
}

/// Why connections of a socket came to nothing, in order.
pub fn refusals(network: &Network, node: NodeId) -> Vec<CloseReason> {
    let refusal = |event: &Event| match event {
        Event::Refused { reason, .. } => Some(*reason),
        _ => None,
    };
    network.events(node).iter().filter_map(|(_, event)| refusal(event)).collect()
}

/// Why peers of a socket left, in order.
pub fn departures(network: &Network, node: NodeId) -> Vec<CloseReason> {
    let departure = |event: &Event| match event {
        Event::Disconnected { reason, .. } => Some(*reason),
        _ => None,
    };
    network.events(node).iter().filter_map(|(_, event)| departure(event)).collect()
}

/// Checks that every message that a socket accepted for one peer at a time is handed over, acknowledged if that was
/// asked for, held, or counted as dropped.
///
/// # Panics
/// If it is not.
pub fn assert_conserved(network: &Network, node: NodeId) {
    assert_accounted(&network.node(node).metrics());
}

/// As [`assert_conserved`], by the counters of a socket.
pub(crate) fn assert_accounted(metrics: &Metrics) {
    let parts = [
        metrics.handed_over,
        metrics.acknowledged,
        metrics.send_held,
        metrics.dropped_undeliverable,
        metrics.dropped_expired,
        metrics.dropped_at_close,
    ];
    let sum = parts.iter().fold(Usage::default(), |sum, part| Usage {
        messages: sum.messages + part.messages,
        bytes: sum.bytes + part.bytes,
    });
    assert_eq!(metrics.accepted, sum, "{metrics:?}");
}
