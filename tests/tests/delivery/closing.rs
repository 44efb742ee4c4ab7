//! The end of a socket that awaits acknowledgements, or owes some.

use aiomsg_proto::{Acknowledge, CloseReport, Usage};
use aiomsg_tests::{Ended, Network, NodeId, RawId, Scene, Taking, numbered, wire};

use super::support::{
    MOMENT, SECOND, acknowledge_from, acknowledged, assert_conserved, at_least_once, id, lose, message_id,
    patient, peer, requests, server,
};

fn close(net: &mut Network, node: NodeId, seconds: u32) {
    net.command(node, |socket, now| socket.close(now, SECOND * seconds));
}

fn report(net: &Network, node: NodeId) -> Option<CloseReport> {
    net.node(node).close_report()
}

/// A socket with this many messages outstanding at a peer.
fn outstanding(count: usize) -> (Network, NodeId, RawId) {
    let (mut net, server) = server(at_least_once());
    let raw = peer(&mut net, 1);
    for message in numbered(count) {
        net.send(server, message).expect("there is room");
    }
    net.run_for(MOMENT);
    (net, server, raw)
}

#[test]
fn closing_waits_for_acknowledgements_and_no_longer() {
    let (mut net, server, raw) = outstanding(10);
    close(&mut net, server, 10);
    net.run_for(SECOND * 3);
    assert_eq!(report(&net, server), None);
    acknowledge_from(&mut net, raw, 0);
    assert_eq!(net.ended(raw), Some(Ended::Finished), "it has nothing to wait for any more");
    net.close(raw);
    net.run_for(MOMENT);
    let report = report(&net, server).expect("it is closed");
    assert_eq!((report.handed_over.messages, report.dropped.messages), (10, 0));
    assert_conserved(&net, server);
}

#[test]
fn closing_gives_up_when_its_time_is_over_and_says_so() {
    let (mut net, server, raw) = outstanding(10);
    close(&mut net, server, 10);
    for (request, _) in requests(&net, raw).into_iter().take(4) {
        net.write(raw, wire::ack(request));
    }
    let waited = net.run_until("it is closed", SECOND * 20, |net| report(net, server).is_some());
    assert!(waited >= SECOND * 10 && waited <= SECOND * 11 + MOMENT, "{waited:?}");
    let report = report(&net, server).expect("it is closed");
    assert_eq!((report.handed_over.messages, report.dropped.messages), (4, 6));
    assert_eq!(net.node(server).metrics().dropped_at_close, report.dropped);
    assert_conserved(&net, server);
}

#[test]
fn an_acknowledgement_that_comes_while_connections_end_still_counts() {
    let (mut net, server, raw) = outstanding(3);
    close(&mut net, server, 1);
    net.run_for(SECOND + MOMENT);
    assert_eq!(report(&net, server), None, "its connections are ending");
    acknowledge_from(&mut net, raw, 0);
    net.close(raw);
    net.run_for(SECOND);
    let report = report(&net, server).expect("it is closed");
    assert_eq!((report.handed_over.messages, report.dropped.messages), (3, 0));
    assert_conserved(&net, server);
}

#[test]
fn while_closing_messages_are_sent_again_and_elsewhere() {
    let (mut net, server, raw) = outstanding(3);
    close(&mut net, server, 10);
    net.run_for(SECOND * 6);
    assert_eq!(requests(&net, raw).len(), 6);
    let other = peer(&mut net, 2);
    lose(&mut net, raw);
    acknowledge_from(&mut net, other, 0);
    net.close(other);
    net.run_for(SECOND);
    let report = report(&net, server).expect("it is closed");
    assert_eq!((report.handed_over.messages, report.dropped.messages), (3, 0));
    assert_conserved(&net, server);
}

#[test]
fn what_expires_while_closing_is_reported_as_dropped() {
    let (mut net, server) = server(at_least_once().max_attempts(core::num::NonZeroU32::new(1)));
    let raw = peer(&mut net, 1);
    for message in numbered(5) {
        net.send(server, message).expect("there is room");
    }
    net.run_for(MOMENT);
    close(&mut net, server, 60);
    net.write(raw, wire::ack(requests(&net, raw)[2].0));
    let waited = net.run_until("it ends", SECOND * 10, |net| net.ended(raw).is_some());
    assert!(waited < SECOND * 6, "{waited:?}");
    net.close(raw);
    net.run_for(MOMENT);
    let report = report(&net, server).expect("it is closed");
    assert_eq!((report.handed_over.messages, report.dropped.messages), (1, 4));
    assert_eq!(net.node(server).metrics().dropped_expired.messages, 4);
    assert_conserved(&net, server);
}

