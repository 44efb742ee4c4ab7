//! Peers that vanish without a trace, and peers that only seem to: who is declared dead, when, and what becomes of the
//! messages.

use std::collections::BTreeSet;
use std::future::{pending, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::api::{Builder, CloseReason, DeliveryGuarantee, Event, EventStream, Identity, Limit, Socket};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::support::{number, numbered, runtime, tell, wait_until, within};

const INTERVAL: Duration = Duration::from_millis(400);
const TIMEOUT: Duration = Duration::from_millis(1_200);

/// For tasks to get their turn.
const SLACK: Duration = Duration::from_millis(500);

/// Heartbeats that show that several timeouts have passed: twelve intervals are four of them.
const MANY: u64 = 12;

/// What a proxy does with the bytes that come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Pass,
    /// They are taken and thrown away: the sender's system believes that they arrive.
    Swallow,
    /// They are not even taken: the buffers of the sender's system fill.
    Ignore,
}

/// One direction of a connection through a proxy.
#[derive(Debug, Default)]
struct Direction {
    /// How often bytes were passed on.
    passed: AtomicU64,
    /// When bytes were passed on for the last time.
    last: Mutex<Option<Instant>>,
}

impl Direction {
    fn count(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// Passes bytes on. Waits for ever if that fails, so that nobody is told.
    async fn write(&self, to: &mut OwnedWriteHalf, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let written = poll_fn(|cx| {
                // Before they are written, so that nobody has them earlier than this.
                let now = Instant::now();
                Pin::new(&mut *to).poll_write(cx, bytes).map_ok(|written| (written, now))
            });
            let Ok((written, now)) = written.await else { return pending().await };
            *self.last.lock().expect("nobody panics with it") = Some(now);
            bytes = &bytes[written..];
        }
    }

    /// Lets heartbeats go by, which are all that comes here.
    async fn wait_for_heartbeats(&self, count: u64) {
        let enough = self.count() + count;
        wait_until("heartbeats", || self.count() >= enough).await;
    }
}

/// One connection that is passed on, for as long as a test wants. There is never an end of the stream, nor an error.
#[derive(Debug)]
struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    /// From the one that connects to the one that listens, and back.
    there: Arc<Direction>,
    back: Arc<Direction>,
    work: JoinHandle<()>,
}

impl Proxy {
    async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (mode, modes) = watch::channel(Mode::Pass);
        let (there, back) = (Arc::new(Direction::default()), Arc::new(Direction::default()));
        let directions = (there.clone(), back.clone());
        let work = tokio::spawn(async move {
            let (near, _) = listener.accept().await.expect("it listens");
            // Whoever comes back finds nobody.
            drop(listener);
            let far = TcpStream::connect(target).await.expect("somebody listens");
            near.set_nodelay(true).expect("it is open");
            far.set_nodelay(true).expect("it is open");
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = far.into_split();
            tokio::join!(
                pass(near_read, far_write, modes.clone(), directions.0),
                pass(far_read, near_write, modes, directions.1),
            );
        });
        Self { address, mode, there, back, work }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.work.abort();
    }
}

/// Passes bytes on as long as that is to be done. Never ends by itself, so that no connection is closed.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut modes: watch::Receiver<Mode>,
    direction: Arc<Direction>,
) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let now = *modes.borrow_and_update();
        if now == Mode::Ignore {
            pending::<()>().await;
        }
        tokio::select! {
            read = from.read(&mut buffer) => match read {
                Ok(read @ 1..) if now == Mode::Pass => {
                    direction.passed.fetch_add(1, Ordering::Relaxed);
                    tokio::select! {
                        biased;
                        () = direction.write(&mut to, &buffer[..read]) => {}
                        _ = modes.changed() => modes.mark_changed(),
                    }
                }
                Ok(1..) => {}
                _ => pending().await,
            },
            _ = modes.changed() => {}
        }
    }
}

fn builder() -> Builder {
    Socket::builder().heartbeat_interval(INTERVAL).heartbeat_timeout(TIMEOUT)
}

/// Waits until a peer is gone; when that was, and why.
async fn gone(mut events: EventStream, peer: Identity) -> (Instant, CloseReason) {
    loop {
        match within("the end", events.recv()).await.expect("it is open") {
            Event::Disconnected { identity, reason, .. } if identity == peer => {
                return (Instant::now(), reason);
            }
            _ => {}
        }
    }
}

/// Checks that a peer was declared dead neither too early nor too late.
fn check_death(who: &str, direction: &Direction, (at, reason): (Instant, CloseReason)) {
    let last = direction.last.lock().expect("nobody panics with it").expect("bytes were passed on");
    let took = at - last;
    tell(&format!("{who}: declared dead {took:?} after the last byte"));
    assert_eq!(reason, CloseReason::Silent);
    assert!(took >= TIMEOUT, "{who}: {took:?}");
    assert!(took < TIMEOUT + INTERVAL + SLACK, "{who}: {took:?}");
}

