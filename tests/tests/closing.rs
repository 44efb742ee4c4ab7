//! How a socket ends: what it still hands over, how long that may take, and what it reports.

use core::time::Duration;

use aiomsg_proto::{
    Batch, CloseReason, Closed, Config, ConnectionRefused, Identity, Limit, Origin, Ready, SendError,
    SendMode, Usage,
};
use aiomsg_tests::{
    Chunking, Ended, Network, NodeId, RawId, Scene, Taking, assert_conserved, departures, numbered, wire,
};
use bytes::Bytes;

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(50);

/// The length of a v1 HELLO with its prefix.
const HELLO: usize = 22;

fn close(net: &mut Network, node: NodeId, linger: Duration) {
    net.command(node, |socket, now| socket.close(now, linger));
}

/// Waits until a socket has closed, and returns how long that took.
fn closed(net: &mut Network, node: NodeId, patience: Duration) -> Duration {
    net.run_until("it has closed", patience, |net| net.node(node).close_report().is_some())
}

/// What a closed socket reports: messages handed over while closing, and dropped.
fn report(net: &Network, node: NodeId) -> (usize, usize) {
    let report = net.node(node).close_report().expect("it has closed");
    let metrics = net.node(node).metrics();
    let given_up = metrics.dropped_at_close.messages + metrics.dropped_undeliverable.messages;
    assert_eq!(report.dropped.messages, given_up);
    assert_eq!(net.node(node).metrics().send_held, Usage::default());
    assert_eq!(net.wires(node), []);
    assert_eq!(net.deadline(node), None, "nothing is left to do");
    let told = net.announced(node).iter().filter(|(_, ready)| *ready == Ready::Closed).count();
    assert_eq!(told, 1);
    (report.handed_over.messages, report.dropped.messages)
}

fn lone(config: Config) -> (Network, NodeId) {
    let mut net = Network::new(16);
    let node = net.socket(config);
    net.listen(node, Scene::ADDRESS);
    (net, node)
}

/// A raw peer that has introduced itself, does not read, and to which no more than `capacity` bytes can be written.
fn stalled_peer(net: &mut Network, capacity: usize) -> RawId {
    net.set_capacity(capacity);
    let raw = net.dial_raw(Scene::ADDRESS);
    net.set_capacity(1 << 20);
    net.set_reading(raw, false);
    net.write(raw, wire::hello(Scene::stranger()));
    net.run_for(MOMENT);
    raw
}

#[test]
fn a_socket_with_no_connection_and_nothing_held_closes_at_once() {
    let (mut net, node) = lone(Config::default());
    close(&mut net, node, SECOND * 10);
    assert_eq!(report(&net, node), (0, 0));
}

#[test]
fn a_socket_with_nothing_held_closes_as_soon_as_its_peers_have() {
    let mut scene = Scene::new(16, Config::default());
    close(&mut scene.net, scene.server, SECOND * 10);
    let took = closed(&mut scene.net, scene.server, SECOND);
    assert!(took < MOMENT, "{took:?}");
    assert_eq!(report(&scene.net, scene.server), (0, 0));
    assert_eq!(departures(&scene.net, scene.server), [CloseReason::SocketClosed]);
    assert_eq!(departures(&scene.net, scene.friend), [CloseReason::PeerClosed]);
}

#[test]
fn what_waits_for_nobody_is_reported_when_the_time_is_up() {
    let (mut net, node) = lone(Config::default());
    for message in numbered(7) {
        net.send(node, message).expect("there is room");
    }
    close(&mut net, node, SECOND * 10);
    let took = closed(&mut net, node, SECOND * 11);
    assert_eq!(took, SECOND * 10);
    assert_eq!(report(&net, node), (0, 7));
    assert_conserved(&net, node);
}

#[test]
fn a_peer_that_comes_while_a_socket_lingers_gets_what_waits() {
    let (mut net, node) = lone(Config::default());
    for message in numbered(7) {
        net.send(node, message).expect("there is room");
    }
    close(&mut net, node, SECOND * 10);
    net.run_for(SECOND * 3);
    let raw = net.dial_raw(Scene::ADDRESS);
    net.write(raw, wire::hello(Scene::stranger()));
    net.run_until("the peer has seen the end", SECOND, |net| net.ended(raw) == Some(Ended::Finished));
    net.close(raw);
    net.run_for(MOMENT);
    assert_eq!(wire::v1_payloads(net.bytes(raw)), numbered(7));
    assert_eq!(report(&net, node), (7, 0));
}

