//! Being told to stop: the first signal asks for a good end, the second one gets any.

use std::io;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// In place of a time that is too long to be counted.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// A signal that asks a process to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// What service managers send, where there are such signals.
    #[cfg_attr(not(unix), expect(dead_code))]
    Terminate,
}

impl Signal {
    pub(crate) const fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }
}

/// Tells whether this process was asked to stop, and when.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Receiver<Option<(Signal, Instant)>>);

impl Stop {
    /// Takes over the signals of this process.
    pub(crate) fn watch() -> io::Result<Self> {
        let mut signals = Signals::new()?;
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(async move {
            // Nobody may be left to tell.
            let _ = sender.send(Some((signals.next().await, Instant::now())));
            let again = signals.next().await;
            std::process::exit(i32::from(again.exit_code()));
        });
        Ok(Self(receiver))
    }

    /// The signal, if there was one.
    pub(crate) fn asked(&self) -> Option<Signal> {
        self.0.borrow().map(|(signal, _)| signal)
    }

    /// Waits for the signal.
    pub(crate) async fn requested(&self) -> Signal {
        let mut receiver = self.0.clone();
        match receiver.wait_for(Option::is_some).await.ok().and_then(|asked| *asked) {
            Some((signal, _)) => signal,
            // The task that watches ends with the runtime only.
            None => std::future::pending().await,
        }
    }

    /// Waits until some time after the signal.
    pub(crate) async fn overdue(&self, grace: Duration) {
        self.requested().await;
        tokio::time::sleep_until(self.deadline(grace)).await;
    }

    /// Some time after the signal, or after now if there was none.
    pub(crate) fn deadline(&self, grace: Duration) -> Instant {
        let since = self.0.borrow().map_or_else(Instant::now, |(_, at)| at);
        since.checked_add(grace).unwrap_or_else(|| since + FOREVER)
    }
}

#[cfg(unix)]
#[derive(Debug)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }
}

#[cfg(not(unix))]
#[derive(Debug)]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    #[expect(clippy::needless_pass_by_ref_mut, reason = "as on Unix")]
    async fn next(&mut self) -> Signal {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Signal::Interrupt
    }
}
