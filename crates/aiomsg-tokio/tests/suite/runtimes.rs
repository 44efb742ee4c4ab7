//! Where a socket can be built, used and dropped, and what its types promise.

use std::fmt::Debug;
use std::time::Duration;

use aiomsg_tokio::{
    BuildError, ConfigError, Event, EventStream, MessageStream, PendingReceipt, ReceivedStream, Socket,
};
use tokio::runtime::Builder;

use crate::support::{LOCAL, bind, builder, event, free_address, join, pair, round_trip, socket, within};

#[test]
fn building_outside_a_runtime_is_refused() {
    assert_eq!(Socket::builder().build().map(drop), Err(BuildError::NoRuntime));
}

#[tokio::test]
async fn settings_that_contradict_themselves_are_refused() {
    let built = Socket::builder().max_message(0).build().map(drop);
    assert!(matches!(built, Err(BuildError::Config(ConfigError::MaxMessage { .. }))));
}

fn assert_type<T: Clone + Send + Sync + Debug + Unpin + 'static>() {}
fn assert_send<T: Send>(_: &T) {}

#[test]
fn sockets_are_shared_among_threads_and_so_are_their_futures() {
    assert_type::<Socket>();
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _entered = runtime.enter();
    let socket = socket();
    assert_send(&socket.send("x"));
    assert_send(&socket.send_to(socket.identity(), "x"));
    assert_send(&socket.send_with_receipt("x"));
    assert_send(&socket.recv());
    assert_send(&socket.recv_from());
    assert_send(&socket.recv_message());
    assert_send(&socket.wait_for_peers(1));
    assert_send(&socket.bind(LOCAL));
    assert_send(&socket.unbind("127.0.0.1:1"));
    assert_send(&socket.close());
    assert_send(&socket.events());
    assert_send(&socket.messages());
    assert_send(&socket.messages_from());
    fn assert_owned<T: Send + Sync + Unpin + Debug + 'static>() {}
    assert_owned::<EventStream>();
    assert_owned::<MessageStream>();
    assert_owned::<ReceivedStream>();
    assert_owned::<PendingReceipt>();
}

/// What is held is nobody's business, and may be long.
#[tokio::test]
async fn the_debug_form_is_short() {
    let socket = socket();
    for _ in 0..1_000 {
        socket.send("a secret").await.expect("open");
    }
    let shown = format!("{socket:?} {:?} {:?}", socket.events(), socket.messages());
    assert!(shown.len() < 1_000 && !shown.contains("secret"), "{shown}");
    assert!(shown.contains(&socket.identity().to_string()), "{shown}");
}

#[test]
fn a_socket_can_be_used_from_any_thread() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (server, client) = runtime.block_on(async { (socket(), socket()) });
    let address = runtime.block_on(bind(&server));
    // No runtime is entered here.
    client.connect(address.to_string()).expect("an address");
    client.try_send("from outside").expect("room");
    let received = runtime.block_on(within("a message", server.recv()));
    assert_eq!(received.expect("open"), "from outside");
    assert!(client.disconnect(&address.to_string()));
}

/// A socket that is used in another runtime is still served by its own.
#[test]
fn a_socket_outlives_the_runtime_that_it_is_used_in() {
    let home = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (server, client) = home.block_on(async { (socket(), socket()) });
    let visited = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let address = visited.block_on(async {
        let address = bind(&server).await;
        client.connect(address.to_string()).expect("an address");
        address
    });
    drop(visited);
    home.block_on(async {
        within("a peer", client.wait_for_peers(1)).await.expect("open");
        join(&socket(), address).await;
    });
}

#[test]
fn a_runtime_that_ends_leaves_sockets_that_can_be_dropped() {
    for threads in [false, true] {
        let mut builder = if threads { Builder::new_multi_thread() } else { Builder::new_current_thread() };
        let runtime = builder.enable_all().build().expect("a runtime");
        let (far, near) = runtime.block_on(pair(crate::support::builder(), crate::support::builder()));
        near.try_send("unsent").expect("room");
        drop(runtime);
        assert!(near.peers().is_empty() && far.peers().is_empty());
        near.try_send("never sent").expect("room");
        drop((far, near));
    }
}

/// Tests of applications pause the time of the runtime. Then hours pass as fast as nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn paused_time_passes_for_sockets_too() {
    let client = socket();
    let mut events = client.events();
    let address = free_address();
    client.connect(address.to_string()).expect("an address");
    let start = tokio::time::Instant::now();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(start.elapsed() >= Duration::from_secs(60));
    event(&mut events, "retrying", |event| matches!(event, Event::Retrying { .. })).await;
    assert!(client.metrics().dial_attempts > 100, "it is tried again as time passes");
}

#[tokio::test(start_paused = true)]
async fn sockets_talk_while_time_is_paused() {
    let (far, near) = pair(builder(), builder()).await;
    let echo = far.clone();
    tokio::spawn(async move {
        while let Ok(received) = echo.recv().await {
            echo.send(received).await.expect("open");
        }
    });
    for _ in 0..100 {
        round_trip(&near, "ping").await;
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
    assert_eq!(near.metrics().disconnected, 0);
    within("closing", near.close()).await;
}
