//! When a receiver acknowledges.

use core::time::Duration;

use aiomsg_proto::{Acknowledge, Config, Event, Limit, MessageId};
use aiomsg_tests::{Chunking, Network, NodeId, RawId, Taking, wire};

use super::support::{
    HELLO, MOMENT, SECOND, acknowledged, assert_conserved, classic_peer, id, lose, message_id, patient, peer,
    server,
};

const NEVER_EARLY: Acknowledge = Acknowledge::OnTake { at_latest: None };

/// A receiver whose application takes nothing by itself, and a peer of it.
fn receiver(acknowledge: Acknowledge) -> (Network, NodeId, RawId) {
    let (mut net, server) = server(patient().acknowledge(acknowledge));
    net.set_taking(server, Taking::Nothing);
    let raw = peer(&mut net, 1);
    (net, server, raw)
}

fn send(net: &mut Network, raw: RawId, numbers: core::ops::Range<usize>) {
    for number in numbers {
        net.write(raw, wire::data_req(message_id(number), b"job"));
    }
    net.run_for(MOMENT);
}

fn ids(numbers: impl IntoIterator<Item = usize>) -> Vec<[u8; 16]> {
    numbers.into_iter().map(message_id).collect()
}

fn told_early(net: &Network, server: NodeId) -> usize {
    let early = |event: &Event| matches!(event, Event::AcknowledgedEarly { .. });
    net.events(server).iter().filter(|(_, event)| early(event)).count()
}

#[test]
fn on_receive_they_are_acknowledged_when_they_arrive() {
    let (mut net, server, raw) = receiver(Acknowledge::OnReceive);
    send(&mut net, raw, 0..10);
    assert_eq!(acknowledged(&net, raw), ids(0..10));
    assert_eq!(net.take(server, 100).len(), 10);
    net.run_for(SECOND * 10);
    assert_eq!(acknowledged(&net, raw).len(), 10);
}

#[test]
fn on_take_they_are_acknowledged_when_they_are_taken() {
    let (mut net, server, raw) = receiver(Acknowledge::default());
    send(&mut net, raw, 0..10);
    assert!(acknowledged(&net, raw).is_empty());
    assert!(net.take(server, 3).iter().all(|message| message.request.is_none()), "nothing is left to do");
    net.run_for(MOMENT);
    assert_eq!(acknowledged(&net, raw), ids(0..3));
    net.take(server, 100);
    net.run_for(MOMENT);
    assert_eq!(acknowledged(&net, raw), ids(0..10));
    assert_eq!(told_early(&net, server), 0);
}

#[test]
fn on_take_they_are_acknowledged_at_the_latest_after_4_seconds() {
    let (mut net, server, raw) = receiver(Acknowledge::default());
    send(&mut net, raw, 0..5);
    net.run_for(SECOND * 2);
    send(&mut net, raw, 5..10);
    net.run_for(SECOND * 2 - MOMENT * 3);
    assert!(acknowledged(&net, raw).is_empty());
    net.run_for(MOMENT * 2);
    assert_eq!(acknowledged(&net, raw), ids(0..5));
    assert_eq!(told_early(&net, server), 1);
    net.take(server, 7);
    net.run_for(MOMENT);
    assert_eq!(acknowledged(&net, raw), ids(0..7), "each once");
    net.run_for(SECOND * 2);
    assert_eq!(acknowledged(&net, raw), ids(0..10));
    assert_eq!(told_early(&net, server), 2, "it had caught up in between");
    net.take(server, 100);
    net.run_for(SECOND * 10);
    assert_eq!(acknowledged(&net, raw), ids(0..10));
}

#[test]
fn the_early_end_is_told_once_for_as_long_as_it_lasts() {
    let (mut net, server, raw) = receiver(Acknowledge::default());
    for number in 0..100 {
        send(&mut net, raw, number..number + 1);
        net.run_for(SECOND);
        if number > 50 {
            net.take(server, 1);
        }
    }
    assert_eq!(told_early(&net, server), 1);
    assert_eq!(acknowledged(&net, raw), ids(0..97), "all that is older than 4 s");
}

#[test]
fn on_take_without_a_bound_nothing_is_acknowledged_early() {
    let (mut net, server, raw) = receiver(NEVER_EARLY);
    send(&mut net, raw, 0..10);
    net.run_for(SECOND * 1_000);
    assert!(acknowledged(&net, raw).is_empty());
    net.take(server, 4);
    net.run_for(MOMENT);
    assert_eq!(acknowledged(&net, raw), ids(0..4));
    assert_eq!(told_early(&net, server), 0);
}

