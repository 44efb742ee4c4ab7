//! Binding, connecting, and both undone.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use aiomsg_driver::{ConnectError, Socket};
use aiomsg_proto::{Event, Limit, SendMode};
use aiomsg_tests::free_address;

use crate::support::{Adapter, LOCAL, bind, builder, event, join, pair, round_trip, socket, spawn, within};

fn echo<R: Adapter>(socket: &Socket<R>) {
    let socket = socket.clone();
    spawn::<R, _>(async move {
        while let Ok(received) = socket.recv_from().await {
            socket.send_to(received.identity, received.payload).await.expect("open");
        }
    });
}

async fn port_zero_stands_for_a_free_port_which_is_told<R: Adapter>() {
    let server = socket::<R>();
    let mut events = server.events();
    let address = bind(&server).await;
    assert_ne!(address.port(), 0);
    let told = event(&mut events, "listening", |event| matches!(event, Event::Listening { .. })).await;
    assert_eq!(told, Event::Listening { address: address.to_string().into() });
    echo(&server);
    let client = socket::<R>();
    join(&client, address).await;
    round_trip(&client, "hello").await;
}

async fn one_socket_has_many_binds_and_many_connects<R: Adapter>() {
    let hub = builder::<R>().send_mode(SendMode::Publish).build().expect("valid");
    let mut peers = Vec::new();
    for _ in 0..5 {
        let (caller, called) = (socket::<R>(), socket::<R>());
        join(&caller, bind(&hub).await).await;
        hub.connect(bind(&called).await).expect("an address");
        peers.extend([caller, called]);
    }
    within("ten peers", hub.wait_for_peers(10)).await.expect("open");
    hub.send("to all").await.expect("open");
    for peer in &peers {
        assert_eq!(within("a message", peer.recv()).await.expect("open"), "to all");
        peer.send(peer.identity().as_bytes().to_vec()).await.expect("open");
    }
    for _ in &peers {
        let received = within("a message", hub.recv_from()).await.expect("open");
        assert_eq!(received.payload, received.identity.as_bytes()[..]);
    }
}

async fn one_may_connect_before_the_other_binds<R: Adapter>() {
    let (server, client) = (socket::<R>(), socket::<R>());
    let (address, _reserved) = free_address();
    let mut events = client.events();
    client.connect(address).expect("an address");
    client.send("early").await.expect("open");
    let retrying = event(&mut events, "retrying", |event| matches!(event, Event::Retrying { .. })).await;
    assert!(matches!(retrying, Event::Retrying { cause: Some(_), .. }), "the system's words are told");
    assert_eq!(server.bind(address).await.expect("the port is free"), address);
    assert_eq!(within("a message", server.recv()).await.expect("open"), "early");
}

async fn a_client_comes_back_when_its_server_is_restarted_on_the_same_port<R: Adapter>() {
    let client = socket::<R>();
    let mut server = socket::<R>();
    let (address, _reserved) = free_address();
    server.bind(address).await.expect("it is reserved");
    join(&client, address).await;
    for round in 0..5 {
        client.send(format!("round {round}")).await.expect("open");
        assert_eq!(within("a message", server.recv()).await.expect("open"), format!("round {round}"));
        within("closing", server.close()).await;
        client.send(format!("meanwhile {round}")).await.expect("open");
        server = socket::<R>();
        server.bind(address).await.expect("the port is free as soon as the old server is closed");
        assert_eq!(within("a message", server.recv()).await.expect("open"), format!("meanwhile {round}"));
    }
}

async fn a_port_that_is_taken_is_refused<R: Adapter>() {
    let (first, second) = (socket::<R>(), socket::<R>());
    let address = bind(&first).await;
    let error = second.bind(address).await.expect_err("it is taken");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    second.bind(LOCAL).await.expect("others are free");
}

