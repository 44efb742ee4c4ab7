//! Every payload arrives as it was sent, in both dialects, whatever it looks like.

use core::time::Duration;

use aiomsg_proto::{Config, Dialect, Identity, IdentityForm, Protocol, SendMode};
use aiomsg_tests::{Chunking, Network, RawId, Scene, assert_conserved, wire};
use bytes::Bytes;

const SECOND: Duration = Duration::from_secs(1);
const MIB: usize = 1 << 20;

fn with_mark(mark: &[u8], body: &[u8]) -> Vec<u8> {
    [b"0123456789abcdef", mark, body].concat()
}

/// Payloads that a peer might take for something else.
fn payloads() -> Vec<Bytes> {
    let newlines = [b'\n'; 16];
    let all_bytes: Vec<u8> = (0..=255).collect();
    let payloads: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"aiomsg-heartbeat".to_vec(),
        b"aiomsg-heartbea".to_vec(),
        b"aiomsg-heartbeat!".to_vec(),
        with_mark(b"\0REQ\0", b""),
        with_mark(b"\0REQ\0", b"body"),
        with_mark(b"\0REP\0", b""),
        with_mark(b"\0REP\0", b"body"),
        with_mark(b"\0REX\0", b""),
        with_mark(b"\0RE", b""),
        with_mark(b"\0REQ\0", &with_mark(b"\0REQ\0", b"nested")),
        [newlines.as_slice(), b"\0REQ\0\n"].concat(),
        [[0; 16].as_slice(), b"\0REP\0"].concat(),
        b"\0".to_vec(),
        vec![0; 21],
        b"\n".to_vec(),
        b"\r\n\r\n".to_vec(),
        // What other frames of the dialects look like.
        wire::hello(Scene::stranger()),
        vec![1],
        vec![2],
        vec![5; 17],
        vec![0xff; 4],
        all_bytes,
        vec![7; 8 * 1024],
        vec![7; 8 * 1024 + 1],
        vec![7; 64 * 1024 + 1],
        vec![7; MIB],
    ];
    payloads.into_iter().map(Bytes::from).collect()
}

/// Sends all payloads both ways between two sockets, and checks them.
fn exchange(dialect: Dialect, mode: SendMode, expected: Protocol) {
    for chunking in [Chunking::Whole, Chunking::Random] {
        let mut net = Network::new(11);
        net.set_chunking(chunking);
        let a = net.socket(Config::default().send_mode(mode));
        let b = net.socket(Config::default().send_mode(mode).dialect(dialect));
        net.listen(a, Scene::ADDRESS);
        net.dial(b, Scene::ADDRESS);
        net.run_for(SECOND);
        assert_eq!(net.node(a).peers()[0].protocol, expected);
        let peer = net.identity(b);
        for payload in payloads() {
            net.send(a, payload.clone()).expect("there is room");
            net.send(b, payload.clone()).expect("there is room");
            net.send_to(a, peer, payload).expect("there is room");
        }
        net.run_for(SECOND * 5);
        let twice: Vec<Bytes> =
            payloads().into_iter().flat_map(|payload| [payload.clone(), payload]).collect();
        assert!(net.payloads(b) == twice, "{dialect:?} {chunking:?}");
        assert!(net.payloads(a) == payloads(), "{dialect:?} {chunking:?}");
        assert_eq!(net.node(a).peer_count(), 1);
        if mode == SendMode::RoundRobin {
            assert_conserved(&net, a);
        }
    }
}

#[test]
fn between_sockets_in_v1() {
    exchange(Dialect::V1, SendMode::RoundRobin, Protocol::V1);
}

#[test]
fn between_sockets_in_classic() {
    exchange(Dialect::Classic, SendMode::RoundRobin, Protocol::Classic(IdentityForm::Raw));
}

#[test]
fn published_in_both() {
    exchange(Dialect::V1, SendMode::Publish, Protocol::V1);
    exchange(Dialect::Classic, SendMode::Publish, Protocol::Classic(IdentityForm::Raw));
}

/// A classic peer that has introduced itself, with its identity in this form.
fn classic_peer(net: &mut Network, identity: &[u8]) -> RawId {
    let raw = net.dial_raw(Scene::ADDRESS);
    net.write(raw, wire::frame(identity));
    net.run_for(SECOND / 10);
    raw
}

