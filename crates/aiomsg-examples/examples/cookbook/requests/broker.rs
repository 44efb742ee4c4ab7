//! Gives each request to a worker that is free, and takes the answer back to the client that asked.
//!
//! The broker keeps nothing of a request: whose it is goes with it to the worker, and comes back with the answer.
//!
//! ```text
//! cargo run --example broker
//! cargo run --example request_worker          as many as you like, at any time
//! cargo run --example client -- hello         as many as you like, at any time
//! ```

#![allow(clippy::print_stderr)]

use std::process::ExitCode;

use aiomsg_driver::{DeliveryGuarantee, Event, EventStream, Identity, Runtime, Socket};
use aiomsg_examples::{Failure, Program};
use futures_lite::future::or;

/// Gives each request to a worker that is free, and takes the answer back to the client that asked.
#[derive(Debug, clap::Args)]
struct Broker {
    /// Where to accept clients.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:25001")]
    clients: String,
    /// Where to accept workers.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:25002")]
    workers: String,
    /// How long answers are kept for a client that has left.
    #[arg(long, default_value = "10s")]
    retention: humantime::Duration,
}

fn main() -> ExitCode {
    aiomsg_examples::run::<Broker>()
}

impl Program for Broker {
    async fn run<R: Runtime>(self) -> Result<(), Failure> {
        let clients = Socket::<R>::builder().peer_retention(*self.retention).build()?;
        let workers = Socket::<R>::builder()
            // Who dies with a request has not acknowledged it, and another worker gets it.
            .delivery(DeliveryGuarantee::AtLeastOnce)
            // One at a time, so that no request waits at a busy worker while another is free.
            .window(1)
            .build()?;
        eprintln!("clients: listening on {}", clients.bind(&self.clients).await?);
        eprintln!("workers: listening on {}", workers.bind(&self.workers).await?);
        clients.runtime().spawn(report_losses(clients.events()));
        // Both at once: answers must not wait for a request to find a free worker.
        or(requests(&clients, &workers), answers(&workers, &clients)).await
    }
}

/// Gives each request to a worker, behind the identity of its client.
async fn requests<R: Runtime>(clients: &Socket<R>, workers: &Socket<R>) -> Result<(), Failure> {
    loop {
        let request = clients.recv_from().await?;
        workers.send([request.identity.as_bytes(), &request.payload[..]].concat()).await?;
    }
}

/// Takes each answer to the client whose identity it begins with.
async fn answers<R: Runtime>(workers: &Socket<R>, clients: &Socket<R>) -> Result<(), Failure> {
    loop {
        let answer = workers.recv().await?;
        let Ok(client) = Identity::try_from(answer.get(..16).unwrap_or_default()) else {
            eprintln!("an answer to nobody");
            continue;
        };
        // Not `send_to`, which may wait: one client that takes no answers would hold up all others.
        if let Err(error) = clients.try_send_to(client, answer.slice(16..)) {
            eprintln!("{client}: not answered: {error}");
        }
    }
}

async fn report_losses(mut events: EventStream) {
    while let Some(event) = events.recv().await {
        if let Event::Undeliverable { identity, dropped } = event {
            eprintln!("{identity}: gone, answers dropped: {}", dropped.messages);
        }
    }
}
