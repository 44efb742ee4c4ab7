//! Many that send to one: nobody is passed over.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

use aiomsg_driver::Handle;
use aiomsg_proto::Limit;
use fastrand::Rng;

use crate::support::{Pipe, Style, World, config, data, hello, message, number, yield_now};

const SLOW: u64 = 10;

/// Messages of all slow senders, in one world.
const MESSAGES: u64 = 500;

/// Messages that were taken: in all, and of each sender.
type Taken = Rc<RefCell<(u64, [u64; SLOW as usize + 1])>>;

/// Sends messages that say how many others had been taken by then. The first sender does so without end, the others
/// when the message before was taken, and later.
async fn send(socket: Handle, sender: u64, taken: Taken, mut rng: Rng) {
    for sent in 1.. {
        let now = taken.borrow().0;
        socket.send(message(sender << 32 | now, 8)).await.expect("it is open");
        while sender > 0 && taken.borrow().1[sender as usize] < sent {
            yield_now().await;
        }
        for _ in 0..if sender > 0 { rng.u8(..100) } else { 0 } {
            yield_now().await;
        }
    }
}

/// Takes messages, more slowly than they could come. Returns for how many others one of a slow sender waited, at most.
async fn take(far: Handle, taken: Taken, mut rng: Rng) -> u64 {
    let (mut most, mut slow) = (0, 0);
    while slow < MESSAGES {
        let received = number(&far.recv_from().await.expect("it is open").payload);
        let (sender, sent) = (received >> 32, received & 0xffff_ffff);
        let others = taken.borrow().0 - sent;
        if sender > 0 {
            slow += 1;
            most = most.max(others);
        }
        taken.borrow_mut().0 += 1;
        taken.borrow_mut().1[sender as usize] += 1;
        for _ in 0..rng.u8(..4) {
            yield_now().await;
        }
    }
    most
}

fn crowd(seed: u64, buffer: usize) -> u64 {
    let world = World::new(seed);
    world.style.set(Style { capacity: 1 << 12, most: 1 << 10, reluctance: 10 });
    let far = world.socket(config().receive_buffer(Limit::new(buffer, 1 << 20)));
    world.listen(&far, "far");
    let (mut rng, taken) = (Rng::with_seed(seed), Taken::default());
    let senders: Vec<Handle> =
        (0..=SLOW).map(|_| world.socket(config().send_buffer(Limit::new(16, 1 << 20)))).collect();
    for socket in &senders {
        world.dial(socket, "far");
    }
    let everybody = far.clone();
    world.wait("join", async move { everybody.wait_for_peers(SLOW as usize + 1).await.expect("it is open") });
    for (sender, socket) in (0..).zip(&senders) {
        world.spawn("sender", send(socket.clone(), sender, taken.clone(), rng.fork()));
    }
    let most = world.wait("receiver", take(far.clone(), taken.clone(), rng.fork()));
    // What was accepted by then comes as well.
    world.executor.abort_all("sender");
    world.settle();
    let mut rest = 0;
    while far.try_recv().expect("it is open").is_some() {
        rest += 1;
        world.settle();
    }
    let accepted: usize = senders.iter().map(|socket| socket.metrics().accepted.messages).sum();
    let handed_over: usize = senders.iter().map(|socket| socket.metrics().handed_over.messages).sum();
    assert_eq!((handed_over, taken.borrow().0 as usize + rest), (accepted, accepted));
    assert!(taken.borrow().0 > 5 * MESSAGES, "one is at full speed");
    most
}

#[test]
fn slow_senders_wait_for_few_others_beside_one_at_full_speed() {
    const BUFFER: usize = 64;
    for seed in 0..5 {
        // It is read in its turn, and has no more before it than the buffer holds.
        let most = crowd(seed, BUFFER);
        assert!(most <= BUFFER as u64, "seed {seed}: {most}");
    }
}

