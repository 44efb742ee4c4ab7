//! A connection in memory: two bounded byte pipes, and two links that take as many bytes at a time as chance says.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use aiomsg_driver::Link;
use bytes::BytesMut;
use fastrand::Rng;

/// How a connection behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// Bytes that one direction holds.
    pub(crate) capacity: usize,
    /// Bytes that one read or write takes, at most; how many is drawn each time.
    pub(crate) most: usize,
    /// Out of a hundred calls, those that are not ready although they could be, and are soon after.
    pub(crate) reluctance: u8,
}

impl Style {
    /// Takes all it can at once.
    pub(crate) const EAGER: Self = Self { capacity: 1 << 18, most: usize::MAX, reluctance: 0 };
    /// Takes little, and often nothing.
    pub(crate) const RAGGED: Self = Self { capacity: 1 << 10, most: 200, reluctance: 20 };
    /// One byte at a time.
    pub(crate) const TRICKLE: Self = Self { capacity: 64, most: 1, reluctance: 5 };
}

#[derive(Debug, Default)]
struct PipeState {
    bytes: VecDeque<u8>,
    capacity: usize,
    /// Nothing more is written.
    ended: bool,
    /// The end that reads is gone.
    unread: bool,
    failed: Option<io::ErrorKind>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Bytes ever read.
    read: u64,
    /// Room offered to the latest read, and to the most generous one.
    latest_room: usize,
    largest_room: usize,
    /// The largest buffer that was read into, and how often it was larger than any before.
    largest_buffer: usize,
    growths: usize,
    /// What may wait in the system, if that was said.
    unsent: Option<u32>,
}

/// One direction of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pipe(Rc<RefCell<PipeState>>);

impl Pipe {
    fn new(capacity: usize) -> Self {
        let pipe = Self::default();
        pipe.0.borrow_mut().capacity = capacity;
        pipe
    }

    fn change<R>(&self, change: impl FnOnce(&mut PipeState) -> R) -> R {
        let mut state = self.0.borrow_mut();
        let result = change(&mut state);
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
        result
    }

    /// Puts bytes in as if they had been written, however many.
    pub(crate) fn inject(&self, bytes: &[u8]) {
        self.change(|state| state.bytes.extend(bytes));
    }

    /// Frees what it does not need, for who counts memory.
    #[allow(dead_code, reason = "one of the programs that share this needs it")]
    pub(crate) fn shrink(&self) {
        self.change(|state| state.bytes.shrink_to_fit());
    }

    /// Ends the stream.
    pub(crate) fn end(&self) {
        self.change(|state| state.ended = true);
    }

    /// Fails reads and writes from now on.
    pub(crate) fn fail(&self, kind: io::ErrorKind) {
        self.change(|state| state.failed = Some(kind));
    }

    /// Sets how many bytes it holds; zero blocks the writer.
    pub(crate) fn set_capacity(&self, capacity: usize) {
        self.change(|state| state.capacity = capacity);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.borrow().bytes.len()
    }

    /// Bytes that were read from it.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.0.borrow().read
    }

    /// Spare capacity that the latest read offered.
    pub(crate) fn latest_room(&self) -> usize {
        self.0.borrow().latest_room
    }

    /// The largest spare capacity that a read offered.
    pub(crate) fn largest_room(&self) -> usize {
        self.0.borrow().largest_room
    }

    /// How much its writer lets it hold unsent, if it said so.
    #[allow(dead_code, reason = "one of the programs that share this needs it")]
    pub(crate) fn unsent(&self) -> Option<u32> {
        self.0.borrow().unsent
    }

    /// How often a read had a larger buffer than all before.
    pub(crate) fn growths(&self) -> usize {
        self.0.borrow().growths
    }
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct TestLink {
    incoming: Pipe,
    outgoing: Pipe,
    style: Style,
    rng: Rng,
}

/// Both directions of a connection, seen from the end that dialled.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    pub(crate) out: Pipe,
    pub(crate) back: Pipe,
}

/// A connection with its two ends.
pub(crate) fn connection(style: Style, seed: u64) -> (TestLink, TestLink, Wire) {
    let wire = Wire { out: Pipe::new(style.capacity), back: Pipe::new(style.capacity) };
    let end = |incoming: &Pipe, outgoing: &Pipe, seed| TestLink {
        incoming: incoming.clone(),
        outgoing: outgoing.clone(),
        style,
        rng: Rng::with_seed(seed),
    };
    (end(&wire.back, &wire.out, seed), end(&wire.out, &wire.back, !seed), wire)
}

impl TestLink {
    /// Not ready now, but at once.
    fn is_reluctant(&mut self, cx: &Context<'_>) -> bool {
        let reluctant = self.rng.u8(..100) < self.style.reluctance;
        if reluctant {
            cx.waker().wake_by_ref();
        }
        reluctant
    }

    /// How much of `possible` is taken; all of it is as likely as less.
    fn draw(&mut self, possible: usize) -> usize {
        let most = possible.min(self.style.most);
        if self.style.most == usize::MAX || most <= 1 || self.rng.bool() {
            return most;
        }
        self.rng.usize(1..=most)
    }
}

impl Link for TestLink {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.incoming.0.borrow_mut();
        if !state.bytes.is_empty() || state.ended || state.failed.is_some() {
            return Poll::Ready(());
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        let room = buffer.capacity() - buffer.len();
        assert!(room > 0, "there must be room to read into");
        let pipe = self.incoming.clone();
        let mut state = pipe.0.borrow_mut();
        state.latest_room = room;
        state.largest_room = state.largest_room.max(room);
        if buffer.capacity() > state.largest_buffer {
            state.largest_buffer = buffer.capacity();
            state.growths += 1;
        }
        if let Some(kind) = state.failed {
            return Poll::Ready(Err(kind.into()));
        }
        if state.bytes.is_empty() {
            if state.ended {
                return Poll::Ready(Ok(0));
            }
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if self.is_reluctant(cx) {
            return Poll::Pending;
        }
        let taken = self.draw(room.min(state.bytes.len()));
        let bytes: Vec<u8> = state.bytes.drain(..taken).collect();
        buffer.extend_from_slice(&bytes);
        state.read += taken as u64;
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        assert!(offered > 0, "there must be something to write");
        let pipe = self.outgoing.clone();
        let mut state = pipe.0.borrow_mut();
        assert!(!state.ended, "nothing is written after the writing half was closed");
        if let Some(kind) = state.failed {
            return Poll::Ready(Err(kind.into()));
        }
        if state.unread {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let free = state.capacity.saturating_sub(state.bytes.len());
        if free == 0 {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if self.is_reluctant(cx) {
            return Poll::Pending;
        }
        let taken = self.draw(free.min(offered));
        let bytes = slices.iter().flat_map(|slice| slice.iter());
        state.bytes.extend(bytes.take(taken));
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        Poll::Ready(Ok(taken))
    }

    fn limit_unsent(&self, bytes: u32) {
        self.outgoing.0.borrow_mut().unsent = Some(bytes);
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_reluctant(cx) {
            return Poll::Pending;
        }
        self.outgoing.end();
        Poll::Ready(Ok(()))
    }
}

impl Drop for TestLink {
    fn drop(&mut self) {
        self.outgoing.end();
        self.incoming.change(|state| {
            state.unread = true;
            state.bytes.clear();
        });
    }
}
