//! Starting the command.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Lines, PipeReader, Read};
use std::ops::Range;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use aiomsg_interop::{ActorId, Stage};
use tempfile::NamedTempFile;

/// The command with these arguments, and an environment without flags.
fn aiomsg(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aiomsg"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AIOMSG_")) {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

/// Starts the command, with nothing to read.
pub(crate) fn start(stage: &mut Stage, arguments: &[&str]) -> ActorId {
    start_with(stage, arguments, |command| {
        command.stdin(Stdio::null());
    })
}

/// Starts the command, which reads what [`Stage::write`] writes.
pub(crate) fn start_reading(stage: &mut Stage, arguments: &[&str]) -> ActorId {
    start_with(stage, arguments, |command| {
        command.stdin(Stdio::piped());
    })
}

/// Starts the command with changes.
pub(crate) fn start_with(
    stage: &mut Stage,
    arguments: &[&str],
    change: impl FnOnce(&mut Command),
) -> ActorId {
    let mut command = aiomsg(arguments);
    change(&mut command);
    stage.start_command("aiomsg", command)
}

/// Runs the command to its end, and returns its exit code.
pub(crate) fn run(stage: &mut Stage, arguments: &[&str]) -> (ActorId, i32) {
    let actor = start(stage, arguments);
    (actor, exit_code(stage, actor))
}

/// Waits for the end of the command.
pub(crate) fn exit_code(stage: &mut Stage, actor: ActorId) -> i32 {
    stage.wait_end(actor).code().expect("it ends by itself")
}

/// Starts a command that binds, and returns where it listens.
pub(crate) fn bind(stage: &mut Stage, arguments: &[&str]) -> (ActorId, String) {
    let arguments = [arguments, &["--bind", "127.0.0.1:0"]].concat();
    let actor = start(stage, &arguments);
    let address = listening(stage, actor, "", arguments.contains(&"--json"));
    (actor, address)
}

/// Where a socket of the command listens.
pub(crate) fn listening(stage: &Stage, actor: ActorId, socket: &str, json: bool) -> String {
    if json {
        let named = if socket.is_empty() { String::new() } else { format!("\"socket\":\"{socket}\",") };
        let start = format!("{{\"event\":\"listening\",{named}\"address\":\"");
        return stage.wait_note(actor, &start).trim_end_matches("\"}").to_owned();
    }
    stage.wait_note(actor, format!("{socket} listening ").trim_start())
}

/// A command whose output goes to a pipe that is read later, or not at all.
pub(crate) struct Unread {
    process: Child,
    output: PipeReader,
    errors: Lines<BufReader<ChildStderr>>,
}

impl Unread {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let (output, write) = std::io::pipe().expect("a pipe");
        let mut command = aiomsg(arguments);
        command.stdin(Stdio::null()).stdout(write).stderr(Stdio::piped());
        let mut process = command.spawn().expect("it can be started");
        let errors = BufReader::new(process.stderr.take().expect("it is piped")).lines();
        Self { process, output, errors }
    }

    /// What follows on the next line of standard error, which begins like this.
    pub(crate) fn note(&mut self, start: &str) -> String {
        let line = self.errors.next().expect("a line").expect("text");
        line.strip_prefix(start).unwrap_or_else(|| panic!("{line}")).to_owned()
    }

    pub(crate) fn terminate(&self) {
        let process = self.process.id().to_string();
        let status = Command::new("kill").args(["-TERM", &process]).status();
        assert!(status.is_ok_and(|status| status.success()));
    }

    /// Waits until something is written, and reads the first byte of it.
    pub(crate) fn wait_output(&mut self) {
        self.output.read_exact(&mut [0]).expect("it writes");
    }

    /// Waits until it ends with its output unread, and returns its errors and its exit code.
    pub(crate) fn end(self) -> (Vec<String>, Option<i32>) {
        const PATIENCE: Duration = Duration::from_secs(20);
        let Self { mut process, output, errors } = self;
        let (ended, told) = channel();
        let reader = std::thread::spawn(move || {
            let errors: Vec<String> = errors.map(|line| line.expect("text")).collect();
            // Nobody waits any more if it took too long.
            let _ = ended.send(());
            errors
        });
        if told.recv_timeout(PATIENCE).is_err() {
            process.kill().expect("it runs");
            panic!("it does not end");
        }
        let code = process.wait().expect("it ends").code();
        drop(output);
        (reader.join().expect("no panic"), code)
    }

    /// Reads its output to its end, and returns that, its errors, and its exit code.
    pub(crate) fn read(self) -> (Vec<String>, Vec<String>, Option<i32>) {
        let Self { mut process, output, errors } = self;
        let output = BufReader::new(output).lines().map(|line| line.expect("text")).collect();
        let errors = errors.map(|line| line.expect("text")).collect();
        (output, errors, process.wait().expect("it ends").code())
    }

    /// Gives its output up, and returns its errors and its exit code.
    pub(crate) fn hang_up(self) -> impl FnOnce() -> (Vec<String>, Option<i32>) {
        let Self { mut process, output, errors } = self;
        drop(output);
        move || {
            let errors = errors.map(|line| line.expect("text")).collect();
            (errors, process.wait().expect("it ends").code())
        }
    }
}

/// All that the command has said on standard error, on one line each.
pub(crate) fn errors(stage: &Stage, actor: ActorId) -> String {
    stage.errors(actor).join("\n")
}

/// A figure of a line of JSON.
pub(crate) fn figure(line: &str, name: &str) -> usize {
    let value: serde_json::Value = serde_json::from_str(line).expect("it is JSON");
    let number = value[name].as_u64().unwrap_or_else(|| panic!("no {name} in {line}"));
    usize::try_from(number).expect("it is small")
}

/// A proxy, and where it listens.
pub(crate) struct Proxy {
    pub(crate) actor: ActorId,
    pub(crate) front: String,
    pub(crate) back: String,
}

impl Proxy {
    pub(crate) fn start(stage: &mut Stage, arguments: &[&str]) -> Self {
        let ends = ["proxy", "--front", "127.0.0.1:0", "--back", "127.0.0.1:0"];
        let actor = start(stage, &[&ends, arguments].concat());
        let json = arguments.contains(&"--json");
        let back = listening(stage, actor, "back", json);
        Self { actor, front: listening(stage, actor, "front", json), back }
    }

    /// Waits until so many workers are there, at a proxy that tells statistics as text.
    pub(crate) fn wait_workers(&self, stage: &Stage, count: usize) {
        stage.wait_error(self.actor, &format!("{count} at the back"), |line| {
            line.contains(&format!(" {count} at the back"))
        });
    }

    pub(crate) fn stop(&self, stage: &mut Stage) -> i32 {
        stage.signal(self.actor, "-TERM");
        exit_code(stage, self.actor)
    }
}

pub(crate) fn numbers(lines: &[String]) -> BTreeSet<usize> {
    lines.iter().map(|line| line.parse().expect("a number")).collect()
}

/// A file with a number on each line.
pub(crate) fn numbered(range: Range<usize>) -> NamedTempFile {
    let file = NamedTempFile::new().expect("a file");
    let lines: Vec<String> = range.map(|number| format!("{number}\n")).collect();
    std::fs::write(file.path(), lines.concat()).expect("there is room");
    file
}

pub(crate) fn path(file: &NamedTempFile) -> &str {
    file.path().to_str().expect("it is text")
}
