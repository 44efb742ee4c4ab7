//! When a connection is tried again, and in which dialect.

use core::time::Duration;

use aiomsg_proto::{CloseReason, Config, DialId, Dialect, Event, Identity, IdentityForm, Instant, Protocol};
use aiomsg_tests::{Network, NodeId, RawId, Scene, refusals, wire};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Where a raw peer listens.
const RAW: &str = "raw";

/// The identity of the socket under test, in both forms.
const OURS: Identity = Identity::from_bytes([0x10; 16]);
const OURS_AS_TEXT: &[u8] = b"10101010-1010-1010-1010-101010101010";

/// An identity of a peer as the oldest packages show it.
const TEXT: &[u8] = b"11111111-2222-4333-8444-555555555555";

fn dialling(config: Config) -> (Network, NodeId, DialId) {
    let mut net = Network::new(8);
    let node = net.socket(config);
    net.listen_raw(RAW);
    let dial = net.dial(node, RAW);
    net.run_for(MILLISECOND * 2);
    (net, node, dial)
}

/// The next connection that arrives, within `patience`.
fn next(net: &mut Network, patience: Duration) -> RawId {
    let end = net.now() + patience;
    loop {
        if let Some(raw) = net.accept(RAW) {
            return raw;
        }
        assert!(net.now() < end, "nobody has called");
        net.run_for(MILLISECOND);
    }
}

fn attempts(net: &Network, node: NodeId) -> Vec<Instant> {
    let starts = |event: &Event| matches!(event, Event::Connecting { .. });
    net.events(node).iter().filter(|(_, event)| starts(event)).map(|(at, _)| *at).collect()
}

/// What was told of attempts to come: when, the count of failures, the delay, the reason.
fn retries(net: &Network, node: NodeId) -> Vec<(Instant, u32, Duration, CloseReason)> {
    let retry = |(at, event): &(Instant, Event)| match event {
        Event::Retrying { failures, delay, reason, .. } => Some((*at, *failures, *delay, *reason)),
        _ => None,
    };
    net.events(node).iter().filter_map(retry).collect()
}

fn bound(failures: u32) -> Duration {
    (Duration::from_millis(100) * 2_u32.pow((failures - 1).min(10))).min(SECOND * 10)
}

#[test]
fn delays_double_with_full_jitter_up_to_ten_seconds() {
    let mut sums = [Duration::ZERO; 20];
    for seed in 0..200 {
        let mut net = Network::new(seed);
        let node = net.socket(Config::default());
        net.dial(node, "nowhere");
        net.run_until("twenty attempts have failed", SECOND * 1_000, |net| retries(net, node).len() == 20);
        for (place, (_, failures, delay, reason)) in retries(&net, node).into_iter().enumerate() {
            assert_eq!((failures as usize, reason), (place + 1, CloseReason::ConnectFailed));
            assert!(delay <= bound(failures), "{failures}: {delay:?}");
            sums[place] += delay;
        }
    }
    for (place, sum) in sums.into_iter().enumerate() {
        let bound = bound(u32::try_from(place + 1).expect("small"));
        let mean = sum / 200;
        assert!(mean > bound * 4 / 10 && mean < bound * 6 / 10, "{place}: {mean:?} of {bound:?}");
    }
}

#[test]
fn the_next_attempt_is_made_when_it_was_announced() {
    let mut net = Network::new(9);
    let node = net.socket(Config::default());
    net.dial(node, "nowhere");
    net.run_for(SECOND * 100);
    let attempts = attempts(&net, node);
    for ((told, _, delay, _), attempt) in retries(&net, node).into_iter().zip(&attempts[1..]) {
        assert_eq!(told + delay, *attempt);
    }
    assert!(attempts.len() > 20);
}

#[test]
fn a_close_right_after_accept_backs_off_as_well() {
    let (mut net, node, _) = dialling(Config::default());
    for expected in 1..=12 {
        let raw = next(&mut net, SECOND * 11);
        net.close(raw);
        net.run_for(MILLISECOND * 3);
        let (_, failures, delay, reason) = *retries(&net, node).last().expect("it is tried again");
        assert_eq!((failures, reason), (expected, CloseReason::PeerClosed));
        assert!(delay <= bound(failures));
    }
}

