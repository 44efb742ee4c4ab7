//! The examples as processes.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for what must happen.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How long building the examples may take, and waiting for another build before.
const BUILD_DEADLINE: Duration = Duration::from_secs(600);

/// A running example. It is killed if the test does not see its end.
#[derive(Debug)]
pub struct Program {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

/// How an example ended.
#[derive(Debug)]
pub struct End {
    /// What it returned, if it was not killed.
    pub code: Option<i32>,
    /// All that it printed.
    pub lines: Vec<String>,
}

impl Program {
    /// Starts an example.
    pub fn start(name: &str, args: &[&str]) -> Self {
        Self::spawn(Command::new(examples().join(name)).args(args))
    }

    /// Starts what may be an example with something around it.
    ///
    /// # Panics
    /// If the system cannot start it.
    pub fn spawn(command: &mut Command) -> Self {
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (teller, lines) = channel();
        forward(child.stdout.take(), teller.clone());
        forward(child.stderr.take(), teller);
        Self { child, lines, seen: Vec::new() }
    }

    /// A server that has printed where it listens, and that address.
    pub fn serve(name: &str, args: &[&str]) -> (Self, String) {
        let mut server = Self::start(name, &[&["--bind", "127.0.0.1:0"], args].concat());
        let address = server.last_word("listening on ");
        (server, address)
    }

    /// Waits for a line with this in it, and returns the last word of it.
    pub fn last_word(&mut self, part: &str) -> String {
        let line = self.line(part);
        line.rsplit(' ').next().unwrap_or_default().to_owned()
    }

    /// Waits for a line with this in it, and passes over those before. What goes to standard output and what goes to
    /// standard error may change places.
    ///
    /// # Panics
    /// If the program ends without, or takes too long.
    pub fn line(&mut self, part: &str) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(_) => panic!("no line with {part:?}, only {:#?}", self.seen),
            }
        }
    }

    /// Tells it to stop, as a service manager does.
    #[cfg(unix)]
    pub fn stop(&self) {
        self.signal("-TERM");
    }

    /// Tells it to stop, as Ctrl-C does.
    #[cfg(unix)]
    pub fn interrupt(&self) {
        self.signal("-INT");
    }

    #[cfg(unix)]
    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()));
    }

    /// Kills it, and returns what it had printed.
    ///
    /// # Panics
    /// If it had ended by itself.
    pub fn kill(mut self) -> Vec<String> {
        assert_eq!(self.child.try_wait().expect("it was started"), None, "it has ended: {:#?}", self.seen);
        self.child.kill().expect("it runs");
        self.end().lines
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn end(self) -> End {
        self.end_within(DEADLINE, |_| ())
    }

    /// Waits for its end for so long, and shows each line when it comes.
    fn end_within(mut self, span: Duration, show: impl Fn(&str)) -> End {
        let until = Instant::now() + span;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    show(&line);
                    self.seen.push(line);
                }
                // Both of its outputs are closed.
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end: {:#?}", self.seen),
            }
        }
        let code = self.child.wait().expect("it was started").code();
        End { code, lines: std::mem::take(&mut self.seen) }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl End {
    /// It ended well, and printed a line that is this.
    ///
    /// # Panics
    /// If not.
    #[track_caller]
    pub fn assert_success(&self, line: &str) {
        assert_eq!(self.code, Some(0), "{:#?}", self.lines);
        assert!(self.lines.iter().any(|seen| seen == line), "no line {line:?} in {:#?}", self.lines);
    }

    /// It ended with this code, and said why in a line with this in it.
    ///
    /// # Panics
    /// If not.
    #[track_caller]
    pub fn assert_failure(&self, code: i32, part: &str) {
        assert_eq!(self.code, Some(code), "{:#?}", self.lines);
        assert!(self.lines.iter().any(|seen| seen.contains(part)), "no {part:?} in {:#?}", self.lines);
        assert!(!self.lines.iter().any(|seen| seen.contains("panicked")), "{:#?}", self.lines);
    }
}

/// Passes the lines of an output on.
fn forward(output: Option<impl Read + Send + 'static>, teller: Sender<String>) {
    let output = BufReader::new(output.expect("it is piped"));
    thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| teller.send(line)));
}

/// The folder of the examples, which are built. After a test of the whole workspace there is nothing to build.
///
/// # Panics
/// If they do not build.
pub fn examples() -> &'static PathBuf {
    static EXAMPLES: OnceLock<PathBuf> = OnceLock::new();
    EXAMPLES.get_or_init(|| {
        let own = std::env::current_exe().expect("a test is a file");
        let profile = own.ancestors().nth(2).expect("it lies in target/PROFILE/deps");
        let target = profile.parent().expect("it lies in target/PROFILE/deps");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).args(["build", "--examples"]);
        cargo.arg("--target-dir").arg(target);
        if profile.file_name() == Some(OsStr::new("release")) {
            cargo.arg("--release");
        }
        let built = Program::spawn(&mut cargo).end_within(BUILD_DEADLINE, |line| {
            // What takes time is told while it does, past the harness, which shows nothing until a test has failed.
            if ["Blocking", "Compiling"].iter().any(|word| line.trim_start().starts_with(word)) {
                let _ = writeln!(io::stderr(), "examples for the tests: {}", line.trim_start());
            }
        });
        assert_eq!(built.code, Some(0), "the examples do not build: {:#?}", built.lines);
        profile.join("examples")
    })
}
