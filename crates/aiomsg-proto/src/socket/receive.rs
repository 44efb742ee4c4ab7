//! What was received and not taken yet, and who may be read.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};

use super::acknowledge::Awaiting;
use super::link::Link;
use super::{Ready, Socket};
use crate::budget::{Allowance, Limit, Usage};
use crate::config::{Acknowledge, Receive};
use crate::connection::MessageRun;
use crate::dialect::Incoming;
use crate::error::CloseReason;
use crate::event::Event;
use crate::frame;
use crate::id::{ConnectionId, MessageId};
use crate::identity::Identity;
use crate::inbox::{Answer, Inbox};

/// A frame that is longer than this has its bytes set aside in the receive buffer before it has arrived in full.
const LARGE_FRAME: usize = 64 * 1024;

/// Paused connections that are looked at, at most, when some messages were taken and none of them could go on.
const RESUME_SCAN: usize = 4;

/// Messages that are less than this part of what came with them have memory of their own.
const LITTLE: usize = 4;

/// What was received and not taken yet.
#[derive(Debug)]
pub(super) struct Receiver {
    limit: Limit,
    inbox: Inbox,
    /// What the limit counts: in the inbox, taken and not settled, and set aside for large frames.
    held: Usage,
    /// What is set aside.
    reserved: Usage,
    /// A connection whose large frame is arriving beside all that the limit counts, since others would have no room if it
    /// counted. One at a time, and only while the limit is not reached, so no more than one message is ever beside it.
    guest: Option<ConnectionId>,
    /// Messages that wait to be acknowledged by being taken.
    pub(super) awaiting: Awaiting,
    /// Connections that are not read for now, those that have waited longest first.
    paused: VecDeque<ConnectionId>,
    announced: bool,
    /// What acknowledgements that came together name; empty in between.
    acknowledged: Vec<MessageId>,
}

impl Receiver {
    pub(super) fn new(limit: Limit) -> Self {
        Self {
            limit,
            inbox: Inbox::default(),
            held: Usage::default(),
            reserved: Usage::default(),
            guest: None,
            awaiting: Awaiting::default(),
            paused: VecDeque::new(),
            announced: false,
            acknowledged: Vec::new(),
        }
    }

    /// Messages received and not settled.
    pub(super) fn held(&self) -> Usage {
        let mut held = self.held;
        held.sub(self.reserved);
        held
    }

    /// Whether a connection may add a message of `bytes` bytes. It may fill as much as is still free, so several that
    /// want all of the buffer get equal parts of it, and one that wants little always finds room.
    #[inline]
    fn admits(&self, link: &Link, bytes: usize) -> bool {
        if self.held.is_empty() {
            return true;
        }
        let free = self.limit.free(self.held);
        let within_share = link.held.messages <= free.messages && link.held.bytes <= free.bytes;
        free.messages > 0 && bytes <= free.bytes && within_share
    }

    /// What a connection may add: as [`admits`](Self::admits) says of one message after another.
    fn allowance(&self, link: &Link) -> Allowance {
        let free = self.limit.free(self.held);
        let half = |free: usize, held: usize| free.checked_sub(held).map(|spare| spare / 2);
        match (half(free.messages, link.held.messages), half(free.bytes, link.held.bytes)) {
            (Some(messages), Some(before)) => Allowance {
                messages: free.messages.min(messages.saturating_add(1)),
                bytes: free.bytes,
                last_from: free.bytes.saturating_sub(before),
            },
            _ => Allowance::default(),
        }
    }

    /// Whether a paused connection has come down to half of what it may fill.
    fn may_resume(&self, link: &Link) -> bool {
        if self.held.is_empty() {
            return true;
        }
        let free = self.limit.free(self.held);
        free.messages > 0 && link.held.messages <= free.messages / 2 && link.held.bytes <= free.bytes / 2
    }

