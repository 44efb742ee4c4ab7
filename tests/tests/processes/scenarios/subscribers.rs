//! One subscriber that reads nothing, beside nine that do: what each gets, and what the publisher says of it.

use std::fmt::{self, Display};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::api::{CloseReason, Event, Identity, Limit, SendMode, SlowPeer, Socket};
use tokio::runtime::Runtime;

use super::child::{Actor, hear, say};
use super::support::{
    PATIENCE, memory, number, numbered, raw_peer, read_frames, runtime, tell, wait_until, within,
};

/// Messages while one subscriber is stalled. One more tells all of them that it is over.
const MESSAGES: usize = 20_000;
const SIZE: usize = 4_096;
const LIVE: usize = 9;
const STALLED: u8 = 99;

/// What waits for a subscriber, at most: 4 MiB.
const QUEUE: Limit = Limit::new(1_000, 64 << 20);

/// For how long the publisher waits for a slow subscriber where it does.
const PATIENT: Duration = Duration::from_millis(500);

/// For tasks to get their turn.
const SLACK: Duration = Duration::from_secs(1);

/// How much the publisher may grow, in MiB, while it publishes 80: the queue of the stalled subscriber, what is on its
/// way to the others, and the buffers of ten connections.
const GROWTH: f64 = 16.0;

/// What the publisher says in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Account {
    accepted: usize,
    handed_over: usize,
    dropped_slow_peer: usize,
    dropped_peer_left: usize,
    held: usize,
    /// The first message that was not for the stalled subscriber any more.
    cut: usize,
    /// The longest that one message waited to be accepted, in milliseconds.
    longest: usize,
    /// Events about the stalled subscriber: how often it fell behind, how often it caught up, what it had missed.
    slow: usize,
    recovered: usize,
    missed: usize,
    /// How often it was disconnected for being slow.
    disconnected: usize,
    /// Events about the others that say that they were slow.
    unjust: usize,
}

impl Account {
    const fn fields(&mut self) -> [&mut usize; 12] {
        [
            &mut self.accepted,
            &mut self.handed_over,
            &mut self.dropped_slow_peer,
            &mut self.dropped_peer_left,
            &mut self.held,
            &mut self.cut,
            &mut self.longest,
            &mut self.slow,
            &mut self.recovered,
            &mut self.missed,
            &mut self.disconnected,
            &mut self.unjust,
        ]
    }

    fn read(line: &str) -> Self {
        let mut account = Self::default();
        for (field, word) in account.fields().into_iter().zip(line.split(' ')) {
            *field = word.parse().expect("a number");
        }
        account
    }

    fn note(&mut self, event: &Event) {
        let stalled = Identity::from_bytes([STALLED; 16]);
        match event {
            Event::SlowPeer { identity, .. } if *identity == stalled => self.slow += 1,
            Event::SlowPeerRecovered { identity, dropped, .. } if *identity == stalled => {
                self.recovered += 1;
                self.missed += dropped.messages;
            }
            Event::Disconnected { identity, reason: CloseReason::SlowPeer, .. } if *identity == stalled => {
                self.disconnected += 1;
            }
            Event::SlowPeer { .. }
            | Event::SlowPeerRecovered { .. }
            | Event::Disconnected { reason: CloseReason::SlowPeer, .. }
            | Event::Lagged { .. } => self.unjust += 1,
            _ => {}
        }
    }
}

impl Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut account = *self;
        let words: Vec<String> = account.fields().into_iter().map(|field| field.to_string()).collect();
        f.write_str(&words.join(" "))
    }
}

