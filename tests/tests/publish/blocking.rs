//! A publisher that waits for slow subscribers.

use core::time::Duration;

use aiomsg_proto::{
    Batch, CloseReason, Instant, Limit, LinkState, Origin, Ready, SendError, SlowPeer, Socket, Usage,
};
use aiomsg_tests::company::{HELLO, MOMENT, id, peer as subscriber, peer_of, server};
use aiomsg_tests::{Network, NodeId, departures, numbered, wire};

use bytes::BytesMut;

use super::{SECOND, got, missed, publish_slowly, publishing, short_queues, stalled};

/// How often senders were told that there is room.
fn told_of_room(net: &Network, node: NodeId) -> usize {
    net.announced(node).iter().filter(|(_, ready)| *ready == Ready::Room).count()
}

#[test]
fn the_sender_is_held_up_until_the_slow_one_reads() {
    let (mut net, server) = server(short_queues(SlowPeer::Block(SECOND * 3)));
    let slow = stalled(&mut net, 1);
    let fast = subscriber(&mut net, 2);
    let messages = numbered(100);
    let accepted = messages.iter().take_while(|message| net.send(server, (*message).clone()).is_ok()).count();
    assert_eq!(accepted, 11);
    net.run_for(SECOND * 2);
    assert_eq!(got(&net, fast), messages[..11]);
    assert!(matches!(net.send(server, "x"), Err(SendError::Full(_))));
    assert_eq!(told_of_room(&net, server), 0);
    net.set_reading(slow, true);
    net.run_for(MOMENT);
    assert_eq!(told_of_room(&net, server), 1);
    publish_slowly(&mut net, server, &messages[11..]);
    assert_eq!(got(&net, slow), messages);
    assert_eq!(got(&net, fast), messages);
    assert_eq!(departures(&net, server), []);
    assert_eq!(missed(&net.node(server).metrics(), 2), Usage::default());
}

/// Whoever is told sooner tries in vain.
#[test]
fn the_sender_is_told_once_nobody_is_waited_for() {
    let (mut net, server) = server(short_queues(SlowPeer::Block(SECOND * 3)));
    let slow = [stalled(&mut net, 1), stalled(&mut net, 2)];
    while net.send(server, "message").is_ok() {}
    for (raw, told) in [(slow[0], 0), (slow[1], 1)] {
        net.set_reading(raw, true);
        net.run_for(MOMENT);
        assert_eq!(told_of_room(&net, server), told);
    }
    net.send(server, "message").expect("there is room");
    assert_eq!(departures(&net, server), []);
}

#[test]
fn who_sends_to_one_is_not_held_up() {
    let config = short_queues(SlowPeer::Block(SECOND * 3)).send_buffer(Limit::new(15, 1 << 20));
    let (mut net, server) = server(config);
    stalled(&mut net, 1);
    let fast = subscriber(&mut net, 2);
    while net.send(server, "to all").is_ok() {}
    net.command(server, |socket, now| while socket.send_to(now, id(2), "to one".into()).is_ok() {});
    net.run_for(MOMENT);
    assert_eq!(told_of_room(&net, server), 1, "the send buffer has room again");
    net.command(server, |socket, now| socket.send_to(now, id(2), "to one".into())).expect("there is room");
    net.run_for(MOMENT);
    assert_eq!(got(&net, fast).last().expect("it reads"), b"to one");
}

/// A short queue does for who is waited for, since nothing is dropped; with others, it decides how long they may pause.
#[test]
fn how_much_may_wait_at_a_subscriber_depends_on_whether_it_is_waited_for() {
    let few = publishing().prefetch(Limit::new(3, 1 << 20)).peer_queue(Limit::new(10, 1 << 20));
    for (policy, expected) in [(SlowPeer::Block(SECOND), 3), (SlowPeer::DropNewest, 10)] {
        let (mut net, server) = server(few.clone().slow_peer(policy));
        let slow = stalled(&mut net, 1);
        let messages = numbered(20);
        for message in &messages {
            let _ = net.send(server, message.clone());
        }
        net.set_reading(slow, true);
        net.run_for(SECOND / 2);
        assert_eq!(got(&net, slow), messages[..=expected], "{policy:?}: one being written, and the queue");
    }
}

