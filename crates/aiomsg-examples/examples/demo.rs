//! Two services: one sends the time, the other prints what it gets.
//!
//! ```text
//! cargo run --example demo                       both, as two processes, for five messages
//! cargo run --example demo -- server             the one that sends; it binds
//! cargo run --example demo -- client             the one that prints; it connects
//! cargo run --example demo -- --runtime smol     any of them on smol; tokio is the default
//! ```
//!
//! Stop either with Ctrl-C and start it again: the other goes on. Which end binds does not matter for anything else, so
//! `server connect` and `client bind` work as well. An address may follow; it is 127.0.0.1:25000 otherwise.

#![allow(clippy::print_stderr)]

use std::io::{Write, stdout};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, SystemTime};

use aiomsg_driver::{Runtime, Socket};
use aiomsg_examples::{Failure, On, Program, Stop};
use aiomsg_proto::SendMode;
use clap::{Parser, ValueEnum};

const ADDRESS: &str = "127.0.0.1:25000";

/// Two services: one sends the time, the other prints what it gets.
#[derive(Debug, Parser)]
struct Args {
    /// Which of them; both, as two processes, if none is named.
    service: Option<Service>,
    /// Accept connections, or make one. The server binds and the client connects, unless they are told.
    role: Option<Role>,
    /// The address to bind or to connect to.
    #[arg(default_value = ADDRESS)]
    address: String,
    /// Messages to print; without it, no end.
    count: Option<usize>,
    /// What to run on.
    #[arg(long, default_value = "tokio")]
    runtime: On,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Service {
    Server,
    Client,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    Bind,
    Connect,
}

fn main() -> ExitCode {
    let args = Args::parse();
    aiomsg_examples::end(if args.service.is_some() { args.runtime.run(args) } else { both() })
}

/// Runs both services, each as a process of its own.
fn both() -> Result<(), Failure> {
    let program = std::env::current_exe()?;
    // The runtime, if one is named.
    let service = |words: &[&str]| {
        let mut command = Command::new(&program);
        command.args(std::env::args_os().skip(1)).args(words);
        command
    };
    let mut server = service(&["server", "bind", ADDRESS]).spawn()?;
    let mut client = service(&["client", "connect", ADDRESS, "5"]).spawn()?;
    // Without our server, the client would print what another one sends at this address, or wait for ever.
    let result = loop {
        if let Some(status) = client.try_wait()? {
            break if status.success() { Ok(()) } else { Err("the client failed".into()) };
        }
        if server.try_wait()?.is_some() {
            break Err("the server failed".into());
        }
        thread::sleep(Duration::from_millis(20));
    };
    for mut process in [server, client] {
        // It may have ended by itself.
        let _ = process.kill();
        process.wait()?;
    }
    result
}

impl Program for Args {
    async fn run<R: Runtime>(self) -> Result<(), Failure> {
        match self.service {
            Some(Service::Server) => server::<R>(&self).await,
            _ => client::<R>(&self).await,
        }
    }
}

async fn server<R: Runtime>(args: &Args) -> Result<(), Failure> {
    let mut stop = Stop::new()?;
    let socket = Socket::<R>::builder().send_mode(SendMode::Publish).build()?;
    join(&socket, args.role.unwrap_or(Role::Bind), &args.address).await?;
    loop {
        socket.send(humantime::format_rfc3339_seconds(SystemTime::now()).to_string()).await?;
        let second = socket.runtime().sleep(Duration::from_secs(1));
        if stop.unless(second).await.is_none() {
            break;
        }
    }
    socket.close_within(Duration::from_secs(1)).await;
    Ok(())
}

async fn client<R: Runtime>(args: &Args) -> Result<(), Failure> {
    let mut stop = Stop::new()?;
    let socket = Socket::<R>::builder().build()?;
    join(&socket, args.role.unwrap_or(Role::Connect), &args.address).await?;
    for _ in 0..args.count.unwrap_or(usize::MAX) {
        let Some(message) = stop.unless(socket.recv()).await else { break };
        let message = message?;
        writeln!(stdout(), "{}", String::from_utf8_lossy(&message))?;
    }
    socket.close().await;
    Ok(())
}

async fn join<R: Runtime>(socket: &Socket<R>, role: Role, address: &str) -> Result<(), Failure> {
    match role {
        Role::Bind => eprintln!("bound to {}", socket.bind(address).await?),
        Role::Connect => {
            eprintln!("connecting to {address}, now and whenever the connection is lost");
            socket.connect(address)?;
        }
    }
    Ok(())
}