/// The part of another process: publishes to ten peers, no faster than nine of them read, and gives account.
pub(crate) fn publisher(policy: &str) {
    let slow_peer = match policy {
        "newest" => SlowPeer::DropNewest,
        "oldest" => SlowPeer::DropOldest,
        "disconnect" => SlowPeer::Disconnect,
        _ => SlowPeer::Block(PATIENT),
    };
    runtime().block_on(async {
        let socket = Socket::builder()
            .send_mode(SendMode::Publish)
            .slow_peer(slow_peer)
            .peer_queue(QUEUE)
            .prefetch(QUEUE)
            // The stalled one is to be given up for being slow, not for being silent.
            .heartbeat_timeout(PATIENCE * 2)
            .build()
            .expect("valid settings");
        let mut events = socket.events();
        say(&format!("listening {}", socket.bind("127.0.0.1:0").await.expect("a free port")));
        within("ten peers", socket.wait_for_peers(LIVE + 1)).await.expect("it is open");
        say("complete");
        tokio::task::spawn_blocking(hear).await.expect("it was told");
        let mut account = publish(&socket, matches!(slow_peer, SlowPeer::Block(_))).await;
        say("published");
        tokio::task::spawn_blocking(hear).await.expect("it was told");
        if socket.peer_count() > LIVE {
            // It reads now, and follows again when it has caught up.
            while account.recovered == 0 {
                account.note(&within("it catches up", events.recv()).await.expect("it is open"));
            }
        }
        socket.send(numbered(MESSAGES, SIZE)).await.expect("it is open");
        wait_until("nothing is held", || socket.metrics().send_held.messages == 0).await;
        let metrics = socket.metrics();
        account.accepted = metrics.accepted.messages;
        account.handed_over = metrics.handed_over.messages;
        account.dropped_slow_peer = metrics.dropped_slow_peer.messages;
        account.dropped_peer_left = metrics.dropped_peer_left.messages;
        account.held = metrics.send_held.messages;
        socket.close().await;
        while let Some(event) = events.recv().await {
            account.note(&event);
        }
        say(&format!("counted {account}"));
        tokio::task::spawn_blocking(hear).await.expect("it was told");
    });
}

/// Publishes while one of ten reads nothing. Notes when that one was cut off, and the longest wait.
async fn publish(socket: &Socket, blocks: bool) -> Account {
    let mut account = Account { cut: MESSAGES + 1, ..Account::default() };
    let stalled = Identity::from_bytes([STALLED; 16]);
    for number in 0..MESSAGES {
        let start = Instant::now();
        if blocks {
            within("room", socket.send(numbered(number, SIZE))).await.expect("it is open");
        } else {
            socket.try_send(numbered(number, SIZE)).expect("the stalled one holds nobody up");
        }
        let took = usize::try_from(start.elapsed().as_millis()).expect("not that long");
        account.longest = account.longest.max(took);
        if account.cut > MESSAGES && socket.peer_count() == LIVE {
            account.cut = number;
        }
        if number % 200 == 199 {
            wait_until("nine of them read", || {
                socket.peers().iter().all(|peer| peer.identity == stalled || peer.queued.messages == 0)
            })
            .await;
        }
    }
    account
}

/// Takes everything, and checks that it is everything, in order. Returns the longest wait between two messages.
async fn subscribe(address: String) -> Duration {
    let socket = Socket::builder().build().expect("defaults");
    socket.connect(address).expect("an address");
    let (mut last, mut longest) = (None, Duration::ZERO);
    for expected in 0..=MESSAGES {
        let message = within("a message", socket.recv()).await.expect("it is open");
        assert_eq!(number(&message), expected, "all, in order");
        assert_eq!(message.len(), SIZE);
        longest = longest.max(last.replace(Instant::now()).map_or(Duration::ZERO, |last| last.elapsed()));
    }
    longest
}

/// The numbers of the messages that the stalled subscriber reads when it wakes up, to the last one or to the end.
fn wake_up(stalled: &mut TcpStream) -> Vec<usize> {
    let is_message = |frame: &[u8]| frame.first() == Some(&3);
    let frames = read_frames(stalled, |frame| is_message(frame) && number(&frame[1..]) == MESSAGES);
    frames.iter().filter(|frame| is_message(frame)).map(|frame| number(&frame[1..])).collect()
}

