//! Why a command ends without having done what it was told, and the exit code that says so.

use std::io;
use std::process::ExitCode;

use crate::stop::Signal;

/// Why a command ends early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Something did not work; says what, and what to do next.
    Failed(String),
    /// What was asked for makes no sense.
    Usage(String),
    /// Something was awaited for longer than was allowed.
    TimeUp(String),
    /// It was told to stop before it had done.
    Interrupted(Signal),
    /// Whoever read its output does so no more, and that is no failure.
    OutputClosed,
}

impl Failure {
    /// What scripts see; [`EXIT_CODES`] is what `--help` says about it.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Failed(_) => ExitCode::from(1),
            Self::Usage(_) => ExitCode::from(2),
            Self::TimeUp(_) => ExitCode::from(124),
            Self::Interrupted(signal) => ExitCode::from(signal.exit_code()),
            Self::OutputClosed => ExitCode::SUCCESS,
        }
    }

    /// What to tell the user, if anything.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::Failed(text) | Self::Usage(text) | Self::TimeUp(text) => Some(text.clone()),
            Self::Interrupted(signal) => Some(format!("stopped by {} before all was done", signal.name())),
            Self::OutputClosed => None,
        }
    }

    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// The socket ends only when this program closes it, or when its runtime stops.
impl From<aiomsg_tokio::Closed> for Failure {
    fn from(closed: aiomsg_tokio::Closed) -> Self {
        Self::Failed(closed.to_string())
    }
}

impl From<aiomsg_tokio::BuildError> for Failure {
    fn from(error: aiomsg_tokio::BuildError) -> Self {
        Self::Usage(format!("these settings do not go together: {error}"))
    }
}

impl From<aiomsg_tokio::SendError> for Failure {
    fn from(error: aiomsg_tokio::SendError) -> Self {
        Self::Failed(format!("cannot send: {error}"))
    }
}

/// The part of `--help` that scripts are written after.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    done; what has no end of its own (proxy, echo; recv, ping without --count) was stopped
  1    failed: cannot bind, cannot read, messages not handed over, nobody answered
  2    wrong usage: a flag, an address or a number that makes no sense
  124  time is up: --timeout of send, pub or recv has passed before all was done
  130  stopped by SIGINT (Ctrl-C) before all was done
  143  stopped by SIGTERM before all was done
A second signal stops at once, with 130 or 143.";
