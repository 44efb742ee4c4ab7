//! Takes jobs from every proxy. Start as many as you like.
//!
//! ```text
//! export PROXY_HOSTNAMES="px1.jobcreator.example;px2.jobcreator.example;px3.jobcreator.example"
//! cargo run --example scaled_worker
//! ```

use std::io::{Write, stdout};
use std::process::ExitCode;

use aiomsg_driver::{Runtime, Socket};
use aiomsg_examples::{Failure, Program, with_port};

/// Takes jobs from every proxy.
#[derive(Debug, clap::Args)]
struct ScaledWorker {
    /// The proxies, separated by semicolons. A port may follow each; it is 25002 otherwise.
    #[arg(
        long,
        value_name = "HOSTS",
        env = "PROXY_HOSTNAMES",
        value_delimiter = ';',
        default_value = "127.0.0.1"
    )]
    proxies: Vec<String>,
}

fn main() -> ExitCode {
    aiomsg_examples::run::<ScaledWorker>()
}

impl Program for ScaledWorker {
    async fn run<R: Runtime>(self) -> Result<(), Failure> {
        let socket = Socket::<R>::builder().build()?;
        for proxy in &self.proxies {
            socket.connect(with_port(proxy, 25002))?;
        }
        loop {
            let job = socket.recv().await?;
            writeln!(stdout(), "{}", String::from_utf8_lossy(&job))?;
        }
    }
}
