//! Processes on a stage: starting them, waiting for what they say, and making
//! sure that they are gone in the end.

use alloc::sync::Arc;
use core::time::Duration;
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::program::{Flags, Program, Role};

/// How long anything may take before the test has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How much of each stream a failure shows.
const SHOWN_LINES: usize = 60;

/// How much of a line a failure shows.
const SHOWN_CHARACTERS: usize = 160;

/// What a process has said so far.
#[derive(Default)]
struct Lines {
    out: Vec<String>,
    err: Vec<String>,
    /// How many of the two streams have ended.
    ended: usize,
}

impl Lines {
    fn have_ended(&self) -> bool {
        self.ended == 2
    }
}

#[derive(Default)]
struct Transcript {
    lines: Mutex<Lines>,
    changed: Condvar,
}

impl Transcript {
    /// A reader that panicked has left the lines as they were: still good.
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, change: impl FnOnce(&mut Lines)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

struct Actor {
    title: String,
    child: Child,
    transcript: Arc<Transcript>,
    readers: Vec<JoinHandle<()>>,
}

impl Actor {
    fn spawn(name: &str, mut command: Command) -> Self {
        let words: Vec<_> = command.get_args().map(|word| abridged(&word.to_string_lossy())).collect();
        let title = format!("{name} {}", words.join(" "));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let transcript = Arc::new(Transcript::default());
        let out = child.stdout.take().expect("stdout is a pipe");
        let err = child.stderr.take().expect("stderr is a pipe");
        let readers = vec![
            follow(out, &transcript, |lines, line| lines.out.push(line)),
            follow(err, &transcript, |lines, line| lines.err.push(line)),
        ];
        Self { title, child, transcript, readers }
    }

    /// Ends the process if it still runs, and reads what it said last.
    fn stop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }

    #[expect(clippy::print_stderr, reason = "the test harness shows it with a failure")]
    fn print(&self) {
        let lines = self.transcript.lock();
        eprintln!("--- {}", self.title);
        for (name, stream) in [("stdout", &lines.out), ("stderr", &lines.err)] {
            let skipped = stream.len().saturating_sub(SHOWN_LINES);
            eprintln!("  {name}: {} lines, {skipped} not shown", stream.len());
            for line in &stream[skipped..] {
                eprintln!("    {}", abridged(line));
            }
        }
    }
}

fn abridged(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Reads a stream to its end on a thread of its own, line by line.
fn follow(
    stream: impl Read + Send + 'static,
    transcript: &Arc<Transcript>,
    push: fn(&mut Lines, String),
) -> JoinHandle<()> {
    let transcript = Arc::clone(transcript);
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(length) if length > 0) {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\r', '\n']).to_owned();
            transcript.record(|lines| push(lines, text));
            line.clear();
        }
        transcript.record(|lines| lines.ended += 1);
    })
}

/// Names a process on the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActorId(usize);

/// The processes of one test.
///
/// Dropping it ends them all; when that happens because the test failed, it
/// prints what each of them has said.
#[derive(Default)]
pub struct Stage {
    actors: Vec<Actor>,
}

impl Stage {
    /// An empty stage.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a program, without waiting for anything.
    pub fn start(&mut self, program: Program, role: Role, port: u16, flags: &Flags) -> ActorId {
        let port = port.to_string();
        let fixed = ["--role", role.flag(), "--host", "127.0.0.1", "--port", &port];
        let arguments: Vec<&str> = fixed.into_iter().chain(flags.arguments()).collect();
        self.start_with(program, &arguments)
    }

    /// Starts a program with these arguments and nothing else.
    pub fn start_with(&mut self, program: Program, arguments: &[&str]) -> ActorId {
        let mut command = program.command();
        command.args(arguments).stdin(Stdio::null());
        self.start_command(program.name(), command)
    }

    /// Starts any command. Its standard input is what the command says, and
    /// read by [`Self::write`] if that is a pipe.
    pub fn start_command(&mut self, name: &str, command: Command) -> ActorId {
        self.actors.push(Actor::spawn(name, command));
        ActorId(self.actors.len() - 1)
    }

    /// Writes to the program's standard input, which must be a pipe.
    ///
    /// # Panics
    ///
    /// When it is not, or the program does not read it.
    pub fn write(&mut self, actor: ActorId, text: &str) {
        let input = self.actors[actor.0].child.stdin.as_mut().expect("stdin is a pipe");
        input.write_all(text.as_bytes()).expect("it reads");
    }

    /// Ends the program's standard input.
    pub fn close_input(&mut self, actor: ActorId) {
        drop(self.actors[actor.0].child.stdin.take());
    }

    /// The number of the process.
    #[must_use]
    pub fn process(&self, actor: ActorId) -> u32 {
        self.actors[actor.0].child.id()
    }

    /// Starts a program that binds to a port of its choice, and waits until
    /// it listens.
    pub fn bind(&mut self, program: Program, flags: &Flags) -> (ActorId, u16) {
        let actor = self.start(program, Role::Bind, 0, flags);
        let address = self.wait_note(actor, "listening ");
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        (actor, port.expect("an address has a port"))
    }

    /// Starts a program that connects to a port.
    pub fn connect(&mut self, program: Program, port: u16, flags: &Flags) -> ActorId {
        self.start(program, Role::Connect, port, flags)
    }

    /// Waits until the program has called bind or connect.
    pub fn wait_ready(&self, actor: ActorId) {
        self.wait_until(actor, "the line 'ready'", |lines| {
            lines.err.iter().any(|line| line == "ready").then_some(())
        });
    }

