//! What tokio brings: streams, time, names.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aiomsg_driver::{Clock, Link, Timer};
use aiomsg_proto::Instant;
use bytes::BytesMut;
use tokio::io::AsyncWrite;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Sleep;

/// Connections that the system keeps for us until they are accepted. Many clients come back at once after an outage.
const BACKLOG: u32 = 4_096;

/// A further address of a name is tried when the one before has not answered for this long.
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// A TCP connection.
#[derive(Debug)]
pub(crate) struct TcpLink(TcpStream);

impl TcpLink {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        // Batches are made here; the system must not wait for more.
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }
}

impl Link for TcpLink {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        loop {
            match self.0.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.0.poll_read_ready(cx))?;
                }
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            match self.0.try_write_vectored(slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.0.poll_write_ready(cx))?;
                }
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The clock of the runtime, which can be paused by tests of an application. Timers go by the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RuntimeClock {
    epoch: tokio::time::Instant,
}

impl RuntimeClock {
    pub(crate) fn start() -> Self {
        Self { epoch: tokio::time::Instant::now() }
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Instant {
        Instant::EPOCH + self.epoch.elapsed()
    }
}

/// A timer that is set anew only when the deadline changes.
#[derive(Debug)]
pub(crate) struct SleepTimer {
    clock: RuntimeClock,
    sleep: Pin<Box<Sleep>>,
}

impl SleepTimer {
    pub(crate) fn new(clock: RuntimeClock) -> Self {
        Self { clock, sleep: Box::pin(tokio::time::sleep(Duration::ZERO)) }
    }
}

impl Timer for SleepTimer {
    fn poll_until(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let deadline = self.clock.epoch + at.saturating_duration_since(Instant::EPOCH);
        if self.sleep.deadline() != deadline {
            self.sleep.as_mut().reset(deadline);
        }
        self.sleep.as_mut().poll(cx)
    }
}

/// Finds the addresses of a name.
pub(crate) trait Resolve: Send + Sync + 'static {
    /// The addresses, in the order in which they are to be tried.
    fn resolve(&self, name: &str) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;
}

/// Asks the system.
#[derive(Debug)]
pub(crate) struct SystemResolver;

impl Resolve for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host(name).await?.collect())
    }
}

/// Connects to a name. All of its addresses are tried, each as soon as the one before has failed or has not answered
/// for a quarter of a second; the first that answers is taken.
pub(crate) async fn connect(name: &str, resolver: &impl Resolve) -> io::Result<(TcpStream, SocketAddr)> {
    let mut addresses = resolver.resolve(name).await?.into_iter();
    let mut attempts = JoinSet::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no addresses");
    loop {
        match addresses.next() {
            Some(address) => {
                attempts.spawn(async move {
                    let stream = TcpStream::connect(address).await?;
                    refuse_loop(&stream)?;
                    Ok((stream, address))
                });
            }
            None if attempts.is_empty() => return Err(last),
            None => {}
        }
        let patience = if addresses.len() > 0 { NEXT_ADDRESS } else { Duration::MAX };
        match tokio::time::timeout(patience, attempts.join_next()).await {
            Ok(Some(Ok(Ok(connected)))) => return Ok(connected),
            Ok(Some(Ok(Err(error)))) => last = error,
            Ok(Some(Err(panicked))) => last = io::Error::other(panicked),
            Ok(None) | Err(_) => {}
        }
    }
}

/// Where nobody listens, a connection may be made to itself: when the system draws its port, it may draw the very one
/// that is dialled.
fn refuse_loop(stream: &TcpStream) -> io::Result<()> {
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(())
}

/// Listens at an address.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A server that is restarted gets its port back while old connections are still fading out.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Answers with one list after another, and with the last one from then on.
    struct Script(Mutex<Vec<Vec<SocketAddr>>>);

    impl Resolve for Script {
        async fn resolve(&self, _: &str) -> io::Result<Vec<SocketAddr>> {
            let mut answers = self.0.lock().expect("no test panics with the lock");
            Ok(if answers.len() > 1 {
                answers.remove(0)
            } else {
                answers.first().cloned().unwrap_or_default()
            })
        }
    }

    /// An address where nobody listens.
    async fn dead() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        listener.local_addr().expect("bound")
    }

    #[tokio::test]
    async fn a_dead_first_address_is_passed_over() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let live = listener.local_addr().expect("bound");
        let resolver = Script(Mutex::new(vec![vec![dead().await, live]]));
        let (_, address) = connect("name", &resolver).await.expect("the second address answers");
        assert_eq!(address, live);
    }

    #[tokio::test]
    async fn all_dead_gives_the_last_error_and_no_addresses_says_so() {
        let resolver = Script(Mutex::new(vec![vec![dead().await, dead().await], vec![]]));
        let refused = connect("name", &resolver).await.expect_err("nobody listens");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let nowhere = connect("name", &resolver).await.expect_err("no address");
        assert_eq!(nowhere.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn a_connection_to_itself_is_none() {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let own = socket.local_addr().expect("bound");
        let stream = socket.connect(own).await.expect("it meets itself");
        assert_eq!(refuse_loop(&stream).map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionRefused));
    }

    #[tokio::test]
    async fn small_writes_are_not_held_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        for stream in [near.expect("connected"), far.expect("accepted").0] {
            assert!(TcpLink::new(stream).expect("open").0.nodelay().expect("open"));
        }
    }

    #[tokio::test]
    async fn a_name_is_resolved_at_each_attempt() {
        let socket = crate::Socket::builder().build().expect("defaults");
        let peer = crate::Socket::builder().build().expect("defaults");
        let address = peer.bind("127.0.0.1:0").await.expect("a free port");
        let resolver = Script(Mutex::new(vec![vec![dead().await], vec![address]]));
        socket.connect_resolving("name:1".to_owned(), resolver).expect("an address");
        socket.wait_for_peers(1).await.expect("open");
        assert_eq!(socket.metrics().dial_attempts, 2);
    }
}