#[test]
fn messages_that_need_no_acknowledgement_do_not_confuse_the_count() {
    let (mut net, server, raw) = receiver(NEVER_EARLY);
    let other = peer(&mut net, 2);
    for number in 0..30 {
        net.write(raw, wire::data(b"plain"));
        net.write(other, wire::data_req(message_id(100 + number), b"other"));
        net.write(raw, wire::data_req(message_id(number), b"job"));
        net.run_for(Duration::from_millis(3));
    }
    let mut taken: [Vec<[u8; 16]>; 2] = Default::default();
    let mut counts = [0, 0];
    loop {
        let some = net.take(server, 7);
        if some.is_empty() {
            break;
        }
        for message in some {
            let (peer, first) = if message.identity == id(1) { (0, 0) } else { (1, 100) };
            if message.payload != b"plain"[..] {
                taken[peer].push(message_id(first + counts[peer]));
                counts[peer] += 1;
            }
        }
        net.run_for(MOMENT);
        assert_eq!(acknowledged(&net, raw), taken[0]);
        assert_eq!(acknowledged(&net, other), taken[1]);
    }
    assert_eq!(counts, [30, 30]);
}

#[test]
fn manually_they_are_acknowledged_in_any_order() {
    let (mut net, server, raw) = receiver(Acknowledge::Manual);
    send(&mut net, raw, 0..5);
    let taken = net.take(server, 10);
    net.run_for(SECOND * 100);
    assert!(acknowledged(&net, raw).is_empty());
    for place in [3, 0, 4] {
        let request = taken[place].request.expect("it asks for an acknowledgement");
        net.command(server, |socket, now| socket.acknowledge(now, id(1), request));
        net.command(server, |socket, now| socket.acknowledge(now, id(1), request));
    }
    net.run_for(MOMENT);
    assert_eq!(acknowledged(&net, raw), ids([3, 0, 4]), "each once");
}

#[test]
fn a_rejected_message_is_delivered_again_when_it_is_sent_again() {
    let (mut net, server, raw) = receiver(Acknowledge::Manual);
    for attempt in 0..3 {
        send(&mut net, raw, 0..1);
        let taken = net.take(server, 10);
        assert_eq!(taken.len(), 1, "attempt {attempt}");
        let request = taken[0].request.expect("it asks for an acknowledgement");
        send(&mut net, raw, 0..1);
        assert!(net.take(server, 10).is_empty(), "a copy of what is being worked on");
        net.command(server, |socket, now| socket.reject(now, id(1), request));
    }
    send(&mut net, raw, 0..1);
    let request = net.take(server, 10)[0].request.expect("it asks for an acknowledgement");
    net.command(server, |socket, now| socket.acknowledge(now, id(1), request));
    net.run_for(MOMENT);
    assert_eq!(acknowledged(&net, raw), ids([0]));
    assert_eq!(net.node(server).metrics().duplicates.messages, 3);
}

#[test]
fn what_is_acknowledged_can_not_be_rejected_any_more() {
    let (mut net, server, raw) = receiver(Acknowledge::Manual);
    send(&mut net, raw, 0..1);
    let request = net.take(server, 1)[0].request.expect("it asks for an acknowledgement");
    net.command(server, |socket, now| socket.acknowledge(now, id(1), request));
    net.command(server, |socket, now| socket.reject(now, id(1), request));
    send(&mut net, raw, 0..1);
    assert!(net.take(server, 1).is_empty(), "it is a copy of one that was acknowledged");
    assert_eq!(acknowledged(&net, raw), ids([0, 0]));
}

#[test]
fn answers_for_messages_that_never_came_do_nothing() {
    let (mut net, server, raw) = receiver(Acknowledge::Manual);
    net.command(server, |socket, now| {
        socket.acknowledge(now, id(1), MessageId::from_bytes([7; 16]));
        socket.acknowledge(now, id(9), MessageId::from_bytes([7; 16]));
        socket.reject(now, id(1), MessageId::from_bytes([7; 16]));
    });
    net.run_for(MOMENT);
    assert!(acknowledged(&net, raw).is_empty());
}

#[test]
fn a_rejected_message_comes_back_from_a_sender_of_ours() {
    let (mut net, server) = server(Config::default().acknowledge(Acknowledge::Manual));
    let client = net.socket(Config::default().delivery(aiomsg_proto::DeliveryGuarantee::AtLeastOnce));
    net.set_taking(server, Taking::Nothing);
    net.dial(client, aiomsg_tests::Scene::ADDRESS);
    net.send(client, "job").expect("there is room");
    net.run_for(SECOND);
    let first = net.take(server, 1)[0].clone();
    let request = first.request.expect("it asks for an acknowledgement");
    net.command(server, |socket, now| socket.reject(now, first.identity, request));
    net.run_for(SECOND * 5);
    let second = net.take(server, 1)[0].clone();
    assert_eq!((second.payload, second.request), (first.payload, first.request));
    net.command(server, |socket, now| socket.acknowledge(now, first.identity, request));
    net.run_for(SECOND);
    assert_eq!(net.node(client).metrics().acknowledged.messages, 1);
    assert_conserved(&net, client);
}

