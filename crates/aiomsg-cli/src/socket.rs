//! From flags to a socket: what all commands have in common.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use aiomsg_tokio::{
    Builder, CloseReason, ConnectError, DeliveryGuarantee, Dialect, Event, EventStream, Identity, Origin,
    Socket, ToAddress,
};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::console::Console;
use crate::failure::Failure;

/// The largest message that a socket sends and receives, in bytes: the default, which no command changes.
pub(crate) const LARGEST: usize = 64 << 20;

/// How many heartbeats there are in the time of silence that is allowed: as by default.
const HEARTBEATS: u32 = 3;

/// The longest time between two heartbeats: peers expect one now and then, however patient we are.
const LONGEST_INTERVAL: Duration = Duration::from_secs(5);

/// Where a socket listens, and what it connects to.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = true)]
#[command(next_help_heading = "Addresses")]
pub(crate) struct Endpoints {
    /// Accept connections here; may be repeated. Port 0 is any free one: which one is told on standard error.
    #[arg(long, short, value_name = "HOST:PORT", value_parser = to_bind, value_delimiter = ',')]
    pub(crate) bind: Vec<String>,
    /// Connect to this address, and again whenever that connection is lost; may be repeated.
    #[arg(long, short, value_name = "HOST:PORT", value_parser = to_connect, value_delimiter = ',')]
    pub(crate) connect: Vec<String>,
}

/// An address to accept connections at.
pub(crate) fn to_bind(text: &str) -> Result<String, String> {
    text.to_bind().map_err(explained)
}

/// An address to connect to.
pub(crate) fn to_connect(text: &str) -> Result<String, String> {
    text.to_connect().map_err(explained)
}

/// What is wrong with an address. That it is wrong, and of which flag, is told beside it.
fn explained(error: ConnectError) -> String {
    match error {
        ConnectError::Address { reason, .. } => reason,
        other => other.to_string(),
    }
}

/// How a socket behaves.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Socket")]
pub(crate) struct SocketArgs {
    /// What to speak: v1 is spoken by the packages of 2026, classic by those of 2018 and 2019.
    #[arg(long, value_name = "DIALECT", default_value = "auto")]
    dialect: DialectArg,
    /// How long a peer may be silent before its connection counts as dead. A third of it, 5 s at most, is the time between
    /// our own heartbeats.
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = silence)]
    heartbeat_timeout: Duration,
    /// How long one attempt to connect may take.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    connect_timeout: Duration,
    /// How long handing over what is left may take after the command was told to stop.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) linger: Duration,
}

/// The time between our heartbeats, for who allows so much silence of its peers.
fn heartbeat_interval(timeout: Duration) -> Duration {
    (timeout / HEARTBEATS).min(LONGEST_INTERVAL)
}

/// A time of silence that is long enough for [`HEARTBEATS`], of a millisecond and more.
fn silence(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let shortest = Duration::from_millis(1) * HEARTBEATS;
    if span < shortest {
        return Err(format!("expected at least {}", humantime::format_duration(shortest)));
    }
    Ok(span)
}

/// All of that, for a command with one socket.
#[derive(Args, Clone, Debug)]
pub(crate) struct OneSocket {
    #[command(flatten)]
    endpoints: Endpoints,
    /// Who the socket says it is: 32 hex digits, or a UUID. Random without it.
    #[arg(long, value_name = "IDENTITY", help_heading = "Socket")]
    identity: Option<Identity>,
    #[command(flatten)]
    settings: SocketArgs,
}

impl OneSocket {
    /// The settings, to be changed as the command needs.
    pub(crate) fn builder(&self) -> Builder {
        self.settings.builder(self.identity)
    }

    /// Has the socket listen and connect.
    pub(crate) async fn open(&self, builder: Builder, console: Console) -> Result<Socket, Failure> {
        open(builder, &self.endpoints, "", console).await
    }

    /// How long handing over what is left may take.
    pub(crate) const fn linger(&self) -> Duration {
        self.settings.linger
    }
}

/// Which dialects are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DialectArg {
    /// Both, told apart by what the peer says first.
    Auto,
    /// Typed envelopes.
    V1,
    /// Bare payloads.
    Classic,
}

impl From<DialectArg> for Dialect {
    fn from(dialect: DialectArg) -> Self {
        match dialect {
            DialectArg::Auto => Self::Auto,
            DialectArg::V1 => Self::V1,
            DialectArg::Classic => Self::Classic,
        }
    }
}

/// What is promised of the messages that are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DeliveryArg {
    /// Each arrives once or not at all.
    AtMostOnce,
    /// Each is kept until it is acknowledged, and arrives once or more.
    AtLeastOnce,
}

impl From<DeliveryArg> for DeliveryGuarantee {
    fn from(delivery: DeliveryArg) -> Self {
        match delivery {
            DeliveryArg::AtMostOnce => Self::AtMostOnce,
            DeliveryArg::AtLeastOnce => Self::AtLeastOnce,
        }
    }
}

impl SocketArgs {
    /// The settings that all commands share.
    pub(crate) fn builder(&self, identity: Option<Identity>) -> Builder {
        let builder = Socket::builder()
            .dialect(self.dialect.into())
            .heartbeat_timeout(self.heartbeat_timeout)
            .heartbeat_interval(heartbeat_interval(self.heartbeat_timeout))
            .connect_timeout(self.connect_timeout)
            .linger(self.linger);
        match identity {
            Some(identity) => builder.identity(identity),
            None => builder,
        }
    }
}

