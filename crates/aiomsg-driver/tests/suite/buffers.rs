//! How much is read at a time, and what a message that is kept keeps with it.

use std::rc::Rc;
use std::time::Duration;

use aiomsg_driver::Handle;
use bytes::Bytes;

use crate::support::{Pipe, World, config};

/// What a message of 16 bytes may keep from being freed.
const SMALL: usize = 64;

fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

fn hello(identity: u8) -> Vec<u8> {
    let mut body = vec![1, 1];
    body.extend_from_slice(&[identity; 16]);
    frame(&body)
}

fn data(payload: &[u8]) -> Vec<u8> {
    let mut body = vec![3];
    body.extend_from_slice(payload);
    frame(&body)
}

/// A socket, and a peer that is no socket but bytes put in by hand.
struct Bench {
    world: Rc<World>,
    far: Handle,
    input: Pipe,
    _link: Box<dyn std::any::Any>,
}

impl Bench {
    fn new() -> Self {
        let world = World::new(1);
        let far = world.socket(config());
        world.listen(&far, "far");
        let (link, wire) = world.raw("far");
        let bench = Self { world, far, input: wire.out, _link: Box::new(link) };
        bench.put(&hello(200));
        bench
    }

    fn put(&self, bytes: &[u8]) {
        self.input.inject(bytes);
        self.world.settle();
    }

    fn take(&self) -> Bytes {
        self.far.try_recv().expect("open").expect("a message").payload
    }

    /// Has so much arrive at once that the largest reads are made.
    fn burst(&self) {
        let count = 200_000;
        let bytes = data(&[1; 16]).repeat(count);
        let taker = self.far.clone();
        let taking = self.world.spawn("taker", async move {
            for _ in 0..count {
                taker.recv_from().await.expect("open");
            }
        });
        self.put(&bytes);
        self.world.finish(&taking);
        assert!(self.input.largest_room() >= 100 << 10, "large reads for much input");
    }
}

/// The size of the buffer that a message lies in, from the message on.
fn retained(message: Bytes) -> usize {
    message.try_into_mut().map_or(usize::MAX, |buffer| buffer.capacity())
}

#[test]
fn a_small_message_keeps_little() {
    let bench = Bench::new();
    bench.put(&data(&[7; 16]));
    assert!(retained(bench.take()) <= SMALL);
}

#[test]
fn a_small_message_after_a_burst_keeps_little() {
    let bench = Bench::new();
    bench.burst();
    bench.put(&data(&[7; 16]));
    assert!(retained(bench.take()) <= SMALL);
}

#[test]
fn a_small_message_in_two_pieces_keeps_little() {
    for burst in [false, true] {
        let bench = Bench::new();
        if burst {
            bench.burst();
        }
        let bytes = data(&[7; 16]);
        for cut in 1..bytes.len() {
            bench.put(&bytes[..cut]);
            bench.put(&bytes[cut..]);
            let retained = retained(bench.take());
            assert!(retained <= 4 * SMALL, "cut at {cut}, burst {burst}: {retained} bytes are kept");
        }
    }
}

#[test]
fn small_messages_a_byte_at_a_time_keep_little() {
    let bench = Bench::new();
    bench.burst();
    for byte in data(&[7; 16]).repeat(20) {
        bench.put(&[byte]);
    }
    for _ in 0..20 {
        let retained = retained(bench.take());
        assert!(retained <= 4 * SMALL, "{retained} bytes are kept");
    }
}

#[test]
fn reads_are_small_while_little_comes_and_grow_with_what_comes() {
    let bench = Bench::new();
    bench.put(&data(&[7; 16]));
    assert!(bench.input.largest_room() <= 4_096);
    bench.burst();
    for _ in 0..20 {
        bench.put(&data(&[7; 16]));
    }
    assert!(bench.input.latest_room() <= 4_096, "reads shrink again");
}

/// Nothing but its length tells that a long message comes.
#[test]
fn memory_follows_what_came_and_not_what_was_announced() {
    let bench = Bench::new();
    bench.put(&(60_u32 << 20).to_be_bytes());
    assert!(bench.input.latest_room() <= 4_096);
    for _ in 0..10 {
        bench.put(&[3; 100]);
    }
    assert!(bench.input.latest_room() <= 16 << 10);
}

