//! Who does not take makes who sends wait, nothing is dropped, and who waits is served in order.

use std::rc::Rc;
use std::time::Duration;

use aiomsg_driver::Handle;
use aiomsg_proto::{Limit, SendError};
use fastrand::Rng;

use crate::support::{Style, Task, World, config, drop_after, message, number};

/// Room for few messages everywhere.
const FEW: Limit = Limit::new(10, 1 << 20);

/// A connection that holds little.
const NARROW: Style = Style { capacity: 256, most: usize::MAX, reluctance: 0 };

fn send(world: &World, from: &Handle, n: u64) -> Task<Result<(), SendError>> {
    let from = from.clone();
    world.spawn("sender", async move { from.send(message(n, 8)).await })
}

fn narrow_pair(seed: u64) -> (Rc<World>, Handle, Handle) {
    let world = World::new(seed);
    world.style.set(NARROW);
    let (near, far) = world.pair(config().send_buffer(FEW), config().receive_buffer(FEW));
    (world, near, far)
}

fn receive_in_order(world: &World, to: &Handle, numbers: std::ops::Range<u64>) {
    let to = to.clone();
    world.wait("receiver", async move {
        for expected in numbers {
            assert_eq!(number(&to.recv_from().await.expect("open").payload), expected);
        }
    });
}

#[test]
fn a_receiver_that_does_not_take_makes_the_sender_wait() {
    let (world, near, far) = narrow_pair(1);
    let sender = near.clone();
    let sending = world.spawn("sender", async move {
        for n in 0..1_000 {
            sender.send(message(n, 8)).await.expect("open");
        }
    });
    world.settle();
    let accepted = near.metrics().accepted.messages;
    assert!(accepted < 60, "{accepted} were accepted");
    assert!((1..=10).contains(&far.metrics().receive_held.messages));
    let read = world.wire(0).out.bytes_read();
    world.pass(Duration::from_secs(120));
    assert_eq!(near.metrics().accepted.messages, accepted);
    assert_eq!(world.wire(0).out.bytes_read(), read, "reading is paused");
    assert!(!sending.is_done());
    receive_in_order(&world, &far, 0..1_000);
    world.finish(&sending);
    assert_eq!((near.metrics().disconnected, far.metrics().disconnected), (0, 0));
}

#[test]
fn waiting_senders_are_served_in_the_order_in_which_they_came() {
    for seed in 0..20 {
        let (world, near, far) = narrow_pair(seed);
        let mut tasks = Vec::new();
        for n in 0..100 {
            tasks.push(send(&world, &near, n));
            world.settle();
        }
        assert!(tasks.iter().filter(|task| !task.is_done()).count() > 40, "most of them wait");
        receive_in_order(&world, &far, 0..100);
        assert!(tasks.iter().all(|task| task.take() == Some(Ok(()))));
    }
}

#[test]
fn try_send_never_overtakes_and_returns_the_message() {
    let (world, near, far) = narrow_pair(3);
    while near.try_send(message(0, 8)).is_ok() {
        world.settle();
    }
    let waiting = send(&world, &near, 1);
    world.settle();
    assert_eq!(near.try_send(message(2, 8)), Err(SendError::Full(message(2, 8))));
    // From here on there is room now and then, and the one that waits has the first claim to it.
    world.spawn("receiver", async move { while far.recv_from().await.is_ok() {} });
    while !waiting.is_done() {
        let refused = near.try_send(message(2, 8));
        assert!(refused.is_err() || waiting.is_done(), "it has overtaken the one that waits");
        assert!(world.executor.step(), "the one that waits is woken");
    }
    world.settle();
    assert_eq!(near.try_send(message(3, 8)), Ok(()));
}

#[test]
fn a_sender_that_leaves_makes_place_for_the_next() {
    let (world, near, far) = narrow_pair(4);
    while near.try_send(message(0, 8)).is_ok() {
        world.settle();
    }
    let first = send(&world, &near, 1);
    world.settle();
    let second = send(&world, &near, 2);
    world.settle();
    // The first is woken, and given up before it is polled.
    let draining = world.spawn("receiver", async move {
        let mut last = 0;
        while last != 2 {
            last = number(&far.recv_from().await.expect("open").payload);
        }
    });
    while near.metrics().send_held.messages >= 10 {
        assert!(world.executor.step());
    }
    if !first.is_done() {
        first.abort();
    }
    world.finish(&draining);
    world.finish(&second).expect("open");
}