    /// Sets the place of a large frame aside that has not arrived in full. False if there is none for now.
    ///
    /// Half of what is free stays free, in bytes and in messages, so that who announces much, and then sends nothing, takes
    /// nothing from others.
    fn reserve(&mut self, id: ConnectionId, link: &mut Link, bytes: usize) -> bool {
        let reserved = Usage::one(bytes);
        let free = self.limit.free(self.held);
        if bytes <= free.bytes / 2 && free.messages > 1 && self.admits(link, bytes) {
            self.reserved.add(reserved);
            self.held.add(reserved);
            link.held.add(reserved);
        } else if self.guest.is_none() && !self.limit.is_reached(self.held) {
            self.guest = Some(id);
        } else {
            return false;
        }
        link.reserved = reserved;
        true
    }

    /// Gives back what was set aside for a connection.
    fn unreserve(&mut self, id: ConnectionId, link: &mut Link) {
        let reserved = core::mem::take(&mut link.reserved);
        if self.guest == Some(id) {
            self.guest = None;
            return;
        }
        self.reserved.sub(reserved);
        self.held.sub(reserved);
        link.held.sub(reserved);
    }

    fn push(&mut self, id: ConnectionId, link: &mut Link, payload: Bytes, answer: Answer) {
        let Some(identity) = link.identity() else { return };
        let usage = Usage::one(payload.len());
        self.held.add(usage);
        link.held.add(usage);
        self.inbox.push(id, identity, payload, answer);
    }

    fn push_run(
        &mut self,
        id: ConnectionId,
        identity: Identity,
        link: &mut Link,
        run: MessageRun,
        on_take: bool,
    ) {
        self.held.add(run.usage);
        link.held.add(run.usage);
        self.inbox.push_run(id, identity, run, on_take);
    }

    pub(super) fn has_paused(&self) -> bool {
        !self.paused.is_empty()
    }

    pub(super) fn paused_ids(&self) -> impl Iterator<Item = ConnectionId> {
        self.paused.iter().copied()
    }

    /// Forgets a connection that ended; what it sent stays.
    pub(super) fn forget(&mut self, id: ConnectionId, link: &mut Link) {
        self.unreserve(id, link);
        if link.paused.is_some() {
            self.paused.retain(|paused| *paused != id);
        }
    }
}

/// What the front of a reader's buffer holds.
enum Front {
    /// Something that can be taken at once, or that carries no message.
    Take,
    /// Nothing whole, and nothing that needs room yet.
    Partial,
    /// There is no room for it.
    NoRoom,
}

impl Socket {
    /// Takes what can be taken off `buffer`, until there is no whole frame, or no room.
    pub(super) fn receive(&mut self, id: ConnectionId, buffer: &mut BytesMut) -> Result<(), CloseReason> {
        let (came, runs) = (buffer.len(), self.receiver.inbox.runs());
        let result = self.receive_frames(id, buffer);
        // A few bytes among much that means nothing must not hold all that came: they alone are counted.
        self.receiver.inbox.copy_out(runs, came / LITTLE);
        result
    }

    fn receive_frames(&mut self, id: ConnectionId, buffer: &mut BytesMut) -> Result<(), CloseReason> {
        loop {
            let discards = self.discards(id);
            if discards {
                self.discard_long(id, buffer)?;
            }
            self.take_in_acknowledgements(id, buffer);
            self.take_in_run(id, buffer, discards);
            if buffer.is_empty() {
                return Ok(());
            }
            let Some(link) = self.links.get_mut(id.0).filter(|link| link.paused.is_none()) else {
                return Ok(());
            };
            let was_reserved = !link.reserved.is_empty();
            match Self::front(&mut self.receiver, id, link, buffer, discards) {
                Front::Take => {}
                Front::Partial => {
                    // Seen, so that it counts as a sign of life.
                    return link.connection.receive_frame(self.now, buffer).map(|_| ());
                }
                Front::NoRoom => {
                    self.pause(id);
                    return Ok(());
                }
            }
            match link.connection.receive_frame(self.now, buffer)? {
                Some(Incoming::Message(payload)) => self.take_in(id, payload, Answer::Nothing),
                Some(Incoming::Request(message, payload)) => self.take_in_request(id, message, payload),
                Some(Incoming::Greeting(greeting)) => self.handle_greeting(id, greeting)?,
                Some(Incoming::Acknowledgement(message)) => {
                    self.handle_acknowledgements(id, &[message]);
                }
                Some(Incoming::Skipped(_)) => self.metrics.skipped_frames += 1,
                Some(Incoming::Heartbeat) => {}
                None => return Ok(()),
            }
            if was_reserved {
                // What was set aside was for nothing, perhaps.
                self.resume();
            }
        }
    }

