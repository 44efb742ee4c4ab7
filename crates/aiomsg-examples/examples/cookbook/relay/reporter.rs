//! Sends reports to the relay, and prints its answers.
//!
//! ```text
//! cargo run --example reporter -- --name kitchen
//! ```

#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use aiomsg_driver::{Runtime, Socket};
use aiomsg_examples::{Failure, Program};

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
        socket.runtime().spawn(print_answers(socket.clone()));
        for id in 1_u64.. {
            socket.send(format!("{id}\0{} {id}", self.name)).await?;
            socket.runtime().sleep(*self.period).await;
        }
        Ok(())
    }
}

/// The answers come in their own time. Which report one belongs to is told by its id.
async fn print_answers<R: Runtime>(socket: Socket<R>) {
    while let Ok(answer) = socket.recv().await {
        println!("{}", String::from_utf8_lossy(&answer).replace('\0', ": "));
    }
}
