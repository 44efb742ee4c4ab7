//! At-least-once, the sending side: who has a message, when it is sent again, and when that ends.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use slotmap::{DefaultKey, SlotMap};

use super::link::Link;
use super::{Ready, Socket, TimerKey};
use crate::budget::Usage;
use crate::config::Config;
use crate::event::Event;
use crate::id::{ConnectionId, DeliveryKey, MessageId, ReceiptId};
use crate::identity::Identity;
use crate::outgoing::{Heading, Outgoing, Route};
use crate::time::Instant;
use crate::timers::Armed;

/// What became of a message that was sent with a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Receipt {
    /// This peer has acknowledged it. By default its application has taken it then, and has perhaps not done with it; it
    /// has if the peer is set to [`Acknowledge::Manual`](crate::Acknowledge::Manual).
    Acknowledged {
        /// Who.
        by: Identity,
    },
    /// It was given up: too many attempts, or its peer did not come back in time.
    Expired,
    /// The socket was closed before it was acknowledged. The peer may have it all the same.
    Closed,
}

/// A message whose acknowledgement is awaited.
#[derive(Debug)]
struct Delivery {
    /// What is in it, once it was bound to a connection.
    payload: Bytes,
    sequence: u64,
    route: Route,
    /// The peer that has it, or had it last.
    owner: Option<Identity>,
    /// The connection that it is bound to.
    connection: Option<ConnectionId>,
    /// Its last byte was handed over, and no further copy waits to be.
    sent: bool,
    /// How often it was handed over, and how often to this connection.
    attempts: u32,
    attempts_here: u32,
    receipt: bool,
}

impl Delivery {
    fn usage(&self) -> Usage {
        Usage::one(self.payload.len())
    }

    fn heading(&self, key: DeliveryKey) -> Heading {
        Heading { sequence: self.sequence, route: self.route, delivery: Some(key) }
    }

    /// Whether it was handed over as often as it may be.
    fn is_exhausted(&self, config: &Config) -> bool {
        config.max_attempts.is_some_and(|most| self.attempts >= most.get())
    }
}

/// All messages whose acknowledgement is awaited.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    table: SlotMap<DefaultKey, Delivery>,
    /// What became of messages with a receipt, for whoever asks.
    receipts: VecDeque<(ReceiptId, Receipt)>,
    announced: bool,
}

impl Deliveries {
    /// How many receipts there are that nobody has asked for.
    pub(super) fn receipts(&self) -> usize {
        self.receipts.len()
    }

    /// Gives a message the name under which its acknowledgement is awaited.
    pub(super) fn track(&mut self, heading: &mut Heading, receipt: bool) -> DeliveryKey {
        let key = self.table.insert(Delivery {
            payload: Bytes::new(),
            sequence: heading.sequence,
            route: heading.route,
            owner: None,
            connection: None,
            sent: false,
            attempts: 0,
            attempts_here: 0,
            receipt,
        });
        heading.delivery = Some(key);
        key
    }

    /// Binds a message to a connection, and keeps it from now on until it is acknowledged. Returns where it is kept, or
    /// nothing if it has been acknowledged meanwhile.
    #[inline]
    pub(super) fn bind(
        &mut self,
        id: ConnectionId,
        link: &mut Link,
        heading: &mut Heading,
        payload: &mut Bytes,
    ) -> Option<&Bytes> {
        let key = match heading.delivery {
            Some(key) => key,
            None => self.track(heading, false),
        };
        let delivery = self.table.get_mut(key)?;
        delivery.payload = core::mem::take(payload);
        if delivery.connection != Some(id) {
            delivery.connection = Some(id);
            delivery.owner = link.identity();
            delivery.sent = false;
            // Another connection is not to be judged by the one before.
            delivery.attempts_here = 0;
            link.unacknowledged.bound += 1;
        }
        Some(&delivery.payload)
    }

    /// Whether a message still has to be sent: it does not if it has been acknowledged meanwhile.
    pub(super) fn is_wanted(&self, message: &Outgoing) -> bool {
        message.heading.delivery.is_none_or(|key| self.table.contains_key(key))
    }

    /// Notes that a message does not wait at a connection any more.
    pub(super) fn unbind(&mut self, message: &Outgoing) {
        if let Some(delivery) = message.heading.delivery.and_then(|key| self.table.get_mut(key)) {
            delivery.connection = None;
        }
    }

