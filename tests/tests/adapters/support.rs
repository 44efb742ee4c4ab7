//! Sockets that reconnect fast, peers that are no sockets, and deadlines.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use aiomsg_driver::{Builder, EventStream, Runtime, Socket};
use aiomsg_proto::Event;
use aiomsg_smol::Smol;
use aiomsg_tokio::Tokio;
pub(crate) use futures_lite::future::yield_now;
use futures_lite::{Stream, StreamExt, future};
use tokio::sync::oneshot;

/// The longest that a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Any free port of this machine.
pub(crate) const LOCAL: &str = "127.0.0.1:0";

/// A runtime that can be started by a test.
pub(crate) trait Adapter: Runtime {
    /// What keeps the runtime going.
    type Home;

    /// Starts the runtime on threads of its own.
    fn on_threads() -> Self::Home;

    /// Starts it on the thread that blocks, where it can be had so.
    fn on_one_thread() -> Self::Home;

    /// Waits for a future inside the runtime.
    fn block_on<T>(home: &Self::Home, future: impl Future<Output = T>) -> T;

    fn run<T>(future: impl Future<Output = T>) -> T {
        Self::block_on(&Self::on_one_thread(), future)
    }
}

impl Adapter for Tokio {
    type Home = tokio::runtime::Runtime;

    fn on_threads() -> Self::Home {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(4).enable_all().build().expect("threads")
    }

    fn on_one_thread() -> Self::Home {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    }

    fn block_on<T>(home: &Self::Home, future: impl Future<Output = T>) -> T {
        home.block_on(future)
    }
}

/// The global executor, whose threads are there for all tests of a process.
impl Adapter for Smol {
    type Home = ();

    fn on_threads() {}

    fn on_one_thread() {}

    fn block_on<T>((): &(), future: impl Future<Output = T>) -> T {
        smol::block_on(future)
    }
}

/// The result of a future, unless it takes longer than `span`; on whatever runtime.
pub(crate) async fn timeout<T>(span: Duration, future: impl Future<Output = T>) -> Option<T> {
    let elapsed = async {
        async_io::Timer::after(span).await;
        None
    };
    future::or(async { Some(future.await) }, elapsed).await
}

/// Waits for an event, with a deadline.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Some(output) => output,
        None => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// A task that runs; awaited, it gives its result.
pub(crate) struct Task<T>(oneshot::Receiver<T>);

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(cx).map(|result| result.expect("the task does not panic"))
    }
}

/// Starts a task.
pub(crate) fn spawn<R: Adapter, T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> Task<T> {
    let (sender, receiver) = oneshot::channel();
    let runtime = R::current().expect("inside a runtime");
    runtime.spawn(async move {
        // Perhaps nobody waits for it.
        drop(sender.send(task.await));
    });
    Task(receiver)
}

/// Settings under which a lost connection is back soon.
pub(crate) fn builder<R: Adapter>() -> Builder<R> {
    let soon = Duration::from_millis(10);
    Socket::<R>::builder().reconnect_delay(soon).reconnect_delay_max(10 * soon)
}

pub(crate) fn socket<R: Adapter>() -> Socket<R> {
    builder::<R>().build().expect("valid settings, inside a runtime")
}

/// Binds a socket to a free port.
pub(crate) async fn bind<R: Adapter>(socket: &Socket<R>) -> SocketAddr {
    socket.bind(LOCAL).await.expect("a free port")
}

/// Connects a socket, and waits until it has one peer more.
pub(crate) async fn join<R: Adapter>(socket: &Socket<R>, address: SocketAddr) {
    let peers = socket.peer_count() + 1;
    socket.connect(address).expect("an address");
    within("a peer", socket.wait_for_peers(peers)).await.expect("open");
}

/// Two sockets with a connection between them, the first of which listens.
pub(crate) async fn pair<R: Adapter>(far: Builder<R>, near: Builder<R>) -> (Socket<R>, Socket<R>) {
    let (far, near) = (far.build().expect("valid"), near.build().expect("valid"));
    let address = bind(&far).await;
    join(&near, address).await;
    within("a peer", far.wait_for_peers(1)).await.expect("open");
    (far, near)
}

/// Waits for an event of a kind.
pub(crate) async fn event(events: &mut EventStream, what: &str, is_it: impl Fn(&Event) -> bool) -> Event {
    within(what, async {
        loop {
            let event = events.recv().await.expect("open");
            if is_it(&event) {
                return event;
            }
        }
    })
    .await
}

pub(crate) async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    within("the next item", stream.next()).await
}

/// Sends something and waits for the answer.
pub(crate) async fn round_trip<R: Adapter>(asker: &Socket<R>, text: &str) {
    asker.send(text.to_owned()).await.expect("open");
    assert_eq!(within("an answer", asker.recv()).await.expect("open"), text);
}

/// A socket that returns to each peer what it sends, on threads of its own.
pub(crate) struct EchoServer<R: Adapter> {
    home: R::Home,
    pub(crate) socket: Socket<R>,
    pub(crate) address: SocketAddr,
}

impl<R: Adapter> EchoServer<R> {
    pub(crate) fn start(configure: impl FnOnce(Builder<R>) -> Builder<R>) -> Self {
        let home = R::on_threads();
        let (socket, address) = R::block_on(&home, async {
            let socket = configure(builder::<R>()).build().expect("valid");
            let address = bind(&socket).await;
            let server = socket.clone();
            drop(spawn::<R, _>(async move {
                while let Ok(received) = server.recv_from().await {
                    // A peer that has gone meanwhile gets no answer.
                    drop(server.send_to(received.identity, received.payload).await);
                }
            }));
            (socket, address)
        });
        Self { home, socket, address }
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        R::block_on(&self.home, future)
    }

    /// Has a new client served.
    pub(crate) fn assert_serves(&self) {
        self.block_on(async {
            let client = socket::<R>();
            join(&client, self.address).await;
            round_trip(&client, "are you there?").await;
            within("closing", client.close()).await;
        });
    }

    pub(crate) fn raw(&self) -> Raw {
        Raw::connect(self.address)
    }
}

/// A peer that is no socket: bytes as they are.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a positive time");
        stream.set_nodelay(true).expect("open");
        Self(stream)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("open");
    }

    /// Introduces itself, and reads the answer.
    pub(crate) fn greet(&mut self, identity: u8) {
        self.write(&hello(identity));
        assert_eq!(self.read_frame().len(), 18, "the peer's introduction");
    }

    pub(crate) fn read_frame(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).expect("a frame");
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut body).expect("a whole frame");
        body
    }

    /// The payload of the next message, passing over heartbeats.
    pub(crate) fn read_message(&mut self) -> Vec<u8> {
        loop {
            let frame = self.read_frame();
            if let [3, payload @ ..] = frame.as_slice() {
                return payload.to_vec();
            }
        }
    }

    /// Waits until the peer closes the connection, in whatever way.
    pub(crate) fn assert_closed(&mut self, why: &str) {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("{why}: still open: {error}"),
        }
    }
}

pub(crate) fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

pub(crate) fn hello(identity: u8) -> Vec<u8> {
    frame(&[&[1, 1][..], &[identity; 16]].concat())
}

pub(crate) fn data(payload: &[u8]) -> Vec<u8> {
    frame(&[&[3], payload].concat())
}

/// A message that shows its number.
pub(crate) fn message(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

pub(crate) fn number(payload: &[u8]) -> u64 {
    u64::from_be_bytes(payload.try_into().expect("eight bytes"))
}
