//! Which messages are copies, and what is done with them.

use aiomsg_proto::{Acknowledge, Inbox, Instant, Limit, Origin, Receive, Socket};
use aiomsg_tests::{Chunking, Network, NodeId, RawId, Taking, wire};

use super::support::{MOMENT, SECOND, acknowledged, id, lose, message_id, patient, peer, server};

/// A receiver whose application takes nothing by itself, and a peer of it.
fn receiver() -> (Network, NodeId, RawId) {
    let (mut net, server) = server(patient().acknowledge(Acknowledge::OnTake { at_latest: None }));
    net.set_taking(server, Taking::Nothing);
    net.set_chunking(Chunking::Whole);
    let raw = peer(&mut net, 1);
    (net, server, raw)
}

fn request(net: &mut Network, raw: RawId, number: usize) {
    net.write(raw, wire::data_req(message_id(number), b"job"));
    net.run_for(MOMENT);
}

fn requests(net: &mut Network, raw: RawId, numbers: core::ops::Range<usize>) {
    let frames: Vec<u8> = numbers.flat_map(|number| wire::data_req(message_id(number), b"j")).collect();
    net.write(raw, frames);
    net.run_for(SECOND);
}

#[test]
fn a_copy_of_one_that_waits_is_dropped_and_not_acknowledged_early() {
    let (mut net, server, raw) = receiver();
    for _ in 0..5 {
        request(&mut net, raw, 1);
    }
    net.run_for(SECOND * 100);
    assert!(acknowledged(&net, raw).is_empty());
    assert_eq!(net.take(server, 10).len(), 1);
    net.run_for(MOMENT);
    assert_eq!(acknowledged(&net, raw), [message_id(1)], "one take, one acknowledgement");
    let metrics = net.node(server).metrics();
    assert_eq!((metrics.received.messages, metrics.duplicates.messages), (1, 4));
}

#[test]
fn a_copy_of_one_that_was_acknowledged_has_that_said_again_at_once() {
    let (mut net, server, raw) = receiver();
    request(&mut net, raw, 1);
    net.take(server, 1);
    net.run_for(MOMENT);
    for copies in 1..5 {
        request(&mut net, raw, 1);
        assert_eq!(acknowledged(&net, raw).len(), copies + 1);
    }
    assert!(net.take(server, 1).is_empty());
}

#[test]
fn the_acknowledgement_goes_where_the_latest_copy_came_from() {
    let (mut net, server, first) = receiver();
    request(&mut net, first, 1);
    lose(&mut net, first);
    let second = peer(&mut net, 1);
    request(&mut net, second, 1);
    lose(&mut net, second);
    let third = peer(&mut net, 1);
    request(&mut net, third, 1);
    assert_eq!(net.take(server, 10).len(), 1, "it is one message");
    net.run_for(MOMENT);
    assert_eq!(acknowledged(&net, third), [message_id(1)]);
    assert!(acknowledged(&net, first).is_empty() && acknowledged(&net, second).is_empty());
}

#[test]
fn what_comes_on_a_connection_that_is_given_up_leaves_the_acknowledgements_of_the_other_alone() {
    let (mut net, server, _) = receiver();
    let kept = peer(&mut net, 0xff);
    // The peer is dialled, too, and its identity is the greater one: this connection is left to it to end.
    net.listen_raw("raw");
    net.dial(server, "raw");
    net.run_for(MOMENT);
    let given_up = net.accept("raw").expect("it was dialled");
    net.write(given_up, wire::hello(id(0xff)));
    net.run_for(MOMENT);
    request(&mut net, kept, 1);
    request(&mut net, given_up, 2);
    assert_eq!(net.take(server, 10).len(), 2);
    net.run_for(MOMENT);
    assert_eq!(acknowledged(&net, kept), [message_id(1), message_id(2)]);
}

#[test]
fn the_same_id_of_another_peer_is_another_message() {
    let (mut net, server, raw) = receiver();
    let other = peer(&mut net, 2);
    request(&mut net, raw, 1);
    request(&mut net, other, 1);
    assert_eq!(net.take(server, 10).len(), 2);
    net.run_for(MOMENT);
    assert_eq!((acknowledged(&net, raw).len(), acknowledged(&net, other).len()), (1, 1));
}

