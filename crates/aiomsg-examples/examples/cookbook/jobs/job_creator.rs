//! Creates jobs, and gives each to one of the workers that are there.
//!
//! ```text
//! cargo run --example job_creator
//! cargo run --example worker                  as many as you like, at any time
//! ```

#![allow(clippy::print_stderr)]

use std::process::ExitCode;

use aiomsg_driver::{Receive, Runtime, SendMode, Socket};
use aiomsg_examples::{Failure, Program};

/// Creates jobs, and gives each to one of the workers that are there.
#[derive(Debug, clap::Args)]
struct JobCreator {
    /// Where to accept workers.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:25001")]
    bind: String,
    /// What its jobs are called, before their number.
    #[arg(long, default_value = "job")]
    name: String,
    /// The time between two jobs.
    #[arg(long, default_value = "1s")]
    period: humantime::Duration,
}

fn main() -> ExitCode {
    aiomsg_examples::run::<JobCreator>()
}

impl Program for JobCreator {
    async fn run<R: Runtime>(self) -> Result<(), Failure> {
        let socket =
            Socket::<R>::builder().send_mode(SendMode::RoundRobin).receive(Receive::Discard).build()?;
        eprintln!("listening on {}", socket.bind(&self.bind).await?);
        for number in 1_u64.. {
            socket.send(format!("{} {number}", self.name)).await?;
            socket.runtime().sleep(*self.period).await;
        }
        Ok(())
    }
}
