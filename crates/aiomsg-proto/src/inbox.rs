//! Received messages, handed over in batches.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

use bytes::Bytes;

use crate::budget::Usage;
use crate::id::ConnectionId;
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
    payloads: VecDeque<Bytes>,
    taken: Vec<Taken>,
}

#[derive(Debug)]
struct Run {
    connection: ConnectionId,
    identity: Identity,
    messages: usize,
}

/// Messages of one connection that were taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) connection: ConnectionId,
    pub(crate) usage: Usage,
}

impl Inbox {
    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.payloads.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.payloads.is_empty()
    }

    /// Messages taken out since the socket was last told.
    pub fn unsettled(&self) -> usize {
        self.taken.iter().map(|taken| taken.usage.messages).sum()
    }

    #[inline]
    pub(crate) fn push(&mut self, connection: ConnectionId, identity: Identity, payload: Bytes) {
        match self.runs.back_mut() {
            Some(run) if run.connection == connection => run.messages += 1,
            Some(_) | None => self.runs.push_back(Run { connection, identity, messages: 1 }),
        }
        self.payloads.push_back(payload);
    }

    pub(crate) fn drain_taken(&mut self) -> impl Iterator<Item = Taken> {
        self.taken.drain(..)
    }

    /// Moves all that `other` holds to the end of this one.
    pub(crate) fn refill(&mut self, other: &mut Self) {
        if self.is_empty() {
            mem::swap(&mut self.runs, &mut other.runs);
            mem::swap(&mut self.payloads, &mut other.payloads);
        }
    }

    fn note_taken(&mut self, connection: ConnectionId, bytes: usize) {
        match self.taken.last_mut() {
            Some(taken) if taken.connection == connection => taken.usage.add(Usage::one(bytes)),
            Some(_) | None => self.taken.push(Taken { connection, usage: Usage::one(bytes) }),
        }
    }
}

/// Takes messages out, in the order in which they arrived.
impl Iterator for Inbox {
    type Item = Received;

    #[inline]
    fn next(&mut self) -> Option<Received> {
        let payload = self.payloads.pop_front()?;
        let run = self.runs.front_mut()?;
        let (connection, identity) = (run.connection, run.identity);
        run.messages -= 1;
        if run.messages == 0 {
            self.runs.pop_front();
        }
        self.note_taken(connection, payload.len());
        Some(Received { identity, connection, payload })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}
