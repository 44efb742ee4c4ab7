//! Starts the processes of each case, round after round, and gathers what they measure.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::ends::{Task, back_of};
use crate::libraries::{self, python};
use crate::library::Name;
use crate::measured::Measured;
use crate::report::{Report, Sample};

/// Whoever has not measured anything by then never will; with thousands of connections it may take longer.
const PATIENCE: Duration = Duration::from_secs(20);
const PATIENCE_WITH_MANY: Duration = Duration::from_secs(60);

/// How many idle sockets are in one process; libzmq has no more than 1,023.
const IDLE_EACH: usize = 1_000;

/// How long the end that binds is away at least before it is started again.
const AWAY: Duration = Duration::from_secs(1);

/// So many bytes of what a process complains about are kept.
const COMPLAINTS: usize = 1_000;

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

/// A case: what is played, and how.
struct Case {
    name: &'static str,
    size: usize,
    /// How many connections it has, at the end that binds.
    peers: usize,
    play: Play,
    /// In a quick run, too.
    quick: bool,
    /// Not in more rounds than this.
    rounds: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Play {
    /// Processes that run beside each other, in the order in which they start; and the processor of each, if it is bound to
    /// one.
    Together(&'static [Task], Option<&'static [usize]>),
    /// One end holds connections that do nothing.
    Idle,
    /// The end that binds goes away and comes back, while the other one sends.
    Restart,
}

const ONE_WAY: Play = Play::Together(&[Task::Pull, Task::Push], None);
const ROUND_TRIP: &[Task] = &[Task::Answer, Task::Ask];
const PROXY: Play = Play::Together(&[Task::Proxy, Task::PullFromProxy, Task::Push], None);

const fn case(name: &'static str, size: usize, peers: usize, play: Play) -> Case {
    Case { name, size, peers, play, quick: true, rounds: usize::MAX }
}

const CASES: &[Case] = &[
    case("one way, 16 B", 16, 1, ONE_WAY),
    Case { quick: false, ..case("one way, 256 B", 256, 1, ONE_WAY) },
    case("one way, 4 KiB", 4 << 10, 1, ONE_WAY),
    Case { quick: false, ..case("one way, 64 KiB", 64 << 10, 1, ONE_WAY) },
    case("round trip, one core", 16, 1, Play::Together(ROUND_TRIP, Some(&[0, 0]))),
    Case { quick: false, ..case("round trip, two cores", 16, 1, Play::Together(ROUND_TRIP, Some(&[0, 1]))) },
    case("fan-out to 8, 256 B", 256, 8, Play::Together(&[Task::Publish, Task::Subscribe], None)),
    case("fan-in from 8, 256 B", 256, 8, ONE_WAY),
    Case { quick: false, ..case("proxy, 256 B", 256, 1, PROXY) },
    case("1,000 idle connections", 16, 1_000, Play::Idle),
    Case { quick: false, rounds: 3, ..case("10,000 idle connections", 16, 10_000, Play::Idle) },
    case("reconnect", 16, 1, Play::Restart),
];

impl Case {
    /// Whether a library can do this.
    fn suits(&self, library: Name) -> bool {
        match library {
            Name::Raw | Name::Monocoque => self.play != PROXY,
            Name::AiomsgAcknowledged => self.play == PROXY || (self.play == ONE_WAY && self.peers == 1),
            Name::Python => self.play == PROXY,
            _ => true,
        }
    }
}

/// What is to be measured, of whom, and where.
struct Run<'a> {
    library: Name,
    case: &'a Case,
    seconds: f64,
    address: String,
    round: usize,
}

impl Run<'_> {
    fn start(&self, task: Task) -> Process {
        self.start_on(task, self.case.peers, None)
    }

    fn start_on(&self, task: Task, peers: usize, processor: Option<usize>) -> Process {
        if self.library == Name::Python && task == Task::Proxy {
            return Process::start(python::proxy(&self.address, &back_of(&self.address)), PATIENCE);
        }
        // The ends of what plays nothing but the proxy.
        let library = if self.library == Name::Python { Name::Aiomsg } else { self.library };
        let program = std::env::current_exe().expect("this program");
        let mut command = match processor {
            Some(processor) => {
                let mut command = Command::new("taskset");
                command.args(["--cpu-list", &processor.to_string()]).arg(program);
                command
            }
            None => Command::new(program),
        };
        let at = if task == Task::PullFromProxy { back_of(&self.address) } else { self.address.clone() };
        command.args(["end", &name(library), &name(task), "--address", &at]);
        command.args(["--size", &self.case.size.to_string(), "--peers", &peers.to_string()]);
        command.args(["--seconds", &self.seconds.to_string()]);
        let patience = if self.case.play == Play::Idle { PATIENCE_WITH_MANY } else { PATIENCE };
        Process::start(command, patience)
    }

    /// Lets the library play its case once.
    fn measure(&self) -> Result<Measured, String> {
        match self.case.play {
            Play::Together(tasks, processors) => self.together(tasks, processors),
            Play::Idle => self.idle(),
            Play::Restart => self.restart(),
        }
    }

    fn together(&self, tasks: &[Task], processors: Option<&[usize]>) -> Result<Measured, String> {
        let mut processes: Vec<Process> = Vec::new();
        for (number, task) in tasks.iter().enumerate() {
            let processor = processors.map(|processors| processors[number]);
            let process = self.start_on(*task, self.case.peers, processor);
            let binds = match task {
                Task::Pull | Task::Publish | Task::Answer => 1,
                Task::Proxy => 2,
                _ => 0,
            };
            for _ in 0..binds {
                process.await_ready()?;
            }
            processes.push(process);
        }
        let measures =
            |task: &Task| matches!(task, Task::Pull | Task::Subscribe | Task::Ask | Task::PullFromProxy);
        let measuring = tasks.iter().position(measures).expect("there is one");
        let measured = processes[measuring].await_measured();
        measured.map_err(|_| processes.iter().map(Process::complaint).collect())
    }

    fn idle(&self) -> Result<Measured, String> {
        let holder = self.start(Task::Hold);
        holder.await_ready()?;
        let mut peers = Vec::new();
        for first in (0..self.case.peers).step_by(IDLE_EACH) {
            let process = self.start_on(Task::Idle, IDLE_EACH.min(self.case.peers - first), None);
            process.await_ready()?;
            peers.push(process);
        }
        holder.await_measured()
    }

    fn restart(&self) -> Result<Measured, String> {
        let first = self.start(Task::First);
        first.await_ready()?;
        let _sender = self.start(Task::Offer);
        first.await_measured()?;
        drop(first);
        thread::sleep(self.away());
        self.start(Task::First).await_ready_and_measured()
    }

    /// Up to twice `AWAY`, by other parts of it in each round: who tries at fixed intervals would otherwise always be as
    /// late.
    fn away(&self) -> Duration {
        const GOLDEN: f64 = 0.618_034;
        AWAY.mul_f64(1.0 + (0.5 + self.round as f64 * GOLDEN).fract())
    }
}

