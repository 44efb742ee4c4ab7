//! What the system does for one connection, and what it has done.

use std::net::Shutdown;
use std::sync::Arc;

use aiomsg_proto::{Batch, CloseReason, ConnectionId, Instant, Socket};
use bytes::BytesMut;
use compio_buf::{BufResult, IntoInner};
use compio_driver::op::{Read, Write};
use compio_driver::{Key, OpCode, Proactor, PushEntry};

/// The longest read and the longest write, in bytes.
pub(crate) const CHUNK: usize = 256 * 1024;

pub(crate) type Stream = Arc<socket2::Socket>;

/// An operation that the system does, or has done.
pub(crate) struct Operation<T: OpCode>(pub(crate) Option<PushEntry<Key<T>, BufResult<usize, T>>>);

pub(crate) struct Link {
    pub(crate) id: ConnectionId,
    pub(crate) stream: Stream,
    /// What was read and the core has left.
    pub(crate) buffer: BytesMut,
    /// What is being written.
    pub(crate) batch: Batch,
    pub(crate) read: Operation<Read<Vec<u8>, Stream>>,
    pub(crate) write: Operation<Write<Vec<u8>, Stream>>,
    pub(crate) half_closed: bool,
    /// The connection is over, for this reason.
    pub(crate) gone: Option<CloseReason>,
}

impl Link {
    /// Takes what the system has read, and notes what it has written.
    pub(crate) fn take_results(&mut self, system: &mut Proactor, socket: &mut Socket, now: Instant) {
        match self.read.finish(system) {
            None => {}
            Some(BufResult(Ok(0), _)) => self.end(CloseReason::PeerClosed),
            Some(BufResult(Ok(read), operation)) => {
                self.buffer.extend_from_slice(&operation.into_inner()[..read]);
            }
            Some(BufResult(Err(_), _)) => self.end(CloseReason::Failed),
        }
        match self.write.finish(system) {
            None => {}
            Some(BufResult(Ok(written), _)) => {
                self.batch.advance(written);
                socket.handle_transmitted(now, self.id, &mut self.batch);
            }
            Some(BufResult(Err(_), _)) => self.end(CloseReason::Failed),
        }
    }

    /// Lets the system finish reading and writing soon.
    pub(crate) fn end(&mut self, reason: CloseReason) {
        self.gone.get_or_insert(reason);
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl<T: OpCode + 'static> Operation<T> {
    pub(crate) fn start(system: &mut Proactor, operation: T) -> Self {
        Self(Some(system.push(operation)))
    }

    /// The result, once there is one.
    pub(crate) fn finish(&mut self, system: &mut Proactor) -> Option<BufResult<usize, T>> {
        let entry = match self.0.take()? {
            PushEntry::Pending(key) => system.pop(key),
            done @ PushEntry::Ready(_) => done,
        };
        match entry {
            PushEntry::Ready(result) => Some(result),
            pending @ PushEntry::Pending(_) => {
                self.0 = Some(pending);
                None
            }
        }
    }

    pub(crate) fn cancel(self, system: &mut Proactor) {
        if let Some(PushEntry::Pending(key)) = self.0 {
            system.cancel(key);
        }
    }

    pub(crate) const fn is_free(&self) -> bool {
        self.0.is_none()
    }

    /// It was done as soon as it was started: the system is not going to tell.
    pub(crate) const fn is_done(&self) -> bool {
        matches!(self.0, Some(PushEntry::Ready(_)))
    }
}

/// The first bytes of a batch, as a copy: the system owns what it writes, and the batch is ours.
pub(crate) fn front(batch: &Batch) -> Vec<u8> {
    let mut bytes = Vec::new();
    for slice in batch.slices() {
        bytes.extend_from_slice(&slice[..slice.len().min(CHUNK - bytes.len())]);
    }
    bytes
}

pub(crate) fn is_own(stream: &Stream) -> bool {
    let (own, peer) = (stream.local_addr(), stream.peer_addr());
    own.is_ok_and(|own| peer.is_ok_and(|peer| own.as_socket() == peer.as_socket()))
}
