//! What idle connections cost, and what a large message leaves behind. Alone in its program, since it looks at all memory
//! that is in use.

use std::any::Any;
use std::sync::{Mutex, PoisonError};

use aiomsg_driver::{Acknowledge, Handle};
use peak_alloc::PeakAlloc;

use self::support::{Pipe, World, config};

#[expect(dead_code, unused_imports, reason = "this test needs only a part of it")]
mod support;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// One at a time.
static ALONE: Mutex<()> = Mutex::new(());

const LINKS: usize = 50;

/// A message of 16 bytes as it is on the wire.
const MESSAGE: &[u8] = &[0, 0, 0, 17, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

/// Much arrives and is taken, then a message that does not come to its end, if there is a `rest`.
fn make_busy(world: &World, far: &Handle, input: &Pipe, rest: &[u8]) {
    input.inject(&MESSAGE.repeat(20_000));
    input.inject(rest);
    world.settle();
    while far.try_recv().expect("open").is_some() {
        world.settle();
    }
    input.shrink();
}

fn hello(number: u8) -> Vec<u8> {
    [&[0, 0, 0, 18, 1, 1][..], &[number; 15], &[100]].concat()
}

#[test]
fn links_that_were_busy_and_fall_idle_hold_no_large_buffers() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for rest in [&[][..], &MESSAGE[..10]] {
        let world = World::new(1);
        let far = world.socket(config());
        world.listen(&far, "far");
        let mut peers: Vec<(Box<dyn Any>, Pipe)> = Vec::new();
        for n in 0..LINKS {
            let (link, wire) = world.raw("far");
            wire.out.inject(&hello(n as u8));
            peers.push((Box::new(link), wire.out));
            world.settle();
        }
        assert_eq!(far.peers().len(), LINKS);
        // What the socket itself needs for a burst is not counted.
        let (first, others) = peers.split_at(4);
        first.iter().for_each(|(_, input)| make_busy(&world, &far, input, rest));
        let quiet = MEMORY.current_usage();
        for (_, input) in others {
            make_busy(&world, &far, input, rest);
        }
        assert!(peers.iter().all(|(_, input)| input.largest_room() > 90 << 10), "they were busy");
        let more = MEMORY.current_usage().saturating_sub(quiet);
        assert!(more < LINKS * (8 << 10), "{more} bytes are held for {LINKS} idle links");
    }
}

#[test]
fn a_large_message_that_was_dropped_leaves_little_behind() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let world = World::new(1);
    let far = world.socket(config());
    world.listen(&far, "far");
    let (_link, wire) = world.raw("far");
    wire.out.inject(&hello(1));
    world.settle();
    let before = MEMORY.current_usage();
    let message = vec![7; 30 << 20];
    wire.out.inject(&(message.len() as u32 + 1).to_be_bytes());
    wire.out.inject(&[3]);
    for piece in message.chunks(1 << 20) {
        wire.out.inject(piece);
        world.settle();
    }
    drop(message);
    wire.out.shrink();
    assert_eq!(far.try_recv().expect("open").expect("a message").payload.len(), 30 << 20);
    // No time has passed.
    let more = MEMORY.current_usage().saturating_sub(before);
    assert!(more < 2 << 20, "{more} bytes are held after a message that nobody has any more");
}

/// The receive buffer counts a byte for each of them.
#[test]
fn short_messages_hold_nothing_of_what_was_skipped_beside_them() {
    const MESSAGES: usize = 500;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let frame = |body: &[u8]| [&(body.len() as u32).to_be_bytes()[..], body].concat();
    let skipped = frame(&[&[0x77][..], &[0; 25_000]].concat());
    for (by_hand, behind) in [(false, false), (false, true), (true, false), (true, true)] {
        let acknowledge = if by_hand { Acknowledge::Manual } else { Acknowledge::default() };
        let world = World::new(1);
        let far = world.socket(config().acknowledge(acknowledge));
        world.listen(&far, "far");
        let (_link, wire) = world.raw("far");
        wire.out.inject(&hello(1));
        world.settle();
        let before = MEMORY.current_usage();
        for number in 0..MESSAGES as u128 {
            let request = || frame(&[&[4][..], &number.to_le_bytes(), &[7]].concat());
            let message = if by_hand { request() } else { frame(&[3, 7]) };
            let came =
                if behind { [&skipped[..], &message].concat() } else { [&message[..], &skipped].concat() };
            wire.out.inject(&came);
            world.settle();
        }
        wire.out.shrink();
        let held = far.metrics().receive_held;
        assert_eq!((held.messages, held.bytes), (MESSAGES, MESSAGES));
        let more = MEMORY.current_usage().saturating_sub(before);
        assert!(more < MESSAGES * 1_000, "{more} bytes are held for {MESSAGES} messages of a byte each");
    }
}