    fn front(
        receiver: &mut Receiver,
        id: ConnectionId,
        link: &mut Link,
        buffer: &BytesMut,
        discards: bool,
    ) -> Front {
        if !link.connection.is_established() || discards {
            return Front::Take;
        }
        let Some(announced) = frame::announced(buffer) else { return Front::Partial };
        let Some(length) =
            usize::try_from(announced).ok().filter(|_| announced <= link.connection.frame_limit())
        else {
            // It is refused for its length, whether there is room or not.
            return Front::Take;
        };
        let whole = buffer.len() >= length.saturating_add(frame::PREFIX);
        if !link.reserved.is_empty() {
            if !whole {
                return Front::Partial;
            }
            receiver.unreserve(id, link);
            return Front::Take;
        }
        if whole || length <= LARGE_FRAME {
            if receiver.admits(link, length) { Front::Take } else { Front::NoRoom }
        } else if receiver.reserve(id, link, length) {
            Front::Partial
        } else {
            Front::NoRoom
        }
    }

    /// Drops a long frame as it comes, of which nobody takes what is in it. To wait for room would not do, since what is
    /// behind it is to be read.
    fn discard_long(&mut self, id: ConnectionId, buffer: &mut BytesMut) -> Result<(), CloseReason> {
        let Some(link) = self.links.get_mut(id.0) else { return Ok(()) };
        if link.paused.is_some() || !link.connection.is_established() {
            return Ok(());
        }
        let was_reserved = !link.reserved.is_empty();
        if was_reserved {
            self.receiver.unreserve(id, link);
        }
        match link.connection.discard_long(self.now, buffer, LARGE_FRAME)? {
            Some((Incoming::Message(payload) | Incoming::Request(_, payload), cut)) => {
                self.discard(Usage::one(payload.len() + cut));
            }
            Some((Incoming::Acknowledgement(message), _)) => self.handle_acknowledgements(id, &[message]),
            Some((Incoming::Skipped(_), _)) => self.metrics.skipped_frames += 1,
            Some(_) | None => {}
        }
        if was_reserved {
            self.resume();
        }
        Ok(())
    }

    /// Takes acknowledgements in that stand at the front of `buffer`, in one step.
    fn take_in_acknowledgements(&mut self, id: ConnectionId, buffer: &mut BytesMut) {
        let Some(link) = self.links.get_mut(id.0) else { return };
        if link.unacknowledged.bound() == 0 || link.paused.is_some() || !link.connection.is_established() {
            return;
        }
        let mut messages = core::mem::take(&mut self.receiver.acknowledged);
        link.connection.receive_acknowledgements(self.now, buffer, &mut messages);
        if !messages.is_empty() {
            self.handle_acknowledgements(id, &messages);
            messages.clear();
        }
        self.receiver.acknowledged = messages;
    }

    /// Takes in what stands at the front of `buffer` and has a place, in one step.
    fn take_in_run(&mut self, id: ConnectionId, buffer: &mut BytesMut, discards: bool) {
        let Some(link) = self.links.get_mut(id.0) else { return };
        if discards || link.paused.is_some() || !link.reserved.is_empty() || !link.connection.is_established()
        {
            return;
        }
        let Some(identity) = link.identity() else { return };
        let allowance = self.receiver.allowance(link);
        let at_latest = match self.config.acknowledge {
            Acknowledge::OnTake { at_latest } => Some(at_latest),
            Acknowledge::OnReceive | Acknowledge::Manual => None,
        };
        let deadline = at_latest.flatten().map(|patience| self.now + patience);
        // With the first that asks to be acknowledged, its sender's window is looked up.
        let (mut seen, mut arrivals) = (at_latest.map(|_| &mut self.seen), None);
        // A copy of one that is known needs more thought.
        let new = |message| {
            if let Some(seen) = seen.take() {
                arrivals = Some(seen.arrivals(identity, id));
            }
            let new = arrivals.as_mut().is_some_and(|arrivals| arrivals.note(message).is_none());
            if new {
                self.receiver.awaiting.push(message);
            }
            new
        };
        let run = link.connection.receive_run(self.now, buffer, allowance, new);
        let Some(run) = run else { return };
        self.metrics.received.add(run.usage);
        let end = arrivals.map(|arrivals| arrivals.end());
        if let Some(end) = end {
            self.receiver.awaiting.close_run(identity, run.usage.messages, end, deadline);
        }
        self.receiver.push_run(id, identity, link, run, end.is_some());
        self.announce_received();
        if end.is_some() {
            self.arm_late_acknowledgement();
        }
    }

