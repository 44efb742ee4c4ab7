//! What holds for whatever happens: each property is tried on many cases, and one that fails is made small first.
//!
//! The cases are the same each time. `PROPTEST_RNG_SEED=7 PROPTEST_CASES=100000 cargo test --release --test properties`
//! tries others, and more. A case that failed is kept in `properties.regressions`, and tried first from then on.

use core::time::Duration;
use std::collections::BTreeMap;

use aiomsg_proto::dialect::Incoming;
use aiomsg_proto::{
    Batch, CloseReason, Config, DeliveryGuarantee, Dialect, Event, Identity, IdentityForm, Inbox, Instant,
    MessageId, Metrics, Origin, Protocol, SendMode, Socket, frame,
};
use aiomsg_tests::{Chunking, Network, NodeId, Taking, wire};
use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config as Cases, FileFailurePersistence, RngSeed};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// So many cases, the same each time unless the environment says otherwise.
fn cases(count: u32) -> Cases {
    let kept =
        FileFailurePersistence::Direct(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/properties.regressions"));
    let given = Cases::default();
    let count = if std::env::var_os("PROPTEST_CASES").is_some() { given.cases } else { count };
    let seed = if given.rng_seed == RngSeed::Random { RngSeed::Fixed(1) } else { given.rng_seed };
    Cases { cases: count, rng_seed: seed, failure_persistence: Some(Box::new(kept)), ..given }
}

/// A payload, often one that a peer might take for something else.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let mark = proptest::sample::select(vec![b"\0REQ\0".as_slice(), b"\0REP\0", b"\0REX\0", b"\0RE"]);
    prop_oneof![
        4 => vec(any::<u8>(), 0..40),
        2 => (any::<[u8; 16]>(), mark, vec(any::<u8>(), 0..20))
            .prop_map(|(id, mark, body)| [&id, mark, &body].concat()),
        1 => Just(wire::CLASSIC_HEARTBEAT.to_vec()),
        1 => Just(Vec::new()),
        1 => any::<[u8; 16]>().prop_map(|bytes| wire::hello(Identity::from_bytes(bytes))),
        1 => (0_usize..40_000).prop_map(|length| vec![7; length]),
    ]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![
        Just(Protocol::V1),
        Just(Protocol::Classic(IdentityForm::Raw)),
        Just(Protocol::Classic(IdentityForm::Text)),
    ]
}

/// Something that a peer says behind its introduction, right or wrong.
fn speech() -> impl Strategy<Value = Vec<u8>> {
    let body = || vec(any::<u8>(), 0..60);
    prop_oneof![
        5 => body().prop_map(|body| wire::data(&body)),
        1 => body().prop_map(|body| wire::frame(&body)),
        1 => Just(wire::heartbeat()),
        1 => Just(wire::frame(wire::CLASSIC_HEARTBEAT)),
        1 => (any::<[u8; 16]>(), body()).prop_map(|(id, body)| wire::data_req(id, &body)),
        1 => (any::<[u8; 16]>(), body())
            .prop_map(|(id, body)| wire::frame(&[&id, b"\0REQ\0".as_slice(), &body].concat())),
        1 => any::<[u8; 16]>().prop_map(wire::ack),
    ]
}

/// All that a peer says, perhaps with a byte that is wrong, and perhaps with nonsense at the end.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let peer = Identity::from_bytes([2; 16]);
    let greeting = prop_oneof![Just(wire::hello(peer)), Just(wire::frame(peer.as_bytes()))];
    let end = prop_oneof![
        3 => Just(Vec::new()),
        1 => Just(u32::MAX.to_be_bytes().to_vec()),
        1 => Just(vec![0, 0, 0, 9, 3, 1]),
    ];
    let damage = prop::option::weighted(0.3, (any::<Index>(), any::<u8>()));
    (greeting, vec(speech(), 0..30), end, damage).prop_map(|(greeting, said, end, damage)| {
        let mut bytes = [greeting, said.concat(), end].concat();
        if let Some((place, byte)) = damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes
    })
}

