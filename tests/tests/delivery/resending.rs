//! When a message is sent again, and when that ends.

use core::num::NonZeroU32;
use core::time::Duration;

use aiomsg_proto::{Event, Limit, Usage};
use aiomsg_tests::{Network, NodeId, RawId, Taking, wire};

use super::support::{
    HELLO, MOMENT, SECOND, acknowledge_from, assert_conserved, at_least_once, classic_peer, held, id, lose,
    peer, requested, requests, server, stalled_peer,
};

/// How long until a peer has got its next request.
fn until_next(net: &mut Network, raw: RawId) -> Duration {
    let before = requests(net, raw).len();
    net.run_until("another copy comes", SECOND * 200, |net| requests(net, raw).len() > before)
}

fn is_about(span: Duration, seconds: u64) -> bool {
    let expected = SECOND * u32::try_from(seconds).expect("short");
    span + MOMENT > expected && span < expected + MOMENT
}

#[test]
fn an_acknowledgement_ends_a_delivery() {
    let (mut net, server) = server(at_least_once());
    let raw = peer(&mut net, 1);
    net.send(server, "job").expect("there is room");
    net.run_for(MOMENT);
    assert_eq!(requested(&net, raw), [b"job"]);
    assert_eq!(held(&net, server), 1, "until it is acknowledged");
    acknowledge_from(&mut net, raw, 0);
    assert_eq!(held(&net, server), 0);
    let metrics = net.node(server).metrics();
    assert_eq!(metrics.acknowledged, Usage { messages: 1, bytes: 3 });
    assert_eq!((metrics.handed_over.messages, metrics.resent.messages), (0, 0));
    net.run_for(SECOND * 600);
    assert_eq!(requested(&net, raw).len(), 1);
    assert_conserved(&net, server);
}

#[test]
fn copies_come_after_5_10_20_40_and_60_seconds_under_the_same_id() {
    let (mut net, server) = server(at_least_once());
    let raw = peer(&mut net, 1);
    net.send(server, "job").expect("there is room");
    net.run_for(Duration::from_millis(1));
    for (copy, seconds) in [5, 10, 20, 40, 60, 60, 60, 60, 60, 60].into_iter().enumerate() {
        let waited = until_next(&mut net, raw);
        assert!(is_about(waited, seconds), "copy {copy} came after {waited:?}");
    }
    let first = requests(&net, raw)[0].clone();
    assert!(requests(&net, raw).iter().all(|copy| *copy == first), "id and payload stay");
    assert_eq!(net.node(server).metrics().resent.messages, 10);
    assert_eq!(held(&net, server), 1);
    assert_conserved(&net, server);
    acknowledge_from(&mut net, raw, 0);
    assert_eq!(held(&net, server), 0);
    assert_eq!(net.node(server).metrics().acknowledged.messages, 1, "each is acknowledged once");
    assert_conserved(&net, server);
}

#[test]
fn the_time_doubles_up_to_its_bound_wherever_it_starts() {
    let config = at_least_once().resend_after(Duration::from_millis(1)).resend_after_max(SECOND * 60);
    let (mut net, server) = server(config);
    let raw = peer(&mut net, 1);
    net.send(server, "job").expect("there is room");
    net.run_for(SECOND * 400);
    let waited = [until_next(&mut net, raw), until_next(&mut net, raw)];
    assert!(is_about(waited[1], 60), "{waited:?}");
    assert!(requests(&net, raw).len() < 30, "{}", requests(&net, raw).len());
    assert_conserved(&net, server);
}

#[test]
fn a_classic_peer_gets_a_header_and_ends_it_with_one() {
    let (mut net, server) = server(at_least_once());
    let raw = classic_peer(&mut net, 1);
    net.send(server, "job").expect("there is room");
    net.run_for(SECOND * 16);
    let frames = wire::frames(net.bytes(raw));
    let copies: Vec<_> = frames.iter().skip(1).map(|frame| wire::classic(frame)).collect();
    let wire::Classic::Requested(message, payload) = copies[0].clone() else { panic!("{copies:?}") };
    assert_eq!(payload, b"job");
    let requests = copies.iter().filter(|copy| **copy != wire::Classic::Heartbeat).count();
    assert_eq!(requests, 3, "{copies:?}");
    net.write(raw, wire::frame(&[message.as_slice(), b"\0REP\0"].concat()));
    net.run_for(MOMENT);
    assert_eq!(held(&net, server), 0);
    assert_eq!(net.node(server).metrics().acknowledged.messages, 1);
    assert_conserved(&net, server);
}

