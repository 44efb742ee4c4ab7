//! When connections are accepted and made.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use aiomsg_driver::{Acceptor, Gate, Handle};

use crate::support::{Task, World, config};

fn gate(world: &World, acceptor: &Rc<Acceptor>) -> Task<Gate> {
    let acceptor = acceptor.clone();
    world.spawn("gate", async move { poll_fn(|cx| acceptor.poll_gate(cx)).await })
}

fn acceptor(handle: &Handle) -> Rc<Acceptor> {
    Rc::new(handle.listen("own").expect("open"))
}

#[test]
fn at_the_bound_of_connections_the_gate_waits_and_opens_again() {
    let world = World::new(1);
    let far = world.socket(config().max_connections(1));
    let near = world.socket(config());
    let acceptor = acceptor(&far);
    let open = gate(&world, &acceptor);
    assert_eq!(world.finish(&open), Gate::Open);
    world.join(&near, &far, "far");
    let waiting = gate(&world, &acceptor);
    world.settle();
    assert!(!waiting.is_done());
    world.stop_listening("far");
    world.wait("close", async move { near.close_within(Duration::ZERO).await });
    world.settle();
    assert_eq!(waiting.take(), Some(Gate::Open));
}

#[test]
fn the_gate_shuts_when_the_socket_stops_listening_or_closes() {
    let world = World::new(2);
    let far = world.socket(config().max_connections(1));
    let near = world.socket(config());
    let (first, second) = (acceptor(&far), Rc::new(far.listen("other").expect("open")));
    world.join(&near, &far, "far");
    let (waiting, other) = (gate(&world, &first), gate(&world, &second));
    world.settle();
    let handle = far.clone();
    let unlistening = world.spawn("unlisten", async move { handle.unbind("own").await });
    world.settle();
    assert_eq!(waiting.take(), Some(Gate::Shut));
    assert!(!other.is_done() && !unlistening.is_done(), "somebody still listens");
    drop(first);
    world.settle();
    assert_eq!(unlistening.take(), Some(true));
    let handle = far.clone();
    assert!(!world.wait("unlisten", async move { handle.unbind("own").await }));
    let closing = world.spawn("close", async move { far.close_within(Duration::ZERO).await });
    world.settle();
    assert_eq!(other.take(), Some(Gate::Shut));
    drop(second);
    world.stop_listening("far");
    world.finish(&closing);
    drop(near);
}

/// A new socket at the same address must not find the old one still there.
#[test]
fn closing_waits_until_nothing_listens_any_more() {
    let world = World::new(3);
    let far = world.socket(config());
    let acceptor = acceptor(&far);
    let closing = world.spawn("close", async move { far.close_within(Duration::ZERO).await });
    world.settle();
    assert!(!closing.is_done(), "somebody still listens");
    drop(acceptor);
    world.settle();
    assert!(closing.is_done());
}

#[test]
fn a_dial_is_tried_again_until_somebody_is_there_and_no_more_when_it_is_withdrawn() {
    let world = World::new(4);
    let (near, far) = (world.socket(config()), world.socket(config()));
    world.dial(&near, "far");
    world.pass(Duration::from_secs(30));
    let attempts = near.metrics().dial_attempts;
    assert!((5..200).contains(&attempts), "{attempts} attempts in 30 s");
    world.listen(&far, "far");
    let handle = near.clone();
    world.wait("peers", async move { handle.wait_for_peers(1).await }).expect("open");
    assert!(near.disconnect("far") && !near.disconnect("far"));
    world.pass(Duration::from_secs(30));
    assert_eq!(near.peers().len(), 0);
    assert_eq!(world.executor.count("dial"), 0);
}

#[test]
fn a_peer_that_is_disconnected_comes_back_by_its_own_dial() {
    let world = World::new(5);
    let (near, far) = world.pair(config(), config());
    assert!(far.disconnect_peer(near.identity()));
    world.settle();
    assert!(!far.disconnect_peer(near.identity()));
    world.pass(Duration::from_secs(1));
    assert_eq!((near.peers().len(), near.metrics().connected), (1, 2));
}
