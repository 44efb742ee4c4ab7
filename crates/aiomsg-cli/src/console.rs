//! What is said on the standard streams: results on the output, everything else on the error stream.

use std::fmt::{self, Display};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde::Serialize;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

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
        let mut shown = Targets::new().with_default(level);
        if verbose == 0 {
            // Told by notes.
            shown = shown.with_target("aiomsg_driver::dials", LevelFilter::ERROR);
        }
        let log = tracing_subscriber::fmt::layer().with_writer(io::stderr);
        tracing_subscriber::registry().with(log).with(shown).init();
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

    /// How many messages there were, seen only where somebody looks; a bar, if it is known how many there will be.
    pub(crate) fn progress(self, messages: Option<u64>, what: &'static str) -> ProgressBar {
        let template = match messages {
            Some(_) => "{msg} {wide_bar} {human_pos}/{human_len} {rate} {eta}",
            None => "{msg} {human_pos} {rate}",
        };
        self.bar(messages, what, template)
    }

    /// A bar for something that takes so many steps of the same time.
    pub(crate) fn time_bar(self, steps: u64, what: &'static str) -> ProgressBar {
        self.bar(Some(steps), what, "{msg} {wide_bar} {eta}")
    }

    fn bar(self, steps: Option<u64>, what: &'static str, template: &str) -> ProgressBar {
        let seen = io::stderr().is_terminal() && !self.quiet && !self.json;
        let target = if seen { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(steps, target).with_message(what);
        match ProgressStyle::with_template(template) {
            Ok(style) => {
                bar.with_style(style.with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
                    // It is drawn again soon.
                    let _ = out.write_str(&per_second(state.per_sec(), ""));
                }))
            }
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

/// So many of something: one is not several.
pub(crate) fn counted<N: Display + PartialEq + From<u8>>(count: N, what: &str) -> String {
    let ending = if count == N::from(1) { "" } else { "s" };
    format!("{count} {what}{ending}")
}

/// That so many of something were not delivered.
pub(crate) fn not_delivered(count: usize, what: &str) -> String {
    format!("{} {} not delivered", counted(count, what), if count == 1 { "was" } else { "were" })
}

/// A rate as people read it.
pub(crate) fn per_second(rate: f64, what: &str) -> String {
    let space = if what.is_empty() { "" } else { " " };
    format!("{}{space}{what}/s", HumanCount(rate.round() as u64))
}

/// The same of bytes, with a unit that keeps it short.
pub(crate) fn bytes_per_second(rate: f64) -> String {
    match rate {
        rate if rate >= 1e9 => format!("{:.2} GB/s", rate / 1e9),
        rate if rate >= 1e6 => format!("{:.2} MB/s", rate / 1e6),
        rate if rate >= 1e3 => format!("{:.1} kB/s", rate / 1e3),
        rate => format!("{rate:.0} B/s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_for_people() {
        assert_eq!(
            [0, 1, 2].map(|count| counted(count, "message")),
            ["0 messages", "1 message", "2 messages"]
        );
        assert_eq!(
            [1, 2].map(|count| not_delivered(count, "answer")),
            ["1 answer was not delivered", "2 answers were not delivered"]
        );
        assert_eq!(per_second(1_234_567.8, "round trips"), "1,234,568 round trips/s");
        assert_eq!(per_second(0.4, ""), "0/s");
        assert_eq!([999.0, 21_050_000.0].map(bytes_per_second), ["999 B/s", "21.05 MB/s"]);
    }
}
