//! What a peer can send that it should not: it costs that one connection at most, for a typed reason.

use core::time::Duration;

use aiomsg_proto::dialect::GreetingError;
use aiomsg_proto::frame::FrameTooLong;
use aiomsg_proto::{Acknowledge, CloseReason, Config, Event, Identity, IdentityForm, Protocol};
use aiomsg_tests::{Chunking, Ended, NodeId, RawId, Scene, departures, refusals, wire};

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(50);

/// The most that is read of a peer that has not introduced itself, in bytes.
const INTRODUCTION: usize = 4 * 1024;

fn scene() -> Scene {
    Scene::new(1, Config::default())
}

/// Has a stranger write `bytes` as the first on its connection, whole and byte by byte, and expects it to be refused.
fn assert_refused(bytes: impl AsRef<[u8]>, reason: CloseReason) {
    for chunking in [Chunking::Whole, Chunking::Bytes, Chunking::Random] {
        let mut scene = scene();
        scene.net.set_chunking(chunking);
        let raw = scene.stranger_writes(&bytes);
        scene.run_for(MOMENT);
        assert_eq!(refusals(&scene.net, scene.server), [reason], "{chunking:?}");
        assert!(scene.net.ended(raw).is_some(), "the connection is closed");
        assert_eq!(scene.net.bytes(raw), [], "nothing is said to who has not introduced itself");
        assert!(scene.net.introduction_high_water(scene.server) <= INTRODUCTION);
        scene.assert_served();
    }
}

/// A stranger that has introduced itself, and is accepted.
fn introduced(scene: &mut Scene) -> RawId {
    let raw = scene.stranger_writes(wire::hello(Scene::stranger()));
    scene.run_for(MOMENT);
    assert_eq!(scene.net.node(scene.server).peer_count(), 2);
    raw
}

/// Has an accepted stranger write `bytes`, and expects them to be skipped and counted, and what follows to be read.
fn assert_skipped(bytes: &[u8], frames: u64) {
    let mut scene = scene();
    let raw = introduced(&mut scene);
    scene.net.write(raw, bytes);
    scene.net.write(raw, wire::data(b"behind"));
    scene.run_for(MOMENT);
    assert_eq!(scene.net.node(scene.server).metrics().skipped_frames, frames);
    assert_eq!(last_from_stranger(&scene), Some(b"behind".to_vec()));
    assert_eq!(scene.net.ended(raw), None);
    scene.assert_served();
}

fn last_from_stranger(scene: &Scene) -> Option<Vec<u8>> {
    let received = scene.net.received(scene.server).last()?;
    assert_eq!(received.identity, Scene::stranger());
    Some(received.payload.to_vec())
}

fn connected(scene: &Scene, node: NodeId) -> Vec<(Identity, Protocol)> {
    let peer = |event: &Event| match event {
        Event::Connected { identity, protocol, .. } => Some((*identity, *protocol)),
        _ => None,
    };
    scene.net.events(node).iter().filter_map(|(_, event)| peer(event)).collect()
}

/// Has a stranger write `first` as its first frame, and expects it to be taken for a classic identity.
fn assert_classic(first: &[u8], form: IdentityForm) {
    let mut scene = scene();
    let raw = scene.stranger_writes(wire::frame(first));
    scene.run_for(MOMENT);
    let expected = (Identity::from_classic(first), Protocol::Classic(form));
    assert_eq!(connected(&scene, scene.server).last(), Some(&expected));
    let ours = scene.net.identity(scene.server);
    let answer = match form {
        IdentityForm::Raw => wire::frame(ours.as_bytes()),
        _ => wire::frame(format!("{0}-{1}-{1}-{1}-{0}{1}", "10101010", "1010").as_bytes()),
    };
    assert_eq!(scene.net.bytes(raw), answer);
    scene.net.write(raw, wire::frame(b"hello"));
    scene.run_for(MOMENT);
    assert_eq!(scene.net.received(scene.server).last().expect("a message").payload, "hello");
    scene.assert_served();
}

#[test]
fn an_empty_first_frame_is_refused() {
    assert_refused([0; 4], GreetingError::Empty.into());
}

#[test]
fn an_empty_frame_is_skipped_in_v1() {
    assert_skipped(&[0; 4], 1);
    assert_skipped(&[0; 4 * 1_000], 1_000);
}

