//! Two connections that show the same identity, and sockets that meet themselves or each other twice.

use core::time::Duration;

use aiomsg_proto::{CloseReason, Config, DuplicateIdentity, Event, Identity, Limit};
use aiomsg_tests::{
    Chunking, Ended, Network, NodeId, RawId, Scene, Taking, departures, numbered, refusals, wire,
};

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(50);

/// The friend's identity: the second socket of a network.
const FRIEND: Identity = Identity::from_bytes([0x11; 16]);

fn scene(policy: DuplicateIdentity) -> Scene {
    Scene::new(2, Config::default().duplicate_identity(policy))
}

/// A raw peer that shows the identity of the friend, and has sent a message behind it.
fn newcomer(scene: &mut Scene) -> RawId {
    assert_eq!(scene.net.identity(scene.friend), FRIEND);
    let raw = scene.stranger_writes(wire::hello(FRIEND));
    scene.net.write(raw, wire::data(b"from the newcomer"));
    raw
}

fn received(net: &Network, node: NodeId) -> Vec<Vec<u8>> {
    net.payloads(node).iter().map(|payload| payload.to_vec()).collect()
}

/// Lets what the server writes to the friend vanish, and what the friend writes.
fn blackhole_friend(scene: &mut Scene) {
    let wire = scene.net.wire_to(scene.server, FRIEND);
    scene.net.blackhole(wire);
}

#[test]
fn reject_refuses_the_newcomer_at_once() {
    let mut scene = scene(DuplicateIdentity::Reject);
    let raw = newcomer(&mut scene);
    scene.run_for(MOMENT);
    assert!(scene.net.ended(raw).is_some());
    assert_eq!(refusals(&scene.net, scene.server), [CloseReason::DuplicateIdentity]);
    assert_eq!(scene.net.bytes(raw), [], "it must not learn of us, or it would send what is then lost");
    scene.assert_served();
}

#[test]
fn replace_lets_the_newcomer_take_the_place() {
    let mut scene = scene(DuplicateIdentity::Replace);
    let raw = newcomer(&mut scene);
    scene.net.run_for(Duration::from_millis(1));
    scene.net.unlisten(Scene::ADDRESS);
    scene.run_for(MOMENT);
    assert_eq!(departures(&scene.net, scene.server), [CloseReason::Replaced]);
    assert_eq!(scene.net.bytes(raw), wire::hello(scene.net.identity(scene.server)));
    assert_eq!(received(&scene.net, scene.server), [b"from the newcomer"]);
}

#[test]
fn probe_refuses_the_newcomer_when_the_holder_answers() {
    let mut scene = scene(DuplicateIdentity::Probe);
    let raw = newcomer(&mut scene);
    let served = scene.server;
    let took =
        scene.net.run_until("the newcomer is refused", SECOND * 7, |net| !refusals(net, served).is_empty());
    assert!(took <= Duration::from_millis(5_100), "the holder sends a heartbeat by then: {took:?}");
    scene.run_for(MOMENT);
    assert_eq!(refusals(&scene.net, scene.server), [CloseReason::DuplicateIdentity]);
    assert!(scene.net.ended(raw).is_some());
    assert_eq!(scene.net.bytes(raw), []);
    scene.assert_served();
}

#[test]
fn probe_refuses_the_newcomer_at_the_first_byte_of_the_holder() {
    let mut scene = scene(DuplicateIdentity::Probe);
    let raw = newcomer(&mut scene);
    scene.run_for(MOMENT);
    assert_eq!(scene.net.ended(raw), None);
    scene.net.send(scene.friend, "alive").expect("there is room");
    scene.run_for(MOMENT);
    assert!(scene.net.ended(raw).is_some());
    scene.assert_served();
}

#[test]
fn a_live_holder_is_never_displaced() {
    let mut scene = scene(DuplicateIdentity::Probe);
    let mut newcomers = Vec::new();
    for _ in 0..600 {
        newcomers.push(newcomer(&mut scene));
        scene.run_for(MOMENT);
    }
    scene.run_for(SECOND * 7);
    assert!(newcomers.iter().all(|raw| scene.net.ended(*raw).is_some() && scene.net.bytes(*raw).is_empty()));
    assert_eq!(departures(&scene.net, scene.server), []);
    scene.assert_served();
}

