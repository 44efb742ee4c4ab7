//! What was measured, for people and for machines.

use std::fmt::{self, Write};
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::measured::{Measured, Metric};

/// The library that all others are compared with.
pub const LIBZMQ: &str = "Zmq";
const RAW: &str = "Raw";

/// What has to be known to read the tables.
const NOTES: &str = "\
Socket buffers are those that the system gives, for all. Bounds are those that each library comes with (aiomsg: 65,536
messages or 64 MiB, in the fan-out 1,024 or 256 KiB for each subscriber and 128 KiB of these unsent in the system; libzmq,
omq: 1,000 messages each way; rzmq: 256; zeromq: 100,000 to send; monocoque: 64 KiB; Python: none to send), but for libzmq in
the fan-out, which has none there. Nothing may be dropped: senders wait when a bound is reached, but for zeromq in the
fan-out, which cannot be told to; what the fan-out loses is counted. A ratio is the median of those of each round; in
brackets are the least and the most.";

/// One measurement.
#[derive(Debug, Deserialize, Serialize)]
pub struct Sample {
    pub case: String,
    pub library: String,
    pub round: usize,
    /// Nothing if it failed.
    pub measured: Option<Measured>,
}

#[derive(Debug, Deserialize, Serialize)]
pub struct Report {
    /// Where it was measured.
    machine: String,
    rounds: usize,
    seconds: f64,
    samples: Vec<Sample>,
}

/// Prints the tables of an earlier run.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What `compare --json` has written.
    file: PathBuf,
}

pub fn run(arguments: &Arguments) {
    print!("{}", Report::read(&arguments.file).table());
}

/// The median of some figures, the least, and the most.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        Some(Self { median: values[values.len() / 2], least, most })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} to {})", count(self.median), count(self.least), count(self.most))
    }
}

/// A column of the tables of those cases that measure `of`.
struct Column {
    head: &'static str,
    of: Metric,
    shows: Shows,
}

enum Shows {
    Spread,
    Median,
    /// Of all rounds together.
    Sum,
    /// To this library.
    Ratio(&'static str),
}

const fn column(head: &'static str, of: Metric, shows: Shows) -> Column {
    Column { head, of, shows }
}

const COLUMNS: &[Column] = &[
    column("messages a second", Metric::Rate, Shows::Spread),
    column("to libzmq", Metric::Rate, Shows::Ratio(LIBZMQ)),
    column("to raw", Metric::Rate, Shows::Ratio(RAW)),
    column("lost", Metric::Lost, Shows::Sum),
    column("p50 µs", Metric::P50, Shows::Median),
    column("p99 µs", Metric::P99, Shows::Median),
    column("p99.9 µs", Metric::P999, Shows::Median),
    column("p50 to libzmq", Metric::P50, Shows::Ratio(LIBZMQ)),
    column("p50 to raw", Metric::P50, Shows::Ratio(RAW)),
    column("p99 to raw", Metric::P99, Shows::Ratio(RAW)),
    column("bytes each", Metric::Memory, Shows::Spread),
    column("to libzmq", Metric::Memory, Shows::Ratio(LIBZMQ)),
    column("CPU, ms a second", Metric::Cpu, Shows::Spread),
    column("to libzmq", Metric::Cpu, Shows::Ratio(LIBZMQ)),
    column("ms", Metric::Reconnect, Shows::Spread),
    column("to libzmq", Metric::Reconnect, Shows::Ratio(LIBZMQ)),
];

impl Report {
    pub fn new(rounds: usize, seconds: f64) -> Self {
        Self { machine: machine(), rounds, seconds, samples: Vec::new() }
    }

    /// What an earlier run has written.
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub fn write(&self, path: &Path) {
        let text = serde_json::to_string_pretty(self).expect("numbers and names");
        fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    pub fn add(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    /// Whether a library of ours came to no result.
    pub fn we_failed(&self) -> bool {
        self.samples.iter().any(|sample| sample.measured.is_none() && sample.library.starts_with("Aiomsg"))
    }

    /// What has to be known of all tables, and a table for each case.
    pub fn table(&self) -> String {
        let mut text =
            format!("{} rounds of {} s on {}.\n\n{NOTES}\n", self.rounds, self.seconds, self.machine);
        for case in self.cases() {
            let columns: Vec<&Column> = COLUMNS.iter().filter(|column| self.has(case, column.of)).collect();
            let heads: String = columns.iter().map(|column| format!(" {} |", column.head)).collect();
            let lines = "|---".repeat(columns.len() + 2);
            let _ = writeln!(text, "\n**{case}**\n\n| |{heads} failed rounds |\n{lines}|");
            for library in self.libraries(case) {
                let cells: String =
                    columns.iter().map(|column| format!(" {} |", self.cell(case, library, column))).collect();
                let tried: Vec<&Sample> = self.samples(case, library).collect();
                let failed = tried.iter().filter(|sample| sample.measured.is_none()).count();
                let _ = writeln!(text, "| {library} |{cells} {failed} of {} |", tried.len());
            }
        }
        text
    }

    fn cell(&self, case: &str, library: &str, column: &Column) -> String {
        let values = self.values(case, library, column.of).map(|(_, value)| value);
        let shown = match column.shows {
            Shows::Spread => Spread::of(values.collect()).map(|spread| spread.to_string()),
            Shows::Median => Spread::of(values.collect()).map(|spread| format!("{:.1}", spread.median)),
            Shows::Sum => values.reduce(|sum, value| sum + value).map(|sum| sum.to_string()),
            Shows::Ratio(to) => {
                self.ratio(case, library, to, column.of).map(|spread| format!("{:.2}", spread.median))
            }
        };
        shown.unwrap_or_else(|| "-".into())
    }

    /// All cases, in the order in which they were played.
    pub fn cases(&self) -> Vec<&str> {
        names(self.samples.iter().map(|sample| &sample.case))
    }

    /// Those that have played a case.
    pub fn libraries(&self, case: &str) -> Vec<&str> {
        names(self.samples.iter().filter(|sample| sample.case == case).map(|sample| &sample.library))
    }

    /// How a library does in comparison with another, which has to have done it in the same round.
    pub fn ratio(&self, case: &str, library: &str, to: &str, of: Metric) -> Option<Spread> {
        let ratios = self.values(case, library, of).filter_map(|(round, value)| {
            let (_, reference) = self.values(case, to, of).find(|(other, _)| *other == round)?;
            Some(value / reference)
        });
        Spread::of(ratios.collect())
    }

    fn has(&self, case: &str, metric: Metric) -> bool {
        let mut mine = self.samples.iter().filter(|sample| sample.case == case);
        mine.any(|sample| sample.measured.as_ref().is_some_and(|measured| measured.contains_key(&metric)))
    }

    fn samples(&self, case: &str, library: &str) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.case == case && sample.library == library)
    }

    /// What a library measured, by round.
    fn values(&self, case: &str, library: &str, metric: Metric) -> impl Iterator<Item = (usize, f64)> {
        self.samples(case, library)
            .filter_map(move |sample| Some((sample.round, *sample.measured.as_ref()?.get(&metric)?)))
    }
}

/// The processor, how many cores it has, and the system.
fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let name = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let name = name.map_or("a processor without a name", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores of {name}, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}

/// Each name once, in the order in which they first come.
fn names<'a>(all: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for name in all {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names
}

fn count(value: f64) -> String {
    match value {
        1e6.. => format!("{:.2} M", value / 1e6),
        1e3.. => format!("{:.1} k", value / 1e3),
        _ => format!("{value:.1}"),
    }
}
