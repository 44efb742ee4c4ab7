//! How many unacknowledged messages one peer may have.

use aiomsg_proto::{Ready, SendError};
use aiomsg_tests::{Chunking, numbered, wire};

use super::support::{
    MOMENT, SECOND, acknowledge_from, assert_conserved, at_least_once, held, id, lose, patient, peer,
    requested, requests, server,
};

#[test]
fn at_most_4096_messages_are_unacknowledged_at_one_peer() {
    let (mut net, server) = server(at_least_once());
    net.set_chunking(Chunking::Whole);
    let raw = peer(&mut net, 1);
    let messages = numbered(10_000);
    for message in &messages {
        net.send(server, message.clone()).expect("there is room");
    }
    net.run_for(MOMENT);
    assert_eq!(requests(&net, raw).len(), 4_096);
    let other = peer(&mut net, 2);
    assert_eq!(requested(&net, other), messages[4_096..8_192]);
    net.write(raw, wire::ack(requests(&net, raw)[7].0));
    net.run_for(MOMENT);
    assert_eq!(requested(&net, raw)[4_096..], messages[8_192..8_193], "one more for each acknowledged");
    assert_conserved(&net, server);
}

#[test]
fn a_window_of_one_makes_a_fair_queue() {
    let (mut net, server) = server(at_least_once().window(1));
    let (slow, fast) = (peer(&mut net, 1), peer(&mut net, 2));
    for message in numbered(50) {
        net.send(server, message).expect("there is room");
    }
    net.run_for(MOMENT);
    for round in 0..48 {
        assert_eq!(requests(&net, fast).len(), round + 1);
        acknowledge_from(&mut net, fast, round);
    }
    assert_eq!(requests(&net, slow).len(), 1);
    acknowledge_from(&mut net, slow, 0);
    acknowledge_from(&mut net, fast, 48);
    acknowledge_from(&mut net, slow, 1);
    assert_eq!(held(&net, server), 0);
    assert_conserved(&net, server);
}

#[test]
fn a_window_of_one_survives_the_loss_of_workers() {
    let (mut net, server) = server(at_least_once().window(1));
    let messages = numbered(40);
    for message in &messages {
        net.send(server, message.clone()).expect("there is room");
    }
    let mut done = Vec::new();
    let mut round = 0;
    while held(&net, server) > 0 {
        round += 1;
        assert!(round < 100, "{} of 40 done", done.len());
        let (lost, worker) = (peer(&mut net, 1), peer(&mut net, 2));
        if round % 2 == 0 {
            lose(&mut net, lost);
        }
        if let Some((request, payload)) = requests(&net, worker).last() {
            net.write(worker, wire::ack(*request));
            done.push(payload.clone());
        }
        net.run_for(MOMENT);
        lose(&mut net, lost);
        lose(&mut net, worker);
        assert_conserved(&net, server);
    }
    done.sort_unstable();
    let mut expected = messages;
    expected.sort_unstable();
    assert_eq!(done, expected, "each is done once");
}

#[test]
fn messages_to_one_identity_keep_to_the_window_and_to_their_order() {
    let (mut net, server) = server(at_least_once().window(3));
    let raw = peer(&mut net, 1);
    let messages = numbered(20);
    for message in &messages {
        net.send_to(server, id(1), message.clone()).expect("there is room");
    }
    net.run_for(MOMENT);
    assert_eq!(requests(&net, raw).len(), 3);
    assert_eq!(net.node(server).peers()[0].queued.messages, 17, "what waits for the window is shown");
    for round in 0..17 {
        net.write(raw, wire::ack(requests(&net, raw)[round].0));
        net.run_for(MOMENT);
        assert_eq!(requests(&net, raw).len(), round + 4);
    }
    assert_eq!(requested(&net, raw), messages);
    acknowledge_from(&mut net, raw, 17);
    assert_eq!(held(&net, server), 0);
    assert_conserved(&net, server);
}

