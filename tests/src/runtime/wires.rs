//! Connections between processes, as streams that the driver reads and writes.

use alloc::collections::VecDeque;
use core::net::SocketAddr;
use core::task::{Context, Poll, Waker};
use std::future::poll_fn;
use std::io::{self, IoSlice};

use aiomsg_driver as driver;
use aiomsg_proto::Instant;
use bytes::BytesMut;

use super::agenda::Happening;
use super::{ProcessId, Shared};
use crate::connection::{Side, WireId};
use crate::pipe::Pipe;

/// One end of a connection.
#[derive(Debug, Default)]
pub(super) struct End {
    /// Whose it is; nobody's before it is accepted.
    pub(super) holder: Option<ProcessId>,
    pub(super) closed: bool,
    /// It has been told that the other one is gone for good.
    pub(super) reset: bool,
    /// Its process does not get to reading it.
    pub(super) stalled: bool,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) address: SocketAddr,
    pub(super) since: Instant,
    pub(super) ends: [End; 2],
    /// What each end writes.
    pub(super) pipes: [Pipe; 2],
    /// Whether somebody listens, once the dialler knows.
    pub(super) answer: Option<bool>,
}

impl Wire {
    pub(super) fn new(address: SocketAddr, dialler: ProcessId, since: Instant, capacity: usize) -> Self {
        let mut ends = [End::default(), End::default()];
        ends[Side::Dialler as usize].holder = Some(dialler);
        let pipes = [Pipe::new(capacity, false), Pipe::new(capacity, false)];
        Self { address, since, ends, pipes, answer: None }
    }

    pub(super) const fn end(&mut self, side: Side) -> &mut End {
        &mut self.ends[side as usize]
    }

    pub(super) const fn written_by(&mut self, side: Side) -> &mut Pipe {
        &mut self.pipes[side as usize]
    }

    pub(super) const fn read_by(&mut self, side: Side) -> &mut Pipe {
        self.written_by(side.other())
    }

    pub(super) fn wake(&mut self, side: Side) {
        let end = self.end(side);
        end.reader.take().into_iter().chain(end.writer.take()).for_each(Waker::wake);
    }

    /// Which side a process holds, if it has a part in it that it has not closed.
    pub(super) fn side_of(&self, process: ProcessId) -> Option<Side> {
        let holds = |side: &Side| {
            let end = &self.ends[*side as usize];
            end.holder == Some(process) && !end.closed
        };
        [Side::Dialler, Side::Listener].into_iter().find(holds)
    }
}

/// One end of a connection, as its process holds it. Dropped, it is closed.
#[derive(Debug)]
pub struct Link {
    world: Shared,
    wire: WireId,
    side: Side,
}

impl driver::Link for Link {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        let room = buffer.capacity() - buffer.len();
        assert!(room > 0, "there is always room to read into");
        let mut world = self.world.lock();
        let now = world.now;
        let wire = &mut world.wires[self.wire.0];
        if wire.end(self.side).reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let stalled = wire.end(self.side).stalled;
        let available = wire.read_by(self.side).available();
        if stalled || available == 0 {
            if !stalled && wire.read_by(self.side).is_ended(now) {
                return Poll::Ready(Ok(0));
            }
            wire.end(self.side).reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let most = world.some_of(available.min(room));
        let bytes = world.wires[self.wire.0].read_by(self.side).take(most);
        buffer.extend_from_slice(&bytes);
        let at = now + world.latency;
        world.agenda.plan(at, Happening::Window(self.wire, self.side.other()));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut world = self.world.lock();
        let wire = &mut world.wires[self.wire.0];
        if wire.end(self.side).reset {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let window = wire.written_by(self.side).window();
        if window == 0 {
            wire.end(self.side).writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let most = world.some_of(window);
        let mut bytes = BytesMut::new();
        for slice in slices {
            bytes.extend_from_slice(&slice[..slice.len().min(most - bytes.len())]);
        }
        let written = bytes.len();
        world.transport(self.wire, self.side, bytes);
        Poll::Ready(Ok(written))
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.world.lock().finish_writing(self.wire, self.side);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.world.lock().close_end(self.wire, self.side);
    }
}

/// Connects to an address. Dropped before it is ready, the connection is given up.
pub(super) async fn connect(
    world: Shared,
    process: ProcessId,
    address: SocketAddr,
) -> io::Result<(Link, SocketAddr)> {
    let wire = world.lock().request(process, address);
    let link = Link { world: world.clone(), wire, side: Side::Dialler };
    let listens = poll_fn(|cx| {
        let mut world = world.lock();
        let wire = &mut world.wires[wire.0];
        wire.end(Side::Dialler).reader = Some(cx.waker().clone());
        wire.answer.map_or(Poll::Pending, Poll::Ready)
    });
    if listens.await { Ok((link, from(wire))) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
}

/// From where a connection is dialled.
fn from(wire: WireId) -> SocketAddr {
    let number = u16::try_from(wire.0 % 10_000).unwrap_or_default();
    SocketAddr::from(([10, 0, 1, 1], 40_000 + number))
}

/// Connections that wait at an address to be accepted.
#[derive(Debug)]
pub(super) struct Backlog {
    pub(super) process: ProcessId,
    pub(super) waiting: VecDeque<WireId>,
    pub(super) waker: Option<Waker>,
}

/// A place where a process accepts connections.
#[derive(Debug)]
pub struct Listener {
    world: Shared,
    address: SocketAddr,
}

impl Listener {
    pub(super) fn bind(world: Shared, process: ProcessId, address: SocketAddr) -> io::Result<Self> {
        let mut inner = world.lock();
        if inner.listeners.contains_key(&address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        inner.listeners.insert(address, Backlog { process, waiting: VecDeque::new(), waker: None });
        drop(inner);
        Ok(Self { world, address })
    }
}

impl driver::Listener for Listener {
    type Link = Link;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Link, SocketAddr)>> {
        let mut world = self.world.lock();
        if world.fails_to_accept() {
            return Poll::Ready(Err(io::Error::other("too many open files")));
        }
        let Some(backlog) = world.listeners.get_mut(&self.address) else { return Poll::Pending };
        let Some(wire) = backlog.waiting.pop_front() else {
            backlog.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        Poll::Ready(Ok((Link { world: self.world.clone(), wire, side: Side::Listener }, from(wire))))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut world = self.world.lock();
        let backlog = world.listeners.remove(&self.address);
        for wire in backlog.into_iter().flat_map(|backlog| backlog.waiting) {
            world.close_end(wire, Side::Listener);
        }
    }
}