    fn announce_received(&mut self) {
        if !core::mem::replace(&mut self.receiver.announced, true) {
            self.ready.push_back(Ready::Received);
        }
    }

    pub(super) fn take_in(&mut self, id: ConnectionId, payload: Bytes, answer: Answer) {
        let usage = Usage::one(payload.len());
        if self.discards(id) {
            return self.discard(usage);
        }
        self.metrics.received.add(usage);
        let Some(link) = self.links.get_mut(id.0) else { return };
        self.receiver.push(id, link, payload, answer);
        self.announce_received();
    }

    /// Counts a message that nobody takes.
    const fn discard(&mut self, usage: Usage) {
        self.metrics.received.add(usage);
        self.metrics.discarded.add(usage);
    }

    /// Whether nobody will take what arrives on a connection.
    pub(super) fn discards(&self, id: ConnectionId) -> bool {
        self.closing.discards()
            || self.config.receive == Receive::Discard
            || self.links.get(id.0).is_none_or(|link| link.discard)
    }

    /// Stops reading a connection.
    fn pause(&mut self, id: ConnectionId) {
        let Some(link) = self.links.get_mut(id.0) else { return };
        link.paused = Some(self.now);
        link.unacknowledged.pause(self.now);
        link.connection.set_paused(self.now, true);
        if let Some(identity) = link.identity().filter(|_| link.unacknowledged.bound() > 0)
            && !core::mem::replace(&mut link.hiding_told, true)
        {
            self.events.push(Event::AcknowledgementsHidden { identity });
        }
        self.receiver.paused.push_back(id);
        self.watch_for_standstill();
        // Its silence says nothing any more.
        self.refuse_newcomer(id);
    }

    /// Lets connections be read again for which there is room, those first that have waited longest.
    pub(super) fn resume(&mut self) {
        let mut passed_over = 0;
        while passed_over < RESUME_SCAN.min(self.receiver.paused.len())
            && let Some(id) = self.receiver.paused.pop_front()
        {
            let Some(link) = self.links.get_mut(id.0) else { continue };
            if self.receiver.may_resume(link) {
                self.unpause(id);
            } else {
                self.receiver.paused.push_back(id);
                passed_over += 1;
            }
        }
    }

    /// Lets all connections be read again, since what comes is dropped from now on: acknowledgements must be seen, and
    /// a connection that is closed with bytes unread takes with it what was handed over.
    pub(super) fn resume_all(&mut self) {
        for id in core::mem::take(&mut self.receiver.paused) {
            self.unpause(id);
        }
    }

    fn unpause(&mut self, id: ConnectionId) {
        let Some(link) = self.links.get_mut(id.0) else { return };
        link.paused = None;
        link.connection.set_paused(self.now, false);
        self.resume_resends(id);
        self.mark_ready(id);
        self.rearm(id);
    }

    /// Settles what was taken out of `inbox`, which may let connections be read again, and fills it if it is empty.
    /// Returns whether it has messages.
    pub(super) fn exchange(&mut self, inbox: &mut Inbox) -> bool {
        let mut settled = false;
        for taken in inbox.drain_taken() {
            settled = true;
            self.receiver.held.sub(taken.usage);
            self.acknowledge_taken(taken.on_take);
            if let Some(link) = self.links.get_mut(taken.connection.0) {
                link.held.sub(taken.usage);
                link.hiding_told &= !link.held.is_empty();
            }
        }
        if settled {
            self.standstill.note_taken(self.now);
            self.resume();
        }
        inbox.refill(&mut self.receiver.inbox);
        if self.receiver.inbox.is_empty() {
            self.receiver.announced = false;
        }
        !inbox.is_empty()
    }
}