#[test]
fn a_large_message_arrives_whole() {
    let bench = Bench::new();
    let payload = vec![9; 30 << 20];
    let mut came = 0;
    for piece in data(&payload).chunks(1 << 20) {
        bench.put(piece);
        came += piece.len();
        assert!(bench.input.latest_room() <= came + (256 << 10), "room follows what came");
    }
    assert_eq!(bench.take(), payload);
}

/// To copy all that has come whenever more comes would take a time that grows with the square of the length.
#[test]
fn the_buffer_of_a_large_message_grows_by_leaps() {
    let bench = Bench::new();
    for piece in data(&vec![9; 30 << 20]).chunks(1 << 20) {
        bench.put(piece);
    }
    assert_eq!(bench.take().len(), 30 << 20);
    let growths = bench.input.growths();
    assert!(growths <= 40, "the buffer has grown {growths} times");
}

/// What came of the frame behind it would have to be copied to where the rest of that is read.
#[test]
fn of_long_frames_whole_ones_are_asked_for() {
    const CAME: usize = 30_000;
    let bench = Bench::new();
    bench.burst();
    let frame = data(&vec![9; 64 << 10]);
    for _ in 0..20 {
        bench.put(&frame[..CAME]);
        bench.put(&frame[CAME..]);
        let beside = bench.input.latest_room() - (frame.len() - CAME);
        assert_eq!(beside % frame.len(), 0, "{beside} bytes beside the rest of the frame");
        assert_eq!(bench.take().len(), 64 << 10);
    }
}

/// What a large message leaves of its buffer is not for the small ones that follow it.
#[test]
fn a_small_message_after_a_large_one_keeps_little() {
    let bench = Bench::new();
    bench.put(&[data(&vec![9; 5 << 20]), data(&[7; 16])].concat());
    bench.put(&data(&[8; 16]));
    assert_eq!(bench.take().len(), 5 << 20);
    assert_eq!(bench.take(), [7; 16][..]);
    assert!(retained(bench.take()) <= SMALL);
}

/// A connection whose buffer has room left for what comes next, which is little.
#[test]
fn a_small_message_that_fits_behind_others_keeps_little() {
    let bench = Bench::new();
    bench.burst();
    for _ in 0..20 {
        bench.put(&data(&[7; 16]));
        let _ = bench.take();
    }
    // So much that the buffer is kept, and has little room left.
    bench.put(&data(&[1; 16]).repeat(6_000));
    bench.put(&data(&[7; 2_000]));
    for _ in 0..6_000 {
        let _ = bench.take();
    }
    assert!(retained(bench.take()) <= 4 * 2_000);
}

/// Before more is read, what has come is there to be taken while it is still at hand.
#[test]
fn the_application_has_its_turn_before_more_is_read() {
    const MUCH: usize = 30_000;
    let bench = Bench::new();
    bench.burst();
    bench.input.inject(&data(&[1; 16]).repeat(MUCH));
    let before = bench.input.bytes_read();
    let polls = bench.world.executor.polls("link");
    while bench.world.executor.polls("link") < polls + 1 {
        assert!(bench.world.executor.step(), "the link is to read");
    }
    let read = bench.input.bytes_read() - before;
    assert!(read > 0 && read <= (128 + 64 + 128) << 10, "{read} bytes were read in one turn");
    // And then it is read to the end without anything else happening.
    bench.world.settle();
    assert_eq!(bench.input.len(), 0);
    assert_eq!(bench.far.metrics().receive_held.messages, MUCH);
}

#[test]
fn little_is_read_before_the_peer_has_introduced_itself() {
    let world = World::new(1);
    let far = world.socket(config());
    world.listen(&far, "far");
    let (_link, wire) = world.raw("far");
    wire.out.inject(&hello(200)[..10]);
    world.settle();
    assert!(wire.out.largest_room() <= 4_096);
}

/// A peer whose identity is taken waits for the decision; what it sends behind its introduction waits, too.
#[test]
fn little_is_read_of_a_peer_that_is_not_accepted_yet() {
    for step in [1, 100, 4_000, 1 << 20] {
        let bench = Bench::new();
        let (_link, wire) = bench.world.raw("far");
        wire.out.inject(&hello(200));
        for piece in vec![0; 1 << 20].chunks(step).take(10_000) {
            wire.out.inject(piece);
            bench.world.settle();
        }
        let read = wire.out.bytes_read();
        assert!(read <= 22 + 4_096, "{read} bytes were read in steps of {step}");
        bench.world.pass(Duration::from_secs(7));
        assert_eq!(bench.far.peers().len(), 1, "the silent one was displaced");
    }
}
