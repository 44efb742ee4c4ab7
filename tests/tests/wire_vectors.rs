//! Conversations with published packages, as they were captured, against what we read and write.
//!
//! A vector is a text file: `role`, what the package did (`bind` or `connect`); `peer` and `us`, the identities as they
//! were shown; `<` and `>`, the bytes from and to the package, piece by piece; `app`, a message that its application
//! got (`-` is an empty one). All in hex.

use aiomsg_proto::dialect::{Greeting, Incoming};
use aiomsg_proto::{Batch, Config, Connection, Identity, IdentityForm, Instant, MessageId, Protocol, Role};
use aiomsg_tests::wire::{self, Classic};
use bytes::{Bytes, BytesMut};

const NOW: Instant = Instant::EPOCH;

struct Vector {
    name: &'static str,
    protocol: Protocol,
    peer_dialled: bool,
    peer: Vec<u8>,
    us: Vec<u8>,
    from_peer: Vec<Vec<u8>>,
    to_peer: Vec<u8>,
    delivered: Vec<Vec<u8>>,
}

macro_rules! vectors {
    ($($name:literal)*) => {
        fn vectors() -> Vec<Vector> {
            vec![$(parse($name, include_str!(concat!("../vectors/", $name, ".txt")))),*]
        }
    };
}

vectors! {
    "classic-alo-bind" "classic-alo-connect" "classic-amo-bind" "classic-amo-connect"
    "classic-close-bind" "classic-close-connect" "classic-heartbeat-bind" "classic-heartbeat-connect"
    "classic-peer-fin-bind" "classic-peer-fin-connect"
    "classic-text-alo-bind" "classic-text-alo-connect" "classic-text-amo-bind" "classic-text-amo-connect"
    "classic-text-close-bind" "classic-text-close-connect" "classic-text-heartbeat-bind"
    "classic-text-heartbeat-connect" "classic-text-peer-fin-bind" "classic-text-peer-fin-connect"
    "v1-alo-bind" "v1-alo-connect" "v1-amo-bind" "v1-amo-connect" "v1-close-bind" "v1-close-connect"
    "v1-heartbeat-bind" "v1-heartbeat-connect" "v1-peer-fin-bind" "v1-peer-fin-connect"
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.trim_matches('-').as_bytes().chunks(2);
    digits
        .map(|pair| {
            u8::from_str_radix(core::str::from_utf8(pair).expect("text"), 16).expect("two hex digits")
        })
        .collect()
}

fn parse(name: &'static str, text: &str) -> Vector {
    let protocol = match name {
        _ if name.starts_with("v1") => Protocol::V1,
        _ if name.starts_with("classic-text") => Protocol::Classic(IdentityForm::Text),
        _ => Protocol::Classic(IdentityForm::Raw),
    };
    let mut vector = Vector {
        name,
        protocol,
        peer_dialled: false,
        peer: Vec::new(),
        us: Vec::new(),
        from_peer: Vec::new(),
        to_peer: Vec::new(),
        delivered: Vec::new(),
    };
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.ends_with(" end")) {
        match line.split_once(' ').expect("a word and a value") {
            ("role", role) => vector.peer_dialled = role == "connect",
            ("peer", shown) => vector.peer = unhex(shown),
            ("us", shown) => vector.us = unhex(shown),
            ("<", bytes) => vector.from_peer.push(unhex(bytes)),
            (">", bytes) => vector.to_peer.extend(unhex(bytes)),
            ("app", payload) => vector.delivered.push(unhex(payload)),
            (word, _) => panic!("{name}: what is {word}?"),
        }
    }
    vector
}

impl Vector {
    /// Our end of the conversation.
    fn connection(&self) -> Connection {
        let role = if self.peer_dialled { Role::Accepted } else { Role::Dialled(self.protocol) };
        let identity = Identity::from_classic(&self.us);
        Connection::new(Config::default(), identity, role, 1, NOW).expect("the configuration is valid")
    }

