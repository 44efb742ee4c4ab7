//! Sockets that only send, and payloads that a classic peer would take for something else.

use aiomsg_proto::{Event, Limit, Receive};
use aiomsg_tests::{Chunking, RawId, numbered, wire};

use super::support::{
    MOMENT, SECOND, acknowledge_from, acknowledged, assert_conserved, at_least_once, classic_peer, held, id,
    message_id, patient, peer, requests, server,
};

#[test]
fn what_arrives_is_counted_and_never_acknowledged_and_acknowledgements_are_read() {
    let config = at_least_once().receive(Receive::Discard).receive_buffer(Limit::new(1, 1));
    let (mut net, server) = server(config);
    let raw = peer(&mut net, 1);
    for (number, message) in numbered(500).into_iter().enumerate() {
        net.write(raw, wire::data(b"answer"));
        net.write(raw, wire::data_req(message_id(number), b"request"));
        net.send(server, message).expect("there is room");
        net.run_for(MOMENT / 50);
    }
    net.run_for(MOMENT);
    assert_eq!(requests(&net, raw).len(), 500);
    acknowledge_from(&mut net, raw, 0);
    let metrics = net.node(server).metrics();
    assert_eq!((held(&net, server), metrics.acknowledged.messages), (0, 500));
    assert_eq!((metrics.discarded.messages, metrics.received.messages), (1_000, 1_000));
    assert_eq!(metrics.receive_held.messages, 0);
    assert!(acknowledged(&net, raw).is_empty());
    assert!(net.take(server, 10).is_empty());
    let hidden = |event: &Event| matches!(event, Event::AcknowledgementsHidden { .. });
    assert!(!net.events(server).iter().any(|(_, event)| hidden(event)));
    assert_conserved(&net, server);
}

#[test]
fn a_large_message_that_nobody_takes_passes_through() {
    let config = patient().receive(Receive::Discard).receive_buffer(Limit::new(1, 100));
    let (mut net, server) = server(config);
    let raw = peer(&mut net, 1);
    net.write(raw, wire::data(&vec![7; 1_000_000]));
    net.write(raw, wire::data(b"x"));
    net.run_for(SECOND * 5);
    assert_eq!(net.node(server).metrics().discarded.messages, 2);
}

/// Room for them cannot be waited for, since acknowledgements are behind them.
#[test]
fn large_messages_that_nobody_takes_are_dropped_as_they_come() {
    const MESSAGE: usize = 3 << 20;
    let payload = vec![7; MESSAGE];
    // Each with the messages, their bytes, and the frames to be skipped that it is.
    let forms = [
        (wire::data(&payload), [1, MESSAGE, 0]),
        (wire::data_req([9; 16], &payload), [1, MESSAGE, 0]),
        (wire::frame(&payload), [0, 0, 1]),
        ([wire::data(&payload), wire::data(&[7; 95])].concat(), [2, MESSAGE + 95, 0]),
    ];
    for (closes, (all, each)) in
        [false, true].into_iter().flat_map(|closes| forms.iter().map(move |form| (closes, form)))
    {
        let receive = if closes { Receive::Keep } else { Receive::Discard };
        let config = at_least_once().receive(receive).receive_buffer(Limit::new(1_000, 1 << 20));
        let (mut net, server) = server(config);
        net.set_chunking(Chunking::Whole);
        let peers: Vec<RawId> = (1..=20).map(|number| peer(&mut net, number)).collect();
        net.send(server, "it stays until this is acknowledged").expect("there is room");
        net.run_for(MOMENT);
        if closes {
            net.command(server, |socket, now| socket.close(now, SECOND * 100));
        }
        let (most, rest) = all.split_at(all.len() - 101);
        for raw in &peers {
            net.write(*raw, most);
        }
        net.run_for(MOMENT);
        let buffered: usize = peers.iter().map(|raw| net.unread_by_core(net.wire_of_raw(*raw))).sum();
        assert!(buffered <= peers.len() * 100, "{buffered} bytes of messages that nobody takes are held");
        assert_eq!(net.node(server).metrics().received.messages, 0, "none is here to its end");
        for raw in &peers {
            net.write(*raw, rest);
        }
        net.run_for(MOMENT);
        let metrics = net.node(server).metrics();
        assert_eq!(metrics.received, metrics.discarded);
        let counted = (metrics.discarded.messages, metrics.discarded.bytes, metrics.skipped_frames as usize);
        assert_eq!(counted, each.map(|count| count * peers.len()).into());
        acknowledge_from(&mut net, peers[0], 0);
        assert_eq!(held(&net, server), 0, "what is behind is read");
    }
}

