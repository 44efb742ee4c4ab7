//! What must not matter does not: late timers, lazy drivers, how bytes are cut, clocks that run back.

use core::time::Duration;

use aiomsg_proto::{Config, Identity, Instant, Origin, Socket};
use aiomsg_tests::{Chunking, Network, wire};
use bytes::Bytes;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Two sockets that have 500 messages for each other, with a restless network. Returns what each got.
fn exchange(net: &mut Network) -> [Vec<Bytes>; 2] {
    let nodes = [net.socket(Config::default()), net.socket(Config::default())];
    net.listen(nodes[0], "a");
    net.dial(nodes[1], "a");
    for number in 0..500_u32 {
        for node in nodes {
            net.send(node, number.to_be_bytes().to_vec()).expect("there is room");
        }
        net.run_for(MILLISECOND * 50);
    }
    net.run_for(SECOND * 30);
    for node in nodes {
        assert_eq!(net.node(node).peer_count(), 1);
        assert_eq!(net.node(node).metrics().connected, 1, "it was never interrupted");
    }
    nodes.map(|node| net.payloads(node))
}

fn numbers() -> Vec<Bytes> {
    (0..500_u32).map(|number| number.to_be_bytes().to_vec().into()).collect()
}

#[test]
fn timers_that_fire_late_interrupt_nothing() {
    for seed in 0..10 {
        let mut net = Network::new(seed);
        net.set_lateness(SECOND * 3);
        assert_eq!(exchange(&mut net), [numbers(), numbers()]);
    }
}

#[test]
fn drivers_that_leave_things_lying_lose_nothing() {
    for seed in 0..10 {
        let mut net = Network::new(seed);
        net.set_laziness(MILLISECOND * 300);
        assert_eq!(exchange(&mut net), [numbers(), numbers()]);
    }
}

#[test]
fn how_bytes_are_cut_does_not_matter() {
    for chunking in [Chunking::Whole, Chunking::Bytes, Chunking::Random] {
        let mut net = Network::new(1);
        net.set_chunking(chunking);
        assert_eq!(exchange(&mut net), [numbers(), numbers()], "{chunking:?}");
    }
}

#[test]
fn time_never_runs_back() {
    let start = Instant::EPOCH + SECOND * 100;
    let identity = Identity::from_bytes([1; 16]);
    let mut socket = Socket::new(Config::default(), identity, 1, start).expect("valid");
    let id = socket.handle_connected(Instant::EPOCH, Origin::Accepted, "a").expect("there is a place");
    let due = socket.poll_timeout().expect("an introduction has its time");
    assert!(due > start, "what is due counts from the latest time seen");
    socket.handle_timeout(Instant::EPOCH);
    socket.handle_received(
        Instant::EPOCH,
        id,
        &mut wire::hello(Identity::from_bytes([2; 16])).as_slice().into(),
    );
    assert_eq!(socket.peer_count(), 1);
    socket.handle_timeout(start + SECOND * 4);
    socket.handle_received(Instant::EPOCH, id, &mut wire::heartbeat().as_slice().into());
    socket.handle_timeout(start + SECOND * 18);
    assert_eq!(socket.peer_count(), 1, "the heartbeat came at 4 s, whatever was said");
}
