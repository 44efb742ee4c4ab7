//! `aiomsg send` and `aiomsg pub`: messages from the command line, a file or a pipe, to one peer after another or to all.

use std::fmt;
use std::time::{Duration, Instant};

use aiomsg_tokio::{Builder, Bytes, Identity, Metrics, SendMode, SlowPeer, Socket};
use clap::{Args, ValueEnum};
use serde::Serialize;
use tokio::time::{Interval, MissedTickBehavior};

use crate::console::{Console, Remark, counted, not_delivered, per_second, rate};
use crate::failure::Failure;
use crate::input::{Input, InputArgs};
use crate::socket::{DeliveryArg, OneSocket};
use crate::stop::Stop;

/// How long is waited where no end was asked for.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// How long a subscriber that takes nothing holds up the others.
const PATIENCE: Duration = Duration::from_secs(10);

const SEND_EXAMPLES: &str = "\
Examples:
  aiomsg send --connect localhost:25000 --message hello
  seq 1000 | aiomsg send --bind 0.0.0.0:25000 --delivery at-least-once --timeout 30s
  aiomsg send --connect localhost:25000 --to 000102030405060708090a0b0c0d0e0f --message hi
  aiomsg send --connect localhost:25000 --format json --file capture.jsonl --rate 100
It ends when all is handed over; at-least-once, when all is acknowledged.";

const PUB_EXAMPLES: &str = "\
Examples:
  aiomsg pub --bind 0.0.0.0:25000 --message 'News!' --count 10 --rate 1
  tail -F server.log | aiomsg pub --bind 0.0.0.0:25000
  aiomsg pub --bind 127.0.0.1:25000 --peers 3 --file messages.txt
It ends when all is handed over to all who are there.";

/// Send messages, each to one peer, to one after another.
#[derive(Args, Debug)]
#[command(after_help = SEND_EXAMPLES)]
pub(crate) struct SendArgs {
    /// Send to this peer alone, once it is there.
    #[arg(long, value_name = "IDENTITY")]
    to: Option<Identity>,
    /// What is promised of a message.
    #[arg(long, default_value = "at-most-once")]
    delivery: DeliveryArg,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    pace: PaceArgs,
    #[command(flatten)]
    socket: OneSocket,
}

/// Publish messages, each to all peers that are there.
#[derive(Args, Debug)]
#[command(after_help = PUB_EXAMPLES)]
pub(crate) struct PubArgs {
    /// What happens when a subscriber does not keep up.
    #[arg(long, value_name = "POLICY", default_value = "wait")]
    slow_peer: SlowArg,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    pace: PaceArgs,
    #[command(flatten)]
    socket: OneSocket,
}

/// When what is sent.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Messages")]
struct PaceArgs {
    /// Messages a second, at most; may be a fraction.
    #[arg(long, value_name = "NUMBER", value_parser = positive)]
    rate: Option<f64>,
    /// Wait for this many peers before the first message.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    peers: usize,
    /// Give up when nothing can be sent for this long, or when what was sent is not handed over this long after the last.
    #[arg(long, short, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
}

/// What happens when a subscriber does not keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SlowArg {
    /// All wait for it, and after 10 s without progress it is disconnected.
    Wait,
    /// It misses what comes until it has caught up, as is the default of the library.
    DropNewest,
    /// It misses the oldest of what waits for it.
    DropOldest,
    /// It is disconnected.
    Disconnect,
}

impl From<SlowArg> for SlowPeer {
    fn from(slow: SlowArg) -> Self {
        match slow {
            SlowArg::Wait => Self::Block(PATIENCE),
            SlowArg::DropNewest => Self::DropNewest,
            SlowArg::DropOldest => Self::DropOldest,
            SlowArg::Disconnect => Self::Disconnect,
        }
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && f64::is_finite(number) => Ok(number),
        _ => Err("expected a number above 0".to_owned()),
    }
}

/// What was sent.
#[derive(Serialize)]
struct Summary {
    event: &'static str,
    messages: usize,
    bytes: usize,
    acknowledged: usize,
    resent: usize,
    dropped: usize,
    seconds: f64,
    messages_per_second: f64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, bytes, acknowledged, dropped, seconds, messages_per_second, .. } = self;
        let (messages, bytes) = (counted(*messages, "message"), counted(*bytes, "byte"));
        let rate = per_second(*messages_per_second, "messages");
        write!(f, "sent {messages}, {bytes} in {seconds:.3} s, {rate}")?;
        if *acknowledged > 0 {
            write!(f, ", {acknowledged} acknowledged")?;
        }
        if *dropped > 0 {
            write!(f, ", {dropped} not delivered")?;
        }
        Ok(())
    }
}

pub(crate) async fn run(args: SendArgs, console: Console, stop: Stop) -> Result<(), Failure> {
    let SendArgs { to, delivery, input, pace, socket: ends } = args;
    let builder = ends.builder().delivery(delivery.into());
    let errand = Errand { ends, to, pace };
    errand.run(builder, input.open()?, console, stop).await
}

