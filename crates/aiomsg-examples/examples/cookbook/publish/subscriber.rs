//! Prints what is published.
//!
//! ```text
//! cargo run --example subscriber                                   the subscriber connects
//! cargo run --example subscriber -- --bind 127.0.0.1:25000         the subscriber binds
//! ```

#![allow(clippy::print_stderr)]

use std::io::{Write, stdout};
use std::process::ExitCode;

use aiomsg_driver::{Runtime, Socket};
use aiomsg_examples::{Failure, Program};

/// Prints what is published.
#[derive(Debug, clap::Args)]
struct Subscriber {
    /// The publisher; may be given several times.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:25000")]
    connect: Vec<String>,
    /// Accept connections here instead.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "connect")]
    bind: Option<String>,
}

fn main() -> ExitCode {
    aiomsg_examples::run::<Subscriber>()
}

impl Program for Subscriber {
    async fn run<R: Runtime>(self) -> Result<(), Failure> {
        let socket = Socket::<R>::builder().build()?;
        if let Some(address) = &self.bind {
            eprintln!("listening on {}", socket.bind(address).await?);
        } else {
            self.connect.iter().try_for_each(|address| socket.connect(address))?;
        }
        loop {
            let news = socket.recv().await?;
            writeln!(stdout(), "{}", String::from_utf8_lossy(&news))?;
        }
    }
}