#[test]
fn dials_go_on_while_a_socket_lingers() {
    let mut net = Network::new(16);
    let (client, server) = (net.socket(Config::default()), net.socket(Config::default()));
    net.dial(client, Scene::ADDRESS);
    net.send(client, "last words").expect("there is room");
    close(&mut net, client, SECOND * 10);
    net.run_for(SECOND);
    net.listen(server, Scene::ADDRESS);
    closed(&mut net, client, SECOND * 9);
    assert_eq!(net.payloads(server), ["last words"]);
    assert_eq!(report(&net, client), (1, 0));
}

#[test]
fn all_that_is_held_is_handed_over_to_a_peer_that_reads() {
    let mut scene = Scene::new(16, Config::default());
    let messages = numbered(20_000);
    for message in &messages {
        scene.net.send(scene.server, message.clone()).expect("there is room");
    }
    let before = scene.net.node(scene.server).metrics().handed_over.messages;
    close(&mut scene.net, scene.server, SECOND * 10);
    closed(&mut scene.net, scene.server, SECOND * 11);
    assert_eq!(report(&scene.net, scene.server), (20_000 - before, 0));
    scene.run_for(MOMENT);
    assert_eq!(scene.net.payloads(scene.friend), messages);
    assert_conserved(&scene.net, scene.server);
}

#[test]
fn a_peer_that_does_not_read_costs_the_linger_time_and_a_second() {
    let (mut net, node) = lone(Config::default());
    stalled_peer(&mut net, HELLO + 5);
    for message in numbered(2_000) {
        net.send(node, message).expect("there is room");
    }
    close(&mut net, node, SECOND * 3);
    let took = closed(&mut net, node, SECOND * 4);
    assert!(took >= SECOND * 3, "{took:?}");
    assert_eq!(report(&net, node), (0, 2_000));
    assert_conserved(&net, node);
}

#[test]
fn a_peer_that_reads_late_still_gets_all() {
    let (mut net, node) = lone(Config::default());
    let raw = stalled_peer(&mut net, 1_000);
    let messages = numbered(2_000);
    for message in &messages {
        net.send(node, message.clone()).expect("there is room");
    }
    close(&mut net, node, SECOND * 10);
    net.run_for(SECOND * 3);
    net.set_reading(raw, true);
    net.run_until("the peer has seen the end", SECOND * 6, |net| net.ended(raw) == Some(Ended::Finished));
    net.close(raw);
    net.run_for(MOMENT);
    assert_eq!(wire::v1_payloads(net.bytes(raw)), messages);
    assert_eq!(report(&net, node).1, 0);
}

#[test]
fn what_is_cut_off_is_reported_and_the_rest_is_whole() {
    for capacity in (HELLO..HELLO + 60).step_by(7) {
        let (mut net, node) = lone(Config::default());
        let raw = stalled_peer(&mut net, capacity);
        let messages = numbered(10);
        for message in &messages {
            net.send(node, message.clone()).expect("there is room");
        }
        close(&mut net, node, SECOND);
        closed(&mut net, node, SECOND * 2);
        let (_, dropped) = report(&net, node);
        net.set_reading(raw, true);
        net.run_for(MOMENT);
        let got = wire::v1_payloads(net.bytes(raw));
        assert_eq!(got, messages[..10 - dropped], "with room for {capacity} bytes");
        assert_conserved(&net, node);
    }
}

#[test]
fn unfinished_introductions_are_ended_at_once() {
    let (mut net, node) = lone(Config::default());
    let accepted = net.dial_raw(Scene::ADDRESS);
    net.listen_raw("other");
    net.dial(node, "other");
    net.run_for(MOMENT);
    let dialled = net.accept("other").expect("it has dialled");
    close(&mut net, node, SECOND * 10);
    let took = closed(&mut net, node, SECOND);
    assert_eq!(took, Duration::ZERO);
    net.run_for(MOMENT);
    assert!(net.ended(accepted).is_some() && net.ended(dialled).is_some());
    assert_eq!(report(&net, node), (0, 0));
}

#[test]
fn a_dial_on_its_way_is_refused() {
    let (mut net, node) = lone(Config::default());
    net.listen_raw("other");
    net.dial(node, "other");
    close(&mut net, node, SECOND * 10);
    net.run_for(SECOND);
    assert_eq!(report(&net, node), (0, 0));
    let raw = net.accept("other").expect("it was on its way");
    assert!(net.ended(raw).is_some() && net.bytes(raw).is_empty());
}

