//! Which programs there are, where they lie, and the flags they share.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A published version of the Python package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Speaks typed envelopes.
    V1_2026_7_1,
    /// Speaks the classic dialect, with identities of 16 raw bytes.
    Classic2019_12_3,
    /// Speaks the classic dialect, with identities that are text.
    ClassicText2019_4_5,
}

impl Peer {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::V1_2026_7_1, Self::Classic2019_12_3, Self::ClassicText2019_4_5];

    /// The name, which is also that of its folder.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V1_2026_7_1 => "v1_2026_7_1",
            Self::Classic2019_12_3 => "classic_2019_12_3",
            Self::ClassicText2019_4_5 => "classic_text_2019_4_5",
        }
    }

    /// What the agent's `--dialect` flag calls the language of this peer.
    #[must_use]
    pub fn dialect(self) -> &'static str {
        match self {
            Self::V1_2026_7_1 => "v1",
            Self::Classic2019_12_3 | Self::ClassicText2019_4_5 => "classic",
        }
    }
}

/// What the examples run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// The default of the examples.
    Tokio,
    /// The other one.
    Smol,
}

impl Runtime {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Tokio, Self::Smol];

    /// The value of the `--runtime` flag.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::Tokio => "tokio",
            Self::Smol => "smol",
        }
    }
}

/// A program that can be put on the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The `agent` example: the implementation under test.
    Agent(Runtime),
    /// `peer.py` on one of the Python packages.
    Peer(Peer),
    /// The `demo` example.
    Demo(Runtime),
    /// `demo.py` on one of the Python packages.
    PeerDemo(Peer),
    /// `docs/protocol_client.py`, which needs Python and no package.
    ProtocolClient,
    /// The `aiomsg` command.
    Command,
}

impl Program {
    /// The name that transcripts show.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Agent(Runtime::Tokio) => "agent_tokio",
            Self::Agent(Runtime::Smol) => "agent_smol",
            Self::Demo(Runtime::Tokio) => "demo_tokio",
            Self::Demo(Runtime::Smol) => "demo_smol",
            Self::Peer(peer) | Self::PeerDemo(peer) => peer.name(),
            Self::ProtocolClient => "protocol_client",
            Self::Command => "aiomsg",
        }
    }

    /// How to run it.
    ///
    /// # Panics
    ///
    /// When it has not been built or set up: a test that cannot run has
    /// failed.
    #[must_use]
    pub fn command(self) -> Command {
        match self {
            Self::Agent(runtime) => example_command("agent", "AIOMSG_AGENT", runtime),
            Self::Demo(runtime) => example_command("demo", "AIOMSG_DEMO", runtime),
            Self::Peer(peer) => peer_command(peer, "peer.py"),
            Self::PeerDemo(peer) => peer_command(peer, "demo.py"),
            Self::ProtocolClient => {
                let mut command = interpreter(Peer::V1_2026_7_1);
                let script = workspace_root().join("docs/protocol_client.py");
                // Its arguments and lines are text of any language, also in the C locale.
                command.arg(script).env("PYTHONUTF8", "1");
                command
            }
            Self::Command => Command::new(built("aiomsg", "AIOMSG_COMMAND", "-p aiomsg-cli")),
        }
    }
}

fn workspace_root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).expect("this package lies two folders below the workspace root").to_path_buf()
}

fn example_command(example: &str, variable: &str, runtime: Runtime) -> Command {
    let package = format!("-p aiomsg-examples --example {example}");
    let mut command = Command::new(built(&format!("examples/{example}"), variable, &package));
    command.args(["--runtime", runtime.flag()]);
    command
}

/// Where a program of this workspace lies; the variable may name another place.
fn built(program: &str, variable: &str, package: &str) -> PathBuf {
    if let Some(path) = env::var_os(variable) {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "{variable} names {}, which does not exist", path.display());
        return path;
    }
    let path = workspace_root().join("target/debug").join(format!("{program}{}", env::consts::EXE_SUFFIX));
    assert!(path.is_file(), "{} is missing: build it with 'cargo build {package}'", path.display());
    path
}

/// Where the package of a peer is set up.
fn peer_home(peer: Peer) -> PathBuf {
    workspace_root().join("target/interop").join(peer.name())
}

/// The Python that a peer runs on.
fn interpreter(peer: Peer) -> Command {
    let home = peer_home(peer);
    let interpreter = fs::read_to_string(home.join("interpreter")).unwrap_or_else(|error| {
        panic!(
            "the Python package for {} is not set up ({}: {error}): run tests/interop/peers.sh",
            peer.name(),
            home.display(),
        )
    });
    Command::new(interpreter.trim())
}

fn peer_command(peer: Peer, script: &str) -> Command {
    let mut command = interpreter(peer);
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script))
        .env("PYTHONPATH", peer_home(peer).join("site"))
        // Concurrent tests would otherwise race to write the same caches.
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Which end of the TCP connection a program takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It listens.
    Bind,
    /// It dials.
    Connect,
}

impl Role {
    /// The value of the `--role` flag.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Connect => "connect",
        }
    }

    /// What the other end has to be.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::Bind => Self::Connect,
            Self::Connect => Self::Bind,
        }
    }
}

/// The flags that say what a program does; the stage adds role and port.
#[derive(Clone, Debug)]
pub struct Flags(Vec<String>);

impl Flags {
    fn behavior(name: &str) -> Self {
        Self(Vec::new()).with("behavior", name)
    }

    /// Sends `count` numbered messages.
    #[must_use]
    pub fn source(prefix: &str, count: usize) -> Self {
        Self::behavior("source").with("prefix", prefix).with("count", count)
    }

    /// Sends `count` messages, which are numbers and nothing else,
    /// at-least-once to a peer that is there. Prints those that are
    /// acknowledged, and ends when all are. For the package of 2026.
    #[must_use]
    pub fn certain_source(count: usize) -> Self {
        Self::behavior("certain-source")
            .with("count", count)
            .with("delivery", "at-least-once")
            .with("wait-peers", 1)
    }

    /// Sends `count` numbered messages and awaits a reply to each.
    #[must_use]
    pub fn request(prefix: &str, count: usize) -> Self {
        Self::behavior("request").with("prefix", prefix).with("count", count)
    }

    /// Prints what arrives, without end.
    #[must_use]
    pub fn endless_sink() -> Self {
        Self::behavior("sink")
    }

    /// Prints what arrives, and ends after `count` messages.
    #[must_use]
    pub fn sink(count: usize) -> Self {
        Self::behavior("sink").with("count", count)
    }

    /// Replies to each sender, and ends after `count` messages.
    #[must_use]
    pub fn echo(count: usize) -> Self {
        Self::behavior("echo").with("count", count)
    }

    /// Adds the flag `--name value`.
    #[must_use]
    #[allow(clippy::needless_pass_by_value)] // so that literals need no `&`
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.0.push(format!("--{name}"));
        self.0.push(value.to_string());
        self
    }

    /// The flags as arguments of a command.
    pub fn arguments(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}
