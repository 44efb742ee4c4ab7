//! A runtime that aiomsg knows nothing of: an executor and a reactor of one thread, written by hand on mio, and an echo
//! server that they serve.
//!
//! ```text
//! cargo run --example custom_runtime -- --bind 127.0.0.1:25000
//! ```
//!
//! `executor` runs tasks and asks the system for news; `net` is all that aiomsg wants of a runtime. The rest of the socket
//! is the same for all runtimes. Ctrl-C ends it orderly, and so do `--messages` echoes.

#![allow(clippy::print_stderr)]

mod executor;
mod net;

use std::future::{Future, poll_fn};
use std::io::{self, Write};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use aiomsg_driver::{Builder, Runtime, Socket};
use clap::Parser;

use self::executor::Mini;

/// How long an echo may wait for its recipient to read.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends every message back to its sender.
#[derive(Debug, Parser)]
struct Args {
    /// Where to accept connections; port 0 is any free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:25000")]
    bind: String,
    /// Stop after this many echoes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    messages: Option<u64>,
}

fn main() -> ExitCode {
    match Mini::start().and_then(|(runtime, poll)| runtime.block_on(poll, echo(&runtime, Args::parse()))?) {
        Ok(summary) => {
            let _ = writeln!(io::stdout(), "{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("custom_runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn echo(runtime: &Mini, args: Args) -> io::Result<String> {
    let socket: Socket<Mini> =
        Builder::default().runtime(runtime.clone()).build().map_err(io::Error::other)?;
    let address = socket
        .bind(&args.bind)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", args.bind)))?;
    let _ = writeln!(io::stdout(), "listening on {address}");
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, waker) = (stop.clone(), poll_fn(|cx| Poll::Ready(cx.waker().clone())).await);
    let handler = move || {
        stopped.store(true, Ordering::Release);
        waker.wake_by_ref();
    };
    ctrlc::set_handler(handler).map_err(io::Error::other)?;
    let mut echoed = 0;
    while args.messages != Some(echoed) {
        let mut next = pin!(socket.recv_from());
        let received = poll_fn(|cx| {
            if stop.load(Ordering::Acquire) {
                Poll::Ready(None)
            } else {
                next.as_mut().poll(cx).map(Result::ok)
            }
        });
        let Some(received) = received.await else { break };
        let sending = socket.send_to(received.identity, received.payload);
        match runtime.timeout(PATIENCE, sending).await {
            Some(Ok(())) => echoed += 1,
            // It has left, and not come back in time.
            Some(Err(_)) => {}
            // Who does not read must not keep the others waiting.
            None => drop(socket.disconnect_peer(received.identity)),
        }
    }
    let report = socket.close().await;
    Ok(format!("echoed {echoed} messages; {} were not handed over", report.dropped.messages))
}
