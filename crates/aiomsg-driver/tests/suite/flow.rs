//! Messages flow both ways, however the links cut the bytes.

use aiomsg_driver::Handle;
use aiomsg_proto::SendMode;

use crate::support::{Style, Task, World, config, message, number};

/// Lengths that reach all paths: small ones that are copied, large ones that are not, and those above 64 KiB that set
/// room aside.
fn length(number: u64) -> usize {
    match number % 50 {
        49 => 100_000,
        48 => 5_000,
        small => small as usize * 7,
    }
}

fn send_all(world: &World, from: &Handle, count: u64) -> Task<()> {
    let from = from.clone();
    world.spawn("sender", async move {
        for n in 0..count {
            from.send(message(n, length(n))).await.expect("open");
        }
    })
}

fn receive_all(world: &World, to: &Handle, count: u64) -> Task<()> {
    let to = to.clone();
    world.spawn("receiver", async move {
        for expected in 0..count {
            let received = to.recv_from().await.expect("open");
            assert_eq!(number(&received.payload), expected, "in order");
            assert_eq!(received.payload.len(), length(expected).max(8));
        }
    })
}

fn exchange(seed: u64, style: Style, count: u64) {
    let world = World::new(seed);
    world.style.set(style);
    let (near, far) = world.pair(config(), config());
    let tasks = [
        send_all(&world, &near, count),
        send_all(&world, &far, count),
        receive_all(&world, &near, count),
        receive_all(&world, &far, count),
    ];
    for task in &tasks {
        world.finish(task);
    }
    world.settle();
    assert_eq!(near.metrics().send_held.messages + far.metrics().send_held.messages, 0);
    assert_eq!(near.metrics().receive_held.messages + far.metrics().receive_held.messages, 0);
    assert_eq!(near.metrics().disconnected, 0);
}

#[test]
fn both_ways_on_eager_links() {
    exchange(1, Style::EAGER, 5_000);
}

#[test]
fn both_ways_on_ragged_links() {
    for seed in 0..10 {
        exchange(seed, Style::RAGGED, 200);
    }
}

#[test]
fn both_ways_a_byte_at_a_time() {
    exchange(3, Style::TRICKLE, 60);
}

#[test]
fn both_ways_through_one_byte_of_buffer() {
    exchange(4, Style { capacity: 1, most: 1, reluctance: 0 }, 20);
}

#[test]
fn a_received_message_names_its_sender() {
    let world = World::new(5);
    let (near, far) = world.pair(config(), config());
    let identity = near.identity();
    let received = world.wait("receiver", async move {
        near.send("hello").await.expect("open");
        far.recv_from().await.expect("open")
    });
    assert_eq!(received.identity, identity);
    assert_eq!(received.payload, "hello");
}

/// Who publishes is to notice soon that a subscriber is slow; with others, the system takes what it likes.
#[test]
fn what_is_published_waits_here_and_not_in_the_system() {
    let world = World::new(1);
    let _sockets = world.pair(config().send_mode(SendMode::Publish), config());
    world.settle();
    let wire = world.wire(0);
    let told = [wire.out.unsent(), wire.back.unsent()];
    assert_eq!(told.iter().flatten().count(), 1, "{told:?}");
    assert!(told.iter().flatten().all(|bytes| *bytes < 1 << 20), "{told:?}");
}
