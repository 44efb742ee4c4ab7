//! One byte stream: introduction, signs of life, and what waits to be written.

mod discarding;
mod handshake;
mod liveness;
mod outbox;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use self::discarding::Discarding;
pub use self::handshake::Role;
pub(crate) use self::liveness::LATE;
use self::liveness::Liveness;
use self::outbox::Outbox;
use crate::batch::Batch;
use crate::budget::{Allowance, Usage};
use crate::config::Config;
use crate::dialect::{FIRST_FRAME_LIMIT, Greeting, GreetingError, Incoming, Protocol};
use crate::error::{CloseReason, SendError};
use crate::frame;
use crate::frames::{Settled, Wire};
use crate::id::{MessageId, MessageIds};
use crate::identity::Identity;
use crate::outgoing::{Heading, Outgoing, Route};
use crate::time::Instant;

/// How long a connection that we have finished is read until the peer closes it, too.
const DRAIN: Duration = Duration::from_secs(1);

/// What is read of a peer that has not introduced itself, or whose introduction is not answered yet, in bytes.
const HANDSHAKE_READ: usize = 4 * 1024;

/// What a link may read ahead of an open connection, in bytes. A partial frame longer than that is read to its end.
const OPEN_READ: usize = 256 * 1024;

/// A buffer of so many bytes is not worth being read into again.
const SMALL: usize = 4 * 1024;

/// So often at most is a deadline put off since we have slept.
const SLEEPS: u8 = 8;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The peer has not introduced itself.
    Introducing { until: Instant },
    /// It has, and our owner has not decided.
    Introduced,
    /// Messages flow.
    Open,
    /// The peer is about to end it. What it still sends is read until it closes; when the time is up, we end it.
    Yielding { until: Instant },
    /// We write no further batch. What the peer still sends is read until it closes, or until the time is up, which
    /// starts to run when our last batch is written, and stands still while the peer is not read. The latest is `by`,
    /// whatever the peer and the application do.
    Finishing { until: Option<Instant>, by: Instant },
}

/// Messages that stand side by side in a stream.
#[derive(Debug)]
pub(crate) struct MessageRun {
    /// Their frames.
    pub(crate) frames: Bytes,
    /// Bytes of each frame before the payload.
    pub(crate) head: usize,
    /// Their payloads.
    pub(crate) usage: Usage,
}

/// One connection, without routing: the protocol over a single byte stream.
///
/// This is the layer for who needs one link and nothing else; [`Socket`](crate::Socket) manages any number of them.
/// Bytes from the peer go into [`receive`](Self::receive), whose first result is the peer's
/// [`Greeting`](Incoming::Greeting); [`establish`](Self::establish) accepts it. [`send`](Self::send) queues,
/// [`transmit`](Self::transmit) fills a [`Batch`] to be written, [`handle_transmitted`](Self::handle_transmitted)
/// brings it back. [`poll_timeout`](Self::poll_timeout) says when to call [`handle_timeout`](Self::handle_timeout).
#[derive(Debug)]
pub struct Connection {
    config: Arc<Config>,
    identity: Identity,
    ids: MessageIds,
    role: Role,
    phase: Phase,
    protocol: Protocol,
    peer: Option<Identity>,
    liveness: Liveness,
    outbox: Outbox,
    /// Bytes that were left in the reader's buffer when it was last seen.
    left_over: usize,
    /// A long frame that is dropped as it comes.
    discarding: Option<Box<Discarding>>,
    /// How often we have slept through something since the peer last gave a sign of life, or since this phase began.
    sleeps: u8,
    /// The peer has sent something behind its introduction.
    spoken: bool,
    skipped: u64,
    sequence: u64,
}

impl Connection {
    /// A connection that has just come to be. `seed` makes the ids of its messages; use a different one each time.
    ///
    /// # Errors
    /// [`ConfigError`](crate::ConfigError) if the configuration contradicts itself.
    pub fn new(
        config: Config,
        identity: Identity,
        role: Role,
        seed: u64,
        now: Instant,
    ) -> Result<Self, crate::ConfigError> {
        config.validate()?;
        Ok(Self::assemble(Arc::new(config), identity, role, MessageIds::new(seed), now))
    }