#[test]
fn with_nobody_there_closing_takes_its_time_and_no_more() {
    let (mut net, server) = server(at_least_once());
    net.send(server, "job").expect("there is room");
    close(&mut net, server, 10);
    let waited = net.run_until("it is closed", SECOND * 20, |net| report(net, server).is_some());
    assert!(waited >= SECOND * 10 && waited <= SECOND * 11, "{waited:?}");
    assert_eq!(report(&net, server).expect("it is closed").dropped, Usage { messages: 1, bytes: 3 });
    assert_conserved(&net, server);
}

#[test]
fn what_becomes_undeliverable_while_closing_is_reported_as_dropped() {
    let (mut net, server, raw) = outstanding(0);
    net.send_to(server, id(1), "for one").expect("there is room");
    lose(&mut net, raw);
    net.run_for(SECOND * 57);
    close(&mut net, server, 10);
    net.run_for(SECOND * 12);
    let report = report(&net, server).expect("it is closed");
    assert_eq!((report.handed_over.messages, report.dropped.messages), (0, 1));
    assert_eq!(net.node(server).metrics().dropped_undeliverable.messages, 1);
    assert_conserved(&net, server);
}

#[test]
fn closing_ends_early_when_all_that_is_left_is_given_up() {
    let (mut net, server, raw) = outstanding(0);
    net.send_to(server, id(1), "for one").expect("there is room");
    lose(&mut net, raw);
    net.run_for(SECOND * 57);
    close(&mut net, server, 100);
    net.run_for(SECOND * 5);
    assert!(report(&net, server).is_some(), "there is nothing to wait for");
    assert_conserved(&net, server);
}

#[test]
fn closing_reads_acknowledgements_behind_messages_that_nobody_takes() {
    let config = at_least_once().receive_buffer(aiomsg_proto::Limit::new(2, 1 << 20));
    let (mut net, server) = server(config);
    net.set_taking(server, Taking::Nothing);
    let raw = peer(&mut net, 1);
    net.send(server, "job").expect("there is room");
    net.run_for(MOMENT);
    net.write(raw, wire::data(b"x").repeat(100));
    acknowledge_from(&mut net, raw, 0);
    assert_eq!(report(&net, server), None);
    close(&mut net, server, 10);
    net.run_for(MOMENT);
    net.close(raw);
    net.run_for(MOMENT);
    let report = report(&net, server).expect("it is closed");
    assert_eq!((report.handed_over.messages, report.dropped.messages), (1, 0));
    assert_conserved(&net, server);
}

#[test]
fn acknowledgements_that_are_due_are_written_before_the_end() {
    let (mut net, server) = server(patient());
    net.set_taking(server, Taking::Nothing);
    let raw = peer(&mut net, 1);
    for number in 0..10 {
        net.write(raw, wire::data_req(message_id(number), b"job"));
    }
    net.run_for(MOMENT);
    net.take(server, 7);
    close(&mut net, server, 10);
    net.run_for(SECOND * 2);
    assert_eq!(acknowledged(&net, raw).len(), 7, "what was taken, and nothing else");
}

#[test]
fn while_closing_nothing_is_acknowledged_that_nobody_takes() {
    let (mut net, server) = server(patient());
    net.set_taking(server, Taking::Nothing);
    let raw = peer(&mut net, 1);
    net.write(raw, wire::data_req(message_id(1), b"job"));
    net.run_for(MOMENT);
    let other = peer(&mut net, 2);
    lose(&mut net, other);
    net.send_to(server, id(2), "keeps it from closing").expect("there is room");
    close(&mut net, server, 10);
    net.write(raw, wire::data_req(message_id(2), b"job"));
    net.run_for(SECOND * 9);
    assert_eq!(report(&net, server), None);
    assert!(acknowledged(&net, raw).is_empty(), "the sender keeps it for somebody who takes it");
}

#[test]
fn a_sender_gives_what_a_closing_receiver_had_to_another() {
    let (mut net, server) = server(at_least_once());
    let workers: Vec<NodeId> = (0..2)
        .map(|_| {
            let worker = net.socket(patient().acknowledge(Acknowledge::default()));
            net.set_taking(worker, Taking::Nothing);
            net.dial(worker, Scene::ADDRESS);
            worker
        })
        .collect();
    net.run_for(SECOND);
    let messages = numbered(100);
    for message in &messages {
        net.send(server, message.clone()).expect("there is room");
    }
    net.run_for(SECOND);
    let mut done: Vec<_> = net.take(workers[0], 10).into_iter().map(|message| message.payload).collect();
    net.run_for(MOMENT);
    close(&mut net, workers[0], 10);
    net.set_taking(workers[1], Taking::All);
    net.run_for(SECOND * 5);
    done.extend(net.payloads(workers[1]));
    done.sort_unstable();
    let mut expected = messages;
    expected.sort_unstable();
    assert_eq!(done, expected, "each once");
    assert_conserved(&net, server);
}
