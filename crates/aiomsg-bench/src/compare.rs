//! Starts the processes of each case, round after round, and gathers what they measure.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::ends::{Measured, Task, back_of};
use crate::libraries;
use crate::library::Name;
use crate::report::{Report, Sample};

/// Whoever has not measured anything by then never will.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Args)]
pub struct Arguments {
    /// Rounds. In each, everything is measured once, one library after another.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each is measured.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// One short round of a few cases, to see that all works; says little.
    #[arg(long)]
    quick: bool,
    /// Only these libraries.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Name>,
    /// Only cases whose name contains this.
    #[arg(long, default_value = "")]
    case: String,
    /// Where to put all that was measured, for machines.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// A case: what its processes do, in the order in which they start. The last one measures.
pub struct Case {
    pub name: &'static str,
    pub size: usize,
    processes: &'static [Task],
    /// The processor of each process, if it is bound to one.
    processors: Option<&'static [usize]>,
    /// In a quick run, too.
    quick: bool,
}

const ONE_WAY: &[Task] = &[Task::Pull, Task::Push];
const ROUND_TRIP: &[Task] = &[Task::Answer, Task::Ask];
const fn case(name: &'static str, size: usize, processes: &'static [Task]) -> Case {
    Case { name, size, processes, processors: None, quick: true }
}

const CASES: &[Case] = &[
    case("one way, 16 B", 16, ONE_WAY),
    Case { quick: false, ..case("one way, 256 B", 256, ONE_WAY) },
    case("one way, 4 KiB", 4 << 10, ONE_WAY),
    Case { quick: false, ..case("one way, 64 KiB", 64 << 10, ONE_WAY) },
    Case { processors: Some(&[0, 0]), ..case("round trip, one core", 16, ROUND_TRIP) },
    Case { processors: Some(&[0, 1]), quick: false, ..case("round trip, two cores", 16, ROUND_TRIP) },
    case("fan-out to 8, 256 B", 256, &[Task::Publish, Task::SubscribeMany]),
    case("fan-in from 8, 256 B", 256, &[Task::Pull, Task::PushMany]),
    Case { quick: false, ..case("proxy, 256 B", 256, &[Task::Proxy, Task::PullFromProxy, Task::Push]) },
];

impl Case {
    /// Whether a library can do this.
    fn suits(&self, library: Name) -> bool {
        let first = self.processes[0];
        match library {
            Name::Raw => !self.processes.contains(&Task::PushMany) && first != Task::Proxy,
            Name::AiomsgAcknowledged => self.processes == ONE_WAY || first == Task::Proxy,
            Name::Monocoque => self.processes == ONE_WAY || first == Task::Answer,
            _ => true,
        }
    }
}

/// A process that is stopped at the latest with this value.
struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    fn start(
        library: Name,
        task: Task,
        address: &str,
        case: &Case,
        seconds: f64,
        processor: Option<usize>,
    ) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut command = match processor {
            Some(processor) => {
                let mut command = Command::new("taskset");
                command.args(["--cpu-list", &processor.to_string()]).arg(program);
                command
            }
            None => Command::new(program),
        };
        let name = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
            value().expect("none is skipped").get_name().to_owned()
        };
        let mut child = command
            .arg("end")
            .arg(name(&|| library.to_possible_value()))
            .arg(name(&|| task.to_possible_value()))
            .args(["--address", address, "--size", &case.size.to_string(), "--seconds", &seconds.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                drop(sender.send(line));
            }
        });
        Self { child, lines }
    }

    fn await_line(&self) -> Option<String> {
        self.lines.recv_timeout(PATIENCE).ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An address of this machine where nobody listens, nor at the port behind it.
fn free_address() -> String {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        if !address.ends_with(":65535") && TcpListener::bind(back_of(&address)).is_ok() {
            return address;
        }
    }
}

/// Lets a library play a case once. `None` if it did not come to a result.
fn measure(library: Name, case: &Case, seconds: f64) -> Option<Measured> {
    let address = free_address();
    let mut processes: Vec<Process> = Vec::new();
    for (number, task) in case.processes.iter().enumerate() {
        let at = if *task == Task::PullFromProxy { back_of(&address) } else { address.clone() };
        let processor = case.processors.map(|processors| processors[number]);
        let process = Process::start(library, *task, &at, case, seconds, processor);
        let binds = match task {
            Task::Pull | Task::Publish | Task::Answer => 1,
            Task::Proxy => 2,
            _ => 0,
        };
        for _ in 0..binds {
            process.await_line().filter(|line| line == "ready")?;
        }
        processes.push(process);
    }
    let measures =
        |task: &Task| matches!(task, Task::Pull | Task::SubscribeMany | Task::Ask | Task::PullFromProxy);
    let measuring = case.processes.iter().position(measures)?;
    serde_json::from_str(&processes[measuring].await_line()?).ok()
}

/// Measures, and prints what came of it. Fails if a library of ours came to no result.
pub fn run(arguments: &Arguments) -> ExitCode {
    let (rounds, seconds) = if arguments.quick { (1, 0.3) } else { (arguments.rounds, arguments.seconds) };
    let libraries: Vec<Name> = libraries::all()
        .into_iter()
        .filter(|library| arguments.only.is_empty() || arguments.only.contains(library))
        .collect();
    let cases = || {
        CASES.iter().filter(|case| case.name.contains(&arguments.case) && (case.quick || !arguments.quick))
    };
    let mut report = Report::new(rounds, seconds);
    for round in 0..rounds {
        for case in cases() {
            // Nobody always comes first.
            for number in 0..libraries.len() {
                let library = libraries[(number + round) % libraries.len()];
                if case.suits(library) {
                    let measured = measure(library, case, seconds);
                    eprintln!("round {}, {}: {library:?}: {measured:?}", round + 1, case.name);
                    report.add(Sample {
                        case: case.name.to_owned(),
                        library: format!("{library:?}"),
                        round,
                        measured,
                    });
                }
            }
        }
    }
    print!("{}", report.table());
    if let Some(path) = &arguments.json {
        std::fs::write(path, report.json()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    if report.we_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
