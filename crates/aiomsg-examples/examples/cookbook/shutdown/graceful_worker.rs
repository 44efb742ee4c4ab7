//! Works until it is told to stop, and then ends with the job that it has begun.
//!
//! ```text
//! cargo run --example graceful_worker         stop it with Ctrl-C
//! ```

#![allow(clippy::print_stderr)]

use std::io::{Write, stdout};
use std::process::ExitCode;

use aiomsg_driver::{Acknowledge, Runtime, Socket};
use aiomsg_examples::{Failure, Program, Stop};

/// Works until it is told to stop, and then ends with the job that it has begun.
#[derive(Debug, clap::Args)]
struct GracefulWorker {
    /// The creator; may be given several times.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:25001")]
    connect: Vec<String>,
    /// How long the work on a job takes.
    #[arg(long, default_value = "1s")]
    work: humantime::Duration,
}

fn main() -> ExitCode {
    aiomsg_examples::run::<GracefulWorker>()
}

impl Program for GracefulWorker {
    async fn run<R: Runtime>(self) -> Result<(), Failure> {
        let mut stop = Stop::new()?;
        let socket = Socket::<R>::builder().acknowledge(Acknowledge::Manual).build()?;
        for creator in &self.connect {
            socket.connect(creator)?;
        }
        let mut done = 0;
        // A signal ends the wait for a job, not the work on one.
        while let Some(job) = stop.unless(socket.recv_message()).await {
            let job = job?;
            let name = String::from_utf8_lossy(job.payload()).into_owned();
            writeln!(stdout(), "working on {name}")?;
            socket.runtime().sleep(*self.work).await;
            writeln!(stdout(), "done with {name}")?;
            job.acknowledge();
            done += 1;
        }
        // Sends what acknowledgements are due. A job that has come meanwhile goes to another worker.
        socket.close().await;
        eprintln!("stopped after {done} jobs");
        Ok(())
    }
}