    pub(crate) fn assemble(
        config: Arc<Config>,
        identity: Identity,
        role: Role,
        ids: MessageIds,
        now: Instant,
    ) -> Self {
        let protocol = match role {
            Role::Dialled(protocol) => protocol,
            // Not spoken until the peer has.
            Role::Accepted => Protocol::V1,
        };
        let mut connection = Self {
            phase: Phase::Introducing { until: now + config.handshake_timeout },
            config,
            identity,
            ids,
            role,
            protocol,
            peer: None,
            liveness: Liveness::new(now),
            outbox: Outbox::default(),
            left_over: 0,
            discarding: None,
            sleeps: 0,
            spoken: false,
            skipped: 0,
            sequence: 0,
        };
        if let Role::Dialled(protocol) = role {
            protocol.encode_greeting(&identity, connection.outbox.control());
        }
        connection
    }

    /// Lets the time for the introduction run from `start`, before now, when the dial began. A tenth of it is left in any
    /// case: if the beginning was long ago, our machine slept, perhaps, and the peer has had no time yet.
    pub(crate) fn started_at(&mut self, start: Instant, now: Instant) {
        let timeout = self.config.handshake_timeout;
        self.phase = Phase::Introducing { until: (start + timeout).max(now + timeout / 10) };
    }

    /// Takes the next frame off the front of `buffer`, the bytes from the peer that were not taken yet.
    ///
    /// `Ok(None)` means that nothing can be taken now: more bytes are needed, or [`establish`](Self::establish) is
    /// awaited. Whole frames are taken without copying. Heartbeats are noted and never returned. The buffer must not be
    /// changed between two calls but by appending to it.
    ///
    /// # Errors
    /// The connection must be closed, for this reason. The peer is at fault.
    #[inline]
    pub fn receive(&mut self, now: Instant, buffer: &mut BytesMut) -> Result<Option<Incoming>, CloseReason> {
        loop {
            match self.receive_frame(now, buffer)? {
                Some(Incoming::Heartbeat | Incoming::Skipped(_)) => {}
                incoming => return Ok(incoming),
            }
        }
    }

    /// As [`receive`](Self::receive), one frame at a time: heartbeats and skipped frames are returned, too.
    #[inline]
    pub(crate) fn receive_frame(
        &mut self,
        now: Instant,
        buffer: &mut BytesMut,
    ) -> Result<Option<Incoming>, CloseReason> {
        self.note_received(now, buffer.len());
        let result = self.take_frame(buffer);
        self.left_over = buffer.len();
        result
    }

    #[inline]
    fn note_received(&mut self, now: Instant, buffered: usize) {
        if self.is_news(buffered) {
            self.liveness.note_received(now);
            if self.phase == Phase::Open {
                self.sleeps = 0;
            }
        }
    }

    #[inline]
    fn take_frame(&mut self, buffer: &mut BytesMut) -> Result<Option<Incoming>, CloseReason> {
        match self.phase {
            Phase::Introducing { .. } => return self.take_greeting(buffer),
            _ if self.is_established() => {}
            _ => return Ok(None),
        }
        let Some(frame) = frame::split(buffer, self.frame_limit())? else { return Ok(None) };
        self.understand(frame, 0).map(Some)
    }

    /// What a frame means, behind which `cut` bytes were dropped.
    #[inline]
    fn understand(&mut self, frame: Bytes, cut: usize) -> Result<Incoming, CloseReason> {
        self.spoken = true;
        let length = frame.len() + cut;
        let incoming = self.protocol.decode(frame);
        match &incoming {
            Incoming::Message(payload) | Incoming::Request(_, payload) => {
                self.check_payload(length, payload.len() + cut)?;
            }
            Incoming::Skipped(_) => self.skipped = self.skipped.saturating_add(1),
            _ => {}
        }
        Ok(incoming)
    }

