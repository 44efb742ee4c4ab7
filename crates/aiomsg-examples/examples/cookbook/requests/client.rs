//! Asks questions, one after the other, and prints the answers.
//!
//! ```text
//! cargo run --example client -- "is anybody there?" "and now?"
//! ```

#![allow(clippy::print_stderr)]

use std::io::{Write, stdout};
use std::process::ExitCode;

use aiomsg_driver::{Bytes, Closed, Runtime, Socket};
use aiomsg_examples::{Failure, Program};

/// Asks questions, one after the other, and prints the answers.
#[derive(Debug, clap::Args)]
struct Client {
    /// A broker; may be given several times, and they are asked in turn.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:25001")]
    connect: Vec<String>,
    /// How long to wait for an answer before asking again.
    #[arg(long, default_value = "10s")]
    patience: humantime::Duration,
    /// What to ask.
    #[arg(required = true)]
    questions: Vec<String>,
}

fn main() -> ExitCode {
    aiomsg_examples::run::<Client>()
}

impl Program for Client {
    async fn run<R: Runtime>(self) -> Result<(), Failure> {
        let socket = Socket::<R>::builder().build()?;
        for broker in &self.connect {
            socket.connect(broker)?;
        }
        for (number, question) in self.questions.iter().enumerate() {
            let answer = self.ask(&socket, number, question).await?;
            writeln!(stdout(), "{}", String::from_utf8_lossy(&answer))?;
        }
        socket.close().await;
        Ok(())
    }
}

impl Client {
    /// Asks until there is an answer. To ask again may have the work done twice, so it has to bear that.
    async fn ask<R: Runtime>(
        &self,
        socket: &Socket<R>,
        number: usize,
        question: &str,
    ) -> Result<Bytes, Failure> {
        let head = format!("{number}\0");
        loop {
            // Without a broker nothing is sent, or a copy for each time that we asked would wait for one.
            socket.wait_for_peers(1).await?;
            socket.send(format!("{head}{question}")).await?;
            let answer = answer(socket, head.as_bytes());
            if let Some(answer) = socket.runtime().timeout(*self.patience, answer).await {
                return Ok(answer?);
            }
            eprintln!("no answer to {question:?} for {}, asking again", self.patience);
        }
    }
}

/// The answer that begins with `head`. A late one, to an earlier question that was asked twice, is passed over.
async fn answer<R: Runtime>(socket: &Socket<R>, head: &[u8]) -> Result<Bytes, Closed> {
    loop {
        let message = socket.recv().await?;
        if message.starts_with(head) {
            return Ok(message.slice(head.len()..));
        }
    }
}
