//! Sends reports to the relay, and prints its answers.
//!
//! ```text
//! cargo run --example reporter -- --name kitchen
//! ```

use std::io::{Write, stdout};
use std::process::ExitCode;

use aiomsg_driver::{Runtime, Socket};
use aiomsg_examples::{Failure, Program};
use futures_lite::future::or;

/// Sends reports to the relay, and prints its answers.
#[derive(Debug, clap::Args)]
struct Reporter {
    /// The relay.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:25000")]
    connect: String,
    /// What its reports begin with.
    #[arg(long, default_value = "report")]
    name: String,
    /// The time between two reports.
    #[arg(long, default_value = "1s")]
    period: humantime::Duration,
}

fn main() -> ExitCode {
    aiomsg_examples::run::<Reporter>()
}

impl Program for Reporter {
    async fn run<R: Runtime>(self) -> Result<(), Failure> {
        let socket = Socket::<R>::builder().build()?;
        socket.connect(&self.connect)?;
        // Both at once: no report waits for the answer to the one before.
        or(self.send_reports(&socket), print_answers(&socket)).await
    }
}

impl Reporter {
    async fn send_reports<R: Runtime>(&self, socket: &Socket<R>) -> Result<(), Failure> {
        for id in 1_u64.. {
            socket.send(format!("{id}\0{} {id}", self.name)).await?;
            socket.runtime().sleep(*self.period).await;
        }
        Ok(())
    }
}

/// The answers come in their own time. Which report one belongs to is told by its id.
async fn print_answers<R: Runtime>(socket: &Socket<R>) -> Result<(), Failure> {
    loop {
        let answer = socket.recv().await?;
        writeln!(stdout(), "{}", String::from_utf8_lossy(&answer).replace('\0', ": "))?;
    }
}
