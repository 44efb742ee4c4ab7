//! How many messages a second one socket sends and another receives, as two processes on this machine.
//!
//! ```text
//! cargo run --release --example throughput -- receive
//! cargo run --release --example throughput -- send 16 20000000
//! cargo run --release --example throughput -- send 16 5000000 at-least-once
//! ```

#![allow(clippy::print_stdout)]

use std::time::Instant;

use aiomsg_tokio::{Bytes, DeliveryGuarantee, Socket};

const ADDRESS: &str = "127.0.0.1:25500";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let number = |at: usize, default| args.get(at).map_or(Ok(default), |text| text.parse::<usize>());
    match args.get(1).map(String::as_str) {
        Some("send") => send(number(2, 16)?, number(3, 10_000_000)?, args.get(4).is_some()).await,
        Some("receive") => receive().await,
        _ => Err("expected `send [BYTES] [MESSAGES]` or `receive`".into()),
    }
}

async fn send(bytes: usize, messages: usize, acknowledged: bool) -> Result<(), Box<dyn std::error::Error>> {
    let delivery = if acknowledged { DeliveryGuarantee::AtLeastOnce } else { DeliveryGuarantee::AtMostOnce };
    let socket = Socket::builder().delivery(delivery).build()?;
    socket.connect(ADDRESS)?;
    let payload = Bytes::from(vec![7; bytes.max(1)]);
    for _ in 0..messages {
        socket.send(payload.clone()).await?;
    }
    socket.send(Bytes::new()).await?;
    let report = socket.close().await;
    println!("not handed over: {}", report.dropped.messages);
    Ok(())
}

/// Counts until an empty message says that it is over.
async fn receive() -> Result<(), Box<dyn std::error::Error>> {
    let socket = Socket::builder().build()?;
    socket.bind(ADDRESS).await?;
    let bytes = socket.recv().await?.len();
    let start = Instant::now();
    let mut messages = 0_u64;
    while !socket.recv().await?.is_empty() {
        messages += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{messages} messages of {bytes} bytes in {seconds:.2} s: {:.0} a second",
        messages as f64 / seconds
    );
    socket.close().await;
    Ok(())
}
