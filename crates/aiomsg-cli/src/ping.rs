//! `aiomsg ping`: how long it takes an echo to answer.

use std::fmt;
use std::time::Duration;

use aiomsg_tokio::{Identity, Socket};
use clap::Args;
use serde::Serialize;

use crate::console::Console;
use crate::failure::Failure;
use crate::probe::{self, Latencies, Percentiles, Probes, SMALLEST};
use crate::socket::{LARGEST, OneSocket};
use crate::stop::Stop;

const EXAMPLES: &str = "\
Examples:
  aiomsg ping --connect localhost:25000 --count 5
  aiomsg ping --bind 0.0.0.0:25000 --interval 100ms --size 1024 --json
The other end is aiomsg echo, or whatever answers a message to its sender with itself. With several of them, they are \
asked in turn. The exit code is 1 when nobody answered.";

/// Send a message, wait for it to come back, and print how long that took; again and again.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PingArgs {
    /// End after this many messages.
    #[arg(long, short = 'n', value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// The time between two messages.
    #[arg(long, short, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    interval: Duration,
    /// Bytes of a message, 32 at least.
    #[arg(long, short, value_name = "BYTES", default_value_t = 64, value_parser = size)]
    size: usize,
    /// How long to wait for a peer, and for each answer.
    #[arg(long, short, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    socket: OneSocket,
}

/// The size of a probe.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size) if (SMALLEST..=LARGEST).contains(&size) => Ok(size),
        _ => Err(format!("expected a number of bytes from {SMALLEST} to {LARGEST}")),
    }
}

/// One line.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line {
    Answer { bytes: usize, identity: String, number: u64, microseconds: f64 },
    NoAnswer { number: u64, timeout: String },
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer { bytes, identity, number, microseconds } => {
                let milliseconds = microseconds / 1e3;
                write!(f, "{bytes} bytes from {identity}: number={number} time={milliseconds:.3} ms")
            }
            Self::NoAnswer { number, timeout } => write!(f, "no answer within {timeout}: number={number}"),
        }
    }
}

/// The last line.
#[derive(Serialize)]
struct Summary {
    event: &'static str,
    sent: u64,
    answered: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    microseconds: Option<Percentiles>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, answered, microseconds, .. } = self;
        let lost = 100.0 * (sent - answered) as f64 / (*sent).max(1) as f64;
        write!(f, "{sent} sent, {answered} answered, {lost:.1}% lost")?;
        match microseconds {
            Some(percentiles) => write!(f, "; {percentiles}"),
            None => Ok(()),
        }
    }
}

pub(crate) async fn run(args: PingArgs, console: Console, stop: Stop) -> Result<(), Failure> {
    let socket = args.socket.open(args.socket.builder(), console).await?;
    let mut pinging = Pinging {
        probes: Probes::of(socket.identity()),
        socket,
        args,
        console,
        sent: 0,
        latencies: Latencies::new(),
    };
    let interrupted = tokio::select! {
        biased;
        signal = stop.requested() => Some(signal),
        result = pinging.run() => { result?; None }
    };
    pinging.finish().await?;
    match interrupted {
        Some(signal) if pinging.args.count.is_some() => Err(Failure::Interrupted(signal)),
        _ if pinging.latencies.count() == 0 => {
            Err(Failure::failed(format!("nobody answered; {}", probe::NO_ECHO)))
        }
        _ => Ok(()),
    }
}

struct Pinging {
    socket: Socket,
    args: PingArgs,
    console: Console,
    probes: Probes,
    sent: u64,
    latencies: Latencies,
}

impl Pinging {
    async fn run(&mut self) -> Result<(), Failure> {
        probe::wait_for_peer(&self.socket, self.args.timeout).await?;
        let mut ticks = tokio::time::interval(self.args.interval.max(Duration::from_nanos(1)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while self.args.count.is_none_or(|count| self.sent < count) {
            ticks.tick().await;
            let number = self.sent + 1;
            // A peer that has left meanwhile is waited for, and counts as one that does not answer.
            let line = match tokio::time::timeout(self.args.timeout, self.ask(number)).await {
                Ok(answer) => {
                    let (identity, bytes, span) = answer?;
                    self.latencies.note(span);
                    let microseconds = span.as_nanos() as f64 / 1e3;
                    Line::Answer { bytes, identity: identity.to_string(), number, microseconds }
                }
                Err(_) => {
                    let timeout = humantime::format_duration(self.args.timeout).to_string();
                    Line::NoAnswer { number, timeout }
                }
            };
            // Not before: one whose answer is not awaited to the end does not count.
            self.sent = number;
            self.console.print(&line)?;
        }
        Ok(())
    }

    /// Sends a probe, and waits until it is back. Older ones that come late are passed over.
    async fn ask(&self, number: u64) -> Result<(Identity, usize, Duration), Failure> {
        self.socket.send(self.probes.make(number, self.args.size)).await?;
        loop {
            let received = self.socket.recv_from().await?;
            if let Some((answered, span)) = self.probes.read(&received.payload)
                && answered == number
            {
                return Ok((received.identity, received.payload.len(), span));
            }
        }
    }

    async fn finish(&self) -> Result<(), Failure> {
        // What nobody has answered is not worth waiting for.
        self.socket.close_within(Duration::ZERO).await;
        let answered = self.latencies.count();
        let microseconds = (answered > 0).then(|| self.latencies.percentiles());
        self.console.print(&Summary { event: "pinged", sent: self.sent, answered, microseconds })
    }
}
