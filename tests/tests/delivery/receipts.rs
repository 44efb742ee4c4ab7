//! What senders learn of their messages.

use aiomsg_proto::{DeliveryGuarantee, Limit, Ready, Receipt, SendError, SendMode};
use aiomsg_tests::{Network, numbered, wire};
use bytes::Bytes;

use super::support::{
    MOMENT, SECOND, acknowledge_from, assert_conserved, at_least_once, held, id, patient, peer, requests,
    server,
};

#[test]
fn publishing_at_least_once_is_refused_and_sending_to_one_identity_is_not() {
    let (mut net, server) = server(at_least_once().send_mode(SendMode::Publish));
    let raw = peer(&mut net, 1);
    let refused = net.send(server, "news");
    assert_eq!(refused, Err(SendError::PublishAtLeastOnce(Bytes::from_static(b"news"))));
    net.send_to(server, id(1), "for you").expect("it has one recipient");
    net.run_for(SECOND * 6);
    assert_eq!(requests(&net, raw).len(), 2, "it is sent again");
    acknowledge_from(&mut net, raw, 0);
    assert_eq!(held(&net, server), 0);
    assert_conserved(&net, server);
}

#[test]
fn a_receipt_for_a_published_message_is_refused_whatever_is_held() {
    let config = patient().send_mode(SendMode::Publish).send_buffer(Limit::new(1, 1 << 20));
    let (mut net, server) = server(config);
    net.send(server, "waits").expect("there is room");
    let refused = net.command(server, |socket, now| socket.send_with_receipt(now, None, "news".into()));
    assert_eq!(refused, Err(SendError::PublishAtLeastOnce(Bytes::from_static(b"news"))));
}

#[test]
fn a_direct_message_of_a_publisher_is_not_lost_behind_what_is_published() {
    let (mut net, server) = server(patient().send_mode(SendMode::Publish).window(1));
    let raw = peer(&mut net, 1);
    net.set_reading(raw, false);
    for number in 0..100 {
        net.send(server, vec![7; 2_000]).expect("there is room");
        if number % 10 == 0 {
            net.command(server, |socket, now| {
                socket.send_with_receipt(now, Some(id(1)), format!("direct {number}").into())
            })
            .expect("there is room");
        }
    }
    net.set_reading(raw, true);
    let mut done = 0;
    for _ in 0..20 {
        net.run_for(MOMENT);
        let got = requests(&net, raw).len();
        acknowledge_from(&mut net, raw, done);
        done = got;
    }
    let payloads: Vec<_> = requests(&net, raw).into_iter().map(|(_, payload)| payload).collect();
    let expected: Vec<_> = (0..10).map(|number| format!("direct {}", number * 10).into_bytes()).collect();
    assert_eq!(payloads, expected);
    assert_eq!(held(&net, server), 0);
}

#[test]
fn a_receipt_says_who_has_acknowledged() {
    for delivery in [DeliveryGuarantee::AtMostOnce, DeliveryGuarantee::AtLeastOnce] {
        let (mut net, server) = server(patient().delivery(delivery));
        let raws = [peer(&mut net, 1), peer(&mut net, 2)];
        let receipts: Vec<_> = numbered(4)
            .into_iter()
            .map(|payload| {
                net.command(server, |socket, now| socket.send_with_receipt(now, None, payload))
                    .expect("there is room")
            })
            .collect();
        net.run_for(MOMENT);
        assert_eq!(net.command(server, |socket, _| socket.poll_receipt()), None);
        for raw in raws {
            acknowledge_from(&mut net, raw, 0);
        }
        let told = net.announced(server).iter().filter(|(_, ready)| *ready == Ready::Receipt).count();
        assert!(told > 0);
        let mut known = Vec::new();
        while let Some(receipt) = net.command(server, |socket, _| socket.poll_receipt()) {
            known.push(receipt);
        }
        let by = |number| Receipt::Acknowledged { by: id(number) };
        let expected =
            [(receipts[0], by(1)), (receipts[2], by(1)), (receipts[1], by(2)), (receipts[3], by(2))];
        assert_eq!(known, expected);
        assert_conserved(&net, server);
    }
}

#[test]
fn receipts_that_nobody_asks_for_fill_the_send_buffer_and_nothing_else() {
    let (mut net, server) = server(patient().send_buffer(Limit::new(3, 1 << 20)));
    let raw = peer(&mut net, 1);
    let with_receipt = |net: &mut Network| {
        net.command(server, |socket, now| socket.send_with_receipt(now, None, "job".into()))
    };
    for round in 0..3 {
        with_receipt(&mut net).expect("there is room");
        net.run_for(MOMENT);
        acknowledge_from(&mut net, raw, round);
    }
    assert_eq!(held(&net, server), 0, "all are acknowledged");
    net.send(server, "plain").expect("one without a receipt is not concerned");
    net.run_for(MOMENT);
    assert_eq!(with_receipt(&mut net), Err(SendError::Full("job".into())));
    let room =
        |net: &Network| net.announced(server).iter().filter(|(_, ready)| *ready == Ready::Room).count();
    let before = room(&net);
    assert!(net.command(server, |socket, _| socket.poll_receipt()).is_some());
    assert_eq!(room(&net), before + 1, "what was asked for leaves room, which is told");
    assert_eq!(with_receipt(&mut net).map(drop), Ok(()));
    assert_eq!(with_receipt(&mut net), Err(SendError::Full("job".into())));
}

#[test]
fn every_receipt_is_announced_whether_the_last_was_asked_for_or_not() {
    let (mut net, server) = server(at_least_once());
    let raw = peer(&mut net, 1);
    for round in 0..5 {
        let sent = net
            .command(server, |socket, now| socket.send_with_receipt(now, None, "job".into()))
            .expect("there is room");
        net.run_for(MOMENT);
        acknowledge_from(&mut net, raw, round);
        let told = net.announced(server).iter().filter(|(_, ready)| *ready == Ready::Receipt).count();
        assert_eq!(told, round + 1);
        let known = net.command(server, |socket, _| socket.poll_receipt());
        assert_eq!(known.map(|(receipt, _)| receipt), Some(sent));
    }
}

#[test]
fn the_end_of_the_socket_ends_all_receipts() {
    let (mut net, server) = server(at_least_once());
    let raw = peer(&mut net, 1);
    let receipt = net
        .command(server, |socket, now| socket.send_with_receipt(now, None, "job".into()))
        .expect("there is room");
    net.run_for(MOMENT);
    net.command(server, |socket, now| socket.close(now, SECOND));
    net.run_for(SECOND * 3);
    assert_eq!(net.command(server, |socket, _| socket.poll_receipt()), Some((receipt, Receipt::Closed)));
    assert_eq!(net.node(server).close_report().expect("it is closed").dropped.messages, 1);
    net.write(raw, wire::ack([0; 16]));
    assert_conserved(&net, server);
}