/// What a socket makes of a stream of bytes.
#[derive(Debug, PartialEq)]
struct Outcome {
    payloads: Vec<Bytes>,
    written: Vec<u8>,
    events: Vec<Event>,
    metrics: Metrics,
    unread: usize,
}

/// Feeds `bytes` to a fresh socket in pieces of these lengths, in turn.
fn feed(bytes: &[u8], lengths: &[usize]) -> Outcome {
    let now = Instant::EPOCH;
    let config = Config::default().max_message(1_000);
    let mut socket = Socket::new(config, Identity::from_bytes([1; 16]), 1, now).expect("valid");
    let id = socket.handle_connected(now, Origin::Accepted, "a").expect("there is a place");
    let (mut buffer, mut rest) = (BytesMut::new(), bytes);
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at((*length).clamp(1, rest.len()));
        buffer.extend_from_slice(piece);
        socket.handle_received(now, id, &mut buffer);
        rest = behind;
    }
    let unread = buffer.len();
    let mut written = Vec::new();
    let mut batch = Batch::default();
    while socket.transmit(now, id, &mut batch) {
        batch.slices().for_each(|slice| written.extend_from_slice(slice));
        batch.advance(usize::MAX);
        socket.handle_transmitted(now, id, &mut batch);
    }
    let mut inbox = Inbox::default();
    let mut payloads = Vec::new();
    while socket.poll_received(now, &mut inbox) {
        payloads.extend(inbox.by_ref().map(|received| received.payload));
    }
    socket.handle_disconnected(now, id, &mut batch, CloseReason::PeerClosed);
    let events = core::iter::from_fn(|| socket.poll_event()).collect();
    Outcome { payloads, written, events, metrics: socket.metrics(), unread }
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn a_stream_has_one_outcome_however_it_is_cut(bytes in stream(), lengths in vec(1_usize..40, 1..10)) {
        let whole = feed(&bytes, &[usize::MAX]);
        prop_assert_eq!(&feed(&bytes, &[1]), &whole);
        prop_assert_eq!(&feed(&bytes, &lengths), &whole);
    }

    #[test]
    fn what_is_encoded_is_decoded(
        protocol in protocol(),
        payload in payload(),
        id in any::<[u8; 16]>(),
        acknowledge in any::<bool>(),
        behind in vec(any::<u8>(), 0..5),
    ) {
        let id = MessageId::from_bytes(id);
        let mut encoded = Vec::new();
        protocol.encode_head(&payload, id, acknowledge, &mut encoded);
        encoded.extend(&payload);
        encoded.extend(&behind);
        let mut buffer = BytesMut::from(&encoded[..]);
        let frame = frame::split(&mut buffer, u32::MAX).expect("no longer than allowed").expect("whole");
        prop_assert_eq!(&buffer[..], &behind[..]);
        match protocol.decode(frame) {
            Incoming::Message(read) => prop_assert!(!acknowledge && read == payload),
            // In classic, what would be ambiguous goes with a header, too.
            Incoming::Request(read_id, read) => {
                prop_assert!(read_id == id && read == payload);
                prop_assert!(acknowledge || protocol != Protocol::V1);
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }
}

/// A member of a small fleet.
#[derive(Clone, Copy, Debug)]
struct Member {
    dialect: Dialect,
    publishes: bool,
    at_least_once: bool,
}

impl Member {
    fn config(self) -> Config {
        let config = Config::default().dialect(self.dialect);
        match (self.publishes, self.at_least_once) {
            (true, _) => config.send_mode(SendMode::Publish),
            (false, true) => config.delivery(DeliveryGuarantee::AtLeastOnce),
            (false, false) => config,
        }
    }
}

/// Something that happens to a fleet.
#[derive(Clone, Debug)]
enum Deed {
    Send(Index, Vec<u8>),
    SendTo(Index, Index, Vec<u8>),
    Cut(Index, Index),
    Silence(Index, Index),
    Heal(Index, Index),
    /// Its application takes nothing for now, or everything.
    Take(Index, bool),
    Pass(u32),
    PassLong(u8),
}

fn deed() -> impl Strategy<Value = Deed> {
    let two = || (any::<Index>(), any::<Index>());
    prop_oneof![
        6 => (any::<Index>(), payload()).prop_map(|(from, payload)| Deed::Send(from, payload)),
        2 => (two(), payload()).prop_map(|((from, to), payload)| Deed::SendTo(from, to, payload)),
        1 => two().prop_map(|(node, wire)| Deed::Cut(node, wire)),
        1 => two().prop_map(|(node, wire)| Deed::Silence(node, wire)),
        1 => two().prop_map(|(node, wire)| Deed::Heal(node, wire)),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(node, takes)| Deed::Take(node, takes)),
        4 => (0_u32..2_000).prop_map(Deed::Pass),
        1 => (0_u8..40).prop_map(Deed::PassLong),
    ]
}