#[test]
fn who_does_not_read_in_time_is_disconnected() {
    let (mut net, server) = server(short_queues(SlowPeer::Block(SECOND * 3)));
    stalled(&mut net, 1);
    let fast = subscriber(&mut net, 2);
    let messages = numbered(100);
    let accepted = messages.iter().take_while(|message| net.send(server, (*message).clone()).is_ok()).count();
    net.run_for(SECOND * 3 - MOMENT);
    assert_eq!(departures(&net, server), []);
    net.run_for(MOMENT * 2);
    assert_eq!(departures(&net, server), [CloseReason::SlowPeer]);
    assert!(net.announced(server).iter().any(|(_, ready)| *ready == Ready::Room));
    publish_slowly(&mut net, server, &messages[accepted..]);
    assert_eq!(got(&net, fast), messages);
}

#[test]
fn nobody_is_disconnected_since_the_machine_slept() {
    let (mut net, server) = server(short_queues(SlowPeer::Block(SECOND * 3)));
    let slow = stalled(&mut net, 1);
    while net.send(server, "message").is_ok() {}
    net.freeze(server);
    net.set_reading(slow, true);
    net.run_for(SECOND * 12);
    net.thaw(server);
    net.run_for(MOMENT);
    assert_eq!(departures(&net, server), [], "it has read meanwhile");
    assert_eq!(got(&net, slow).len(), 11);
}

#[test]
fn there_is_patience_with_who_reads_slowly() {
    let (mut net, server) = server(short_queues(SlowPeer::Block(SECOND * 2)).heartbeat_timeout(SECOND * 100));
    net.set_latency(Duration::from_millis(300), Duration::from_millis(300));
    let slow = peer_of(&mut net, 1, HELLO + 100, true);
    net.run_for(SECOND);
    let messages = numbered(100);
    for message in &messages {
        while net.send(server, message.clone()).is_err() {
            net.run_for(MOMENT);
        }
    }
    net.run_for(SECOND * 20);
    assert_eq!(departures(&net, server), []);
    assert_eq!(got(&net, slow), messages);
}

/// Sending waits for a slow subscriber no longer than its time. A burst fills its queue before its connection is
/// written to. Then the queue moves to what is being written, where it stays, since the peer reads nothing; it is alive
/// otherwise. There is room in its queue, so the sender is to be told.
#[test]
fn who_waits_for_a_subscriber_is_told_when_its_queue_has_moved_to_what_is_being_written() {
    let (mut net, server) = server(short_queues(SlowPeer::Block(SECOND)));
    let stalled = peer_of(&mut net, 1, HELLO, false);
    net.command(server, |socket, now| {
        for _ in 0..10 {
            socket.send(now, "message".into()).expect("there is room");
        }
        assert!(matches!(socket.send(now, "message".into()), Err(SendError::Full(_))), "it waits");
    });
    for _ in 0..100 {
        net.write(stalled, wire::heartbeat());
        net.run_for(SECOND);
    }
    let told = net.announced(server).iter().any(|(_, ready)| *ready == Ready::Room);
    let gone = !departures(&net, server).is_empty();
    // It would be accepted, if its sender tried.
    let accepted = net.send(server, "message").is_ok();
    net.run_for(MOMENT);
    assert!(told || gone, "the sender waits for ever, and would find room: {accepted}");
}

/// Messages that were published while nobody was there, for one that takes nothing and one that takes all.
#[test]
fn who_takes_nothing_of_a_backlog_is_waited_for_no_longer_than_others() {
    let (mut net, server) =
        server(short_queues(SlowPeer::Block(SECOND * 3)).send_buffer(Limit::new(50, 1 << 20)));
    let messages = numbered(50);
    for message in &messages {
        net.send(server, message.clone()).expect("there is room");
    }
    assert!(matches!(net.send(server, "x"), Err(SendError::Full(_))), "the send buffer is full");
    stalled(&mut net, 1);
    let fast = subscriber(&mut net, 2);
    net.run_for(SECOND * 4);
    assert_eq!(departures(&net, server), [CloseReason::SlowPeer]);
    assert!(told_of_room(&net, server) > 0);
    assert_eq!(got(&net, fast).len(), messages.len());
}

/// Its queue is full of what waited for it as soon as it is there, and the way to it is long.
#[test]
fn who_has_just_come_has_a_second() {
    let (mut net, server) = server(short_queues(SlowPeer::Block(Duration::from_millis(10))));
    let messages = numbered(100);
    for message in &messages {
        net.send(server, message.clone()).expect("there is room");
    }
    net.set_latency(Duration::from_millis(100), Duration::from_millis(100));
    let raw = peer_of(&mut net, 1, HELLO + 600, true);
    net.run_for(SECOND * 2);
    assert_eq!(departures(&net, server), []);
    assert_eq!(got(&net, raw), messages);
}