#[test]
fn an_empty_frame_is_skipped_in_classic() {
    let mut scene = scene();
    let raw = scene.stranger_writes(wire::frame(Scene::stranger().as_bytes()));
    scene.net.write(raw, [0; 4]);
    scene.net.write(raw, wire::frame(b"behind"));
    scene.run_for(MOMENT);
    assert_eq!(scene.net.node(scene.server).metrics().skipped_frames, 1);
    assert_eq!(last_from_stranger(&scene), Some(b"behind".to_vec()));
    scene.assert_served();
}

#[test]
fn a_first_frame_longer_than_any_identity_is_refused_at_its_prefix() {
    for length in [256, 1 << 31, u32::MAX] {
        assert_refused(length.to_be_bytes(), GreetingError::TooLong { length }.into());
    }
}

#[test]
fn a_long_first_frame_is_refused_with_all_that_follows() {
    let mut bytes = 256_u32.to_be_bytes().to_vec();
    bytes.resize(100_000, b'x');
    assert_refused(bytes, GreetingError::TooLong { length: 256 }.into());
}

#[test]
fn a_frame_longer_than_the_largest_message_ends_the_connection() {
    for length in [u32::MAX, 1 << 31, (64 << 20) + 18] {
        let mut scene = scene();
        let raw = introduced(&mut scene);
        scene.net.write(raw, length.to_be_bytes());
        scene.run_for(MOMENT);
        let limit = (64 << 20) + 17;
        assert_eq!(departures(&scene.net, scene.server), [FrameTooLong { length, limit }.into()]);
        assert!(scene.net.ended(raw).is_some());
        scene.assert_served();
    }
}

#[test]
fn a_frame_that_is_too_long_ends_the_connection_when_the_buffer_is_full_as_well() {
    let config = Config::default().receive_buffer(aiomsg_proto::Limit::new(1, 100)).max_message(1_000);
    let mut scene = Scene::new(1, config);
    scene.net.set_taking(scene.server, aiomsg_tests::Taking::Nothing);
    let raw = introduced(&mut scene);
    scene.net.write(raw, wire::data(b"fills it"));
    scene.net.write(raw, u32::MAX.to_be_bytes());
    scene.run_for(MOMENT);
    let reason = FrameTooLong { length: u32::MAX, limit: 1_017 }.into();
    assert_eq!(departures(&scene.net, scene.server), [reason]);
    scene.net.set_taking(scene.server, aiomsg_tests::Taking::All);
    scene.assert_served();
}

/// A frame may have more bytes beside the payload than that of a plain message needs.
#[test]
fn a_message_that_could_not_be_sent_on_ends_the_connection() {
    const LARGEST: usize = 100;
    type Form = fn(&[u8]) -> Vec<u8>;
    let classic_request: Form = |payload| wire::frame(&[&[9; 16], &b"\0REQ\0"[..], payload].concat());
    let (hello, identity) = (wire::hello(Scene::stranger()), wire::frame(Scene::stranger().as_bytes()));
    // Each with the bytes before its payload, and the most that a frame has there.
    let forms: [(&[u8], Form, usize, usize); 4] = [
        (&hello, wire::data, 1, 17),
        (&hello, |payload| wire::data_req([9; 16], payload), 17, 17),
        (&identity, wire::frame, 0, 21),
        (&identity, classic_request, 21, 21),
    ];
    // Those that are acknowledged by hand are taken one by one.
    for acknowledge in [Acknowledge::default(), Acknowledge::Manual] {
        for (introduction, form, head, most) in forms {
            for longer in [0, 1, 4, 16, 17, 20, 21] {
                let config = Config::default().max_message(LARGEST).acknowledge(acknowledge);
                let mut scene = Scene::new(1, config);
                let raw = scene.stranger_writes(introduction);
                scene.net.write(raw, form(&vec![7; LARGEST + longer]));
                scene.run_for(MOMENT);
                let received = scene.net.payloads(scene.server).len();
                assert_eq!(received, usize::from(longer == 0), "{head} bytes and {longer} more than allowed");
                let length = (LARGEST + longer + head) as u32;
                let limit = (LARGEST + if longer + head > most { most } else { head }) as u32;
                let expected = (longer > 0).then(|| FrameTooLong { length, limit }.into());
                assert_eq!(departures(&scene.net, scene.server), Vec::from_iter(expected));
                scene.assert_served();
            }
        }
    }
}

