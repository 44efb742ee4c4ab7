//! Two services: one sends the time, the other prints what it gets.
//!
//! ```text
//! cargo run --example demo                       both, as two processes, for five messages
//! cargo run --example demo -- server             the one that sends; it binds
//! cargo run --example demo -- client             the one that prints; it connects
//! ```
//!
//! Stop either with Ctrl-C and start it again: the other goes on. Which end binds does not matter for anything else, so
//! `server connect` and `client bind` work as well. An address may follow; it is 127.0.0.1:25000 otherwise.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime};

use aiomsg_tokio::{SendMode, Socket};

type Failure = Box<dyn std::error::Error>;

const ADDRESS: &str = "127.0.0.1:25000";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("demo: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] => both(),
        ["server"] => server("bind", ADDRESS).await,
        ["server", role] => server(role, ADDRESS).await,
        ["server", role, address] => server(role, address).await,
        ["client"] => client("connect", ADDRESS, usize::MAX).await,
        ["client", role] => client(role, ADDRESS, usize::MAX).await,
        ["client", role, address] => client(role, address, usize::MAX).await,
        ["client", role, address, count] => client(role, address, count.parse()?).await,
        _ => Err("expected `server` or `client`, then `bind` or `connect`, then an address".into()),
    }
}

async fn server(role: &str, address: &str) -> Result<(), Failure> {
    let socket = Socket::builder().send_mode(SendMode::Publish).build()?;
    join(&socket, role, address).await?;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = second.tick() => {}
            _ = tokio::signal::ctrl_c() => break,
        }
        socket.send(humantime::format_rfc3339_seconds(SystemTime::now()).to_string()).await?;
    }
    socket.close_within(Duration::from_secs(1)).await;
    Ok(())
}

async fn client(role: &str, address: &str, count: usize) -> Result<(), Failure> {
    let socket = Socket::builder().build()?;
    join(&socket, role, address).await?;
    for _ in 0..count {
        let message = tokio::select! {
            message = socket.recv() => message?,
            _ = tokio::signal::ctrl_c() => break,
        };
        println!("{}", String::from_utf8_lossy(&message));
    }
    socket.close().await;
    Ok(())
}

async fn join(socket: &Socket, role: &str, address: &str) -> Result<(), Failure> {
    match role {
        "bind" => eprintln!("bound to {}", socket.bind(address).await?),
        "connect" => socket.connect(address)?,
        _ => return Err("expected `bind` or `connect`".into()),
    }
    Ok(())
}

/// Runs both services, each as a process of its own.
fn both() -> Result<(), Failure> {
    let program = std::env::current_exe()?;
    let mut server = Command::new(&program).args(["server", "bind", ADDRESS]).spawn()?;
    let client = Command::new(&program).args(["client", "connect", ADDRESS, "5"]).status();
    server.kill()?;
    server.wait()?;
    if client?.success() { Ok(()) } else { Err("the client failed".into()) }
}
