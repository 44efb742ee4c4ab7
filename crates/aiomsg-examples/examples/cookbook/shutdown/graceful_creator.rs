//! Creates jobs until it is told to stop, and hands over what is left before it ends.
//!
//! ```text
//! cargo run --example graceful_creator        stop it with Ctrl-C
//! cargo run --example graceful_worker
//! ```

#![allow(clippy::print_stderr)]

use std::io::{Write, stdout};
use std::process::ExitCode;

use aiomsg_driver::{DeliveryGuarantee, Receive, Runtime, Socket};
use aiomsg_examples::{Failure, Program, Stop};

/// Creates jobs until it is told to stop, and hands over what is left before it ends.
#[derive(Debug, clap::Args)]
struct GracefulCreator {
    /// Where to accept workers.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:25001")]
    bind: String,
    /// The time between two jobs.
    #[arg(long, default_value = "1s")]
    period: humantime::Duration,
    /// How long it may take to hand over what is left.
    #[arg(long, default_value = "10s")]
    linger: humantime::Duration,
}

fn main() -> ExitCode {
    aiomsg_examples::run::<GracefulCreator>()
}

impl Program for GracefulCreator {
    async fn run<R: Runtime>(self) -> Result<(), Failure> {
        let mut stop = Stop::new()?;
        let socket = Socket::<R>::builder()
            .delivery(DeliveryGuarantee::AtLeastOnce)
            .window(1)
            .receive(Receive::Discard)
            .build()?;
        eprintln!("listening on {}", socket.bind(&self.bind).await?);
        // A signal may come while a job waits for room: it is not accepted then, and nothing is half done.
        if let Some(failed) = stop.unless(self.create_jobs(&socket)).await {
            failed?;
        }
        eprintln!("stopping, at most for {}", self.linger);
        let report = socket.close_within(*self.linger).await;
        eprintln!("while stopping: {} jobs done", report.handed_over.messages);
        match report.dropped.messages {
            0 => Ok(()),
            lost => Err(format!("{lost} jobs are not done, or not known to be").into()),
        }
    }
}

impl GracefulCreator {
    async fn create_jobs<R: Runtime>(&self, socket: &Socket<R>) -> Result<(), Failure> {
        for number in 1_u64.. {
            socket.send(format!("job {number}")).await?;
            writeln!(stdout(), "created job {number}")?;
            socket.runtime().sleep(*self.period).await;
        }
        Ok(())
    }
}