async fn unbinding_frees_the_port_at_once_and_leaves_connections_up<R: Adapter>() {
    let (server, client, other) = (socket::<R>(), socket::<R>(), socket::<R>());
    let (address, _reserved) = free_address();
    server.bind(address).await.expect("it is reserved");
    echo(&server);
    join(&client, address).await;
    for _ in 0..20 {
        assert!(within("unbinding", server.unbind(address)).await);
        assert!(!server.unbind(address).await, "nobody listens there any more");
        assert_eq!(other.bind(address).await.expect("the port is free"), address);
        assert!(within("unbinding", other.unbind(address)).await);
        server.bind(address).await.expect("the port is free");
    }
    round_trip(&client, "still there").await;
}

async fn disconnecting_an_address_ends_its_connection_for_good<R: Adapter>() {
    let (server, client) = (socket::<R>(), socket::<R>());
    let address = bind(&server).await;
    let mut events = client.events();
    join(&client, address).await;
    within("a peer", server.wait_for_peers(1)).await.expect("open");
    let mut servers_events = server.events();
    assert!(client.disconnect(address));
    assert!(!client.disconnect(address), "there is none any more");
    let is_gone = |event: &Event| matches!(event, Event::Disconnected { .. });
    event(&mut servers_events, "the end", is_gone).await;
    event(&mut events, "the end", is_gone).await;
    assert!(client.peers().is_empty());
    // It may be connected again.
    join(&client, address).await;
}

async fn disconnecting_while_nobody_answers_ends_the_attempts<R: Adapter>() {
    let (server, client) = (socket::<R>(), socket::<R>());
    let (address, _reserved) = free_address();
    let mut events = client.events();
    client.connect(address).expect("an address");
    event(&mut events, "retrying", |event| matches!(event, Event::Retrying { .. })).await;
    assert!(client.disconnect(address));
    server.bind(address).await.expect("a free port");
    // Another dial is made meanwhile; had the first gone on, there would be two.
    join(&client, address).await;
    assert_eq!(server.metrics().connected + server.metrics().refused, 1);
}

async fn a_peer_that_is_disconnected_comes_back_if_it_keeps_the_connection<R: Adapter>() {
    let (server, client) = pair(builder::<R>(), builder::<R>()).await;
    let mut events = server.events();
    assert!(server.disconnect_peer(client.identity()));
    event(&mut events, "the end", |event| matches!(event, Event::Disconnected { .. })).await;
    event(&mut events, "the return", |event| matches!(event, Event::Connected { .. })).await;
    assert!(!server.disconnect_peer(server.identity()), "no such peer");
}

async fn what_is_no_address_is_refused_with_what_was_given<R: Adapter>() {
    let client = socket::<R>();
    for wrong in
        ["", "localhost", "127.0.0.1:", ":25000", "host:-1", "*:25000", "tcp://a:1", "a b:1", "::1:1"]
    {
        let refused = client.connect(wrong).expect_err(wrong);
        assert!(matches!(&refused, ConnectError::Address { address, .. } if address == wrong), "{refused}");
        let unbound = client.bind(wrong).await.expect_err(wrong);
        assert_eq!((unbound.kind(), unbound.to_string()), (ErrorKind::InvalidInput, refused.to_string()));
    }
    let address = "127.0.0.1:0";
    assert_eq!(client.connect(address), Err(ConnectError::PortZero { address: address.to_owned() }));
    assert_eq!(client.peer_count(), 0);
    within("closing", client.close()).await;
    assert!(matches!(client.connect("127.0.0.1:1"), Err(ConnectError::Closed(_))));
    assert_eq!(client.bind(LOCAL).await.map_err(|error| error.kind()), Err(ErrorKind::NotConnected));
}

