//! `aiomsg completions`: what a shell needs to complete the command line.

use std::io;

use clap::Args;
use clap_complete::Shell;

use crate::cli;
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  aiomsg completions bash > /etc/bash_completion.d/aiomsg
  aiomsg completions zsh > \"${fpath[1]}/_aiomsg\"
  aiomsg completions fish > ~/.config/fish/completions/aiomsg.fish";

/// Print what a shell needs to complete the command line.
#[derive(Args, Clone, Copy, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// Which shell.
    shell: Shell,
}

pub(crate) fn run(CompletionsArgs { shell }: CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::command(), "aiomsg", &mut script);
    Ok(io::Write::write_all(&mut io::stdout().lock(), &script)?)
}