    /// Waits until stdout has at least this many lines, and returns it.
    #[must_use]
    pub fn wait_lines(&self, actor: ActorId, count: usize) -> Vec<String> {
        self.wait_output(actor, &format!("{count} lines"), |out| out.len() >= count)
    }

    /// Waits until stdout is what the condition asks for, and returns it.
    #[must_use]
    pub fn wait_output(
        &self,
        actor: ActorId,
        what: &str,
        complete: impl Fn(&[String]) -> bool,
    ) -> Vec<String> {
        self.wait_until(actor, what, |lines| complete(&lines.out).then(|| lines.out.clone()))
    }

    /// Waits until each of these lines was written to stdout, at any time.
    pub fn wait_for_all(&self, actor: ActorId, mut wanted: HashSet<String>) {
        let mut seen = 0;
        let what = format!("{} certain lines", wanted.len());
        self.wait_until(actor, &what, |lines| {
            // Each line is looked at once: there may be very many.
            for line in &lines.out[seen..] {
                wanted.remove(line);
            }
            seen = lines.out.len();
            wanted.is_empty().then_some(())
        });
    }

    /// Waits for a line on stderr that begins like this, and returns the rest
    /// of it.
    #[must_use]
    pub fn wait_note(&self, actor: ActorId, prefix: &str) -> String {
        self.wait_until(actor, &format!("the note '{prefix}'"), |lines| {
            let mut notes = lines.err.iter().filter_map(|line| line.strip_prefix(prefix));
            notes.next().map(|rest| rest.trim().to_owned())
        })
    }

    /// Waits for a line on stderr that is what the condition asks for.
    pub fn wait_error(&self, actor: ActorId, what: &str, is_it: impl Fn(&str) -> bool) {
        self.wait_errors(actor, what, 1, is_it);
    }

    /// Waits for so many lines on stderr that are what the condition asks for.
    pub fn wait_errors(&self, actor: ActorId, what: &str, count: usize, is_it: impl Fn(&str) -> bool) {
        self.wait_until(actor, what, |lines| {
            (lines.err.iter().filter(|line| is_it(line)).count() >= count).then_some(())
        });
    }

    /// How often stderr has a line that begins like this.
    #[must_use]
    pub fn count_notes(&self, actor: ActorId, prefix: &str) -> usize {
        let lines = self.actors[actor.0].transcript.lock();
        lines.err.iter().filter(|l| l.starts_with(prefix)).count()
    }

    /// Waits until the program ends by itself, successfully, and returns what
    /// it wrote to stdout.
    pub fn finish(&mut self, actor: ActorId) -> Vec<String> {
        let status = self.wait_end(actor);
        let actor = &self.actors[actor.0];
        assert!(status.success(), "'{}' failed: {status}", actor.title);
        actor.transcript.lock().out.clone()
    }

    /// Waits until the program ends by itself, in whatever way.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub fn wait_end(&mut self, actor: ActorId) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        self.wait_until(actor, "its end", |lines| lines.have_ended().then_some(()));
        let actor = &mut self.actors[actor.0];
        loop {
            // Its streams are closed: it is ending as we look.
            if let Some(status) = actor.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "'{}' does not end", actor.title);
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// What the program has written to stdout so far.
    #[must_use]
    pub fn output(&self, actor: ActorId) -> Vec<String> {
        self.actors[actor.0].transcript.lock().out.clone()
    }

    /// What the program has written to stderr so far.
    #[must_use]
    pub fn errors(&self, actor: ActorId) -> Vec<String> {
        self.actors[actor.0].transcript.lock().err.clone()
    }

    /// Ends the program without giving it a chance to react, and returns what
    /// it wrote to stdout.
    pub fn kill(&mut self, actor: ActorId) -> Vec<String> {
        let actor = &mut self.actors[actor.0];
        actor.stop();
        actor.transcript.lock().out.clone()
    }

    /// Like [`Self::kill`], but with another program stopped meanwhile: when
    /// it goes on, its peer has been gone for good for a while.
    ///
    /// # Panics
    ///
    /// When the other program cannot be stopped; this needs a Unix.
    pub fn kill_unseen(&mut self, actor: ActorId, witness: ActorId) -> Vec<String> {
        self.signal(witness, "-STOP");
        let said = self.kill(actor);
        self.signal(witness, "-CONT");
        said
    }

    /// Sends a signal, for instance `-TERM`.
    ///
    /// # Panics
    ///
    /// When it cannot be sent; this needs a Unix.
    pub fn signal(&self, actor: ActorId, signal: &str) {
        let actor = &self.actors[actor.0];
        let process = actor.child.id().to_string();
        let status = Command::new("kill").args([signal, &process]).status();
        let sent = status.is_ok_and(|status| status.success());
        assert!(sent, "cannot send {signal} to '{}'", actor.title);
    }

    fn wait_until<T>(&self, actor: ActorId, what: &str, mut look: impl FnMut(&Lines) -> Option<T>) -> T {
        let actor = &self.actors[actor.0];
        let deadline = Instant::now() + PATIENCE;
        let mut lines = actor.transcript.lock();
        loop {
            if let Some(found) = look(&lines) {
                return found;
            }
            let over = lines.have_ended();
            assert!(!over, "'{}' ended before {what}", actor.title);
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {what} from '{}'", actor.title);
            (lines, _) =
                actor.transcript.changed.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for actor in &mut self.actors {
            actor.stop();
        }
        if thread::panicking() {
            self.actors.iter().for_each(Actor::print);
        }
    }
}

/// A port that was free a moment ago, for a program that has to know where to
/// connect before anybody listens there.
///
/// # Panics
///
/// When the machine has no free port.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}
