//! The command line as a whole.

use std::collections::BTreeSet;
use std::io::{self, Write};

use clap::builder::FalseyValueParser;
use clap::{Arg, ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::console::OutputArgs;
use crate::failure::EXIT_CODES;
use crate::{bench, completions, echo, inspect, ping, proxy, recv, send};

/// Smart sockets from the shell: messages instead of streams, between any number of peers.
///
/// Most commands have one socket, which binds, connects, or both; a proxy has two. Lost connections are re-established,
/// and messages are buffered while no peer is connected. It interoperates with the aiomsg packages of Python and other
/// languages, those of 2026 and those of 2018 and 2019.
#[derive(Debug, Parser)]
#[command(name = "aiomsg", version, after_long_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Proxy(proxy::ProxyArgs),
    Send(send::SendArgs),
    Pub(send::PubArgs),
    #[command(visible_alias = "sub")]
    Recv(recv::RecvArgs),
    Echo(echo::EchoArgs),
    Ping(ping::PingArgs),
    Bench(bench::BenchArgs),
    Inspect(inspect::InspectArgs),
    Completions(completions::CompletionsArgs),
}

/// Reads the command line and the environment. Ends the process if they make no sense, or ask for help.
pub(crate) fn parse() -> Cli {
    let parsed = command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.unwrap_or_else(|error| {
        let _ = error.print();
        // What is wrong may not be on the command line.
        if error.use_stderr()
            && let Some(note) = variables_note()
        {
            let _ = writeln!(io::stderr(), "\n{note}");
        }
        std::process::exit(error.exit_code())
    })
}

/// Which flags the environment sets, if it sets any.
fn variables_note() -> Option<String> {
    let command = command();
    let flags = command.get_subcommands().chain([&command]).flat_map(clap::Command::get_arguments);
    let variables: BTreeSet<_> = flags
        .filter_map(|flag| flag.get_env())
        .filter(|name| std::env::var_os(name).is_some())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let names = variables.into_iter().collect::<Vec<_>>().join(", ");
    (!names.is_empty())
        .then(|| format!("note: flags are also read from the environment, where there is {names}"))
}

/// The command line, each flag with its environment variable: `AIOMSG_` and its name.
pub(crate) fn command() -> clap::Command {
    Cli::command().mut_args(with_variable).mut_subcommands(|command| command.mut_args(with_variable))
}

fn with_variable(arg: Arg) -> Arg {
    let Some(name) = arg.get_long().filter(|name| !matches!(*name, "help" | "version")) else { return arg };
    let variable = format!("AIOMSG_{}", name.to_uppercase().replace('-', "_"));
    match arg.get_action() {
        // Set to anything but 0, false, no and the like, it is on.
        ArgAction::SetTrue => arg.value_parser(FalseyValueParser::new()),
        _ => arg,
    }
    .env(variable)
    .hide_env_values(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        command().debug_assert();
    }

    #[test]
    fn every_flag_has_its_variable() {
        let mut flags = 0;
        let mut command = command();
        command.build();
        for arg in command
            .get_subcommands()
            .filter(|command| command.get_name() != "help")
            .flat_map(clap::Command::get_arguments)
        {
            let Some(name) = arg.get_long().filter(|name| *name != "help") else { continue };
            let variable = arg.get_env().unwrap_or_else(|| panic!("--{name} has no variable"));
            assert_eq!(
                variable.to_str(),
                Some(&*format!("AIOMSG_{}", name.to_uppercase().replace('-', "_")))
            );
            flags += 1;
        }
        assert!(flags > 20, "only {flags} flags were looked at");
    }
}
