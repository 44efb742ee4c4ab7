//! Futures that are dropped at any point: nothing is lost, nothing comes twice.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use aiomsg_driver::Handle;
use aiomsg_proto::{Event, Limit};
use fastrand::Rng;

use crate::support::{Style, Task, World, config, drop_after, message, number, yield_now};

const SENDERS: u64 = 3;
const PER_SENDER: u64 = 400;

/// What one run keeps count of.
#[derive(Default)]
struct Tally {
    drops: Cell<u64>,
    received: RefCell<Vec<u64>>,
}

impl Tally {
    /// Polls a future a few times at most. Counts it if it was dropped.
    async fn impatient<F: Future>(&self, rng: &mut Rng, future: F) -> Option<F::Output> {
        let result = drop_after(future, rng.usize(..4)).await;
        if result.is_none() {
            self.drops.set(self.drops.get() + 1);
        }
        result
    }
}

/// Sends its messages, each as often as it takes until one attempt is not dropped.
async fn send_impatiently(near: Handle, far: Handle, tally: Rc<Tally>, mut rng: Rng, sender: u64) {
    for n in 0..PER_SENDER {
        let payload = message(sender << 32 | n, 8);
        loop {
            let result = if sender == 0 {
                tally.impatient(&mut rng, near.send_to(far.identity(), payload.clone())).await
            } else {
                tally.impatient(&mut rng, near.send(payload.clone())).await
            };
            match result {
                Some(result) => break result.expect("open"),
                None if rng.bool() => yield_now().await,
                None => {}
            }
        }
    }
}

async fn receive_impatiently(far: Handle, tally: Rc<Tally>, mut rng: Rng) {
    while (tally.received.borrow().len() as u64) < SENDERS * PER_SENDER {
        match tally.impatient(&mut rng, far.recv()).await {
            Some(Ok(received)) => tally.received.borrow_mut().push(number(&received.payload)),
            Some(Err(_)) => return,
            None => yield_now().await,
        }
    }
}

fn check(received: &[u64]) {
    let mut next = [0; SENDERS as usize];
    for number in received {
        let (sender, n) = (number >> 32, number & 0xffff_ffff);
        assert_eq!(n, next[sender as usize], "sender {sender}: in order, none lost, none twice");
        next[sender as usize] += 1;
    }
    assert_eq!(next, [PER_SENDER; SENDERS as usize]);
}

fn run(seed: u64) -> u64 {
    let world = World::new(seed);
    world.style.set(Style { capacity: 100, most: 60, reluctance: 10 });
    let tiny = Limit::new(4, 1 << 20);
    let (near, far) = world
        .pair(config().send_buffer(tiny).peer_queue(Limit::new(2, 1 << 20)), config().receive_buffer(tiny));
    let tally = Rc::new(Tally::default());
    let mut rng = Rng::with_seed(seed);
    let mut tasks: Vec<Task<()>> = Vec::new();
    for sender in 0..SENDERS {
        let work = send_impatiently(near.clone(), far.clone(), tally.clone(), rng.fork(), sender);
        tasks.push(world.spawn("sender", work));
    }
    // One receiver, so that the order in which messages are taken is known.
    tasks.push(world.spawn("receiver", receive_impatiently(far, tally.clone(), rng.fork())));
    for task in &tasks {
        world.finish(task);
    }
    check(&tally.received.borrow());
    tally.drops.get()
}

/// Each method by itself is dropped more often in the tests of drops; here they are in each other's way.
#[test]
fn drops_of_senders_and_receivers_at_once_lose_nothing_and_repeat_nothing() {
    let mut drops = 0;
    let mut seed = 0;
    while drops < 20_000 {
        drops += run(seed);
        seed += 1;
    }
}

/// Some receivers give up, others wait; whatever comes is taken.
#[test]
fn receivers_that_give_up_lose_nothing_for_those_that_wait() {
    for seed in 0..50 {
        let world = World::new(seed);
        let (near, far) = world.pair(config(), config());
        let tally = Rc::new(Tally::default());
        let mut rng = Rng::with_seed(seed);
        for _ in 0..4 {
            world.spawn("impatient", receive_impatiently(far.clone(), tally.clone(), rng.fork()));
            let (far, tally) = (far.clone(), tally.clone());
            world.spawn("patient", async move {
                while let Ok(received) = far.recv().await {
                    tally.received.borrow_mut().push(number(&received.payload));
                }
            });
        }
        let sender = near.clone();
        world.wait("sender", async move {
            for n in 0..SENDERS * PER_SENDER {
                sender.send(message(n, 8)).await.expect("open");
                if rng.u8(..3) == 0 {
                    yield_now().await;
                }
            }
        });
        world.settle();
        let mut received = tally.received.take();
        received.sort_unstable();
        assert!(received.iter().copied().eq(0..SENDERS * PER_SENDER), "seed {seed}");
    }
}

/// A watcher that gives up again and again sees the same events as one that does not.
#[test]
fn event_streams_lose_nothing() {
    let world = World::new(1);
    let (near, far) = (world.socket(config()), world.socket(config()));
    let (mut patient, mut impatient) = (near.events(), near.events());
    let seen = world.spawn("patient", async move {
        let mut seen = Vec::new();
        while let Some(event) = patient.recv().await {
            seen.push(event);
        }
        seen
    });
    let tally = Rc::new(Tally::default());
    let mut rng = Rng::with_seed(1);
    let also_seen = world.spawn("impatient", async move {
        let mut seen: Vec<Event> = Vec::new();
        loop {
            match tally.impatient(&mut rng, impatient.recv()).await {
                Some(Some(event)) => seen.push(event),
                Some(None) => return seen,
                None if rng.u8(..20) == 0 => seen.extend(impatient.recv().await),
                None => {}
            }
        }
    });
    world.join(&near, &far, "far");
    for _ in 0..50 {
        world.executor.abort_all("link");
        world.pass(Duration::from_secs(1));
    }
    let closing = world.spawn("close", async move { near.close(Duration::ZERO).await });
    world.finish(&closing);
    let seen = world.finish(&seen);
    assert!(seen.len() > 50);
    assert_eq!(world.finish(&also_seen), seen);
}

#[test]
fn waiting_for_peers_may_be_given_up() {
    let world = World::new(2);
    let (near, far) = (world.socket(config()), world.socket(config()));
    let tally = Rc::new(Tally::default());
    let mut rng = Rng::with_seed(2);
    let (impatient, patient) = (near.clone(), near.clone());
    world.spawn("impatient", async move {
        for _ in 0..1_000 {
            tally.impatient(&mut rng, impatient.wait_for_peers(2)).await;
        }
    });
    let waiting = world.spawn("patient", async move { patient.wait_for_peers(1).await });
    world.settle();
    assert!(!waiting.is_done());
    world.join(&near, &far, "far");
    world.finish(&waiting).expect("open");
}

/// Closing goes on without its future, and a further call gives the same report.
#[test]
fn closing_goes_on_when_its_future_is_dropped() {
    for polls in 1..4 {
        let world = World::new(3);
        let (near, far) = world.pair(config(), config());
        world.wire(0).out.set_capacity(0);
        near.try_send("kept".into()).expect("room");
        let handle = near.clone();
        let report = world.wait("close", async move {
            assert_eq!(drop_after(handle.close(Duration::from_secs(5)), polls).await, None);
            handle.close(Duration::from_secs(5)).await
        });
        assert_eq!(report.dropped.messages, 1);
        assert_eq!(world.wait("close", async move { near.close(Duration::MAX).await }), report);
        drop(far);
    }
}
