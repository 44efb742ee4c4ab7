//! The future that serves one connection.

use std::future::Future;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aiomsg_proto::{Batch, CloseReason, ConnectionId, Instant, LinkState};

use crate::io::Link;
use crate::reader::Reader;
use crate::shared::{Shared, State};

/// Rounds of reading and writing in one poll, at most; then other tasks get their turn.
const ROUNDS: usize = 16;

/// Slices that are written in one system call, at most.
const SLICES: usize = 64;

/// With so many bytes of messages received and not taken, the application gets its turn before more is read. What is taken
/// soon is still in the caches of the processor.
const READ_AHEAD: usize = 64 * 1024;

/// Serves one connection: reads, writes, and closes it when the core says so. An adapter spawns one for each; it ends
/// with the connection.
#[derive(Debug)]
pub struct LinkDriver<L> {
    shared: Arc<Shared>,
    id: ConnectionId,
    link: L,
    batch: Batch,
    reader: Reader,
    /// How much may be read, as the core said when it was last asked.
    most: usize,
    half_closed: bool,
    /// The core has been told that the connection is gone.
    ended: bool,
}

/// What the core says is to be done.
struct Advice {
    state: LinkState,
    /// So many bytes may be read at most.
    most: usize,
    /// The application has much to take before more is read.
    ahead: bool,
}

impl<L: Link> LinkDriver<L> {
    pub(crate) fn new(shared: Arc<Shared>, id: ConnectionId, link: L) -> Self {
        let reader = Reader::new();
        Self { shared, id, link, batch: Batch::default(), reader, most: 0, half_closed: false, ended: false }
    }

    /// Tells the core what was done, and asks what to do: all in one step.
    fn consult(&mut self, cx: &Context<'_>) -> Advice {
        let Self { id, batch, reader, .. } = self;
        let id = *id;
        let consult = |state: &mut State, now: Instant| {
            state.links.remove(&id);
            state.core.handle_transmitted(now, id, batch);
            if !reader.buffer.is_empty() {
                state.core.handle_received(now, id, &mut reader.buffer);
            }
            if state.core.transmit(now, id, batch) {
                state.sent_in_a_row = 0;
            }
            Advice {
                state: state.core.link_state(id),
                most: state.core.wants_read(id, &reader.buffer),
                ahead: state.core.receive_held().bytes > READ_AHEAD,
            }
        };
        // Not registered before, so that what is asked about here does not wake us again.
        self.shared.with_time_then(consult, |state| {
            state.links.insert(id, cx.waker().clone());
        })
    }

    /// Writes until there is nothing to write or the link takes no more. Returns whether it took something.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, CloseReason> {
        let mut progress = false;
        while !self.batch.is_empty() {
            let mut slices = [&[][..]; SLICES];
            let count = self.batch.slices(&mut slices);
            let mut vectored = [IoSlice::new(&[]); SLICES];
            for (slot, slice) in vectored.iter_mut().zip(&slices) {
                *slot = IoSlice::new(slice);
            }
            let vectored = vectored.get(..count).unwrap_or_default();
            match self.link.poll_write(cx, vectored) {
                Poll::Ready(Ok(0)) => return Err(CloseReason::Failed),
                Poll::Ready(Ok(written)) => {
                    self.batch.advance(written);
                    progress = true;
                }
                Poll::Ready(Err(error)) => return Err(self.explain(&error)),
                Poll::Pending => break,
            }
        }
        Ok(progress)
    }

    /// Reads once. Returns whether something came.
    fn read(&mut self, cx: &mut Context<'_>, most: usize) -> Result<bool, CloseReason> {
        if self.link.poll_readable(cx).is_pending() {
            return Ok(false);
        }
        match self.reader.poll_read(cx, &mut self.link, &self.shared.buffers, most) {
            Poll::Ready(Ok(0)) => Err(CloseReason::PeerClosed),
            Poll::Ready(Ok(_)) => Ok(true),
            Poll::Ready(Err(error)) => Err(self.explain(&error)),
            Poll::Pending => Ok(false),
        }
    }

    /// Hands over what the peer had sent before it was found to be gone, as far as there is room for it.
    fn drain(&mut self, cx: &mut Context<'_>, mut most: usize) {
        for _ in 0..ROUNDS {
            if most == 0 || !matches!(self.read(cx, most), Ok(true)) {
                return;
            }
            let Self { shared, id, reader, .. } = self;
            most = shared.with_time(|state, now| {
                state.core.handle_received(now, *id, &mut reader.buffer);
                state.core.wants_read(*id, &reader.buffer)
            });
        }
    }

    fn explain(&self, error: &std::io::Error) -> CloseReason {
        tracing::debug!(connection = %self.id, %error, "the connection failed");
        CloseReason::Failed
    }

    fn half_close(&mut self, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        if self.half_closed {
            return Ok(());
        }
        match self.link.poll_close(cx) {
            Poll::Ready(Ok(())) => {
                self.half_closed = true;
                Ok(())
            }
            Poll::Ready(Err(error)) => Err(self.explain(&error)),
            Poll::Pending => Ok(()),
        }
    }

    /// One round. Returns whether another is worth while.
    fn round(&mut self, cx: &mut Context<'_>) -> Result<bool, CloseReason> {
        // First, so that what came and what is to be written take one step with the core.
        let read = self.most > 0 && self.read(cx, self.most)?;
        let Advice { state, most, ahead } = self.consult(cx);
        let resumed = self.most == 0 && most > 0;
        self.most = most;
        match state {
            LinkState::Open => {}
            LinkState::HalfClose => self.half_close(cx)?,
            _ => return Err(CloseReason::Ended),
        }
        let wrote = self.write(cx).inspect_err(|_| self.drain(cx, most))?;
        let more = read && most > 0 && self.link.poll_readable(cx).is_ready();
        if more && ahead && !wrote {
            cx.waker().wake_by_ref();
            return Ok(false);
        }
        let goes_on = wrote || resumed || more;
        if !goes_on {
            self.reader.trim(&self.shared.buffers);
        }
        Ok(goes_on)
    }
}

impl<L> LinkDriver<L> {
    /// Tells the core that the connection is gone, once.
    fn end(&mut self, reason: CloseReason) {
        if core::mem::replace(&mut self.ended, true) {
            return;
        }
        let Self { id, batch, .. } = self;
        let id = *id;
        self.shared.with_time(|state, now| {
            state.links.remove(&id);
            state.core.handle_disconnected(now, id, batch, reason);
        });
    }
}

impl<L: Link + Unpin> Future for LinkDriver<L> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        for _ in 0..ROUNDS {
            match this.round(cx) {
                Ok(true) => {}
                Ok(false) => {
                    this.batch.shrink();
                    return Poll::Pending;
                }
                Err(reason) => {
                    this.end(reason);
                    return Poll::Ready(());
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A runtime that drops its tasks ends their connections.
impl<L> Drop for LinkDriver<L> {
    fn drop(&mut self) {
        self.end(CloseReason::Ended);
    }
}