/// A socket with two peers that read nothing until they are told to.
fn between_stalled_peers(seed: u64, send_buffer: usize) -> (Rc<World>, Handle, [Handle; 2]) {
    let world = World::new(seed);
    let near = world
        .socket(config().send_buffer(Limit::new(send_buffer, 1 << 20)).peer_queue(Limit::new(2, 1 << 20)));
    let peers = [world.socket(config()), world.socket(config())];
    world.join(&near, &peers[0], "x");
    world.join(&near, &peers[1], "y");
    world.wire(0).out.set_capacity(0);
    world.wire(1).out.set_capacity(0);
    (world, near, peers)
}

fn send_to(world: &World, name: &'static str, from: &Handle, to: &Handle) -> Task<Result<(), SendError>> {
    let (from, identity) = (from.clone(), to.identity());
    world.spawn(name, async move { from.send_to(identity, message(7, 8)).await })
}

/// Fills what one peer takes: one message in the batch being written, two in its queue.
fn fill(world: &World, from: &Handle, to: &Handle) {
    for _ in 0..3 {
        from.try_send_to(to.identity(), message(7, 8)).expect("room");
        world.settle();
    }
}

#[test]
fn a_message_to_a_peer_that_is_stalled_holds_up_nobody_else() {
    for seed in 0..20 {
        let (world, near, [x, y]) = between_stalled_peers(seed, 6);
        fill(&world, &near, &x);
        fill(&world, &near, &y);
        let to_x = send_to(&world, "to x", &near, &x);
        world.settle();
        let to_y = send_to(&world, "to y", &near, &y);
        world.settle();
        let to_any = send(&world, &near, 1);
        world.settle();
        assert!(!to_x.is_done() && !to_y.is_done() && !to_any.is_done(), "the send buffer is full");
        world.wire(1).out.set_capacity(1 << 18);
        world.settle();
        assert!(to_y.is_done(), "y reads");
        assert!(to_any.is_done(), "there is room in the send buffer");
        assert!(!to_x.is_done(), "x does not read");
        world.wire(0).out.set_capacity(1 << 18);
        world.settle();
        assert!(to_x.is_done());
    }
}

#[test]
fn two_that_wait_for_one_peer_hold_up_nobody_else() {
    for seed in 0..20 {
        let (world, near, [x, y]) = between_stalled_peers(seed, 6);
        fill(&world, &near, &x);
        fill(&world, &near, &y);
        let to_x = [send_to(&world, "to x", &near, &x), send_to(&world, "to x", &near, &x)];
        world.settle();
        let to_y = [send_to(&world, "to y", &near, &y), send_to(&world, "to y", &near, &y)];
        world.settle();
        world.wire(1).out.set_capacity(1 << 18);
        world.settle();
        assert!(to_y.iter().all(Task::is_done), "y reads");
        world.wire(0).out.set_capacity(1 << 18);
        world.settle();
        assert!(to_x.iter().all(Task::is_done));
    }
}

/// There is room again, but another came before: which of the two is full is told all the same.
#[test]
fn who_would_overtake_is_told_for_what_the_other_waits() {
    let (world, near, [x, y]) = between_stalled_peers(1, 6);
    fill(&world, &near, &x);
    let to_x = send_to(&world, "to x", &near, &x);
    world.settle();
    world.wire(0).out.set_capacity(1 << 18);
    let refused = loop {
        match near.try_send_to(x.identity(), message(7, 8)) {
            Err(error) if near.peers().iter().all(|peer| peer.queued.messages == 0) => break error,
            result => assert!(matches!(result, Err(SendError::PeerFull(_))), "{result:?}"),
        }
        assert!(world.executor.step() && !to_x.is_done(), "room comes before the other has found it");
    };
    assert!(matches!(refused, SendError::PeerFull(_)), "{refused:?}");
    near.try_send_to(y.identity(), message(7, 8)).expect("that is no concern of another peer");
    world.settle();
    assert!(to_x.is_done());
}

/// The first that waits for a peer finds room there, but none in the socket, and then in both: the second must be told.
#[test]
fn who_waits_for_a_peer_is_told_when_the_one_before_has_also_waited_for_the_socket() {
    for seed in 0..50 {
        let (world, near, [x, y]) = between_stalled_peers(seed, 5);
        fill(&world, &near, &x);
        near.try_send_to(y.identity(), message(7, 8)).expect("room");
        let first = send_to(&world, "first", &near, &x);
        world.settle();
        let second = send_to(&world, "second", &near, &x);
        world.settle();
        // One message of 17 bytes has a place, so that the queue of x is moved on, and the socket is filled again
        // before the first finds out.
        let polls = world.executor.polls("first");
        world.wire(0).out.set_capacity(17);
        while near.try_send_to(y.identity(), message(7, 8)).is_ok() {}
        while world.executor.polls("first") == polls && world.executor.step() {
            while near.try_send_to(y.identity(), message(7, 8)).is_ok() {}
        }
        let any = send(&world, &near, 1);
        world.settle();
        world.wire(0).out.set_capacity(1 << 18);
        world.settle();
        assert!(first.is_done() && second.is_done(), "seed {seed}: there is room at x");
        world.wire(1).out.set_capacity(1 << 18);
        world.settle();
        assert!(any.is_done());
    }
}

