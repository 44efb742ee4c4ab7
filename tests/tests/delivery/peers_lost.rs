//! A connection ends: who gets what was not acknowledged, and whose acknowledgement still counts.

use aiomsg_proto::{CloseReason, Config, Event, Receipt, Usage};
use aiomsg_tests::{Network, Scene, departures, numbered, wire};

use super::support::{
    HELLO, MOMENT, SECOND, acknowledge_from, assert_conserved, at_least_once, held, id, lose, peer,
    requested, requests, server, stalled_peer,
};

#[test]
fn what_a_lost_peer_has_not_acknowledged_goes_to_another_at_once_and_in_order() {
    let (mut net, server) = server(at_least_once());
    let lost = peer(&mut net, 1);
    let messages = numbered(100);
    for message in &messages {
        net.send(server, message.clone()).expect("there is room");
    }
    net.run_for(MOMENT);
    for (request, _) in requests(&net, lost).into_iter().skip(10).take(10) {
        net.write(lost, wire::ack(request));
    }
    net.run_for(MOMENT);
    let ids = requests(&net, lost);
    let other = peer(&mut net, 2);
    assert!(requests(&net, other).is_empty(), "they belong to the first");
    lose(&mut net, lost);
    let expected: Vec<_> = [&ids[..10], &ids[20..]].concat();
    assert_eq!(requests(&net, other), expected, "under the same ids");
    assert_eq!(net.node(server).metrics().resent.messages, 90);
    acknowledge_from(&mut net, other, 0);
    assert_eq!(held(&net, server), 0);
    assert_conserved(&net, server);
}

#[test]
fn what_was_handed_over_goes_before_what_waited() {
    let (mut net, server) = server(at_least_once());
    let lost = stalled_peer(&mut net, 1, HELLO + 300);
    let messages = numbered(50);
    for message in &messages {
        net.send(server, message.clone()).expect("there is room");
    }
    net.run_for(MOMENT);
    lose(&mut net, lost);
    let other = peer(&mut net, 2);
    assert_eq!(requested(&net, other), messages);
    assert_conserved(&net, server);
}

#[test]
fn a_message_to_one_identity_waits_for_its_return() {
    let (mut net, server) = server(at_least_once());
    let (raw, other) = (peer(&mut net, 1), peer(&mut net, 2));
    let messages = numbered(30);
    for message in &messages[..20] {
        net.send_to(server, id(1), message.clone()).expect("there is room");
    }
    net.run_for(MOMENT);
    let ids = requests(&net, raw);
    lose(&mut net, raw);
    for message in &messages[20..] {
        net.send_to(server, id(1), message.clone()).expect("there is room");
    }
    net.run_for(SECOND * 59);
    let back = peer(&mut net, 1);
    assert_eq!(requested(&net, back), messages);
    assert_eq!(requests(&net, back)[..20], ids, "under the same ids");
    assert!(requests(&net, other).is_empty());
    acknowledge_from(&mut net, back, 0);
    assert_eq!(held(&net, server), 0);
    assert_conserved(&net, server);
}

#[test]
fn an_identity_that_does_not_return_loses_its_messages_and_that_is_told() {
    let (mut net, server) = server(at_least_once());
    let raw = peer(&mut net, 1);
    let receipt = net
        .command(server, |socket, now| socket.send_with_receipt(now, Some(id(1)), "job".into()))
        .expect("there is room");
    net.send_to(server, id(1), "two").expect("there is room");
    net.run_for(MOMENT);
    lose(&mut net, raw);
    net.run_for(SECOND * 61);
    let dropped = Usage { messages: 2, bytes: 6 };
    assert_eq!(net.node(server).metrics().dropped_undeliverable, dropped);
    assert!(
        net.events(server)
            .iter()
            .any(|(_, event)| *event == Event::Undeliverable { identity: id(1), dropped })
    );
    let told = net.command(server, |socket, _| socket.poll_receipt());
    assert_eq!(told, Some((receipt, Receipt::Expired)));
    assert_eq!(held(&net, server), 0);
    assert_conserved(&net, server);
}

#[test]
fn an_acknowledgement_counts_only_from_the_peer_that_has_the_message() {
    let (mut net, server) = server(at_least_once());
    let (raw, forger) = (peer(&mut net, 1), peer(&mut net, 2));
    net.send_to(server, id(1), "job").expect("there is room");
    net.run_for(MOMENT);
    let request = requests(&net, raw)[0].0;
    net.write(forger, wire::ack(request));
    for number in 0..=255_u8 {
        let mut guess = request;
        guess[15] = number;
        net.write(forger, wire::ack(guess));
        guess[0] ^= 1;
        net.write(forger, wire::ack(guess));
        net.write(raw, wire::ack(guess));
    }
    net.run_for(MOMENT);
    assert_eq!(held(&net, server), 1);
    assert_conserved(&net, server);
    acknowledge_from(&mut net, raw, 0);
    assert_eq!(held(&net, server), 0);
    acknowledge_from(&mut net, raw, 0);
    assert_eq!(net.node(server).metrics().acknowledged.messages, 1);
    assert_conserved(&net, server);
}