    #[inline]
    fn end(&mut self, key: DeliveryKey, receipt: Receipt, ready: &mut VecDeque<Ready>) -> Option<Delivery> {
        let delivery = self.table.remove(key)?;
        if delivery.receipt {
            self.tell(key, receipt, ready);
        }
        Some(delivery)
    }

    #[cold]
    fn tell(&mut self, key: DeliveryKey, receipt: Receipt, ready: &mut VecDeque<Ready>) {
        self.receipts.push_back((ReceiptId(key), receipt));
        if !core::mem::replace(&mut self.announced, true) {
            ready.push_back(Ready::Receipt);
        }
    }

    /// The socket is closed: nothing is awaited any more.
    pub(super) fn end_all(&mut self, ready: &mut VecDeque<Ready>) {
        let keys: Vec<DeliveryKey> = self.table.keys().collect();
        for key in keys {
            self.end(key, Receipt::Closed, ready);
        }
    }
}

/// The messages of one connection that were handed over and are not acknowledged, by when they are sent again.
///
/// The times are those of a clock that stands still while the connection is not read, since the acknowledgement may be
/// what is not read.
#[derive(Debug, Default)]
pub(super) struct Unacknowledged {
    /// Messages bound to the connection, those that wait there included.
    bound: usize,
    /// Those that were handed over, by the time until the next copy: each queue is in the order of its times. Those that
    /// were acknowledged are still in it, and passed over.
    due: Vec<DueQueue>,
    /// Since when the connection is not read.
    paused_at: Option<Instant>,
    /// How long it was not read before.
    paused: Duration,
    /// A message was acknowledged while a copy of it waited to be written.
    stale: bool,
    pub(super) armed: Armed,
}

/// When messages are due that were handed over so often, and the place of their queue.
#[derive(Clone, Copy, Debug)]
struct Due {
    attempts: u32,
    place: usize,
    at: Instant,
}

/// Messages in the order in which they are due.
type DueQueue = VecDeque<(Instant, DeliveryKey)>;

/// Entries of acknowledged messages in a queue, beside as many as there are others, before they are taken out.
const DUE_SLACK: usize = 1_024;

/// The place of the queue for messages handed over so often, and the time until their next copy.
fn backoff(attempts: u32, config: &Config) -> (usize, Duration) {
    let (mut place, mut delay) = (0, config.resend_after);
    while delay < config.resend_after_max && place < attempts.saturating_sub(1) as usize {
        delay = delay.saturating_mul(2).min(config.resend_after_max);
        place += 1;
    }
    (place, delay)
}

impl Unacknowledged {
    pub(super) const fn bound(&self) -> usize {
        self.bound
    }

    /// Stops the clock.
    pub(super) const fn pause(&mut self, now: Instant) {
        self.paused_at = Some(now);
    }

    /// Lets the clock go on.
    pub(super) fn resume(&mut self, now: Instant) {
        if let Some(since) = self.paused_at.take() {
            self.paused = self.paused.saturating_add(now.saturating_duration_since(since));
        }
    }

    /// The time of the clock that stands still.
    fn clock(&self, now: Instant) -> Instant {
        let now = self.paused_at.unwrap_or(now);
        Instant::EPOCH + now.saturating_duration_since(Instant::EPOCH + self.paused)
    }

    /// When messages are due that were handed over now, and so often.
    fn due_after(&self, now: Instant, attempts: u32, config: &Config) -> Due {
        let (place, delay) = backoff(attempts, config);
        Due { attempts, place, at: self.clock(now) + delay }
    }

    #[inline]
    fn push(&mut self, due: Due, key: DeliveryKey) {
        if self.due.len() <= due.place {
            self.due.resize_with(due.place + 1, DueQueue::new);
        }
        if let Some(queue) = self.due.get_mut(due.place) {
            queue.push_back((due.at, key));
        }
    }

    /// A message is done with. Mostly it is the one that would be due next.
    #[inline]
    fn note_ended(&mut self, key: DeliveryKey, sent: bool) {
        self.bound = self.bound.saturating_sub(1);
        self.stale |= !sent;
        if let Some(queue) = self.due.first_mut()
            && queue.front().is_some_and(|(_, first)| *first == key)
        {
            queue.pop_front();
        }
    }

