//! What is due is done when it is due, whatever the timer says.

use std::time::Duration;

use aiomsg_proto::{Limit, SendMode, SlowPeer};

use crate::support::{Timing, World, config, message};

#[test]
fn a_timer_that_fires_early_is_asked_again_and_not_in_a_loop() {
    let world = World::new(1);
    let near = world.socket_without_timer(config());
    let timer = world.timer(Timing::Early(Duration::from_millis(3)));
    let asked = timer.asked.clone();
    world.spawn("early", near.timer_driver(timer));
    let far = world.socket(config());
    world.join(&near, &far, "far");
    let before = *asked.borrow();
    world.pass(Duration::from_millis(4_999));
    assert_eq!(world.wire(0).out.bytes_read(), 22, "nothing was done early");
    world.pass(Duration::from_millis(1));
    assert_eq!(world.wire(0).out.bytes_read(), 22 + 5, "a heartbeat was due");
    let times = *asked.borrow() - before;
    assert!(times <= 6, "asked {times} times");
}

/// Such a timer is a defect of the runtime, and must not bring the task to a standstill.
#[test]
fn a_timer_that_is_always_ready_lets_others_run() {
    let world = World::new(2);
    let near = world.socket_without_timer(config());
    let far = world.socket(config());
    world.spawn("broken", near.timer_driver(world.timer(Timing::Broken)));
    world.listen(&far, "far");
    world.dial(&near, "far");
    world.wait("peers", async move { near.wait_for_peers(1).await }).expect("open");
}

#[test]
fn a_nearer_deadline_wakes_the_timer() {
    let world = World::new(3);
    let near = world.socket(config());
    world.settle();
    assert_eq!(world.time.next(), None, "nothing is due");
    near.try_send("waits").expect("room");
    let handle = near.clone();
    let closing = world.spawn("close", async move { handle.close_within(Duration::from_secs(9)).await });
    world.settle();
    assert_eq!(world.time.next(), Some(world.now() + Duration::from_secs(9)));
    world.spawn("close", async move { near.close_within(Duration::from_secs(2)).await });
    world.settle();
    assert_eq!(world.time.next(), Some(world.now() + Duration::from_secs(2)));
    world.finish(&closing);
}

/// The patience with a slow subscriber starts when somebody waits for it, not when the socket last had something to do.
#[test]
fn a_slow_subscriber_is_given_its_time() {
    let world = World::new(4);
    let patience = Duration::from_secs(1);
    let (near, far) = world.pair(
        config()
            .send_mode(SendMode::Publish)
            .slow_peer(SlowPeer::Block(patience))
            .prefetch(Limit::new(2, 1 << 20)),
        config(),
    );
    world.wire(0).out.set_capacity(0);
    while near.metrics().accepted.messages < 3 {
        near.try_send(message(0, 8)).expect("room");
        world.settle();
    }
    world.pass(Duration::from_secs(3));
    assert_eq!(near.peers().len(), 1);
    let sender = near.clone();
    let sending = world.spawn("sender", async move { sender.send(message(1, 8)).await });
    world.pass(Duration::from_millis(900));
    assert_eq!(near.peers().len(), 1, "it has a second");
    assert!(!sending.is_done());
    world.wire(0).out.set_capacity(1 << 10);
    world.settle();
    assert!(sending.is_done());
    world.pass(Duration::from_secs(1));
    assert_eq!((near.peers().len(), far.peers().len()), (1, 1));
}
