//! What connections cost that mean no good, or do nothing: the memory of a whole socket with its adapter, over TCP.
//!
//! Alone in its program, since it looks at all memory that is in use; one scenario at a time for the same reason. The peers
//! are a process of their own, or descriptors would run out.

#![expect(clippy::print_stdout, reason = "what was measured, for who wants to know")]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use aiomsg_tests::crowd::{self, Says};
use aiomsg_tokio::Socket;
use clap::ValueEnum;
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const PATIENCE: Duration = Duration::from_secs(60);

/// The process of the peers; it ends with this value.
struct Peers {
    child: Child,
    _stays: ChildStdin,
}

impl Peers {
    /// Returns when all have connected and said what they have to say.
    fn start(address: SocketAddr, count: u32, says: Says) -> Self {
        let says = says.to_possible_value().expect("it has a name");
        let mut child = Command::new(env!("CARGO_BIN_EXE_crowd"))
            .args([&address.to_string(), &count.to_string(), says.get_name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it can be run");
        let stays = child.stdin.take().expect("piped");
        let said = BufReader::new(child.stdout.take().expect("piped")).lines();
        let all_there = said.map_while(Result::ok).any(|line| line == crowd::ALL_THERE);
        assert!(all_there, "the peers failed");
        Self { child, _stays: stays }
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("it was running");
    }
}

/// What each of `count` peers costs a socket that is well otherwise.
async fn cost(count: u32, says: Says) -> usize {
    let socket = Socket::builder().build().expect("valid settings");
    let address = socket.bind("127.0.0.1:0").await.expect("a free port");
    let friend = Socket::builder().build().expect("valid settings");
    friend.connect(address).expect("open");
    exchange(&socket, &friend).await;
    let before = MEMORY.current_usage();
    let started = tokio::task::spawn_blocking(move || Peers::start(address, count, says));
    let peers = started.await.expect("no panic");
    // Those that are there, and the friend.
    while socket.metrics().connections != count as usize + 1 {
        tokio::task::yield_now().await;
    }
    // Several turns of the runtime, so that all that has come is read.
    for _ in 0..20 {
        exchange(&socket, &friend).await;
    }
    let more = MEMORY.current_usage().saturating_sub(before);
    exchange(&socket, &friend).await;
    drop(peers);
    socket.close_within(Duration::ZERO).await;
    more / count as usize
}

/// A message goes to the friend, and one comes back.
async fn exchange(socket: &Socket, friend: &Socket) {
    let exchange = async {
        friend.send("well?").await.expect("open");
        let question = socket.recv_from().await.expect("open");
        socket.send_to(question.identity, "well").await.expect("it is there");
        assert_eq!(friend.recv().await.expect("open"), "well");
    };
    tokio::time::timeout(PATIENCE, exchange).await.expect("it is served");
}

#[test]
fn what_connections_cost_is_bounded() {
    rlimit::increase_nofile_limit(12_000).expect("so many descriptors");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for (count, says, bound) in [
        (1_000, Says::Nothing, 3_000),
        (1_000, Says::HalfAnIntroduction, 4_000),
        (1_000, Says::Hello, 3_500),
        (10_000, Says::Hello, 3_500),
        (10_000, Says::HugeMessage, 8_000),
    ] {
        let cost = runtime.block_on(async { tokio::time::timeout(PATIENCE, cost(count, says)).await });
        let cost = cost.expect("they all connect in time");
        println!("{count} peers that say {says:?}: {cost} bytes each");
        assert!(cost < bound, "{count} peers that say {says:?}: {cost} bytes each, at most {bound} expected");
    }
}
