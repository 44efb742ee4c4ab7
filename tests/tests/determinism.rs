//! The same seed and the same calls give the same run, and what must not matter does not.

use core::time::Duration;

use aiomsg_proto::{
    Batch, CloseReason, Config, Dialect, Event, Identity, Inbox, Instant, Metrics, Origin, SendMode, Socket,
};
use aiomsg_tests::{Chunking, Network, NodeId, wire};
use bytes::{Bytes, BytesMut};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// All that can be seen of a run.
#[derive(Debug, PartialEq)]
struct Run {
    written: Vec<[Vec<u8>; 2]>,
    events: Vec<Vec<(Instant, Event)>>,
    received: Vec<Vec<Bytes>>,
    metrics: Vec<Metrics>,
}

fn look(net: &mut Network, nodes: &[NodeId]) -> Run {
    Run {
        written: (0..net.wire_count()).map(|number| net.written(Network::nth_wire(number))).collect(),
        events: nodes.iter().map(|node| net.events(*node).to_vec()).collect(),
        received: nodes.iter().map(|node| net.payloads(*node)).collect(),
        metrics: nodes.iter().map(|node| net.node(*node).metrics()).collect(),
    }
}

/// Five sockets of both dialects and both modes, whose connections fail, fall silent and heal.
fn busy(seed: u64, pestering: bool) -> Run {
    let mut net = Network::new(seed);
    net.record_bytes();
    net.set_latency(MILLISECOND, MILLISECOND * 9);
    if pestering {
        net.set_pestering();
    }
    let nodes = [
        net.socket(Config::default()),
        net.socket(Config::default().send_mode(SendMode::Publish)),
        net.socket(Config::default()),
        net.socket(Config::default().dialect(Dialect::Classic)),
        net.socket(Config::default()),
    ];
    net.listen(nodes[0], "a");
    net.listen(nodes[1], "b");
    for (node, address) in [(0, "b"), (2, "a"), (2, "b"), (3, "a"), (4, "b"), (4, "nowhere")] {
        net.dial(nodes[node], address);
    }
    let mut rng = fastrand::Rng::with_seed(seed);
    for number in 0..400_u32 {
        let node = *rng.choice(&nodes).expect("some");
        // Some look like other things in classic, and get ids.
        let payload = if rng.u8(..) < 30 { Vec::new() } else { number.to_be_bytes().to_vec() };
        net.send(node, payload).expect("there is room");
        let wires = net.wires(node);
        if let Some(wire) = rng.choice(&wires) {
            match rng.u8(..) {
                0..6 => net.cut(*wire),
                6..10 => net.blackhole(*wire),
                10..20 => net.heal(*wire),
                _ => {}
            }
        }
        net.run_for(Duration::from_micros(rng.u64(0..200_000)));
    }
    net.run_for(SECOND * 30);
    look(&mut net, &nodes)
}

#[test]
fn the_same_seed_gives_the_same_run_byte_for_byte() {
    for seed in 0..5 {
        assert!(busy(seed, false) == busy(seed, false), "seed {seed}");
    }
}

#[test]
fn another_seed_gives_another_run() {
    assert!(busy(1, false) != busy(2, false));
}

#[test]
fn calls_of_handle_timeout_that_are_early_repeated_or_of_old_times_change_nothing() {
    for seed in 0..5 {
        assert!(busy(seed, false) == busy(seed, true), "seed {seed}");
    }
}

/// Two sockets that have 500 messages for each other, with a restless network. Returns what each got.
fn exchange(net: &mut Network) -> [Vec<Bytes>; 2] {
    let nodes = [net.socket(Config::default()), net.socket(Config::default())];
    net.listen(nodes[0], "a");
    net.dial(nodes[1], "a");
    for number in 0..500_u32 {
        for node in nodes {
            net.send(node, number.to_be_bytes().to_vec()).expect("there is room");
        }
        net.run_for(MILLISECOND * 50);
    }
    net.run_for(SECOND * 30);
    for node in nodes {
        assert_eq!(net.node(node).peer_count(), 1);
        assert_eq!(net.node(node).metrics().connected, 1, "it was never interrupted");
    }
    nodes.map(|node| net.payloads(node))
}

fn numbers() -> Vec<Bytes> {
    (0..500_u32).map(|number| number.to_be_bytes().to_vec().into()).collect()
}

#[test]
fn timers_that_fire_late_interrupt_nothing() {
    for seed in 0..10 {
        let mut net = Network::new(seed);
        net.set_lateness(SECOND * 3);
        assert_eq!(exchange(&mut net), [numbers(), numbers()]);
    }
}

