//! Conversations: played by a socket at either end, with a raw peer that says what the other end says.

use core::time::Duration;

use aiomsg_proto::{Config, Dialect, Identity};
use aiomsg_tests::{Network, NodeId, RawId};

use super::blocks;
use super::notation::{bytes, sixteen};

/// Long enough for bytes to arrive, and too short for anything else.
const MOMENT: Duration = Duration::from_millis(10);

const ADDRESS: &str = "B";

/// The identities of both ends in the document, and what stands in it for ids of messages.
const IDENTITIES: [&str; 2] = ["000102030405060708090a0b0c0d0e0f", "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"];
const IDS: [&str; 3] = [
    "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
    "b0b1b2b3b4b5b6b7b8b9babbbcbdbebf",
    "c0c1c2c3c4c5c6c7c8c9cacbcccdcecf",
];

/// One of both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    A,
    B,
}

/// What a line says.
#[derive(Debug)]
enum Step {
    Dials,
    Writes(End, Vec<u8>),
    Sends(End, Vec<u8>, bool),
    Gets(End, Vec<u8>),
    Knows(End),
    Passes(Duration),
    Closes(End),
    Ends(End),
}

fn step(line: &str) -> Step {
    if let Some((seconds, "pass" | "passes")) = line.split_once(" s ") {
        return Step::Passes(Duration::from_secs(seconds.parse().expect("a number of seconds")));
    }
    let (name, rest) = line.split_at(1);
    let end = match name {
        "A" => End::A,
        "B" => End::B,
        _ => panic!("who is {name} in {line:?}?"),
    };
    let rest = rest.trim_start();
    let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    match word {
        ":" => Step::Writes(end, bytes(rest)),
        "sends" => match rest.strip_suffix(" to be acknowledged") {
            Some(payload) => Step::Sends(end, bytes(payload), true),
            None => Step::Sends(end, bytes(rest), false),
        },
        "gets" => Step::Gets(end, bytes(rest)),
        "knows" => Step::Knows(end),
        "closes" => Step::Closes(end),
        "ends" => Step::Ends(end),
        "dials" => Step::Dials,
        _ => panic!("what is {line:?}?"),
    }
}

/// Where in a frame of the document an id stands, and which.
fn id_in(frame: &[u8]) -> Option<(usize, [u8; 16])> {
    let ids = IDS.map(sixteen);
    let id = |(place, window): (usize, &[u8])| ids.into_iter().find(|id| id == window).map(|id| (place, id));
    frame.windows(ids[0].len()).enumerate().find_map(id)
}

/// A conversation with a socket at one end.
struct Play {
    net: Network,
    socket: NodeId,
    plays: End,
    /// The other end, and how much of what it has read was looked at.
    raw: Option<RawId>,
    read: usize,
    /// Ids of the socket's own messages: as the document has them, and as they are.
    ids: Vec<([u8; 16], [u8; 16])>,
    got: usize,
    known: usize,
    closing: bool,
}

impl Play {
    fn new(plays: End, dialect: Dialect) -> Self {
        let mut net = Network::new(1);
        let identity = Identity::from_bytes(sixteen(IDENTITIES[plays as usize]));
        let socket = net.socket_as(Config::default().dialect(dialect), identity);
        match plays {
            End::A => net.listen_raw(ADDRESS),
            End::B => net.listen(socket, ADDRESS),
        }
        Self { net, socket, plays, raw: None, read: 0, ids: Vec::new(), got: 0, known: 0, closing: false }
    }

