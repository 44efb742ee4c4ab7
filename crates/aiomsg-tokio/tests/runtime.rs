//! What is particular to tokio: where a socket is built and served, what becomes of it when the runtime ends, and time
//! that is paused. What sockets do, the workspace's tests show on all adapters alike.

use std::future::Future;
use std::net::TcpListener;
use std::time::Duration;

use aiomsg_tokio::{BuildError, Closed, Event, SendMode, Socket, Tokio};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

/// The longest that a test waits for anything; of the runtime's time, which some of them pause.
const PATIENCE: Duration = Duration::from_secs(30);

const LOCAL: &str = "127.0.0.1:0";

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

fn socket() -> Socket {
    let soon = Duration::from_millis(10);
    let builder = Socket::builder().reconnect_delay(soon).reconnect_delay_max(10 * soon);
    builder.build().expect("valid settings, inside a runtime")
}

/// Two sockets with a connection between them.
async fn pair() -> (Socket, Socket) {
    let (far, near) = (socket(), socket());
    near.connect(far.bind(LOCAL).await.expect("a free port")).expect("an address");
    within("a peer", near.wait_for_peers(1)).await.expect("open");
    within("a peer", far.wait_for_peers(1)).await.expect("open");
    (far, near)
}

#[test]
fn building_outside_a_runtime_is_refused() {
    assert_eq!(Socket::builder().build().map(drop), Err(BuildError::NoRuntime));
}

#[test]
fn a_runtime_may_be_named_outside_of_it() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let on = || Socket::builder().runtime(Tokio::on(runtime.handle().clone())).build().expect("valid");
    let (server, client) = (on(), on());
    let address = runtime.block_on(server.bind(LOCAL)).expect("a free port");
    client.connect(address).expect("an address");
    runtime.block_on(within("a peer", client.wait_for_peers(1))).expect("open");
}

/// Connections that are woken together wait for the first of them to have its turn, and that waits for the thread. When they
/// are due for a heartbeat, each is for itself.
#[test]
fn a_thread_that_is_kept_busy_does_not_hold_up_all_connections_for_long() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let (server, clients) = runtime.block_on(async {
        let builder = Socket::builder().send_mode(SendMode::Publish);
        let server = builder.heartbeat_interval(Duration::from_millis(50)).build().expect("valid settings");
        let address = server.bind(LOCAL).await.expect("a free port");
        // What a peer sends has its connection served, too.
        let silent = || Socket::builder().heartbeat_timeout(5 * PATIENCE).heartbeat_interval(2 * PATIENCE);
        let clients = [silent(), silent(), silent()].map(|client| client.build().expect("valid settings"));
        for client in &clients {
            client.connect(address).expect("an address");
        }
        within("peers", server.wait_for_peers(clients.len())).await.expect("open");
        (server, clients)
    });
    let (let_go, kept) = std::sync::mpsc::channel::<()>();
    let busy = runtime.spawn(async move {
        server.send("news").await.expect("open");
        // Until the test has what it waits for, or fails.
        kept.recv().expect_err("nothing is sent");
        server
    });
    let mut followers = 0;
    runtime.block_on(async {
        let mut receiving: JoinSet<_> =
            clients.into_iter().map(|client| async move { client.recv().await.map(|_| client) }).collect();
        while followers < 2 {
            let received = within("news", receiving.join_next()).await.expect("three of them");
            received.expect("no panic").expect("open");
            followers += 1;
        }
    });
    drop(let_go);
    drop(runtime.block_on(busy).expect("no panic"));
}

/// A socket that is used in another runtime is still served by its own.
#[test]
fn a_socket_outlives_the_runtime_that_it_is_used_in() {
    let home = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (server, client) = home.block_on(async { (socket(), socket()) });
    let visited = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let address = visited.block_on(async {
        let address = server.bind(LOCAL).await.expect("a free port");
        client.connect(address).expect("an address");
        address
    });
    drop(visited);
    home.block_on(async {
        within("a peer", client.wait_for_peers(1)).await.expect("open");
        let other = socket();
        other.connect(address).expect("an address");
        within("a peer", other.wait_for_peers(1)).await.expect("open");
    });
}

