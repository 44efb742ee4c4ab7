//! Many connections that say nothing take nothing from those that do.

use std::net::TcpStream;

use crate::support::{EchoServer, join, round_trip, socket};

const CROWD: usize = 2_000;

#[test]
fn two_thousand_silent_connections_keep_nobody_out() {
    rlimit::increase_nofile_limit(3 * CROWD as u64).expect("within the hard limit");
    let server = EchoServer::start(|builder| builder);
    let early = server.runtime.block_on(async {
        let early = socket();
        join(&early, server.address).await;
        early
    });
    let mut crowd = Vec::new();
    for n in 0..CROWD {
        crowd.push(TcpStream::connect(server.address).expect("a place in the queue"));
        if n % 50 == 0 {
            server.runtime.block_on(round_trip(&early, "while they come"));
        }
    }
    server.assert_serves();
    server.runtime.block_on(round_trip(&early, "while they are there"));
    assert!(server.socket.metrics().handshakes <= 1_024, "unfinished handshakes are bounded");
    drop(crowd);
    server.assert_serves();
    server.runtime.block_on(round_trip(&early, "when they are gone"));
    assert_eq!(early.metrics().disconnected, 0);
}