/// What can fail before there are peers fails with errors that become those of the system.
async fn setting_up_fits_into_one_function_of_the_standard_library<R: Adapter>() {
    async fn set_up<R: Adapter>(prefetch: Limit, bind: Arc<str>, connect: Box<str>) -> io::Result<Socket<R>> {
        let socket = builder::<R>().prefetch(prefetch).build()?;
        socket.bind(bind).await?;
        socket.connect(connect)?;
        Ok(socket)
    }
    let (some, none) = (Limit::new(1, 1), Limit::new(0, 0));
    for (prefetch, bind, connect) in [(none, LOCAL, "a:1"), (some, "a", "a:1"), (some, LOCAL, "a:0")] {
        let error = set_up::<R>(prefetch, bind.into(), connect.into()).await.expect_err("it is wrong");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    let socket = set_up::<R>(some, LOCAL.into(), "127.0.0.1:1".into()).await.expect("it is right");
    assert!(!socket.is_closed());
    let closing = socket.clone();
    within("closing", closing.close()).await;
    assert!(socket.is_closed());
}

async fn a_name_that_is_not_found_is_tried_again<R: Adapter>() {
    let client = socket::<R>();
    let mut events = client.events();
    client.connect("no-such-host.invalid:25000").expect("it looks like an address");
    for _ in 0..2 {
        event(&mut events, "retrying", |event| matches!(event, Event::Retrying { .. })).await;
    }
    assert!(client.disconnect("no-such-host.invalid:25000"));
}

/// Where the name has two addresses, only one of them is listened at.
async fn a_name_is_connected_at_whichever_of_its_addresses_answers<R: Adapter>() {
    let addresses: Vec<SocketAddr> = ("localhost", 0).to_socket_addrs().expect("a name").collect();
    for listened in addresses {
        let (server, client) = (socket::<R>(), socket::<R>());
        // A machine may know an address of the name, and not have it.
        let Ok(address) = server.bind(listened).await else { continue };
        client.connect(format!("localhost:{}", address.port())).expect("an address");
        within("a peer", client.wait_for_peers(1)).await.expect("open");
    }
}

async fn a_socket_that_dials_itself_is_told_so<R: Adapter>() {
    let lonely = socket::<R>();
    let mut events = lonely.events();
    let address = bind(&lonely).await;
    lonely.connect(address).expect("an address");
    event(&mut events, "giving up", |event| matches!(event, Event::GivenUp { .. })).await;
    assert!(lonely.peers().is_empty());
}

/// Two that dial each other have one connection in the end, and talk.
async fn two_that_connect_to_each_other_talk<R: Adapter>() {
    let sockets = [socket::<R>(), socket::<R>()];
    let addresses = [bind(&sockets[0]).await, bind(&sockets[1]).await];
    sockets[0].connect(addresses[1]).expect("an address");
    sockets[1].connect(addresses[0]).expect("an address");
    for (near, far) in [(0, 1), (1, 0)] {
        within("a peer", sockets[near].wait_for_peers(1)).await.expect("open");
        sockets[near].send("hello").await.expect("open");
        assert_eq!(within("a message", sockets[far].recv()).await.expect("open"), "hello");
    }
}

async fn a_connect_that_is_not_answered_does_not_hold_up_closing<R: Adapter>() {
    let client = builder::<R>().linger(Duration::from_millis(100)).build().expect("valid");
    // A listener whose queue is full answers nobody; this one never accepts.
    let listener = std::net::TcpListener::bind(LOCAL).expect("a free port");
    client.connect(listener.local_addr().expect("bound")).expect("an address");
    client.send("unheard").await.expect("open");
    assert_eq!(within("closing", client.close()).await.dropped.messages, 1);
}

on_both! {
    async port_zero_stands_for_a_free_port_which_is_told, one_socket_has_many_binds_and_many_connects, one_may_connect_before_the_other_binds, a_client_comes_back_when_its_server_is_restarted_on_the_same_port, a_port_that_is_taken_is_refused, unbinding_frees_the_port_at_once_and_leaves_connections_up, disconnecting_an_address_ends_its_connection_for_good, disconnecting_while_nobody_answers_ends_the_attempts, a_peer_that_is_disconnected_comes_back_if_it_keeps_the_connection, what_is_no_address_is_refused_with_what_was_given, setting_up_fits_into_one_function_of_the_standard_library, a_name_that_is_not_found_is_tried_again, a_name_is_connected_at_whichever_of_its_addresses_answers, a_socket_that_dials_itself_is_told_so, two_that_connect_to_each_other_talk, a_connect_that_is_not_answered_does_not_hold_up_closing;
}
