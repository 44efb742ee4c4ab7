//! Passes jobs on, and acknowledges each when its worker has done so.
//!
//! ```text
//! cargo run --example careful_proxy
//! cargo run --example careful_creator -- --connect 127.0.0.1:25001 --window 100
//! cargo run --example careful_worker -- --connect 127.0.0.1:25002
//! ```

#![allow(clippy::print_stderr)]

use std::process::ExitCode;

use aiomsg_driver::{Acknowledge, DeliveryGuarantee, Receipt, Receive, Runtime, Socket};
use aiomsg_examples::{Failure, Program};

/// Passes jobs on, and acknowledges each when its worker has done so.
#[derive(Debug, clap::Args)]
struct CarefulProxy {
    /// Where to accept creators.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:25001")]
    creators: String,
    /// Where to accept workers.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:25002")]
    workers: String,
}

fn main() -> ExitCode {
    aiomsg_examples::run::<CarefulProxy>()
}

impl Program for CarefulProxy {
    async fn run<R: Runtime>(self) -> Result<(), Failure> {
        let creators = Socket::<R>::builder().acknowledge(Acknowledge::Manual).build()?;
        let workers = Socket::<R>::builder()
            .delivery(DeliveryGuarantee::AtLeastOnce)
            .window(1)
            .receive(Receive::Discard)
            .build()?;
        eprintln!("creators: listening on {}", creators.bind(&self.creators).await?);
        eprintln!("workers: listening on {}", workers.bind(&self.workers).await?);
        loop {
            let job = creators.recv_message().await?;
            // Waits when the send buffer is full, so there are never more tasks than that has messages.
            let receipt = workers.send_with_receipt(job.payload().clone()).await?;
            workers.runtime().spawn(async move {
                if let Receipt::Acknowledged { .. } = receipt.await {
                    job.acknowledge();
                }
            });
        }
    }
}