/// A fleet of three, and what happens to it.
#[derive(Clone, Debug)]
struct Story {
    seed: u64,
    members: [Member; 3],
    crossing: bool,
    deeds: Vec<Deed>,
}

fn story() -> impl Strategy<Value = Story> {
    let dialect = prop_oneof![2 => Just(Dialect::Auto), 1 => Just(Dialect::V1), 1 => Just(Dialect::Classic)];
    let member = (dialect, any::<bool>(), any::<bool>())
        .prop_map(|(dialect, publishes, at_least_once)| Member { dialect, publishes, at_least_once });
    (any::<u64>(), [member.clone(), member.clone(), member], any::<bool>(), vec(deed(), 0..60)).prop_map(
        |(seed, mut members, crossing, deeds)| {
            // Somebody whom all understand.
            members[0].dialect = Dialect::Auto;
            Story { seed, members, crossing, deeds }
        },
    )
}

/// How the network and the drivers of a fleet go about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// Bytes are cut anyhow.
    Erratic,
    /// Bytes come as they were written, as in those that follow: what the network draws would depend on how often drivers
    /// look. Drivers sleep until the deadline that they were told, to the nanosecond.
    Exact,
    /// They also call at each occasion, twice, and with times that have long passed.
    Pestering,
    /// They also call every few milliseconds.
    Restless,
}

/// All that can be seen of a fleet. Events of one instant are in no particular order, nor are messages of different
/// senders, and what connections are called depends on which of two ended first at one instant.
#[derive(Debug, PartialEq)]
struct Seen {
    written: Vec<[Vec<u8>; 2]>,
    events: Vec<Vec<(Instant, String)>>,
    received: Vec<BTreeMap<Identity, Vec<Bytes>>>,
    metrics: Vec<Metrics>,
}

fn events(net: &Network, node: NodeId) -> Vec<(Instant, String)> {
    let mut events: Vec<_> =
        net.events(node).iter().map(|(at, event)| (*at, without_connections(event))).collect();
    events.sort();
    events
}

fn without_connections(event: &Event) -> String {
    let text = format!("{event:?}");
    let mut parts = text.split("ConnectionId(");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once(')').map_or(part, |(_, behind)| behind))
}

fn received(net: &Network, node: NodeId) -> BTreeMap<Identity, Vec<Bytes>> {
    let mut received: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for message in net.received(node) {
        received.entry(message.identity).or_default().push(message.payload.clone());
    }
    received
}