#[test]
fn many_messages_are_sent_again_in_their_order() {
    let (mut net, server) = server(at_least_once());
    let raw = peer(&mut net, 1);
    let messages: Vec<Vec<u8>> = (0..100_u8).map(|number| vec![number]).collect();
    for message in &messages {
        net.send(server, message.clone()).expect("there is room");
        net.run_for(Duration::from_millis(10));
    }
    net.run_for(Duration::from_millis(4_500));
    assert_eq!(requested(&net, raw)[100..], messages[..requested(&net, raw).len() - 100]);
    net.run_for(SECOND);
    assert_eq!(requested(&net, raw)[100..], messages[..]);
    assert_conserved(&net, server);
}

#[test]
fn a_copy_is_never_queued_beside_one_that_waits() {
    let (mut net, server) = server(at_least_once());
    let raw = stalled_peer(&mut net, 1, HELLO + 24);
    net.send(server, "job").expect("there is room");
    net.run_for(SECOND * 1_000);
    net.set_reading(raw, true);
    net.run_for(SECOND);
    assert_eq!(requested(&net, raw).len(), 2, "the original, and the one copy that waited");
    let waited = until_next(&mut net, raw);
    assert!(is_about(waited + SECOND, 10), "from when the copy was handed over: {waited:?}");
    assert_conserved(&net, server);
}

#[test]
fn a_message_that_was_not_handed_over_is_not_sent_again() {
    let (mut net, server) = server(at_least_once());
    let raw = stalled_peer(&mut net, 1, HELLO + 23);
    net.send(server, "job").expect("there is room");
    net.run_for(SECOND * 1_000);
    net.set_reading(raw, true);
    net.run_for(SECOND);
    assert_eq!(requested(&net, raw).len(), 1);
    assert_eq!(net.node(server).metrics().resent.messages, 0);
    assert_conserved(&net, server);
}

#[test]
fn a_message_acknowledged_while_its_copy_waits_is_not_written_again() {
    let (mut net, server) = server(at_least_once());
    let raw = stalled_peer(&mut net, 1, 100);
    net.set_reading(raw, true);
    net.send(server, "job").expect("there is room");
    net.run_for(MOMENT);
    let request = requests(&net, raw)[0].0;
    net.set_reading(raw, false);
    // The copy has to wait behind this one.
    net.send(server, vec![7; 1_000]).expect("there is room");
    net.run_for(SECOND * 6);
    net.write(raw, wire::ack(request));
    net.run_for(MOMENT);
    assert_eq!(held(&net, server), 1);
    net.set_reading(raw, true);
    net.run_for(MOMENT);
    assert_eq!(requested(&net, raw), [b"job".to_vec(), vec![7; 1_000]]);
    acknowledge_from(&mut net, raw, 1);
    assert_eq!(held(&net, server), 0);
    assert_conserved(&net, server);
}

/// A socket that has one message outstanding at a peer, and does not read that peer since its application takes nothing.
fn paused_sender() -> (Network, NodeId, RawId) {
    let (mut net, server) = server(at_least_once().receive_buffer(Limit::new(1, 1 << 20)));
    net.set_taking(server, Taking::Nothing);
    let raw = peer(&mut net, 1);
    net.send(server, "early").expect("there is room");
    net.run_for(SECOND * 2);
    net.write(raw, wire::data(b"x").repeat(2));
    net.run_for(MOMENT);
    assert!(net.unread_by_core(net.wire_to(server, id(1))) > 0, "it is not read");
    (net, server, raw)
}

#[test]
fn the_clock_stands_still_while_the_peer_is_not_read() {
    let (mut net, server, raw) = paused_sender();
    net.run_for(SECOND * 100);
    assert_eq!(requested(&net, raw).len(), 1);
    let hidden = |event: &Event| *event == Event::AcknowledgementsHidden { identity: id(1) };
    assert_eq!(net.events(server).iter().filter(|(_, event)| hidden(event)).count(), 1);
    net.take(server, 2);
    net.take(server, 2);
    let waited = until_next(&mut net, raw);
    assert!(is_about(waited, 3), "{waited:?}: two of the five seconds had passed");
    assert_conserved(&net, server);
}

#[test]
fn what_is_sent_while_the_peer_is_not_read_has_its_time_from_then_on() {
    let (mut net, server, raw) = paused_sender();
    net.run_for(SECOND * 100);
    net.send(server, "late").expect("there is room");
    net.run_for(SECOND * 10);
    net.take(server, 2);
    net.take(server, 2);
    let read_again = net.now();
    net.run_for(MOMENT * 2);
    net.send(server, "later").expect("there is room");
    net.run_for(MOMENT);
    let mut came = Vec::new();
    for _ in 0..3 {
        until_next(&mut net, raw);
        came.push(net.now().saturating_duration_since(read_again));
    }
    let payloads = requested(&net, raw);
    assert_eq!(payloads[..3], [&b"early"[..], b"late", b"later"]);
    assert_eq!(payloads[3..6], [&b"early"[..], b"late", b"later"]);
    assert!(is_about(came[0], 3) && is_about(came[1], 5) && is_about(came[2] - MOMENT * 2, 5), "{came:?}");
    assert_conserved(&net, server);
}