#[test]
fn only_a_connection_that_stayed_up_for_five_seconds_starts_the_delays_anew() {
    let (mut net, node, _) = dialling(Config::default());
    for (up, expected) in [(1, 1), (4, 2), (4, 3), (6, 1), (4, 2)] {
        let raw = next(&mut net, SECOND * 11);
        net.write(raw, wire::hello(Scene::stranger()));
        net.run_for(SECOND * up);
        net.close(raw);
        net.run_for(MILLISECOND * 3);
        let (_, failures, ..) = *retries(&net, node).last().expect("it is tried again");
        assert_eq!(failures, expected, "after {up} s");
    }
}

#[test]
fn silence_of_who_accepts_ends_ten_seconds_after_the_dial_began() {
    let mut net = Network::new(8);
    net.set_latency(SECOND * 2, SECOND * 2);
    let node = net.socket(Config::default());
    net.listen_raw(RAW);
    net.dial(node, RAW);
    let start = net.now();
    net.run_for(SECOND * 12);
    let (at, _, _, reason) = retries(&net, node)[0];
    assert_eq!(reason, CloseReason::HandshakeTimeout);
    assert_eq!(at.saturating_duration_since(start), SECOND * 10);
}

/// The clock of the dialler goes ahead while its dial is on its way, and nothing tells that from a slow one.
#[test]
fn a_peer_has_time_to_introduce_itself_however_long_the_dial_took() {
    for ahead in [Duration::from_millis(9_990), SECOND * 10, Duration::from_millis(10_900)] {
        let mut net = Network::new(8);
        let (near, far) = (net.socket(Config::default()), net.socket(Config::default()));
        net.listen(far, "far");
        net.set_latency(MILLISECOND * 30, MILLISECOND * 30);
        net.dial(near, "far");
        net.set_clock_ahead(near, ahead);
        net.run_for(SECOND);
        assert_eq!(refusals(&net, near), [], "{ahead:?}");
        assert_eq!(net.node(near).peer_count(), 1, "{ahead:?}");
    }
}

/// Both ends of a connection, in the middle of the introduction.
#[test]
fn who_sleeps_through_an_introduction_goes_on_with_it() {
    for ahead in 3..15 {
        for sleeper in [0, 1] {
            let mut net = Network::new(8);
            let nodes = [net.socket(Config::default()), net.socket(Config::default())];
            net.listen(nodes[1], "far");
            net.set_latency(MILLISECOND * 60, MILLISECOND * 60);
            net.dial(nodes[0], "far");
            net.run_for(MILLISECOND * 70 + MILLISECOND * 60 * (1 - sleeper as u32));
            net.set_clock_ahead(nodes[sleeper], SECOND * ahead);
            net.run_for(SECOND);
            assert_eq!(refusals(&net, nodes[sleeper]), [], "{ahead} s, {sleeper}");
            assert_eq!(net.node(nodes[0]).peer_count(), 1, "{ahead} s, {sleeper}");
        }
    }
}

#[test]
fn a_failure_that_is_told_too_late_is_not_told_of_another_one() {
    let (mut net, node, dial) = dialling(Config::default());
    let raw = next(&mut net, SECOND);
    net.command(node, |socket, now| socket.handle_dial_failed(now, dial, "long ago"));
    net.close(raw);
    net.run_for(MILLISECOND * 3);
    let told = net.events(node).iter().rev().find_map(|(_, event)| match event {
        Event::Retrying { reason, cause, .. } => Some((*reason, cause.clone())),
        _ => None,
    });
    assert_eq!(told, Some((CloseReason::PeerClosed, None)));
}

#[test]
fn a_dial_that_is_withdrawn_is_made_no_more() {
    let (mut net, node, dial) = dialling(Config::default());
    let raw = next(&mut net, SECOND);
    net.close(raw);
    net.run_for(MILLISECOND * 2);
    assert!(net.command(node, |socket, now| socket.undial(now, dial)));
    assert!(!net.command(node, |socket, now| socket.undial(now, dial)), "it is gone");
    net.run_for(SECOND * 100);
    assert_eq!(attempts(&net, node).len(), 1);
    assert_eq!(net.deadline(node), None);
}

#[test]
fn a_dial_that_is_withdrawn_on_its_way_leads_nowhere() {
    let mut net = Network::new(8);
    let node = net.socket(Config::default());
    net.listen_raw(RAW);
    let dial = net.dial(node, RAW);
    net.command(node, |socket, now| socket.undial(now, dial));
    net.run_for(SECOND);
    let raw = net.accept(RAW).expect("it was on its way");
    assert!(net.ended(raw).is_some());
    assert!(net.bytes(raw).is_empty());
    assert_eq!(net.wires(node), []);
}

