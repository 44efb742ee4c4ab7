//! What has arrived and was not taken: it is bounded, shared fairly, and nothing of it is dropped.

use core::time::Duration;

use aiomsg_proto::{
    Batch, Config, ConnectionId, Identity, Inbox, Instant, Limit, LinkState, Origin, Ready, SendMode, Socket,
};
use aiomsg_tests::{Chunking, NodeId, RawId, Scene, Taking, departures, wire};
use bytes::BytesMut;

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(50);
const MIB: usize = 1 << 20;

fn scene(limit: Limit) -> Scene {
    let mut scene = Scene::new(10, Config::default().receive_buffer(limit));
    scene.net.set_taking(scene.server, Taking::Nothing);
    scene
}

fn id(number: u8) -> Identity {
    let mut identity = [0xee; 16];
    identity[0] = number;
    Identity::from_bytes(identity)
}

/// A raw peer that has introduced itself.
fn peer(scene: &mut Scene, number: u8) -> RawId {
    let raw = scene.stranger_writes(wire::hello(id(number)));
    scene.run_for(MOMENT);
    raw
}

fn assert_within(scene: &Scene, limit: Limit) {
    let held = scene.net.node(scene.server).metrics().receive_held;
    assert!(held.messages <= limit.messages && held.bytes <= limit.bytes, "{held:?} of {limit:?}");
}

/// The limit, and one message beside it.
fn beside(limit: Limit, bytes: usize) -> Limit {
    Limit::new(limit.messages + 1, limit.bytes + bytes)
}

/// Takes messages by the piece until none is left, and checks the bound at each step. Returns who sent each.
fn take_all(scene: &mut Scene, limit: Limit, piece: usize) -> Vec<Identity> {
    let mut senders = Vec::new();
    loop {
        assert_within(scene, limit);
        let taken = scene.net.take(scene.server, piece);
        if taken.is_empty() {
            return senders;
        }
        senders.extend(taken.iter().map(|message| message.identity));
        scene.run_for(Duration::from_millis(5));
    }
}

/// A socket with one accepted connection whose peer has introduced itself, without a network.
fn bare(limit: Limit) -> (Socket, ConnectionId) {
    let now = Instant::EPOCH;
    let config = Config::default().receive_buffer(limit);
    let mut socket = Socket::new(config, id(1), 1, now).expect("the configuration is valid");
    let connection = socket.handle_connected(now, Origin::Accepted, "a").expect("there is a place");
    socket.handle_received(now, connection, &mut wire::hello(id(2)).as_slice().into());
    let mut batch = Batch::default();
    assert!(socket.transmit(now, connection, &mut batch), "its answer");
    batch.advance(usize::MAX);
    socket.handle_transmitted(now, connection, &mut batch);
    while socket.poll_ready().is_some() {}
    (socket, connection)
}

#[test]
fn ten_megabytes_in_one_buffer_stay_where_they_are_until_there_is_room() {
    let limit = Limit::new(1_000, 64 * MIB);
    let (mut socket, connection) = bare(limit);
    let mut buffer = BytesMut::from(wire::data(&[7; 1_019]).repeat(10_240).as_slice());
    let (now, mut inbox, mut taken) = (Instant::EPOCH, Inbox::default(), 0);
    socket.handle_received(now, connection, &mut buffer);
    assert!(socket.metrics().receive_held.messages <= 1_000);
    assert!(buffer.len() > 9 * MIB, "{}", buffer.len());
    assert_eq!(socket.wants_read(connection, &buffer), 0);
    while socket.poll_received(now, &mut inbox) {
        taken += inbox.by_ref().count();
        // Settles what was taken.
        socket.poll_received(now, &mut inbox);
        while let Some(ready) = socket.poll_ready() {
            if ready == Ready::Connection(connection) {
                socket.handle_received(now, connection, &mut buffer);
                assert!(socket.metrics().receive_held.messages <= 1_000);
            }
        }
    }
    assert_eq!(taken, 10_240, "each, once");
    assert!(buffer.is_empty());
}

#[test]
fn the_bound_holds_for_one_sender() {
    for limit in [Limit::new(1, MIB), Limit::new(7, MIB), Limit::new(1_000, 777), Limit::new(1_000, 10)] {
        let mut scene = scene(limit);
        let raw = peer(&mut scene, 1);
        scene.net.write(raw, wire::data(b"ten bytes.").repeat(500));
        scene.run_for(SECOND);
        assert!(scene.net.node(scene.server).metrics().receive_held.messages > 0);
        assert_eq!(take_all(&mut scene, limit, 3).len(), 500, "{limit:?}");
    }
}

