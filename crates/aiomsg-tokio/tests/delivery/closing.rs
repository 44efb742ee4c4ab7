//! `close` returns in time and tells the truth, whatever state it finds.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use aiomsg_tokio::{CloseReport, DeliveryGuarantee, Socket};

use crate::support::{raw_peer, runtime, wait_until};

const LINGER: Duration = Duration::from_millis(700);
/// For tasks to get their turn.
const SLACK: Duration = Duration::from_millis(500);

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Nobody,
    /// Connected, without having said a word.
    Mute,
    /// Reads nothing.
    Stalled,
    /// Reads and never acknowledges.
    Forgetful,
    /// Another socket.
    Healthy,
    /// Another socket, whose application takes nothing.
    Idle,
}

async fn close(
    delivery: DeliveryGuarantee,
    peer: Peer,
    messages: usize,
    size: usize,
) -> (CloseReport, Duration) {
    let socket = Socket::builder().delivery(delivery).build().expect("valid settings");
    let address = socket.bind("127.0.0.1:0").await.expect("a free port");
    let mut raw: Option<TcpStream> = None;
    let other = Socket::builder().build().expect("defaults");
    match peer {
        Peer::Nobody => {}
        Peer::Mute => raw = Some(TcpStream::connect(address).expect("it listens")),
        Peer::Stalled | Peer::Forgetful => raw = Some(raw_peer(address, 1)),
        Peer::Healthy | Peer::Idle => other.connect(address.to_string()).expect("an address"),
    }
    if matches!(peer, Peer::Stalled | Peer::Forgetful | Peer::Healthy | Peer::Idle) {
        wait_until("the peer is there", || socket.peers().len() == 1).await;
    }
    if peer == Peer::Healthy {
        let other = other.clone();
        tokio::spawn(async move { while other.recv().await.is_ok() {} });
    }
    if peer == Peer::Forgetful {
        let mut stream = raw.as_ref().and_then(|raw| raw.try_clone().ok()).expect("a connection");
        tokio::task::spawn_blocking(move || std::io::copy(&mut stream.by_ref(), &mut std::io::sink()));
    }
    for _ in 0..messages {
        socket.send(vec![7; size]).await.expect("there is room");
    }
    let start = Instant::now();
    let report = socket.close_within(LINGER).await;
    let took = start.elapsed();
    let metrics = socket.metrics();
    assert_eq!(metrics.send_held.messages, 0);
    assert_eq!(report.dropped, metrics.dropped_at_close);
    assert_eq!(
        metrics.handed_over.messages + metrics.acknowledged.messages + report.dropped.messages,
        messages
    );
    assert!(took < LINGER + Duration::from_secs(1) + SLACK, "{delivery:?} {peer:?}: {took:?}");
    drop(raw);
    (report, took)
}

#[test]
fn close_returns_in_time_and_tells_the_truth() {
    const MOST: DeliveryGuarantee = DeliveryGuarantee::AtMostOnce;
    const LEAST: DeliveryGuarantee = DeliveryGuarantee::AtLeastOnce;
    runtime().block_on(async {
        for delivery in [MOST, LEAST] {
            for peer in [Peer::Nobody, Peer::Mute] {
                let (report, took) = close(delivery, peer, 10, 10).await;
                assert_eq!((report.handed_over.messages, report.dropped.messages), (0, 10));
                assert!(took >= LINGER, "{peer:?}");
            }
            let (report, took) = close(delivery, Peer::Nobody, 0, 0).await;
            assert_eq!(report, CloseReport::default());
            assert!(took < SLACK, "there is nothing to wait for: {took:?}");
            let (report, took) = close(delivery, Peer::Healthy, 1_000, 1_000).await;
            assert!(report.dropped.messages == 0 && took < LINGER, "{report:?} {took:?}");
            let (report, took) = close(delivery, Peer::Stalled, 300, 100_000).await;
            assert!(report.dropped.messages > 0 && took >= LINGER, "{report:?} {took:?}");
        }
        let (report, _) = close(MOST, Peer::Forgetful, 10, 10).await;
        assert_eq!(report.dropped.messages, 0);
        let (report, took) = close(LEAST, Peer::Forgetful, 10, 10).await;
        assert_eq!((report.handed_over.messages, report.dropped.messages), (0, 10));
        assert!(took >= LINGER);
        let (report, _) = close(MOST, Peer::Idle, 10, 10).await;
        assert_eq!(report.dropped.messages, 0);
        let (report, _) = close(LEAST, Peer::Idle, 10, 10).await;
        assert_eq!(report.dropped.messages, 10, "nobody took them");
    });
}