#[test]
fn a_dial_speaks_v1_at_once() {
    let (mut net, _, _) = dialling(Config::default());
    let raw = next(&mut net, SECOND);
    net.run_for(MILLISECOND * 2);
    assert_eq!(net.bytes(raw), wire::hello(OURS));
    assert_eq!(net.bytes(raw).len(), 22);
}

#[test]
fn a_raw_classic_identity_in_answer_goes_on_on_the_same_connection() {
    let (mut net, node, _) = dialling(Config::default());
    net.send(node, "hello").expect("there is room");
    let raw = next(&mut net, SECOND);
    // As a classic peer does: its identity at once, and what it had waiting right behind.
    net.write(raw, wire::frame(Scene::stranger().as_bytes()));
    net.write(raw, wire::frame(b"had waited"));
    net.run_for(MILLISECOND * 10);
    assert_eq!(net.payloads(node), ["had waited"]);
    assert_eq!(wire::frames(net.bytes(raw))[1..], [b"hello"]);
    assert_eq!(net.node(node).peers()[0].protocol, Protocol::Classic(IdentityForm::Raw));
    assert_eq!(attempts(&net, node).len(), 1);
}

#[test]
fn what_an_address_spoke_is_remembered() {
    let (mut net, _, _) = dialling(Config::default());
    let raw = next(&mut net, SECOND);
    net.write(raw, wire::frame(Scene::stranger().as_bytes()));
    net.run_for(MILLISECOND * 10);
    net.close(raw);
    let raw = next(&mut net, SECOND);
    net.run_for(MILLISECOND * 10);
    assert_eq!(net.bytes(raw), wire::frame(OURS.as_bytes()), "now as a classic peer does");
}

#[test]
fn a_text_identity_in_answer_is_dialled_again_at_once_as_text() {
    let (mut net, node, _) = dialling(Config::default());
    let raw = next(&mut net, SECOND);
    net.write(raw, wire::frame(TEXT));
    let told = net.now();
    let again = next(&mut net, MILLISECOND * 10);
    assert!(net.now().saturating_duration_since(told) <= MILLISECOND * 5, "without a delay");
    assert!(net.ended(raw).is_some());
    net.run_for(MILLISECOND * 10);
    assert_eq!(net.bytes(again), wire::frame(OURS_AS_TEXT));
    net.write(again, wire::frame(TEXT));
    net.run_for(MILLISECOND * 10);
    let peer = &net.node(node).peers()[0];
    assert_eq!(peer.protocol, Protocol::Classic(IdentityForm::Text));
    assert_eq!(peer.identity, Identity::from_classic(TEXT));
    let spoken = Protocol::Classic(IdentityForm::Text);
    assert_eq!(refusals(&net, node), [CloseReason::OtherDialect { spoken }]);
    assert!(retries(&net, node).is_empty());
    net.close(again);
    let raw = next(&mut net, SECOND);
    net.run_for(MILLISECOND * 10);
    assert_eq!(net.bytes(raw), wire::frame(OURS_AS_TEXT), "and remembered");
}

#[test]
fn another_dialect_is_tried_at_once_only_once() {
    let (mut net, node, _) = dialling(Config::default());
    // One that always answers in the dialect that it was not addressed in.
    for round in 0..20 {
        let raw = next(&mut net, SECOND * 11);
        net.run_for(MILLISECOND * 5);
        let spoke_v1 = net.bytes(raw).len() == 22;
        net.write(raw, if spoke_v1 { wire::frame(TEXT) } else { wire::hello(Scene::stranger()) });
        net.run_for(MILLISECOND * 3);
        assert_eq!(retries(&net, node).len(), round, "all but the first wait");
    }
}

#[test]
fn a_handshake_that_shows_nothing_clears_the_memory() {
    let (mut net, _, _) = dialling(Config::default());
    let raw = next(&mut net, SECOND);
    net.write(raw, wire::frame(TEXT));
    let raw = next(&mut net, SECOND);
    net.close(raw);
    let raw = next(&mut net, SECOND);
    net.run_for(MILLISECOND * 5);
    assert_eq!(net.bytes(raw), wire::hello(OURS), "a newer peer may listen there now");
}

