//! Other processes: this test program once more, with a part to play.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use super::api::{Acknowledge, Identity, Socket};

use super::subscribers::publisher;
use super::support::{PATIENCE, runtime, within};

/// Names the part, and what it needs to know.
const PART: &str = "DELIVERY_PART";

/// A process that plays a part, and the lines that it prints.
#[derive(Debug)]
pub(crate) struct Actor {
    process: Child,
    lines: Receiver<String>,
}

impl Actor {
    pub(crate) fn start(part: &str) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut process = Command::new(program)
            .args(["--exact", &own_name(), "--ignored", "--nocapture", "--test-threads=1"])
            .env(PART, part)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it can be started");
        let (sender, lines) = channel();
        let out = BufReader::new(process.stdout.take().expect("it is piped"));
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if let Some(line) = line.strip_prefix("> ")
                    && sender.send(line.to_owned()).is_err()
                {
                    return;
                }
            }
        });
        Self { process, lines }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The next line, or `None` if the process has ended.
    pub(crate) fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("nothing was printed for {PATIENCE:?}"),
        }
    }

    /// What follows `word` on the line that starts with it; lines before it are passed over.
    pub(crate) fn wait_for(&self, word: &str) -> String {
        loop {
            let line = self.line().unwrap_or_else(|| panic!("it ended before it said {word}"));
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
    }

    pub(crate) fn write(&mut self, line: &str) {
        let input = self.process.stdin.as_mut().expect("it is piped");
        writeln!(input, "{line}").expect("it reads");
    }

    /// Kills the process, and returns what it had printed and nobody had looked at.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it was killed");
        std::iter::from_fn(|| self.line()).collect()
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What [`play_a_part`] is called among the tests of this program, on this adapter.
fn own_name() -> String {
    let module = module_path!();
    let (_, path) = module.split_once("::").expect("it is in a module of the program");
    format!("{path}::play_a_part")
}

/// Prints a line for whoever started this process.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n> {line}\n").as_bytes()).expect("somebody listens");
    out.flush().expect("somebody listens");
}

/// Waits for a line from whoever started this process.
pub(crate) fn hear() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("somebody speaks");
}

/// Not a test: what other tests run as a process of its own.
#[test]
#[ignore = "other tests run it"]
fn play_a_part() {
    let Ok(part) = std::env::var(PART) else { return };
    let words: Vec<&str> = part.split(' ').collect();
    match words[..] {
        ["worker", address] => worker(address),
        ["idle", count] => idle(count.parse().expect("a number")),
        ["source", address, size] => source(address, size.parse().expect("a number")),
        ["publisher", policy] => publisher(policy),
        _ => panic!("no such part: {part}"),
    }
}

/// Prints what it receives, and acknowledges that then.
fn worker(address: &str) {
    runtime().block_on(async {
        let socket = Socket::builder()
            .identity(Identity::from_bytes([7; 16]))
            .acknowledge(Acknowledge::Manual)
            .build()
            .expect("defaults");
        socket.connect(address).expect("an address");
        loop {
            let message = socket.recv_message().await.expect("it is open");
            say(core::str::from_utf8(message.payload()).expect("text"));
            message.acknowledge();
        }
    });
}

/// Takes nothing until it is told to, and then `count` messages.
fn idle(count: usize) {
    runtime().block_on(async {
        let socket = Socket::builder().build().expect("defaults");
        say(&format!("listening {}", socket.bind("127.0.0.1:0").await.expect("a free port")));
        tokio::task::spawn_blocking(hear).await.expect("it was told");
        for number in 0..count {
            let message = within("a message", socket.recv()).await.expect("it is open");
            assert_eq!(message[..8], number.to_be_bytes()[..8], "in order");
        }
        say(&format!("taken {count}"));
        tokio::task::spawn_blocking(hear).await.expect("it was told");
    });
}

/// Sends numbered messages of `size` bytes, and says how many when it has to wait for a second.
fn source(address: &str, size: usize) {
    runtime().block_on(async {
        let socket = Socket::builder().build().expect("defaults");
        socket.connect(address).expect("an address");
        let mut told = false;
        for number in 0_usize.. {
            let mut message = vec![7; size];
            message[..8].copy_from_slice(&number.to_be_bytes());
            let sending = socket.send(message);
            tokio::pin!(sending);
            if !told && tokio::time::timeout(Duration::from_secs(1), &mut sending).await.is_ok() {
                continue;
            }
            if !core::mem::replace(&mut told, true) {
                say(&format!("blocked {number}"));
            }
            sending.await.expect("it is open");
        }
    });
}
