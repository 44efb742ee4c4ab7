//! Received messages, handed over in batches.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

use bytes::{Buf, Bytes};

use crate::budget::Usage;
use crate::connection::MessageRun;
use crate::frame;
use crate::id::{ConnectionId, MessageId};
use crate::identity::Identity;

/// A message from a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// Who sent it.
    pub identity: Identity,
    /// The connection that it came on.
    pub connection: ConnectionId,
    /// The message.
    pub payload: Bytes,
    /// Always `None` with an adapter, which acknowledges what it gives out like this; `Socket::recv_message` gives out what is
    /// to be acknowledged by hand. Of the core: the message is to be acknowledged, or rejected, by
    /// [`Socket::acknowledge`](crate::Socket::acknowledge) or [`Socket::reject`](crate::Socket::reject); only with
    /// [`Acknowledge::Manual`](crate::Acknowledge::Manual).
    pub request: Option<MessageId>,
}

/// How a message that was taken is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Not at all, or it is done already.
    Nothing,
    /// By its being taken.
    OnTake,
    /// By the application, under this id.
    Manual(MessageId),
}

/// Messages in the order in which they arrived, owned by whoever takes them.
///
/// [`Socket::poll_received`](crate::Socket::poll_received) fills it with all there is in one step; taking messages out
/// of it needs no access to the socket. What was taken is settled with the socket by the next call, until then it
/// counts against the receive buffer.
#[derive(Debug, Default)]
pub struct Inbox {
    /// Messages of one connection that follow each other share what is known of it.
    runs: VecDeque<Run>,
    messages: usize,
    /// Ids of the messages that the application is to acknowledge.
    ids: VecDeque<MessageId>,
    taken: Vec<Taken>,
    unsettled: usize,
}

/// Messages of one connection that came right behind each other.
#[derive(Debug)]
struct Run {
    connection: ConnectionId,
    identity: Identity,
    kind: Kind,
    messages: usize,
    /// Their frames, as they came; each is cut off when it is taken, so that until then nothing is done for it.
    frames: Bytes,
    /// Bytes of the first of them. Known ahead, so that the next frame is looked at, and is in the cache of the processor,
    /// before it is asked for.
    first: usize,
    /// Bytes of each frame before the payload, its length included.
    head: usize,
}

/// What the messages of a run have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    OnTake,
    Manual,
}

/// Messages of one connection that were taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) connection: ConnectionId,
    pub(crate) usage: Usage,
    /// Of these, those that are acknowledged by having been taken.
    pub(crate) on_take: usize,
}

impl Inbox {
    /// Messages that wait.
    pub const fn len(&self) -> usize {
        self.messages
    }

    /// Whether none waits.
    pub const fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Messages taken out since the socket was last told.
    pub const fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// Adds messages that came side by side.
    pub(crate) fn push_run(
        &mut self,
        connection: ConnectionId,
        identity: Identity,
        run: MessageRun,
        on_take: bool,
    ) {
        let MessageRun { frames, head, usage: Usage { messages, .. } } = run;
        let kind = if on_take { Kind::OnTake } else { Kind::Plain };
        self.messages += messages;
        self.runs.push_back(Run::new(connection, identity, kind, messages, frames, head));
    }

    /// Adds one message.
    pub(crate) fn push(
        &mut self,
        connection: ConnectionId,
        identity: Identity,
        payload: Bytes,
        answer: Answer,
    ) {
        let kind = match answer {
            Answer::Nothing => Kind::Plain,
            Answer::OnTake => Kind::OnTake,
            Answer::Manual(id) => {
                self.ids.push_back(id);
                Kind::Manual
            }
        };
        self.messages += 1;
        self.runs.push_back(Run::new(connection, identity, kind, 1, payload, 0));
    }

    /// As [`next`](Iterator::next), the payload alone; `None` also if the application is to acknowledge the message.
    #[inline]
    pub fn next_payload(&mut self) -> Option<Bytes> {
        if self.runs.front()?.kind == Kind::Manual {
            return None;
        }
        self.take_payload()
    }

    /// Takes the next payload out, and keeps account of it.
    #[inline]
    fn take_payload(&mut self) -> Option<Bytes> {
        let run = self.runs.front_mut()?;
        let payload = run.next();
        let (connection, on_take) = (run.connection, usize::from(run.kind == Kind::OnTake));
        if run.messages == 0 {
            self.runs.pop_front();
        }
        self.messages -= 1;
        self.note_taken(connection, payload.len(), on_take);
        Some(payload)
    }

    pub(crate) fn drain_taken(&mut self) -> impl Iterator<Item = Taken> {
        self.unsettled = 0;
        self.taken.drain(..)
    }

    /// Moves all that `other` holds to this one, if it is empty.
    pub(crate) fn refill(&mut self, other: &mut Self) {
        if self.is_empty() {
            mem::swap(&mut self.runs, &mut other.runs);
            mem::swap(&mut self.ids, &mut other.ids);
            mem::swap(&mut self.messages, &mut other.messages);
        }
    }

    /// How many runs of messages wait.
    pub(crate) fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Copies what was added behind the first `runs` out of the buffer in which it came, if it is less than `bytes` in all.
    pub(crate) fn copy_out(&mut self, runs: usize, bytes: usize) {
        let mut added = 0;
        for run in self.runs.iter().skip(runs) {
            added += run.frames.len();
            if added >= bytes {
                return;
            }
        }
        for run in self.runs.iter_mut().skip(runs) {
            run.frames = Bytes::copy_from_slice(&run.frames);
        }
    }

    #[inline]
    fn note_taken(&mut self, connection: ConnectionId, bytes: usize, on_take: usize) {
        self.unsettled += 1;
        match self.taken.last_mut() {
            Some(taken) if taken.connection == connection => {
                taken.usage.add(Usage::one(bytes));
                taken.on_take += on_take;
            }
            Some(_) | None => self.taken.push(Taken { connection, usage: Usage::one(bytes), on_take }),
        }
    }
}

impl Run {
    fn new(
        connection: ConnectionId,
        identity: Identity,
        kind: Kind,
        messages: usize,
        frames: Bytes,
        head: usize,
    ) -> Self {
        let mut run = Self { connection, identity, kind, messages, frames, first: 0, head };
        run.look_ahead();
        run
    }

    /// Takes the next message off the front.
    #[inline]
    fn next(&mut self) -> Bytes {
        self.messages -= 1;
        let mut payload = self.frames.split_to(self.first);
        payload.advance(self.head.min(self.first));
        self.look_ahead();
        payload
    }

    #[inline]
    fn look_ahead(&mut self) {
        // The frames were seen to be whole when they came.
        self.first = match frame::end(&self.frames) {
            Some(end) if self.messages > 1 => end.min(self.frames.len()),
            Some(_) | None => self.frames.len(),
        };
    }
}

/// Takes messages out, in the order in which they arrived.
impl Iterator for Inbox {
    type Item = Received;

    #[inline]
    fn next(&mut self) -> Option<Received> {
        let &Run { connection, identity, kind, .. } = self.runs.front()?;
        let payload = self.take_payload()?;
        let request = if kind == Kind::Manual { self.ids.pop_front() } else { None };
        Some(Received { identity, connection, payload, request })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}