/// Acknowledges all requests that a classic peer has got, as it does.
fn acknowledge(net: &mut Network, raw: RawId) {
    for frame in wire::frames(net.bytes(raw)).into_iter().skip(1) {
        if let wire::Classic::Requested(id, _) = wire::classic(&frame) {
            net.write(raw, wire::frame(&[&id, b"\0REP\0".as_slice()].concat()));
        }
    }
}

#[test]
fn into_a_strict_classic_peer() {
    for identity in [Scene::stranger().as_bytes().as_slice(), b"11111111-2222-4333-8444-555555555555"] {
        let mut net = Network::new(12);
        let server = net.socket(Config::default());
        net.listen(server, Scene::ADDRESS);
        let raw = classic_peer(&mut net, identity);
        // Often enough for every byte to stand in the ids that are made up.
        for _ in 0..40 {
            for payload in payloads().into_iter().filter(|payload| payload.len() < MIB) {
                net.send(server, payload).expect("there is room");
            }
            net.run_for(SECOND / 10);
        }
        let expected: Vec<Bytes> =
            (0..40).flat_map(|_| payloads()).filter(|payload| payload.len() < MIB).collect();
        assert!(wire::classic_payloads(net.bytes(raw)) == expected);
        acknowledge(&mut net, raw);
        net.run_for(SECOND);
        assert!(net.received(server).is_empty(), "the acknowledgements are swallowed");
        assert_eq!(net.node(server).metrics().skipped_frames, 0);
        assert_eq!(net.ended(raw), None);
    }
}

#[test]
fn published_to_a_mixed_fleet() {
    let mut net = Network::new(13);
    let server = net.socket(Config::default().send_mode(SendMode::Publish));
    net.listen(server, Scene::ADDRESS);
    let raw = classic_peer(&mut net, Scene::stranger().as_bytes());
    let text = classic_peer(&mut net, b"11111111-2222-4333-8444-555555555555");
    let odd = classic_peer(&mut net, b"some name");
    let v1 = net.dial_raw(Scene::ADDRESS);
    net.write(v1, wire::hello(Identity::from_bytes([9; 16])));
    net.run_for(SECOND / 10);
    assert_eq!(net.node(server).peer_count(), 4);
    for payload in payloads() {
        net.send(server, payload).expect("there is room");
    }
    net.run_for(SECOND);
    for classic in [raw, text, odd] {
        assert!(wire::classic_payloads(net.bytes(classic)) == payloads());
    }
    assert!(wire::v1_payloads(net.bytes(v1)) == payloads());
}

#[test]
fn nothing_is_wrapped_that_need_not_be() {
    let mut net = Network::new(14);
    let server = net.socket(Config::default());
    net.listen(server, Scene::ADDRESS);
    let raw = classic_peer(&mut net, Scene::stranger().as_bytes());
    for payload in [b"plain".as_slice(), &with_mark(b"\0REX\0", b""), b"aiomsg-heartbeat!"] {
        net.send(server, payload.to_vec()).expect("there is room");
        net.run_for(SECOND / 10);
        assert_eq!(wire::frames(net.bytes(raw)).last().map(Vec::as_slice), Some(payload));
    }
}

#[test]
fn a_request_of_a_peer_is_delivered_and_acknowledged() {
    let id = *b"0123456789abcdef";
    let mut net = Network::new(15);
    let server = net.socket(Config::default());
    net.listen(server, Scene::ADDRESS);
    let classic = classic_peer(&mut net, Scene::stranger().as_bytes());
    net.write(classic, wire::frame(&with_mark(b"\0REQ\0", b"job")));
    let v1 = net.dial_raw(Scene::ADDRESS);
    net.write(v1, wire::hello(Identity::from_bytes([9; 16])));
    net.write(v1, wire::data_req(id, b"job"));
    net.run_for(SECOND / 10);
    assert_eq!(net.payloads(server), ["job", "job"]);
    assert_eq!(wire::frames(net.bytes(classic))[1..], [with_mark(b"\0REP\0", b"")]);
    assert!(net.bytes(v1).ends_with(&wire::ack(id)));
}
