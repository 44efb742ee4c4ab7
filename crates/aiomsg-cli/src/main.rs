//! The `aiomsg` command: everything that can be done with a smart socket, from a shell.

mod bench;
mod cli;
mod completions;
mod console;
mod echo;
mod failure;
mod input;
mod inspect;
mod intake;
mod ping;
mod probe;
mod proxy;
mod record;
mod recv;
mod send;
mod sink;
mod socket;
mod stop;

use std::process::ExitCode;

use crate::cli::Command;
use crate::console::Console;
use crate::failure::Failure;
use crate::stop::Stop;

fn main() -> ExitCode {
    let cli = cli::parse();
    let console = Console::new(cli.output);
    match run(cli.command, console) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console.fail(&failure);
            failure.exit_code()
        }
    }
}

fn run(command: Command, console: Console) -> Result<(), Failure> {
    // One thread: what little else there is to do must not cost the messages the way to another one. What may block,
    // files and terminals, has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let stop = Stop::watch()?;
        match command {
            Command::Proxy(args) => proxy::run(args, console, stop).await,
            Command::Send(args) => send::run(args, console, stop).await,
            Command::Pub(args) => send::run_pub(args, console, stop).await,
            Command::Recv(args) => recv::run(args, console, stop).await,
            Command::Echo(args) => echo::run(args, console, stop).await,
            Command::Ping(args) => ping::run(args, console, stop).await,
            Command::Bench(args) => bench::run(args, console, stop).await,
            Command::Inspect(args) => inspect::run(args, console, stop).await,
            Command::Completions(args) => completions::run(args),
        }
    });
    // A name that is still being looked up is not waited for.
    runtime.shutdown_background();
    result
}
