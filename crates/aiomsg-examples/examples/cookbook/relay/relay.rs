//! Publishes what it is sent, and tells each sender so.
//!
//! A report is an id, a zero byte, and what is to be published. The answer is the id, a zero byte, and `ok`.
//!
//! ```text
//! cargo run --example relay
//! cargo run --example subscriber -- --connect 127.0.0.1:25001
//! cargo run --example reporter
//! ```

#![allow(clippy::print_stderr)]

use std::process::ExitCode;
use std::time::Duration;

use aiomsg_driver::{Receive, Runtime, SendMode, Socket};
use aiomsg_examples::{Failure, Program};

/// Publishes what it is sent, and tells each sender so.
#[derive(Debug, clap::Args)]
struct Relay {
    /// Where to accept reporters.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:25000")]
    reporters: String,
    /// Where to accept subscribers.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:25001")]
    subscribers: String,
}

/// How long the answers to a reporter that has left are kept for its return.
const RETENTION: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    aiomsg_examples::run::<Relay>()
}

impl Program for Relay {
    async fn run<R: Runtime>(self) -> Result<(), Failure> {
        let reporters = Socket::<R>::builder().peer_retention(RETENTION).build()?;
        let subscribers =
            Socket::<R>::builder().send_mode(SendMode::Publish).receive(Receive::Discard).build()?;
        eprintln!("reporters: listening on {}", reporters.bind(&self.reporters).await?);
        eprintln!("subscribers: listening on {}", subscribers.bind(&self.subscribers).await?);
        loop {
            let report = reporters.recv_from().await?;
            let Some(end) = report.payload.iter().position(|byte| *byte == 0) else {
                eprintln!("{}: a report without an id", report.identity);
                continue;
            };
            subscribers.send(report.payload.slice(end + 1..)).await?;
            // Not `send_to`, which may wait: one who takes no answers would hold up all others.
            let answer = [&report.payload[..end], b"\0ok"].concat();
            if let Err(error) = reporters.try_send_to(report.identity, answer) {
                eprintln!("{}: not answered: {error}", report.identity);
            }
        }
    }
}