/// The peers that messages come from, each as often as it has its turn to be read.
fn turns(seed: u64, peers: u8) -> Vec<u8> {
    const MUCH: usize = 150_000;
    let world = World::new(seed);
    let far = world.socket(config());
    world.listen(&far, "far");
    let raw: Vec<_> = (0..peers).map(|_| world.raw("far")).collect();
    let mut turns: Vec<u8> = Vec::new();
    let mut take = |count| {
        for _ in 0..count {
            let mut received = far.try_recv().expect("it is open");
            if received.is_none() {
                // It is read when what came before was taken.
                world.settle();
                received = far.try_recv().expect("it is open");
            }
            let peer = received.expect("a message").identity.as_bytes()[0];
            if turns.last() != Some(&peer) {
                turns.push(peer);
            }
        }
    };
    for (number, (_, wire)) in (200..).zip(&raw) {
        wire.out.inject(&[hello(number), data(&[1; 16])].concat());
    }
    // Reading is put off for an application that takes messages.
    take(peers.into());
    for (_, wire) in &raw {
        wire.out.inject(&data(&[1; 16]).repeat(MUCH));
    }
    take(MUCH * usize::from(peers) / 2);
    turns
}

/// What one of them brings is enough to put the others off.
#[test]
fn peers_that_bring_much_are_read_in_turn() {
    const PEERS: u8 = 4;
    for seed in 0..5 {
        let turns = turns(seed, PEERS);
        // What came at first was read before reading was put off.
        let turns = &turns[2 * usize::from(PEERS)..];
        assert!(turns.len() > 8 * usize::from(PEERS), "seed {seed}: {turns:?}");
        for round in turns.windows(PEERS.into()) {
            assert!(
                (200..200 + PEERS).all(|peer| round.contains(&peer)),
                "seed {seed}: {round:?} in {turns:?}"
            );
        }
    }
}

/// A socket, and peers that are just bytes.
struct Waiting {
    world: Rc<World>,
    far: Handle,
    pipes: Vec<Pipe>,
    _links: Vec<Box<dyn Any>>,
}

/// There is so much to take that reading is put off for all peers but the first, each of which has sent a message that is
/// not read. The application takes messages.
fn waiting(peers: u8) -> Waiting {
    let world = World::new(1);
    let far = world.socket(config());
    world.listen(&far, "far");
    let (links, pipes): (Vec<Box<dyn Any>>, Vec<_>) = (0..peers)
        .map(|_| {
            let (link, wire) = world.raw("far");
            (Box::new(link) as Box<dyn Any>, wire.out)
        })
        .unzip();
    for (number, pipe) in (200..).zip(&pipes) {
        pipe.inject(&[hello(number), data(&[0; 16])].concat());
        world.settle();
    }
    take_now(&far, peers.into());
    let few = usize::from(peers) - 1;
    pipes[0].inject(&data(&[1; 16]).repeat(MANY - few));
    world.settle();
    // The first that comes of each of the others is read: so it learns that much is there.
    for round in [1, 2] {
        for pipe in &pipes[1..] {
            pipe.inject(&data(&[2; 16]));
            world.settle();
            assert_eq!(pipe.len() > 0, round == 2, "it is put off");
        }
    }
    assert_eq!(far.metrics().receive_held.messages, MANY);
    Waiting { world, far, pipes, _links: links }
}

/// Takes messages that are there. Returns the peers that they came from.
fn take_now(far: &Handle, count: usize) -> Vec<u8> {
    let take = |_| far.try_recv().expect("it is open").expect("a message").identity.as_bytes()[0];
    (0..count).map(take).collect()
}

/// So many messages are there, more than are read ahead.
const MANY: usize = 1_100;

#[test]
fn a_peer_that_brings_little_holds_nobody_up() {
    let Waiting { world, far, .. } = &waiting(5);
    take_now(far, MANY);
    world.settle();
    assert_eq!(take_now(far, 4), [201, 202, 203, 204]);
}

#[test]
fn nobody_is_read_before_those_who_were_put_off_earlier() {
    let Waiting { world, far, pipes, .. } = &waiting(3);
    take_now(far, MANY - 10);
    // There is little now.
    pipes[0].inject(&data(&[3; 16]));
    world.settle();
    take_now(far, 10);
    world.settle();
    assert_eq!(take_now(far, 3), [201, 202, 200]);
}
