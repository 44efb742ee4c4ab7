//! How fast aiomsg is, beside its peers and by itself.
//!
//! `compare` measures all that were built in, side by side. `core` works the protocol core alone, for who counts
//! instructions: see `.ci/instructions`.

mod compare;
mod core;
mod ends;
mod libraries;
mod library;
mod report;

use clap::{Parser, Subcommand};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

#[derive(Debug, Parser)]
#[command(about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures all libraries that were built in, side by side in one run.
    Compare(compare::Arguments),
    /// Works the protocol core alone.
    Core(core::Arguments),
    /// One process of a comparison; the program starts these itself.
    #[command(hide = true)]
    End(ends::Arguments),
}

fn main() {
    match Arguments::parse().command {
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Core(arguments) => core::run(&arguments, || MEMORY.current_usage()),
        Command::End(arguments) => ends::run(&arguments),
    }
}