pub(crate) async fn run_pub(args: PubArgs, console: Console, stop: Stop) -> Result<(), Failure> {
    let PubArgs { slow_peer, input, pace, socket: ends } = args;
    let builder = ends.builder().send_mode(SendMode::Publish).slow_peer(slow_peer.into());
    let errand = Errand { ends, to: None, pace };
    errand.run(builder, input.open()?, console, stop).await
}

/// Where to send, and how.
struct Errand {
    ends: OneSocket,
    to: Option<Identity>,
    pace: PaceArgs,
}

impl Errand {
    async fn run(&self, builder: Builder, input: Input, console: Console, stop: Stop) -> Result<(), Failure> {
        let socket = self.ends.open(builder, console).await?;
        if input.is_typed() {
            console.note(&Remark {
                event: "reading",
                text: "each line that you type is a message; Ctrl-D ends".to_owned(),
            });
        }
        // Waiting for peers is not sending, and would make it look slow.
        let mut start = None;
        let sent = tokio::select! {
            biased;
            signal = stop.requested() => Err(Failure::Interrupted(signal)),
            sent = async {
                self.in_time(&self.missing(), self.wait_for_peers(&socket)).await?;
                start = Some(Instant::now());
                self.send_all(&socket, input, console).await
            } => sent,
        };
        let closed = match &sent {
            Ok(()) => {
                let closing = socket.close_within(self.pace.timeout.unwrap_or(FOREVER));
                tokio::select! {
                    biased;
                    signal = stop.requested() => Err(Failure::Interrupted(signal)),
                    _ = closing => Ok(()),
                }
            }
            Err(_) => Ok(()),
        };
        let result = sent.and(closed);
        if result.is_err() {
            // What nobody is there for is not waited for.
            let grace = if socket.peers().is_empty() { Duration::ZERO } else { self.ends.linger() };
            socket.close_within(grace).await;
        }
        let metrics = socket.metrics();
        let summary = Summary::of(&metrics, start.map_or(Duration::ZERO, |start| start.elapsed()));
        console.note(&summary);
        result?;
        match (summary.dropped, self.pace.timeout) {
            (0, _) => Ok(()),
            (dropped, Some(_)) if metrics.dropped_at_close.messages > 0 => {
                Err(Failure::TimeUp(format!("{} in time", not_delivered(dropped, "message"))))
            }
            (dropped, _) => Err(Failure::failed(not_delivered(dropped, "message"))),
        }
    }

    async fn send_all(&self, socket: &Socket, mut input: Input, console: Console) -> Result<(), Failure> {
        let count = input.len().filter(|count| *count > 1);
        let bar = count.map(|count| console.progress(Some(count), "sending"));
        let mut pace = self.pace.rate.map(ticks);
        while let Some(payload) = input.next().await? {
            if let Some(pace) = &mut pace {
                pace.tick().await;
            }
            self.in_time("nothing could be sent", self.send(socket, payload)).await?;
            if let Some(bar) = &bar {
                bar.inc(1);
            }
        }
        Ok(())
    }

    async fn wait_for_peers(&self, socket: &Socket) -> Result<(), Failure> {
        let mut events = socket.events();
        socket.wait_for_peers(self.pace.peers).await?;
        if let Some(to) = self.to {
            while !socket.peers().iter().any(|peer| peer.identity == to) {
                events.recv().await;
            }
        }
        Ok(())
    }

    /// Who did not come, if it takes too long. Others may be there.
    fn missing(&self) -> String {
        self.to.map_or_else(|| "no peer came".to_owned(), |to| format!("the peer {to} did not come"))
    }

    async fn send(&self, socket: &Socket, payload: Bytes) -> Result<(), Failure> {
        match self.to {
            Some(identity) => socket.send_to(identity, payload).await?,
            None => socket.send(payload).await?,
        }
        Ok(())
    }

    async fn in_time(
        &self,
        otherwise: &str,
        future: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        let Some(span) = self.pace.timeout else { return future.await };
        tokio::time::timeout(span, future).await.unwrap_or_else(|_| {
            Err(Failure::TimeUp(format!("{otherwise} for {}", humantime::format_duration(span))))
        })
    }
}

fn ticks(rate: f64) -> Interval {
    let period = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(FOREVER);
    let mut ticks = tokio::time::interval(period.max(Duration::from_nanos(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    ticks
}

impl Summary {
    fn of(metrics: &Metrics, span: Duration) -> Self {
        let dropped = [
            // Not those for subscribers that left: that was their choice.
            metrics.dropped_slow_peer,
            metrics.dropped_undeliverable,
            metrics.dropped_expired,
            metrics.dropped_at_close,
        ];
        Self {
            event: "sent",
            messages: metrics.accepted.messages,
            bytes: metrics.accepted.bytes,
            acknowledged: metrics.acknowledged.messages,
            resent: metrics.resent.messages,
            dropped: dropped.iter().map(|usage| usage.messages).sum(),
            seconds: span.as_secs_f64(),
            messages_per_second: rate(metrics.accepted.messages, span),
        }
    }
}
