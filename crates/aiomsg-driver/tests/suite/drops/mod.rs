//! Each asynchronous method, given up a hundred thousand times while it waits: nothing is lost, nothing comes twice, and
//! nobody else is kept waiting.

mod receiving;
mod sending;
mod waiting;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use aiomsg_driver::Handle;
use fastrand::Rng;

use crate::support::{number, yield_now};

/// Futures of each method that are dropped while they wait.
const DROPS: u64 = 100_000;

/// Of these, those in one world. The next one has another seed.
const DROPS_IN_ONE_WORLD: u64 = 5_000;

/// How many futures were dropped.
type Drops = Rc<Cell<u64>>;

/// Gives futures up.
struct Quitter {
    rng: Rng,
    drops: Drops,
}

impl Quitter {
    fn new(rng: &mut Rng, drops: &Drops) -> Self {
        Self { rng: rng.fork(), drops: drops.clone() }
    }

    /// Polls a future once, or a few times with others in between, and drops it: `None`. Counts it if it had waited.
    async fn attempt<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let polls = if self.rng.u8(..4) > 0 { 1 } else { self.rng.u8(2..=3) };
        for poll in 0..polls {
            if poll > 0 {
                yield_now().await;
            }
            let polled = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
            if let Poll::Ready(output) = polled {
                return Some(output);
            }
        }
        self.drops.set(self.drops.get() + 1);
        None
    }

    /// Lets others run, or not.
    async fn rest(&mut self, out_of: u8) {
        if self.rng.u8(..out_of) == 0 {
            yield_now().await;
        }
    }
}

/// Plays in one world after another, until there were enough drops.
fn play(mut world: impl FnMut(u64, &Drops)) {
    let mut drops = 0;
    for seed in 0.. {
        let here = Drops::default();
        world(seed, &here);
        drops += here.get();
        assert!(here.get() > 0, "seed {seed}: something was dropped");
        if drops >= DROPS {
            return;
        }
    }
}

/// The numbers of messages in the order in which they were taken.
type Taken = Rc<RefCell<Vec<u64>>>;

/// Checks that all messages of each sender were taken, each once, in order; the upper half of a number is its sender.
fn check_taken(taken: &[u64], sent: &BTreeMap<u64, u64>) {
    let mut next = BTreeMap::new();
    for number in taken {
        let expected = next.entry(number >> 32).or_insert(0);
        assert_eq!(
            number & 0xffff_ffff,
            *expected,
            "sender {}: in order, none lost, none twice",
            number >> 32
        );
        *expected += 1;
    }
    next.retain(|_, count| *count > 0);
    assert_eq!(next, *sent);
}

/// Checks by the counters of two sockets that what one accepted came to the other, and was taken there.
fn check_accounts(near: &Handle, far: &Handle, accepted: u64) {
    let (sent, received) = (near.metrics(), far.metrics());
    let count = |messages: usize| messages as u64;
    assert_eq!(count(sent.accepted.messages), accepted);
    assert_eq!(count(sent.handed_over.messages + sent.acknowledged.messages), accepted);
    let dropped = [
        sent.dropped_slow_peer,
        sent.dropped_peer_left,
        sent.dropped_undeliverable,
        sent.dropped_expired,
        sent.dropped_at_close,
    ];
    assert_eq!((sent.send_held.messages, dropped), (0, Default::default()));
    assert_eq!(count(received.received.messages), accepted);
    assert_eq!((received.receive_held.messages, received.discarded.messages), (0, 0));
}

/// The number of a message that was taken.
fn note(taken: &Taken, payload: &[u8]) {
    taken.borrow_mut().push(number(payload));
}