/// The long one at the front of the queue waits for a subscriber that could take the short ones behind it.
#[test]
fn short_messages_behind_a_long_one_wait_no_longer_than_that() {
    let (mut net, server) = server(short_queues(SlowPeer::Block(SECOND * 3)).prefetch(Limit::new(10, 1_000)));
    for number in 1..=3 {
        net.send(server, vec![number; 800]).expect("there is room");
    }
    stalled(&mut net, 1);
    let fast = subscriber(&mut net, 2);
    for _ in 0..5 {
        net.send(server, "short").expect("there is room");
        net.run_for(SECOND);
    }
    assert_eq!(departures(&net, server), [CloseReason::SlowPeer]);
    assert_eq!(got(&net, fast).iter().filter(|payload| *payload == b"short").count(), 5);
}

/// One of them is being written to each, the other one has no place beside it.
#[test]
fn who_keeps_the_send_buffer_full_is_waited_for_as_well() {
    let config = short_queues(SlowPeer::Block(SECOND * 3)).send_buffer(Limit::new(100, 1_000));
    let (mut net, server) = server(config);
    stalled(&mut net, 1);
    let fast = subscriber(&mut net, 2);
    net.send(server, vec![1; 600]).expect("there is room");
    net.run_for(MOMENT);
    assert!(matches!(net.send(server, vec![2; 600]), Err(SendError::Full(_))));
    net.run_for(SECOND * 4);
    assert_eq!(departures(&net, server), [CloseReason::SlowPeer]);
    assert_eq!(told_of_room(&net, server), 1);
    net.send(server, vec![2; 600]).expect("there is room");
    net.run_for(MOMENT);
    assert_eq!(got(&net, fast), [[1; 600], [2; 600]]);
}

/// It was waited for since the send buffer was full, and there is nothing more that it could take.
#[test]
fn who_has_taken_all_is_not_waited_for() {
    let config = short_queues(SlowPeer::Block(SECOND * 3)).send_buffer(Limit::new(100, 1_000));
    let (mut net, server) = server(config);
    let slow = stalled(&mut net, 1);
    net.send(server, vec![1; 600]).expect("there is room");
    net.run_for(MOMENT);
    assert!(matches!(net.send(server, vec![2; 600]), Err(SendError::Full(_))));
    net.set_reading(slow, true);
    net.run_for(SECOND * 10);
    assert_eq!(departures(&net, server), []);
    assert_eq!(got(&net, slow), [[1; 600]]);
}

/// Two subscribers that take nothing while a message is refused that is longer than what either has room for. One takes a
/// little more first: its time runs beside that of the other, not after it.
#[test]
fn all_have_their_time_at_once() {
    const LONG: usize = 900 << 10;
    let config = short_queues(SlowPeer::Block(SECOND * 3)).prefetch(Limit::new(1_000, 1_000 << 10));
    let mut now = Instant::EPOCH;
    let mut socket = Socket::new(config.heartbeat_timeout(SECOND * 100), id(9), 1, now).expect("valid");
    let mut links = [1, 2].map(|number| {
        let link = socket.handle_connected(now, Origin::Accepted, "peer").expect("a place");
        socket.handle_received(now, link, &mut BytesMut::from(&wire::hello(id(number))[..]));
        (link, Batch::default())
    });
    // The greeting is taken, and of what is published the first batch of each is begun.
    for (link, batch) in &mut links {
        while socket.transmit(now, *link, batch) {
            batch.advance(usize::MAX);
            socket.handle_transmitted(now, *link, batch);
        }
    }
    for number in 0..11 {
        socket.send(now, vec![number; 100 << 10].into()).expect("there is room");
        for (link, batch) in &mut links {
            assert!(socket.transmit(now, *link, batch));
        }
    }
    assert!(socket.send(now, vec![0; LONG].into()).is_err());
    let (first, batch) = &mut links[0];
    batch.advance(usize::MAX);
    socket.handle_transmitted(now, *first, batch);
    assert!(socket.transmit(now, *first, batch));
    while let Some(at) = socket.poll_timeout().filter(|at| *at <= Instant::EPOCH + SECOND * 4) {
        now = at;
        socket.handle_timeout(now);
        while socket.poll_ready().is_some() {}
        let _ = socket.send(now, vec![0; LONG].into());
    }
    for (link, _) in links {
        assert_eq!(socket.link_state(link), LinkState::Close, "{link:?}");
    }
}
