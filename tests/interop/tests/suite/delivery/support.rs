//! Our ends of a connection, in this process, and the sums that have to come out.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::{Duration, Instant};

use aiomsg_interop::{ActorId, PATIENCE, Stage};
use aiomsg_tokio::{Builder, DeliveryGuarantee, Event, Identity, Metrics, Receipt, Socket, Usage};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinHandle;

/// Serves our sockets while the test itself waits for processes.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// Waits for a result.
pub(crate) fn within<T>(runtime: &Runtime, what: &str, future: impl Future<Output = T>) -> T {
    let result = runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await });
    result.unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// Waits until something is so; looks every few milliseconds.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A line for whoever runs the tests with `--nocapture`.
pub(crate) fn tell(line: &str) {
    // Nothing can be done about a standard error that is gone.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

pub(crate) fn identity(number: usize) -> Identity {
    Identity::from_bytes(u128::try_from(number).expect("it is small").to_be_bytes())
}

/// The number of a message is all that it says.
pub(crate) fn number(line: &str) -> usize {
    line.parse().unwrap_or_else(|_| panic!("not a message that was sent: {line:?}"))
}

/// How often each message came.
pub(crate) fn tally(lines: impl IntoIterator<Item = impl AsRef<str>>) -> BTreeMap<usize, usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts.entry(number(line.as_ref())).or_default() += 1;
    }
    counts
}

/// Copies: how many lines more than messages.
pub(crate) fn copies(counts: &BTreeMap<usize, usize>) -> usize {
    counts.values().map(|count| count - 1).sum()
}

fn bind(runtime: &Runtime, socket: &Socket) -> u16 {
    within(runtime, "a free port", socket.bind("127.0.0.1:0")).expect("a free port").port()
}

/// The messages of a list, as far as they fit on a line.
pub(crate) fn named(numbers: impl IntoIterator<Item = impl ToString>) -> String {
    const SHOWN: usize = 12;
    let mut names: Vec<String> =
        numbers.into_iter().take(SHOWN + 1).map(|number| number.to_string()).collect();
    if names.len() > SHOWN {
        names[SHOWN] = "...".to_owned();
    }
    format!("[{}]", names.join(" "))
}

/// A socket of ours that sends numbered messages at-least-once, and awaits a receipt for each.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) socket: Socket,
    count: usize,
    receipts: JoinHandle<BTreeMap<usize, Receipt>>,
}

impl Sender {
    pub(crate) fn start(runtime: &Runtime, builder: Builder, count: usize) -> Self {
        let _entered = runtime.enter();
        let socket = builder.delivery(DeliveryGuarantee::AtLeastOnce).build().expect("valid settings");
        let (pending, mut awaited) = unbounded_channel();
        let sending = socket.clone();
        runtime.spawn(async move {
            for number in 0..count {
                let receipt = sending.send_with_receipt(number.to_string()).await.expect("it is open");
                pending.send((number, receipt)).expect("somebody awaits it");
            }
        });
        let receipts = runtime.spawn(async move {
            let mut receipts = BTreeMap::new();
            while let Some((number, receipt)) = awaited.recv().await {
                receipts.insert(number, receipt.await);
            }
            receipts
        });
        Self { socket, count, receipts }
    }

    pub(crate) fn bind(&self, runtime: &Runtime) -> u16 {
        bind(runtime, &self.socket)
    }

    /// Waits until so many messages are acknowledged.
    pub(crate) fn wait_acknowledged(&self, count: usize) {
        wait_until("acknowledgements", || self.socket.metrics().acknowledged.messages >= count);
    }

    /// Waits for the receipts of all messages, and makes sure that they agree with the counters: what was accepted was
    /// acknowledged, all of it, and nothing is left. Returns who acknowledged each.
    pub(crate) fn finish(self, runtime: &Runtime) -> (BTreeMap<usize, Identity>, Metrics) {
        let receipts = within(runtime, "all receipts", self.receipts).expect("no panic");
        let acknowledged: BTreeMap<usize, Identity> = receipts
            .iter()
            .filter_map(|(number, receipt)| match receipt {
                Receipt::Acknowledged { by } => Some((*number, *by)),
                _ => None,
            })
            .collect();
        assert!(acknowledged.keys().copied().eq(0..self.count), "each is acknowledged: {receipts:?}");
        let metrics = self.socket.metrics();
        assert_sent_adds_up(&metrics);
        assert_eq!((metrics.accepted.messages, metrics.acknowledged.messages), (self.count, self.count));
        let report = within(runtime, "the end", self.socket.close());
        assert_eq!(report.dropped.messages, 0);
        (acknowledged, metrics)
    }
}

