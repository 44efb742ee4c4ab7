//! What the examples share: the choice of a runtime, how a program that does not care is run on it, and how it is asked
//! to end.
//!
//! The examples themselves are in the folder `examples`, each written once, for any [`Runtime`].

mod stop;

use std::env;
use std::future::Future;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use aiomsg_driver::Runtime;
use aiomsg_smol::Smol;
use aiomsg_tokio::Tokio;
use clap::{Args, Parser, ValueEnum};
use tokio::runtime;

pub use self::stop::Stop;

/// Why a program ends early.
pub type Failure = Box<dyn std::error::Error>;

/// The runtime that a program runs on, as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum On {
    /// Tokio, on one thread.
    Tokio,
    /// Tokio, on a thread for each processor.
    TokioMulti,
    /// Smol, on this thread and the one that it starts by itself.
    Smol,
}

/// A program that does not care which runtime it is on.
pub trait Program {
    /// Runs it inside `R`, where a socket that is built finds its runtime by itself.
    fn run<R: Runtime>(self) -> impl Future<Output = Result<(), Failure>>;
}

impl On {
    /// Runs a program to its end.
    ///
    /// # Errors
    /// Those of the program, and of the system if it has no threads or descriptors for the runtime.
    pub fn run(self, program: impl Program) -> Result<(), Failure> {
        match self {
            Self::Tokio => {
                runtime::Builder::new_current_thread().enable_all().build()?.block_on(program.run::<Tokio>())
            }
            Self::TokioMulti => {
                runtime::Builder::new_multi_thread().enable_all().build()?.block_on(program.run::<Tokio>())
            }
            Self::Smol => smol::block_on(program.run::<Smol>()),
        }
    }
}

// All that the command line says. No documentation, so that clap shows that of the program.
#[derive(Debug, Parser)]
struct CommandLine<P: Args> {
    #[command(flatten)]
    program: P,
    /// What to run on.
    #[arg(long, default_value = "tokio")]
    runtime: On,
}

/// The whole of `main`: reads the arguments of a program, runs it on what `--runtime` says, and ends as [`end`] says.
pub fn run<P: Program + Args>() -> ExitCode {
    let CommandLine { program, runtime } = CommandLine::<P>::parse();
    end(runtime.run(program))
}

/// The end of `main`: tells why a program failed. If nobody reads any more what it prints, that is no failure: there is
/// nothing to tell, and nobody to tell it to.
pub fn end(result: Result<(), Failure>) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    if failure.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    let name = env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let name = name.file_stem().unwrap_or_default().to_string_lossy();
    // Nothing can be done about a standard error that is gone.
    let _ = writeln!(io::stderr().lock(), "{name}: {failure}");
    ExitCode::FAILURE
}

/// The address of a host that may be named with a port of its own: `host` or `host:port`, an IPv6 address in brackets.
pub fn with_port(host: &str, port: u16) -> String {
    if host.contains(':') && !host.ends_with(']') { host.to_owned() } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_keeps_the_port_that_it_has() {
        for (host, address) in [
            ("px1.example", "px1.example:25001"),
            ("px1.example:1", "px1.example:1"),
            ("[::1]", "[::1]:25001"),
            ("[::1]:1", "[::1]:1"),
        ] {
            assert_eq!(with_port(host, 25_001), address);
        }
    }
}
