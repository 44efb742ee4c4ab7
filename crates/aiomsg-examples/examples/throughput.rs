//! How many messages a second one socket sends and another receives, as two processes on this machine.
//!
//! ```text
//! cargo run --release --example throughput -- receive
//! cargo run --release --example throughput -- send 16 20000000
//! cargo run --release --example throughput -- send 16 5000000 at-least-once
//! ```
//!
//! Each end takes `--runtime tokio`, `--runtime tokio-multi` or `--runtime smol`.

use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::Instant;

use aiomsg_driver::{Runtime, Socket};
use aiomsg_examples::{Failure, On, Program};
use aiomsg_proto::DeliveryGuarantee;
use bytes::Bytes;
use clap::{Parser, Subcommand, ValueEnum};

const ADDRESS: &str = "127.0.0.1:25500";

/// How many messages a second one socket sends and another receives.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    end: End,
    /// What to run on.
    #[arg(long, global = true, default_value = "tokio")]
    runtime: On,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum End {
    /// Sends as fast as it can.
    Send {
        /// The length of a message, at least 1.
        #[arg(default_value_t = 16)]
        bytes: usize,
        /// How many of them.
        #[arg(default_value_t = 10_000_000)]
        messages: usize,
        /// What is promised of them.
        #[arg(default_value = "at-most-once")]
        delivery: Delivery,
    },
    /// Receives, and prints how many came in a second.
    Receive,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Delivery {
    AtMostOnce,
    AtLeastOnce,
}

fn main() -> ExitCode {
    let args = Args::parse();
    aiomsg_examples::end(args.runtime.run(args.end))
}

impl Program for End {
    async fn run<R: Runtime>(self) -> Result<(), Failure> {
        match self {
            Self::Send { bytes, messages, delivery } => send::<R>(bytes, messages, delivery).await,
            Self::Receive => receive::<R>().await,
        }
    }
}

async fn send<R: Runtime>(bytes: usize, messages: usize, delivery: Delivery) -> Result<(), Failure> {
    let delivery = match delivery {
        Delivery::AtMostOnce => DeliveryGuarantee::AtMostOnce,
        Delivery::AtLeastOnce => DeliveryGuarantee::AtLeastOnce,
    };
    let socket = Socket::<R>::builder().delivery(delivery).build()?;
    socket.connect(ADDRESS)?;
    let payload = Bytes::from(vec![7; bytes.max(1)]);
    for _ in 0..messages {
        socket.send(payload.clone()).await?;
    }
    socket.send(Bytes::new()).await?;
    let report = socket.close().await;
    writeln!(stdout(), "not handed over: {}", report.dropped.messages)?;
    Ok(())
}

/// Counts until an empty message says that it is over.
async fn receive<R: Runtime>() -> Result<(), Failure> {
    let socket = Socket::<R>::builder().build()?;
    socket.bind(ADDRESS).await?;
    let bytes = socket.recv().await?.len();
    let start = Instant::now();
    let mut messages = 0_u64;
    while !socket.recv().await?.is_empty() {
        messages += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    writeln!(
        stdout(),
        "{messages} messages of {bytes} bytes in {seconds:.2} s: {:.0} a second",
        messages as f64 / seconds
    )?;
    socket.close().await;
    Ok(())
}