/// Plays it under a policy. Returns what the stalled subscriber got in the end, and the account of the publisher.
fn play(policy: &str) -> (Vec<usize>, Account) {
    let mut publisher = Actor::start(&format!("publisher {policy}"));
    let address = publisher.wait_for("listening");
    let runtime: Runtime = runtime();
    let start = Instant::now();
    let mut stalled = raw_peer(address.parse().expect("an address"), STALLED);
    let live: Vec<_> = (0..LIVE).map(|_| runtime.spawn(subscribe(address.clone()))).collect();
    publisher.wait_for("complete");
    let before = memory(publisher.id(), "VmRSS");
    publisher.write("go");
    publisher.wait_for("published");
    let (took, most) = (start.elapsed(), memory(publisher.id(), "VmHWM"));
    publisher.write("on");
    let got = wake_up(&mut stalled);
    let waits = live.into_iter().map(|live| runtime.block_on(within("all", live)).expect("it got all"));
    let longest = waits.max().expect("nine of them");
    let account = Account::read(&publisher.wait_for("counted"));
    tell(&format!(
        "{policy}: {LIVE} got {MESSAGES} of {SIZE} bytes in {took:?}, at most {longest:?} apart, the stalled one got {}; \
         publisher {before:.1} MiB before, {most:.1} MiB at most; {account:?}",
        got.len(),
    ));
    assert!(most - before < GROWTH, "{before} to {most} MiB");
    assert_eq!((account.accepted, account.held, account.unjust), (MESSAGES + 1, 0, 0));
    // Each message, for each of those that it was for, is handed over or dropped. The live ones have shown theirs.
    let addressed = LIVE * account.accepted + account.cut;
    let dropped = account.dropped_slow_peer + account.dropped_peer_left;
    assert_eq!(addressed, account.handed_over + dropped, "{account:?}");
    assert_eq!(got.len() + dropped, account.cut, "what was counted is what it missed: {account:?}");
    (got, account)
}

/// Checks what a subscriber got that missed some of the messages and was not cut off.
fn check_missed(got: &[usize], account: &Account) {
    assert_eq!(got.last(), Some(&MESSAGES), "it follows again");
    assert!(got.is_sorted_by(|one, next| one < next), "in order, none twice");
    let missed = MESSAGES + 1 - got.len();
    assert!(missed > MESSAGES / 2, "the buffers of the system have not taken them all: {missed}");
    assert_eq!((account.dropped_slow_peer, account.dropped_peer_left), (missed, 0));
    assert_eq!((account.missed, account.slow, account.disconnected), (missed, account.recovered, 0));
    assert_eq!(account.cut, MESSAGES + 1);
    // It did not read while it was published to, so that it fell behind once.
    assert_eq!(account.slow, 1, "told once, not for each message");
}

/// Checks what a subscriber got that was cut off.
fn check_cut(got: &[usize], account: &Account) {
    assert!(got.iter().copied().eq(0..got.len()), "what it got before the end is without a gap");
    assert!(account.cut <= MESSAGES, "it was cut off");
    assert_eq!((account.dropped_slow_peer, account.recovered, account.disconnected), (0, 0, 1));
    assert!(account.dropped_peer_left >= QUEUE.messages, "its queue was full");
    assert_eq!(got.len(), account.handed_over - LIVE * account.accepted);
}

#[test]
fn a_stalled_subscriber_misses_the_newest_and_each_of_them_is_counted() {
    let (got, account) = play("newest");
    check_missed(&got, &account);
    let before = got.len() - 1;
    assert!(got[..before].iter().copied().eq(0..before), "it got the oldest, without a gap");
}

#[test]
fn a_stalled_subscriber_misses_the_oldest_and_each_of_them_is_counted() {
    let (got, account) = play("oldest");
    check_missed(&got, &account);
    let behind = got.len() - 1 - QUEUE.messages;
    assert!(got[..behind].iter().copied().eq(0..behind), "it got what was being written, without a gap");
    let newest = MESSAGES - QUEUE.messages..=MESSAGES;
    assert!(got[behind..].iter().copied().eq(newest), "and the newest that had a place in its queue");
}

#[test]
fn a_stalled_subscriber_is_disconnected_and_what_it_misses_is_counted() {
    let (got, account) = play("disconnect");
    check_cut(&got, &account);
    assert_eq!(account.slow, 1);
}

#[test]
fn a_stalled_subscriber_is_waited_for_then_disconnected_and_what_it_misses_is_counted() {
    let (got, account) = play("block");
    check_cut(&got, &account);
    let longest = Duration::from_millis(account.longest as u64);
    assert!(longest >= PATIENT && longest < PATIENT + SLACK, "the publisher was held up for {longest:?}");
}