    /// Takes messages off the front of `buffer`: all that stand there side by side, are allowed, and are alike in that
    /// none or each of them is to be acknowledged; of the latter those whose id is `new`. Returns them if there are any.
    /// Whatever else is there is left to [`receive`](Self::receive).
    pub(crate) fn receive_run(
        &mut self,
        now: Instant,
        buffer: &mut BytesMut,
        mut allowed: Allowance,
        mut new: impl FnMut(MessageId) -> bool,
    ) -> Option<MessageRun> {
        self.note_received(now, buffer.len());
        let (limit, longest) = (self.frame_limit(), self.config.max_message);
        let (mut end, mut head, mut usage) = (0, None, Usage::default());
        while let Some(frame) = frame::whole(buffer.get(end..).unwrap_or_default(), limit)
            && let Some((before, id)) = self.protocol.message_head(frame)
            && head.is_none_or(|head| head == before)
            && frame.len() - before <= longest
            && allowed.take(frame.len())
            && id.is_none_or(|id| new(MessageId::from_bytes(*id)))
        {
            head = Some(before);
            usage.add(Usage::one(frame.len() - before));
            end += frame::PREFIX + frame.len();
        }
        let frames = match end {
            0 => None,
            // Little that is all there is changes hands. What is larger is cut off, so that it can be read into again.
            _ if end == buffer.capacity() && end <= SMALL => Some(core::mem::take(buffer)),
            _ => Some(buffer.split_to(end)),
        };
        self.left_over = buffer.len();
        self.spoken |= frames.is_some();
        let head = frame::PREFIX + head?;
        Some(MessageRun { frames: frames?.freeze(), head, usage })
    }

    /// Takes acknowledgements off the front of `buffer`, all that stand there side by side, and adds what they acknowledge
    /// to `messages`.
    pub(crate) fn receive_acknowledgements(
        &mut self,
        now: Instant,
        buffer: &mut BytesMut,
        messages: &mut Vec<MessageId>,
    ) {
        self.note_received(now, buffer.len());
        let limit = self.frame_limit();
        let mut end = 0;
        while let Some(frame) = frame::whole(buffer.get(end..).unwrap_or_default(), limit)
            && let Some(id) = self.protocol.acknowledged(frame)
        {
            messages.push(MessageId::from_bytes(*id));
            end += frame::PREFIX + frame.len();
        }
        buffer.advance(end);
        self.left_over = buffer.len();
        self.spoken |= end > 0;
    }

    /// The longest frame that the peer may send, now that it has introduced itself. What is in it may still be too long,
    /// since some frames need less beside their payload than others.
    pub(crate) fn frame_limit(&self) -> u32 {
        self.config.frame_limit(self.protocol.overhead())
    }

    /// Refuses a payload that could not be sent on, in a frame of `length` bytes.
    #[inline]
    fn check_payload(&self, length: usize, payload: usize) -> Result<(), frame::FrameTooLong> {
        if payload <= self.config.max_message {
            return Ok(());
        }
        let bytes = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let length = bytes(length);
        Err(frame::FrameTooLong {
            length,
            limit: self.config.frame_limit(length.saturating_sub(bytes(payload))),
        })
    }