/// Builds a socket, and has it listen and connect as was asked for. `name` tells several sockets of a command apart.
pub(crate) async fn open(
    builder: Builder,
    endpoints: &Endpoints,
    name: &'static str,
    console: Console,
) -> Result<Socket, Failure> {
    let socket = builder.build()?;
    tokio::spawn(report(socket.events(), name, console));
    for address in &endpoints.bind {
        let bound = socket.bind(address).await.map_err(|error| cannot_bind(address, &error))?;
        console.note(&Note::Listening { socket: name, address: bound.to_string() });
    }
    for address in &endpoints.connect {
        socket.connect(address).map_err(|error| Failure::failed(error.to_string()))?;
    }
    Ok(socket)
}

/// Something that happens to a socket, for whoever reads the error stream.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Note {
    Listening {
        #[serde(skip_serializing_if = "str::is_empty")]
        socket: &'static str,
        address: String,
    },
    Connected {
        #[serde(skip_serializing_if = "str::is_empty")]
        socket: &'static str,
        identity: String,
        address: String,
    },
    Disconnected {
        #[serde(skip_serializing_if = "str::is_empty")]
        socket: &'static str,
        identity: String,
        address: String,
        reason: String,
    },
    CannotConnect {
        #[serde(skip_serializing_if = "str::is_empty")]
        socket: &'static str,
        address: String,
        reason: String,
        for_good: bool,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Only a command with several sockets has names for them.
        fn prefix(socket: &'static str) -> (&'static str, &'static str) {
            (socket, if socket.is_empty() { "" } else { " " })
        }
        match self {
            Self::Listening { socket, address } => {
                let (socket, space) = prefix(socket);
                write!(f, "{socket}{space}listening {address}")
            }
            Self::Connected { socket, identity, address } => {
                let (socket, space) = prefix(socket);
                write!(f, "{socket}{space}connected {identity} {address}")
            }
            Self::Disconnected { socket, identity, address, reason } => {
                let (socket, space) = prefix(socket);
                write!(f, "{socket}{space}disconnected {identity} {address}: {reason}")
            }
            Self::CannotConnect { socket, address, reason, for_good } => {
                let (socket, space) = prefix(socket);
                let next = if *for_good { "given up" } else { "trying again until it works" };
                write!(f, "{socket}{space}cannot connect to {address}: {reason}; {next}")
            }
        }
    }
}

/// A peer that hangs up so often in a row does not want us.
const HUNG_UP: u32 = 3;

/// Tells what a user should know while a command runs. Who comes and goes is for machines; for people it is in the log.
///
/// Of those who come, it is for people whom they were told that nobody could connect to.
async fn report(mut events: EventStream, socket: &'static str, console: Console) {
    let mut failing = BTreeSet::new();
    while let Some(event) = events.recv().await {
        let note = match event {
            Event::Connected { identity, address, origin, .. }
                if matches!(origin, Origin::Dialled(dial) if failing.remove(&dial)) || console.is_json() =>
            {
                Note::Connected { socket, identity: identity.to_string(), address: address.to_string() }
            }
            Event::Disconnected { identity, address, reason, .. } if console.is_json() => {
                Note::Disconnected {
                    socket,
                    identity: identity.to_string(),
                    address: address.to_string(),
                    reason: reason.to_string(),
                }
            }
            // The first failure in a row says it. A peer may hang up once, for its reasons.
            Event::Retrying { dial, address, failures, reason, cause, .. }
                if failures == if reason == CloseReason::PeerClosed { HUNG_UP } else { 1 } =>
            {
                failing.insert(dial);
                let reason = match (cause, reason) {
                    (Some(cause), _) => cause.to_string(),
                    (None, CloseReason::PeerClosed) => {
                        format!(
                            "{reason} {HUNG_UP} times in a row, which knows why: another socket may have our identity"
                        )
                    }
                    (None, reason) => reason.to_string(),
                };
                Note::CannotConnect { socket, address: address.to_string(), reason, for_good: false }
            }
            Event::GivenUp { address, reason, .. } => Note::CannotConnect {
                socket,
                address: address.to_string(),
                reason: reason.to_string(),
                for_good: true,
            },
            _ => continue,
        };
        console.note(&note);
    }
}

/// Why an address cannot be bound, and what to do about it.
fn cannot_bind(address: &str, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => {
            " (another process listens there: stop it, choose another port, or port 0 for any free one)"
        }
        io::ErrorKind::AddrNotAvailable => {
            " (this machine does not have that address: try 0.0.0.0 for all that it has, or connect instead)"
        }
        io::ErrorKind::PermissionDenied => " (low ports are for privileged processes: try one from 1024 on)",
        _ if address.parse::<SocketAddr>().is_err() => {
            " (to bind takes a name or an address of this machine: is it spelled right? or connect instead)"
        }
        _ => "",
    };
    Failure::failed(format!("{error}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_go_out_as_often_as_peers_expect_however_patient_we_are() {
        for (timeout, interval) in [(3, 1), (15_000, 5_000), (3_600_000, 5_000)]
            .map(|(timeout, interval)| (Duration::from_millis(timeout), Duration::from_millis(interval)))
        {
            assert_eq!(heartbeat_interval(timeout), interval, "{timeout:?}");
        }
    }
}
