//! `close` returns in time and tells the truth, whatever state it finds: its report is compared to what the other side
//! has received.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::api::{Acknowledge, Builder, CloseReport, DeliveryGuarantee, Identity, Metrics, Socket};
use tokio::task::JoinHandle;

use super::support::{number, numbered, raw_peer, read_frames, runtime, tell, wait_until, within};

const MOST: DeliveryGuarantee = DeliveryGuarantee::AtMostOnce;
const LEAST: DeliveryGuarantee = DeliveryGuarantee::AtLeastOnce;

const LINGER: Duration = Duration::from_millis(700);

/// How long connections may take to end after that.
const FINISH: Duration = Duration::from_secs(1);

/// For tasks to get their turn.
const SLACK: Duration = Duration::from_millis(500);

/// Few and small messages, which the system takes at once.
const FEW: usize = 10;
const SMALL: usize = 100;

/// More than the system takes from us for a peer that does not read.
const MANY: usize = 300;
const LARGE: usize = 100_000;

/// A socket that is to be closed, and where it listens.
async fn server(builder: Builder) -> (Socket, SocketAddr) {
    let socket = builder.build().expect("valid settings");
    let address = socket.bind("127.0.0.1:0").await.expect("a free port");
    (socket, address)
}

fn builder(delivery: DeliveryGuarantee) -> Builder {
    Socket::builder().delivery(delivery)
}

async fn send(socket: &Socket, count: usize, size: usize) {
    for n in 0..count {
        socket.send(numbered(n, size)).await.expect("there is room");
    }
}

/// What a `close` said, and how long it took.
#[derive(Debug)]
struct End {
    report: CloseReport,
    took: Duration,
    metrics: Metrics,
    linger: Duration,
}

impl End {
    /// Messages that were handed over, or acknowledged, before or while closing.
    fn done(&self) -> usize {
        self.metrics.handed_over.messages + self.metrics.acknowledged.messages
    }

    fn dropped(&self) -> usize {
        self.report.dropped.messages
    }

    /// Something was left to wait for.
    fn assert_lingered(&self) {
        assert!(self.took >= self.linger, "{self:?}");
    }

    /// It did not wait until the linger time was up.
    fn assert_prompt(&self) {
        assert!(self.took < self.linger, "{self:?}");
    }
}

/// Closes a socket, and checks that it takes no longer than it may and that the sums close.
async fn close(what: &str, socket: &Socket, linger: Duration) -> End {
    let before = socket.metrics();
    let start = Instant::now();
    let report = socket.close_within(linger).await;
    let (took, metrics) = (start.elapsed(), socket.metrics());
    let end = End { report, took, metrics, linger };
    tell(&format!(
        "{what}: closed in {took:?}, {} handed over of {}, {} dropped",
        end.done(),
        metrics.accepted.messages,
        end.dropped()
    ));
    assert!(took < linger + FINISH + SLACK, "{what}: {took:?}");
    assert_eq!((metrics.send_held.messages, metrics.connections), (0, 0), "{what}");
    assert_eq!(end.done() + end.dropped(), metrics.accepted.messages, "{what}");
    assert_eq!(report.dropped, metrics.dropped_at_close, "{what}");
    let before = before.handed_over.messages + before.acknowledged.messages;
    assert!(report.handed_over.messages <= end.done() - before, "{what}: what was handed over while closing");
    end
}

/// The numbers of the messages among the frames that a peer got.
fn messages(frames: &[Vec<u8>]) -> Vec<usize> {
    let payload = |frame: &Vec<u8>| match frame.first() {
        Some(3) => Some(number(&frame[1..])),
        Some(4) => Some(number(&frame[17..])),
        _ => None,
    };
    frames.iter().filter_map(payload).collect()
}

/// Reads as a peer that acknowledges the first `acknowledged` messages, to the end of the stream.
fn read_on(stream: &TcpStream, acknowledged: usize) -> JoinHandle<Vec<usize>> {
    let mut stream = stream.try_clone().expect("it is open");
    let mut answers = stream.try_clone().expect("it is open");
    let mut left = acknowledged;
    tokio::task::spawn_blocking(move || {
        let frames = read_frames(&mut stream, |frame| {
            if frame.first() == Some(&4) && left > 0 {
                left -= 1;
                let ack = [&[0, 0, 0, 17, 5][..], &frame[1..17]].concat();
                answers.write_all(&ack).expect("it is open");
            }
            false
        });
        // It ends its side as well; the other one may be gone.
        let _ = stream.shutdown(Shutdown::Write);
        messages(&frames)
    })
}

/// Takes messages as an application does, until its socket has no peer any more and nothing is left.
async fn take_all(socket: Socket) -> Vec<usize> {
    wait_until("the peer is gone", || socket.peers().is_empty()).await;
    let mut taken = Vec::new();
    while let Some(received) = socket.try_recv().expect("it is open") {
        taken.push(number(&received.payload));
    }
    taken
}

