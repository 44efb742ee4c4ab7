//! Takes jobs from every creator that it is told of.
//!
//! ```text
//! cargo run --example worker
//! cargo run --example worker -- --connect a.jobcreator.example:25001 --connect b.jobcreator.example:25001
//! ```

use std::io::{Write, stdout};
use std::process::ExitCode;

use aiomsg_driver::{Runtime, Socket};
use aiomsg_examples::{Failure, Program};

/// Takes jobs from every creator that it is told of.
#[derive(Debug, clap::Args)]
struct Worker {
    /// A creator; may be given several times.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:25001")]
    connect: Vec<String>,
}

fn main() -> ExitCode {
    aiomsg_examples::run::<Worker>()
}

impl Program for Worker {
    async fn run<R: Runtime>(self) -> Result<(), Failure> {
        let socket = Socket::<R>::builder().build()?;
        for creator in &self.connect {
            socket.connect(creator)?;
        }
        loop {
            let job = socket.recv().await?;
            writeln!(stdout(), "{}", String::from_utf8_lossy(&job))?;
        }
    }
}
