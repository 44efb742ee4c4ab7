//! Signs of life, and who counts as dead.

use core::time::Duration;

use aiomsg_proto::{CloseReason, Config, Instant, Limit};
use aiomsg_tests::company::{peer, server};
use aiomsg_tests::{Chunking, Network, NodeId, RawId, Scene, Taking, departures, numbered, refusals, wire};

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(50);

fn scene() -> Scene {
    Scene::new(7, Config::default())
}

/// A stranger that has introduced itself in v1.
fn introduced(scene: &mut Scene) -> RawId {
    let raw = scene.stranger_writes(wire::hello(Scene::stranger()));
    scene.run_for(MOMENT);
    raw
}

/// What a raw peer has read behind the greeting.
fn behind_greeting(net: &Network, raw: RawId) -> Vec<Vec<u8>> {
    wire::frames(net.bytes(raw)).split_off(1)
}

/// When a socket lost its first peer.
fn lost_at(net: &Network, node: NodeId) -> Option<Instant> {
    let lost = |event: &aiomsg_proto::Event| matches!(event, aiomsg_proto::Event::Disconnected { .. });
    net.events(node).iter().find(|(_, event)| lost(event)).map(|(at, _)| *at)
}

#[test]
fn a_heartbeat_goes_out_after_five_seconds_without_sending() {
    let mut scene = scene();
    let raw = introduced(&mut scene);
    scene.run_for(SECOND * 5 - MOMENT * 2);
    assert!(behind_greeting(&scene.net, raw).is_empty());
    scene.run_for(MOMENT * 2);
    assert_eq!(behind_greeting(&scene.net, raw), [[2]]);
    scene.run_for(SECOND * 5);
    assert_eq!(behind_greeting(&scene.net, raw), [[2], [2]]);
}

#[test]
fn a_classic_heartbeat_is_a_payload() {
    let mut scene = scene();
    let raw = scene.stranger_writes(wire::frame(Scene::stranger().as_bytes()));
    scene.run_for(SECOND * 5 + MOMENT);
    assert_eq!(behind_greeting(&scene.net, raw), [wire::CLASSIC_HEARTBEAT]);
    scene.net.write(raw, wire::frame(wire::CLASSIC_HEARTBEAT));
    scene.run_for(MOMENT);
    assert!(scene.net.received(scene.server).is_empty(), "theirs is no message");
}

#[test]
fn no_heartbeat_goes_out_while_messages_do() {
    let mut scene = scene();
    let raw = introduced(&mut scene);
    for _ in 0..50 {
        scene.net.send_to(scene.server, Scene::stranger(), "message").expect("there is room");
        scene.net.write(raw, wire::heartbeat());
        scene.run_for(SECOND * 4);
    }
    let frames = behind_greeting(&scene.net, raw);
    assert_eq!(frames.len(), 50);
    assert!(frames.iter().all(|frame| frame == b"\x03message"));
}

#[test]
fn what_the_peer_sends_does_not_delay_our_heartbeats() {
    let mut scene = scene();
    let raw = introduced(&mut scene);
    for _ in 0..60 {
        scene.net.write(raw, wire::data(b"message"));
        scene.run_for(SECOND);
    }
    assert_eq!(behind_greeting(&scene.net, raw).len(), 12);
}

#[test]
fn heartbeats_do_not_pile_up_for_who_does_not_read() {
    let mut scene = scene();
    scene.net.set_capacity(30);
    let raw = scene.net.dial_raw(Scene::ADDRESS);
    scene.net.set_reading(raw, false);
    scene.net.write(raw, wire::hello(Scene::stranger()));
    for _ in 0..100 {
        scene.run_for(SECOND * 5);
        scene.net.write(raw, wire::heartbeat());
    }
    scene.net.set_reading(raw, true);
    scene.run_for(MOMENT);
    let frames = behind_greeting(&scene.net, raw).len();
    assert!(frames <= 3, "{frames}");
}

