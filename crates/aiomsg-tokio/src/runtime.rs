//! What tokio brings: tasks, streams, time, names.

use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, IoSlice};
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aiomsg_driver::{Clock, Link, Listener, Runtime};
use aiomsg_proto::Instant;
use bytes::BytesMut;
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::io::AsyncWrite;
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime;
use tokio_util::io::poll_read_buf;

use crate::timer::TokioTimer;

/// Connections that the system keeps for us until they are accepted. Many clients come back at once after an outage.
const BACKLOG: u32 = 4_096;

/// A tokio runtime that serves sockets.
///
/// A socket that is built inside a runtime is served by that one. To have it served by another, give the builder
/// that: `Socket::builder().runtime(Tokio::on(handle))`.
#[derive(Clone, Debug)]
pub struct Tokio {
    handle: runtime::Handle,
    clock: TokioClock,
}

/// The clock of the runtime, which tests of an application can pause. Timers go by the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokioClock {
    epoch: tokio::time::Instant,
}

impl Tokio {
    /// The runtime of this handle, which must have I/O and time enabled: otherwise tokio panics when a socket is built,
    /// or in its tasks.
    pub fn on(handle: runtime::Handle) -> Self {
        Self { handle, clock: TokioClock { epoch: tokio::time::Instant::now() } }
    }
}

impl TokioClock {
    /// The runtime's name for a point in time of this clock.
    pub(crate) fn to_tokio(self, at: Instant) -> tokio::time::Instant {
        self.epoch + at.saturating_duration_since(Instant::EPOCH)
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        Instant::EPOCH + self.epoch.elapsed()
    }
}

impl Clock for Tokio {
    fn now(&self) -> Instant {
        self.clock.now()
    }
}

impl Runtime for Tokio {
    type Link = TcpLink;
    type Listener = TcpListener;
    type Timer = TokioTimer;

    fn current() -> Option<Self> {
        runtime::Handle::try_current().ok().map(Self::on)
    }

    fn id(&self) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        self.handle.id().hash(&mut hasher);
        Some(hasher.finish())
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(task);
    }

    fn timer(&self) -> TokioTimer {
        let _entered = self.handle.enter();
        TokioTimer::of_runtime(self.clock)
    }

    fn lasting_timer(&self) -> TokioTimer {
        let _entered = self.handle.enter();
        TokioTimer::lasting(self.clock)
    }

    async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        let name = name.to_owned();
        let found = self.handle.spawn_blocking(move || name.to_socket_addrs());
        Ok(found.await.map_err(io::Error::other)??.collect())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<(TcpLink, SocketAddr)> {
        let stream = TcpStream::connect(address).await?;
        let own = stream.local_addr()?;
        Ok((TcpLink::new(stream)?, own))
    }

    fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        // The listener belongs to this runtime, whichever the caller is in.
        let _entered = self.handle.enter();
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG).map(TcpListener)
    }
}

/// A TCP connection.
#[derive(Debug)]
pub struct TcpLink(TcpStream);

impl TcpLink {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }
}

impl Link for TcpLink {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // What is wrong is told when it is read.
        self.0.poll_read_ready(cx).map(|_| ())
    }

    // By these two ways, what fills less than the room there is tells tokio that nothing is left, which spares asking the
    // system once more.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        poll_read_buf(Pin::new(&mut self.0), cx, buffer)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match slices {
            // The system looks at one piece sooner than at a list of one.
            [slice] => Pin::new(&mut self.0).poll_write(cx, slice),
            slices => Pin::new(&mut self.0).poll_write_vectored(cx, slices),
        }
    }

    #[cfg(target_os = "linux")]
    fn limit_unsent(&self, bytes: u32) {
        let _ = SockRef::from(&self.0).set_tcp_notsent_lowat(bytes);
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A TCP port where connections are accepted.
#[derive(Debug)]
pub struct TcpListener(tokio::net::TcpListener);

impl Listener for TcpListener {
    type Link = TcpLink;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpLink, SocketAddr)>> {
        let (stream, peer) = ready!(self.0.poll_accept(cx))?;
        Poll::Ready(TcpLink::new(stream).map(|link| (link, peer)).map_err(lost))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A connection failed that was just accepted: its peer has gone.
fn lost(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn small_writes_are_not_held_back() {
        let tokio = Tokio::current().expect("a runtime");
        let mut listener = tokio.listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let accepted = std::future::poll_fn(|cx| listener.poll_accept(cx));
        let (near, far) = tokio::join!(tokio.connect(address), accepted);
        for link in [near.expect("connected").0, far.expect("accepted").0] {
            assert!(link.0.nodelay().expect("open"));
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_system_holds_no_more_unsent_than_it_is_told() {
        let tokio = Tokio::current().expect("a runtime");
        let listener = tokio.listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let (link, _) = tokio.connect(listener.local_addr().expect("bound")).await.expect("connected");
        link.limit_unsent(70_000);
        assert_eq!(SockRef::from(&link.0).tcp_notsent_lowat().expect("open"), 70_000);
    }
}