#[test]
fn drivers_that_leave_things_lying_lose_nothing() {
    for seed in 0..10 {
        let mut net = Network::new(seed);
        net.set_laziness(MILLISECOND * 300);
        assert_eq!(exchange(&mut net), [numbers(), numbers()]);
    }
}

#[test]
fn how_bytes_are_cut_does_not_matter() {
    for chunking in [Chunking::Whole, Chunking::Bytes, Chunking::Random] {
        let mut net = Network::new(1);
        net.set_chunking(chunking);
        assert_eq!(exchange(&mut net), [numbers(), numbers()], "{chunking:?}");
    }
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

/// Feeds `bytes` to a fresh socket, `next_length` at a time.
fn feed(bytes: &[u8], mut next_length: impl FnMut() -> usize) -> Outcome {
    let now = Instant::EPOCH;
    let config = Config::default().max_message(1_000);
    let mut socket = Socket::new(config, Identity::from_bytes([1; 16]), 1, now).expect("valid");
    let id = socket.handle_connected(now, Origin::Accepted, "a").expect("there is a place");
    let (mut buffer, mut rest) = (BytesMut::new(), bytes);
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(next_length().clamp(1, rest.len()));
        buffer.extend_from_slice(piece);
        socket.handle_received(now, id, &mut buffer);
        rest = behind;
    }
    let unread = buffer.len();
    let mut written = Vec::new();
    let mut batch = Batch::default();
    while socket.transmit(now, id, &mut batch) {
        let mut slices = [&[][..]; 4];
        let count = batch.slices(&mut slices);
        let bytes = slices[..count].concat();
        batch.advance(bytes.len());
        socket.handle_transmitted(now, id, &mut batch);
        written.extend(bytes);
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

/// Something like what a peer sends, right and wrong.
fn stream(rng: &mut fastrand::Rng) -> Vec<u8> {
    let peer = Identity::from_bytes([2; 16]);
    let classic = rng.bool();
    let mut bytes = if classic { wire::frame(peer.as_bytes()) } else { wire::hello(peer) };
    for _ in 0..rng.usize(0..30) {
        let body: Vec<u8> = (0..rng.usize(0..60)).map(|_| rng.u8(..)).collect();
        let id: [u8; 16] = [rng.u8(..); 16];
        bytes.extend(match rng.u8(0..10) {
            0 => wire::frame(&body),
            1 => wire::heartbeat(),
            2 => wire::frame(wire::CLASSIC_HEARTBEAT),
            3 => wire::data_req(id, &body),
            4 => wire::frame(&[&id, b"\0REQ\0".as_slice(), &body].concat()),
            5 => wire::ack(id),
            _ => wire::data(&body),
        });
    }
    match rng.u8(0..5) {
        0 => bytes.extend(u32::MAX.to_be_bytes()),
        1 => bytes.extend([0, 0, 0, 9, 3, 1]),
        2 => {
            let at = rng.usize(..bytes.len());
            bytes[at] = rng.u8(..);
        }
        _ => {}
    }
    bytes
}

#[test]
fn a_stream_fed_whole_or_in_any_pieces_has_one_outcome() {
    let mut rng = fastrand::Rng::with_seed(17);
    for round in 0..1_000 {
        let bytes = stream(&mut rng);
        let whole = feed(&bytes, || usize::MAX);
        assert_eq!(feed(&bytes, || 1), whole, "round {round}: {bytes:?}");
        assert_eq!(feed(&bytes, || rng.usize(1..40)), whole, "round {round}: {bytes:?}");
    }
}

#[test]
fn time_never_runs_back() {
    let start = Instant::EPOCH + SECOND * 100;
    let identity = Identity::from_bytes([1; 16]);
    let mut socket = Socket::new(Config::default(), identity, 1, start).expect("valid");
    let id = socket.handle_connected(Instant::EPOCH, Origin::Accepted, "a").expect("there is a place");
    assert_eq!(
        socket.poll_timeout(),
        Some(start + SECOND * 10),
        "the deadline counts from the latest time seen"
    );
    socket.handle_timeout(Instant::EPOCH);
    socket.handle_received(
        Instant::EPOCH,
        id,
        &mut wire::hello(Identity::from_bytes([2; 16])).as_slice().into(),
    );
    assert_eq!(socket.peer_count(), 1);
    socket.handle_timeout(start + SECOND * 4);
    socket.handle_received(Instant::EPOCH, id, &mut wire::heartbeat().as_slice().into());
    socket.handle_timeout(start + SECOND * 18);
    assert_eq!(socket.peer_count(), 1, "the heartbeat came at 4 s, whatever was said");
}