fn assert_all(numbers: &[usize], count: usize) {
    assert!(numbers.iter().copied().eq(0..count), "{count} in order, none missing: {numbers:?}");
}

#[test]
fn closing_with_nobody_there() {
    runtime().block_on(async {
        for delivery in [MOST, LEAST] {
            let (socket, _) = server(builder(delivery)).await;
            let end = close("nobody, nothing", &socket, LINGER).await;
            assert_eq!(end.report, CloseReport::default());
            assert!(end.took < SLACK, "there is nothing to wait for: {end:?}");

            let (socket, _) = server(builder(delivery)).await;
            send(&socket, FEW, SMALL).await;
            let end = close("nobody", &socket, LINGER).await;
            end.assert_lingered();
            assert_eq!((end.report.handed_over.messages, end.dropped()), (0, FEW));
        }
    });
}

#[test]
fn closing_while_dialling_in_vain() {
    runtime().block_on(async {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = nobody.local_addr().expect("it is bound").to_string();
        drop(nobody);
        for delivery in [MOST, LEAST] {
            let socket = builder(delivery).build().expect("valid settings");
            socket.connect(address.clone()).expect("an address");
            send(&socket, FEW, SMALL).await;
            wait_until("it was tried", || socket.metrics().dial_attempts > 0).await;
            let end = close("nobody listens", &socket, LINGER).await;
            end.assert_lingered();
            assert_eq!(end.dropped(), FEW);
        }
    });
}

#[test]
fn closing_when_a_peer_comes_just_then() {
    runtime().block_on(async {
        for delivery in [MOST, LEAST] {
            let (socket, address) = server(builder(delivery)).await;
            send(&socket, FEW, SMALL).await;
            let closing = {
                let socket = socket.clone();
                tokio::spawn(async move { close("a late peer", &socket, Duration::from_secs(20)).await })
            };
            // From now on it accepts no message.
            wait_until("it closes", || socket.try_send(numbered(FEW, SMALL)).is_err()).await;
            let late = raw_peer(address, 1);
            let reading = read_on(&late, usize::MAX);
            let end = within("the end", closing).await.expect("no panic");
            end.assert_prompt();
            drop(late);
            let accepted = end.metrics.accepted.messages;
            assert_eq!((end.report.handed_over.messages, end.dropped()), (accepted, 0));
            assert_eq!(within("all", reading).await.expect("no panic").len(), accepted);
        }
    });
}

#[test]
fn closing_in_the_middle_of_a_handshake() {
    runtime().block_on(async {
        for delivery in [MOST, LEAST] {
            for spoken in [&[][..], &[0, 0, 0, 18, 1, 1, 9]] {
                let (socket, address) = server(builder(delivery)).await;
                let mut mute = TcpStream::connect(address).expect("it listens");
                mute.write_all(spoken).expect("there is room");
                wait_until("it is there", || socket.metrics().handshakes == 1).await;
                send(&socket, FEW, SMALL).await;
                let end = close("a mute peer", &socket, LINGER).await;
                end.assert_lingered();
                assert_eq!(end.dropped(), FEW);
                // Its introduction is cut short: the rest of what it said may be destroyed, and with it the end.
                let mut answer = Vec::new();
                let read = std::io::Read::read_to_end(&mut mute, &mut answer);
                assert!(answer.is_empty(), "{read:?}: it was told nothing");
            }
        }
    });
}

#[test]
fn closing_when_whom_we_dialled_says_nothing() {
    runtime().block_on(async {
        for delivery in [MOST, LEAST] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            let socket = builder(delivery).build().expect("valid settings");
            socket.connect(listener.local_addr().expect("it is bound").to_string()).expect("an address");
            let accepting = tokio::task::spawn_blocking(move || listener.accept().expect("somebody comes").0);
            let mute = within("it dials", accepting).await.expect("no panic");
            let reading = read_on(&mute, 0);
            send(&socket, FEW, SMALL).await;
            let end = close("mute behind a dial", &socket, LINGER).await;
            end.assert_lingered();
            drop(mute);
            assert_eq!(end.dropped(), FEW);
            assert_eq!(within("the end", reading).await.expect("no panic"), [0; 0], "no message");
        }
    });
}

#[test]
fn closing_with_a_peer_that_reads_nothing() {
    runtime().block_on(async {
        for delivery in [MOST, LEAST] {
            let (socket, address) = server(builder(delivery)).await;
            let stalled = raw_peer(address, 1);
            within("a peer", socket.wait_for_peers(1)).await.expect("it is open");
            send(&socket, MANY, LARGE).await;
            let end = close("stalled", &socket, LINGER).await;
            end.assert_lingered();
            // It wakes up when all is over: what the system had taken is still there.
            let got = within("the end", read_on(&stalled, 0)).await.expect("no panic");
            assert!(!got.is_empty() && got.len() < MANY);
            assert_all(&got, got.len());
            let done = if delivery == MOST { got.len() } else { 0 };
            assert_eq!((end.done(), end.dropped()), (done, MANY - done));
        }
    });
}

