//! Waiting with a deadline, and peers that are just bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::api::Socket;
use tokio::runtime::Runtime;

/// Nothing that is waited for takes longer than this, however slow the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// Waits until something is so; looks every few milliseconds.
pub(crate) async fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits for a result.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// Two sockets that are connected.
pub(crate) async fn connected(server: &Socket, client: &Socket) -> SocketAddr {
    let address = server.bind("127.0.0.1:0").await.expect("a free port");
    client.connect(address).expect("an address");
    within("the peer is there", server.wait_for_peers(1)).await.expect("it is open");
    within("the peer is there", client.wait_for_peers(1)).await.expect("it is open");
    address
}

/// A peer that has introduced itself and does nothing further by itself.
pub(crate) fn raw_peer(address: SocketAddr, number: u8) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    let mut hello = vec![0, 0, 0, 18, 1, 1];
    hello.extend([number; 16]);
    stream.write_all(&hello).expect("there is room");
    stream
}

/// The bodies of the frames that a peer sends, until one of them is the `last` or the stream ends.
pub(crate) fn read_frames(stream: &mut TcpStream, mut last: impl FnMut(&[u8]) -> bool) -> Vec<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    let mut frames = Vec::new();
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    while let read @ 1.. = stream.read(&mut buffer).expect("it goes on, or ends in good order") {
        bytes.extend_from_slice(&buffer[..read]);
        let mut rest = &bytes[..];
        while let Some((prefix, behind)) = rest.split_first_chunk::<4>()
            && let Some((body, behind)) = behind.split_at_checked(u32::from_be_bytes(*prefix) as usize)
        {
            frames.push(body.to_vec());
            rest = behind;
            if last(body) {
                return frames;
            }
        }
        let left = rest.len();
        bytes.drain(..bytes.len() - left);
    }
    frames
}

/// The number that a message of a test starts with.
pub(crate) fn number(message: &[u8]) -> usize {
    usize::from_be_bytes(message[..8].try_into().expect("eight bytes"))
}

/// A message of `size` bytes that starts with a number.
pub(crate) fn numbered(number: usize, size: usize) -> Vec<u8> {
    let mut message = vec![7; size];
    message[..8].copy_from_slice(&number.to_be_bytes());
    message
}

/// A figure of `/proc/PID/status` in MiB.
pub(crate) fn memory(process: u32, figure: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process is there");
    let line = status.lines().find(|line| line.starts_with(figure)).expect("a figure");
    let kib: f64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number");
    kib / 1_024.0
}

/// A figure for whoever runs the tests with `--nocapture`.
pub(crate) fn tell(line: &str) {
    // Nothing can be done about a standard error that is gone.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