    /// When the next message is due, by the socket's clock, forgetting those that are not `awaited` any more.
    fn next_due(&mut self, awaited: impl Fn(DeliveryKey) -> bool) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for queue in &mut self.due {
            if queue.len() > 2 * self.bound + DUE_SLACK {
                queue.retain(|(_, key)| awaited(*key));
            }
            while let Some((due, key)) = queue.front() {
                if awaited(*key) {
                    next = Some(next.map_or(*due, |next| next.min(*due)));
                    break;
                }
                queue.pop_front();
            }
        }
        next.map(|due| due + self.paused)
    }

    fn pop_due(&mut self, now: Instant) -> Option<DeliveryKey> {
        let clock = self.clock(now);
        let is_due = |queue: &&mut DueQueue| queue.front().is_some_and(|(due, _)| *due <= clock);
        self.due.iter_mut().find(is_due)?.pop_front().map(|(_, key)| key)
    }

    /// All that was handed over, those that were acknowledged included.
    fn take_all(&mut self) -> Vec<DeliveryKey> {
        core::mem::take(&mut self.due).into_iter().flatten().map(|(_, key)| key).collect()
    }
}

impl Socket {
    /// Notes that messages to be acknowledged were handed over to the last byte.
    pub(super) fn note_delivered(&mut self, id: ConnectionId, keys: Vec<DeliveryKey>) {
        let Some(link) = self.links.get_mut(id.0) else { return };
        let mut due = link.unacknowledged.due_after(self.now, 1, &self.config);
        for key in keys {
            let Some(delivery) = self.deliveries.table.get_mut(key) else { continue };
            delivery.sent = true;
            delivery.attempts = delivery.attempts.saturating_add(1);
            delivery.attempts_here = delivery.attempts_here.saturating_add(1);
            if delivery.attempts > 1 {
                self.metrics.resent.add(delivery.usage());
            }
            if delivery.attempts_here != due.attempts {
                due = link.unacknowledged.due_after(self.now, delivery.attempts_here, &self.config);
            }
            link.unacknowledged.push(due, key);
        }
        self.arm_resend(id);
    }

    fn arm_resend(&mut self, id: ConnectionId) {
        let Some(link) = self.links.get_mut(id.0).filter(|link| link.paused.is_none()) else { return };
        let table = &self.deliveries.table;
        let awaited =
            |key| table.get(key).is_some_and(|delivery| delivery.sent && delivery.connection == Some(id));
        if let Some(due) = link.unacknowledged.next_due(awaited) {
            self.timers.arm(TimerKey::Resend(id), &mut link.unacknowledged.armed, due);
        }
    }

    /// A connection is read again after a pause: its clock goes on.
    pub(super) fn resume_resends(&mut self, id: ConnectionId) {
        if let Some(link) = self.links.get_mut(id.0) {
            link.unacknowledged.resume(self.now);
        }
        self.arm_resend(id);
    }

    /// A peer has acknowledged messages. That counts only of those that it has, or had last.
    pub(super) fn handle_acknowledgements(&mut self, id: ConnectionId, messages: &[MessageId]) {
        let Some(from) = self.links.get(id.0).and_then(|link| link.identity()) else { return };
        let ids = self.ids;
        let mut acknowledged = Usage::default();
        for key in messages.iter().filter_map(|message| ids.key(*message)) {
            if self.deliveries.table.get(key).is_none_or(|delivery| delivery.owner != Some(from)) {
                continue;
            }
            let Some(delivery) =
                self.deliveries.end(key, Receipt::Acknowledged { by: from }, &mut self.ready)
            else {
                continue;
            };
            acknowledged.add(delivery.usage());
            if let Some(bound) = self.unbind_ended(key, &delivery).filter(|bound| *bound != id) {
                self.use_window(bound);
            }
        }
        self.metrics.acknowledged.add(acknowledged);
        self.release(acknowledged);
        self.use_window(id);
    }

    /// A message is done with: the connection that had it, which is returned, has room for another.
    #[inline]
    fn unbind_ended(&mut self, key: DeliveryKey, delivery: &Delivery) -> Option<ConnectionId> {
        let id = delivery.connection?;
        self.links.get_mut(id.0)?.unacknowledged.note_ended(key, delivery.sent);
        Some(id)
    }

    /// Gives a connection that has room in its window what waits for that.
    pub(super) fn use_window(&mut self, id: ConnectionId) {
        let identity = self.links.get(id.0).and_then(|link| link.identity());
        self.enter_ring(id);
        if let Some(identity) = identity {
            self.release_held(identity);
        }
        self.drain_queue();
    }