#[test]
fn closing_with_unacknowledged_messages() {
    runtime().block_on(async {
        for (delivery, acknowledged) in [(MOST, 0), (LEAST, 0), (LEAST, FEW / 2), (LEAST, FEW)] {
            let (socket, address) = server(builder(delivery)).await;
            let peer = raw_peer(address, 1);
            let reading = read_on(&peer, acknowledged);
            within("a peer", socket.wait_for_peers(1)).await.expect("it is open");
            send(&socket, FEW, SMALL).await;
            let end = close(&format!("{acknowledged} acknowledged"), &socket, LINGER).await;
            drop(peer);
            assert_all(&within("the end", reading).await.expect("no panic"), FEW);
            let done = if delivery == MOST { FEW } else { acknowledged };
            assert_eq!((end.done(), end.dropped()), (done, FEW - done));
            if done < FEW {
                end.assert_lingered();
            } else {
                end.assert_prompt();
            }
        }
    });
}

#[test]
fn closing_with_another_socket_at_the_other_end() {
    runtime().block_on(async {
        for delivery in [MOST, LEAST] {
            for takes in [true, false] {
                let (socket, address) = server(builder(delivery)).await;
                // Acknowledged when the application takes it, and not before.
                let acknowledge = Acknowledge::OnTake { at_latest: None };
                let other = Socket::builder().acknowledge(acknowledge).build().expect("valid settings");
                other.connect(address).expect("an address");
                within("a peer", socket.wait_for_peers(1)).await.expect("it is open");
                let taker = other.clone();
                let taking = tokio::spawn(async move {
                    let mut taken = Vec::new();
                    while takes && taken.len() < 1_000 {
                        taken.push(number(&taker.recv().await.expect("it is open")));
                    }
                    taken
                });
                send(&socket, 1_000, 1_000).await;
                let end = close(&format!("{delivery:?}, it takes: {takes}"), &socket, LINGER).await;
                let mut got = within("all", taking).await.expect("no panic");
                got.append(&mut take_all(other).await);
                // What is told as dropped was not acknowledged, and may have come all the same.
                assert_all(&got, 1_000);
                let done = if delivery == MOST || takes { 1_000 } else { 0 };
                assert_eq!((end.done(), end.dropped()), (done, 1_000 - done));
                if done > 0 {
                    end.assert_prompt();
                } else {
                    end.assert_lingered();
                }
            }
        }
    });
}

/// A peer that reads and never says a word holds an identity that a newcomer shows.
async fn probe(linger: Duration) -> (End, Vec<usize>, Vec<usize>) {
    let (socket, address) = server(builder(LEAST).heartbeat_interval(Duration::from_millis(100))).await;
    let holder = raw_peer(address, 1);
    within("a peer", socket.wait_for_peers(1)).await.expect("it is open");
    socket.send_to(Identity::from_bytes([1; 16]), numbered(0, SMALL)).await.expect("there is room");
    send_rest(&socket).await;
    let old = read_on(&holder, 0);
    wait_until("all are on their way", || socket.peers().iter().all(|peer| peer.queued.messages == 0)).await;
    let newcomer = raw_peer(address, 1);
    wait_until("it has introduced itself", || {
        let metrics = socket.metrics();
        (metrics.connections, metrics.handshakes) == (2, 0)
    })
    .await;
    let new = read_on(&newcomer, FEW);
    let end = close("probing", &socket, linger).await;
    drop((holder, newcomer));
    let got = (within("the end", old).await, within("the end", new).await);
    (end, got.0.expect("no panic"), got.1.expect("no panic"))
}

async fn send_rest(socket: &Socket) {
    for n in 1..FEW {
        socket.send(numbered(n, SMALL)).await.expect("there is room");
    }
}

#[test]
fn closing_while_a_holder_is_probed() {
    runtime().block_on(async {
        let (end, old, new) = probe(LINGER).await;
        end.assert_lingered();
        assert_all(&old, FEW);
        // The holder has a heartbeat interval and a second, which is longer than closing takes.
        assert_eq!((new, end.done(), end.dropped()), (Vec::new(), 0, FEW));

        let (end, old, new) = probe(Duration::from_secs(20)).await;
        end.assert_prompt();
        assert_all(&old, FEW);
        assert_all(&new, FEW);
        assert_eq!(
            (end.report.handed_over.messages, end.dropped()),
            (FEW, 0),
            "the newcomer acknowledged them"
        );
    });
}
