//! What smol brings: tasks, streams, time, names.

use std::future::Future;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener as StdListener, TcpStream};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use aiomsg_driver::{Clock, Link, Listener, MonotonicClock, Runtime};
use aiomsg_proto::Instant;
use async_io::Async;
use bytes::BytesMut;
use smol::Executor;
#[cfg(target_os = "linux")]
use socket2::SockRef;
use socket2::{Domain, Socket, Type};

use crate::timer::SmolTimer;

/// Connections that the system keeps for us until they are accepted. Many clients come back at once after an outage.
const BACKLOG: i32 = 4_096;

/// Serves sockets with the tasks and timers of smol.
///
/// A socket is served by the global executor, which runs on threads of its own. To have it served by an executor of
/// yours, and so by the threads that run that one, give the builder that:
/// `Socket::builder().runtime(Smol::on(&executor))`.
#[derive(Clone, Debug)]
pub struct Smol {
    /// The global one if there is none. Tasks must not keep the executor alive that keeps them.
    executor: Option<Weak<Executor<'static>>>,
    clock: MonotonicClock,
}

impl Smol {
    /// The global executor.
    pub fn global() -> Self {
        Self { executor: None, clock: MonotonicClock::start() }
    }

    /// An executor that runs the tasks of the socket. Somebody must run it, or nothing happens; when it is dropped, the
    /// socket is closed.
    pub fn on(executor: &Arc<Executor<'static>>) -> Self {
        Self { executor: Some(Arc::downgrade(executor)), clock: MonotonicClock::start() }
    }
}

impl Clock for Smol {
    fn now(&self) -> Instant {
        self.clock.now()
    }
}

impl Runtime for Smol {
    type Link = TcpLink;
    type Listener = TcpListener;
    type Timer = SmolTimer;

    fn current() -> Option<Self> {
        Some(Self::global())
    }

    fn id(&self) -> Option<u64> {
        // Of executors, the place in memory; none has that of the global one.
        Some(self.executor.as_ref().map_or(0, |executor| executor.as_ptr().addr() as u64))
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match &self.executor {
            None => smol::spawn(task).detach(),
            // Dropping the task tells its socket.
            Some(executor) => {
                if let Some(executor) = executor.upgrade() {
                    executor.spawn(task).detach();
                }
            }
        }
    }

    fn timer(&self) -> SmolTimer {
        SmolTimer::of_runtime(self.clock)
    }

    fn lasting_timer(&self) -> SmolTimer {
        SmolTimer::lasting(self.clock)
    }

    async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        smol::net::resolve(name).await
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<(TcpLink, SocketAddr)> {
        let stream = Async::<TcpStream>::connect(address).await?;
        let own = stream.get_ref().local_addr()?;
        Ok((TcpLink::new(stream)?, own))
    }

    fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(TcpListener(Async::new(socket.into())?))
    }
}

/// A TCP connection.
#[derive(Debug)]
pub struct TcpLink {
    stream: Async<TcpStream>,
    /// All that had come was read, so nothing is to be read until the reactor says so.
    drained: bool,
    /// Bytes to read at most, next time. Without unsafe code, memory that is read into has to be written first, which takes
    /// longer than to read a little.
    most: usize,
}

/// The fewest bytes that are asked for. A read that gets all that it asks for has the next one ask for twice as many.
const LEAST_ASKED: usize = 1024;

impl TcpLink {
    fn new(stream: Async<TcpStream>) -> io::Result<Self> {
        stream.get_ref().set_nodelay(true)?;
        Ok(Self { stream, drained: true, most: LEAST_ASKED })
    }

    /// Reads into the room behind what is in `buffer`.
    fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        let filled = buffer.len();
        let most = self.most.min(buffer.capacity() - filled);
        buffer.resize(filled + most, 0);
        let mut stream = self.stream.get_ref();
        let read = buffer.get_mut(filled..).map_or(Ok(0), |room| stream.read(room));
        let count = *read.as_ref().unwrap_or(&0);
        buffer.truncate(filled + count);
        self.drained = 0 < count && count < most;
        if count == most {
            self.most = self.most.max(2 * most);
        } else if count < most / 4 {
            self.most = (self.most / 2).max(LEAST_ASKED);
        }
        read
    }
}

impl Link for TcpLink {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.drained {
            // What is wrong is told when it is read.
            self.drained = self.stream.poll_readable(cx).is_pending();
        }
        if self.drained { Poll::Pending } else { Poll::Ready(()) }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_readable(cx));
            match self.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.drained = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            let mut stream = self.stream.get_ref();
            let result = match slices {
                // The system looks at one piece sooner than at a list of one.
                [slice] => stream.write(slice),
                slices => stream.write_vectored(slices),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => return Poll::Ready(result),
            }
            ready!(self.stream.poll_writable(cx))?;
        }
    }

    #[cfg(target_os = "linux")]
    fn limit_unsent(&self, bytes: u32) {
        let _ = SockRef::from(self.stream.get_ref()).set_tcp_notsent_lowat(bytes);
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.stream.get_ref().shutdown(Shutdown::Write) {
            // The peer was first.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }
}

/// A TCP port where connections are accepted.
#[derive(Debug)]
pub struct TcpListener(Async<StdListener>);

impl Listener for TcpListener {
    type Link = TcpLink;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpLink, SocketAddr)>> {
        loop {
            match self.0.get_ref().accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Poll::Ready(Err(error)),
                Ok((stream, peer)) => {
                    let link = Async::new(stream).and_then(TcpLink::new);
                    return Poll::Ready(link.map(|link| (link, peer)).map_err(lost));
                }
            }
            ready!(self.0.poll_readable(cx))?;
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().local_addr()
    }
}

/// A connection failed that was just accepted: its peer has gone.
fn lost(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, error)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// What is written before it is read into takes time, so it is little while little comes.
    #[test]
    fn a_read_asks_for_more_only_when_it_got_all_that_it_asked_for() {
        const MUCH: usize = 64 * 1024;
        let listener = StdListener::bind("127.0.0.1:0").expect("a free port");
        let stream = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (mut peer, _) = listener.accept().expect("it was dialled");
        let mut link = TcpLink::new(Async::new(stream).expect("a descriptor")).expect("a TCP stream");
        let mut read = |most: usize| {
            let mut buffer = BytesMut::with_capacity(most);
            smol::block_on(poll_fn(|cx| link.poll_read(cx, &mut buffer))).expect("it is open")
        };
        peer.write_all(&[7; MUCH]).expect("there is room");
        assert_eq!(read(MUCH), LEAST_ASKED);
        assert_eq!(read(MUCH), 2 * LEAST_ASKED, "what is left is seen, and more is asked for");
        let mut came = 3 * LEAST_ASKED;
        while came < MUCH {
            came += read(MUCH);
        }
        for _ in 0..10 {
            peer.write_all(&[7]).expect("it is open");
            assert_eq!(read(MUCH), 1);
        }
        peer.write_all(&[7; MUCH]).expect("there is room");
        assert_eq!(read(MUCH), LEAST_ASKED, "little is asked for again");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_holds_no_more_unsent_than_it_is_told() {
        let smol = Smol::global();
        let listener = smol.listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (link, _) = smol::block_on(smol.connect(address)).expect("connected");
        link.limit_unsent(70_000);
        let told = SockRef::from(link.stream.get_ref()).tcp_notsent_lowat();
        assert_eq!(told.expect("open"), 70_000);
    }
}
