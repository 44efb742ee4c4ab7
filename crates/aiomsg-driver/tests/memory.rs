//! What idle connections cost. Alone in its program, since it looks at all memory that is in use.

use std::any::Any;

use aiomsg_driver::Handle;
use peak_alloc::PeakAlloc;

use self::support::{Pipe, World, config};

#[expect(dead_code, unused_imports, reason = "this test needs only a part of it")]
mod support;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const LINKS: usize = 50;

/// A message of 16 bytes as it is on the wire.
const MESSAGE: &[u8] = &[0, 0, 0, 17, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

/// Much arrives and is taken, then a message that does not come to its end.
fn make_busy(world: &World, far: &Handle, input: &Pipe) {
    input.inject(&MESSAGE.repeat(20_000));
    input.inject(&MESSAGE[..10]);
    world.settle();
    while far.try_recv().expect("open").is_some() {
        world.settle();
    }
    input.shrink();
}

#[test]
fn links_that_were_busy_and_fall_idle_hold_no_large_buffers() {
    let world = World::new(1);
    let far = world.socket(config());
    world.listen(&far, "far");
    let mut peers: Vec<(Box<dyn Any>, Pipe)> = Vec::new();
    for n in 0..LINKS {
        let (link, wire) = world.raw("far");
        wire.out.inject(&[&[0, 0, 0, 18, 1, 1][..], &[n as u8; 15], &[100]].concat());
        peers.push((Box::new(link), wire.out));
        world.settle();
    }
    assert_eq!(far.peers().len(), LINKS);
    // What the socket itself needs for a burst is not counted.
    let (first, rest) = peers.split_at(4);
    first.iter().for_each(|(_, input)| make_busy(&world, &far, input));
    let quiet = MEMORY.current_usage();
    for (_, input) in rest {
        make_busy(&world, &far, input);
    }
    assert!(peers.iter().all(|(_, input)| input.largest_room() > 100 << 10), "they were busy");
    let more = MEMORY.current_usage().saturating_sub(quiet);
    assert!(more < LINKS * (8 << 10), "{more} bytes are held for {LINKS} idle links");
}
