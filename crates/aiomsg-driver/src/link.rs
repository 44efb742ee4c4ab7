//! The future that serves one connection.

use std::future::Future;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aiomsg_proto::{Batch, CloseReason, ConnectionId, Instant, LinkState};
use smallvec::SmallVec;

use crate::io::Link;
use crate::leader::Member;
use crate::reader::Reader;
use crate::shared::{READ_AHEAD, Shared, State};

/// Rounds of reading and writing in one poll, at most; then other tasks get their turn.
const ROUNDS: usize = 16;

/// Slices that are written in one system call, at most.
const SLICES: usize = 64;

/// Serves one connection: reads, writes, and closes it when the core says so; it ends with the connection. The socket
/// spawns it through its [`Runtime`](crate::Runtime); with a [`Handle`](crate::Handle), you run it.
#[derive(Debug)]
pub struct LinkDriver<L> {
    shared: Arc<Shared>,
    id: ConnectionId,
    link: L,
    batch: Batch,
    reader: Reader,
    /// What the core said when it was last asked.
    advice: Advice,
    /// Something was read, or written, of which the core does not know.
    read: bool,
    wrote: bool,
    /// What the application had done when reading was last not put off for it.
    taking: u64,
    half_closed: bool,
    /// As this it is woken by the core, if not by itself.
    member: Option<Arc<Member>>,
    /// The core has been told that the connection is gone.
    ended: bool,
}

/// What the core says is to be done.
#[derive(Clone, Copy, Debug)]
struct Advice {
    state: LinkState,
    /// So many bytes may be read at most.
    most: usize,
    /// More messages were received and not taken, on all connections, than is read ahead.
    much_unread: bool,
    /// Reading was put off on some connection, which waits for its turn.
    others_wait: bool,
}

/// One poll of the future.
struct Turn<'a, 'b> {
    cx: &'a mut Context<'b>,
    /// When it began, once that was asked for.
    now: Option<Instant>,
    /// There was nothing to be read, and the task is woken when there is.
    dry: bool,
}

impl<L: Link> LinkDriver<L> {
    pub(crate) fn new(shared: Arc<Shared>, id: ConnectionId, link: L) -> Self {
        Self {
            shared,
            id,
            link,
            batch: Batch::default(),
            reader: Reader::new(),
            advice: Advice { state: LinkState::Open, most: 0, much_unread: false, others_wait: false },
            read: false,
            wrote: false,
            taking: 0,
            half_closed: false,
            member: None,
            ended: false,
        }
    }

    /// This one, woken together with others for what the core asks for. The link wakes the task.
    pub(crate) fn woken_as(mut self, member: Arc<Member>) -> Self {
        self.member = Some(member);
        self
    }

    /// Whether reading is put off until the application has taken what there is. The task is woken then.
    fn is_put_off(&mut self, cx: &Context<'_>) -> bool {
        let Self { shared, id, advice, taking, member, .. } = self;
        let look = |state: &mut State| {
            // So that it is the task of now that is woken.
            state.link(*id, cx.waker(), member.as_ref());
            state.put_off(*id, taking)
        };
        (advice.much_unread || advice.others_wait) && shared.with_sending(look)
    }

    /// Tells the core what was done, and asks what to do: all in one step, unless neither side has anything new. Others may
    /// read on if this one was not put off.
    fn consult(&mut self, turn: &mut Turn<'_, '_>, put_off: bool) {
        let Self { shared, id, batch, reader, advice, read, wrote, member, .. } = self;
        let id = *id;
        let mut consult = |state: &mut State| {
            let link = state.link(id, turn.cx.waker(), member.as_ref());
            let due = core::mem::take(&mut link.due);
            if !*read && !*wrote && !due {
                return;
            }
            state.served = Some(id);
            let now = state.note_time(*turn.now.get_or_insert_with(|| shared.now()));
            if core::mem::take(wrote) {
                state.core.handle_transmitted(now, id, batch);
            }
            *read = false;
            if !reader.buffer.is_empty() {
                state.core.handle_received(now, id, &mut reader.buffer);
            }
            if state.core.transmit(now, id, batch) {
                state.sent_in_a_row = 0;
            }
            *advice = Advice {
                state: state.core.link_state(id),
                most: state.core.wants_read(id, &reader.buffer),
                much_unread: state.core.receive_held().bytes > READ_AHEAD,
                others_wait: state.some_wait(),
            };
        };
        let consult = |state: &mut State| {
            consult(state);
            if !put_off {
                state.pass_on(id);
            }
        };
        shared.with_then(consult, |state| state.served = None);
    }