#[test]
fn a_late_acknowledgement_of_the_former_owner_does_not_count() {
    let (mut net, server) = server(at_least_once());
    let former = peer(&mut net, 1);
    net.send(server, "job").expect("there is room");
    net.run_for(MOMENT);
    let request = requests(&net, former)[0].0;
    let owner = peer(&mut net, 2);
    lose(&mut net, former);
    assert_eq!(requests(&net, owner).len(), 1);
    let back = peer(&mut net, 1);
    net.write(back, wire::ack(request));
    net.run_for(MOMENT);
    assert_eq!(held(&net, server), 1);
    acknowledge_from(&mut net, owner, 0);
    assert_eq!(held(&net, server), 0);
    assert_conserved(&net, server);
}

#[test]
fn the_last_owner_may_acknowledge_on_its_next_connection() {
    // A window of one: what else it had waits, unrouted, when it is back.
    let (mut net, server) = server(at_least_once().window(2));
    let raw = peer(&mut net, 1);
    for number in 0..2_u8 {
        net.send(server, vec![number]).expect("there is room");
    }
    net.run_for(MOMENT);
    let ids = requests(&net, raw);
    lose(&mut net, raw);
    let back = stalled_peer(&mut net, 1, HELLO + 3);
    net.write(back, wire::ack(ids[1].0));
    net.write(back, wire::ack(ids[0].0));
    net.run_for(MOMENT);
    assert_eq!(held(&net, server), 0);
    net.set_reading(back, true);
    net.run_for(SECOND * 100);
    assert!(requests(&net, back).len() <= 2);
    for number in 0..5_u8 {
        net.send(server, vec![number]).expect("there is room");
        net.run_for(MOMENT);
    }
    assert!(requests(&net, back).len() >= 2, "its window is free again");
    assert_conserved(&net, server);
}

#[test]
fn with_a_single_peer_the_order_is_kept_across_connections() {
    let (mut net, server) = server(at_least_once());
    let messages = numbered(300);
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for part in messages.chunks(30) {
        let raw = peer(&mut net, 1);
        for message in part {
            net.send(server, message.clone()).expect("there is room");
        }
        net.run_for(MOMENT);
        for (request, payload) in requests(&net, raw).into_iter().take(20) {
            seen.push(payload);
            net.write(raw, wire::ack(request));
        }
        net.run_for(MOMENT);
        lose(&mut net, raw);
    }
    let last = peer(&mut net, 1);
    seen.extend(requested(&net, last));
    assert_eq!(seen, messages);
    assert_conserved(&net, server);
}

#[test]
fn a_peer_that_is_disconnected_may_acknowledge_until_it_is_gone() {
    let (mut net, server) = server(at_least_once());
    let raw = peer(&mut net, 1);
    net.send(server, "one").expect("there is room");
    net.run_for(MOMENT);
    net.command(server, |socket, now| socket.disconnect(now, id(1)));
    acknowledge_from(&mut net, raw, 0);
    assert_eq!(held(&net, server), 0);
    net.run_for(SECOND * 2);
    let other = peer(&mut net, 2);
    assert!(requests(&net, other).is_empty());
    assert_conserved(&net, server);
}

#[test]
fn a_peer_that_falls_silent_loses_its_messages_to_another() {
    let config = Config::default().delivery(aiomsg_proto::DeliveryGuarantee::AtLeastOnce);
    let (mut net, server) = server(config.clone());
    let workers = [net.socket(config.clone()), net.socket(config)];
    net.dial(workers[0], Scene::ADDRESS);
    net.run_for(SECOND);
    net.blackhole(net.wires(server)[0]);
    for message in numbered(10) {
        net.send(server, message).expect("there is room");
    }
    net.dial(workers[1], Scene::ADDRESS);
    let waited = net.run_until("the other has all", SECOND * 30, |net| net.received(workers[1]).len() == 10);
    assert!(waited < SECOND * 16, "{waited:?}");
    net.run_for(SECOND);
    assert_eq!(held(&net, server), 0);
    assert_conserved(&net, server);
}

/// What `Config::max_message` warns of: the limits of both ends have to be the same.
#[test]
fn a_message_above_the_limit_of_its_receiver_comes_again_and_again_and_holds_up_what_is_behind_it() {
    let (mut net, server) = server(at_least_once());
    let receiver = net.socket(Config::default().max_message(1_000));
    net.dial(receiver, Scene::ADDRESS);
    net.run_for(MOMENT);
    let too_long = |net: &Network| {
        let reasons = departures(net, receiver);
        reasons.iter().filter(|reason| matches!(reason, CloseReason::FrameTooLong(_))).count()
    };
    for payload in [vec![1; 1_000], vec![2; 1_001], vec![3; 10]] {
        net.send(server, payload).expect("there is room");
    }
    net.run_until("the connection has ended often", SECOND * 1_000, |net| too_long(net) > 10);
    assert_eq!(net.payloads(receiver), [vec![1; 1_000]]);
    assert!(held(&net, server) >= 2, "nor does what is behind it get through");
    assert_conserved(&net, server);
    // Another one may have them.
    let larger = net.socket(Config::default());
    net.dial(larger, Scene::ADDRESS);
    net.run_until("both arrive", SECOND * 1_000, |net| held(net, server) == 0);
    assert_eq!(too_long(&net), departures(&net, receiver).len());
    assert_conserved(&net, server);
}
