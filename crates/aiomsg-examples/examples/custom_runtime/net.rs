//! What aiomsg wants of a runtime: tasks, connections, and the time.

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, ready};

use aiomsg_driver::{Clock, Link, Listener, Runtime, Timer};
use aiomsg_proto::Instant;
use bytes::BytesMut;
use mio::event::Source;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Token};

use super::executor::{Mini, Task, lock};

impl Clock for Mini {
    fn now(&self) -> Instant {
        self.clock.now()
    }
}

impl Runtime for Mini {
    type Link = Registered<TcpStream>;
    type Listener = Registered<TcpListener>;
    type Timer = Alarm;

    fn current() -> Option<Self> {
        // Who builds a socket says which runtime serves it.
        None
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let (work, queued) = (Mutex::new(Some(Box::pin(task) as _)), AtomicBool::new(false));
        Arc::new(Task { work, queued, shared: self.shared.clone() }).wake();
    }

    fn timer(&self) -> Alarm {
        let name = self.shared.names.fetch_add(1, Ordering::Relaxed);
        Alarm { runtime: self.clone(), name, set: None }
    }

    async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        // Everybody waits meanwhile. A runtime for more than one name does this on another thread.
        Ok(name.to_socket_addrs()?.collect())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<(Self::Link, SocketAddr)> {
        let mut link = Registered::new(self, TcpStream::connect(address)?)?;
        let connected = |stream: &mut TcpStream| match (stream.take_error()?, stream.peer_addr()) {
            (Some(error), _) => Err(error),
            (None, Err(error)) if error.kind() == ErrorKind::NotConnected => {
                Err(ErrorKind::WouldBlock.into())
            }
            (None, peer) => peer,
        };
        poll_fn(|cx| link.attempt(cx, WRITE, connected)).await?;
        link.io.set_nodelay(true)?;
        let own = link.io.local_addr()?;
        Ok((link, own))
    }

    fn listen(&self, address: SocketAddr) -> io::Result<Self::Listener> {
        Registered::new(self, TcpListener::bind(address)?)
    }
}

/// Something that can be read or written, known to the system for as long as it is there.
pub(crate) struct Registered<S: Source> {
    io: S,
    token: Token,
    runtime: Mini,
}

const READ: usize = 0;
const WRITE: usize = 1;

impl<S: Source> Registered<S> {
    fn new(runtime: &Mini, mut io: S) -> io::Result<Self> {
        let token = Token(runtime.shared.names.fetch_add(1, Ordering::Relaxed));
        runtime.shared.registry.register(&mut io, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { io, token, runtime: runtime.clone() })
    }

    /// Tries it. If that is not possible for now, the task is woken when it is.
    fn attempt<T>(
        &mut self,
        cx: &Context<'_>,
        side: usize,
        attempt: impl FnOnce(&mut S) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        match attempt(&mut self.io) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // Nothing is missed in between, since the system is asked on this same thread.
                let mut waiting = lock(&self.runtime.shared.waiting);
                waiting.io.entry(self.token).or_default()[side] = Some(cx.waker().clone());
                Poll::Pending
            }
            result => Poll::Ready(result),
        }
    }
}

impl<S: Source> Drop for Registered<S> {
    fn drop(&mut self) {
        let _ = self.runtime.shared.registry.deregister(&mut self.io);
        lock(&self.runtime.shared.waiting).io.remove(&self.token);
    }
}

impl Link for Registered<TcpStream> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        self.attempt(cx, READ, |stream| {
            let filled = buffer.len();
            // Without unsafe code, memory that is read into is written first.
            buffer.resize(buffer.capacity(), 0);
            let read = stream.read(&mut buffer[filled..]);
            buffer.truncate(filled + read.as_ref().map_or(0, |count| *count));
            read
        })
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.attempt(cx, WRITE, |stream| stream.write_vectored(slices))
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.io.shutdown(Shutdown::Write) {
            // The peer was first.
            Err(error) if error.kind() == ErrorKind::NotConnected => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }
}

impl Listener for Registered<TcpListener> {
    type Link = Registered<TcpStream>;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Link, SocketAddr)>> {
        let (stream, peer) = ready!(self.attempt(cx, READ, |listener| listener.accept()))?;
        let link = stream.set_nodelay(true).and_then(|()| Registered::new(&self.runtime, stream));
        // Only this one connection has failed.
        Poll::Ready(link.map(|link| (link, peer)).map_err(|_| ErrorKind::ConnectionAborted.into()))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }
}

/// Wakes a task at a point in time.
pub(crate) struct Alarm {
    runtime: Mini,
    name: usize,
    set: Option<Instant>,
}

impl Timer for Alarm {
    fn poll_until(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let mut waiting = lock(&self.runtime.shared.waiting);
        if let Some(before) = self.set.take() {
            waiting.time.remove(&(before, self.name));
        }
        if at <= self.runtime.now() {
            return Poll::Ready(());
        }
        waiting.time.insert((at, self.name), cx.waker().clone());
        self.set = Some(at);
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(at) = self.set {
            lock(&self.runtime.shared.waiting).time.remove(&(at, self.name));
        }
    }
}
