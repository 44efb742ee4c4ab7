//! Messages whose memory is the application's: when it gets that back it may do anything, as use the socket.

use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aiomsg_driver::Handle;
use aiomsg_proto::{Acknowledge, Config, DeliveryGuarantee, Limit, SendMode, SlowPeer};
use bytes::Bytes;

use crate::support::{World, config};

/// Whether the socket could be used when each came back. The socket shows more of itself if nobody holds its lock.
type Returns = Arc<Mutex<Vec<bool>>>;

struct Owned(Vec<u8>, Handle, Returns);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let free = format!("{:?}", self.1).contains("identity");
        self.2.lock().expect("no panic").push(free);
    }
}

struct Scene {
    world: Rc<World>,
    near: Handle,
    far: Handle,
    sent: usize,
    returns: Returns,
    length: usize,
}

impl Scene {
    /// Two sockets that are connected, by a connection that takes nothing any more if it is `stalled`.
    fn new(near: Config, length: usize, stalled: bool) -> Self {
        let world = World::new(1);
        // Nothing is acknowledged before it is taken.
        let (near, far) = world.pair(near, config().acknowledge(Acknowledge::OnTake { at_latest: None }));
        if stalled {
            world.wire(0).out.set_capacity(0);
            world.wire(0).back.set_capacity(0);
        }
        Self { world, near, far, sent: 0, returns: Returns::default(), length }
    }

    fn payload(&mut self) -> Bytes {
        self.sent += 1;
        Bytes::from_owner(Owned(vec![7; self.length], self.near.clone(), self.returns.clone()))
    }

    fn send(&mut self, count: usize) {
        for _ in 0..count {
            let payload = self.payload();
            self.near.try_send(payload).expect("room");
        }
    }

    fn send_to(&mut self, count: usize) {
        for _ in 0..count {
            let (payload, to) = (self.payload(), self.far.identity());
            self.near.try_send_to(to, payload).expect("room");
        }
    }

    fn take(&self) {
        self.world.settle();
        while self.far.try_recv().expect("open").is_some() {
            self.world.settle();
        }
        self.world.pass(Duration::from_secs(1));
    }

    fn close(&self) {
        let near = self.near.clone();
        self.world.wait("close", async move { near.close_within(Duration::from_secs(1)).await });
    }

    fn end(self, what: &str) {
        let returns = self.returns.lock().expect("no panic").clone();
        assert_eq!(returns.len(), self.sent, "{what}, {} bytes: all are given back", self.length);
        let locked = returns.iter().filter(|free| !**free).count();
        assert_eq!(locked, 0, "{what}, {} bytes: given back behind the lock", self.length);
    }
}

/// Those that are copied, and those that are written from where they are.
const LENGTHS: [usize; 2] = [100, 20_000];

fn at_least_once() -> Config {
    config().delivery(DeliveryGuarantee::AtLeastOnce)
}

#[test]
fn what_was_sent_is_given_back_when_the_socket_may_be_used() {
    for length in LENGTHS {
        for (what, config) in [("at most once", config()), ("at least once", at_least_once())] {
            let mut scene = Scene::new(config, length, false);
            // More than are lined up at once.
            scene.send(2_000);
            scene.send_to(10);
            scene.take();
            scene.end(what);
        }
    }
}

#[test]
fn what_comes_back_from_a_lost_connection_is_given_back_when_the_socket_may_be_used() {
    for length in LENGTHS {
        let mut scene = Scene::new(at_least_once(), length, true);
        scene.send(10);
        scene.send_to(10);
        scene.world.settle();
        scene.near.disconnect_peer(scene.far.identity());
        scene.world.pass(Duration::from_secs(60));
        scene.take();
        scene.end("after its connection was lost");
    }
}

#[test]
fn what_was_published_is_given_back_when_the_socket_may_be_used() {
    for length in LENGTHS {
        for slow in [SlowPeer::DropNewest, SlowPeer::DropOldest, SlowPeer::Disconnect] {
            let publishes =
                config().send_mode(SendMode::Publish).slow_peer(slow).peer_queue(Limit::new(5, 1 << 20));
            let mut scene = Scene::new(publishes.clone(), length, false);
            scene.send(5);
            scene.send_to(5);
            scene.take();
            scene.end("to one that reads");
            let mut scene = Scene::new(publishes, length, true);
            scene.send(2);
            scene.send_to(2);
            scene.world.settle();
            scene.send(50);
            scene.close();
            scene.end("to one that does not read");
        }
    }
}

#[test]
fn what_is_given_up_is_given_back_when_the_socket_may_be_used() {
    for length in LENGTHS {
        for delivery in [config(), at_least_once().max_attempts(NonZeroU32::new(2))] {
            let mut scene = Scene::new(delivery.clone().peer_retention(Duration::from_secs(5)), length, true);
            scene.send_to(10);
            let far = scene.far.clone();
            scene.world.wait("far", async move { far.close_within(Duration::ZERO).await });
            scene.send_to(10);
            scene.world.pass(Duration::from_secs(60));
            scene.end("to one that does not come back");
            let mut scene = Scene::new(delivery.clone(), length, true);
            scene.send(10);
            scene.send_to(10);
            scene.close();
            scene.end("when the socket closes");
            let mut scene = Scene::new(delivery, length, false);
            scene.send(10);
            scene.world.pass(Duration::from_secs(200));
            scene.end("to one that does not take it");
        }
    }
}