#[test]
fn probe_serves_the_newcomer_of_a_silent_holder_and_loses_nothing() {
    let mut scene = scene(DuplicateIdentity::Probe);
    blackhole_friend(&mut scene);
    // More than the network takes, so that some of it is never written.
    let messages: Vec<Vec<u8>> = (0..1_000_u32).map(|n| n.to_be_bytes().repeat(250)).collect();
    for message in &messages {
        scene.net.send(scene.server, message.clone()).expect("there is room");
    }
    let taken = scene.net.node(scene.server).metrics().handed_over.messages;
    assert!(taken < 500, "{taken}");
    let raw = newcomer(&mut scene);
    let server = scene.server;
    let took = scene.net.run_until("the newcomer is served", SECOND * 7, |net| !net.bytes(raw).is_empty());
    assert!(took > SECOND * 5, "the holder has a heartbeat interval and a second: {took:?}");
    scene.run_for(MOMENT);
    assert_eq!(departures(&scene.net, server), [CloseReason::Replaced]);
    assert_eq!(received(&scene.net, server), [b"from the newcomer"]);
    assert_eq!(wire::v1_payloads(scene.net.bytes(raw)), messages[taken..], "what was not written, in order");
}

#[test]
fn a_newcomer_that_calls_again_and_again_is_served_as_soon() {
    let mut scene = scene(DuplicateIdentity::Probe);
    blackhole_friend(&mut scene);
    let start = scene.net.now();
    let mut last = newcomer(&mut scene);
    while scene.net.bytes(last).is_empty() {
        let passed = scene.net.now().saturating_duration_since(start);
        assert!(passed < SECOND * 7, "each newcomer starts the wait anew: {passed:?}");
        scene.run_for(SECOND * 2 - MOMENT);
        if scene.net.bytes(last).is_empty() {
            scene.net.close(last);
            last = newcomer(&mut scene);
            scene.run_for(MOMENT);
        }
    }
}

#[test]
fn probe_serves_the_newcomer_at_once_when_the_holder_fails() {
    let mut scene = scene(DuplicateIdentity::Probe);
    let raw = newcomer(&mut scene);
    scene.run_for(MOMENT);
    let wire = scene.net.wire_to(scene.server, FRIEND);
    scene.net.cut(wire);
    scene.run_for(MOMENT);
    assert!(scene.net.bytes(raw).starts_with(&wire::hello(scene.net.identity(scene.server))));
    assert_eq!(received(&scene.net, scene.server), [b"from the newcomer"]);
}

#[test]
fn of_several_newcomers_the_latest_stays() {
    let mut scene = scene(DuplicateIdentity::Probe);
    blackhole_friend(&mut scene);
    let first = newcomer(&mut scene);
    scene.run_for(MOMENT);
    let second = newcomer(&mut scene);
    scene.run_for(SECOND * 7);
    assert_eq!(refusals(&scene.net, scene.server), [CloseReason::DuplicateIdentity]);
    assert!(scene.net.ended(first).is_some() && scene.net.bytes(first).is_empty());
    assert!(scene.net.ended(second).is_none() && !scene.net.bytes(second).is_empty());
}

#[test]
fn a_newcomer_that_gives_up_leaves_the_holder_alone() {
    let mut scene = scene(DuplicateIdentity::Probe);
    let raw = newcomer(&mut scene);
    scene.run_for(MOMENT);
    scene.net.close(raw);
    scene.run_for(SECOND * 20);
    assert_eq!(departures(&scene.net, scene.server), []);
    scene.assert_served();
}

#[test]
fn a_waiting_newcomer_is_read_no_further_than_an_introduction() {
    let mut scene = scene(DuplicateIdentity::Probe);
    blackhole_friend(&mut scene);
    let raw = scene.stranger_writes(wire::hello(FRIEND));
    let messages: Vec<Vec<u8>> = numbered(10_000).iter().map(|payload| payload.to_vec()).collect();
    for message in &messages {
        scene.net.write(raw, wire::data(message));
    }
    scene.run_for(SECOND * 5);
    assert!(scene.net.introduction_high_water(scene.server) <= 4 * 1024);
    assert_eq!(received(&scene.net, scene.server).len(), 0, "not before it is accepted");
    scene.run_for(SECOND * 2);
    assert_eq!(received(&scene.net, scene.server), messages);
}