fn ambiguous() -> Vec<Vec<u8>> {
    let header = |mark: &[u8], body: &[u8]| [&[9; 16], mark, body].concat();
    vec![
        Vec::new(),
        wire::CLASSIC_HEARTBEAT.to_vec(),
        header(b"\0REQ\0", b"body"),
        header(b"\0REP\0", b""),
        header(b"\0REP\0", b"body"),
        b"plain".to_vec(),
    ]
}

/// Answers all requests of a classic peer, as it does.
fn answer(net: &mut aiomsg_tests::Network, raw: RawId) -> usize {
    let frames = wire::frames(net.bytes(raw));
    let mut answers = 0;
    for frame in frames.iter().skip(1) {
        if let wire::Classic::Requested(message, _) = wire::classic(frame) {
            net.write(raw, wire::frame(&[message.as_slice(), b"\0REP\0"].concat()));
            answers += 1;
        }
    }
    net.run_for(MOMENT);
    answers
}

#[test]
fn an_ambiguous_payload_to_a_classic_peer_is_a_request_whose_answer_is_swallowed() {
    let (mut net, server) = server(patient());
    let raw = classic_peer(&mut net, 1);
    for payload in ambiguous() {
        net.send(server, payload).expect("there is room");
    }
    net.run_for(MOMENT);
    assert_eq!(wire::classic_payloads(net.bytes(raw)), ambiguous());
    assert_eq!(answer(&mut net, raw), 5);
    let metrics = net.node(server).metrics();
    assert!(net.payloads(server).is_empty(), "the answers are no messages");
    assert_eq!((metrics.handed_over.messages, metrics.acknowledged.messages), (6, 0));
    net.run_for(SECOND * 100);
    let frames = wire::frames(net.bytes(raw));
    let copies = frames.iter().filter(|frame| frame.ends_with(b"\0REP\0body")).count();
    assert_eq!(copies, 1, "nothing is sent again");
    assert_conserved(&net, server);
}

#[test]
fn ambiguous_payloads_arrive_at_least_once_too() {
    let (mut net, server) = server(at_least_once());
    let raw = classic_peer(&mut net, 1);
    for payload in ambiguous() {
        net.send(server, payload).expect("there is room");
    }
    net.run_for(MOMENT);
    assert_eq!(wire::classic_payloads(net.bytes(raw)), ambiguous());
    assert_eq!(answer(&mut net, raw), 6);
    assert_eq!(held(&net, server), 0);
    assert_conserved(&net, server);
}

#[test]
fn a_mixed_fleet_is_served_in_both_dialects() {
    let (mut net, server) = server(at_least_once());
    let (classic, modern) = (classic_peer(&mut net, 1), peer(&mut net, 2));
    for message in numbered(100) {
        net.send(server, message).expect("there is room");
    }
    net.run_for(MOMENT);
    assert_eq!(answer(&mut net, classic), 50);
    acknowledge_from(&mut net, modern, 0);
    assert_eq!(held(&net, server), 0);
    let known: Vec<_> = net.node(server).peers().iter().map(|peer| peer.identity).collect();
    assert_eq!(known, [id(1), id(2)]);
    assert_conserved(&net, server);
}

#[test]
fn a_classic_owner_that_is_lost_leaves_its_messages_to_a_modern_one() {
    let (mut net, server) = server(at_least_once());
    let classic = classic_peer(&mut net, 1);
    for payload in ambiguous() {
        net.send(server, payload).expect("there is room");
    }
    net.run_for(MOMENT);
    let frames = wire::frames(net.bytes(classic));
    let ids: Vec<Vec<u8>> = frames[1..].iter().map(|frame| frame[..16].to_vec()).collect();
    super::support::lose(&mut net, classic);
    let modern = peer(&mut net, 2);
    let (again, payloads): (Vec<Vec<u8>>, Vec<Vec<u8>>) =
        requests(&net, modern).into_iter().map(|(id, payload)| (id.to_vec(), payload)).unzip();
    assert_eq!((again, payloads), (ids, ambiguous()));
    acknowledge_from(&mut net, modern, 0);
    assert_eq!(held(&net, server), 0);
    assert_conserved(&net, server);
}
