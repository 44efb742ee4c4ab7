//! `aiomsg recv`: prints what arrives.

use std::fmt;
use std::time::{Duration, Instant};

use aiomsg_tokio::{Acknowledge, Message, Socket};
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::console::{Console, counted, per_second, rate};
use crate::failure::Failure;
use crate::intake::{Intake, Taken};
use crate::record::{self, Record};
use crate::sink::{Chunk, Sink};
use crate::socket::OneSocket;
use crate::stop::Stop;

const EXAMPLES: &str = "\
Examples:
  aiomsg recv --bind 0.0.0.0:25000                          print what anybody sends, a line each
  aiomsg recv --connect localhost:25000 --count 1 --timeout 5s
  aiomsg recv --connect localhost:25000 --json | jq .text
  aiomsg recv --bind 127.0.0.1:0 --format count             count, and print how many at the end
A message that its sender sent at-least-once is acknowledged when it is written, not before.";

/// Receive messages, and print them.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{}", record::FORMAT))]
pub(crate) struct RecvArgs {
    /// How a message is printed.
    #[arg(long, short, default_value = "text")]
    format: Format,
    /// End after this many messages.
    #[arg(long, short = 'n', value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Give up when no message has come for this long.
    #[arg(long, short, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    socket: OneSocket,
}

/// How messages are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// As it is, and a line feed.
    Text,
    /// As hex digits, and a line feed.
    Hex,
    /// As it is, and nothing between two messages.
    Raw,
    /// As JSON, a line each; so does --json.
    Json,
    /// Not at all: how many there were is printed at the end.
    Count,
}

/// What there was.
#[derive(Debug, Default, Serialize)]
struct Summary {
    messages: usize,
    bytes: usize,
    seconds: f64,
    messages_per_second: f64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, bytes, seconds, messages_per_second } = self;
        let (messages, bytes) = (counted(*messages, "message"), counted(*bytes, "byte"));
        let rate = per_second(*messages_per_second, "messages");
        write!(f, "{messages}, {bytes} in {seconds:.3} s, {rate}")
    }
}

impl Format {
    fn append(self, message: &Message, out: &mut Vec<u8>) {
        let payload = message.payload();
        match self {
            Self::Text | Self::Raw => out.extend_from_slice(payload),
            Self::Hex => {
                let start = out.len();
                out.resize(start + 2 * payload.len(), 0);
                // The room is exactly what is needed.
                let _ = hex::encode_to_slice(payload, &mut out[start..]);
            }
            Self::Json => return Record::of(message.identity(), payload).write(out),
            Self::Count => {}
        }
        if matches!(self, Self::Text | Self::Hex) {
            out.push(b'\n');
        }
    }
}

/// What is received, and where it is printed.
struct Reception {
    format: Format,
    sink: Sink,
    chunk: Chunk,
    summary: Summary,
    /// Seen where messages are counted, since nothing else is until the end. Beside what is printed it would be in the way.
    progress: Option<ProgressBar>,
    /// When the first message came, and the last.
    span: Option<(Instant, Instant)>,
}

pub(crate) async fn run(args: RecvArgs, console: Console, stop: Stop) -> Result<(), Failure> {
    let RecvArgs { format, count, timeout, socket: ends } = args;
    let format = if console.is_json() && format != Format::Count { Format::Json } else { format };
    let linger = ends.linger();
    let builder = ends.builder().acknowledge(Acknowledge::Manual);
    let socket = ends.open(builder, console).await?;
    let mut reception = Reception::new(format)?;
    if format == Format::Count {
        reception.progress = Some(console.progress(count, "receiving")).filter(|bar| !bar.is_hidden());
    }
    let printing = async {
        let taken = reception.take_all(&socket, count, timeout, stop.clone()).await;
        reception.finish(console).await.and(taken)
    };
    let printed = tokio::select! {
        biased;
        printed = printing => printed,
        () = stop.overdue(linger) => {
            Err(Failure::failed("what was received could not be written in time: nobody reads the output"))
        }
    };
    // What was printed is acknowledged before.
    socket.close_within(stop.deadline(linger).saturating_duration_since(tokio::time::Instant::now())).await;
    printed
}

impl Reception {
    fn new(format: Format) -> Result<Self, Failure> {
        Ok(Self {
            format,
            sink: Sink::stdout()?,
            chunk: Chunk::default(),
            summary: Summary::default(),
            progress: None,
            span: None,
        })
    }

    async fn take_all(
        &mut self,
        socket: &Socket,
        count: Option<u64>,
        timeout: Option<Duration>,
        stop: Stop,
    ) -> Result<(), Failure> {
        let mut intake = Intake::new(socket.clone(), stop);
        while count.is_none_or(|count| (self.summary.messages as u64) < count) {
            if self.chunk.is_worthwhile() && !self.flush().await {
                return Ok(());
            }
            let message = match intake.at_once().await? {
                Some(message) => message,
                None => {
                    if !self.flush().await {
                        return Ok(());
                    }
                    let taken = tokio::select! {
                        taken = intake.wait(timeout) => taken?,
                        () = self.sink.broken() => return Ok(()),
                    };
                    match taken {
                        Taken::Message(message) => message,
                        Taken::Stopped(_) if count.is_none() => return Ok(()),
                        Taken::Stopped(signal) => return Err(Failure::Interrupted(signal)),
                        Taken::TimeUp => return self.time_up(count, timeout),
                    }
                }
            };
            self.note(message);
        }
        Ok(())
    }

    fn time_up(&self, count: Option<u64>, timeout: Option<Duration>) -> Result<(), Failure> {
        let messages = self.summary.messages;
        if messages > 0 && count.is_none() {
            return Ok(());
        }
        let messages = match count {
            Some(count) => format!("{messages} of {count} messages"),
            None => counted(messages, "message"),
        };
        let span = humantime::format_duration(timeout.unwrap_or_default());
        Err(Failure::TimeUp(format!("nothing came for {span}, after {messages}")))
    }

    fn note(&mut self, message: Message) {
        self.summary.messages += 1;
        self.summary.bytes += message.payload().len();
        if self.format == Format::Count {
            if let Some(progress) = &self.progress {
                if self.span.is_none() {
                    // Waiting for the first one says nothing about how long the others take.
                    progress.reset_eta();
                }
                progress.inc(1);
            }
            let now = Instant::now();
            self.span = Some((self.span.map_or(now, |(first, _)| first), now));
            message.acknowledge();
            return;
        }
        self.format.append(&message, &mut self.chunk.bytes);
        if message.wants_acknowledgement() {
            self.chunk.messages.push(message);
        }
    }

    /// Has what was received printed. False when nobody reads it any more.
    async fn flush(&mut self) -> bool {
        let chunk = std::mem::take(&mut self.chunk);
        chunk.is_empty() || self.sink.write(chunk).await.is_ok()
    }

    async fn finish(mut self, console: Console) -> Result<(), Failure> {
        self.flush().await;
        self.sink.finish().await?;
        if self.format == Format::Count {
            drop(self.progress.take());
            let span = self.span.map_or(Duration::ZERO, |(first, last)| last - first);
            self.summary.seconds = span.as_secs_f64();
            self.summary.messages_per_second = rate(self.summary.messages, span);
            console.print(&self.summary)?;
        }
        Ok(())
    }
}
