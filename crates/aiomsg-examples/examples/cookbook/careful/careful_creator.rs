//! Creates jobs that have to be done, and ends when all of them are.
//!
//! ```text
//! cargo run --example careful_creator
//! cargo run --example careful_worker          as many as you like; kill some
//! ```

#![allow(clippy::print_stderr)]

use std::io::{Write, stdout};
use std::process::ExitCode;

use aiomsg_driver::{DeliveryGuarantee, Receipt, Receive, Runtime, Socket};
use aiomsg_examples::{Failure, Program};

/// Creates jobs that have to be done, and ends when all of them are.
#[derive(Debug, clap::Args)]
struct CarefulCreator {
    /// Where to accept workers.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:25001")]
    bind: String,
    /// Connect to these instead, which may be proxies; may be given several times.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "bind")]
    connect: Vec<String>,
    /// How many jobs each peer may have at once: 1 for a worker, no fewer than it has workers for a proxy.
    #[arg(long, default_value_t = 1)]
    window: usize,
    /// How many jobs.
    #[arg(long, default_value_t = 10)]
    jobs: u64,
}

fn main() -> ExitCode {
    aiomsg_examples::run::<CarefulCreator>()
}

impl Program for CarefulCreator {
    async fn run<R: Runtime>(self) -> Result<(), Failure> {
        let socket = Socket::<R>::builder()
            .delivery(DeliveryGuarantee::AtLeastOnce)
            // With one at a time, no job waits at a busy worker while another is free.
            .window(self.window)
            .receive(Receive::Discard)
            .build()?;
        if self.connect.is_empty() {
            eprintln!("listening on {}", socket.bind(&self.bind).await?);
        } else {
            self.connect.iter().try_for_each(|address| socket.connect(address))?;
        }
        let mut receipts = Vec::new();
        for number in 1..=self.jobs {
            receipts.push((number, socket.send_with_receipt(format!("job {number}")).await?));
        }
        for (number, receipt) in receipts {
            match receipt.await {
                Receipt::Acknowledged { by } => writeln!(stdout(), "job {number}: done by {by}")?,
                lost => return Err(format!("job {number}: {lost:?}").into()),
            }
        }
        socket.close().await;
        Ok(())
    }
}