#[test]
fn a_waiting_newcomer_takes_nothing_of_the_receive_buffer() {
    let mut scene = scene(DuplicateIdentity::Probe);
    let waiting = scene.stranger_writes(wire::hello(FRIEND));
    scene.net.write(waiting, (60_u32 << 20).to_be_bytes());
    scene.run_for(MOMENT);
    scene.net.set_chunking(Chunking::Whole);
    let other = scene.stranger_writes(wire::hello(Scene::stranger()));
    scene.net.write(other, wire::data(&vec![7; 40 << 20]));
    scene.run_for(SECOND);
    assert_eq!(scene.net.ended(waiting), None);
    assert_eq!(scene.net.received(scene.server).len(), 1, "an announcement of a stranger holds it up");
    scene.assert_served();
}

#[test]
fn the_handshake_deadline_does_not_cover_our_probe() {
    let config = Config::default().heartbeat_interval(SECOND * 12).heartbeat_timeout(SECOND * 40);
    let mut scene = Scene::new(2, config);
    blackhole_friend(&mut scene);
    let raw = newcomer(&mut scene);
    scene.run_for(SECOND * 11);
    assert_eq!(scene.net.ended(raw), None, "it has done its part");
    scene.run_for(SECOND * 3);
    assert_eq!(wire::frames(scene.net.bytes(raw)).len(), 1);
}

#[test]
fn a_holder_that_is_not_read_keeps_its_place() {
    let config = Config::default().receive_buffer(Limit::new(4, 1_000));
    let mut scene = Scene::new(2, config);
    scene.net.set_taking(scene.server, Taking::Nothing);
    for message in numbered(100) {
        scene.net.send(scene.friend, message).expect("there is room");
    }
    scene.run_for(SECOND);
    let raw = newcomer(&mut scene);
    scene.run_for(MOMENT);
    assert!(scene.net.ended(raw).is_some(), "its silence says nothing");
    assert_eq!(refusals(&scene.net, scene.server), [CloseReason::DuplicateIdentity]);
    scene.net.set_taking(scene.server, Taking::All);
    scene.run_for(SECOND);
    assert_eq!(scene.net.payloads(scene.server), numbered(100));
    scene.assert_served();
}

#[test]
fn a_holder_that_answers_when_there_is_no_room_keeps_its_place() {
    let mut scene = Scene::new(2, Config::default().receive_buffer(Limit::new(1, 1_000)));
    scene.net.set_taking(scene.server, Taking::Nothing);
    let other = scene.stranger_writes(wire::hello(Scene::stranger()));
    scene.net.write(other, wire::data(b"fills the buffer"));
    scene.run_for(MOMENT);
    let raw = newcomer(&mut scene);
    scene.run_for(MOMENT);
    assert_eq!(scene.net.ended(raw), None);
    // In one piece, of which nothing can be taken.
    scene.net.set_chunking(Chunking::Whole);
    scene.net.send(scene.friend, "alive").expect("there is room");
    scene.run_for(MOMENT);
    assert!(scene.net.ended(raw).is_some(), "it has answered, although that cannot be read yet");
    scene.net.set_taking(scene.server, Taking::All);
    scene.run_for(SECOND * 7);
    assert_eq!(departures(&scene.net, scene.server), []);
    scene.assert_served();
}

#[test]
fn a_machine_that_slept_while_it_asked_reads_the_answer_first() {
    let mut scene = scene(DuplicateIdentity::Probe);
    let raw = newcomer(&mut scene);
    scene.run_for(MOMENT);
    scene.net.freeze(scene.server);
    scene.run_for(SECOND * 12);
    scene.net.thaw(scene.server);
    scene.run_for(MOMENT);
    assert_eq!(departures(&scene.net, scene.server), [], "the holder had answered meanwhile");
    assert_eq!(scene.net.bytes(raw), []);
    scene.assert_served();
}

#[test]
fn the_holder_of_another_identity_is_not_concerned() {
    let mut scene = scene(DuplicateIdentity::Probe);
    let raw = scene.stranger_writes(wire::hello(Scene::stranger()));
    scene.run_for(MOMENT);
    assert_eq!(scene.net.ended(raw), None);
    assert_eq!(scene.net.node(scene.server).peer_count(), 2);
}

