//! What the examples do with their sockets, so that they themselves show no more than how to drive the core: a client
//! gives messages to an echo server and checks that all of them come back.
#![allow(dead_code, reason = "each example uses a part of this")]

use std::collections::{BTreeSet, VecDeque};
use std::error::Error;
use std::fmt::Display;
use std::io::{Write, stdout};
use std::net::SocketAddr;
use std::process::ExitCode;

use aiomsg_proto::{Config, Event, Identity, Inbox, Instant, SendError, Socket};
use bytes::Bytes;
use clap::Parser;
use uuid::Uuid;

/// Sends messages to an echo server, and checks that all of them come back.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// The echo server.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:25000")]
    pub(crate) connect: SocketAddr,
    /// How many messages.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) messages: u64,
    /// The length of each, in bytes: at least 8, for its number.
    #[arg(long, value_name = "BYTES", default_value_t = 32, value_parser = clap::value_parser!(u32).range(8..))]
    pub(crate) bytes: u32,
}

/// Sends every message back to its sender.
#[derive(Debug, Parser)]
pub(crate) struct ServerArgs {
    /// Where to accept connections; port 0 is any free one.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:25000")]
    pub(crate) bind: SocketAddr,
    /// Stop after this many echoes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) messages: Option<u64>,
}

/// Who an example says it is, and the seed of its socket, which must be another one in each life.
pub(crate) fn new_life() -> (Identity, u64) {
    let (_, seed) = Uuid::new_v4().as_u64_pair();
    (Identity::from_bytes(Uuid::new_v4().into_bytes()), seed)
}

/// A socket with default settings, at the beginning of time.
pub(crate) fn new_socket() -> Result<Socket, Box<dyn Error>> {
    let (identity, seed) = new_life();
    Ok(Socket::new(Config::default(), identity, seed, Instant::EPOCH)?)
}

/// Ends an example: what it says, or why it failed.
pub(crate) fn end(name: &str, result: Result<(), impl Display>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a line. Nobody has to read it: the messages go on.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(stdout(), "{line}");
}

/// Shows who comes and goes.
pub(crate) fn tell(event: &Event) {
    match event {
        Event::Connected { address, .. } => say(format_args!("{address} connected")),
        Event::Disconnected { address, reason, .. } => say(format_args!("{address} disconnected: {reason}")),
        Event::Refused { address, reason, .. } => say(format_args!("{address} refused: {reason}")),
        _ => {}
    }
}

/// A message that is like no other: its number, again and again.
pub(crate) fn payload(number: u64, bytes: u32) -> Bytes {
    let bytes = bytes as usize;
    let mut payload = number.to_be_bytes().repeat(bytes / 8 + 1);
    payload.truncate(bytes);
    payload.into()
}

/// What a client has to do.
pub(crate) struct Errand {
    args: Args,
    /// Messages that were not given to the socket yet, or were perhaps lost with a connection.
    unsent: VecDeque<u64>,
    /// Messages that have not come back.
    missing: BTreeSet<u64>,
}

impl Errand {
    pub(crate) fn new(args: Args) -> Self {
        Self { unsent: (0..args.messages).collect(), missing: (0..args.messages).collect(), args }
    }

    /// Gives messages to the socket, as long as it takes them.
    pub(crate) fn send(&mut self, socket: &mut Socket, now: Instant) -> Result<(), Box<dyn Error>> {
        while let Some(number) = self.unsent.front() {
            match socket.send(now, payload(*number, self.args.bytes)) {
                Ok(()) => drop(self.unsent.pop_front()),
                // `Ready::Room` says when to go on.
                Err(SendError::Full(_)) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Checks what has come back, and closes the socket when that is all.
    pub(crate) fn receive(&mut self, socket: &mut Socket, now: Instant) -> Result<(), Box<dyn Error>> {
        let mut inbox = Inbox::default();
        while socket.poll_received(now, &mut inbox) {
            for echo in inbox.by_ref().map(|received| received.payload) {
                let number = echo.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
                let number = number.filter(|number| echo == payload(*number, self.args.bytes));
                // One that was sent again may come back twice.
                self.missing.remove(&number.ok_or("a message came that is no echo")?);
            }
        }
        if self.missing.is_empty() && !socket.is_closing() {
            say(format_args!("sent {} messages and got all of them back", self.args.messages));
            socket.close(now, socket.config().linger_time());
        }
        Ok(())
    }

    /// Shows what happened, and sends again what was perhaps lost.
    pub(crate) fn note(&mut self, event: &Event, socket: &Socket) -> Result<(), Box<dyn Error>> {
        match event {
            Event::Connected { address, .. } => say(format_args!("connected to {address}")),
            Event::Disconnected { reason, .. } if !socket.is_closing() => {
                say(format_args!("disconnected: {reason}"));
                // What the server had and has not answered, it may never answer.
                self.unsent = self.missing.iter().copied().collect();
            }
            Event::Retrying { delay, reason, cause, .. } => {
                let cause = cause.as_deref().map_or_else(|| reason.to_string(), str::to_owned);
                say(format_args!("{cause}; trying again in {delay:.1?}"));
            }
            Event::GivenUp { reason, .. } => return Err(reason.to_string().into()),
            _ => {}
        }
        Ok(())
    }
}
