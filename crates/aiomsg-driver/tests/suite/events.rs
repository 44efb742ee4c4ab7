//! The stream of events.

use std::time::Duration;

use aiomsg_driver::{EventStream, Handle};
use aiomsg_proto::Event;

use crate::support::{World, config};

fn all(world: &World, mut events: EventStream) -> Vec<Event> {
    world.wait("events", async move {
        let mut all = Vec::new();
        while let Some(event) = events.recv().await {
            all.push(event);
        }
        all
    })
}

fn close(world: &World, handle: Handle) {
    world.wait("close", async move { handle.close_within(Duration::ZERO).await });
}

#[test]
fn peers_that_come_and_go_are_told_in_order_and_the_stream_ends_at_close() {
    let world = World::new(1);
    let (near, far) = (world.socket(config()), world.socket(config()));
    let events = near.events();
    world.join(&near, &far, "far");
    close(&world, far);
    world.settle();
    world.stop_listening("far");
    close(&world, near);
    let kinds: Vec<&str> = all(&world, events)
        .iter()
        .map(|event| match event {
            Event::Connecting { .. } => "connecting",
            Event::Connected { .. } => "connected",
            Event::Disconnected { .. } => "disconnected",
            Event::Retrying { .. } => "retrying",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds[..4], ["connecting", "connected", "disconnected", "retrying"]);
}

#[test]
fn each_watcher_gets_everything_from_when_it_came() {
    let world = World::new(2);
    let (near, far) = (world.socket(config()), world.socket(config()));
    let early = near.events();
    near.listen("1").expect("open");
    let late = near.events();
    near.listen("2").expect("open");
    close(&world, near);
    close(&world, far);
    let (early, late) = (all(&world, early), all(&world, late));
    assert_eq!(early.len(), 2);
    assert_eq!(late, early[1..]);
}

#[test]
fn a_watcher_that_falls_behind_is_told_how_far_and_gets_the_latest() {
    let world = World::new(3);
    let near = world.socket(config());
    let (behind, mut busy) = (near.events(), near.events());
    for n in 0..1_500 {
        near.listen(&n.to_string()).expect("open");
        if n % 500 == 0 {
            world.wait("busy", {
                let mut taken = near.events();
                std::mem::swap(&mut taken, &mut busy);
                async move { drop(taken) }
            });
        }
    }
    drop(busy);
    close(&world, near);
    let all = all(&world, behind);
    assert_eq!(all[0], Event::Lagged { events: 1_500 - 1_024 });
    assert_eq!(all.len(), 1 + 1_024);
    assert_eq!(all[1], Event::Listening { address: "476".into() });
    assert_eq!(all[1_024], Event::Listening { address: "1499".into() });
}

#[test]
fn a_watcher_that_comes_after_the_end_is_told_so() {
    let world = World::new(4);
    let near = world.socket(config());
    close(&world, near.clone());
    assert_eq!(all(&world, near.events()), []);
}

#[test]
fn a_watcher_waits_without_being_woken_for_nothing() {
    let world = World::new(5);
    let (near, far) = world.pair(config(), config());
    let mut events = near.events();
    let watching = world.spawn("watcher", async move { events.recv().await });
    world.settle();
    near.try_send("message").expect("room");
    world.pass(Duration::from_secs(60));
    assert_eq!(world.executor.polls("watcher"), 1);
    close(&world, far);
    world.settle();
    assert!(matches!(watching.take(), Some(Some(Event::Disconnected { .. }))));
}