impl Story {
    fn play(&self, habit: Habit) -> Seen {
        let mut net = Network::new(self.seed);
        net.record_bytes();
        net.set_latency(MILLISECOND, MILLISECOND * 9);
        if habit != Habit::Erratic {
            net.set_chunking(Chunking::Whole);
            net.keep_apart();
        }
        if habit == Habit::Pestering {
            net.set_pestering();
        }
        let nodes = self.members.map(|member| net.socket(member.config()));
        net.listen(nodes[0], "a");
        net.listen(nodes[1], "b");
        net.dial(nodes[1], "a");
        net.dial(nodes[2], "a");
        if self.crossing {
            net.dial(nodes[0], "b");
        }
        for deed in &self.deeds {
            do_deed(&mut net, nodes, deed, habit);
        }
        nodes.iter().for_each(|node| net.set_taking(*node, Taking::All));
        pass(&mut net, nodes, SECOND * 40, habit);
        Seen {
            written: (0..net.wire_count()).map(|number| net.written(Network::nth_wire(number))).collect(),
            events: nodes.map(|node| events(&net, node)).into(),
            received: nodes.map(|node| received(&net, node)).into(),
            metrics: nodes.map(|node| net.node(node).metrics()).into(),
        }
    }
}

fn do_deed(net: &mut Network, nodes: [NodeId; 3], deed: &Deed, habit: Habit) {
    let some = |index: &Index| nodes[index.index(nodes.len())];
    let wire = |net: &Network, node: &Index, number: &Index| {
        let wires = net.wires(some(node));
        (!wires.is_empty()).then(|| wires[number.index(wires.len())])
    };
    match deed {
        // What is refused is refused each time.
        Deed::Send(from, payload) => drop(net.send(some(from), payload.clone())),
        Deed::SendTo(from, to, payload) => {
            let to = net.identity(some(to));
            drop(net.send_to(some(from), to, payload.clone()));
        }
        Deed::Cut(node, number) => wire(net, node, number).into_iter().for_each(|wire| net.cut(wire)),
        Deed::Silence(node, number) => {
            wire(net, node, number).into_iter().for_each(|wire| net.blackhole(wire));
        }
        Deed::Heal(node, number) => wire(net, node, number).into_iter().for_each(|wire| net.heal(wire)),
        Deed::Take(node, true) => net.set_taking(some(node), Taking::All),
        Deed::Take(node, false) => net.set_taking(some(node), Taking::Nothing),
        Deed::Pass(millis) => pass(net, nodes, MILLISECOND * *millis, habit),
        Deed::PassLong(seconds) => pass(net, nodes, SECOND * u32::from(*seconds), habit),
    }
}

fn pass(net: &mut Network, nodes: [NodeId; 3], span: Duration, habit: Habit) {
    let step = if habit == Habit::Restless { MILLISECOND * 37 } else { span };
    let end = net.now() + span;
    net.run_for(Duration::ZERO);
    while net.now() < end {
        net.run_for(end.saturating_duration_since(net.now()).min(step));
        for node in nodes.into_iter().filter(|_| habit == Habit::Restless) {
            net.command(node, |socket, now| socket.handle_timeout(now));
        }
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn the_same_seed_and_the_same_calls_give_the_same_bytes(story in story()) {
        prop_assert!(story.play(Habit::Erratic) == story.play(Habit::Erratic));
    }

    #[test]
    fn timeouts_that_are_early_repeated_or_of_old_times_change_nothing(story in story()) {
        prop_assert!(story.play(Habit::Exact) == story.play(Habit::Pestering));
    }

    #[test]
    fn sleeping_until_the_deadline_is_enough(story in story()) {
        prop_assert!(story.play(Habit::Exact) == story.play(Habit::Restless));
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn every_payload_arrives_as_it_was_sent(
        seed in any::<u64>(),
        dialect in prop_oneof![Just(Dialect::V1), Just(Dialect::Classic)],
        at_least_once in any::<bool>(),
        payloads in vec(payload(), 0..30),
    ) {
        let mut net = Network::new(seed);
        let member = Member { dialect, publishes: false, at_least_once };
        let (near, far) = (net.socket(member.config()), net.socket(Config::default()));
        net.listen(far, "far");
        net.dial(near, "far");
        net.run_for(SECOND);
        for payload in &payloads {
            net.send(near, payload.clone()).expect("there is room");
            net.send(far, payload.clone()).expect("there is room");
        }
        net.run_for(SECOND * 3);
        prop_assert_eq!(&net.payloads(far), &payloads);
        prop_assert_eq!(net.payloads(near), payloads);
    }
}
