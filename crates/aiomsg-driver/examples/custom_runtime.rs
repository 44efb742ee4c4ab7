//! A runtime that aiomsg knows nothing of: an executor and a reactor of one thread, written by hand on mio, and an echo
//! server that they serve.
//!
//! ```text
//! cargo run -p aiomsg-driver --example custom_runtime -- --bind 127.0.0.1:25000
//! ```
//!
//! All that a runtime brings is in the `impl`s of [`Clock`], [`Runtime`], [`Link`], [`Listener`] and [`Timer`] for [`Mini`], [`Registered`] and [`Alarm`]; the rest of the
//! socket is the same for all. Ctrl-C ends it orderly, and so do `--messages` echoes.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::mem;
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use aiomsg_driver::{Builder, Clock, Link, Listener, MonotonicClock, Runtime, Socket, Timer};
use aiomsg_proto::Instant;
use bytes::BytesMut;
use clap::Parser;
use mio::event::Source;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Registry, Token};

/// How long an echo may wait for its recipient to read.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends every message back to its sender.
#[derive(Debug, Parser)]
struct Args {
    /// Where to accept connections; port 0 is any free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:25000")]
    bind: String,
    /// Stop after this many echoes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    messages: Option<u64>,
}

fn main() -> ExitCode {
    match Mini::start().and_then(|(runtime, poll)| runtime.block_on(poll, echo(&runtime, Args::parse()))?) {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("custom_runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn echo(runtime: &Mini, args: Args) -> io::Result<String> {
    let socket: Socket<Mini> =
        Builder::default().runtime(runtime.clone()).build().map_err(io::Error::other)?;
    let address = socket
        .bind(&args.bind)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", args.bind)))?;
    println!("listening on {address}");
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, waker) = (stop.clone(), poll_fn(|cx| Poll::Ready(cx.waker().clone())).await);
    let handler = move || {
        stopped.store(true, Ordering::Release);
        waker.wake_by_ref();
    };
    ctrlc::set_handler(handler).map_err(io::Error::other)?;
    let mut echoed = 0;
    while args.messages != Some(echoed) {
        let mut next = pin!(socket.recv_from());
        let received = poll_fn(|cx| {
            if stop.load(Ordering::Acquire) {
                Poll::Ready(None)
            } else {
                next.as_mut().poll(cx).map(Result::ok)
            }
        });
        let Some(received) = received.await else { break };
        let sending = socket.send_to(received.identity, received.payload);
        match runtime.timeout(PATIENCE, sending).await {
            Some(Ok(())) => echoed += 1,
            // It has left, and not come back in time.
            Some(Err(_)) => {}
            // Who does not read must not keep the others waiting.
            None => drop(socket.disconnect_peer(received.identity)),
        }
    }
    let report = socket.close().await;
    Ok(format!("echoed {echoed} messages; {} were not handed over", report.dropped.messages))
}

/// A runtime of one thread. Clones are the same one.
#[derive(Clone)]
struct Mini {
    clock: MonotonicClock,
    shared: Arc<Shared>,
}

struct Shared {
    registry: Registry,
    /// Ends the waiting for the system, from any thread.
    nudge: mio::Waker,
    /// Tasks that are to run.
    queue: Mutex<VecDeque<Arc<Task>>>,
    waiting: Mutex<Waiting>,
    names: AtomicUsize,
}

/// Who waits for what.
#[derive(Default)]
struct Waiting {
    /// To read, and to write.
    io: HashMap<Token, [Option<Waker>; 2]>,
    time: BTreeMap<(Instant, usize), Waker>,
}

/// A task, and its own waker: to wake it is to put it into the queue.
struct Task {
    work: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    queued: AtomicBool,
    shared: Arc<Shared>,
}

impl Mini {
    fn start() -> io::Result<(Self, mio::Poll)> {
        let poll = mio::Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let nudge = mio::Waker::new(&registry, Token(0))?;
        let (queue, waiting, names) = (Mutex::default(), Mutex::default(), AtomicUsize::new(1));
        let shared = Arc::new(Shared { registry, nudge, queue, waiting, names });
        Ok((Self { clock: MonotonicClock::start(), shared }, poll))
    }

    /// Runs `main`, and all tasks meanwhile.
    fn block_on<T>(&self, mut poll: mio::Poll, main: impl Future<Output = T>) -> io::Result<T> {
        let mut main = pin!(main);
        let waker = Waker::from(self.shared.clone());
        let mut events = Events::with_capacity(256);
        loop {
            if let Poll::Ready(result) = main.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Ok(result);
            }
            // Those that are woken by these have their turn when the system was asked.
            let tasks = mem::take(&mut *lock(&self.shared.queue));
            tasks.into_iter().for_each(Task::run);
            let next = lock(&self.shared.waiting).time.first_key_value().map(|((at, _), _)| *at);
            match poll.poll(&mut events, next.map(|at| at.saturating_duration_since(self.now()))) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.wake(&events);
        }
    }

    fn wake(&self, events: &Events) {
        let mut woken = Vec::new();
        let mut waiting = lock(&self.shared.waiting);
        for event in events {
            let Some([reader, writer]) = waiting.io.get_mut(&event.token()) else { continue };
            woken.extend(
                reader.take_if(|_| event.is_readable() || event.is_read_closed() || event.is_error()),
            );
            woken.extend(
                writer.take_if(|_| event.is_writable() || event.is_write_closed() || event.is_error()),
            );
        }
        while let Some(first) = waiting.time.first_entry().filter(|first| first.key().0 <= self.now()) {
            woken.push(first.remove());
        }
        drop(waiting);
        woken.into_iter().for_each(Waker::wake);
    }
}

impl Task {
    fn run(self: Arc<Self>) {
        self.queued.store(false, Ordering::Release);
        let waker = Waker::from(self.clone());
        let mut work = lock(&self.work);
        if work.as_mut().is_some_and(|work| work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()) {
            *work = None;
        }
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            let shared = self.shared.clone();
            lock(&shared.queue).push_back(self);
            shared.wake();
        }
    }
}

/// Wakes what `block_on` was given.
impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        let _ = self.nudge.wake();
    }
}

impl fmt::Debug for Mini {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mini").field("clock", &self.clock).finish_non_exhaustive()
    }
}

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
struct Registered<S: Source> {
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
struct Alarm {
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
