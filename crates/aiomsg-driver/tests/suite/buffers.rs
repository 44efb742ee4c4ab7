//! How much is read at a time, and what a message that is kept keeps with it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use aiomsg_driver::{Handle, Identity, Limit, Link, Receipt, SendError};
use bytes::{Bytes, BytesMut};

use crate::support::{Pipe, World, config, data, hello, message};

/// What a message of 16 bytes may keep from being freed.
const SMALL: usize = 64;

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

    /// Much has come, and the application takes what comes.
    fn taking() -> Self {
        let bench = Self::new();
        bench.burst();
        bench.put(&data(&[1; 16]));
        let _ = bench.take();
        bench
    }

    fn put(&self, bytes: &[u8]) {
        self.input.inject(bytes);
        self.world.settle();
    }

    fn take(&self) -> Bytes {
        let mut received = self.far.try_recv().expect("open");
        if received.is_none() {
            // It is read when what came before was taken.
            self.world.settle();
            received = self.far.try_recv().expect("open");
        }
        received.expect("a message").payload
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
        assert!(self.input.largest_room() >= 90 << 10, "large reads for much input");
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

/// Nothing but its length tells that a long message comes.
#[test]
fn no_room_is_made_for_what_was_announced_and_has_not_come() {
    let bench = Bench::new();
    bench.put(&(60_u32 << 20).to_be_bytes());
    for _ in 0..10 {
        bench.put(&[3; 100]);
        assert!(bench.input.latest_room() <= 96 << 10);
    }
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
    // The first one shows how long they are.
    bench.put(&frame[..CAME]);
    bench.put(&frame[CAME..]);
    assert_eq!(bench.take().len(), 64 << 10);
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

/// A buffer that was filled by half has room left for what comes next, which is little.
#[test]
fn a_small_message_that_fits_behind_others_keeps_little() {
    let bench = Bench::new();
    bench.burst();
    bench.put(&data(&[1; 16]).repeat(2_000));
    bench.put(&data(&[7; 2_000]));
    for _ in 0..2_000 {
        let _ = bench.take();
    }
    let retained = retained(bench.take());
    assert!(retained <= 4 * 2_000, "{retained} bytes are kept");
}

/// What is read while the application is busy is no longer in the caches when it is taken, and holds no sender back.
#[test]
fn an_application_that_takes_has_little_read_ahead() {
    const MUCH: usize = 30_000;
    let bench = Bench::taking();
    let before = bench.input.bytes_read();
    bench.put(&data(&[1; 16]).repeat(MUCH));
    let read = bench.input.bytes_read() - before;
    assert!(read > 0 && read <= (16 + 96) << 10, "{read} bytes were read, and none taken");
    for _ in 0..MUCH {
        assert_eq!(bench.take(), [1; 16][..]);
        assert!(bench.far.metrics().receive_held.bytes <= (16 + 96) << 10);
    }
    assert_eq!(bench.input.len(), 0);
}

/// What is behind the messages may be awaited.
#[test]
fn an_application_that_takes_nothing_has_everything_read() {
    const MUCH: usize = 30_000;
    let bench = Bench::new();
    bench.put(&data(&[1; 16]).repeat(MUCH));
    assert_eq!(bench.far.metrics().receive_held.messages, MUCH);
    assert_eq!(bench.input.len(), 0);
}

#[test]
fn an_application_that_stops_taking_has_everything_read_soon() {
    const MUCH: usize = 30_000;
    let bench = Bench::taking();
    bench.put(&data(&[1; 16]).repeat(MUCH));
    assert!(bench.input.len() > 0, "it is put off");
    bench.world.pass(Duration::from_secs(2));
    assert_eq!(bench.far.metrics().receive_held.messages, MUCH);
}

/// What makes room may be behind what nobody takes meanwhile.
#[test]
fn an_application_that_waits_to_send_has_everything_read() {
    const MUCH: usize = 30_000;
    let world = World::new(1);
    let far = world.socket(config().peer_queue(Limit::new(100, 100_000)));
    world.listen(&far, "far");
    let (_talks, talks) = world.raw("far");
    let (_stalls, stalls) = world.raw("far");
    talks.out.inject(&hello(200));
    stalls.out.inject(&hello(201));
    world.settle();
    stalls.back.set_capacity(0);
    let socket = far.clone();
    world.spawn("passes on", async move {
        while let Ok(message) = socket.recv().await {
            socket.send_to(Identity::from_bytes([201; 16]), message).await.expect("open");
        }
    });
    world.settle();
    talks.out.inject(&data(&[1; 16]).repeat(MUCH));
    world.settle();
    assert!(far.metrics().receive_held.messages > MUCH / 2, "it waits for room");
    assert_eq!(talks.out.len(), 0);
}

/// What is not read is not silence.
#[test]
fn a_peer_is_not_taken_for_dead_while_reading_is_put_off() {
    let bench = Bench::taking();
    bench.put(&data(&[1; 16]).repeat(200_000));
    // Nothing is written, either, so that nothing else has the connection looked at.
    bench.world.wire(0).back.set_capacity(0);
    for _ in 0..60 {
        let _ = bench.take();
        bench.world.pass(Duration::from_secs(1));
    }
    assert_eq!(bench.far.peers().len(), 1);
}

/// Nothing else tells the time here, since nobody has a heartbeat for an hour.
#[test]
fn an_application_that_takes_slowly_is_not_told_that_it_would_wait_for_ever() {
    const HOUR: Duration = Duration::from_secs(3_600);
    let world = World::new(1);
    let slow = config().heartbeat_interval(HOUR).heartbeat_timeout(3 * HOUR);
    let far = world.socket(slow.receive_buffer(Limit::new(99, 1 << 20)).peer_queue(Limit::new(4, 1 << 20)));
    world.listen(&far, "far");
    let (_link, wire) = world.raw("far");
    wire.out.inject(&hello(200));
    wire.out.inject(&data(&[1; 16]).repeat(200));
    world.settle();
    wire.back.set_capacity(0);
    let send = || {
        world.settle();
        far.try_send_to(Identity::from_bytes([200; 16]), message(0, 8))
    };
    let refused = (0..10).find_map(|_| send().err());
    assert!(matches!(refused, Some(SendError::PeerFull(_))), "{refused:?}");
    for _ in 0..20 {
        world.pass(Duration::from_secs(14));
        let refused = send();
        assert!(matches!(refused, Err(SendError::PeerFull(_))), "{refused:?}");
        assert!(far.try_recv().expect("open").is_some());
    }
}

/// Whoever has messages out that are not acknowledged hears of it, whatever came before.
#[test]
fn acknowledgements_are_read_behind_messages_that_nobody_takes() {
    const MUCH: u64 = 5_000;
    let world = World::new(1);
    let (near, far) = world.pair(config(), config());
    let (sender, taker) = (near.clone(), far.clone());
    world.wait("before", async move {
        sender.send(message(0, 8)).await.expect("open");
        taker.recv().await.expect("open");
    });
    let now = world.now();
    for number in 1..=MUCH {
        near.try_send(message(number, 100)).expect("room");
    }
    let (sender, taker) = (far, near);
    let receipt = world.spawn("sender", async move {
        let receipt = sender.send_with_receipt(message(0, 8)).await.expect("open");
        receipt.await
    });
    world.spawn("taker", async move { taker.recv().await.expect("open") });
    assert!(matches!(world.finish(&receipt), Receipt::Acknowledged { .. }));
    assert_eq!(world.now(), now, "without waiting for a heartbeat");
}

/// It is read for a second when it ends. An application that takes messages meanwhile, but not all, had used that up.
#[test]
fn what_a_peer_had_sent_is_read_while_its_connection_ends() {
    let bench = Bench::taking();
    bench.put(&data(&[1; 1_000]).repeat(250));
    let mut count = 0;
    let mut take = |most| {
        count += (0..most).map_while(|_| bench.far.try_recv().expect("open")).count();
        count
    };
    take(70);
    assert!(bench.far.disconnect_peer(Identity::from_bytes([200; 16])));
    bench.world.pass(Duration::from_millis(10));
    take(70);
    // The peer wrote them before it saw that we write nothing any more.
    bench.put(&data(&[2; 1_000]).repeat(50));
    bench.input.end();
    for _ in 0..30 {
        bench.world.pass(Duration::from_millis(100));
        take(1);
    }
    assert_eq!(bench.far.metrics().connections, 0);
    assert_eq!(take(usize::MAX), 300);
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

/// A connection on which the peer's last message comes at the moment when writing fails.
struct Parting {
    input: VecDeque<Vec<u8>>,
    last: Vec<u8>,
    writes: usize,
}

impl Link for Parting {
    fn poll_read(&mut self, _: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        match self.input.pop_front() {
            Some(bytes) => {
                buffer.extend_from_slice(&bytes);
                Poll::Ready(Ok(bytes.len()))
            }
            None => Poll::Pending,
        }
    }

    fn poll_write(&mut self, _: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.writes += 1;
        if self.writes == 1 {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        self.input.push_back(std::mem::take(&mut self.last));
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// It had looked for something to read before it wrote.
#[test]
fn what_comes_while_writing_fails_is_received() {
    let world = World::new(1);
    let far = world.socket(config());
    let acceptor = far.listen("far").expect("open");
    let link = Parting { input: [hello(200)].into(), last: data(&[7; 16]), writes: 0 };
    world.spawn("link", acceptor.accepted(link, "peer").expect("wanted"));
    world.settle();
    assert_eq!(far.peers().len(), 1);
    far.try_send(message(1, 8)).expect("room");
    world.settle();
    assert_eq!(far.peers().len(), 0, "writing has failed");
    assert_eq!(far.try_recv().expect("open").expect("a message").payload, [7; 16][..]);
}