#[test]
fn idle_sockets_stay_connected_and_do_next_to_nothing() {
    let mut scene = scene();
    let before = [scene.server, scene.friend].map(|node| scene.net.services(node));
    scene.run_for(SECOND * 3_600 * 24);
    for (node, before) in [scene.server, scene.friend].into_iter().zip(before) {
        let services = scene.net.services(node) - before;
        let heartbeats = 3_600 * 24 / 5;
        assert!(services <= heartbeats + 1, "{services} for {heartbeats} heartbeats");
    }
    assert_eq!(departures(&scene.net, scene.server), []);
    scene.assert_served();
}

#[test]
fn a_peer_is_dead_after_fifteen_seconds_without_a_byte() {
    let mut scene = scene();
    let raw = introduced(&mut scene);
    scene.run_for(SECOND * 7);
    scene.net.write(raw, wire::data(b"the last sign of life"));
    let last = scene.net.now();
    scene.run_for(SECOND * 20);
    let silence = lost_at(&scene.net, scene.server).expect("it is dead").saturating_duration_since(last);
    assert!(silence >= SECOND * 15 && silence < SECOND * 15 + MOMENT, "{silence:?}");
    assert_eq!(departures(&scene.net, scene.server), [CloseReason::Silent]);
    assert!(scene.net.ended(raw).is_some());
    scene.assert_served();
}

#[test]
fn a_peer_that_vanishes_is_dead_for_both() {
    let mut scene = scene();
    let wire = scene.net.wire_to(scene.server, scene.net.identity(scene.friend));
    scene.net.blackhole(wire);
    scene.run_for(SECOND * 21);
    assert_eq!(departures(&scene.net, scene.server), [CloseReason::Silent]);
    assert_eq!(departures(&scene.net, scene.friend), [CloseReason::Silent]);
    assert_eq!(scene.net.node(scene.server).peer_count(), 1, "and back");
}

#[test]
fn a_network_that_heals_in_time_interrupts_nothing() {
    let mut scene = scene();
    let wire = scene.net.wire_to(scene.server, scene.net.identity(scene.friend));
    scene.net.blackhole(wire);
    for message in numbered(100) {
        scene.net.send(scene.friend, message).expect("there is room");
    }
    scene.run_for(SECOND * 9);
    scene.net.heal(wire);
    scene.run_for(SECOND);
    assert_eq!(scene.net.payloads(scene.server), numbered(100));
    scene.assert_served();
}

#[test]
fn progress_inside_a_large_frame_is_a_sign_of_life() {
    let mut scene = scene();
    let raw = introduced(&mut scene);
    let message = wire::data(&[7; 20]);
    for byte in &message {
        scene.net.write(raw, [*byte]);
        scene.run_for(SECOND * 14);
    }
    assert_eq!(departures(&scene.net, scene.server), []);
    assert_eq!(scene.net.payloads(scene.server), [&[7; 20][..]]);
}

#[test]
fn a_large_frame_that_stops_arriving_is_none() {
    let mut scene = scene();
    let raw = introduced(&mut scene);
    scene.net.write(raw, &wire::data(&vec![7; 200_000])[..150_000]);
    scene.run_for(SECOND * 16);
    assert_eq!(departures(&scene.net, scene.server), [CloseReason::Silent]);
    scene.assert_served();
}

#[test]
fn a_peer_that_we_do_not_read_is_not_dead() {
    let mut scene = Scene::new(7, Config::default().receive_buffer(Limit::new(3, 1 << 20)));
    scene.net.set_taking(scene.server, Taking::Nothing);
    // So that nothing is left to be read when reading goes on.
    scene.net.set_chunking(Chunking::Whole);
    let raw = introduced(&mut scene);
    scene.net.write(raw, wire::data(b"message").repeat(10));
    scene.run_for(SECOND * 100);
    assert_eq!(departures(&scene.net, scene.server), []);
    let heartbeats = behind_greeting(&scene.net, raw).len();
    assert!(heartbeats >= 19, "ours go on meanwhile: {heartbeats}");
    scene.net.set_taking(scene.server, Taking::All);
    scene.run_for(SECOND * 14);
    assert_eq!(departures(&scene.net, scene.server), [], "it has its time anew");
    assert_eq!(scene.net.received(scene.server).len(), 10);
    scene.run_for(SECOND * 2);
    assert_eq!(departures(&scene.net, scene.server), [CloseReason::Silent]);
}

