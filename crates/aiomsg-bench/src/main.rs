//! How fast aiomsg is, beside its peers and by itself.
//!
//! `compare` measures all that were built in, side by side; `table` and `plot` show again what it has measured. `core` works the protocol core alone, for who counts
//! instructions: see `.ci/instructions`.

mod compare;
mod core;
mod ends;
mod libraries;
mod library;
mod measured;
mod plot;
mod report;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// Prints the tables of an earlier comparison.
    Table(report::Arguments),
    /// Draws an earlier comparison.
    Plot(plot::Arguments),
    /// Works the protocol core alone.
    Core(core::Arguments),
    /// One process of a comparison; the program starts these itself.
    #[command(hide = true)]
    End(ends::Arguments),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Compare(arguments) => return compare::run(&arguments),
        Command::Table(arguments) => report::run(&arguments),
        Command::Plot(arguments) => plot::run(&arguments),
        Command::Core(arguments) => core::run(&arguments),
        Command::End(arguments) => ends::run(&arguments),
    }
    ExitCode::SUCCESS
}
