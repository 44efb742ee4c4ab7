//! Creates jobs, and hands them to the proxies in turn. Start as many as you like.
//!
//! ```text
//! export PROXY_HOSTNAMES="px1.jobcreator.example;px2.jobcreator.example;px3.jobcreator.example"
//! cargo run --example scaled_creator
//! ```

use std::process::ExitCode;

use aiomsg_driver::{Receive, Runtime, SendMode, Socket};
use aiomsg_examples::{Failure, Program, with_port};

/// Creates jobs, and hands them to the proxies in turn.
#[derive(Debug, clap::Args)]
struct ScaledCreator {
    /// The proxies, separated by semicolons. A port may follow each; it is 25001 otherwise.
    #[arg(
        long,
        value_name = "HOSTS",
        env = "PROXY_HOSTNAMES",
        value_delimiter = ';',
        default_value = "127.0.0.1"
    )]
    proxies: Vec<String>,
    /// What its jobs are called, before their number.
    #[arg(long, default_value = "job")]
    name: String,
    /// The time between two jobs.
    #[arg(long, default_value = "1s")]
    period: humantime::Duration,
}

fn main() -> ExitCode {
    aiomsg_examples::run::<ScaledCreator>()
}

impl Program for ScaledCreator {
    async fn run<R: Runtime>(self) -> Result<(), Failure> {
        let socket =
            Socket::<R>::builder().send_mode(SendMode::RoundRobin).receive(Receive::Discard).build()?;
        for proxy in &self.proxies {
            socket.connect(with_port(proxy, 25001))?;
        }
        for number in 1_u64.. {
            socket.send(format!("{} {number}", self.name)).await?;
            socket.runtime().sleep(*self.period).await;
        }
        Ok(())
    }
}