#[test]
fn odd_lengths_that_do_not_start_like_a_hello_are_classic_identities() {
    assert_classic(&[0xff; 15], IdentityForm::Raw);
    assert_classic(&[0xff; 17], IdentityForm::Raw);
    assert_classic(&[0xff; 255], IdentityForm::Raw);
    assert_classic(b"fifteen letters", IdentityForm::Text);
    assert_classic(b"seventeen letters", IdentityForm::Text);
}

#[test]
fn sixteen_bytes_are_a_classic_identity_whatever_they_start_with() {
    assert_classic(&[1; 16], IdentityForm::Raw);
    assert_classic(b"sixteen letters!", IdentityForm::Raw);
}

#[test]
fn what_starts_like_a_hello_and_ends_too_early_is_refused() {
    for length in [1, 15, 17] {
        assert_refused(wire::frame(&vec![1; length]), GreetingError::TruncatedHello.into());
    }
}

#[test]
fn an_unknown_version_is_refused() {
    for version in [0, 2, 255] {
        let mut frame = vec![1, version];
        frame.extend([9; 16]);
        assert_refused(wire::frame(&frame), GreetingError::UnknownVersion { version }.into());
    }
}

#[test]
fn bytes_behind_the_identity_in_a_hello_are_allowed() {
    let mut scene = scene();
    let mut frame = vec![1, 1];
    frame.extend(Scene::stranger().as_bytes());
    frame.extend([7; 237]);
    let raw = scene.stranger_writes(wire::frame(&frame));
    scene.net.write(raw, wire::data(b"behind"));
    scene.run_for(MOMENT);
    assert_eq!(last_from_stranger(&scene), Some(b"behind".to_vec()));
    scene.assert_served();
}

#[test]
fn an_http_request_is_refused() {
    let request = b"GET / HTTP/1.1\r\nHost: example.org\r\nConnection: Upgrade\r\n\r\n";
    let length = u32::from_be_bytes(*b"GET ");
    assert_refused(request, GreetingError::TooLong { length }.into());
}

#[test]
fn a_tls_client_hello_is_refused() {
    let mut hello = vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    hello.resize(517, 0x5a);
    assert_refused(hello, GreetingError::TooLong { length: 0x1603_0102 }.into());
}

#[test]
fn an_unknown_envelope_is_skipped() {
    assert_skipped(&wire::frame(&[0]), 1);
    assert_skipped(&wire::frame(&[0xff, 1, 2, 3]), 1);
    assert_skipped(&wire::frame(&vec![6; 200_000]), 1);
}

#[test]
fn a_truncated_envelope_is_skipped() {
    assert_skipped(&wire::frame(&[4]), 1);
    assert_skipped(&wire::frame(&[4; 16]), 1);
    assert_skipped(&wire::frame(&[5; 16]), 1);
}

#[test]
fn a_second_hello_is_skipped() {
    assert_skipped(&wire::hello(Scene::stranger()), 1);
    assert_skipped(&wire::hello(Identity::from_bytes([3; 16])), 1);
    // One that kills the reader of another implementation.
    assert_skipped(&wire::frame(&[1]), 1);
}

#[test]
fn a_header_that_is_almost_one_is_a_classic_payload() {
    let id = [9; 16];
    for mark in [b"\0REQ\x01", b"\0REX\0", b"\x01REQ\0", b"\0req\0"] {
        let mut scene = scene();
        let raw = scene.stranger_writes(wire::frame(Scene::stranger().as_bytes()));
        let payload = [id.as_slice(), mark].concat();
        scene.net.write(raw, wire::frame(&payload));
        scene.run_for(MOMENT);
        assert_eq!(last_from_stranger(&scene), Some(payload));
        scene.assert_served();
    }
}

#[test]
fn a_classic_acknowledgement_with_anything_behind_it_is_a_payload() {
    let mut scene = scene();
    let raw = scene.stranger_writes(wire::frame(Scene::stranger().as_bytes()));
    scene.net.write(raw, wire::frame(b"0123456789abcdef\0REP\0x"));
    scene.net.write(raw, wire::frame(b"0123456789abcdef\0REP\0"));
    scene.run_for(MOMENT);
    assert_eq!(last_from_stranger(&scene), Some(b"0123456789abcdef\0REP\0x".to_vec()));
    scene.assert_served();
}

#[test]
fn an_acknowledgement_that_nobody_waits_for_changes_nothing() {
    let mut scene = scene();
    let raw = introduced(&mut scene);
    scene.net.write(raw, wire::ack([7; 16]).repeat(1_000));
    scene.run_for(MOMENT);
    assert_eq!(scene.net.ended(raw), None);
    scene.assert_served();
}