/// Every message that was accepted is in exactly one place.
fn assert_sent_adds_up(metrics: &Metrics) {
    let parts = [
        metrics.handed_over,
        metrics.acknowledged,
        metrics.send_held,
        metrics.dropped_undeliverable,
        metrics.dropped_expired,
        metrics.dropped_at_close,
    ];
    let sum = parts.iter().fold(Usage::default(), |sum, part| Usage {
        messages: sum.messages + part.messages,
        bytes: sum.bytes + part.bytes,
    });
    assert_eq!(metrics.accepted, sum, "{metrics:?}");
}

/// A socket of ours whose messages somebody takes: `take` is called with each, and returns how long to rest before the next.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) socket: Socket,
    taking: JoinHandle<Vec<String>>,
    events: JoinHandle<Vec<Event>>,
}

/// What a [`Receiver`] took, and what its socket has to say about it.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) lines: Vec<String>,
    pub(crate) events: Vec<Event>,
}

impl Received {
    pub(crate) fn was_acknowledged_early(&self) -> bool {
        self.events.iter().any(|event| matches!(event, Event::AcknowledgedEarly { .. }))
    }
}

impl Receiver {
    pub(crate) fn start(
        runtime: &Runtime,
        builder: Builder,
        mut take: impl FnMut(&str) -> Duration + Send + 'static,
    ) -> Self {
        let _entered = runtime.enter();
        let socket = builder.build().expect("valid settings");
        let mut stream = socket.events();
        let events = runtime.spawn(async move {
            let mut events = Vec::new();
            while let Some(event) = stream.recv().await {
                events.push(event);
            }
            events
        });
        let receiving = socket.clone();
        let taking = runtime.spawn(async move {
            let mut lines = Vec::new();
            while let Ok(message) = receiving.recv().await {
                let line = String::from_utf8(message.to_vec()).expect("it is a number");
                let pause = take(&line);
                lines.push(line);
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
            lines
        });
        Self { socket, taking, events }
    }

    pub(crate) fn bind(&self, runtime: &Runtime) -> u16 {
        bind(runtime, &self.socket)
    }

    /// Once its peers have left: waits until all is taken, and makes sure that the counters agree.
    pub(crate) fn finish(self, runtime: &Runtime) -> Received {
        wait_until("all is taken, and its senders have left", || {
            let metrics = self.socket.metrics();
            metrics.connections == 0 && metrics.receive_held.messages == 0
        });
        let report = within(runtime, "the end", self.socket.close());
        assert_eq!(report.dropped.messages, 0);
        let lines = within(runtime, "all is taken", self.taking).expect("no panic");
        let events = within(runtime, "the last event", self.events).expect("no panic");
        let metrics = self.socket.metrics();
        assert_eq!(metrics.received.messages, lines.len(), "what was received was taken: {metrics:?}");
        assert_eq!(metrics.received.bytes, lines.iter().map(String::len).sum::<usize>());
        assert_eq!((metrics.discarded.messages, metrics.receive_held.messages), (0, 0));
        // Its copies come under new ids, so that none can be told from a new message.
        assert_eq!(metrics.duplicates.messages, 0);
        Received { lines, events }
    }
}

/// What a Python source knows at its end.
#[derive(Debug)]
pub(crate) struct Sent {
    /// What was acknowledged.
    pub(crate) acknowledged: BTreeSet<usize>,
    /// Messages that it sent, each copy counted.
    pub(crate) transmitted: usize,
}

/// Waits until a source has done, and returns what it knows.
pub(crate) fn finish_source(stage: &mut Stage, source: ActorId) -> Sent {
    let acknowledged = tally(stage.finish(source)).into_keys().collect();
    let transmitted = number(&stage.wait_note(source, "transmitted "));
    Sent { acknowledged, transmitted }
}

impl Sent {
    /// Compares what was acknowledged with what was taken, by any receiver, and returns how many messages the sender
    /// never got through: those that it has no acknowledgement of, and that nobody took.
    pub(crate) fn losses(&self, count: usize, taken: &BTreeMap<usize, usize>) -> Vec<usize> {
        let lost: Vec<_> = self.acknowledged.iter().filter(|number| !taken.contains_key(number)).collect();
        assert!(lost.is_empty(), "acknowledged by us, and taken by nobody: {}", named(&lost));
        let arrived: usize = taken.values().sum();
        assert!(arrived <= self.transmitted, "more copies arrived than were sent");
        assert!(taken.keys().all(|number| *number < count));
        (0..count).filter(|number| !taken.contains_key(number)).collect()
    }
}