#[test]
fn an_acknowledgement_that_was_not_read_counts_when_it_is() {
    let (mut net, server, raw) = paused_sender();
    let request = requests(&net, raw)[0].0;
    net.write(raw, wire::ack(request));
    net.run_for(SECOND * 300);
    assert_eq!(held(&net, server), 1);
    net.take(server, 2);
    net.take(server, 2);
    net.run_for(SECOND * 100);
    assert_eq!((held(&net, server), requested(&net, raw).len()), (0, 1), "no copy was needed");
    assert_conserved(&net, server);
}

#[test]
fn after_so_many_attempts_a_message_is_given_up_and_that_is_told() {
    let attempts = NonZeroU32::new(3);
    let (mut net, server) = server(at_least_once().max_attempts(attempts));
    let raw = peer(&mut net, 1);
    let receipt = net
        .command(server, |socket, now| socket.send_with_receipt(now, None, "job".into()))
        .expect("there is room");
    net.run_for(SECOND * 34);
    assert_eq!((requested(&net, raw).len(), held(&net, server)), (3, 1));
    net.run_for(SECOND * 2);
    assert_eq!((requested(&net, raw).len(), held(&net, server)), (3, 0));
    let dropped = Usage { messages: 1, bytes: 3 };
    assert_eq!(net.node(server).metrics().dropped_expired, dropped);
    let told = net.events(server).last().map(|(_, event)| event.clone());
    assert_eq!(told, Some(Event::Expired { identity: id(1), dropped }));
    let receipts = net.command(server, |socket, _| socket.poll_receipt());
    assert_eq!(receipts, Some((receipt, aiomsg_proto::Receipt::Expired)));
    assert_conserved(&net, server);
    acknowledge_from(&mut net, raw, 0);
    assert_eq!(net.node(server).metrics().acknowledged.messages, 0, "too late");
    assert_conserved(&net, server);
}

#[test]
fn a_message_given_up_makes_room_for_the_next() {
    let config = at_least_once().max_attempts(NonZeroU32::new(1)).window(1);
    let (mut net, server) = server(config);
    let raw = peer(&mut net, 1);
    for number in 0..5_u8 {
        net.send(server, vec![number]).expect("there is room");
    }
    net.run_for(SECOND * 30);
    assert_eq!(requested(&net, raw), [[0], [1], [2], [3], [4]]);
    assert_eq!(net.node(server).metrics().dropped_expired.messages, 5);
    assert_conserved(&net, server);
}

#[test]
fn attempts_count_across_connections() {
    let config = at_least_once().max_attempts(NonZeroU32::new(3));
    let (mut net, server) = server(config);
    net.send(server, "job").expect("there is room");
    let mut got = 0;
    for _ in 0..10 {
        let raw = peer(&mut net, 1);
        got += requests(&net, raw).len();
        lose(&mut net, raw);
    }
    assert_eq!(got, 3, "handed over no more often than allowed");
    assert_eq!(net.node(server).metrics().dropped_expired.messages, 1);
    assert_conserved(&net, server);
}

#[test]
fn another_peer_is_not_judged_by_the_one_before() {
    let (mut net, server) = server(at_least_once());
    let first = peer(&mut net, 1);
    net.send(server, "job").expect("there is room");
    for _ in 0..3 {
        until_next(&mut net, first);
    }
    lose(&mut net, first);
    let second = peer(&mut net, 2);
    net.run_until("it has moved", SECOND, |net| requests(net, second).len() == 1);
    let waited = until_next(&mut net, second);
    assert!(is_about(waited, 5), "the first copy for the new peer came after {waited:?}");
}

#[test]
fn hidden_acknowledgements_are_told_once_until_all_is_taken() {
    let (mut net, server) = server(at_least_once().receive_buffer(Limit::new(16, 1 << 20)));
    net.set_taking(server, Taking::Nothing);
    let raw = peer(&mut net, 1);
    net.send(server, "job").expect("there is room");
    net.run_for(MOMENT);
    let told = |net: &Network| {
        let hidden = Event::AcknowledgementsHidden { identity: id(1) };
        net.events(server).iter().filter(|(_, event)| *event == hidden).count()
    };
    let fill = |net: &mut Network| {
        for _ in 0..100 {
            net.write(raw, wire::data(b"unread"));
        }
        net.run_for(MOMENT);
    };
    fill(&mut net);
    assert_eq!(told(&net), 1);
    // Reading goes on and stops again, while something is left all the time.
    for _ in 0..5 {
        net.take(server, 6);
        net.run_for(MOMENT);
    }
    assert_eq!(told(&net), 1);
    while !net.take(server, 1_000).is_empty() {
        net.run_for(MOMENT);
    }
    fill(&mut net);
    assert!(told(&net) > 1);
}
