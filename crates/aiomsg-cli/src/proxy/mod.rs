//! `aiomsg proxy`: fan-in and fan-out between services that come and go.
//!
//! ```text
//!   creators --> front --> [passage] --> back --> workers
//!                              |   \
//!                              |    `--> capture, on a thread of its own
//!                              `-------> settlement: the acknowledgements of the back, told to the front
//! ```

mod capture;
mod passage;
mod settlement;
mod stats;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use aiomsg_tokio::{Acknowledge, DeliveryGuarantee, Identity, Receive, SendMode};
use clap::{Args, ValueEnum};

use self::capture::Capture;
use self::passage::Passage;
use self::settlement::Settlement;
use self::stats::Watch;
use crate::console::Console;
use crate::failure::Failure;
use crate::record;
use crate::socket::{Endpoints, SocketArgs, open, to_bind, to_connect};
use crate::stop::Stop;

const EXAMPLES: &str = "\
Examples:
  aiomsg proxy --front 0.0.0.0:25001 --back 0.0.0.0:25002
  aiomsg proxy --front 0.0.0.0:25001 --back 0.0.0.0:25002 --stats 10s --json
  aiomsg proxy --front-connect creator:25000 --back 0.0.0.0:25002 --capture passed.jsonl

Creators connect to the front, workers to the back; both may come, go and be as many as they like. For a proxy without \
a single point of failure run several, and have all creators and all workers connect to each of them.";

const DETAILS: &str = "\
Delivery:
A message goes on as it came (--delivery follow). One that its sender sent at-least-once is acknowledged to it when a \
worker has acknowledged it, and not before: if this proxy dies, the sender still has it, and gives it to another proxy. \
One that was sent at-most-once goes on at-most-once, which is faster. The other two values overrule that. A message that \
is given up at the back (--max-attempts) is never acknowledged in front.

With no worker there, messages wait, up to 65,536 or 64 MiB; then the creators wait. Packages of other languages send a \
message again when it is not acknowledged within 5 s, as a new one: with no worker for that long, theirs arrive more than \
once. What workers send is not passed on: it is counted, and dropped.

Capture:
Each message that passes is appended to the file, as below. Messages never wait for the file: when more than 4 MiB wait \
to be written, what passes meanwhile is not captured, and the capture says how many messages are missing.

Stopping:
At the first SIGINT or SIGTERM, what has arrived is still handed on, within --linger. Then the exit code is 0, or 1 if \
something could not be. A second signal stops at once.";

/// Pass messages on between services that come and go: whatever the front receives, the back hands out in turn.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DETAILS}\n\n{}", record::FORMAT))]
pub(crate) struct ProxyArgs {
    /// What is promised of a message.
    #[arg(long, default_value = "follow")]
    delivery: PassArg,
    /// Limit on at-least-once messages in the proxy: unacknowledged, or waiting for a worker.
    #[arg(long, value_name = "NUMBER", default_value_t = 65_536, value_parser = limit)]
    in_flight: usize,
    /// Messages that one worker has and has not acknowledged, at most. With 1 each gets its next when it has done with
    /// the one before.
    #[arg(long, value_name = "NUMBER", default_value_t = 4_096, value_parser = limit)]
    window: usize,
    /// Give a message up after handing it out this often without its being acknowledged. Without it, never.
    #[arg(long, value_name = "NUMBER")]
    max_attempts: Option<NonZeroU32>,
    /// Tell on standard error, this often, what has passed, who is there, and what waits.
    #[arg(long, value_name = "TIME", value_parser = period)]
    stats: Option<Duration>,
    /// Append what passes to this file; - is standard output.
    #[arg(long, value_name = "PATH")]
    capture: Option<PathBuf>,
    #[command(flatten)]
    front: FrontArgs,
    #[command(flatten)]
    back: BackArgs,
    #[command(flatten)]
    identities: IdentitiesArgs,
    #[command(flatten)]
    socket: SocketArgs,
}

/// Who the two sockets say they are.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Socket")]
struct IdentitiesArgs {
    /// Who the front says it is: 32 hex digits, or a UUID. Random without it.
    #[arg(long, value_name = "IDENTITY")]
    front_identity: Option<Identity>,
    /// Who the back says it is.
    #[arg(long, value_name = "IDENTITY")]
    back_identity: Option<Identity>,
}

