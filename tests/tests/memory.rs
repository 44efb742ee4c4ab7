//! What connections cost that mean no good, or do nothing: the memory of a whole socket with its adapter, over TCP.
//!
//! Alone in its program, since it looks at all memory that is in use; one scenario at a time for the same reason. The peers
//! are a process of their own, or descriptors would run out.

#![expect(clippy::print_stdout, reason = "what was measured, for who wants to know")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use aiomsg_proto::Identity;
use aiomsg_tests::wire;
use aiomsg_tokio::Socket;
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Set in the process of the peers: where to connect, how many of them, and what each says.
const PEERS: &str = "AIOMSG_TEST_PEERS";
const PATIENCE: Duration = Duration::from_secs(60);

/// What a peer says.
#[derive(Clone, Copy, Debug)]
enum Says {
    Nothing,
    /// Most of an introduction that is as long as one may be.
    HalfAnIntroduction,
    Hello,
    /// A proper introduction, and the start of a message that is as long as one may be.
    HugeMessage,
}

impl Says {
    const ALL: [Self; 4] = [Self::Nothing, Self::HalfAnIntroduction, Self::Hello, Self::HugeMessage];

    fn bytes(self, number: u32) -> Vec<u8> {
        let hello = wire::hello(Identity::from_bytes(u128::from(number + 1).to_be_bytes()));
        match self {
            Self::Nothing => Vec::new(),
            Self::HalfAnIntroduction => [&255_u32.to_be_bytes()[..], &[7; 200]].concat(),
            Self::Hello => hello,
            Self::HugeMessage => [&hello[..], &(64_u32 << 20).to_be_bytes(), &[3; 2_000]].concat(),
        }
    }
}

/// The process of the peers; it ends with this value.
struct Peers {
    child: Child,
    _stays: ChildStdin,
}

impl Peers {
    /// Returns when all have connected and said what they have to say.
    fn start(address: SocketAddr, count: u32, says: Says) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .args(["--exact", "be_the_peers", "--include-ignored", "--nocapture"])
            .env(PEERS, format!("{address} {count} {}", says as usize))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it can be run");
        let stays = child.stdin.take().expect("piped");
        let said = BufReader::new(child.stdout.take().expect("piped")).lines();
        let all_there = said.map_while(Result::ok).any(|line| line.contains("all there"));
        assert!(all_there, "the peers failed");
        Self { child, _stays: stays }
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("it was running");
    }
}

#[test]
#[ignore = "a part of the test below, as a process of its own"]
fn be_the_peers() {
    let Ok(task) = std::env::var(PEERS) else { return };
    let mut words = task.split(' ');
    let mut word = || words.next().expect("three words");
    let address = word();
    let count: u32 = word().parse().expect("a number");
    let says = Says::ALL[word().parse::<usize>().expect("a number")];
    let peers: Vec<TcpStream> = (0..count)
        .map(|number| {
            let mut peer = TcpStream::connect(address).expect("somebody accepts");
            // Who says too much is hung up on, perhaps.
            drop(peer.write_all(&says.bytes(number)));
            peer
        })
        .collect();
    println!("all there");
    drop(io::stdin().read(&mut [0]));
    drop(peers);
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