#[test]
fn acknowledgements_are_written_before_queued_messages() {
    let (mut net, server) = server(patient().acknowledge(Acknowledge::OnReceive));
    net.set_chunking(Chunking::Whole);
    let raw = super::support::stalled_peer(&mut net, 1, HELLO + 2_000);
    for number in 0..100_u8 {
        net.send(server, vec![number; 3_000]).expect("there is room");
    }
    net.run_for(MOMENT);
    send(&mut net, raw, 0..50);
    net.set_reading(raw, true);
    net.run_for(SECOND);
    let kinds: Vec<u8> = wire::frames(net.bytes(raw)).iter().map(|frame| frame[0]).collect();
    let data_before = kinds.iter().take_while(|kind| **kind != 5).filter(|kind| **kind == 3).count();
    let acknowledgements = kinds.iter().skip_while(|kind| **kind != 5).take_while(|kind| **kind == 5).count();
    assert!(data_before <= 1, "{data_before}: no more than what was being written");
    assert_eq!(acknowledgements, 50, "together");
    assert_eq!(kinds.iter().filter(|kind| **kind == 3).count(), 100);
}

#[test]
fn at_most_8192_acknowledgements_wait_and_reading_goes_on() {
    let (mut net, server) = server(patient().acknowledge(Acknowledge::OnReceive));
    net.set_chunking(Chunking::Whole);
    let raw = super::support::stalled_peer(&mut net, 1, HELLO);
    net.send(server, "to be written").expect("there is room");
    net.run_for(MOMENT);
    let frames: Vec<u8> = (0..10_000).flat_map(|number| wire::data_req(message_id(number), b"j")).collect();
    net.set_taking(server, Taking::All);
    net.write(raw, frames);
    net.run_for(SECOND * 30);
    assert_eq!(net.received(server).len(), 10_000, "it was read all the same");
    net.set_reading(raw, true);
    net.run_for(SECOND * 60);
    assert!(acknowledged(&net, raw) == ids(10_000 - 8_192..10_000), "the oldest are forgotten, only they");
    net.write(raw, wire::data_req(message_id(1_900), b"j"));
    net.run_for(MOMENT);
    assert_eq!(acknowledged(&net, raw).last(), Some(&message_id(1_900)), "a copy has it said again");
    assert_eq!(net.node(server).metrics().duplicates.messages, 1);
}

#[test]
fn a_classic_peer_is_answered_in_its_way() {
    let (mut net, server) = server(patient());
    let raw = classic_peer(&mut net, 1);
    let header = |mark: &[u8]| [message_id(7).as_slice(), mark].concat();
    for _ in 0..2 {
        net.write(raw, wire::frame(&[header(b"\0REQ\0").as_slice(), b"job"].concat()));
        net.run_for(MOMENT);
    }
    assert_eq!(net.payloads(server), [&b"job"[..]]);
    let answers: Vec<Vec<u8>> = wire::frames(net.bytes(raw)).into_iter().skip(1).collect();
    assert_eq!(answers, [header(b"\0REP\0"), header(b"\0REP\0")]);
}

#[test]
fn what_is_taken_after_its_sender_left_is_acknowledged_when_it_is_back() {
    let (mut net, server, raw) = receiver(NEVER_EARLY);
    send(&mut net, raw, 0..3);
    lose(&mut net, raw);
    assert_eq!(net.take(server, 10).len(), 3);
    let back = peer(&mut net, 1);
    assert!(acknowledged(&net, back).is_empty(), "it has not asked on this connection");
    send(&mut net, back, 0..3);
    assert_eq!(acknowledged(&net, back), ids(0..3));
    assert!(net.take(server, 10).is_empty());
}

#[test]
fn acknowledgements_do_not_wait_for_a_receive_buffer_that_is_full() {
    let config = patient().acknowledge(Acknowledge::OnReceive).receive_buffer(Limit::new(4, 1 << 20));
    let (mut net, server) = server(config);
    net.set_taking(server, Taking::Nothing);
    let raw = peer(&mut net, 1);
    send(&mut net, raw, 0..100);
    let held = net.node(server).metrics().receive_held.messages;
    assert_eq!(acknowledged(&net, raw), ids(0..held), "all that was taken in");
    let mut taken = 0;
    while taken < 100 {
        taken += net.take(server, 3).len();
        net.run_for(MOMENT);
    }
    assert_eq!(acknowledged(&net, raw), ids(0..100));
}
