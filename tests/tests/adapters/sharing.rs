//! What the types of a socket promise, and where it can be used.

use std::fmt::Debug;

use aiomsg_driver::{BuildError, EventStream, MessageStream, PendingReceipt, ReceivedStream, Socket};
use aiomsg_proto::ConfigError;

use crate::support::{Adapter, LOCAL, bind, socket, within};

async fn settings_that_contradict_themselves_are_refused<R: Adapter>() {
    let built = Socket::<R>::builder().max_message(0).build().map(drop);
    assert!(matches!(built, Err(BuildError::Config(ConfigError::MaxMessage { .. }))));
}

fn assert_type<T: Clone + Send + Sync + Debug + Unpin + 'static>() {}
fn assert_send<T: Send>(_: &T) {}
fn assert_owned<T: Send + Sync + Unpin + Debug + 'static>() {}

/// Of a runtime that is named, so that it is seen as users see it.
macro_rules! assert_shared_among_threads {
    ($runtime:ty) => {
        assert_type::<Socket<$runtime>>();
        <$runtime as Adapter>::run(async {
            let socket = socket::<$runtime>();
            assert_send(&socket.send("x"));
            assert_send(&socket.send_to(socket.identity(), "x"));
            assert_send(&socket.send_with_receipt("x"));
            assert_send(&socket.send_to_with_receipt(socket.identity(), "x"));
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
        });
    };
}

#[test]
fn sockets_are_shared_among_threads_and_so_are_their_futures() {
    assert_shared_among_threads!(aiomsg_tokio::Tokio);
    assert_shared_among_threads!(aiomsg_smol::Smol);
    assert_owned::<EventStream>();
    assert_owned::<MessageStream>();
    assert_owned::<ReceivedStream>();
    assert_owned::<PendingReceipt>();
}

/// What is held is nobody's business, and may be long.
async fn the_debug_form_is_short<R: Adapter>() {
    let socket = socket::<R>();
    for _ in 0..1_000 {
        socket.send("a secret").await.expect("open");
    }
    let shown = format!("{socket:?} {:?} {:?}", socket.events(), socket.messages());
    assert!(shown.len() < 1_000 && !shown.contains("secret"), "{shown}");
    assert!(shown.contains(&socket.identity().to_string()), "{shown}");
}

fn a_socket_can_be_used_from_any_thread<R: Adapter>() {
    let home = R::on_threads();
    let (server, client) = R::block_on(&home, async { (socket::<R>(), socket::<R>()) });
    let address = R::block_on(&home, bind(&server));
    // No runtime is entered here.
    client.connect(address).expect("an address");
    client.try_send("from outside").expect("room");
    let received = R::block_on(&home, within("a message", server.recv()));
    assert_eq!(received.expect("open"), "from outside");
    assert!(client.disconnect(address));
}

on_both! {
    async settings_that_contradict_themselves_are_refused, the_debug_form_is_short;
    sync a_socket_can_be_used_from_any_thread;
}