/// Takes messages until the socket is closed, and notes their numbers.
fn collect(socket: &Socket) -> (Arc<Mutex<BTreeSet<usize>>>, JoinHandle<()>) {
    let numbers = Arc::new(Mutex::new(BTreeSet::new()));
    let (taken, socket) = (numbers.clone(), socket.clone());
    let work = tokio::spawn(async move {
        while let Ok(message) = socket.recv().await {
            assert!(taken.lock().expect("nobody panics with it").insert(number(&message)), "twice");
        }
    });
    (numbers, work)
}

/// A sender with two workers, one of which vanishes behind a proxy in the middle.
async fn vanish(mode: Mode, size: usize, pause: Duration) {
    let sender = builder().delivery(DeliveryGuarantee::AtLeastOnce).build().expect("valid settings");
    let target = sender.bind("127.0.0.1:0").await.expect("a free port");
    let proxy = Proxy::start(target).await;
    let (lost, other) =
        (builder().build().expect("valid settings"), builder().build().expect("valid settings"));
    lost.connect(proxy.address.to_string()).expect("an address");
    other.connect(target.to_string()).expect("an address");
    within("both workers", sender.wait_for_peers(2)).await.expect("it is open");
    within("the sender", lost.wait_for_peers(1)).await.expect("it is open");
    let ends = tokio::spawn(gone(sender.events(), lost.identity()));
    let lost_ends = tokio::spawn(gone(lost.events(), sender.identity()));
    let ((at_lost, _lost), (at_other, _other)) = (collect(&lost), collect(&other));

    let (mut sent, mut full) = (0, 0);
    while !ends.is_finished() {
        within("room", sender.send(numbered(sent, size))).await.expect("it is open");
        sent += 1;
        if sent % 8 == 0 {
            tokio::time::sleep(pause).await;
        }
        if sent % 64 == 0 {
            let queued = sender.peers().into_iter().filter(|peer| peer.identity == lost.identity());
            full = full.max(queued.map(|peer| peer.queued.bytes).max().unwrap_or(0));
        }
        if sent == 400 {
            wait_until("both work", || {
                [&at_lost, &at_other].iter().all(|taken| taken.lock().expect("no panic").len() > 100)
            })
            .await;
            proxy.mode.send_replace(mode);
        }
    }
    let what = format!("{mode:?}");
    check_death(&what, &proxy.there, within("the end", ends).await.expect("no panic"));
    check_death(&what, &proxy.back, within("the end", lost_ends).await.expect("no panic"));
    // What was on its way to the one goes to the other.
    wait_until("all is acknowledged", || sender.metrics().send_held.messages == 0).await;
    // It is acknowledged when it is taken, which is just before it is noted.
    wait_until("all is noted", || {
        let (at_lost, at_other) = (at_lost.lock().expect("no panic"), at_other.lock().expect("no panic"));
        (0..sent).all(|number| at_lost.contains(&number) || at_other.contains(&number))
    })
    .await;
    let metrics = sender.metrics();
    let (at_lost, at_other) = (at_lost.lock().expect("no panic"), at_other.lock().expect("no panic"));
    let twice = at_lost.intersection(&at_other).count();
    tell(&format!(
        "{what}: {sent} messages of {size} bytes, {} at the lost one, {} at the other, {twice} at both, {} sent again, \
         {full} bytes queued for the lost one",
        at_lost.len(),
        at_other.len(),
        metrics.resent.messages
    ));
    assert_eq!((metrics.accepted.messages, metrics.acknowledged.messages), (sent, sent));
    assert_eq!(metrics.dropped_undeliverable.messages + metrics.dropped_expired.messages, 0);
    assert_eq!(metrics.handed_over.messages + metrics.dropped_at_close.messages, 0);
    assert_eq!(at_other.len(), other.metrics().received.messages);
    // Both have a message only if its acknowledgement was lost on its way; then it was sent again.
    assert!(twice <= metrics.resent.messages);
    if mode == Mode::Swallow {
        assert!(metrics.resent.messages > 0, "some were on their way");
    } else {
        assert!(full >= 1 << 17, "the buffers of the system were full: {full}");
    }
}

#[test]
fn a_peer_whose_bytes_are_swallowed_is_dead_in_time_and_its_messages_go_to_another() {
    runtime().block_on(vanish(Mode::Swallow, 100, Duration::from_millis(2)));
}

#[test]
fn a_peer_that_takes_no_bytes_is_dead_in_time_and_its_messages_go_to_another() {
    runtime().block_on(vanish(Mode::Ignore, 64 << 10, Duration::from_millis(2)));
}

/// The size of messages of which some fill the buffers of the system.
const SIZE: usize = 100_000;