    /// Our end, with the peer accepted and the greeting written; and the greeting.
    fn accepted(&self) -> (Connection, Vec<u8>) {
        let mut connection = self.connection();
        let all = self.from_peer.concat();
        let greeting = wire::frame(&wire::partial_frames(&all).0[0]);
        let incoming = connection.receive(NOW, &mut greeting.as_slice().into()).expect("it is one");
        assert!(matches!(incoming, Some(Incoming::Greeting(_))), "{}", self.name);
        connection.establish(NOW);
        let written = write(&mut connection);
        (connection, written)
    }

    /// The frames that the peer got, as pairs of the frame and its bytes, the first one apart.
    fn frames_to_peer(&self) -> (Vec<u8>, Vec<Vec<u8>>) {
        let mut frames = wire::frames(&self.to_peer);
        let first = frames.remove(0);
        (first, frames)
    }
}

/// Writes all that a connection has to write.
fn write(connection: &mut Connection) -> Vec<u8> {
    let mut written = Vec::new();
    let mut batch = Batch::default();
    while connection.transmit(&mut batch) {
        batch.slices().for_each(|slice| written.extend_from_slice(slice));
        batch.advance(usize::MAX);
        connection.handle_transmitted(NOW, &mut batch);
    }
    written
}

/// What a frame behind the greeting means, worked out apart from the core. `None` for a heartbeat.
fn meaning(protocol: Protocol, frame: &[u8]) -> Option<Incoming> {
    let id = |id: &[u8]| MessageId::from_bytes(id.try_into().expect("16 bytes"));
    let payload = Bytes::copy_from_slice;
    if protocol != Protocol::V1 {
        return match wire::classic(frame) {
            Classic::Delivered(body) => Some(Incoming::Message(body.into())),
            Classic::Requested(of, body) => Some(Incoming::Request(id(&of), body.into())),
            Classic::Acknowledged(of) => Some(Incoming::Acknowledgement(id(&of))),
            Classic::Heartbeat => None,
            Classic::Hangup => panic!("no peer sent an empty frame"),
        };
    }
    match frame[0] {
        2 => None,
        3 => Some(Incoming::Message(payload(&frame[1..]))),
        4 => Some(Incoming::Request(id(&frame[1..17]), payload(&frame[17..]))),
        5 => Some(Incoming::Acknowledgement(id(&frame[1..17]))),
        kind => panic!("no peer sent an envelope {kind}"),
    }
}

/// Feeds what the peer sent, in these pieces, and returns what we made of it.
fn understand(vector: &Vector, pieces: &[Vec<u8>]) -> Vec<Incoming> {
    let mut connection = vector.connection();
    let mut buffer = BytesMut::new();
    let mut understood = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while let Some(incoming) = connection.receive(NOW, &mut buffer).expect(vector.name) {
            if matches!(incoming, Incoming::Greeting(_)) {
                connection.establish(NOW);
            }
            understood.push(incoming);
        }
    }
    assert!(buffer.is_empty(), "{}: something is left over", vector.name);
    assert_eq!(connection.skipped_frames(), 0, "{}", vector.name);
    understood
}

#[test]
fn what_peers_sent_is_understood_however_it_is_cut() {
    for vector in vectors() {
        let all = vector.from_peer.concat();
        let mut frames = wire::frames(&all);
        let shown = frames.remove(0);
        let identity =
            Identity::from_classic(if vector.protocol == Protocol::V1 { &shown[2..] } else { &shown });
        assert_eq!(identity, Identity::from_classic(&vector.peer), "{}", vector.name);
        let mut expected = vec![Incoming::Greeting(Greeting { identity, protocol: vector.protocol })];
        expected.extend(frames.iter().filter_map(|frame| meaning(vector.protocol, frame)));
        let bytes: Vec<Vec<u8>> = all.iter().map(|byte| vec![*byte]).collect();
        for pieces in [&vector.from_peer, &bytes, &vec![all]] {
            assert_eq!(understand(&vector, pieces), expected, "{}", vector.name);
        }
    }
}