    fn take_greeting(&mut self, buffer: &mut BytesMut) -> Result<Option<Incoming>, CloseReason> {
        let frame = match frame::split(buffer, FIRST_FRAME_LIMIT) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(None),
            Err(too_long) => return Err(GreetingError::TooLong { length: too_long.length }.into()),
        };
        let greeting = Greeting::decode(&frame)?;
        self.protocol = self.role.settle(self.config.dialect, greeting)?;
        self.peer = Some(greeting.identity);
        self.phase = Phase::Introduced;
        Ok(Some(Incoming::Greeting(greeting)))
    }

    /// Accepts the peer that has introduced itself: answers it if it spoke first, and lets messages flow.
    pub fn establish(&mut self, now: Instant) {
        if self.phase == Phase::Introduced {
            if self.role == Role::Accepted {
                self.protocol.encode_greeting(&self.identity, self.outbox.control());
            }
            self.phase = Phase::Open;
            self.sleeps = 0;
            self.liveness.note_written(now);
        }
    }

    /// Queues a message.
    ///
    /// # Errors
    /// The message comes back if the connection is not open, if the message is too long, or if as much waits as
    /// [`Config::peer_queue`] allows: with [`SendError::PeerFull`], try again after
    /// [`handle_transmitted`](Self::handle_transmitted).
    pub fn send(&mut self, payload: Bytes) -> Result<(), SendError> {
        let limit = self.config.max_message;
        if payload.len() > limit {
            return Err(SendError::TooLong { payload, limit });
        }
        if !self.is_open() {
            return Err(SendError::Closed(payload));
        }
        if !self.config.peer_queue.admits(self.outbox.queued(), payload.len()) {
            return Err(SendError::PeerFull(payload));
        }
        self.sequence += 1;
        self.push(Heading::new(self.sequence, Route::Direct), &payload);
        Ok(())
    }

    /// Queues the acknowledgement of a message that came as [`Incoming::Request`]. Up to 8,192 wait; then the oldest is
    /// forgotten, and the peer sends its message again.
    pub fn acknowledge(&mut self, id: MessageId) {
        if matches!(self.phase, Phase::Open) {
            self.outbox.push_acknowledgement(id);
        }
    }

    /// Fills `batch` with what is to be written next. Does nothing while it is not written. Returns whether there is
    /// something to write.
    pub fn transmit(&mut self, batch: &mut Batch) -> bool {
        if batch.is_empty() {
            let with_messages = matches!(self.phase, Phase::Open);
            self.outbox.fill(self.wire(), batch, with_messages);
        }
        !batch.is_empty()
    }

    /// Notes how much of `batch` was written.
    pub fn handle_transmitted(&mut self, now: Instant, batch: &mut Batch) {
        self.settle(now, batch);
    }

    pub(crate) fn settle(&mut self, now: Instant, batch: &mut Batch) -> Settled {
        let was_idle = self.outbox.is_idle();
        let settled = self.outbox.settle(batch);
        if !was_idle && self.outbox.is_idle() {
            // It puts off what was due, and so would hide that it was due long ago.
            self.notice_sleep(now);
            self.liveness.note_written(now);
        }
        self.start_drain(now);
        settled
    }

    /// Writes nothing further but what is being written, and reads until the peer closes, for at most a second.
    pub fn finish(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Finishing { .. }) {
            self.phase = Phase::Finishing { until: None, by: now + self.config.heartbeat_timeout };
            self.sleeps = 0;
        }
        self.start_drain(now);
    }

    /// Writes nothing further, and leaves it to the peer to end the connection, for at most a second. So the peer knows,
    /// once it sees our end, that all it had written was read.
    pub(crate) fn yield_to_peer(&mut self, now: Instant) {
        self.phase = Phase::Yielding { until: now + DRAIN };
    }

    fn start_drain(&mut self, now: Instant) {
        let is_written = self.is_written();
        if let Phase::Finishing { until: until @ None, .. } = &mut self.phase
            && is_written
        {
            *until = Some(now + DRAIN);
        }
    }

    /// All that will ever be written is written: the link may close its writing half.
    fn is_written(&self) -> bool {
        self.outbox.is_written()
    }

    /// Whether the link is to close its writing half now.
    pub fn wants_half_close(&self) -> bool {
        matches!(self.phase, Phase::Finishing { until: Some(_), .. })
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            // It is looked now and then: who looks too late knows that he slept, and the peer had no time meanwhile.
            Phase::Introducing { until } => {
                Some(until.min(self.liveness.heartbeat_at(self.config.handshake_timeout / 10)))
            }
            Phase::Yielding { until } => Some(until),
            Phase::Introduced => None,
            Phase::Open => {
                let dead = self.liveness.dead_at(self.config.heartbeat_timeout);
                let heartbeat = self.liveness.heartbeat_at(self.config.heartbeat_interval);
                Some(dead.map_or(heartbeat, |dead| dead.min(heartbeat)))
            }
            Phase::Finishing { until: Some(_), by } if self.liveness.is_paused() => Some(by),
            Phase::Finishing { until, by } => {
                let sooner = until.or_else(|| self.liveness.dead_at(self.config.heartbeat_timeout));
                Some(sooner.map_or(by, |sooner| sooner.min(by)))
            }
        }
    }

    /// Does what is due. Early and repeated calls do nothing.
    ///
    /// # Errors
    /// The connection must be closed, for this reason.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), CloseReason> {
        self.notice_sleep(now);
        match self.phase {
            Phase::Introducing { until } if until <= now => return Err(CloseReason::HandshakeTimeout),
            Phase::Introducing { .. } => {
                if self.poll_timeout().is_some_and(|look| look <= now) {
                    self.liveness.note_written(now);
                }
                return Ok(());
            }
            Phase::Finishing { by, .. } if by <= now => return Err(CloseReason::Ended),
            Phase::Finishing { until: Some(until), .. } if until <= now && !self.liveness.is_paused() => {
                return Err(CloseReason::Ended);
            }
            Phase::Open | Phase::Finishing { until: None, .. } => {
                if self.liveness.is_dead(now, self.config.heartbeat_timeout) {
                    return Err(CloseReason::Silent);
                }
            }
            Phase::Yielding { until } if until <= now => self.finish(now),
            Phase::Introduced | Phase::Yielding { .. } | Phase::Finishing { .. } => {}
        }
        let due = self.liveness.heartbeat_at(self.config.heartbeat_interval) <= now;
        if self.phase == Phase::Open && due {
            if self.outbox.is_idle() {
                // Nothing was sent for a while, so buffers are not worth their memory.
                self.outbox.shrink();
                self.protocol.encode_heartbeat(self.outbox.control());
            }
            self.liveness.note_written(now);
        }
        Ok(())
    }

    /// If something was due long ago, the machine slept: what the peer sent meanwhile is read first.
    fn notice_sleep(&mut self, now: Instant) {
        let late = self.poll_timeout().map_or(Duration::ZERO, |due| now.saturating_duration_since(due));
        // A loop that is late each time does not sleep.
        if late <= LATE || self.sleeps == SLEEPS {
            return;
        }
        self.sleeps += 1;
        self.liveness.note_slept(now, self.config.heartbeat_timeout);
        let deadlines = match &mut self.phase {
            Phase::Introducing { until } => [Some(until), None],
            Phase::Finishing { until, by } => [until.as_mut(), Some(by)],
            Phase::Introduced | Phase::Open | Phase::Yielding { .. } => [None, None],
        };
        for deadline in deadlines.into_iter().flatten() {
            *deadline = (*deadline).max(now + LATE);
        }
    }

    /// How many bytes the link may read now, in addition to the `buffered` ones that were not taken yet; zero if it
    /// must not read.
    pub fn wants_read(&self, buffered: &[u8]) -> usize {
        match self.phase {
            Phase::Introducing { .. } => HANDSHAKE_READ.saturating_sub(buffered.len()),
            // Whoever has sent nothing further may be seen to leave. Of others, what they have sent is to be taken first.
            Phase::Introduced if buffered.is_empty() => HANDSHAKE_READ,
            Phase::Introduced => 0,
            Phase::Open | Phase::Yielding { .. } | Phase::Finishing { .. } => OPEN_READ,
        }
    }

    /// Messages of which not the last byte was written: first those of `batch`, then those that were not in it.
    pub fn into_unsent(mut self, batch: &mut Batch) -> impl Iterator<Item = Bytes> {
        let mut unsent = batch.take_unsent();
        unsent.append(&mut self.outbox.take_queue());
        unsent.into_iter().map(|message| message.payload)
    }

    /// Who the peer says it is, once it has.
    pub const fn peer(&self) -> Option<Identity> {
        self.peer
    }

    /// What is spoken, once the peer has introduced itself.
    pub fn protocol(&self) -> Option<Protocol> {
        self.peer.map(|_| self.protocol)
    }

    /// Whether messages flow in both directions.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Frames that were skipped as the protocol asks.
    pub const fn skipped_frames(&self) -> u64 {
        self.skipped
    }
}

