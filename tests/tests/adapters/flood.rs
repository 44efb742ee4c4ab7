//! Many connections that say nothing take nothing from those that do.

use std::net::TcpStream;

use crate::support::{Adapter, EchoServer, join, round_trip, socket};

const CROWD: usize = 2_000;

fn two_thousand_silent_connections_keep_nobody_out<R: Adapter>() {
    rlimit::increase_nofile_limit(3 * CROWD as u64).expect("within the hard limit");
    let server = EchoServer::<R>::start(|builder| builder);
    let early = server.block_on(async {
        let early = socket::<R>();
        join(&early, server.address).await;
        early
    });
    let mut crowd = Vec::new();
    for n in 0..CROWD {
        crowd.push(TcpStream::connect(server.address).expect("a place in the queue"));
        if n % 50 == 0 {
            server.block_on(round_trip(&early, "while they come"));
        }
    }
    server.assert_serves();
    server.block_on(round_trip(&early, "while they are there"));
    assert!(server.socket.metrics().handshakes <= 1_024, "unfinished handshakes are bounded");
    drop(crowd);
    server.assert_serves();
    server.block_on(round_trip(&early, "when they are gone"));
    assert_eq!(early.metrics().disconnected, 0);
}

on_both! {
    sync two_thousand_silent_connections_keep_nobody_out;
}
