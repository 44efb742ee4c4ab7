//! One subscriber that reads nothing, beside nine that do.

use std::io::Read;
use std::time::{Duration, Instant};

use aiomsg_tokio::Socket;

use crate::child::Actor;
use crate::support::{memory, raw_peer, runtime, tell, within};

const MESSAGES: usize = 20_000;

/// Counts the DATA frames on a connection until it is silent for a second, or ends.
fn count_messages(stream: &mut std::net::TcpStream) -> usize {
    stream.set_read_timeout(Some(Duration::from_secs(1))).expect("a time");
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..read]);
    }
    let (mut rest, mut count) = (&bytes[..], 0);
    while let Some((prefix, behind)) = rest.split_first_chunk::<4>()
        && let Some((body, behind)) = behind.split_at_checked(u32::from_be_bytes(*prefix) as usize)
    {
        count += usize::from(body.first() == Some(&3));
        rest = behind;
    }
    count
}

/// Returns what the stalled subscriber got and what was counted as dropped.
fn play(policy: &str) -> (usize, usize) {
    let mut publisher = Actor::start(&format!("publisher {policy} {MESSAGES}"));
    let address = publisher.wait_for("listening");
    let runtime = runtime();
    let start = Instant::now();
    let mut stalled = raw_peer(address.parse().expect("an address"), 99);
    let live: Vec<_> = (0..9)
        .map(|_| {
            let address = address.clone();
            runtime.spawn(async move {
                let socket = Socket::builder().build().expect("defaults");
                socket.connect(address).expect("an address");
                for number in 0..MESSAGES {
                    let message = within("a message", socket.recv()).await.expect("it is open");
                    assert_eq!(message[..8], number.to_be_bytes(), "all, in order");
                }
            })
        })
        .collect();
    for subscriber in live {
        runtime.block_on(within("all", subscriber)).expect("it got all");
    }
    let took = start.elapsed();
    publisher.wait_for("published");
    let resident = memory(publisher.id(), "VmHWM");
    publisher.write("count");
    let got = count_messages(&mut stalled);
    let counted = publisher.wait_for("counted");
    let dropped = counted.split(' ').next().and_then(|dropped| dropped.parse().ok()).expect("a number");
    tell(&format!(
        "{policy}: nine got {MESSAGES} each in {took:?}, the stalled one {got}, dropped {dropped}; publisher {resident:.0} MiB"
    ));
    assert!(resident < 64.0, "{resident} MiB");
    (got, dropped)
}

#[test]
fn drops_are_counted_when_the_newest_go() {
    let (got, dropped) = play("newest");
    assert!(dropped > 0);
    assert_eq!(got + dropped, MESSAGES);
}

#[test]
fn drops_are_counted_when_the_oldest_go() {
    let (got, dropped) = play("oldest");
    assert!(dropped > 0);
    assert_eq!(got + dropped, MESSAGES);
}

#[test]
fn a_stalled_subscriber_may_be_disconnected() {
    let (got, _) = play("disconnect");
    assert!(got < MESSAGES);
}

#[test]
fn a_stalled_subscriber_may_be_waited_for_and_then_disconnected() {
    let (got, _) = play("block");
    assert!(got < MESSAGES);
}
