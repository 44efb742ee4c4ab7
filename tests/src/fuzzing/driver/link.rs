//! Connections in memory.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use core::cell::RefCell;
use core::task::{Context, Poll, Waker};
use std::io::{self, IoSlice};

use aiomsg_driver::Link;
use bytes::BytesMut;

/// One direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Pipe(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    bytes: VecDeque<u8>,
    capacity: usize,
    /// Bytes that one call moves, at most; zero means all.
    most: usize,
    /// The last call moved something, so the next one is not ready.
    tired: bool,
    ended: bool,
    failed: bool,
    wakers: Vec<Waker>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            bytes: VecDeque::new(),
            capacity: 64 * 1024,
            most: 0,
            tired: false,
            ended: false,
            failed: false,
            wakers: Vec::new(),
        }
    }
}

impl Pipe {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.0.borrow_mut();
        let result = change(&mut state);
        let wakers = core::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        result
    }

    pub(super) fn push(&self, bytes: &[u8]) {
        self.change(|state| state.bytes.extend(bytes));
    }

    pub(super) fn end(&self) {
        self.change(|state| state.ended = true);
    }

    pub(super) fn fail(&self) {
        self.change(|state| state.failed = true);
    }

    pub(super) fn set_capacity(&self, bytes: usize) {
        self.change(|state| state.capacity = bytes);
    }

    pub(super) fn set_most(&self, bytes: usize) {
        self.change(|state| state.most = bytes);
    }

    /// How many bytes a call moves that could move so many; nothing if it has to come again.
    fn moves(&self, cx: &Context<'_>, possible: usize) -> Poll<io::Result<usize>> {
        let mut state = self.0.borrow_mut();
        if state.failed {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if possible == 0 {
            state.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        if state.most == 0 {
            return Poll::Ready(Ok(possible));
        }
        state.tired = !state.tired;
        if state.tired {
            // It is ready a little later.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(possible.min(state.most)))
    }
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Fake {
    incoming: Pipe,
    outgoing: Pipe,
}

impl Fake {
    /// Both ends of a connection.
    pub(super) fn pair() -> (Self, Self) {
        let (there, back) = (Pipe::default(), Pipe::default());
        let near = Self { incoming: back.clone(), outgoing: there.clone() };
        (near, Self { incoming: there, outgoing: back })
    }

    /// What comes in at this end, and what goes out.
    pub(super) fn pipes(&self) -> [Pipe; 2] {
        [self.incoming.clone(), self.outgoing.clone()]
    }
}

impl Link for Fake {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        let (available, ended) = {
            let state = self.incoming.0.borrow();
            (state.bytes.len(), state.ended && !state.failed)
        };
        if available == 0 && ended {
            return Poll::Ready(Ok(0));
        }
        let room = buffer.capacity() - buffer.len();
        assert!(room > 0, "a read has room");
        self.incoming.moves(cx, available.min(room)).map_ok(|count| {
            let bytes: Vec<u8> = self.incoming.change(|state| state.bytes.drain(..count).collect());
            buffer.extend_from_slice(&bytes);
            count
        })
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        assert!(!bytes.is_empty(), "a write has something to write");
        let room = {
            let state = self.outgoing.0.borrow();
            state.capacity.saturating_sub(state.bytes.len())
        };
        self.outgoing.moves(cx, bytes.len().min(room)).map_ok(|count| {
            self.outgoing.push(&bytes[..count]);
            count
        })
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.end();
        Poll::Ready(Ok(()))
    }
}

/// The other end sees the end of the stream.
impl Drop for Fake {
    fn drop(&mut self) {
        self.outgoing.end();
        self.incoming.fail();
    }
}
