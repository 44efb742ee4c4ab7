//! The end of a socket: in time, with a true report, and without leaving anybody waiting.

use std::io;
use std::time::Duration;

use aiomsg_driver::Handle;
use aiomsg_proto::{Acknowledge, CloseReport, Closed, DeliveryGuarantee, Limit, SendError};

use crate::support::{Style, World, config, message, number};

const LINGER: Duration = Duration::from_secs(3);

/// Closes a socket, and tells how long that took.
fn close(world: &World, handle: &Handle) -> (CloseReport, Duration) {
    let start = world.now();
    let handle = handle.clone();
    let report = world.wait("close", async move { handle.close_within(LINGER).await });
    (report, world.now().saturating_duration_since(start))
}

#[test]
fn acknowledging_has_an_effect_before_the_socket_is_closed_and_none_after_it() {
    let world = World::new(1);
    let (near, far) = world
        .pair(config().delivery(DeliveryGuarantee::AtLeastOnce), config().acknowledge(Acknowledge::Manual));
    for n in 0..2 {
        near.try_send(message(n, 100)).expect("room");
    }
    world.settle();
    let taken = || far.try_recv_message().expect("open").expect("both have arrived");
    let (early, late) = (taken(), taken());
    early.acknowledge();
    close(&world, &far);
    late.acknowledge();
    world.settle();
    let metrics = near.metrics();
    assert_eq!((metrics.acknowledged.messages, metrics.send_held.messages), (1, 1));
}

#[test]
fn all_that_was_accepted_is_handed_over_and_arrives() {
    for (seed, style) in [(1, Style::EAGER), (2, Style::RAGGED), (3, Style::TRICKLE)] {
        let world = World::new(seed);
        world.style.set(style);
        let (near, far) = world.pair(config(), config());
        for n in 0..100 {
            near.try_send(message(n, 100)).expect("room");
        }
        let (report, _) = close(&world, &near);
        assert_eq!((near.metrics().handed_over.messages, report.dropped.messages), (100, 0));
        world.settle();
        for n in 0..100 {
            let received = far.try_recv().expect("open").expect("all have arrived");
            assert_eq!(number(&received.payload), n);
        }
    }
}

#[test]
fn an_idle_socket_closes_at_once() {
    let world = World::new(1);
    let (near, far) = world.pair(config(), config());
    assert_eq!(close(&world, &near), (CloseReport::default(), Duration::ZERO));
    assert_eq!(close(&world, &far).1, Duration::ZERO);
}

