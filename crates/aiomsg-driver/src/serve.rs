//! The tasks of a socket that connect and accept.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use crate::acceptor::{Acceptor, Gate};
use crate::dialer::Dialer;
use crate::leader::LeadingTask;
use crate::link::LinkDriver;
use crate::runtime::{Listener, Runtime, connect};

/// The pause after accepting failed, for example since the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connects to an address whenever it is due.
pub(crate) async fn dial<R: Runtime>(runtime: R, dialer: Dialer, deadline: Duration) {
    while let Some(address) = dialer.attempt().await {
        let connected = runtime.timeout(deadline, connect(&runtime, &address)).await;
        match connected.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into())) {
            Ok((link, peer)) => spawn(&runtime, dialer.connected(link, Arc::from(peer.to_string()))),
            Err(error) => dialer.failed(&error),
        }
    }
}

/// Accepts connections until the socket closes or stops listening here. The listener is dropped first then, so that its
/// address is free when the acceptor says that nobody listens.
pub(crate) async fn accept<R: Runtime>(runtime: R, acceptor: Acceptor, mut listener: R::Listener) {
    let mut failing = false;
    loop {
        let accepted = poll_fn(|cx| match ready!(acceptor.poll_gate(cx)) {
            Gate::Open => listener.poll_accept(cx).map(Some),
            Gate::Shut => Poll::Ready(None),
        });
        match accepted.await {
            None => return,
            Some(Ok((link, peer))) => {
                failing = false;
                spawn(&runtime, acceptor.accepted(link, peer.to_string()));
            }
            // The peer gave up while it waited to be accepted.
            Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Some(Err(error)) => {
                if !core::mem::replace(&mut failing, true) {
                    acceptor.failed(&error);
                }
                runtime.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves a connection, if the core takes it on.
fn spawn<R: Runtime>(runtime: &R, driver: Option<LinkDriver<R::Link>>) {
    if let Some(driver) = driver {
        match runtime.id() {
            Some(id) => runtime.spawn(LeadingTask::new(id, |member| driver.woken_as(member))),
            None => runtime.spawn(driver),
        }
    }
}