/// Where messages come from.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = true)]
#[command(next_help_heading = "Addresses")]
struct FrontArgs {
    /// Accept those who send here; may be repeated. Port 0 is any free one: which one is told on standard error.
    #[arg(long, value_name = "HOST:PORT", value_parser = to_bind, value_delimiter = ',')]
    front: Vec<String>,
    /// Connect to one who sends; may be repeated.
    #[arg(long, value_name = "HOST:PORT", value_parser = to_connect, value_delimiter = ',')]
    front_connect: Vec<String>,
}

/// Where messages go.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = true)]
#[command(next_help_heading = "Addresses")]
struct BackArgs {
    /// Accept those who receive here; may be repeated.
    #[arg(long, value_name = "HOST:PORT", value_parser = to_bind, value_delimiter = ',')]
    back: Vec<String>,
    /// Connect to one who receives; may be repeated.
    #[arg(long, value_name = "HOST:PORT", value_parser = to_connect, value_delimiter = ',')]
    back_connect: Vec<String>,
}

/// What is promised of a message that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PassArg {
    /// What its sender asked for.
    Follow,
    /// It passes once or not at all, and its sender hears that it arrived when it is here.
    AtMostOnce,
    /// It is kept until a worker acknowledges it, however it was sent.
    AtLeastOnce,
}

fn limit(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=1_000_000) => Ok(number),
        _ => Err("expected a number from 1 to 1000000".to_owned()),
    }
}

fn period(text: &str) -> Result<Duration, String> {
    let period = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if period < Duration::from_millis(10) { Err("expected at least 10ms".to_owned()) } else { Ok(period) }
}

/// Whether it stands for any free port, and so for another one each time.
fn has_any_port(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(_, port)| port.parse() == Ok(0))
}

pub(crate) async fn run(args: ProxyArgs, console: Console, stop: Stop) -> Result<(), Failure> {
    let ProxyArgs {
        delivery,
        in_flight,
        window,
        max_attempts,
        stats,
        capture,
        front,
        back,
        identities,
        socket,
    } = args;
    if let Some(same) =
        front.front.iter().find(|address| back.back.contains(address) && !has_any_port(address))
    {
        return Err(Failure::Usage(format!(
            "--front and --back are both {same}: creators and workers need an address of their own each"
        )));
    }
    let capture = capture.map(|path| Capture::start(path, console)).transpose()?;
    let acknowledge = match delivery {
        // About the default; chosen, so that taking messages as in the other cases is no mistake.
        PassArg::AtMostOnce => Acknowledge::OnTake { at_latest: Some(Duration::from_secs(3)) },
        PassArg::Follow | PassArg::AtLeastOnce => Acknowledge::Manual,
    };
    let linger = socket.linger;
    let receiver = socket.builder(identities.front_identity).acknowledge(acknowledge);
    let sender = socket
        .builder(identities.back_identity)
        .send_mode(SendMode::RoundRobin)
        .delivery(DeliveryGuarantee::AtMostOnce)
        .receive(Receive::Discard)
        .window(window)
        .max_attempts(max_attempts);
    // The back first: nothing is taken in before there is somewhere to put it.
    let to = Endpoints { bind: back.back, connect: back.back_connect };
    let from = Endpoints { bind: front.front, connect: front.front_connect };
    let back = open(sender, &to, "back", console).await?;
    let front = open(receiver, &from, "front", console).await?;

    let settlement = Settlement::start(in_flight);
    let watch = Watch {
        front: front.clone(),
        back: back.clone(),
        in_flight: settlement.in_flight(),
        missed: capture.as_ref().map(Capture::missed),
    };
    let (start, told) = (Instant::now(), watch.figures());
    if let Some(period) = stats {
        tokio::spawn(watch.clone().tell_every(period, console));
    }
    let passage = Passage::new(front, back, delivery == PassArg::AtLeastOnce, settlement, capture, console);
    let result = passage.run(stop, linger).await;
    console.note(&watch.figures().since(&told, start.elapsed(), "stopped"));
    result
}
