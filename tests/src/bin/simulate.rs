//! Plays simulated fleets: `simulate --from 1000 --count 100000`. The first seed that fails is played again with its
//! trace, and ends the program with status 1.
#![expect(clippy::print_stdout, reason = "a command")]

use std::panic;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aiomsg_tests::simulation::{self, Summary};
use clap::Parser;

/// Plays fleets of sockets in virtual time, each from one seed, and checks all promises.
#[derive(Debug, Parser)]
struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 10_000)]
    count: u64,
    /// Plays one seed twice, with its trace, and compares both.
    #[arg(long)]
    replay: Option<u64>,
    /// Plays fleets of the driver's sockets, not of the core's.
    #[arg(long)]
    driver: bool,
    /// Threads; as many as there are processors, if not given.
    #[arg(long)]
    threads: Option<usize>,
}

/// Plays the run of a seed.
type Run = fn(u64, bool) -> Summary;

/// What all runs came to.
#[derive(Debug, Default)]
struct Total {
    runs: u64,
    accepted: usize,
    delivered: usize,
    faults: usize,
    connections: usize,
    time: Duration,
}

impl Total {
    fn add(&mut self, summary: &Summary) {
        self.runs += 1;
        self.accepted += summary.accepted;
        self.delivered += summary.delivered;
        self.faults += summary.faults;
        self.connections += summary.connections;
        self.time += summary.time;
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let run: Run = if arguments.driver { simulation::driven::run } else { simulation::run };
    if let Some(seed) = arguments.replay {
        return replay(run, seed);
    }
    let end = arguments.from.saturating_add(arguments.count);
    let (next, failed, total) =
        (AtomicU64::new(arguments.from), AtomicBool::new(false), Mutex::new(Total::default()));
    let first_failure = Mutex::new(u64::MAX);
    let started = Instant::now();
    let threads =
        arguments.threads.or_else(|| thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    panic::set_hook(Box::new(|_| {}));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || failed.load(Ordering::Relaxed) {
                        return;
                    }
                    match panic::catch_unwind(|| run(seed, false)) {
                        Ok(summary) => total.lock().expect("no panic with it").add(&summary),
                        Err(_) => {
                            failed.store(true, Ordering::Relaxed);
                            let mut first = first_failure.lock().expect("no panic with it");
                            *first = seed.min(*first);
                        }
                    }
                }
            });
        }
    });
    drop(panic::take_hook());
    let total = total.into_inner().expect("no panic with it");
    println!(
        "{} schedules in {:.0} s: {:.0} hours of virtual time, {} faults, {} connections, {} messages accepted, {} delivered",
        total.runs,
        started.elapsed().as_secs_f64(),
        total.time.as_secs_f64() / 3_600.0,
        total.faults,
        total.connections,
        total.accepted,
        total.delivered,
    );
    if !failed.into_inner() {
        return ExitCode::SUCCESS;
    }
    let seed = first_failure.into_inner().expect("no panic with it");
    println!("seed {seed} failed; this is its trace:");
    drop(panic::catch_unwind(|| run(seed, true)));
    let driver = if arguments.driver { " --driver" } else { "" };
    println!("to play it again: simulate{driver} --replay {seed}");
    ExitCode::FAILURE
}

/// Plays a seed with its trace, and once more to see that it is the same.
fn replay(run: Run, seed: u64) -> ExitCode {
    let play = |trace| panic::catch_unwind(|| run(seed, trace)).map(|summary| summary.fingerprint);
    match (play(true), play(false)) {
        (Ok(first), Ok(second)) if first == second => {
            println!("seed {seed} keeps every promise, twice the same");
            ExitCode::SUCCESS
        }
        (Ok(_), Ok(_)) => {
            println!("seed {seed} does not play the same twice");
            ExitCode::FAILURE
        }
        _ => {
            println!("seed {seed} failed");
            ExitCode::FAILURE
        }
    }
}