#[test]
fn a_socket_that_dials_itself_gives_up() {
    let mut net = Network::new(3);
    let node = net.socket(Config::default());
    net.listen(node, "self");
    let dial = net.dial(node, "self");
    net.run_for(SECOND * 100);
    assert_eq!(net.node(node).metrics().dial_attempts, 1);
    assert_eq!(refusals(&net, node), [CloseReason::OwnIdentity; 2], "told at either end");
    let given_up = net.events(node).iter().any(|(_, event)| {
        matches!(event, Event::GivenUp { dial: of, reason: CloseReason::OwnIdentity, .. } if *of == dial)
    });
    assert!(given_up);
    assert_eq!(net.wires(node), []);
    assert_eq!(net.node(node).poll_timeout(), None, "nothing is left to do");
}

#[test]
fn a_peer_that_shows_our_own_identity_is_answered_and_refused() {
    let mut scene = scene(DuplicateIdentity::Probe);
    let ours = scene.net.identity(scene.server);
    let raw = scene.stranger_writes(wire::hello(ours));
    scene.net.write(raw, wire::data(b"lost on nobody"));
    scene.run_for(MOMENT);
    scene.net.finish(raw);
    scene.run_for(MOMENT);
    assert_eq!(scene.net.bytes(raw), wire::hello(ours), "a dial to oneself must learn of it");
    assert_eq!(scene.net.ended(raw), Some(Ended::Finished));
    assert_eq!(refusals(&scene.net, scene.server), [CloseReason::OwnIdentity]);
    assert_eq!(received(&scene.net, scene.server).len(), 0);
    scene.assert_served();
}

#[test]
fn who_is_kept_out_is_refused_until_it_is_let_in() {
    let mut scene = Scene::new(9, Config::default());
    let server = scene.server;
    scene.net.command(server, |socket, now| socket.keep_out(now, FRIEND));
    scene.run_for(Duration::from_secs(30));
    assert_eq!(scene.net.node(server).peer_count(), 0);
    assert_eq!(departures(&scene.net, server), [CloseReason::Ended]);
    let told = refusals(&scene.net, server);
    assert!(told.len() > 1 && told.iter().all(|reason| *reason == CloseReason::KeptOut), "{told:?}");
    assert!(scene.net.command(server, |socket, _| socket.let_in(FRIEND)));
    scene.run_for(Duration::from_secs(11));
    assert_eq!(scene.net.node(server).peer_count(), 1);
}

/// A friend is well, and who we connect to shows its identity, which is smaller than ours.
fn assert_stays(duplicate: DuplicateIdentity) {
    const GREATER: Identity = Identity::from_bytes([0x99; 16]);
    let mut net = Network::new(5);
    let server = net.socket_as(Config::default().duplicate_identity(duplicate), GREATER);
    net.listen(server, Scene::ADDRESS);
    let friend = net.socket_as(Config::default(), FRIEND);
    net.dial(friend, Scene::ADDRESS);
    net.run_for(SECOND);
    // It is well: messages go to and fro.
    for _ in 0..60 {
        net.send(friend, "well").expect("room");
        net.send_to(server, FRIEND, "well").expect("room");
        net.run_for(SECOND);
    }
    net.listen_raw("evil");
    net.dial(server, "evil");
    net.run_for(SECOND / 10);
    let evil = net.accept("evil").expect("it was dialled");
    net.write(evil, wire::hello(FRIEND));
    for _ in 0..60 {
        net.write(evil, wire::heartbeat());
        net.run_for(SECOND);
    }
    let _ = net.send_to(server, FRIEND, "for the friend alone");
    net.run_for(SECOND);
    let stolen = wire::v1_payloads(net.bytes(evil));
    assert_eq!(departures(&net, server), [], "the friend was sent away; the other got {stolen:?}");
    assert_eq!(net.payloads(friend).last().map(|last| &last[..]), Some(&b"for the friend alone"[..]));
}

#[test]
fn a_peer_that_is_well_is_not_displaced_by_one_that_we_connect_to() {
    assert_stays(DuplicateIdentity::Probe);
}

#[test]
fn who_we_connect_to_is_refused_where_newcomers_are() {
    assert_stays(DuplicateIdentity::Reject);
}
