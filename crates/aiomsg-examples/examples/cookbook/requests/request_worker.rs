//! Answers requests, one after the other.
//!
//! ```text
//! cargo run --example request_worker
//! ```

#![allow(clippy::print_stderr)]

use std::io::{Write, stdout};
use std::process::ExitCode;

use aiomsg_driver::{Acknowledge, Runtime, Socket};
use aiomsg_examples::{Failure, Program};

/// Answers requests, one after the other.
#[derive(Debug, clap::Args)]
struct RequestWorker {
    /// A broker; may be given several times.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:25002")]
    connect: Vec<String>,
    /// How long the work on a request takes.
    #[arg(long, default_value = "100ms")]
    work: humantime::Duration,
}

fn main() -> ExitCode {
    aiomsg_examples::run::<RequestWorker>()
}

impl Program for RequestWorker {
    async fn run<R: Runtime>(self) -> Result<(), Failure> {
        let socket = Socket::<R>::builder().acknowledge(Acknowledge::Manual).build()?;
        for broker in &self.connect {
            socket.connect(broker)?;
        }
        loop {
            let request = socket.recv_message().await?;
            let Some((head, question)) = split(request.payload()) else {
                eprintln!("not a request");
                // It would come again for ever.
                request.acknowledge();
                continue;
            };
            writeln!(stdout(), "working on {}", String::from_utf8_lossy(question))?;
            socket.runtime().sleep(*self.work).await;
            let answer = [head, &question.to_ascii_uppercase()].concat();
            match socket.send_to(request.identity(), answer).await {
                Ok(()) => request.acknowledge(),
                Err(error) => eprintln!("the broker is gone: {error}"),
            }
        }
    }
}

/// What goes back with the answer as it came, and the question. The former is the identity of the client, 16 bytes, and
/// its number of this question with a zero byte behind it.
fn split(request: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = request.get(16..)?.iter().position(|byte| *byte == 0)?;
    request.split_at_checked(16 + end + 1)
}
