//! Events for any number of watchers.

use std::collections::VecDeque;
use std::mem::{Discriminant, discriminant};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aiomsg_proto::{Event, Identity};
use futures_core::Stream;

use crate::shared::Shared;
use crate::waiters::{Ticket, Waiters, Wakes};

/// Events that are kept for watchers who have not taken them, at most.
const CAPACITY: u64 = 1_024;

/// After so many failures in a row, a few seconds, a dial is worth a warning.
const PERSISTENT: u32 = 5;

/// The latest events, numbered, for as long as somebody watches.
#[derive(Debug, Default)]
pub(crate) struct EventLog {
    recent: VecDeque<Event>,
    first: u64,
    watchers: usize,
    waiting: Waiters,
    ended: bool,
    /// Kinds of events that were warned of, and are not again.
    warned: Vec<Discriminant<Event>>,
}

/// How much an event matters to who reads a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    /// It does not come right by itself. A warning.
    Lasting,
    /// Something is lost, or may be, for the first time in this way. A warning; how much it is, the metrics tell.
    FirstLoss,
    /// For who looks for a fault.
    Detail,
}

impl EventLog {
    fn end(&self) -> u64 {
        self.first + self.recent.len() as u64
    }

    pub(crate) fn log(&mut self, identity: Identity, event: &Event) {
        match self.weigh(event) {
            // A target of its own, for who tells of these in other words.
            Weight::Lasting => tracing::warn!(target: "aiomsg_driver::dials", %identity, "{event}"),
            Weight::FirstLoss => {
                tracing::warn!(%identity, "{event}; events and metrics tell of more like this, which is not warned of");
            }
            Weight::Detail => tracing::debug!(%identity, ?event, "{event}"),
        }
    }

    fn weigh(&mut self, event: &Event) -> Weight {
        match event {
            Event::GivenUp { .. } | Event::Retrying { failures: PERSISTENT, .. } => Weight::Lasting,
            Event::SlowPeer { .. }
            | Event::Undeliverable { .. }
            | Event::Expired { .. }
            | Event::AcknowledgedEarly { .. }
            | Event::AcknowledgementsHidden { .. }
                if !self.warned.contains(&discriminant(event)) =>
            {
                self.warned.push(discriminant(event));
                Weight::FirstLoss
            }
            _ => Weight::Detail,
        }
    }

    pub(crate) fn push(&mut self, event: Event, wakes: &mut Wakes) {
        if self.watchers == 0 {
            return;
        }
        if self.recent.len() as u64 == CAPACITY {
            self.recent.pop_front();
            self.first += 1;
        }
        self.recent.push_back(event);
        wakes.extend(self.waiting.take_all());
    }

    pub(crate) fn end_streams(&mut self, wakes: &mut Wakes) {
        self.ended = true;
        wakes.extend(self.waiting.take_all());
    }
}

/// The events of a socket, from when the stream was made; see [`Event`].
///
/// A watcher that falls more than 1,024 events behind gets [`Event::Lagged`] in the place of the oldest. The stream
/// ends when the socket has closed. Does not keep the socket open.
#[derive(Debug)]
pub struct EventStream {
    shared: Arc<Shared>,
    next: u64,
    ticket: Option<Ticket>,
}

impl EventStream {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let next = shared.with(|state| {
            state.events.watchers += 1;
            state.events.end()
        });
        Self { shared, next, ticket: None }
    }

    /// The next event, or `None` when the socket has closed.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has taken nothing.
    pub async fn recv(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    fn poll_recv(&mut self, cx: &Context<'_>) -> Poll<Option<Event>> {
        let Self { shared, next, ticket } = self;
        shared.with(|state| {
            let log = &mut state.events;
            if *next < log.first {
                let events = log.first - *next;
                *next = log.first;
                return Poll::Ready(Some(Event::Lagged { events }));
            }
            let index = usize::try_from(*next - log.first).unwrap_or(usize::MAX);
            if let Some(event) = log.recent.get(index) {
                *next += 1;
                return Poll::Ready(Some(event.clone()));
            }
            if log.ended {
                return Poll::Ready(None);
            }
            log.waiting.wait(ticket, cx.waker());
            Poll::Pending
        })
    }
}

impl Stream for EventStream {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.get_mut().poll_recv(cx)
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        let ticket = &mut self.ticket;
        self.shared.with(|state| {
            state.events.waiting.leave(ticket);
            state.events.watchers -= 1;
            if state.events.watchers == 0 {
                state.events.first = state.events.end();
                state.events.recent.clear();
            }
        });
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use aiomsg_proto::Usage;

    use super::*;

    #[test]
    fn each_kind_of_loss_is_worth_a_warning_once() {
        let (identity, dropped) = (Identity::from_bytes([7; 16]), Usage::default());
        let losses = [
            Event::Undeliverable { identity, dropped },
            Event::Expired { identity, dropped },
            Event::AcknowledgedEarly { identity },
            Event::AcknowledgementsHidden { identity },
        ];
        let mut log = EventLog::default();
        for weight in [Weight::FirstLoss, Weight::Detail] {
            assert_eq!(losses.each_ref().map(|loss| log.weigh(loss)), [weight; 4]);
        }
        assert_eq!(log.weigh(&Event::Lagged { events: 1 }), Weight::Detail);
    }
}
