//! Peers that come in numbers, or that come again without end.

use core::time::Duration;

use aiomsg_proto::{CloseReason, Config, DuplicateIdentity, Event, Identity, Limit, Metrics};
use aiomsg_tests::{Chunking, NodeId, RawId, Scene, refusals, wire};

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(50);

/// As fast as the fastest existing peer dials.
const DIALS_A_SECOND: u32 = 3_000;

/// Has a stranger connect, write `bytes` and close, 3,000 times a second for `seconds`.
fn redial(scene: &mut Scene, seconds: u32, bytes: &[u8]) {
    scene.net.set_chunking(Chunking::Whole);
    let mut open: Vec<RawId> = Vec::new();
    for _ in 0..DIALS_A_SECOND * seconds {
        open.push(scene.stranger_writes(bytes));
        scene.run_for(SECOND / DIALS_A_SECOND);
        if open.len() > 10 {
            scene.net.close(open.remove(0));
        }
    }
    for raw in open {
        scene.net.close(raw);
    }
    scene.run_for(MOMENT);
}

fn assert_at_rest(scene: &Scene, node: NodeId) -> Metrics {
    let metrics = scene.net.node(node).metrics();
    assert_eq!((metrics.connections, metrics.handshakes), (1, 0), "only the friend is left");
    metrics
}

/// The most refusals told within any of the seconds that a clock counts.
fn refusals_in_a_second(scene: &Scene) -> usize {
    let at: Vec<_> = scene
        .net
        .events(scene.server)
        .iter()
        .filter(|(_, event)| matches!(event, Event::Refused { .. }))
        .map(|(at, _)| *at)
        .collect();
    let within = |from: usize| {
        at[from..].iter().take_while(|later| later.saturating_duration_since(at[from]) < SECOND).count()
    };
    (0..at.len()).map(within).max().unwrap_or_default()
}

#[test]
fn a_peer_that_redials_without_introducing_itself_is_told_of_now_and_then() {
    let mut scene = Scene::new(4, Config::default());
    redial(&mut scene, 4, b"");
    let metrics = assert_at_rest(&scene, scene.server);
    assert_eq!(metrics.refused, u64::from(DIALS_A_SECOND) * 4, "all are counted");
    let told = refusals(&scene.net, scene.server).len();
    assert!((32..=32 * 6).contains(&told), "{told} told in a little over four seconds");
    assert!(refusals_in_a_second(&scene) <= 32, "{}", refusals_in_a_second(&scene));
    scene.assert_served();
}