#[test]
fn a_peer_that_reads_nothing_delays_closing_by_no_more_than_a_second() {
    let world = World::new(1);
    let (near, _far) = world.pair(config(), config());
    world.wire(0).out.set_capacity(0);
    for n in 0..5 {
        near.try_send(message(n, 8)).expect("room");
    }
    let (report, took) = close(&world, &near);
    assert_eq!((report.handed_over.messages, report.dropped.messages), (0, 5));
    assert!(took >= LINGER && took <= LINGER + Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_peer_that_does_not_close_delays_closing_by_no_more_than_a_second() {
    let world = World::new(1);
    let (near, far) = world.pair(config(), config());
    near.try_send("heard").expect("room");
    world.settle();
    // Its end of the connection is stuck.
    world.wire(0).back.set_capacity(0);
    far.try_send("unheard").expect("room");
    world.executor.abort_all("timer");
    world.spawn("timer", near.timer_driver(world.timer(crate::support::Timing::Exact)));
    let (_, took) = close(&world, &near);
    assert!(took <= Duration::from_secs(1), "{took:?}");
}

#[test]
fn without_peers_closing_lingers_and_reports_what_was_dropped() {
    let world = World::new(1);
    let near = world.socket(config());
    for n in 0..7 {
        near.try_send(message(n, 8)).expect("room");
    }
    let (report, took) = close(&world, &near);
    assert_eq!((report.handed_over.messages, report.dropped.messages), (0, 7));
    assert!(took >= LINGER && took <= LINGER + Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_peer_that_comes_while_closing_gets_what_waits() {
    let world = World::new(1);
    let (near, far) = (world.socket(config()), world.socket(config()));
    world.dial(&near, "far");
    near.try_send("late").expect("room");
    let closing = world.spawn("close", async move { near.close_within(LINGER).await });
    world.pass(Duration::from_secs(1));
    world.listen(&far, "far");
    let report = world.finish(&closing);
    assert_eq!(report.handed_over.messages, 1);
    world.settle();
    assert_eq!(far.try_recv().expect("open").expect("it arrived").payload, "late");
}

/// Everything that came from a peer is read before its connection is closed, or what we have sent could be destroyed.
#[test]
fn what_a_peer_has_sent_is_read_although_nobody_took_messages() {
    let world = World::new(1);
    world.style.set(Style { capacity: 500, ..Style::EAGER });
    let (near, far) = world.pair(config().receive_buffer(Limit::new(3, 1 << 20)), config());
    for n in 0..200 {
        far.try_send(message(n, 8)).expect("room");
    }
    world.settle();
    assert!(world.wire(0).back.len() > 0, "reading is paused");
    near.try_send("last").expect("room");
    let arrived = near.metrics().receive_held.messages as u64;
    let (report, took) = close(&world, &near);
    assert_eq!((near.metrics().handed_over.messages, report.dropped.messages), (1, 0));
    assert_eq!(took, Duration::ZERO, "the connection ended in good order");
    world.settle();
    assert_eq!(far.try_recv().expect("open").expect("it arrived").payload, "last");
    // What arrived before can still be taken.
    for n in 0..arrived {
        assert_eq!(number(&near.try_recv().expect("not all taken").expect("one more").payload), n);
    }
    assert_eq!(near.try_recv(), Err(Closed));
}

#[test]
fn closing_ends_all_waiting_at_once() {
    let world = World::new(1);
    let (near, far) =
        world.pair(config().send_buffer(Limit::new(4, 1 << 20)).peer_queue(Limit::new(2, 1 << 20)), config());
    world.wire(0).out.set_capacity(0);
    let identity = far.identity();
    while near.try_send_to(identity, message(0, 8)).is_ok() {
        world.settle();
    }
    let to_peer = near.clone();
    let to_peer = world.spawn("send_to", async move { to_peer.send_to(identity, message(1, 8)).await });
    world.settle();
    while near.try_send(message(0, 8)).is_ok() {
        world.settle();
    }
    let mut sends = Vec::new();
    for _ in 0..3 {
        let handle = near.clone();
        sends.push(world.spawn("send", async move { handle.send(message(2, 8)).await }));
    }
    let mut receives = Vec::new();
    for _ in 0..3 {
        let handle = near.clone();
        receives.push(world.spawn("recv", async move { handle.recv_from().await }));
    }
    let handle = near.clone();
    let peers = world.spawn("peers", async move { handle.wait_for_peers(2).await });
    world.settle();
    let closing = world.spawn("close", async move { near.close_within(LINGER).await });
    world.settle();
    assert!(!closing.is_done(), "it lingers");
    assert_eq!(to_peer.take(), Some(Err(SendError::Closed(message(1, 8)))));
    assert!(sends.iter().all(|task| task.take() == Some(Err(SendError::Closed(message(2, 8))))));
    assert!(receives.iter().all(|task| task.take() == Some(Err(Closed))));
    assert_eq!(peers.take(), Some(Err(Closed)));
    world.finish(&closing);
}

#[test]
fn after_closing_everything_says_so_and_no_task_is_left() {
    let world = World::new(1);
    let (near, far) = world.pair(config(), config());
    close(&world, &near);
    assert_eq!(near.try_send("x"), Err(SendError::Closed("x".into())));
    assert_eq!(near.try_recv(), Err(Closed));
    assert!(near.dial("far").is_err() && near.listen("near").is_err());
    assert_eq!(world.wait("peers", async move { near.wait_for_peers(0).await }), Err(Closed));
    close(&world, &far);
    world.settle();
    for name in ["link", "timer", "dial"] {
        assert_eq!(world.executor.count(name), 0, "{name}");
    }
}

#[test]
fn dropping_the_last_handle_closes() {
    let world = World::new(1);
    let (near, far) = world.pair(config(), config());
    let clone = near.clone();
    drop(near);
    world.pass(Duration::from_secs(2));
    assert_eq!(far.peers().len(), 1, "a handle is left");
    let stream = clone.messages();
    let mut events = clone.events();
    drop(clone);
    world.pass(Duration::from_secs(2));
    assert_eq!(far.peers().len(), 0);
    assert_eq!((world.executor.count("link"), world.executor.count("dial")), (0, 0));
    world.wait("events", async move { while events.recv().await.is_some() {} });
    drop(stream);
}

#[test]
fn a_runtime_that_drops_the_links_loses_no_message() {
    for seed in 0..20 {
        let world = World::new(seed);
        let (near, far) = world.pair(config(), config());
        world.wire(0).out.set_capacity(30);
        for n in 0..50 {
            near.try_send(message(n, 8)).expect("room");
        }
        for _ in 0..seed {
            world.executor.step();
        }
        world.executor.abort_all("link");
        world.pass(Duration::from_secs(5));
        let received: Vec<u64> = std::iter::from_fn(|| far.try_recv().expect("open"))
            .map(|received| number(&received.payload))
            .collect();
        let lost = 50 - received.len();
        assert!(lost <= 5, "only what the connection held when it was cut: {received:?}");
        assert!(received.is_sorted());
    }
}

#[test]
fn a_runtime_that_drops_all_tasks_leaves_a_closed_socket() {
    let world = World::new(1);
    let (near, far) = world.pair(config(), config());
    near.try_send("unsent").expect("room");
    for name in ["timer", "dial", "link"] {
        world.executor.abort_all(name);
    }
    assert!(near.try_send("also unsent").is_err(), "nobody would ever send it");
    assert_eq!(near.peers().len(), 0);
    // Who waits is not left waiting.
    let report = world.wait("close", async move { near.close().await });
    assert_eq!(report.dropped.messages, 1);
    world.wait("recv", async move { far.recv().await }).expect_err("nothing comes any more");
    world.settle();
}

#[test]
fn a_link_that_fails_is_dialled_again_and_its_messages_are_sent_again() {
    let world = World::new(1);
    let (near, far) = world.pair(config(), config());
    world.wire(0).out.set_capacity(0);
    for n in 0..10 {
        near.try_send(message(n, 8)).expect("room");
    }
    world.settle();
    world.wire(0).out.fail(io::ErrorKind::ConnectionReset);
    let numbers = world.wait("receiver", async move {
        let mut numbers = Vec::new();
        while numbers.len() < 10 {
            numbers.push(number(&far.recv_from().await.expect("open").payload));
        }
        numbers
    });
    assert!(numbers.into_iter().eq(0..10));
}

/// A peer that has sent its last message and is gone is not heard of by who reads it, but by who writes to it.
#[test]
fn what_a_peer_had_sent_is_received_although_writing_to_it_fails() {
    for seed in 0..20 {
        let world = World::new(seed);
        let (near, far) = world.pair(config(), config());
        for n in 0..100 {
            near.try_send(message(n, 8)).expect("room");
        }
        while world.wire(0).out.len() == 0 {
            assert!(world.executor.step());
        }
        far.try_send("unheard").expect("room");
        world.wire(0).back.fail(io::ErrorKind::BrokenPipe);
        let arrived = near.metrics().handed_over.messages.max(1);
        world.settle();
        assert!(far.metrics().received.messages >= arrived, "seed {seed}");
        assert_eq!(far.metrics().disconnected, 1);
    }
}
