//! `aiomsg bench`: how fast a live peer takes messages, or answers them.

use std::fmt;
use std::time::{Duration, Instant};

use aiomsg_tokio::{Bytes, Closed, Socket};
use clap::Args;
use serde::Serialize;

use crate::console::{Console, bytes_per_second, per_second, rate};
use crate::failure::Failure;
use crate::ping::size;
use crate::probe::{self, Latencies, Percentiles, Probes};
use crate::socket::{DeliveryArg, OneSocket};
use crate::stop::Stop;

const EXAMPLES: &str = "\
Examples:
  aiomsg bench --connect localhost:25000
  aiomsg bench --connect localhost:25000 --delivery at-least-once --size 1024
  aiomsg bench --connect localhost:25000 --round-trip --outstanding 100
One way, a message counts when the system has taken its last byte, or when it is acknowledged. Round trips need an echo, such as \
aiomsg echo. With several peers, they get messages in turn. A table from one machine says little about another.";

/// Measure how fast a live peer takes messages, or answers them.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BenchArgs {
    /// Measure round trips, against an echo.
    #[arg(long)]
    round_trip: bool,
    /// Round trips at once.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000), requires = "round_trip")]
    outstanding: u64,
    /// Bytes of a message, 32 at least.
    #[arg(long, short, value_name = "BYTES", default_value_t = 64, value_parser = size)]
    size: usize,
    /// How long to measure.
    #[arg(long, short, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// How long to wait for a peer, and for an answer.
    #[arg(long, short, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// What is promised of a message.
    #[arg(long, default_value = "at-most-once")]
    delivery: DeliveryArg,
    #[command(flatten)]
    socket: OneSocket,
}

/// What was measured.
#[derive(Serialize)]
struct Measured {
    event: &'static str,
    messages: usize,
    size: usize,
    seconds: f64,
    messages_per_second: f64,
    bytes_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    microseconds: Option<Percentiles>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, size, seconds, .. } = self;
        let what = if self.microseconds.is_some() { "round trips" } else { "messages" };
        let (rate, bytes) =
            (per_second(self.messages_per_second, what), bytes_per_second(self.bytes_per_second));
        write!(f, "{messages} {what} of {size} bytes in {seconds:.2} s: {rate}, {bytes}")?;
        match &self.microseconds {
            Some(percentiles) => write!(f, "\n{percentiles}"),
            None => Ok(()),
        }
    }
}

pub(crate) async fn run(args: BenchArgs, console: Console, stop: Stop) -> Result<(), Failure> {
    let builder = args.socket.builder().delivery(args.delivery.into());
    let socket = args.socket.open(builder, console).await?;
    let timeout = args.timeout;
    let measured = tokio::select! {
        biased;
        signal = stop.requested() => Err(Failure::Interrupted(signal)),
        measured = async {
            probe::wait_for_peer(&socket, timeout).await?;
            let bar = tokio::spawn(show_time(console, args.duration));
            let measured =
                if args.round_trip { round_trips(&socket, &args).await } else { one_way(&socket, &args).await };
            bar.abort();
            measured
        } => measured,
    };
    // What is on its way has been counted, or does not count.
    socket.close_within(Duration::ZERO).await;
    console.print(&measured?)
}

/// A bar that fills while time passes.
async fn show_time(console: Console, duration: Duration) {
    const STEPS: u64 = 100;
    let bar = console.time_bar(STEPS, "measuring");
    for _ in 0..STEPS {
        tokio::time::sleep(duration / STEPS as u32).await;
        bar.inc(1);
    }
}

async fn one_way(socket: &Socket, args: &BenchArgs) -> Result<Measured, Failure> {
    let payload = Bytes::from(vec![b'.'; args.size]);
    let done = || {
        let metrics = socket.metrics();
        metrics.handed_over.messages + metrics.acknowledged.messages
    };
    let start = Instant::now();
    let sending = async {
        loop {
            socket.send(payload.clone()).await?;
        }
    };
    let ended: Result<Result<(), Failure>, _> = tokio::time::timeout(args.duration, sending).await;
    let (messages, span) = (done(), start.elapsed());
    if let Ok(ended) = ended {
        ended?;
    }
    if messages == 0 {
        return Err(Failure::failed("not one message was taken; does the other end receive?"));
    }
    Ok(Measured::new("one_way", messages, args.size, span, None))
}

async fn round_trips(socket: &Socket, args: &BenchArgs) -> Result<Measured, Failure> {
    let probes = Probes::of(socket.identity());
    let mut latencies = Latencies::new();
    let start = Instant::now();
    for number in 0..args.outstanding {
        socket.send(probes.make(number, args.size)).await?;
    }
    let mut number = args.outstanding;
    while start.elapsed() < args.duration {
        let answer = match socket.try_recv()? {
            Some(received) => received.payload,
            None => answer_in_time(socket, args.timeout).await??,
        };
        let Some((_, span)) = probes.read(&answer) else { continue };
        latencies.note(span);
        socket.send(probes.make(number, args.size)).await?;
        number += 1;
    }
    let messages = usize::try_from(latencies.count()).unwrap_or(usize::MAX);
    Ok(Measured::new("round_trips", messages, args.size, start.elapsed(), Some(latencies.percentiles())))
}

async fn answer_in_time(socket: &Socket, timeout: Duration) -> Result<Result<Bytes, Closed>, Failure> {
    tokio::time::timeout(timeout, socket.recv()).await.map_err(|_| {
        let span = humantime::format_duration(timeout);
        Failure::failed(format!("no answer came for {span}; {}", probe::NO_ECHO))
    })
}

impl Measured {
    fn new(
        event: &'static str,
        messages: usize,
        size: usize,
        span: Duration,
        microseconds: Option<Percentiles>,
    ) -> Self {
        Self {
            event,
            messages,
            size,
            seconds: span.as_secs_f64(),
            messages_per_second: rate(messages, span),
            bytes_per_second: rate(messages * size, span),
            microseconds,
        }
    }
}