#[test]
fn a_peer_that_redials_with_garbage_does_no_more() {
    let mut scene = Scene::new(4, Config::default());
    redial(&mut scene, 2, b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(assert_at_rest(&scene, scene.server).refused, u64::from(DIALS_A_SECOND) * 2);
    assert!(refusals_in_a_second(&scene) <= 32);
    scene.assert_served();
}

#[test]
fn a_duplicate_that_redials_does_not_disturb_the_holder() {
    for policy in [DuplicateIdentity::Probe, DuplicateIdentity::Reject] {
        let mut scene = Scene::new(4, Config::default().duplicate_identity(policy));
        let friend = wire::hello(scene.net.identity(scene.friend));
        redial(&mut scene, 2, &friend);
        assert_at_rest(&scene, scene.server);
        assert!(refusals_in_a_second(&scene) <= 32);
        scene.assert_served();
    }
}

#[test]
fn a_peer_that_connects_and_leaves_is_told_in_pairs() {
    let mut scene = Scene::new(4, Config::default());
    redial(&mut scene, 2, &wire::hello(Scene::stranger()));
    let metrics = assert_at_rest(&scene, scene.server);
    let mut balance = 0_i64;
    for (_, event) in scene.net.events(scene.server) {
        balance += match event {
            Event::Connected { .. } => 1,
            Event::Disconnected { .. } => -1,
            _ => 0,
        };
        assert!((0..=2).contains(&balance));
    }
    assert_eq!(balance, 1, "the friend");
    assert_eq!(metrics.connected - metrics.disconnected, 1);
    assert!(metrics.connected > 500, "some of them get through: {metrics:?}");
    scene.assert_served();
}

#[test]
fn a_flood_of_silent_connections_is_bounded_and_gives_way() {
    let mut scene = Scene::new(4, Config::default());
    let flood: Vec<RawId> = (0..3_000).map(|_| scene.stranger_writes(b"")).collect();
    scene.run_for(MOMENT);
    let metrics = scene.net.node(scene.server).metrics();
    assert_eq!(metrics.handshakes, 1_024, "no more are accepted");
    let client = scene.net.socket_as(Config::default(), Scene::stranger());
    let dial = scene.net.dial(client, Scene::ADDRESS);
    let connected = scene.net.run_until("the client is served behind the flood", SECOND * 5, |net| {
        net.node(client).peer_count() == 1
    });
    assert!(connected > SECOND, "each thousand before it has its second: {connected:?}");
    assert!(scene.net.node(client).dial_address(dial).is_some());
    assert!(flood.iter().filter(|raw| scene.net.ended(**raw).is_some()).count() >= 2_000);
    assert!(refusals(&scene.net, scene.server).iter().all(|reason| *reason == CloseReason::Evicted));
    scene.assert_served();
}

#[test]
fn a_flood_of_half_introductions_ends_at_the_deadline() {
    let mut scene = Scene::new(4, Config::default().max_handshakes(100));
    for _ in 0..100 {
        scene.stranger_writes([0]);
    }
    scene.run_for(SECOND * 11);
    let metrics = assert_at_rest(&scene, scene.server);
    assert_eq!(metrics.refused, 100);
    scene.assert_served();
}

#[test]
fn ten_thousand_clients_that_come_back_together_are_all_served() {
    let mut scene = Scene::new(4, Config::default());
    scene.net.set_chunking(Chunking::Whole);
    let client = |number: u32| {
        let mut identity = [0x77; 16];
        identity[..4].copy_from_slice(&number.to_be_bytes());
        Identity::from_bytes(identity)
    };
    let clients: Vec<RawId> =
        (0..10_000).map(|number| scene.stranger_writes(wire::hello(client(number)))).collect();
    scene.run_for(SECOND);
    let served = clients.iter().filter(|raw| !scene.net.bytes(**raw).is_empty()).count();
    assert_eq!(served, clients.len());
    assert_eq!(scene.net.node(scene.server).peer_count(), clients.len() + 1);
    scene.assert_served();
}

#[test]
fn at_the_bound_of_connections_newcomers_wait_for_a_place() {
    let mut scene = Scene::new(4, Config::default().max_connections(3));
    let strangers: Vec<RawId> = (1..=3)
        .map(|number| scene.stranger_writes(wire::hello(Identity::from_bytes([number; 16]))))
        .collect();
    scene.run_for(SECOND);
    assert_eq!(scene.net.node(scene.server).peer_count(), 3);
    assert!(scene.net.bytes(strangers[2]).is_empty());
    scene.net.close(strangers[0]);
    scene.run_for(MOMENT);
    assert!(!scene.net.bytes(strangers[2]).is_empty(), "its turn came");
    scene.assert_served();
}

#[test]
fn a_dial_that_finds_no_place_is_tried_again() {
    let mut scene = Scene::new(4, Config::default().max_connections(1));
    let other = scene.net.socket(Config::default());
    scene.net.listen(other, "other");
    scene.net.dial(scene.server, "other");
    scene.run_for(SECOND * 5);
    assert_eq!(scene.net.node(other).peer_count(), 0);
    let identity = scene.net.identity(scene.friend);
    scene.net.unlisten(Scene::ADDRESS);
    scene.net.command(scene.server, |socket, now| socket.disconnect(now, identity));
    scene.run_for(SECOND * 20);
    assert_eq!(scene.net.node(other).peer_count(), 1);
}

#[test]
fn events_that_nobody_takes_are_bounded() {
    use aiomsg_proto::{Instant, Origin, Socket};
    let identity = Identity::from_bytes([1; 16]);
    let mut socket = Socket::new(Config::default(), identity, 1, Instant::EPOCH).expect("valid");
    let mut now = Instant::EPOCH;
    for _ in 0..5_000 {
        let id = socket.handle_connected(now, Origin::Accepted, "a").expect("there is a place");
        let mut bytes = wire::hello(Scene::stranger()).as_slice().into();
        socket.handle_received(now, id, &mut bytes);
        now = now + SECOND;
        socket.handle_disconnected(now, id, &mut aiomsg_proto::Batch::default(), CloseReason::PeerClosed);
    }
    let mut events = Vec::new();
    while let Some(event) = socket.poll_event() {
        events.push(event);
    }
    assert_eq!(events.len(), 1_025);
    assert_eq!(events[0], Event::Lagged { events: 10_000 - 1_024 });
}

#[test]
fn what_a_flood_of_senders_leaves_is_bounded() {
    let limit = Limit::new(1_000, 100_000);
    let mut scene = Scene::new(4, Config::default().receive_buffer(limit));
    scene.net.set_taking(scene.server, aiomsg_tests::Taking::Nothing);
    for number in 0..100_u8 {
        let mut identity = [0x55; 16];
        identity[0] = number;
        let raw = scene.stranger_writes(wire::hello(Identity::from_bytes(identity)));
        scene.net.write(raw, wire::data(&[number; 100]).repeat(200));
    }
    scene.run_for(SECOND * 3);
    let held = scene.net.node(scene.server).metrics().receive_held;
    assert!(held.messages <= limit.messages && held.bytes <= limit.bytes, "{held:?}");
    scene.net.set_taking(scene.server, aiomsg_tests::Taking::All);
    scene.run_for(SECOND);
    assert_eq!(scene.net.received(scene.server).len(), 100 * 200, "none was dropped");
    scene.assert_served();
}
