//! Several runtimes in one program: sockets of one that talk to sockets of another, are used from another, or are served
//! by the threads that the application names.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use aiomsg_driver::{BuildError, Builder, Clock, Runtime, Socket};
use aiomsg_proto::{DeliveryGuarantee, SendError};
use aiomsg_smol::Smol;
use aiomsg_tokio::Tokio;
use futures_lite::future::{self, zip};
use smol::Executor;
use tokio::runtime::{self, Handle};

const LOCAL: &str = "127.0.0.1:0";

/// The longest that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the threads of a runtime are called that a test starts.
const WORKER: &str = "worker-of-tokio";

fn tokio_on_a_thread() -> runtime::Runtime {
    let mut builder = runtime::Builder::new_multi_thread();
    builder.worker_threads(1).thread_name(WORKER).enable_all().build().expect("a thread")
}

fn tokio_on_this_thread() -> runtime::Runtime {
    runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn smol() -> Smol {
    Smol::current().expect("its global executor is everywhere")
}

/// Waits for an event, by the clock of a socket's runtime, wherever the caller is.
async fn within<R: Runtime, T: Send>(
    socket: &Socket<R>,
    what: &str,
    event: impl Future<Output = T> + Send,
) -> T {
    match socket.runtime().timeout(PATIENCE, event).await {
        Some(output) => output,
        None => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// Sends the numbers below `count` and receives those of the other end, both at once.
async fn exchange<R: Runtime>(socket: Socket<R>, count: u64) {
    let sending = async {
        for number in 0..count {
            socket.send(number.to_be_bytes().to_vec()).await.expect("open");
        }
    };
    let receiving = async {
        for number in 0..count {
            assert_eq!(socket.recv().await.expect("open"), number.to_be_bytes()[..], "{number}");
        }
    };
    within(&socket, "an exchange", zip(sending, receiving)).await;
}

/// One socket on tokio and one on smol, each with threads of its own, send each other half of `count` messages.
fn between_tokio_and_smol(delivery: DeliveryGuarantee, count: u64) {
    let tokio = tokio_on_a_thread();
    let builder = Builder::default().delivery(delivery).runtime(Tokio::on(tokio.handle().clone()));
    let one = builder.build().expect("valid");
    let builder = Builder::default().delivery(delivery).runtime(smol());
    let other = builder.build().expect("valid");
    smol::block_on(async {
        other.connect(one.bind(LOCAL).await.expect("a free port")).expect("an address");
        within(&other, "a peer", other.wait_for_peers(1)).await.expect("open");
        let start = Instant::now();
        let ends = zip(
            tokio.spawn(exchange(one.clone(), count / 2)),
            smol::spawn(exchange(other.clone(), count / 2)),
        );
        ends.await.0.expect("all arrive in order");
        report(delivery, count, start.elapsed());
        let received = |usage: aiomsg_proto::Usage| usage.messages as u64;
        assert_eq!(received(one.metrics().received) + received(other.metrics().received), count);
        let closing = zip(within(&one, "closing", one.close()), within(&other, "closing", other.close()));
        let (ones, others) = closing.await;
        assert_eq!((ones.dropped.messages, others.dropped.messages), (0, 0));
    });
}

#[expect(clippy::print_stdout, reason = "the harness shows it on request")]
fn report(delivery: DeliveryGuarantee, count: u64, taken: Duration) {
    println!("{count} messages between tokio and smol, {delivery:?}: {:.2} s", taken.as_secs_f64());
}

#[test]
fn a_million_messages_cross_between_tokio_and_smol_in_order() {
    between_tokio_and_smol(DeliveryGuarantee::AtMostOnce, 1_000_000);
}

#[test]
fn messages_at_least_once_cross_between_tokio_and_smol_in_order() {
    between_tokio_and_smol(DeliveryGuarantee::AtLeastOnce, 200_000);
}

/// All that an application does, with names to look up: bind, connect, send, receive, wait, close.
async fn life_of_a_socket<R: Runtime>(runtime: R) {
    let build = || Builder::default().runtime(runtime.clone()).build().expect("valid");
    let (server, client) = (build(), build());
    let address = server.bind("localhost:0").await.expect("a free port");
    client.connect(format!("localhost:{}", address.port())).expect("an address");
    client.send("question").await.expect("open");
    let question = within(&server, "a question", server.recv_from()).await.expect("open");
    assert_eq!((question.identity, &question.payload[..]), (client.identity(), &b"question"[..]));
    server.send_to(question.identity, "answer").await.expect("known");
    assert_eq!(within(&client, "an answer", client.recv()).await.expect("open"), "answer");
    // Nothing more comes, and a runtime that did not wake us would let us wait for ever.
    let waited = runtime.timeout(Duration::from_millis(1), client.recv()).await;
    assert!(waited.is_none());
    assert!(within(&server, "unbinding", server.unbind(address)).await);
    for socket in [client, server] {
        assert_eq!(within(&socket, "closing", socket.close()).await.dropped.messages, 0);
        let refused = socket.send("late").await;
        assert!(matches!(refused, Err(SendError::Closed(_))), "{refused:?}");
    }
}

/// Outside of any runtime, there is neither a reactor nor a context that a future could lean on.
#[test]
fn a_socket_of_tokio_is_used_from_outside_of_any_runtime() {
    let tokio = tokio_on_a_thread();
    assert!(Handle::try_current().is_err());
    future::block_on(life_of_a_socket(Tokio::on(tokio.handle().clone())));
}

#[test]
fn a_socket_of_smol_is_used_from_outside_of_any_runtime() {
    future::block_on(life_of_a_socket(smol()));
}

#[test]
fn a_socket_of_tokio_is_used_from_a_task_of_smol() {
    let tokio = tokio_on_a_thread();
    let runtime = Tokio::on(tokio.handle().clone());
    smol::block_on(smol::spawn(async move {
        assert!(Handle::try_current().is_err());
        life_of_a_socket(runtime).await;
    }));
}

#[test]
fn a_socket_of_smol_is_used_from_a_task_of_tokio() {
    let tokio = tokio_on_this_thread();
    tokio.block_on(tokio.spawn(life_of_a_socket(smol()))).expect("it lives through it");
}

#[test]
fn a_socket_of_tokio_is_used_from_another_runtime_of_tokio() {
    let served_by = tokio_on_a_thread();
    let tokio = tokio_on_this_thread();
    tokio.block_on(life_of_a_socket(Tokio::on(served_by.handle().clone())));
}

#[test]
fn outside_of_tokio_a_socket_is_built_with_a_handle_and_not_without() {
    assert_eq!(aiomsg_tokio::Socket::builder().build().map(drop), Err(BuildError::NoRuntime));
    let tokio = tokio_on_a_thread();
    let watched = Watched::new(Tokio::on(tokio.handle().clone()));
    future::block_on(life_of_a_socket(watched.clone()));
    // By the runtime of the handle, and on its threads alone.
    assert_eq!(watched.threads(), [WORKER]);
}

#[test]
fn tokio_serves_a_socket_on_the_thread_that_uses_it() {
    on_thread("alone-with-tokio", || {
        let tokio = tokio_on_this_thread();
        let watched = tokio.block_on(async { Watched::<Tokio>::current().expect("inside a runtime") });
        tokio.block_on(life_of_a_socket(watched.clone()));
        assert_eq!(watched.threads(), ["alone-with-tokio"]);
    });
}

#[test]
fn the_global_executor_of_smol_serves_a_socket_on_threads_of_its_own() {
    on_thread("uses-smol", || {
        let watched = Watched::<Smol>::current().expect("everywhere");
        smol::block_on(life_of_a_socket(watched.clone()));
        let threads = watched.threads();
        assert!(!threads.is_empty() && threads.iter().all(|name| name.starts_with("smol-")), "{threads:?}");
    });
}

#[test]
fn smol_serves_a_socket_on_the_threads_that_run_its_executor() {
    let executor = Arc::new(Executor::new());
    let (stop, stopped) = smol::channel::bounded::<()>(1);
    let watched = Watched::new(Smol::on(&executor));
    thread::scope(|scope| {
        let run = || smol::block_on(executor.run(stopped.recv())).expect_err("nothing is sent");
        thread::Builder::new().name("runs-executor".to_owned()).spawn_scoped(scope, run).expect("a thread");
        future::block_on(life_of_a_socket(watched.clone()));
        drop(stop);
    });
    assert_eq!(watched.threads(), ["runs-executor"]);
}

#[test]
fn smol_serves_a_socket_on_the_thread_that_uses_it() {
    on_thread("alone-with-smol", || {
        let executor = Arc::new(Executor::new());
        let watched = Watched::new(Smol::on(&executor));
        smol::block_on(executor.run(life_of_a_socket(watched.clone())));
        assert_eq!(watched.threads(), ["alone-with-smol"]);
    });
}

#[test]
fn an_executor_that_is_dropped_closes_its_sockets_and_is_gone() {
    let executor = Arc::new(Executor::new());
    let socket = Socket::builder().runtime(Smol::on(&executor)).build().expect("valid settings");
    smol::block_on(executor.run(async {
        socket.bind("127.0.0.1:0").await.expect("a free port");
        socket.connect("127.0.0.1:1").expect("an address");
        socket.send("unheard").await.expect("open");
    }));
    let gone = Arc::downgrade(&executor);
    drop(executor);
    assert!(gone.upgrade().is_none(), "its own tasks do not keep it");
    smol::block_on(async {
        assert!(socket.recv().await.is_err(), "who waits is not left waiting");
        assert_eq!(socket.close().await.dropped.messages, 1);
    });
}

/// Runs a test on a thread that has a name.
fn on_thread(name: &str, test: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, test);
        thread.expect("a thread").join().expect("the test passes");
    });
}