    /// Writes until there is nothing to write or the link takes no more. Returns whether it took something.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, CloseReason> {
        let mut progress = false;
        while !self.batch.is_empty() {
            let mut slices = SmallVec::<[IoSlice<'_>; SLICES]>::new();
            for slice in self.batch.slices().take(SLICES) {
                slices.push(IoSlice::new(slice));
            }
            let result = self.link.poll_write(cx, &slices);
            drop(slices);
            match result {
                Poll::Ready(Ok(0)) => return Err(CloseReason::Failed),
                Poll::Ready(Ok(written)) => {
                    self.batch.advance(written);
                    progress = true;
                }
                Poll::Ready(Err(error)) => return Err(self.explain(&error)),
                Poll::Pending => break,
            }
        }
        self.wrote |= progress;
        Ok(progress)
    }

    fn is_readable(&mut self, turn: &mut Turn<'_, '_>) -> bool {
        turn.dry = turn.dry || self.link.poll_readable(turn.cx).is_pending();
        !turn.dry
    }

    /// Reads once what is readable. Returns whether something came.
    fn read(&mut self, turn: &mut Turn<'_, '_>, most: usize) -> Result<bool, CloseReason> {
        match self.reader.poll_read(turn.cx, &mut self.link, &self.shared.buffers, most) {
            Poll::Ready(Ok(0)) => Err(CloseReason::PeerClosed),
            Poll::Ready(Ok(_)) => {
                self.read = true;
                Ok(true)
            }
            Poll::Ready(Err(error)) => Err(self.explain(&error)),
            Poll::Pending => {
                turn.dry = true;
                Ok(false)
            }
        }
    }

    /// Hands over what the peer had sent before it was found to be gone, as far as there is room for it.
    fn drain(&mut self, turn: &mut Turn<'_, '_>, mut most: usize) {
        // It may have come since.
        turn.dry = false;
        for _ in 0..ROUNDS {
            if most == 0 || !self.is_readable(turn) || !matches!(self.read(turn, most), Ok(true)) {
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
    fn round(&mut self, turn: &mut Turn<'_, '_>) -> Result<bool, CloseReason> {
        // First, so that what came and what is to be written take one step with the core.
        let before = self.advice.most;
        let readable = before > 0 && self.is_readable(turn);
        let put_off = readable && self.is_put_off(turn.cx);
        let read = readable && !put_off && self.read(turn, before)?;
        self.consult(turn, put_off);
        let Advice { state, most, much_unread, others_wait } = self.advice;
        match state {
            LinkState::Open => {}
            LinkState::HalfClose => self.half_close(turn.cx)?,
            _ => return Err(CloseReason::Ended),
        }
        let wrote = self.write(turn.cx).inspect_err(|_| self.drain(turn, most))?;
        let resumed = before == 0 && most > 0;
        let more = read && most > 0 && self.is_readable(turn);
        let ahead = more && (much_unread || others_wait);
        if wrote || resumed || (more && !ahead) {
            return Ok(true);
        }
        if ahead && !self.is_put_off(turn.cx) {
            // Others have their turn before.
            turn.cx.waker().wake_by_ref();
            return Ok(false);
        }
        self.reader.trim(&self.shared.buffers);
        Ok(false)
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
            state.pass_on(id);
        });
    }
}

impl<L: Link + Unpin> Future for LinkDriver<L> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(());
        }
        let mut turn = Turn { cx, now: None, dry: false };
        for _ in 0..ROUNDS {
            match this.round(&mut turn) {
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
