//! Frames by themselves: what each means, to the codec and to a socket.

use core::time::Duration;

use aiomsg_proto::dialect::{Greeting, Incoming};
use aiomsg_proto::{Config, Event, Identity, IdentityForm, MessageId, Protocol, frame};
use aiomsg_tests::{Scene, departures, refusals, wire};
use bytes::{Bytes, BytesMut};

use super::blocks;
use super::notation::{bytes, rows, sixteen};

const MOMENT: Duration = Duration::from_millis(20);

/// No frame of the document is longer, but those that are too long.
const LIMIT: u32 = 1_000;

/// What a frame means, as the document says it.
enum Meaning {
    Is(Incoming),
    Skipped,
    Closed,
}

fn meaning(text: &str) -> Meaning {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let id = |text: &str| MessageId::from_bytes(sixteen(text));
    Meaning::Is(match word {
        "message" => Incoming::Message(bytes(rest).into()),
        "request" => {
            let (name, payload) = rest.split_once(' ').expect("an id and a message");
            Incoming::Request(id(name), bytes(payload).into())
        }
        "acknowledgement" => Incoming::Acknowledgement(id(rest)),
        "heartbeat" => Incoming::Heartbeat,
        "skipped" => return Meaning::Skipped,
        "closed" => return Meaning::Closed,
        _ => panic!("what is {text:?}?"),
    })
}

fn protocol(name: &str) -> Protocol {
    match name {
        "v1" => Protocol::V1,
        "classic raw" | "classic" => Protocol::Classic(IdentityForm::Raw),
        "classic text" => Protocol::Classic(IdentityForm::Text),
        _ => panic!("what is {name:?}?"),
    }
}

/// Calls `check` with the protocol, whether the frame is also written, its bytes, and their meaning.
fn for_each_frame(check: impl Fn(Protocol, bool, &[u8], Meaning)) {
    let mut count = 0;
    for (info, table) in blocks("frames") {
        let (dialect, written) =
            info.strip_suffix(", only read").map_or((&*info, true), |name| (name, false));
        for (frame, means) in rows(&table) {
            check(protocol(dialect), written, &bytes(frame), meaning(means));
            count += 1;
        }
    }
    assert!(count >= 25, "frames are found: {count}");
}

#[test]
fn frames_mean_to_the_codec_what_is_written() {
    for_each_frame(|protocol, _, bytes, meaning| {
        let mut buffer = BytesMut::from(bytes);
        let frame = frame::split(&mut buffer, LIMIT);
        match meaning {
            Meaning::Closed => assert!(frame.is_err(), "{bytes:x?}"),
            Meaning::Skipped => {
                let frame = frame.expect("short").expect("whole");
                assert!(matches!(protocol.decode(frame), Incoming::Skipped(_)), "{bytes:x?}");
            }
            Meaning::Is(meaning) => {
                assert_eq!(protocol.decode(frame.expect("short").expect("whole")), meaning, "{bytes:x?}");
            }
        }
        assert!(buffer.is_empty() || frame::split(&mut buffer, LIMIT).is_err(), "{bytes:x?}");
    });
}

#[test]
fn what_is_meant_is_written_like_that() {
    for_each_frame(|protocol, written, bytes, meaning| {
        let Meaning::Is(meaning) = meaning else { return };
        if !written {
            return;
        }
        let mut out = Vec::new();
        let no_id = MessageId::from_bytes([0; 16]);
        let payload = match meaning {
            Incoming::Heartbeat => {
                protocol.encode_heartbeat(&mut out);
                Bytes::new()
            }
            Incoming::Acknowledgement(id) => {
                protocol.encode_acknowledgement(id, &mut out);
                Bytes::new()
            }
            Incoming::Message(payload) => {
                protocol.encode_head(&payload, no_id, false, &mut out);
                payload
            }
            Incoming::Request(id, payload) => {
                protocol.encode_head(&payload, id, true, &mut out);
                payload
            }
            other => panic!("not to be written: {other:?}"),
        };
        out.extend_from_slice(&payload);
        assert_eq!(out, bytes);
    });
}

/// The introduction of [`Scene::stranger`], and the acknowledgement of a message, by code that is not the core's.
fn stranger_says(protocol: Protocol) -> Vec<u8> {
    match protocol {
        Protocol::V1 => wire::hello(Scene::stranger()),
        _ => wire::frame(Scene::stranger().as_bytes()),
    }
}