#[test]
fn a_peer_that_does_not_close_its_side_is_waited_for_a_second() {
    let (mut net, node) = lone(Config::default());
    let raw = net.dial_raw(Scene::ADDRESS);
    net.write(raw, wire::hello(Scene::stranger()));
    net.run_for(MOMENT);
    close(&mut net, node, SECOND * 10);
    let took = closed(&mut net, node, SECOND * 2);
    assert_eq!(took, SECOND);
    net.run_for(MOMENT);
    assert_eq!(net.ended(raw), Some(Ended::Finished), "in an orderly way all the same");
    assert_eq!(departures(&net, node), [CloseReason::SocketClosed]);
}

#[test]
fn what_arrives_meanwhile_is_read_counted_and_dropped() {
    let mut scene = Scene::new(16, Config::default());
    let messages = numbered(5_000);
    for message in &messages {
        scene.net.send(scene.server, message.clone()).expect("there is room");
        scene.net.send(scene.friend, message.clone()).expect("there is room");
    }
    close(&mut scene.net, scene.server, SECOND * 10);
    closed(&mut scene.net, scene.server, SECOND * 11);
    scene.run_for(MOMENT);
    assert_eq!(scene.net.payloads(scene.friend), messages, "unread input would have made the kernel drop it");
    let metrics = scene.net.node(scene.server).metrics();
    assert!(metrics.discarded.messages > 0);
    let taken = scene.net.received(scene.server).len();
    assert_eq!(metrics.received.messages, taken + metrics.discarded.messages);
}

#[test]
fn what_was_not_read_before_is_read_now() {
    let config = Config::default().receive_buffer(Limit::new(3, 1_000));
    let mut scene = Scene::new(16, config);
    scene.net.set_taking(scene.server, Taking::Nothing);
    let messages = numbered(3_000);
    for message in &messages {
        scene.net.send(scene.friend, message.clone()).expect("there is room");
    }
    scene.run_for(SECOND);
    for message in &messages {
        scene.net.send(scene.server, message.clone()).expect("there is room");
    }
    close(&mut scene.net, scene.server, SECOND * 10);
    let took = closed(&mut scene.net, scene.server, SECOND * 11);
    assert!(took < SECOND, "{took:?}");
    scene.run_for(MOMENT);
    assert_eq!(scene.net.payloads(scene.friend), messages);
    assert_eq!(departures(&scene.net, scene.friend), [CloseReason::PeerClosed], "and not a failure");
}

#[test]
fn messages_received_before_can_still_be_taken() {
    let mut scene = Scene::new(16, Config::default());
    scene.net.set_taking(scene.server, Taking::Nothing);
    for message in numbered(10) {
        scene.net.send(scene.friend, message).expect("there is room");
    }
    scene.run_for(MOMENT);
    close(&mut scene.net, scene.server, SECOND * 10);
    closed(&mut scene.net, scene.server, SECOND * 11);
    assert_eq!(scene.net.take(scene.server, 100).len(), 10);
}

#[test]
fn nothing_is_accepted_any_more() {
    let mut scene = Scene::new(16, Config::default());
    let (server, friend) = (scene.server, scene.net.identity(scene.friend));
    close(&mut scene.net, server, SECOND * 10);
    let payload = Bytes::from_static(b"too late");
    assert_eq!(scene.net.send(server, payload.clone()), Err(SendError::Closed(payload.clone())));
    assert_eq!(scene.net.send_to(server, friend, payload.clone()), Err(SendError::Closed(payload)));
    let dial = |net: &mut Network| net.command(server, |socket, now| socket.dial(now, "other"));
    assert_eq!(dial(&mut scene.net), Err(Closed));
    closed(&mut scene.net, server, SECOND * 11);
    assert_eq!(dial(&mut scene.net), Err(Closed));
    let accept = |net: &mut Network| {
        net.command(server, |socket, now| socket.handle_connected(now, Origin::Accepted, "a"))
    };
    assert_eq!(accept(&mut scene.net), Err(ConnectionRefused::Closed));
    assert!(!scene.net.command(server, |socket, _| socket.poll_accept()));
}

#[test]
fn senders_that_wait_for_room_are_told() {
    let (mut net, node) = lone(Config::default().send_buffer(Limit::new(1, 1_000)));
    net.send(node, "fills it").expect("there is room");
    net.send(node, "waits").expect_err("it is full");
    close(&mut net, node, SECOND * 10);
    assert!(net.announced(node).iter().any(|(_, ready)| *ready == Ready::Room));
}