#[test]
fn silence_after_accept_ends_at_the_deadline() {
    let mut scene = scene();
    let raw = scene.stranger_writes(b"");
    scene.run_for(SECOND * 10 - MOMENT);
    assert_eq!(scene.net.ended(raw), None);
    scene.run_for(MOMENT * 2);
    assert_eq!(scene.net.ended(raw), Some(Ended::Finished));
    assert_eq!(refusals(&scene.net, scene.server), [CloseReason::HandshakeTimeout]);
    scene.assert_served();
}

#[test]
fn a_byte_a_second_gains_no_time() {
    let mut scene = scene();
    let raw = scene.stranger_writes(b"");
    for byte in wire::hello(Scene::stranger()) {
        scene.net.write(raw, [byte]);
        scene.run_for(SECOND);
    }
    assert!(scene.net.ended(raw).is_some());
    assert_eq!(refusals(&scene.net, scene.server), [CloseReason::HandshakeTimeout]);
    scene.assert_served();
}

#[test]
fn the_end_of_the_stream_before_the_introduction_is_told() {
    let hello = wire::hello(Scene::stranger());
    for sent in [0, 1, 4, 5, hello.len() - 1] {
        let mut scene = scene();
        let raw = scene.stranger_writes(&hello[..sent]);
        scene.net.finish(raw);
        scene.run_for(MOMENT);
        assert_eq!(refusals(&scene.net, scene.server), [CloseReason::PeerClosed], "{sent} bytes");
        scene.assert_served();
    }
}

#[test]
fn the_end_of_the_stream_behind_the_introduction_is_told() {
    for behind in [&b""[..], b"\0", b"\0\0\0\x05\x03hel"] {
        let mut scene = scene();
        let raw = introduced(&mut scene);
        scene.net.write(raw, behind);
        scene.net.finish(raw);
        scene.run_for(MOMENT);
        assert_eq!(departures(&scene.net, scene.server), [CloseReason::PeerClosed]);
        assert_eq!(scene.net.received(scene.server), [], "half a message is none");
        scene.assert_served();
    }
}

#[test]
fn messages_before_the_end_of_the_stream_are_received() {
    let mut scene = scene();
    let raw = scene.stranger_writes(wire::hello(Scene::stranger()));
    for number in 0..1_000_u32 {
        scene.net.write(raw, wire::data(&number.to_be_bytes()));
    }
    scene.net.finish(raw);
    scene.run_for(MOMENT);
    assert_eq!(scene.net.received(scene.server).len(), 1_000);
    assert_eq!(departures(&scene.net, scene.server), [CloseReason::PeerClosed]);
    scene.assert_served();
}

#[test]
fn a_peer_of_a_dialect_that_is_off_is_refused() {
    use aiomsg_proto::Dialect;
    let refused_by = |dialect, bytes: Vec<u8>| {
        let mut scene = Scene::new(1, Config::default().dialect(dialect));
        scene.stranger_writes(bytes);
        scene.run_for(MOMENT);
        refusals(&scene.net, scene.server)
    };
    let classic = wire::frame(Scene::stranger().as_bytes());
    assert_eq!(refused_by(Dialect::V1, classic.clone()), [CloseReason::DialectOff]);
    assert_eq!(refused_by(Dialect::Auto, classic), []);
}

#[test]
fn random_bytes_never_cost_more_than_their_connection() {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut scene = scene();
    for round in 0..2_000 {
        let mut bytes = match round % 3 {
            0 => Vec::new(),
            1 => wire::hello(Scene::stranger()),
            _ => wire::frame(Scene::stranger().as_bytes()),
        };
        for _ in 0..rng.usize(1..8) {
            let length = rng.u32(0..40);
            bytes.extend(length.to_be_bytes());
            bytes.push(rng.u8(0..7));
            bytes.extend((1..length.max(1)).map(|_| rng.u8(..)));
        }
        let raw = scene.stranger_writes(bytes);
        scene.run_for(MOMENT);
        scene.net.close(raw);
        scene.run_for(MOMENT);
    }
    assert_eq!(scene.net.node(scene.server).peer_count(), 1);
    assert!(scene.net.introduction_high_water(scene.server) <= INTRODUCTION);
    scene.assert_served();
}