/// What only a [`Socket`](crate::Socket) needs.
impl Connection {
    const fn wire(&self) -> Wire {
        Wire { protocol: self.protocol, ids: self.ids }
    }

    /// Lines up a message. The connection is open: it is known how messages are written.
    #[inline]
    pub(crate) fn push(&mut self, heading: Heading, payload: &Bytes) {
        self.outbox.push(self.wire(), heading, payload);
    }

    /// Whether a batch has room for more than what waits.
    pub(crate) const fn has_batch_room(&self) -> bool {
        self.outbox.has_batch_room()
    }

    /// Drops messages that wait and are not `wanted`.
    pub(crate) fn retain(&mut self, wanted: impl Fn(&Outgoing) -> bool) {
        self.outbox.retain(self.wire(), wanted);
    }

    pub(crate) const fn queued(&self) -> Usage {
        self.outbox.queued()
    }

    pub(crate) fn wants_transmit(&self) -> bool {
        match self.phase {
            Phase::Open => self.outbox.wants_transmit(),
            Phase::Introducing { .. }
            | Phase::Introduced
            | Phase::Yielding { .. }
            | Phase::Finishing { .. } => self.outbox.has_control(),
        }
    }

    /// There is nothing to write, and no batch is being written.
    pub(crate) fn is_idle(&self) -> bool {
        self.outbox.is_idle()
    }