/// Sockets that hold little before their peer has to wait.
fn small() -> Socket {
    let few = Limit::new(10, 1 << 20);
    builder().receive_buffer(few).send_buffer(few).prefetch(few).build().expect("valid settings")
}

/// Sends until it is told to stop, and returns how many messages there were.
#[derive(Debug)]
struct Flood {
    stop: Arc<AtomicBool>,
    work: JoinHandle<usize>,
}

impl Flood {
    fn start(from: &Socket) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, from) = (stop.clone(), from.clone());
        let work = tokio::spawn(async move {
            let mut sent = 0;
            while !stopped.load(Ordering::Relaxed) {
                from.send(numbered(sent, SIZE)).await.expect("it is open");
                sent += 1;
            }
            sent
        });
        Self { stop, work }
    }

    /// Takes all that was sent and is still sent, and checks that nothing is missing, and that nobody was declared dead.
    async fn take_all(mut self, from: &Socket, to: &Socket) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let (mut sent, mut taken) = (None, 0);
        while sent != Some(taken) {
            tokio::select! {
                biased;
                done = &mut self.work, if sent.is_none() => sent = Some(done.expect("no panic")),
                message = within("a message", to.recv()) => {
                    assert_eq!(number(&message.expect("it is open")), taken, "all, each once, in order");
                    taken += 1;
                }
            }
        }
        wait_until("all is handed over", || from.metrics().send_held.messages == 0).await;
        let (sender, receiver) = (from.metrics(), to.metrics());
        assert_eq!((sender.accepted.messages, sender.handed_over.messages), (taken, taken));
        assert_eq!((receiver.received.messages, receiver.receive_held.messages), (taken, 0));
        for metrics in [sender, receiver] {
            assert_eq!((metrics.connected, metrics.disconnected, metrics.connections), (1, 0, 1));
        }
        taken
    }
}

#[test]
fn a_peer_whose_application_takes_nothing_is_not_declared_dead_and_declares_nobody_dead() {
    runtime().block_on(async {
        let (sender, receiver) = (small(), small());
        let target = receiver.bind("127.0.0.1:0").await.expect("a free port");
        let proxy = Proxy::start(target).await;
        sender.connect(proxy.address.to_string()).expect("an address");
        within("the peer", sender.wait_for_peers(1)).await.expect("it is open");
        let flood = Flood::start(&sender);
        wait_until("messages wait", || receiver.metrics().receive_held.messages > 0).await;
        // The receiver goes on sending heartbeats, though it reads nothing more.
        proxy.back.wait_for_heartbeats(2).await;
        let (start, before) = (Instant::now(), receiver.metrics().received);
        proxy.back.wait_for_heartbeats(MANY).await;
        let took = start.elapsed();
        assert!(took > 3 * TIMEOUT, "{took:?}");
        assert_eq!(receiver.metrics().received, before, "it read nothing");
        assert!(sender.metrics().send_held.messages > 0, "the sender has to wait");
        let sent = flood.take_all(&sender, &receiver).await;
        tell(&format!("{sent} messages; the receiver read nothing for {took:?}"));
    });
}

#[test]
fn two_peers_that_do_not_read_each_other_do_not_declare_each_other_dead() {
    runtime().block_on(async {
        let (near, far) = (small(), small());
        let target = far.bind("127.0.0.1:0").await.expect("a free port");
        near.connect(target.to_string()).expect("an address");
        within("the peer", near.wait_for_peers(1)).await.expect("it is open");
        within("the peer", far.wait_for_peers(1)).await.expect("it is open");
        let (there, back) = (Flood::start(&near), Flood::start(&far));
        // Two others, with the same settings and nothing to say, show how time goes by.
        let (idle, other) = (small(), small());
        let proxy = Proxy::start(other.bind("127.0.0.1:0").await.expect("a free port")).await;
        idle.connect(proxy.address.to_string()).expect("an address");
        within("the peer", idle.wait_for_peers(1)).await.expect("it is open");
        wait_until("messages wait", || {
            [&near, &far].iter().all(|socket| socket.metrics().receive_held.messages > 0)
        })
        .await;
        proxy.there.wait_for_heartbeats(2).await;
        let received = || (near.metrics().received, far.metrics().received);
        let (start, before) = (Instant::now(), received());
        tokio::join!(proxy.there.wait_for_heartbeats(MANY), proxy.back.wait_for_heartbeats(MANY));
        let took = start.elapsed();
        assert!(took > 3 * TIMEOUT, "{took:?}");
        assert_eq!(received(), before, "neither read anything");
        assert!(near.metrics().send_held.messages > 0 && far.metrics().send_held.messages > 0);
        let (sent, sent_back) = tokio::join!(there.take_all(&near, &far), back.take_all(&far, &near));
        tell(&format!("{sent} and {sent_back} messages; neither read for {took:?}"));
        assert_eq!((idle.metrics().disconnected, other.metrics().disconnected), (0, 0));
    });
}
