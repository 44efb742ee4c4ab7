//! What the examples share: the choice of a runtime, and how a program that does not care is run on it.
//!
//! The examples themselves are in the folder `examples`, each written once, for any [`Runtime`].

use std::future::Future;

use aiomsg_driver::Runtime;
use aiomsg_smol::Smol;
use aiomsg_tokio::Tokio;
use clap::ValueEnum;
use tokio::runtime;

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
