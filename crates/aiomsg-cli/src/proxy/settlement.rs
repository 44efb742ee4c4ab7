//! Telling those who sent what has become of their messages.

use std::sync::Arc;

use aiomsg_tokio::{Message, PendingReceipt, Receipt};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

/// Acknowledges to the front what the back has acknowledged, in whatever order that comes: a slow worker holds up nobody
/// else's acknowledgements.
#[derive(Debug)]
pub(super) struct Settlement {
    /// Bounded by the slots.
    passed: UnboundedSender<Passed>,
    slots: Arc<Semaphore>,
    limit: usize,
    task: JoinHandle<()>,
}

/// A message that the back has, and that the front does not acknowledge yet.
struct Passed {
    message: Message,
    receipt: PendingReceipt,
    _slot: OwnedSemaphorePermit,
}

/// How many messages are in flight, for whoever watches.
#[derive(Clone, Debug)]
pub(super) struct InFlight {
    slots: Arc<Semaphore>,
    limit: usize,
}

impl InFlight {
    pub(super) fn messages(&self) -> usize {
        self.limit - self.slots.available_permits()
    }
}

impl Settlement {
    /// With room for so many messages.
    pub(super) fn start(limit: usize) -> Self {
        let (passed, receiver) = unbounded_channel();
        let task = tokio::spawn(settle_all(receiver));
        Self { passed, slots: Arc::new(Semaphore::new(limit)), limit, task }
    }

    pub(super) fn in_flight(&self) -> InFlight {
        InFlight { slots: self.slots.clone(), limit: self.limit }
    }

    /// Room for a message, when there is some.
    pub(super) async fn slot(&self) -> OwnedSemaphorePermit {
        match self.slots.clone().try_acquire_owned() {
            Ok(slot) => slot,
            Err(_) => self.slots.clone().acquire_owned().await.expect("it is never closed"),
        }
    }

    pub(super) fn settle(&self, message: Message, receipt: PendingReceipt, slot: OwnedSemaphorePermit) {
        // The task goes on as long as this is there. Were it gone, the message would be rejected, which is right.
        let _ = self.passed.send(Passed { message, receipt, _slot: slot });
    }

    /// Waits until all is settled.
    pub(super) async fn finish(self) {
        drop(self.passed);
        // It can only have ended.
        let _ = self.task.await;
    }
}

async fn settle_all(mut passed: UnboundedReceiver<Passed>) {
    let mut in_flight = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(()) = in_flight.next() => {}
            next = passed.recv() => match next {
                Some(next) => in_flight.push(settle(next)),
                None => break,
            },
        }
    }
    while in_flight.next().await.is_some() {}
}

async fn settle(Passed { message, receipt, _slot }: Passed) {
    match receipt.await {
        Receipt::Acknowledged { .. } => message.acknowledge(),
        // Given up, or cut off by the end of this proxy: its sender keeps it.
        _ => message.reject(),
    }
}