#[test]
fn a_second_call_can_only_shorten_the_time() {
    for (second, expected) in [(1, 3), (30, 10)] {
        let (mut net, node) = lone(Config::default());
        net.send(node, "for nobody").expect("there is room");
        let start = net.now();
        close(&mut net, node, SECOND * 10);
        net.run_for(SECOND * 2);
        close(&mut net, node, SECOND * second);
        closed(&mut net, node, SECOND * 40);
        let took = net.now().saturating_duration_since(start);
        assert_eq!(took, SECOND * expected);
    }
}

#[test]
fn what_waits_for_an_identity_that_left_is_reported() {
    let (mut net, node) = lone(Config::default());
    let raw = stalled_peer(&mut net, 1_000);
    net.close(raw);
    net.run_for(MOMENT);
    net.send_to(node, Scene::stranger(), "for nobody").expect("it is remembered");
    close(&mut net, node, SECOND * 2);
    let took = closed(&mut net, node, SECOND * 3);
    assert_eq!(took, SECOND * 2);
    assert_eq!(report(&net, node), (0, 1));
    assert_conserved(&net, node);
}

#[test]
fn nothing_is_waited_for_when_the_last_message_becomes_undeliverable() {
    let (mut net, node) = lone(Config::default());
    let raw = stalled_peer(&mut net, 1_000);
    net.close(raw);
    net.run_for(MOMENT);
    net.send_to(node, Scene::stranger(), "for nobody").expect("it is remembered");
    net.run_for(SECOND * 55);
    close(&mut net, node, SECOND * 10);
    let took = closed(&mut net, node, SECOND * 11);
    assert!(took < SECOND * 6, "{took:?}");
    assert_eq!(report(&net, node), (0, 1));
    assert_conserved(&net, node);
}

#[test]
fn a_publisher_hands_over_to_all_who_read_and_reports_the_rest() {
    let (mut net, node) = lone(Config::default().send_mode(SendMode::Publish));
    let slow = stalled_peer(&mut net, HELLO);
    let fast = net.dial_raw(Scene::ADDRESS);
    net.write(fast, wire::hello(Identity::from_bytes([9; 16])));
    net.run_for(MOMENT);
    let messages = numbered(100);
    for message in &messages {
        net.send(node, message.clone()).expect("there is room");
    }
    close(&mut net, node, SECOND * 2);
    let took = closed(&mut net, node, SECOND * 3);
    assert!(took >= SECOND * 2);
    net.run_for(MOMENT);
    assert_eq!(wire::v1_payloads(net.bytes(fast)), messages);
    let metrics = net.node(node).metrics();
    assert_eq!(metrics.dropped_peer_left.messages, 100, "the copies of who did not read");
    assert_eq!(report(&net, node).1, 0, "each message was handed to somebody");
    assert!(net.bytes(slow).is_empty());
}

#[test]
fn many_peers_are_closed_in_time() {
    let (mut net, node) = lone(Config::default());
    net.set_chunking(Chunking::Whole);
    for number in 0..200_u32 {
        let mut identity = [0xcc; 16];
        identity[..4].copy_from_slice(&number.to_be_bytes());
        net.set_capacity(HELLO);
        let raw = net.dial_raw(Scene::ADDRESS);
        net.set_reading(raw, false);
        net.write(raw, wire::hello(Identity::from_bytes(identity)));
    }
    net.run_for(MOMENT);
    let messages = numbered(10_000);
    for message in &messages {
        net.send(node, message.clone()).expect("there is room");
    }
    close(&mut net, node, SECOND);
    let took = closed(&mut net, node, SECOND * 2);
    assert!(took <= SECOND * 2);
    assert_eq!(report(&net, node), (0, 10_000));
    assert_conserved(&net, node);
}

#[test]
fn a_closed_socket_takes_any_input_calmly() {
    let mut scene = Scene::new(16, Config::default());
    let server = scene.server;
    let connection = scene.net.node(server).peers()[0].connection;
    close(&mut scene.net, server, SECOND);
    closed(&mut scene.net, server, SECOND * 2);
    scene.net.command(server, |socket, now| {
        let mut buffer = wire::hello(Scene::stranger()).as_slice().into();
        socket.handle_received(now, connection, &mut buffer);
        assert!(buffer.is_empty());
        let mut batch = Batch::default();
        assert!(!socket.transmit(now, connection, &mut batch));
        socket.handle_transmitted(now, connection, &mut batch);
        socket.handle_disconnected(now, connection, &mut batch, CloseReason::Failed);
        socket.handle_timeout(now);
        socket.close(now, SECOND);
        assert!(!socket.disconnect(now, Scene::stranger()));
    });
    assert_eq!(report(&scene.net, server), (0, 0));
}
