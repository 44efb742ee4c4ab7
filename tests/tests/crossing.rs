//! Sockets that have more than one way to each other end up with one connection.

use core::time::Duration;

use aiomsg_proto::{Config, Event, Identity, Limit};
use aiomsg_tests::{Ended, Network, NodeId, Scene, Taking, WireId, numbered, wire};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Two sockets that listen; the second has the greater identity.
fn pair(seed: u64) -> (Network, NodeId, NodeId) {
    pair_of(seed, &Config::default())
}

fn pair_of(seed: u64, config: &Config) -> (Network, NodeId, NodeId) {
    let mut net = Network::new(seed);
    let lesser = net.socket(config.clone());
    let greater = net.socket(config.clone());
    assert!(net.identity(lesser) < net.identity(greater));
    net.listen(lesser, "lesser");
    net.listen(greater, "greater");
    (net, lesser, greater)
}

/// The one connection between two sockets, which both agree on.
fn only_wire(net: &Network, a: NodeId, b: NodeId) -> WireId {
    assert_eq!((net.node(a).peer_count(), net.node(b).peer_count()), (1, 1));
    let wire = net.wire_to(a, net.identity(b));
    assert_eq!(wire, net.wire_to(b, net.identity(a)), "each holds on to another one");
    wire
}

fn assert_all_arrived_once(net: &Network, a: NodeId, b: NodeId, count: usize) {
    for node in [a, b] {
        assert_eq!(net.payloads(node), numbered(count), "at {node:?}");
    }
}

/// Has both dial each other `apart` from each other while they send, and checks that nothing is lost or doubled.
fn cross(seed: u64, apart: Duration) -> (Network, NodeId, NodeId) {
    let (mut net, lesser, greater) = pair(seed);
    net.set_latency(MILLISECOND, MILLISECOND * u32::try_from(1 + seed % 20).expect("small"));
    let messages = numbered(200);
    net.dial(lesser, "greater");
    net.run_for(apart);
    net.dial(greater, "lesser");
    for message in &messages {
        for node in [lesser, greater] {
            net.send(node, message.clone()).expect("there is room");
        }
        net.run_for(Duration::from_micros(500));
    }
    net.run_for(SECOND * 30);
    only_wire(&net, lesser, greater);
    assert_all_arrived_once(&net, lesser, greater, messages.len());
    (net, lesser, greater)
}

#[test]
fn dials_at_the_same_time_leave_the_one_of_the_greater_identity() {
    for seed in 0..20 {
        let (mut net, lesser, greater) = pair(seed);
        net.dial(lesser, "greater");
        net.dial(greater, "lesser");
        net.run_for(SECOND * 3);
        let wire = only_wire(&net, lesser, greater);
        assert_eq!(net.dialled(greater, wire), Some(true), "the greater identity's dial stays");
        assert_eq!(net.wires(lesser).len(), 1);
        net.run_for(SECOND * 600);
        let attempts = [lesser, greater].map(|node| net.node(node).metrics().dial_attempts);
        assert_eq!(attempts, [1, 1], "the other dial rests as long as that connection is there");
    }
}

#[test]
fn crossing_dials_lose_and_double_nothing() {
    for seed in 0..40 {
        let apart = Duration::from_micros(seed * 700);
        cross(seed, apart);
    }
}

#[test]
fn crossing_dials_lose_nothing_when_nobody_takes_anything_for_a_while() {
    for seed in 0..20 {
        let config = Config::default().receive_buffer(Limit::new(3, 1_000));
        let (mut net, lesser, greater) = pair_of(seed, &config);
        net.set_latency(MILLISECOND, MILLISECOND * 10);
        let messages = numbered(200);
        for node in [lesser, greater] {
            net.set_taking(node, Taking::Nothing);
            for message in &messages {
                net.send(node, message.clone()).expect("there is room");
            }
        }
        net.dial(lesser, "greater");
        net.run_for(MILLISECOND * u32::try_from(seed).expect("small"));
        net.dial(greater, "lesser");
        net.run_for(SECOND * 10);
        for node in [lesser, greater] {
            net.set_taking(node, Taking::All);
        }
        net.run_for(SECOND * 30);
        only_wire(&net, lesser, greater);
        assert_all_arrived_once(&net, lesser, greater, messages.len());
    }
}