/// A runtime, watched: on which threads do the tasks of its sockets run?
#[derive(Clone, Debug)]
struct Watched<R> {
    runtime: R,
    names: Arc<Mutex<BTreeSet<String>>>,
}

impl<R> Watched<R> {
    fn new(runtime: R) -> Self {
        Self { runtime, names: Arc::default() }
    }

    /// The names of the threads so far.
    fn threads(&self) -> Vec<String> {
        self.names.lock().expect("no panic").iter().cloned().collect()
    }
}

impl<R: Runtime> Clock for Watched<R> {
    fn now(&self) -> aiomsg_proto::Instant {
        self.runtime.now()
    }
}

impl<R: Runtime> Runtime for Watched<R> {
    type Link = R::Link;
    type Listener = R::Listener;
    type Timer = R::Timer;

    fn current() -> Option<Self> {
        R::current().map(Self::new)
    }

    fn id(&self) -> Option<u64> {
        self.runtime.id()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let names = self.names.clone();
        let mut task = Box::pin(task);
        self.runtime.spawn(poll_fn(move |cx| {
            let name = thread::current().name().unwrap_or("nameless").to_owned();
            names.lock().expect("no panic").insert(name);
            task.as_mut().poll(cx)
        }));
    }

    fn timer(&self) -> R::Timer {
        self.runtime.timer()
    }

    async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        self.runtime.resolve(name).await
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<(R::Link, SocketAddr)> {
        self.runtime.connect(address).await
    }

    fn listen(&self, address: SocketAddr) -> io::Result<R::Listener> {
        self.runtime.listen(address)
    }
}