    /// There is something to write, and no batch is being written.
    pub(crate) fn wants_batch(&self) -> bool {
        self.wants_transmit() && !self.outbox.is_writing()
    }

    /// Messages may be moved into a batch.
    pub(crate) fn may_fill_batch(&self) -> bool {
        self.is_open() && !self.outbox.is_writing()
    }

    pub(crate) fn take_queue(&mut self) -> VecDeque<Outgoing> {
        self.outbox.take_queue()
    }

    /// The peer is accepted, or was until the connection began to end.
    pub(crate) fn is_established(&self) -> bool {
        let introduced = matches!(self.phase, Phase::Open | Phase::Yielding { .. } | Phase::Finishing { .. });
        introduced && self.peer.is_some()
    }

    pub(crate) fn is_introducing(&self) -> bool {
        matches!(self.phase, Phase::Introducing { .. })
    }

    /// The peer has not been told that it is accepted, so nothing can be lost of it.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.is_introducing() || self.phase == Phase::Introduced && self.role == Role::Accepted
    }

    /// Whether the peer has sent something behind its introduction, so that it takes this connection for open.
    pub(crate) const fn has_spoken(&self) -> bool {
        self.spoken
    }

    /// Whether the peer has sent something since its buffer was last looked at, which has `buffered` bytes now.
    pub(crate) const fn is_news(&self, buffered: usize) -> bool {
        buffered > self.left_over
    }

    pub(crate) fn set_paused(&mut self, now: Instant, paused: bool) {
        self.liveness.set_paused(now, paused);
        if !paused && self.phase == Phase::Open {
            // Silence counts from now on, and we have slept through none of it.
            self.sleeps = 0;
        }
        if let Phase::Finishing { until: Some(until), .. } = &mut self.phase {
            *until = now + DRAIN;
        }
    }

    /// Asks the peer for a sign of life, by giving one.
    pub(crate) fn probe(&mut self) {
        if self.phase == Phase::Open && self.outbox.is_idle() {
            self.protocol.encode_heartbeat(self.outbox.control());
        }
    }
}