#[test]
fn the_bound_holds_for_any_senders_sizes_and_order() {
    for seed in 0..30 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let limit = Limit::new(rng.usize(1..50), rng.usize(1_000..300_000));
        let mut scene = scene(limit);
        let peers: Vec<RawId> = (1..=8).map(|number| peer(&mut scene, number)).collect();
        let (mut sent, mut largest) = (0, 0);
        for _ in 0..100 {
            let raw = *rng.choice(&peers).expect("some");
            if rng.u8(..) < 50 {
                scene.net.write(raw, wire::heartbeat());
            }
            // One of them may be longer than the buffer.
            let length = if rng.u8(..) < 20 { rng.usize(..400_000) } else { rng.usize(..900) };
            let most = if sent == 0 { length } else { length.min(limit.bytes - 1) };
            scene.net.write(raw, wire::data(&vec![7; most]));
            sent += 1;
            largest = largest.max(most);
        }
        scene.net.run_for(MOMENT);
        let mut taken = 0;
        let mut quiet = 0;
        while taken < sent {
            let held = scene.net.node(scene.server).metrics().receive_held;
            let most = beside(limit, largest);
            let allowed = held.messages <= 1 || held.bytes <= most.bytes;
            assert!(allowed && held.messages <= most.messages, "seed {seed}: {held:?} of {limit:?}");
            let now = scene.net.take(scene.server, rng.usize(1..10)).len();
            quiet = if now == 0 { quiet + 1 } else { 0 };
            assert!(quiet < 200, "seed {seed}: {taken} of {sent} came through");
            taken += now;
            scene.run_for(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_heartbeat_in_front_of_a_message_brings_nothing_past_the_bound() {
    let limit = Limit::new(100, 1_000);
    let mut scene = scene(limit);
    scene.net.set_chunking(Chunking::Whole);
    for number in 1..=5 {
        let raw = peer(&mut scene, number);
        scene.net.write(raw, [wire::heartbeat(), wire::data(&[7; 900])].concat());
        scene.run_for(MOMENT);
        assert_within(&scene, limit);
    }
    assert_eq!(take_all(&mut scene, limit, 1).len(), 5);
}

#[test]
fn a_hog_leaves_room_for_the_quiet() {
    let limit = Limit::new(1_000, 64 * MIB);
    let mut scene = scene(limit);
    let hog = peer(&mut scene, 99);
    scene.net.write(hog, wire::data(b"more").repeat(20_000));
    scene.run_for(SECOND);
    let held = scene.net.node(scene.server).metrics().receive_held.messages;
    assert!((400..=501).contains(&held), "half is for the others: {held}");
    for number in 1..=10 {
        let raw = peer(&mut scene, number);
        scene.net.write(raw, wire::data(b"quiet"));
    }
    scene.run_for(MOMENT);
    let senders = take_all(&mut scene, limit, 100);
    let quiet: Vec<usize> = (0..senders.len()).filter(|place| senders[*place] != id(99)).collect();
    assert_eq!(quiet.len(), 10);
    assert!(quiet.iter().all(|place| *place <= 511), "behind what was there before them: {quiet:?}");
    assert_eq!(senders.len(), 20_000 + 10, "nothing is dropped");
}

#[test]
fn many_hogs_get_equal_parts() {
    let limit = Limit::new(1_200, 64 * MIB);
    let mut scene = scene(limit);
    let hogs: Vec<RawId> = (1..=10).map(|number| peer(&mut scene, number)).collect();
    for raw in &hogs {
        scene.net.write(*raw, wire::data(b"more").repeat(2_000));
    }
    scene.run_for(MOMENT);
    let senders = take_all(&mut scene, limit, 50);
    assert_eq!(senders.len(), 20_000);
    let early = &senders[..10_000];
    let parts: Vec<usize> =
        (1..=10).map(|number| early.iter().filter(|sender| **sender == id(number)).count()).collect();
    assert!(parts.iter().all(|part| (600..=1_700).contains(part)), "of 10,000: {parts:?}");
}

#[test]
fn reading_resumes_when_the_application_takes_and_nothing_is_dropped() {
    let limit = Limit::new(10, MIB);
    let mut scene = scene(limit);
    let messages = aiomsg_tests::numbered(5_000);
    for message in &messages {
        scene.net.send(scene.friend, message.clone()).expect("there is room");
    }
    scene.run_for(SECOND);
    let waiting = scene.net.node(scene.friend).metrics().send_held.messages;
    assert!(waiting > 0 || scene.net.node(scene.server).metrics().received.messages <= 10);
    scene.net.set_taking(scene.server, Taking::All);
    scene.run_for(SECOND);
    assert_eq!(scene.net.payloads(scene.server), messages);
}

#[test]
fn a_full_buffer_pushes_back_on_the_sender() {
    let limit = Limit::new(10, MIB);
    let mut scene = scene(limit);
    let message = vec![7; 10_000];
    let accepted = (0..100_000).take_while(|_| scene.net.send(scene.friend, message.clone()).is_ok()).count();
    scene.run_for(SECOND * 100);
    let sender = scene.net.node(scene.friend).metrics();
    assert!(accepted < 10_000, "its send buffer fills");
    assert!(sender.handed_over.bytes < 3 * MIB, "{:?}", sender.handed_over);
    assert_eq!(departures(&scene.net, scene.friend), []);
    scene.net.set_taking(scene.server, Taking::All);
    scene.run_for(SECOND * 10);
    assert_eq!(scene.net.received(scene.server).len(), accepted);
}

#[test]
fn a_message_larger_than_the_buffer_is_taken_by_an_empty_one() {
    let limit = Limit::new(100, 1_000);
    let mut scene = scene(limit);
    let (first, second) = (peer(&mut scene, 1), peer(&mut scene, 2));
    for raw in [first, second] {
        scene.net.write(raw, wire::data(&[7; 5_000]));
        scene.net.write(raw, wire::data(&vec![7; 300_000]));
    }
    let mut lengths = Vec::new();
    for _ in 0..100 {
        scene.run_for(MOMENT);
        assert_within(&scene, Limit::new(2, 300_000 + 5_000));
        lengths.extend(scene.net.take(scene.server, 1).iter().map(|message| message.payload.len()));
    }
    lengths.sort_unstable();
    assert_eq!(lengths, [5_000, 5_000, 300_000, 300_000]);
}

#[test]
fn large_messages_that_are_arriving_count() {
    let limit = Limit::new(1_000, 10 * MIB);
    let mut scene = scene(limit);
    scene.net.set_chunking(Chunking::Whole);
    let peers: Vec<RawId> = (1..=20).map(|number| peer(&mut scene, number)).collect();
    let message = wire::data(&vec![7; 3 * MIB]);
    for raw in &peers {
        scene.net.write(*raw, &message[..message.len() - 1]);
    }
    scene.run_for(MOMENT);
    let read: usize = peers.iter().map(|raw| scene.net.unread_by_core(scene.net.wire_of_raw(*raw))).sum();
    assert!(read <= 10 * MIB + 20 * 512 * 1024, "{read} bytes of messages that have not arrived are held");
    for raw in &peers {
        scene.net.write(*raw, &message[message.len() - 1..]);
    }
    let mut taken = 0;
    for _ in 0..100 {
        scene.run_for(MOMENT);
        assert_within(&scene, beside(limit, 3 * MIB));
        taken += scene.net.take(scene.server, 1).len();
    }
    assert_eq!(taken, 20, "one after another they have their turn");
}

#[test]
fn messages_larger_than_the_buffer_that_are_arriving_count_as_well() {
    // As with the defaults: a message of the largest size has a frame larger than the buffer.
    let limit = Limit::new(1_000, 4 * MIB);
    let mut scene = Scene::new(10, Config::default().receive_buffer(limit).max_message(4 * MIB));
    scene.net.set_chunking(Chunking::Whole);
    let peers: Vec<RawId> = (1..=20).map(|number| peer(&mut scene, number)).collect();
    let message = wire::data(&vec![7; 4 * MIB]);
    for raw in &peers {
        scene.net.write(*raw, &message[..message.len() - 1]);
    }
    scene.run_for(MOMENT);
    let read: usize = peers.iter().map(|raw| scene.net.unread_by_core(scene.net.wire_of_raw(*raw))).sum();
    assert!(read <= 4 * MIB + 20 * 512 * 1024, "{read} bytes of messages that have not arrived are held");
    for raw in &peers {
        scene.net.write(*raw, &message[message.len() - 1..]);
    }
    scene.run_for(SECOND);
    assert_eq!(scene.net.received(scene.server).len(), 20);
}

#[test]
fn a_large_message_that_is_arriving_has_its_place_among_the_messages() {
    let limit = Limit::new(3, MIB);
    let mut scene = scene(limit);
    scene.net.set_chunking(Chunking::Whole);
    let big = peer(&mut scene, 1);
    let small: Vec<RawId> = (2..=4).map(|number| peer(&mut scene, number)).collect();
    let message = wire::data(&vec![7; 100_000]);
    scene.net.write(big, &message[..message.len() - 1]);
    scene.run_for(MOMENT);
    for raw in small {
        scene.net.write(raw, wire::data(b"message").repeat(3));
    }
    scene.run_for(MOMENT);
    scene.net.write(big, &message[message.len() - 1..]);
    scene.run_for(MOMENT);
    assert_within(&scene, limit);
    assert_eq!(take_all(&mut scene, limit, 1).len(), 10);
}

#[test]
fn a_large_frame_that_is_no_message_gives_its_room_back() {
    let limit = Limit::new(1_000, MIB);
    let mut scene = scene(limit);
    scene.net.set_chunking(Chunking::Whole);
    let (big, next) = (peer(&mut scene, 1), peer(&mut scene, 2));
    let unknown = wire::frame(&vec![0x66; MIB]);
    scene.net.write(big, &unknown[..unknown.len() - 1]);
    scene.run_for(MOMENT);
    scene.net.write(next, wire::data(&vec![7; MIB]));
    scene.run_for(MOMENT);
    assert!(scene.net.take(scene.server, 1).is_empty(), "the place beside the limit is taken");
    scene.net.write(big, &unknown[unknown.len() - 1..]);
    scene.run_for(MOMENT);
    assert_eq!(scene.net.take(scene.server, 10).len(), 1);
}

#[test]
fn who_announces_much_and_sends_little_takes_nothing_from_others() {
    let limit = Limit::new(1_000, MIB);
    let mut scene = scene(limit);
    let announcers: Vec<RawId> = (1..=5).map(|number| peer(&mut scene, number)).collect();
    let small = peer(&mut scene, 6);
    for (announcer, length) in announcers.iter().zip([MIB, MIB, MIB / 2 - 10, MIB / 4 - 10, MIB / 2]) {
        scene.net.write(*announcer, &wire::data(&vec![7; length])[..1_000]);
        scene.run_for(MOMENT);
    }
    for _ in 0..10 {
        scene.net.write(small, wire::data(&[7; 10_000]).repeat(10));
        scene.run_for(MOMENT);
        assert_eq!(scene.net.take(scene.server, 100).len(), 10);
        scene.run_for(SECOND);
    }
}

#[test]
fn a_large_frame_whose_peer_leaves_gives_its_room_back() {
    let limit = Limit::new(1_000, MIB);
    let mut scene = scene(limit);
    scene.net.set_chunking(Chunking::Whole);
    let (big, next) = (peer(&mut scene, 1), peer(&mut scene, 2));
    scene.net.write(big, &wire::data(&vec![7; MIB])[..MIB / 2]);
    scene.run_for(MOMENT);
    scene.net.write(next, wire::data(&vec![7; MIB]));
    scene.run_for(MOMENT);
    assert!(scene.net.take(scene.server, 1).is_empty(), "the place beside the limit is taken");
    scene.net.close(big);
    scene.run_for(MOMENT);
    assert_eq!(scene.net.take(scene.server, 10).len(), 1);
}

#[test]
fn a_message_within_the_limit_is_never_lost_to_a_peer_that_leaves_behind_it() {
    let limit = Limit::new(5, MIB);
    let mut scene = scene(limit);
    let raw = peer(&mut scene, 1);
    scene.net.write(raw, wire::data(b"message").repeat(100));
    scene.net.finish(raw);
    scene.run_for(SECOND);
    assert_eq!(departures(&scene.net, scene.server), [], "its end stands behind what was not read");
    assert_eq!(take_all(&mut scene, limit, 2).len(), 100);
    scene.run_for(SECOND);
    assert_eq!(departures(&scene.net, scene.server).len(), 1);
}

#[test]
fn a_peer_that_is_sent_away_while_it_is_not_read_loses_nothing() {
    let limit = Limit::new(3, MIB);
    let mut scene = scene(limit);
    let messages = aiomsg_tests::numbered(1_000);
    for message in &messages {
        scene.net.send(scene.friend, message.clone()).expect("there is room");
    }
    scene.run_for(SECOND);
    let friend = scene.net.identity(scene.friend);
    scene.net.command(scene.server, |socket, now| socket.disconnect(now, friend));
    scene.run_for(SECOND * 10);
    scene.net.set_taking(scene.server, Taking::All);
    scene.run_for(SECOND * 30);
    assert_eq!(scene.net.payloads(scene.server), messages);
}

#[test]
fn messages_of_a_peer_that_left_can_still_be_taken() {
    let limit = Limit::new(100, MIB);
    let mut scene = scene(limit);
    let raw = peer(&mut scene, 1);
    scene.net.write(raw, wire::data(b"message").repeat(20));
    scene.run_for(MOMENT);
    scene.net.close(raw);
    scene.run_for(MOMENT);
    assert_eq!(take_all(&mut scene, limit, 3), [id(1); 20]);
    assert_eq!(scene.net.node(scene.server).metrics().receive_held.messages, 0);
}

#[test]
fn what_is_not_settled_still_counts() {
    let limit = Limit::new(10, MIB);
    let (mut socket, connection) = bare(limit);
    let mut buffer = BytesMut::from(wire::data(b"message").repeat(100).as_slice());
    let (now, mut inbox) = (Instant::EPOCH, Inbox::default());
    socket.handle_received(now, connection, &mut buffer);
    assert!(socket.poll_received(now, &mut inbox));
    let waiting = inbox.len();
    let taken: Vec<_> = inbox.by_ref().collect();
    assert_eq!((taken.len(), inbox.unsettled()), (waiting, waiting));
    assert_eq!(socket.metrics().receive_held.messages, waiting, "the socket has not been told");
    socket.poll_received(now, &mut inbox);
    assert_eq!(inbox.unsettled(), 0);
}

#[test]
fn a_connection_that_may_be_read_again_is_announced() {
    let limit = Limit::new(4, MIB);
    let (mut socket, connection) = bare(limit);
    let now = Instant::EPOCH;
    let mut buffer = BytesMut::from(wire::data(b"message").repeat(9).as_slice());
    socket.handle_received(now, connection, &mut buffer);
    let announced: Vec<Ready> = core::iter::from_fn(|| socket.poll_ready()).collect();
    assert_eq!(announced, [Ready::Received]);
    let mut inbox = Inbox::default();
    socket.poll_received(now, &mut inbox);
    assert!(inbox.by_ref().count() > 0);
    socket.poll_received(now, &mut inbox);
    let announced: Vec<Ready> = core::iter::from_fn(|| socket.poll_ready()).collect();
    assert!(announced.contains(&Ready::Connection(connection)), "{announced:?}");
    assert_eq!(socket.link_state(connection), LinkState::Open);
}

#[test]
fn a_publisher_that_nobody_reads_still_sends() {
    let config = Config::default().send_mode(SendMode::Publish).receive_buffer(Limit::new(1, 100));
    let mut scene = Scene::new(10, config);
    scene.net.set_taking(scene.server, Taking::Nothing);
    let friend: NodeId = scene.friend;
    for message in aiomsg_tests::numbered(100) {
        scene.net.send(friend, message.clone()).expect("there is room");
        scene.net.send(scene.server, message).expect("there is room");
        scene.run_for(MOMENT);
    }
    assert_eq!(scene.net.received(friend).len(), 100);
}

/// To have the memory of each read anew from the system costs more than reading.
#[test]
fn what_was_read_into_can_be_read_into_again_when_the_messages_are_gone() {
    let (mut socket, id) = bare(Limit::new(1_000, MIB));
    let frames = wire::data(&[9; 1_000]).repeat(100);
    let mut buffer = BytesMut::with_capacity(frames.len());
    buffer.extend_from_slice(&frames);
    socket.handle_received(Instant::EPOCH, id, &mut buffer);
    let mut inbox = Inbox::default();
    socket.poll_received(Instant::EPOCH, &mut inbox);
    assert_eq!((inbox.len(), buffer.len()), (100, 0), "the frames filled the buffer to its end");
    assert!(!buffer.try_reclaim(frames.len()), "messages are in it");
    assert_eq!(inbox.by_ref().count(), 100);
    assert!(buffer.try_reclaim(frames.len()));
}