#[test]
fn a_runtime_that_ends_leaves_sockets_that_can_be_dropped() {
    for threads in [false, true] {
        let mut builder = if threads { Builder::new_multi_thread() } else { Builder::new_current_thread() };
        let runtime = builder.enable_all().build().expect("a runtime");
        let (far, near) = runtime.block_on(pair());
        near.try_send("unsent").expect("room");
        drop(runtime);
        assert!(near.peers().is_empty() && far.peers().is_empty());
        assert!(near.try_send("never sent").is_err(), "nobody would ever send it");
        // Who waits for them elsewhere is not left waiting.
        let elsewhere = Builder::new_current_thread().enable_all().build().expect("a runtime");
        elsewhere.block_on(async {
            // With threads of its own, the runtime may have been quicker than its end.
            let arrived = within("the end", far.recv()).await;
            if let Ok(message) = &arrived {
                assert_eq!((message.as_ref(), near.metrics().handed_over.messages), (&b"unsent"[..], 1));
                assert_eq!(within("the end", far.recv()).await, Err(Closed));
            }
            let report = within("the report", near.close()).await;
            assert_eq!(report.dropped.messages + near.metrics().handed_over.messages, 1, "{report:?}");
        });
        drop((far, near));
    }
}

/// While a timer of the runtime is set, each wait of the runtime costs more.
#[cfg(target_os = "linux")]
#[test]
fn a_socket_sets_no_timer_of_the_runtime() {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // Where one that is set panics.
        let runtime = Builder::new_current_thread().enable_io().build().expect("a runtime");
        runtime.block_on(async {
            let server =
                Socket::builder().handshake_timeout(Duration::from_millis(10)).build().expect("valid");
            let mut events = server.events();
            let address = server.bind(LOCAL).await.expect("a free port");
            for _ in 0..3 {
                let _silent = std::net::TcpStream::connect(address).expect("it listens");
                while !matches!(events.recv().await, Some(Event::Refused { .. })) {}
            }
        });
        tell.send(()).expect("it is awaited");
    });
    told.recv_timeout(PATIENCE).expect("who says nothing is refused after a while");
}

/// Many requests may wait at once, each with a time limit.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn who_waits_for_a_while_needs_no_descriptor() {
    use std::task::{Context, Poll};

    use aiomsg_driver::Runtime;

    const WAITS: usize = 500;
    let descriptors = || std::fs::read_dir("/proc/self/fd").expect("a list").count();
    let socket = socket();
    let before = descriptors();
    let mut waits: Vec<_> = (0..WAITS).map(|_| Box::pin(socket.runtime().sleep(PATIENCE))).collect();
    let poll =
        |cx: &mut Context<'_>| Poll::Ready(waits.iter_mut().all(|wait| wait.as_mut().poll(cx).is_pending()));
    assert!(std::future::poll_fn(poll).await);
    // Other tests have some meanwhile.
    assert!(descriptors() < before + WAITS / 2);
}

/// Tests of applications pause the time of the runtime. Then hours pass as fast as nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn paused_time_passes_for_sockets_too() {
    let client = socket();
    let mut events = client.events();
    // A port where nobody listens.
    let address = TcpListener::bind(LOCAL).expect("a free port").local_addr().expect("bound");
    client.connect(address).expect("an address");
    let start = tokio::time::Instant::now();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(start.elapsed() >= Duration::from_secs(60));
    while !matches!(within("retrying", events.recv()).await, Some(Event::Retrying { .. })) {}
    assert!(client.metrics().dial_attempts > 100, "it is tried again as time passes");
}

/// A socket that was there before has a timer of the system, and does not know until that has gone off.
#[tokio::test]
async fn time_that_is_paused_later_passes_as_well() {
    let client = socket();
    let address = TcpListener::bind(LOCAL).expect("a free port").local_addr().expect("bound");
    client.connect(address).expect("an address");
    let attempts = || client.metrics().dial_attempts;
    tokio::time::pause();
    let before = attempts();
    while attempts() < before + 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let known = attempts();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(attempts() > known + 100, "from {known} to {}", attempts());
}

#[tokio::test(start_paused = true)]
async fn sockets_talk_while_time_is_paused() {
    let (far, near) = pair().await;
    let echo = far.clone();
    tokio::spawn(async move {
        while let Ok(received) = echo.recv().await {
            echo.send(received).await.expect("open");
        }
    });
    for _ in 0..100 {
        near.send("ping").await.expect("open");
        assert_eq!(within("an answer", near.recv()).await.expect("open"), "ping");
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
    assert_eq!(near.metrics().disconnected, 0);
    within("closing", near.close()).await;
}
