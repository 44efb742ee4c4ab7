//! What is said on the standard streams: results on the output, everything else on the error stream.

use std::fmt::{self, Display};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tracing_subscriber::filter::LevelFilter;

use crate::failure::Failure;

/// How much is said, and in which form. Every command has these.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Write results and notes as JSON, one object on a line.
    #[arg(long, global = true)]
    json: bool,
    /// Say nothing on standard error but why the command failed.
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Show the log of the library on standard error: peers that come and go, attempts to connect, losses. Twice for all
    /// that there is.
    #[arg(long, short, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
}

/// The standard streams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Console {
    json: bool,
    quiet: bool,
}

/// Something that is said in words; machines go by the name of the event.
#[derive(Serialize)]
pub(crate) struct Remark {
    pub(crate) event: &'static str,
    pub(crate) text: String,
}

impl Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Console {
    pub(crate) fn new(OutputArgs { json, quiet, verbose }: OutputArgs) -> Self {
        let level = match verbose {
            0 if quiet => LevelFilter::ERROR,
            0 => LevelFilter::WARN,
            1 => LevelFilter::DEBUG,
            2.. => LevelFilter::TRACE,
        };
        tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr).init();
        Self { json, quiet }
    }

    /// Whether results are for machines.
    pub(crate) const fn is_json(self) -> bool {
        self.json
    }

    /// Writes a result to the output.
    pub(crate) fn print(self, result: &(impl Display + Serialize)) -> Result<(), Failure> {
        let mut line = self.line(result).into_bytes();
        line.push(b'\n');
        let mut out = io::stdout().lock();
        out.write_all(&line)?;
        Ok(out.flush()?)
    }

    /// Tells what happens on the side.
    pub(crate) fn note(self, note: &(impl Display + Serialize)) {
        if !self.quiet {
            tell(&self.line(note));
        }
    }

    /// Tells why a command failed.
    pub(crate) fn fail(self, failure: &Failure) {
        if let Some(text) = failure.text() {
            let text = if self.json { text } else { format!("aiomsg: {text}") };
            tell(&self.line(&Remark { event: "failed", text }));
        }
    }

    /// A result or a note, as a line without its end.
    pub(crate) fn line(self, said: &(impl Display + Serialize)) -> String {
        if self.json { to_json(said) } else { said.to_string() }
    }

    /// A bar for work of so many steps, seen only where somebody looks.
    pub(crate) fn progress(self, steps: u64, what: &'static str) -> ProgressBar {
        let seen = io::stderr().is_terminal() && !self.quiet && !self.json;
        let target = if seen { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}");
        let bar = ProgressBar::with_draw_target(Some(steps), target).with_message(what);
        match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }
    }
}

fn to_json(said: &impl Serialize) -> String {
    // What is said here consists of numbers and text only, which cannot fail.
    serde_json::to_string(said).unwrap_or_default()
}

fn tell(line: &str) {
    // Nothing can be done about a standard error that is gone.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// A number a second, over a span that may be empty.
pub(crate) fn rate(count: usize, span: Duration) -> f64 {
    let seconds = span.as_secs_f64();
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// A number with a unit that keeps it short.
pub(crate) fn short(number: f64) -> String {
    match number {
        number if number >= 1e9 => format!("{:.2} G", number / 1e9),
        number if number >= 1e6 => format!("{:.2} M", number / 1e6),
        number if number >= 1e3 => format!("{:.1} k", number / 1e3),
        number => format!("{number:.0} "),
    }
}
