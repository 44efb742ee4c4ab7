//! How a program is asked to end.

use std::future::Future;
use std::io;

use async_signal::{Signal, Signals};
use futures_lite::StreamExt;
use futures_lite::future::or;

/// The signals that ask a program to end: Ctrl-C, and what a service manager sends where there is one.
///
/// As long as this lives, they do not end the program by themselves.
#[derive(Debug)]
pub struct Stop(Signals);

impl Stop {
    /// Listens for the signals from now on.
    ///
    /// # Errors
    /// If the system does not let us.
    pub fn new() -> io::Result<Self> {
        let signals: &[Signal] = if cfg!(unix) { &[Signal::Int, Signal::Term] } else { &[Signal::Int] };
        Ok(Self(Signals::new(signals)?))
    }

    /// What `work` gives, or `None` if a signal comes first. The work is dropped then, where it stands.
    pub async fn unless<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let stopped = async {
            self.0.next().await;
            None
        };
        or(stopped, async { Some(work.await) }).await
    }
}