    /// Sends what is due again, or gives it up.
    pub(super) fn handle_resend_timeout(&mut self, id: ConnectionId) {
        loop {
            let Some(link) = self.links.get_mut(id.0) else { return };
            if link.paused.is_some() || link.ending.is_some() {
                return;
            }
            let Some(key) = link.unacknowledged.pop_due(self.now) else { break };
            let Some(delivery) = self.deliveries.table.get_mut(key) else { continue };
            if !delivery.sent || delivery.connection != Some(id) {
                continue;
            }
            if delivery.is_exhausted(&self.config) {
                self.expire(key);
                continue;
            }
            delivery.sent = false;
            link.connection.push(delivery.heading(key), &delivery.payload);
            self.mark_ready(id);
        }
        self.arm_resend(id);
    }

    /// Takes copies of messages that were acknowledged meanwhile out of what waits to be written. Returns whether there were
    /// any.
    pub(super) fn drop_stale(&mut self, id: ConnectionId) -> bool {
        let Some(link) = self.links.get_mut(id.0) else { return false };
        let stale = core::mem::take(&mut link.unacknowledged.stale);
        if stale {
            link.connection.retain(|message| self.deliveries.is_wanted(message));
        }
        stale
    }

    fn expire(&mut self, key: DeliveryKey) {
        let Some(delivery) = self.deliveries.end(key, Receipt::Expired, &mut self.ready) else { return };
        let dropped = delivery.usage();
        self.metrics.dropped_expired.add(dropped);
        if let Some(identity) = delivery.owner {
            self.events.push(Event::Expired { identity, dropped });
        }
        if let Some(id) = self.unbind_ended(key, &delivery) {
            self.use_window(id);
        }
        self.release(dropped);
    }

    /// Messages to a peer that did not come back are given up. Returns what they were, without those that it had
    /// acknowledged while a further copy waited.
    pub(super) fn end_undeliverable(&mut self, messages: &VecDeque<Outgoing>) -> Usage {
        let mut dropped = Usage::default();
        for message in messages {
            let mut end = |key| self.deliveries.end(key, Receipt::Expired, &mut self.ready);
            if message.heading.delivery.is_none_or(|key| end(key).is_some()) {
                dropped.add(message.usage());
            }
        }
        dropped
    }

    /// What was handed over to a connection that is gone and was not acknowledged, to be sent again.
    pub(super) fn take_unacknowledged(&mut self, id: ConnectionId) -> VecDeque<Outgoing> {
        let Some(link) = self.links.get_mut(id.0) else { return VecDeque::new() };
        self.timers.disarm(TimerKey::Resend(id), &mut link.unacknowledged.armed);
        let mut returned = VecDeque::new();
        for key in link.unacknowledged.take_all() {
            let Some(delivery) = self.deliveries.table.get_mut(key) else { continue };
            if !delivery.sent || delivery.connection != Some(id) {
                continue;
            }
            if delivery.is_exhausted(&self.config) {
                self.expire(key);
            } else {
                delivery.sent = false;
                returned.push_back(Outgoing {
                    payload: delivery.payload.clone(),
                    heading: delivery.heading(key),
                });
            }
        }
        returned
    }

    /// What became of a message that was sent by [`send_with_receipt`](Self::send_with_receipt), each once.
    /// [`Ready::Receipt`] tells that there is one.
    #[must_use]
    pub fn poll_receipt(&mut self) -> Option<(ReceiptId, Receipt)> {
        self.deliveries.announced = self.deliveries.receipts.len() > 1;
        let receipt = self.deliveries.receipts.pop_front()?;
        self.announce_if_room();
        Some(receipt)
    }
}

#[cfg(test)]
mod tests {
    use slotmap::KeyData;

    use super::*;

    fn key(number: u64) -> DeliveryKey {
        KeyData::from_ffi((1 << 32) | number).into()
    }

    #[test]
    fn acknowledged_messages_do_not_pile_up_behind_one_that_is_not() {
        let config = Config::default();
        let mut unacknowledged = Unacknowledged { bound: 1, ..Unacknowledged::default() };
        let first = unacknowledged.clock(Instant::EPOCH) + config.resend_after;
        for number in 0..100_000 {
            let due = unacknowledged.due_after(Instant::EPOCH, 1, &config);
            unacknowledged.push(due, key(number));
            assert_eq!(unacknowledged.next_due(|awaited| awaited == key(0)), Some(first));
        }
        assert!(unacknowledged.due.iter().map(VecDeque::len).sum::<usize>() <= DUE_SLACK + 3);
    }
}
