//! Acknowledges a job when it is done, and not before.
//!
//! ```text
//! cargo run --example careful_worker -- --work 5s
//! ```

use std::io::{Write, stdout};
use std::process::ExitCode;

use aiomsg_driver::{Acknowledge, Runtime, Socket};
use aiomsg_examples::{Failure, Program};

/// Acknowledges a job when it is done, and not before.
#[derive(Debug, clap::Args)]
struct CarefulWorker {
    /// The creator; may be given several times.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:25001")]
    connect: Vec<String>,
    /// How long the work on a job takes.
    #[arg(long, default_value = "1s")]
    work: humantime::Duration,
}

fn main() -> ExitCode {
    aiomsg_examples::run::<CarefulWorker>()
}

impl Program for CarefulWorker {
    async fn run<R: Runtime>(self) -> Result<(), Failure> {
        let socket = Socket::<R>::builder().acknowledge(Acknowledge::Manual).build()?;
        for creator in &self.connect {
            socket.connect(creator)?;
        }
        loop {
            let job = socket.recv_message().await?;
            let name = String::from_utf8_lossy(job.payload()).into_owned();
            writeln!(stdout(), "working on {name}")?;
            socket.runtime().sleep(*self.work).await;
            writeln!(stdout(), "done with {name}")?;
            job.acknowledge();
        }
    }
}