#[test]
fn an_attempt_that_fails_does_not_clear_the_memory() {
    let (mut net, _, _) = dialling(Config::default());
    let raw = next(&mut net, SECOND);
    net.write(raw, wire::frame(Scene::stranger().as_bytes()));
    net.run_for(MILLISECOND * 5);
    net.unlisten(RAW);
    net.close(raw);
    net.run_for(SECOND * 5);
    net.listen_raw(RAW);
    let raw = next(&mut net, SECOND * 11);
    net.run_for(MILLISECOND * 5);
    assert_eq!(net.bytes(raw), wire::frame(OURS.as_bytes()));
}

#[test]
fn a_dialect_that_is_off_is_neither_spoken_nor_tried_at_once() {
    let (mut net, node, _) = dialling(Config::default().dialect(Dialect::V1));
    for _ in 0..5 {
        let raw = next(&mut net, SECOND * 11);
        net.run_for(MILLISECOND * 5);
        assert_eq!(net.bytes(raw), wire::hello(OURS));
        net.write(raw, wire::frame(TEXT));
        net.run_for(MILLISECOND * 5);
    }
    assert_eq!(refusals(&net, node), [CloseReason::DialectOff; 5]);
    assert_eq!(retries(&net, node).len(), 5);
}

#[test]
fn classic_alone_opens_with_a_raw_identity() {
    let (mut net, _, _) = dialling(Config::default().dialect(Dialect::Classic));
    let raw = next(&mut net, SECOND);
    net.run_for(MILLISECOND * 5);
    assert_eq!(net.bytes(raw), wire::frame(OURS.as_bytes()));
}

#[test]
fn a_fleet_of_all_dialects_is_served_by_one_socket() {
    let mut net = Network::new(8);
    let server = net.socket(Config::default());
    net.listen(server, Scene::ADDRESS);
    let nodes = [Dialect::Auto, Dialect::V1, Dialect::Classic].map(|dialect| {
        let node = net.socket(Config::default().dialect(dialect));
        net.dial(node, Scene::ADDRESS);
        node
    });
    net.run_for(SECOND);
    for node in nodes {
        let identity = net.identity(node);
        net.send_to(server, identity, "to you").expect("it is there");
        net.send(node, "to the server").expect("there is room");
    }
    net.run_for(SECOND);
    assert!(nodes.iter().all(|node| net.payloads(*node) == ["to you"]));
    assert_eq!(net.payloads(server), ["to the server"; 3]);
}

#[test]
fn sockets_of_one_dialect_each_never_meet_and_do_not_hammer() {
    let mut net = Network::new(8);
    let server = net.socket(Config::default().dialect(Dialect::V1));
    net.listen(server, Scene::ADDRESS);
    let client = net.socket(Config::default().dialect(Dialect::Classic));
    net.dial(client, Scene::ADDRESS);
    net.run_for(SECOND * 600);
    let attempts = net.node(client).metrics().dial_attempts;
    assert!((60..300).contains(&attempts), "{attempts} in ten minutes");
    assert!(refusals(&net, server).iter().all(|reason| *reason == CloseReason::DialectOff));
}

#[test]
fn a_peer_that_comes_back_is_connected_within_the_announced_delay() {
    let mut net = Network::new(8);
    let server = net.socket(Config::default());
    let client = net.socket(Config::default());
    net.dial(client, Scene::ADDRESS);
    net.run_for(SECOND * 60);
    net.listen(server, Scene::ADDRESS);
    net.run_until("they are connected", SECOND * 11, |net| net.node(client).peer_count() == 1);
}

#[test]
fn a_connector_of_both_dialects_reaches_a_classic_listener() {
    let mut net = Network::new(8);
    let server = net.socket(Config::default().dialect(Dialect::Classic));
    let client = net.socket(Config::default());
    net.listen(server, Scene::ADDRESS);
    net.dial(client, Scene::ADDRESS);
    net.send(client, "there").expect("there is room");
    net.run_for(SECOND);
    assert_eq!(net.payloads(server), ["there"]);
    let known = net.node(server).peers();
    assert_eq!(known[0].identity, net.identity(client));
    assert_eq!(known[0].protocol, Protocol::Classic(IdentityForm::Raw));
    net.send(server, "and back").expect("there is room");
    net.run_for(SECOND);
    assert_eq!(net.payloads(client), ["and back"]);
    assert_eq!(refusals(&net, server), []);
}