#[test]
fn a_machine_that_slept_loses_no_healthy_peer() {
    for sleep in [16, 20, 60, 3_600] {
        let mut scene = scene();
        let raw = introduced(&mut scene);
        // The friend is on the same machine.
        scene.net.freeze(scene.server);
        scene.net.freeze(scene.friend);
        for _ in 0..sleep / 4 {
            scene.run_for(SECOND * 4);
            scene.net.write(raw, wire::heartbeat());
        }
        scene.net.thaw(scene.server);
        scene.net.thaw(scene.friend);
        scene.run_for(SECOND * 3);
        assert_eq!(departures(&scene.net, scene.server), [], "after {sleep} s");
        scene.assert_served();
    }
}

#[test]
fn what_we_slept_through_is_no_silence_of_a_peer() {
    let mut scene = scene();
    introduced(&mut scene);
    scene.net.freeze(scene.server);
    scene.net.freeze(scene.friend);
    scene.run_for(SECOND * 30);
    scene.net.thaw(scene.server);
    scene.net.thaw(scene.friend);
    // Nobody knows when the sleep began, so its 15 seconds begin again.
    scene.run_for(SECOND * 15 - MOMENT * 5);
    assert_eq!(departures(&scene.net, scene.server), []);
    scene.run_for(MOMENT * 10);
    assert_eq!(departures(&scene.net, scene.server), [CloseReason::Silent]);
    scene.assert_served();
}

#[test]
fn a_clock_that_goes_ahead_kills_nobody() {
    let mut scene = scene();
    for jump in [14, 16, 60, 3_600, 0, 20] {
        // Ours is the only one: the friend says nothing before its next heartbeat is due.
        scene.net.set_clock_ahead(scene.server, SECOND * jump);
        scene.run_for(SECOND * 6);
        assert_eq!(departures(&scene.net, scene.server), [], "after {jump} s");
        assert_eq!(departures(&scene.net, scene.friend), [], "after {jump} s");
    }
    scene.assert_served();
}

#[test]
fn an_acceptor_waits_ten_seconds_for_an_introduction() {
    let mut scene = scene();
    scene.stranger_writes(b"\0");
    scene.run_for(SECOND * 10 - MOMENT);
    assert_eq!(refusals(&scene.net, scene.server), []);
    scene.run_for(MOMENT * 2);
    assert_eq!(refusals(&scene.net, scene.server), [CloseReason::HandshakeTimeout]);
}

#[test]
fn settings_of_time_are_kept() {
    let config = Config::default()
        .heartbeat_interval(MOMENT)
        .heartbeat_timeout(MOMENT * 4)
        .handshake_timeout(MOMENT * 2);
    let mut scene = Scene::new(7, config);
    let raw = introduced(&mut scene);
    let silent = scene.stranger_writes(b"");
    scene.run_for(MOMENT * 2 + Duration::from_millis(5));
    assert_eq!(behind_greeting(&scene.net, raw), [[2], [2], [2]]);
    assert!(scene.net.ended(silent).is_some());
    scene.run_for(MOMENT * 2);
    assert!(departures(&scene.net, scene.server).contains(&CloseReason::Silent));
}

/// All that the peer has sent is in the buffer, so that it is not heard from when reading is taken up again.
#[test]
fn sleep_while_nothing_is_read_says_nothing_of_the_time_after() {
    let (mut net, server) = server(Config::default().receive_buffer(Limit::new(1, 1 << 20)));
    net.set_chunking(Chunking::Whole);
    let raw = peer(&mut net, 1);
    net.set_taking(server, Taking::Nothing);
    net.write(raw, [wire::data(b"one"), wire::data(b"two")].concat());
    net.run_for(MOMENT);
    for _ in 0..10 {
        net.freeze(server);
        net.run_for(SECOND * 100);
        net.thaw(server);
        net.run_for(MOMENT);
    }
    net.set_taking(server, Taking::All);
    net.run_for(MOMENT);
    net.freeze(server);
    net.run_for(SECOND * 100);
    net.thaw(server);
    net.run_for(MOMENT);
    net.write(raw, wire::heartbeat());
    net.run_for(SECOND * 14);
    assert_eq!(departures(&net, server), []);
}