#[test]
fn our_introduction_is_what_they_accepted() {
    for vector in vectors() {
        let (first, _) = vector.frames_to_peer();
        let (_, written) = vector.accepted();
        assert_eq!(written, wire::frame(&first), "{}", vector.name);
        let length = match vector.protocol {
            Protocol::V1 => 18,
            Protocol::Classic(IdentityForm::Raw) => 16,
            _ => 36,
        };
        assert_eq!(first.len(), length, "{}", vector.name);
    }
}

#[test]
fn an_acceptor_says_nothing_until_the_peer_has_introduced_itself() {
    for vector in vectors().into_iter().filter(|vector| vector.peer_dialled) {
        assert!(write(&mut vector.connection()).is_empty(), "{}", vector.name);
    }
}

#[test]
fn our_acknowledgements_heartbeats_and_requests_are_what_they_accepted() {
    let (mut acknowledgements, mut heartbeats, mut requests) = (0, 0, 0);
    for vector in vectors().iter().filter(|vector| vector.name.contains("alo")) {
        let (mut connection, _) = vector.accepted();
        for frame in vector.frames_to_peer().1 {
            let mut ours = Vec::new();
            match meaning(vector.protocol, &frame) {
                Some(Incoming::Acknowledgement(id)) => {
                    acknowledgements += 1;
                    connection.acknowledge(id);
                    ours = write(&mut connection);
                }
                Some(Incoming::Request(id, payload)) => {
                    requests += 1;
                    vector.protocol.encode_head(&payload, id, true, &mut ours);
                    ours.extend(payload);
                }
                None => {
                    heartbeats += 1;
                    vector.protocol.encode_heartbeat(&mut ours);
                }
                other => panic!("{}: {other:?}", vector.name),
            }
            assert_eq!(ours, wire::frame(&frame), "{}", vector.name);
        }
    }
    assert_eq!((acknowledgements, heartbeats, requests), (12, 54, 12), "all were looked at");
}

#[test]
fn our_messages_are_what_they_accepted() {
    let mut same = 0;
    for vector in vectors().iter().filter(|vector| vector.name.contains("amo")) {
        let (mut connection, _) = vector.accepted();
        for frame in vector.frames_to_peer().1 {
            let payload = if vector.protocol == Protocol::V1 { frame[1..].to_vec() } else { frame.clone() };
            connection.send(payload.clone().into()).expect("there is room");
            let written = write(&mut connection);
            if vector.protocol == Protocol::V1 || wire::classic(&frame) == Classic::Delivered(payload.clone())
            {
                same += 1;
                assert_eq!(written, wire::frame(&frame), "{}", vector.name);
            } else {
                // The peer took the plain payload for something else; ours must arrive as it is.
                let ours = wire::classic(&wire::frames(&written)[0]);
                assert!(matches!(ours, Classic::Requested(_, body) if body == payload), "{}", vector.name);
            }
        }
    }
    assert_eq!(same, 2 * 9 + 4 * 5, "all were looked at");
}

#[test]
fn our_idea_of_the_peers_is_what_their_applications_got() {
    for vector in vectors() {
        let (_, frames) = vector.frames_to_peer();
        let payload = |frame: &Vec<u8>| match meaning(vector.protocol, frame)? {
            Incoming::Message(payload) | Incoming::Request(_, payload) => Some(payload.to_vec()),
            _ => None,
        };
        let got: Vec<Vec<u8>> = frames.iter().filter_map(payload).collect();
        assert_eq!(got, vector.delivered, "{}", vector.name);
    }
}

#[test]
fn a_conversation_is_written_byte_for_byte_as_it_was() {
    for vector in vectors().iter().filter(|vector| vector.name.starts_with("v1-amo")) {
        let (mut connection, mut written) = vector.accepted();
        for payload in &vector.delivered {
            connection.send(payload.clone().into()).expect("there is room");
        }
        written.extend(write(&mut connection));
        assert_eq!(written, vector.to_peer, "{}", vector.name);
    }
}