    fn raw(&self) -> RawId {
        self.raw.expect("A has dialled B")
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Dials => self.dial(),
            Step::Writes(end, bytes) if end == self.plays => self.expect(&bytes),
            Step::Writes(_, bytes) => self.write(bytes),
            Step::Sends(end, payload, false) if end == self.plays => {
                self.net.send(self.socket, payload).expect("there is room");
            }
            Step::Sends(end, payload, true) if end == self.plays => {
                let sent = |socket: &mut aiomsg_proto::Socket, now| {
                    socket.send_with_receipt(now, None, payload.into())
                };
                self.net.command(self.socket, sent).expect("there is room");
            }
            Step::Gets(end, payload) if end == self.plays => {
                let payloads = self.net.payloads(self.socket);
                assert_eq!(payloads.get(self.got).map(|got| got.to_vec()), Some(payload));
                self.got += 1;
            }
            Step::Knows(end) if end == self.plays => {
                self.known += 1;
                assert_eq!(self.net.node(self.socket).metrics().acknowledged.messages, self.known);
            }
            // Said of the other end: the play in which that one is the socket looks at it.
            Step::Sends(..) | Step::Gets(..) | Step::Knows(_) => {}
            Step::Passes(span) => self.net.run_for(span),
            Step::Closes(end) => self.close(end),
            Step::Ends(end) => {
                assert_eq!(end, self.plays, "only the socket decides to end a connection");
                assert!(self.net.ended(self.raw()).is_some());
                self.assert_all_read();
            }
        }
        self.net.run_for(MOMENT);
    }

    fn dial(&mut self) {
        if self.plays == End::B {
            self.raw = Some(self.net.dial_raw(ADDRESS));
            return;
        }
        if self.raw.is_none() {
            self.net.dial(self.socket, ADDRESS);
            self.net.run_for(MOMENT);
        }
        self.raw = Some(self.net.accept(ADDRESS).expect("it dials at once"));
        self.read = 0;
    }

    /// The socket has written this, and before it nothing that was not looked at.
    fn expect(&mut self, expected: &[u8]) {
        let end = self.read + expected.len();
        let unread = &self.net.bytes(self.raw())[self.read..];
        let mut written = unread[..unread.len().min(expected.len())].to_vec();
        self.read = end;
        if let Some((place, name)) = id_in(expected)
            && written != expected
            && let Some(slot) = written.get_mut(place..place + name.len())
        {
            // A message of the socket's own, so that it has chosen the id.
            let own: [u8; 16] = slot.try_into().expect("16 bytes");
            slot.copy_from_slice(&name);
            match self.ids.iter().find(|(known, _)| *known == name) {
                Some((_, before)) => assert_eq!(*before, own, "a copy has the id of the original"),
                None => {
                    assert!(self.ids.iter().all(|(_, other)| *other != own), "an id is used once");
                    self.ids.push((name, own));
                }
            }
        }
        assert_eq!(written, expected, "{:?} writes", self.plays);
    }

    /// The other end writes this, with the socket's own id where it acknowledges the socket's message.
    fn write(&mut self, mut bytes: Vec<u8>) {
        if let Some((place, name)) = id_in(&bytes)
            && let Some((_, own)) = self.ids.iter().find(|(known, _)| *known == name)
        {
            bytes[place..place + name.len()].copy_from_slice(own);
        }
        self.net.write(self.raw(), bytes);
    }

    fn close(&mut self, end: End) {
        let is_first = !core::mem::replace(&mut self.closing, true);
        if end != self.plays {
            self.net.finish(self.raw());
        } else if is_first {
            self.net.command(self.socket, |socket, now| socket.close(now, Duration::from_secs(10)));
        }
        self.net.run_for(MOMENT);
        if end == self.plays {
            assert!(self.net.ended(self.raw()).is_some(), "its writing half is closed");
        }
        if !is_first {
            assert_eq!(self.net.node(self.socket).peer_count(), 0);
        }
    }

    fn assert_all_read(&self) {
        assert_eq!(&self.net.bytes(self.raw())[self.read..], b"", "{:?} has written more", self.plays);
    }

    fn finish(&self) {
        self.assert_all_read();
        assert_eq!(self.net.payloads(self.socket).len(), self.got, "all that was received is told");
    }
}

#[test]
fn conversations_go_as_written_from_either_end() {
    let mut plays = 0;
    for (info, text) in blocks("conversation") {
        let (dialect, only) = info.split_once(", ").unwrap_or((&info, "A B"));
        for (name, end) in [("A", End::A), ("B", End::B)] {
            if !only.contains(name) {
                continue;
            }
            plays += 1;
            // Only who speaks first has to know; the other end finds out.
            let dialect = match (dialect, end) {
                ("auto", _) | ("classic", End::B) => Dialect::Auto,
                ("classic", End::A) => Dialect::Classic,
                _ => panic!("what is {info:?}?"),
            };
            let mut play = Play::new(end, dialect);
            for line in text.lines() {
                show(end, line);
                play.take(step(line));
            }
            play.finish();
        }
    }
    assert!(plays >= 12, "conversations are found: {plays}");
}

/// Shown with a failure: where it happened.
#[expect(clippy::print_stderr, reason = "the test harness shows it with a failure")]
fn show(end: End, line: &str) {
    eprintln!("{end:?} is the socket: {line}");
}
