//! A uniform test program: one socket that sends, receives or answers, as its flags say.
//!
//! Payloads go to standard output, one on a line; all else goes to standard error: `listening ADDRESS` and `ready`, then
//! a line `event: ...` for each peer that comes or goes.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use aiomsg_driver::{EventStream, Runtime, Socket};
use aiomsg_examples::{Failure, On, Program};
use aiomsg_proto::{DeliveryGuarantee, Dialect, Event, Identity, SendMode};
use clap::{Parser, ValueEnum};

/// Sends, receives or answers messages, to test one implementation against another.
#[derive(Debug, Parser)]
struct Args {
    /// What to run on.
    #[arg(long, default_value = "tokio")]
    runtime: On,
    /// Accept connections, or make one.
    #[arg(long)]
    role: Role,
    /// The address to bind or to connect to.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// The port to bind or to connect to; 0 binds any free one.
    #[arg(long, default_value_t = 25000)]
    port: u16,
    /// Whom a message goes to.
    #[arg(long, default_value = "roundrobin")]
    send_mode: Mode,
    /// What to do.
    #[arg(long)]
    behavior: Behavior,
    /// Messages to send, receive or answer; without it, no end.
    #[arg(long)]
    count: Option<u64>,
    /// What the messages of a source begin with, before their number.
    #[arg(long, default_value = "")]
    prefix: String,
    /// What is promised of a message.
    #[arg(long, default_value = "at-most-once")]
    delivery: Delivery,
    /// Who the socket says it is: 32 hex digits. Random without it.
    #[arg(long)]
    identity: Option<Identity>,
    /// Seconds that a source, a requester or an echo stays after its last message.
    #[arg(long, default_value_t = 1.0)]
    linger: f64,
    /// Seconds between two messages of a source.
    #[arg(long, default_value_t = 0.0)]
    pause: f64,
    /// Peers to wait for before the first message.
    #[arg(long, default_value_t = 0)]
    wait_peers: usize,
    /// Print payloads as hex digits.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set)]
    hex: bool,
    /// What to speak.
    #[arg(long, default_value = "auto")]
    dialect: Speak,
    /// Not supported yet; accepted as false.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set)]
    tls: bool,
    /// Not supported yet.
    #[arg(long)]
    tls_cert: Option<String>,
    /// Not supported yet.
    #[arg(long)]
    tls_key: Option<String>,
    /// Not supported yet.
    #[arg(long)]
    tls_ca: Option<String>,
    /// Not supported yet.
    #[arg(long)]
    tls_server_name: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    Bind,
    Connect,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    Publish,
    Roundrobin,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Behavior {
    Source,
    Sink,
    Echo,
    Request,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Delivery {
    AtMostOnce,
    AtLeastOnce,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Speak {
    Auto,
    V1,
    Classic,
}

impl Args {
    fn socket<R: Runtime>(&self) -> Result<Socket<R>, Failure> {
        if self.tls {
            return Err("TLS is not supported yet".into());
        }
        let mode = match self.send_mode {
            Mode::Publish => SendMode::Publish,
            Mode::Roundrobin => SendMode::RoundRobin,
        };
        let dialect = match self.dialect {
            Speak::Auto => Dialect::Auto,
            Speak::V1 => Dialect::V1,
            Speak::Classic => Dialect::Classic,
        };
        // A source whose peer has not come yet waits for it, for as long as it takes.
        let linger = Duration::from_secs(24 * 3_600);
        let delivery = match self.delivery {
            Delivery::AtMostOnce => DeliveryGuarantee::AtMostOnce,
            Delivery::AtLeastOnce => DeliveryGuarantee::AtLeastOnce,
        };
        let builder =
            Socket::<R>::builder().send_mode(mode).delivery(delivery).dialect(dialect).linger(linger);
        let builder = match self.identity {
            Some(identity) => builder.identity(identity),
            None => builder,
        };
        Ok(builder.build()?)
    }

    /// The numbers of the messages to send, receive or answer.
    fn numbers(&self) -> impl Iterator<Item = u64> + use<> {
        let count = self.count;
        (0..).take_while(move |number| count.is_none_or(|count| *number < count))
    }

    fn print(&self, payload: &[u8]) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.hex {
            for byte in payload {
                write!(out, "{byte:02x}")?;
            }
        } else {
            out.write_all(payload)?;
        }
        out.write_all(b"\n")?;
        out.flush()
    }
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let args = Args::parse();
    match args.runtime.run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&format!("agent: {failure}"));
            ExitCode::FAILURE
        }
    }
}

impl Program for Args {
    async fn run<R: Runtime>(self) -> Result<(), Failure> {
        let socket = self.socket::<R>()?;
        socket.runtime().spawn(report(socket.events()));
        let address = format!("{}:{}", self.host, self.port);
        match self.role {
            Role::Bind => tell(&format!("listening {}", socket.bind(address).await?)),
            Role::Connect => socket.connect(address)?,
        }
        tell("ready");
        socket.wait_for_peers(self.wait_peers).await?;
        match self.behavior {
            Behavior::Source => source(&self, &socket).await?,
            Behavior::Sink => sink(&self, &socket).await?,
            Behavior::Echo => echo(&self, &socket).await?,
            Behavior::Request => request(&self, &socket).await?,
        }
        let report = socket.close().await;
        if report.dropped.messages > 0 {
            return Err(format!("{} messages were not handed over", report.dropped.messages).into());
        }
        Ok(())
    }
}

async fn source<R: Runtime>(args: &Args, socket: &Socket<R>) -> Result<(), Failure> {
    for number in args.numbers() {
        if number > 0 && args.pause > 0.0 {
            socket.runtime().sleep(Duration::from_secs_f64(args.pause)).await;
        }
        socket.send(format!("{}{number}", args.prefix)).await?;
    }
    linger(args, socket).await;
    Ok(())
}

async fn sink<R: Runtime>(args: &Args, socket: &Socket<R>) -> Result<(), Failure> {
    for _ in args.numbers() {
        args.print(&socket.recv().await?)?;
    }
    Ok(())
}

async fn echo<R: Runtime>(args: &Args, socket: &Socket<R>) -> Result<(), Failure> {
    for _ in args.numbers() {
        let received = socket.recv_from().await?;
        socket.send_to(received.identity, received.payload).await?;
    }
    linger(args, socket).await;
    Ok(())
}

async fn request<R: Runtime>(args: &Args, socket: &Socket<R>) -> Result<(), Failure> {
    for number in args.numbers() {
        socket.send(format!("{}{number}", args.prefix)).await?;
        args.print(&socket.recv().await?)?;
    }
    linger(args, socket).await;
    Ok(())
}

/// Stays for a while. What is not handed over by then is waited for when the socket closes.
async fn linger<R: Runtime>(args: &Args, socket: &Socket<R>) {
    socket.runtime().sleep(Duration::from_secs_f64(args.linger)).await;
}

/// Tells of peers that come and go.
async fn report(mut events: EventStream) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Connected { identity, address, protocol, .. } => {
                tell(&format!("event: connected {identity} {address} {protocol:?}"));
            }
            Event::Disconnected { identity, address, reason, .. } => {
                tell(&format!("event: disconnected {identity} {address}: {reason}"));
            }
            other => tell(&format!("{other:?}")),
        }
    }
}

fn tell(line: &str) {
    // Nothing can be done about a standard error that is gone.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