/// How a value is called on the command line.
fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().expect("none is skipped").get_name().to_owned()
}

/// A process that is stopped at the latest with this value.
struct Process {
    child: Child,
    lines: Receiver<String>,
    complaints: Arc<Mutex<String>>,
    patience: Duration,
}

impl Process {
    fn start(mut command: Command, patience: Duration) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        // Nobody learns that it has ended before all that it complained about is here.
        let not_ended = sender.clone();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                drop(sender.send(line));
            }
        });
        let errors = BufReader::new(child.stderr.take().expect("piped"));
        let complaints = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&complaints);
        thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                let mut kept = kept.lock().expect("nobody panics with it");
                if kept.len() < COMPLAINTS {
                    *kept += &format!(" {line}");
                }
            }
            drop(not_ended);
        });
        Self { child, lines, complaints, patience }
    }

    fn await_line(&self) -> Result<String, String> {
        self.lines.recv_timeout(self.patience).map_err(|error| format!("{error};{}", self.complaint()))
    }

    fn await_ready(&self) -> Result<(), String> {
        let line = self.await_line()?;
        if line == "ready" { Ok(()) } else { Err(line) }
    }

    fn await_measured(&self) -> Result<Measured, String> {
        serde_json::from_str(&self.await_line()?).map_err(|error| error.to_string())
    }

    fn await_ready_and_measured(&self) -> Result<Measured, String> {
        self.await_ready()?;
        self.await_measured()
    }

    /// What it has written about what went wrong.
    fn complaint(&self) -> String {
        self.complaints.lock().expect("nobody panics with it").clone()
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

/// Measures, and prints what came of it. Fails if a library of ours came to no result.
pub fn run(arguments: &Arguments) -> ExitCode {
    let (rounds, seconds) = if arguments.quick { (1, 0.3) } else { (arguments.rounds, arguments.seconds) };
    let libraries: Vec<Name> = libraries::all()
        .into_iter()
        .filter(|library| arguments.only.is_empty() || arguments.only.contains(library))
        .collect();
    if let Some(missing) = arguments.only.iter().find(|library| !libraries.contains(library)) {
        let how = if *missing == Name::Python { "run tests/interop/peers.sh first" } else { "not built in" };
        eprintln!("{missing:?}: {how}");
        return ExitCode::FAILURE;
    }
    let cases = || {
        CASES.iter().filter(|case| case.name.contains(&arguments.case) && (case.quick || !arguments.quick))
    };
    if !cases().any(|case| libraries.iter().any(|library| case.suits(*library))) {
        let names: Vec<_> = CASES.iter().map(|case| case.name).collect();
        eprintln!(
            "nothing to measure: no such case for these libraries, or not in a quick round; there are {}",
            names.join("; ")
        );
        return ExitCode::FAILURE;
    }
    let mut report = Report::new(rounds, seconds);
    for round in 0..rounds {
        for case in cases().filter(|case| round < case.rounds) {
            // Nobody always comes first.
            for number in 0..libraries.len() {
                let library = libraries[(number + round) % libraries.len()];
                if case.suits(library) {
                    let measured = Run { library, case, seconds, address: free_address(), round }.measure();
                    eprintln!("round {}, {}: {library:?}: {measured:?}", round + 1, case.name);
                    report.add(Sample {
                        case: case.name.to_owned(),
                        library: format!("{library:?}"),
                        round,
                        measured: measured.ok(),
                    });
                }
            }
        }
        // Whoever breaks it off keeps what there is.
        if let Some(path) = &arguments.json {
            report.write(path);
        }
    }
    print!("{}", report.table());
    if report.we_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