fn acknowledges(protocol: Protocol, id: MessageId) -> Vec<u8> {
    match protocol {
        Protocol::V1 => wire::ack(*id.as_bytes()),
        _ => wire::frame(&[id.as_bytes(), b"\0REP\0".as_slice()].concat()),
    }
}

#[test]
fn a_socket_does_with_frames_what_is_written() {
    for_each_frame(|protocol, _, bytes, meaning| {
        let mut scene = Scene::new(1, Config::default());
        let raw = scene.stranger_writes(stranger_says(protocol));
        scene.run_for(MOMENT);
        let answered = scene.net.bytes(raw).len();
        scene.net.write(raw, bytes);
        scene.run_for(MOMENT);
        let server = scene.server;
        let received = scene.net.payloads(server);
        let answer = scene.net.bytes(raw)[answered..].to_vec();
        let (expected, answered, skipped) = match &meaning {
            Meaning::Is(Incoming::Message(payload)) => (vec![payload.clone()], vec![], 0),
            Meaning::Is(Incoming::Request(id, payload)) => {
                (vec![payload.clone()], acknowledges(protocol, *id), 0)
            }
            Meaning::Is(_) | Meaning::Closed => (vec![], vec![], 0),
            Meaning::Skipped => (vec![], vec![], 1),
        };
        assert_eq!((received, answer), (expected, answered), "{bytes:x?}");
        assert_eq!(scene.net.node(server).metrics().skipped_frames, skipped, "{bytes:x?}");
        let closed = matches!(meaning, Meaning::Closed);
        assert_eq!(scene.net.ended(raw).is_some(), closed, "{bytes:x?}");
        assert_eq!(departures(&scene.net, server).len(), usize::from(closed), "{bytes:x?}");
        scene.assert_served();
    });
}

#[test]
fn first_frames_lead_where_is_written() {
    let tables = blocks("first-frames");
    assert_eq!(tables.len(), 1);
    for (shown, outcome) in rows(&tables[0].1) {
        let shown = bytes(shown);
        let mut scene = Scene::new(1, Config::default());
        let raw = scene.stranger_writes(&shown);
        scene.run_for(MOMENT);
        let server = scene.server;
        let (answer, told) = (scene.net.bytes(raw).to_vec(), refusals(&scene.net, server));
        let refusal: Vec<String> = told.iter().map(ToString::to_string).collect();
        if let Some(reason) = outcome.strip_prefix("closed: ") {
            assert_eq!((refusal, answer), (vec![reason.to_owned()], vec![]), "{shown:x?}");
            assert!(scene.net.ended(raw).is_some());
        } else {
            let (name, identity) = outcome.split_once(", ").expect("a dialect and an identity");
            let expected =
                Greeting { identity: Identity::from_bytes(sixteen(identity)), protocol: protocol(name) };
            assert_eq!(Greeting::decode(&shown[frame::PREFIX..]), Ok(expected), "{shown:x?}");
            let connected = |event: &Event| match event {
                Event::Connected { identity, protocol, .. } => {
                    (Greeting { identity: *identity, protocol: *protocol }) == expected
                }
                _ => false,
            };
            assert!(scene.net.events(server).iter().any(|(_, event)| connected(event)), "{shown:x?}");
            assert_eq!(answer, introduction(scene.net.identity(server), expected.protocol), "{shown:x?}");
        }
        scene.assert_served();
    }
}

/// How a socket shows itself, by code that is not the core's.
fn introduction(identity: Identity, protocol: Protocol) -> Vec<u8> {
    match protocol {
        Protocol::V1 => wire::hello(identity),
        Protocol::Classic(IdentityForm::Text) => {
            let digits = identity.to_string();
            let ends = [0..8, 8..12, 12..16, 16..20, 20..32];
            wire::frame(ends.map(|part| &digits[part]).join("-").as_bytes())
        }
        _ => wire::frame(identity.as_bytes()),
    }
}

#[test]
fn identities_of_any_form_are_mapped_as_written() {
    let tables = blocks("identities");
    assert_eq!(tables.len(), 1);
    for (shown, identity) in rows(&tables[0].1) {
        assert_eq!(Identity::from_classic(&bytes(shown)), Identity::from_bytes(sixteen(identity)), "{shown}");
    }
}
