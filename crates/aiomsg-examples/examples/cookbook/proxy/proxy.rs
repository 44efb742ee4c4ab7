//! Takes jobs from any number of creators, and gives each to one of any number of workers.
//!
//! ```text
//! cargo run --example proxy
//! cargo run --example scaled_creator          as many as you like, at any time
//! cargo run --example scaled_worker           as many as you like, at any time
//! ```

#![allow(clippy::print_stderr)]

use std::process::ExitCode;

use aiomsg_driver::{Receive, Runtime, SendMode, Socket};
use aiomsg_examples::{Failure, Program};

/// Takes jobs from any number of creators, and gives each to one of any number of workers.
#[derive(Debug, clap::Args)]
struct Proxy {
    /// Where to accept creators.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:25001")]
    creators: String,
    /// Where to accept workers.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:25002")]
    workers: String,
}

fn main() -> ExitCode {
    aiomsg_examples::run::<Proxy>()
}

impl Program for Proxy {
    async fn run<R: Runtime>(self) -> Result<(), Failure> {
        let creators = Socket::<R>::builder().build()?;
        let workers =
            Socket::<R>::builder().send_mode(SendMode::RoundRobin).receive(Receive::Discard).build()?;
        eprintln!("creators: listening on {}", creators.bind(&self.creators).await?);
        eprintln!("workers: listening on {}", workers.bind(&self.workers).await?);
        loop {
            // While no worker has room this waits, and so do the creators in the end.
            workers.send(creators.recv().await?).await?;
        }
    }
}