/// Both ends send until nothing moves any more; then both start to take.
#[test]
fn with_all_queues_full_in_both_directions_things_go_on_when_messages_are_taken() {
    for seed in 0..5 {
        let world = World::new(seed);
        world.style.set(NARROW);
        let both = || config().send_buffer(FEW).receive_buffer(FEW);
        let (near, far) = world.pair(both(), both());
        let mut sending = Vec::new();
        for handle in [near.clone(), far.clone()] {
            sending.push(world.spawn("sender", async move {
                for n in 0..500 {
                    handle.send(message(n, 8)).await.expect("open");
                }
            }));
        }
        world.settle();
        assert!(sending.iter().all(|task| !task.is_done()));
        receive_in_order(&world, &near, 0..500);
        receive_in_order(&world, &far, 0..500);
        sending.iter().for_each(|task| world.finish(task));
    }
}

#[test]
fn an_echo_with_full_queues_makes_progress() {
    let world = World::new(6);
    world.style.set(Style { capacity: 64, most: 50, reluctance: 10 });
    let tiny = || config().send_buffer(Limit::new(3, 1 << 20)).receive_buffer(Limit::new(3, 1 << 20));
    let (near, far) = world.pair(tiny(), tiny());
    world.spawn("echo", async move {
        while let Ok(received) = far.recv_from().await {
            far.send(received.payload).await.expect("open");
        }
    });
    let sender = near.clone();
    world.spawn("sender", async move {
        for n in 0..2_000 {
            sender.send(message(n, 8)).await.expect("open");
        }
    });
    receive_in_order(&world, &near, 0..2_000);
}

#[test]
fn a_loop_that_only_sends_lets_the_link_write() {
    let world = World::new(7);
    let (near, far) = world.pair(config(), config());
    world.spawn("receiver", async move { while far.recv_from().await.is_ok() {} });
    let most_held = world.wait("sender", async move {
        let mut most_held = 0;
        for n in 0..20_000 {
            near.send(message(n, 8)).await.expect("open");
            most_held = most_held.max(near.metrics().send_held.messages);
        }
        most_held
    });
    assert!(most_held < 10_000, "{most_held} messages were held although the link could write");
}

/// Sends a few messages, here and there, and gives up now and then.
async fn send_about(near: Handle, peers: Vec<Handle>, mut rng: Rng) {
    for n in 0..20 {
        let choice = rng.usize(..peers.len() + 2);
        let payload = message(n, rng.usize(8..40));
        let polls = if rng.u8(..4) == 0 { rng.usize(..3) } else { usize::MAX };
        match peers.get(choice) {
            Some(peer) => drop_after(near.send_to(peer.identity(), payload), polls).await,
            None => drop_after(near.send(payload), polls).await,
        };
    }
}

/// A sender that waits and is not told would wait for ever: no time passes here.
#[test]
fn whoever_stalls_and_goes_on_all_senders_are_served_in_the_end() {
    for seed in 0..300 {
        let world = World::new(seed);
        world.style.set(Style { capacity: 40, most: 30, reluctance: 5 });
        let mut rng = Rng::with_seed(seed);
        let limits = config()
            .send_buffer(Limit::new(rng.usize(1..8), 200))
            .peer_queue(Limit::new(rng.usize(1..4), 100))
            .prefetch(Limit::new(rng.usize(1..4), 100));
        let near = world.socket(limits);
        let peers: Vec<Handle> = (0..3).map(|_| world.socket(config())).collect();
        for (peer, name) in peers.iter().zip(["x", "y", "z"]) {
            world.join(&near, peer, name);
        }
        let tasks: Vec<_> = (0..6)
            .map(|_| world.spawn("sender", send_about(near.clone(), peers.clone(), rng.fork())))
            .collect();
        for _ in 0..200 {
            world.wire(rng.usize(..3)).out.set_capacity(rng.usize(..2) * 40);
            for _ in 0..rng.usize(..30) {
                world.executor.step();
            }
        }
        (0..3).for_each(|wire| world.wire(wire).out.set_capacity(40));
        world.settle();
        let left = tasks.iter().filter(|task| !task.is_done()).count();
        assert_eq!(
            left,
            0,
            "seed {seed}: they wait although nothing is held: {:?}",
            near.metrics().send_held
        );
    }
}
