//! Sends news to everybody who is there.
//!
//! ```text
//! cargo run --example publisher                                    the publisher binds
//! cargo run --example publisher -- --connect 127.0.0.1:25000       the publisher connects
//! ```

#![allow(clippy::print_stderr)]

use std::process::ExitCode;

use aiomsg_driver::{Runtime, SendMode, Socket};
use aiomsg_examples::{Failure, Program};

/// Sends news to everybody who is there.
#[derive(Debug, clap::Args)]
struct Publisher {
    /// Where to accept connections.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:25000")]
    bind: String,
    /// Connect to these instead; may be given several times.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "bind")]
    connect: Vec<String>,
    /// What the messages say, before their number.
    #[arg(long, default_value = "News!")]
    news: String,
    /// The time between two messages.
    #[arg(long, default_value = "1s")]
    period: humantime::Duration,
}

fn main() -> ExitCode {
    aiomsg_examples::run::<Publisher>()
}

impl Program for Publisher {
    async fn run<R: Runtime>(self) -> Result<(), Failure> {
        let socket = Socket::<R>::builder().send_mode(SendMode::Publish).build()?;
        if self.connect.is_empty() {
            eprintln!("listening on {}", socket.bind(&self.bind).await?);
        } else {
            self.connect.iter().try_for_each(|address| socket.connect(address))?;
        }
        for number in 1_u64.. {
            socket.send(format!("{} {number}", self.news)).await?;
            socket.runtime().sleep(*self.period).await;
        }
        Ok(())
    }
}
