//! How fast aiomsg is.
//!
//! `core` works the protocol core alone, for who counts instructions: see `.ci/instructions`.

use clap::{Parser, Subcommand};
use peak_alloc::PeakAlloc;

mod core;

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
    /// Works the protocol core alone.
    Core(core::Arguments),
}

fn main() {
    match Arguments::parse().command {
        Command::Core(arguments) => core::run(&arguments, || MEMORY.current_usage()),
    }
}
