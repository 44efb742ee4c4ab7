//! What was measured, for people and for machines.

use std::fmt::Write;

use serde::Serialize;

use crate::ends::Measured;

/// The library that all others are compared with.
const REFERENCE: &str = "Zmq";

/// One measurement.
#[derive(Debug, Serialize)]
pub struct Sample {
    pub case: String,
    pub library: String,
    pub round: usize,
    /// Nothing if it failed.
    pub measured: Option<Measured>,
}

#[derive(Debug, Serialize)]
pub struct Report {
    rounds: usize,
    seconds: f64,
    samples: Vec<Sample>,
}

impl Report {
    pub fn new(rounds: usize, seconds: f64) -> Self {
        Self { rounds, seconds, samples: Vec::new() }
    }

    pub fn add(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    /// Whether a library of ours came to no result.
    pub fn we_failed(&self) -> bool {
        self.samples.iter().any(|sample| sample.measured.is_none() && sample.library.starts_with("Aiomsg"))
    }

    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and names")
    }

    /// A table for each case: medians with the least and the most of all rounds, and the medians of the ratios to libzmq
    /// and to the raw stream, each of one round.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for case in names(self.samples.iter().map(|sample| &sample.case)) {
            let mine: Vec<&Sample> = self.samples.iter().filter(|sample| sample.case == case).collect();
            let round_trip =
                mine.iter().any(|sample| matches!(sample.measured, Some(Measured::RoundTrip { .. })));
            let head = if round_trip {
                "| p50 µs | p99 µs | p99.9 µs | p50 to raw | p99 to raw |\n|---|---|---|---|---|---|"
            } else {
                "| messages a second | to libzmq | to raw | lost |\n|---|---|---|---|---|"
            };
            let _ = writeln!(text, "\n**{case}**\n\n| {head}");
            for library in names(mine.iter().map(|sample| &sample.library)) {
                let row =
                    if round_trip { self.round_trips(&case, &library) } else { self.rates(&case, &library) };
                let _ = writeln!(text, "| {library} | {row} |");
            }
        }
        text
    }

    fn rates(&self, case: &str, library: &str) -> String {
        let rates = self.values(case, library, rate);
        let lost: u64 = self
            .values(case, library, |measured| match measured {
                Measured::Rate { lost, .. } => Some(lost as f64),
                Measured::RoundTrip { .. } => None,
            })
            .iter()
            .map(|(_, lost)| *lost as u64)
            .sum();
        let failed = self.rounds - rates.len();
        let ratio = |to: &str| show(self.ratio(case, library, to, rate), 2);
        let lost = if failed > 0 { format!("{lost}, {failed} runs failed") } else { lost.to_string() };
        format!("{} | {} | {} | {lost}", spread(&rates), ratio(REFERENCE), ratio("Raw"))
    }

    fn round_trips(&self, case: &str, library: &str) -> String {
        let of = |pick: fn(Measured) -> Option<f64>| show(median(self.values(case, library, pick)), 1);
        let ratio = |pick| show(self.ratio(case, library, "Raw", pick), 2);
        format!("{} | {} | {} | {} | {}", of(p50), of(p99), of(p999), ratio(p50), ratio(p99))
    }

    /// What a library measured, by round.
    fn values(&self, case: &str, library: &str, pick: fn(Measured) -> Option<f64>) -> Vec<(usize, f64)> {
        self.samples
            .iter()
            .filter(|sample| sample.case == case && sample.library == library)
            .filter_map(|sample| Some((sample.round, pick(sample.measured?)?)))
            .collect()
    }

    fn ratio(&self, case: &str, library: &str, to: &str, pick: fn(Measured) -> Option<f64>) -> Option<f64> {
        let reference = self.values(case, to, pick);
        let ratios = self.values(case, library, pick).into_iter().filter_map(|(round, value)| {
            let (_, reference) = reference.iter().find(|(of, _)| *of == round)?;
            Some((round, value / reference))
        });
        median(ratios.collect())
    }
}

fn rate(measured: Measured) -> Option<f64> {
    match measured {
        Measured::Rate { messages_per_second, .. } => Some(messages_per_second),
        Measured::RoundTrip { .. } => None,
    }
}

fn p50(measured: Measured) -> Option<f64> {
    match measured {
        Measured::RoundTrip { p50_us, .. } => Some(p50_us),
        Measured::Rate { .. } => None,
    }
}

fn p99(measured: Measured) -> Option<f64> {
    match measured {
        Measured::RoundTrip { p99_us, .. } => Some(p99_us),
        Measured::Rate { .. } => None,
    }
}

fn p999(measured: Measured) -> Option<f64> {
    match measured {
        Measured::RoundTrip { p999_us, .. } => Some(p999_us),
        Measured::Rate { .. } => None,
    }
}

/// Each name once, in the order in which they first come.
fn names<'a>(all: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in all {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn median(values: Vec<(usize, f64)>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().map(|(_, value)| value).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn spread(values: &[(usize, f64)]) -> String {
    let least = values.iter().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
    let most = values.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    match median(values.to_vec()) {
        Some(median) => format!("{} ({} to {})", count(median), count(least), count(most)),
        None => "-".into(),
    }
}

fn count(value: f64) -> String {
    if value >= 1e6 { format!("{:.2} M", value / 1e6) } else { format!("{:.1} k", value / 1e3) }
}

fn show(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.digits$}"))
}