#[test]
fn messages_that_wait_for_the_window_are_bounded_and_room_is_announced() {
    let config = at_least_once().window(1).peer_queue(aiomsg_proto::Limit::new(10, 1 << 20));
    let (mut net, server) = server(config);
    let raw = peer(&mut net, 1);
    let accepted = (0..100)
        .take_while(|_| {
            let accepted = net.send_to(server, id(1), "m").is_ok();
            net.run_for(MOMENT);
            accepted
        })
        .count();
    assert_eq!(accepted, 11, "ten behind the one that is out");
    assert!(matches!(net.send_to(server, id(1), "m"), Err(SendError::PeerFull(_))));
    let other = peer(&mut net, 2);
    net.send(server, "for anyone").expect("the others are not held up");
    net.run_for(MOMENT);
    assert_eq!(requested(&net, other), [b"for anyone"]);
    for round in 0..11 {
        acknowledge_from(&mut net, raw, round);
    }
    let told = net.announced(server).iter().filter(|(_, ready)| *ready == Ready::PeerRoom(id(1))).count();
    assert_eq!(told, 1);
    assert_eq!(requests(&net, raw).len(), 11);
    assert_conserved(&net, server);
}

#[test]
fn receipts_beside_messages_that_need_none_keep_the_order() {
    let (mut net, server) = server(patient().window(2));
    let raw = peer(&mut net, 1);
    for number in 0..6_u8 {
        let tracked = number % 2 == 0;
        net.command(server, |socket, now| {
            let payload = vec![number].into();
            if tracked {
                socket.send_with_receipt(now, Some(id(1)), payload).map(|_| ())
            } else {
                socket.send_to(now, id(1), payload)
            }
        })
        .expect("there is room");
    }
    net.run_for(MOMENT);
    let got = |net: &aiomsg_tests::Network| -> Vec<u8> {
        let payload = |frame: Vec<u8>| match frame.first() {
            Some(3 | 4) => frame.last().copied(),
            _ => None,
        };
        wire::partial_frames(net.bytes(raw)).0.into_iter().filter_map(payload).collect()
    };
    assert_eq!(got(&net), [0, 1, 2, 3], "the third waits for the window, and the last behind it");
    acknowledge_from(&mut net, raw, 0);
    assert_eq!(got(&net), [0, 1, 2, 3, 4, 5]);
    acknowledge_from(&mut net, raw, 2);
    assert_eq!(held(&net, server), 0);
    assert_conserved(&net, server);
}

#[test]
fn unacknowledged_messages_count_against_the_send_buffer() {
    let config = at_least_once().send_buffer(aiomsg_proto::Limit::new(5, 1 << 20));
    let (mut net, server) = server(config);
    let raw = peer(&mut net, 1);
    for message in numbered(5) {
        net.send(server, message).expect("there is room");
    }
    net.run_for(MOMENT);
    assert_eq!(requests(&net, raw).len(), 5);
    assert!(matches!(net.send(server, "m"), Err(SendError::Full(_))));
    assert!(!net.announced(server).iter().any(|(_, ready)| *ready == Ready::Room));
    net.write(raw, wire::ack(requests(&net, raw)[3].0));
    net.run_for(MOMENT);
    assert!(net.announced(server).iter().any(|(_, ready)| *ready == Ready::Room));
    net.send(server, "m").expect("there is room");
    assert_conserved(&net, server);
}

#[test]
fn a_peer_that_never_acknowledges_does_not_hold_up_the_others() {
    let (mut net, server) = server(at_least_once().window(16));
    let (mute, worker) = (peer(&mut net, 1), peer(&mut net, 2));
    let mut done = 0;
    for message in numbered(2_000) {
        net.send(server, message).expect("there is room");
        net.run_for(MOMENT / 50);
        let got = requests(&net, worker).len();
        if got > done {
            acknowledge_from(&mut net, worker, done);
            done = got;
        }
    }
    net.run_for(SECOND);
    assert!(requests(&net, worker).len() >= 2_000 - 16);
    assert!(requests(&net, mute).len() >= 16);
    assert_eq!(held(&net, server), 16);
    assert_conserved(&net, server);
}