#[test]
fn a_later_dial_leaves_the_connection_that_is_there() {
    let (net, lesser, greater) = cross(1, SECOND * 2);
    let connected =
        |node| net.events(node).iter().filter(|(_, event)| matches!(event, Event::Connected { .. })).count();
    assert_eq!((connected(lesser), connected(greater)), (1, 1), "it was not even interrupted");
}

#[test]
fn when_the_connection_ends_a_resting_dial_makes_the_next_one() {
    let (mut net, lesser, greater) = pair(4);
    net.dial(lesser, "greater");
    net.dial(greater, "lesser");
    net.run_for(SECOND * 3);
    net.unlisten("lesser");
    let wire = only_wire(&net, lesser, greater);
    net.cut(wire);
    net.run_for(SECOND);
    let wire = only_wire(&net, lesser, greater);
    assert_eq!(net.dialled(lesser, wire), Some(true));
}

#[test]
fn a_peer_dialled_twice_is_connected_once() {
    let (mut net, lesser, greater) = pair(5);
    net.dial(lesser, "greater");
    net.dial(lesser, "greater");
    for message in numbered(100) {
        net.send(lesser, message.clone()).expect("there is room");
        net.send(greater, message).expect("there is room");
        net.run_for(MILLISECOND);
    }
    net.run_for(SECOND * 60);
    only_wire(&net, lesser, greater);
    assert_all_arrived_once(&net, lesser, greater, 100);
    let attempts = net.node(lesser).metrics().dial_attempts;
    assert!(attempts < 60, "the second dial backs off: {attempts} attempts in a minute");
}

#[test]
fn a_peer_listening_twice_is_connected_once() {
    let (mut net, lesser, greater) = pair(6);
    net.listen(greater, "other door");
    net.dial(lesser, "greater");
    net.dial(lesser, "other door");
    net.run_for(SECOND * 60);
    only_wire(&net, lesser, greater);
}

/// A connection of a peer is read to its end before what the peer has sent on later ones, although those, too, are ended
/// before their turn comes.
#[test]
fn dialling_anew_again_and_again_keeps_the_order_of_what_the_peer_sent() {
    const PEER: Identity = Identity::from_bytes([0xee; 16]);
    let mut net = Network::new(6);
    let client = net.socket(Config::default().receive_buffer(Limit::new(4, 1_000)));
    net.set_taking(client, Taking::Nothing);
    net.listen_raw("peer");
    // The first connection cannot be read to its end, and leaves room that others may use.
    let messages = numbered(13);
    let mut rest = messages.as_slice();
    for count in [10, 1, 1, 1] {
        let dial = net.dial(client, "peer");
        net.run_for(MILLISECOND * 10);
        let raw = net.accept("peer").expect("it was dialled");
        net.write(raw, wire::hello(PEER));
        let (batch, later) = rest.split_at(count);
        for message in batch {
            net.write(raw, wire::data(message));
        }
        net.finish(raw);
        rest = later;
        net.run_for(MILLISECOND * 10);
        net.command(client, |socket, now| socket.undial(now, dial));
    }
    net.run_for(MILLISECOND * 10);
    assert_eq!(net.wires(client).len(), 4, "each waits for its turn");
    net.set_taking(client, Taking::All);
    net.run_for(SECOND);
    assert_eq!(net.payloads(client), messages);
    assert_eq!(net.wires(client).len(), 0, "all have ended");
}

/// Both connect to each other. It is for the peer to end the connection that we made. It does not, so after a second we close
/// our half of it, which our driver is to be told.
#[test]
fn a_connection_that_the_peer_does_not_end_is_half_closed_after_a_second() {
    const PEER: Identity = Identity::from_bytes([0xee; 16]);
    let mut net = Network::new(5);
    let server = net.socket(Config::default());
    net.listen(server, Scene::ADDRESS);
    let accepted = net.dial_raw(Scene::ADDRESS);
    net.write(accepted, wire::hello(PEER));
    net.run_for(Duration::from_millis(10));
    net.listen_raw("peer");
    net.dial(server, "peer");
    net.run_for(Duration::from_millis(10));
    let dialled = net.accept("peer").expect("it was dialled");
    net.write(dialled, wire::hello(PEER));
    net.run_for(SECOND + SECOND / 2);
    assert_eq!(net.ended(dialled), Some(Ended::Finished), "half-closed a second after it came");
    net.run_for(SECOND);
    assert_eq!(net.node(server).metrics().connections, 1);
}