#[test]
fn ids_are_remembered_for_a_minute_after_a_peer_has_left() {
    for (absent, expected) in [(59, 1), (61, 2)] {
        let (mut net, server, raw) = receiver();
        request(&mut net, raw, 1);
        let mut taken = net.take(server, 10).len();
        lose(&mut net, raw);
        net.run_for(SECOND * absent - MOMENT * 4);
        let back = peer(&mut net, 1);
        net.run_for(MOMENT);
        request(&mut net, back, 1);
        taken += net.take(server, 10).len();
        assert_eq!(taken, expected, "after {absent} s");
        net.run_for(MOMENT);
        assert_eq!(acknowledged(&net, back).len(), 1);
    }
}

#[test]
fn the_last_8192_ids_of_a_peer_are_remembered() {
    let (mut net, server, raw) = receiver();
    net.set_taking(server, Taking::All);
    requests(&mut net, raw, 0..8_192);
    requests(&mut net, raw, 0..8_192);
    assert_eq!(net.received(server).len(), 8_192);
    requests(&mut net, raw, 8_192..8_292);
    requests(&mut net, raw, 100..8_292);
    assert_eq!(net.received(server).len(), 8_292);
}

#[test]
fn as_many_as_a_window_are_remembered_of_64_peers_at_once() {
    const WINDOW: usize = 4_096;
    let now = Instant::EPOCH;
    let config = patient().acknowledge(Acknowledge::OnReceive).receive(Receive::Keep);
    let mut socket = Socket::new(config, id(0xff), 1, now).expect("the configuration is valid");
    let frames: Vec<u8> = (0..WINDOW).flat_map(|number| wire::data_req(message_id(number), b"j")).collect();
    let peers: Vec<_> = (1..=64)
        .map(|number| {
            let peer = socket.handle_connected(now, Origin::Accepted, "a").expect("there is a place");
            socket.handle_received(now, peer, &mut wire::hello(id(number)).as_slice().into());
            peer
        })
        .collect();
    let mut inbox = Inbox::default();
    for _ in 0..2 {
        for peer in &peers {
            socket.handle_received(now, *peer, &mut frames.as_slice().into());
            while socket.poll_received(now, &mut inbox) {
                assert!(inbox.by_ref().count() > 0);
            }
        }
    }
    let metrics = socket.metrics();
    assert_eq!((metrics.received.messages, metrics.duplicates.messages), (64 * WINDOW, 64 * WINDOW));
}

#[test]
fn what_is_rejected_in_numbers_is_forgotten() {
    let (mut net, server) = server(patient().acknowledge(Acknowledge::Manual));
    net.set_taking(server, Taking::Nothing);
    net.set_chunking(Chunking::Whole);
    let raw = peer(&mut net, 1);
    for round in 0..3 {
        requests(&mut net, raw, 0..2_000);
        let taken = net.take(server, 10_000);
        assert_eq!(taken.len(), 2_000, "round {round}");
        for message in taken {
            let request = message.request.expect("it asks for an acknowledgement");
            net.command(server, |socket, now| socket.reject(now, id(1), request));
        }
    }
}

#[test]
fn copies_do_not_count_against_the_receive_buffer() {
    let config = patient()
        .acknowledge(Acknowledge::OnTake { at_latest: None })
        .receive_buffer(Limit::new(10, 1 << 20));
    let (mut net, server) = server(config);
    net.set_taking(server, Taking::Nothing);
    let raw = peer(&mut net, 1);
    for _ in 0..50 {
        request(&mut net, raw, 1);
    }
    request(&mut net, raw, 2);
    assert_eq!(net.node(server).metrics().receive_held.messages, 2);
    assert_eq!(net.take(server, 10).len(), 2);
}

/// What was set aside for a large copy is free for others once it is dropped.
#[test]
fn a_large_copy_leaves_room_for_others() {
    let config = patient().receive_buffer(Limit::new(1_000, 1 << 20));
    let (mut net, server) = server(config);
    net.set_chunking(Chunking::Whole);
    let (large, other) = (peer(&mut net, 1), peer(&mut net, 2));
    let frame = wire::data_req(message_id(1), &vec![7; 900_000]);
    net.write(large, &frame);
    net.run_for(SECOND);
    net.write(large, &frame[..500_000]);
    net.run_for(SECOND);
    net.write(other, wire::data(&vec![8; 900_000]));
    net.run_for(SECOND);
    assert_eq!(net.received(server).len(), 1, "there is no room for the other now");
    net.write(large, &frame[500_000..]);
    net.run_for(SECOND);
    assert_eq!(net.node(server).metrics().duplicates.messages, 1);
    assert_eq!(net.received(server).len(), 2, "the other is read again");
}
