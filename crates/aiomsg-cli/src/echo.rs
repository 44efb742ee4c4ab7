//! `aiomsg echo`: answers everybody.

use std::fmt;

use aiomsg_tokio::{Acknowledge, SendError, Socket};
use clap::Args;
use serde::Serialize;

use crate::console::{Console, Remark, counted, not_delivered};
use crate::failure::Failure;
use crate::intake::{Intake, Taken};
use crate::socket::{DeliveryArg, OneSocket};
use crate::stop::Stop;

const EXAMPLES: &str = "\
Examples:
  aiomsg echo --bind 0.0.0.0:25000
  aiomsg echo --connect localhost:25000 --count 1
Try it with aiomsg ping, or with aiomsg bench --round-trip.";

/// Answer each message, to its sender, with itself.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EchoArgs {
    /// End after this many messages.
    #[arg(long, short = 'n', value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// What is promised of an answer.
    #[arg(long, default_value = "at-most-once")]
    delivery: DeliveryArg,
    #[command(flatten)]
    socket: OneSocket,
}

/// What was done.
#[derive(Debug, Default, Serialize)]
struct Summary {
    event: &'static str,
    answered: u64,
    /// Their senders had left, or do not read, or they were too long.
    dropped: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, dropped, .. } = self;
        write!(f, "answered {}", counted(*answered, "message"))?;
        if *dropped > 0 {
            write!(
                f,
                ", and {dropped} that were too long, or whose senders had left or do not read, were not"
            )?;
        }
        Ok(())
    }
}

pub(crate) async fn run(args: EchoArgs, console: Console, stop: Stop) -> Result<(), Failure> {
    let EchoArgs { count, delivery, socket: ends } = args;
    let builder = ends.builder().delivery(delivery.into()).acknowledge(Acknowledge::Manual);
    let linger = ends.linger();
    let socket = ends.open(builder, console).await?;
    let mut summary = Summary { event: "echoed", ..Summary::default() };
    let echoed = tokio::select! {
        biased;
        echoed = answer_all(&socket, count, &mut summary, console, stop.clone()) => echoed,
        // Who waits for room to answer is not at the place where the signal is heard.
        () = stop.overdue(linger) => Ok(()),
    };
    let report = socket.close_within(linger).await;
    summary.dropped += report.dropped.messages as u64;
    console.note(&summary);
    match (echoed, report.dropped.messages) {
        (Ok(()), lost @ 1..) => Err(Failure::failed(not_delivered(lost, "answer"))),
        (echoed, _) => echoed,
    }
}

async fn answer_all(
    socket: &Socket,
    count: Option<u64>,
    summary: &mut Summary,
    console: Console,
    stop: Stop,
) -> Result<(), Failure> {
    let mut intake = Intake::new(socket.clone(), stop);
    while count.is_none_or(|count| summary.answered < count) {
        let message = match intake.at_once().await? {
            Some(message) => message,
            None => match intake.wait(None).await? {
                Taken::Message(message) => message,
                Taken::Stopped(signal) if count.is_some() => return Err(Failure::Interrupted(signal)),
                Taken::Stopped(_) | Taken::TimeUp => return Ok(()),
            },
        };
        match socket.send_to(message.identity(), message.payload().clone()).await {
            Ok(()) => summary.answered += 1,
            Err(SendError::TooLong { payload, limit }) => {
                let text = format!(
                    "a message of {} bytes was not answered: at most {limit} bytes can be sent",
                    payload.len()
                );
                console.note(&Remark { event: "too_long", text });
                summary.dropped += 1;
            }
            Err(SendError::UnknownPeer(_) | SendError::WouldDeadlock(_)) => summary.dropped += 1,
            Err(error) => return Err(error.into()),
        }
        message.acknowledge();
    }
    Ok(())
}
