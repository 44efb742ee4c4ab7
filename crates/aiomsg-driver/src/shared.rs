//! The core behind its one lock, and who is to be woken when it changes.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::task::Waker;
use std::time::Duration;

#[cfg(not(shuttle))]
use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

// `tests/interleavings.rs` decides which thread goes on at each of these.
#[cfg(shuttle)]
use shuttle::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use aiomsg_proto::{ConnectionId, DialId, Event, Identity, Inbox, Instant, Ready, ReceiptId, Socket};
use rustc_hash::FxHashMap;

use crate::buffers::Buffers;
use crate::events::EventLog;
use crate::io::Clock;
use crate::leader::{LinkWaker, Member};
use crate::receipt::ReceiptState;
use crate::waiters::{Waiters, Wakes};

/// With more bytes of messages than this received and not taken, no more is read before the application has taken all.
/// What is taken soon is still in the caches of the processor, and what is not read holds the sender back.
#[cfg(not(shuttle))]
pub(crate) const READ_AHEAD: usize = 16 * 1024;

/// So little that messages of a few bytes count as much.
#[cfg(shuttle)]
pub(crate) const READ_AHEAD: usize = 2;

/// Reading is put off for no longer than this: then something is read, whatever the application does. It is less where a
/// peer is taken for dead soon, since what is not read looks like silence.
const PUT_OFF_MOST: Duration = Duration::from_secs(1);

/// A socket as all its tasks share it.
pub(crate) struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// The messages being taken by the application. Taken before `state` where both are needed.
    inbox: Mutex<Inbox>,
    pub(crate) buffers: Buffers,
    /// Some task waits for a message; a hint that spares taking the lock.
    awaited: AtomicBool,
    /// Messages taken since a receiver last had to wait, about.
    pub(crate) taken_in_a_row: AtomicU32,
}

/// Says who it is and no more: messages are nobody's business.
impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Socket");
        if let Ok(state) = self.state.try_lock() {
            debug.field("identity", &state.core.identity());
            debug.field("peers", &state.core.peer_count());
        }
        debug.finish_non_exhaustive()
    }
}

/// What is behind the lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) core: Socket,
    /// The time when the core was last told it.
    pub(crate) now: Instant,
    /// Nobody but we makes these names, so the quickest hash will do.
    pub(crate) links: FxHashMap<ConnectionId, LinkTask>,
    /// The one of these that asks for what there is to do, under this lock.
    pub(crate) served: Option<ConnectionId>,
    /// Connections that are not read until the application has taken what there is, in the order of their turns.
    put_off: VecDeque<ConnectionId>,
    /// The one of these whose turn it is, until it has looked.
    reading: Option<ConnectionId>,
    /// When these are looked at, if not before.
    read_on_at: Option<Instant>,
    /// Counts how often the application took something, or was woken to do so.
    taking: u64,
    pub(crate) dials: BTreeMap<DialId, DialTask>,
    pub(crate) listeners: BTreeMap<ListenerId, ListenerTask>,
    pub(crate) listeners_made: u64,
    timer: Option<Waker>,
    /// When the timer task wakes up by itself.
    timer_armed: Option<Instant>,
    pub(crate) senders: Waiters,
    pub(crate) peer_senders: BTreeMap<Identity, Waiters>,
    pub(crate) receivers: Waiters,
    /// Streams of messages that wait, all of which are woken, since they need not be polled.
    pub(crate) streams: Waiters,
    /// Tasks that wait for peers to come, or for the socket to close.
    pub(crate) watchers: Waiters,
    pub(crate) events: EventLog,
    pub(crate) receipts: FxHashMap<ReceiptId, ReceiptState>,
    /// Tasks that a change wants to have woken.
    pub(crate) woken: Wakes,
    /// Messages accepted since a link last took some.
    pub(crate) sent_in_a_row: u32,
}

/// One place where connections are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ListenerId(pub(crate) u64);

/// The task that serves a connection.
#[derive(Debug)]
pub(crate) struct LinkTask {
    waker: LinkWaker,
    /// The core has something for it, of which it has been told.
    pub(crate) due: bool,
    /// It is among those that are put off.
    put_off: bool,
    /// Reading was put off, and is to go on once beside the turns of others.
    resumed: bool,
}

/// The task that serves a dial.
#[derive(Debug, Default)]
pub(crate) struct DialTask {
    pub(crate) due: bool,
    pub(crate) waker: Option<Waker>,
}

/// The task that accepts connections.
#[derive(Debug, Default)]
pub(crate) struct ListenerTask {
    pub(crate) address: String,
    pub(crate) waker: Option<Waker>,
    pub(crate) stopped: bool,
}

impl Shared {
    pub(crate) fn new(core: Socket, clock: Arc<dyn Clock>) -> Self {
        let now = clock.now();
        Self {
            clock,
            state: Mutex::new(State {
                core,
                now,
                links: FxHashMap::default(),
                served: None,
                put_off: VecDeque::new(),
                reading: None,
                read_on_at: None,
                taking: 0,
                dials: BTreeMap::new(),
                listeners: BTreeMap::new(),
                listeners_made: 0,
                timer: None,
                timer_armed: None,
                senders: Waiters::default(),
                peer_senders: BTreeMap::new(),
                receivers: Waiters::default(),
                streams: Waiters::default(),
                watchers: Waiters::default(),
                events: EventLog::default(),
                receipts: FxHashMap::default(),
                woken: Wakes::default(),
                sent_in_a_row: 0,
            }),
            inbox: Mutex::new(Inbox::default()),
            buffers: Buffers::default(),
            awaited: AtomicBool::new(false),
            taken_in_a_row: AtomicU32::new(0),
        }
    }

    /// Changes the state, then wakes whoever is concerned, after the lock is released.
    pub(crate) fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        self.with_then(change, |_| ())
    }

    /// As [`with`](Self::with), and `then` when it is known who is to be woken, under the same lock.
    pub(crate) fn with_then<R>(
        &self,
        change: impl FnOnce(&mut State) -> R,
        then: impl FnOnce(&mut State),
    ) -> R {
        let mut wakes = Wakes::default();
        let result = self.change_into(&mut wakes, change, then);
        wakes.wake_all();
        result
    }

    fn change_into<R>(
        &self,
        wakes: &mut Wakes,
        change: impl FnOnce(&mut State) -> R,
        then: impl FnOnce(&mut State),
    ) -> R {
        let mut state = self.lock();
        let result = change(&mut state);
        if state.has_output() {
            Self::pump(&mut state, wakes);
        }
        self.note_receivers(&state);
        then(&mut state);
        result
    }

    /// As [`with`](Self::with), for a change that lets nobody wait for messages.
    #[inline]
    pub(crate) fn with_sending<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = change(&mut state);
        if !state.has_output() {
            return result;
        }
        let mut wakes = Wakes::default();
        Self::pump(&mut state, &mut wakes);
        drop(state);
        wakes.wake_all();
        result
    }

    /// As [`with`](Self::with), with the time told to the change and remembered.
    pub(crate) fn with_time<R>(&self, change: impl FnOnce(&mut State, Instant) -> R) -> R {
        let now = self.clock.now();
        self.with(|state| {
            let now = state.note_time(now);
            change(state, now)
        })
    }

    /// As [`with`](Self::with), for who holds the inbox: the tasks are woken when that is released. The time is that of the
    /// latest event, or the true one where it matters.
    pub(crate) fn with_taking<R>(
        &self,
        wakes: &mut Wakes,
        change: impl FnOnce(&mut State, Instant) -> R,
    ) -> R {
        let change = |state: &mut State| {
            if state.core.is_holding_back() {
                state.note_time(self.clock.now());
            }
            change(state, state.now)
        };
        self.change_into(wakes, change, |_| ())
    }

    /// Takes messages, and wakes when the inbox is released.
    #[inline]
    pub(crate) fn with_inbox<R>(&self, take: impl FnOnce(&mut Inbox, &mut Wakes) -> R) -> R {
        let mut wakes = Wakes::default();
        // A panic elsewhere leaves the messages as they were: whole.
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        let result = take(&mut inbox, &mut wakes);
        drop(inbox);
        wakes.wake_all();
        result
    }

    /// Whether some task waits for a message, as far as is known without the lock.
    #[inline]
    pub(crate) fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed)
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The time to tell the core of a message that is sent: that of the latest event, or the true one where it matters.
    pub(crate) fn send_time(&self, state: &mut State) -> Instant {
        if state.core.config().waits_for_slow_peers() {
            state.note_time(self.clock.now());
        }
        state.now
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The core does not panic, and what the tasks keep here is consistent between any two steps.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out what the core has to say, and finds out who is to be woken.
    fn pump(state: &mut State, wakes: &mut Wakes) {
        while let Some(ready) = state.core.poll_ready() {
            state.take_up(ready, wakes);
        }
        while let Some(event) = state.core.poll_event() {
            state.events.log(state.core.identity(), &event);
            if matches!(event, Event::Connected { .. }) {
                wakes.extend(state.watchers.take_all());
            }
            state.events.push(event, wakes);
        }
        if state.is_due_earlier()
            && let Some(timer) = state.timer.take()
        {
            wakes.push(timer);
        }
        if !state.woken.is_empty() {
            wakes.append(&mut state.woken);
        }
    }

    #[inline]
    fn note_receivers(&self, state: &State) {
        let awaited = !state.receivers.is_empty() || !state.streams.is_empty();
        if awaited != self.is_awaited() {
            self.awaited.store(awaited, Ordering::Relaxed);
        }
    }
}

impl State {
    /// Whether anybody is to be told of something, or woken.
    #[inline]
    fn has_output(&self) -> bool {
        self.core.has_output() || !self.woken.is_empty() || self.is_due_earlier()
    }

    /// When the timer task is to do something.
    #[inline]
    fn next_deadline(&self) -> Option<Instant> {
        match (self.core.poll_timeout(), self.read_on_at) {
            (Some(due), Some(at)) => Some(due.min(at)),
            (due, at) => due.or(at),
        }
    }

    /// Whether something is due before the timer task wakes up by itself.
    #[inline]
    fn is_due_earlier(&self) -> bool {
        match (self.next_deadline(), self.timer_armed) {
            (Some(due), Some(armed)) => due < armed,
            (due, None) => due.is_some(),
            (None, Some(_)) => false,
        }
    }

    /// What is known of the task of a connection, which is woken as `member` or, if it is none, by `waker`.
    pub(crate) fn link(
        &mut self,
        id: ConnectionId,
        waker: &Waker,
        member: Option<&Arc<Member>>,
    ) -> &mut LinkTask {
        let link = self.links.entry(id).or_insert_with(|| LinkTask {
            waker: member.map_or_else(
                || LinkWaker::Alone(waker.clone()),
                |member| LinkWaker::Together(member.clone()),
            ),
            due: true,
            put_off: false,
            resumed: false,
        });
        if let LinkWaker::Alone(own) = &mut link.waker
            && !own.will_wake(waker)
        {
            own.clone_from(waker);
        }
        link
    }

    /// Puts reading off on a connection until the application has taken what there is. Not if that is little and nobody waits
    /// who was put off before, nor if it is its turn, nor while its peer introduces itself, which brings no message. Not for
    /// an application that has taken nothing since reading was last not put off for it, which `before` tells, or that waits to
    /// send: others may wait for what is behind. Acknowledgements are not left waiting, whatever the application does, and a
    /// connection that ends is read while it lasts. Who is read for such a reason does not keep others from their turn.
    pub(crate) fn put_off(&mut self, id: ConnectionId, before: &mut u64) -> bool {
        let Some(link) = self.links.get_mut(&id) else { return false };
        let waits = link.put_off;
        let resumed = core::mem::take(&mut link.resumed) || self.reading == Some(id);
        let others_wait = self.put_off.len() > usize::from(waits);
        let little = self.core.receive_held().bytes <= READ_AHEAD && !others_wait;
        if resumed || little || self.core.is_closing() || !self.core.is_established(id) {
            return false;
        }
        let sends = !self.senders.is_empty() || !self.peer_senders.is_empty();
        let urgent = sends || self.core.is_ending(id) || self.core.awaits_acknowledgement(id);
        // Who waits is looked at again for many a reason, such as an answer to be written, and waits on.
        let takes = waits || core::mem::replace(before, self.taking) != self.taking;
        if urgent || !takes {
            self.read_next();
            return false;
        }
        if !waits && let Some(link) = self.links.get_mut(&id) {
            link.put_off = true;
            self.put_off.push_back(id);
            let most = self.core.config().silence_margin() / 4;
            let at = self.now + most.min(PUT_OFF_MOST);
            self.read_on_at.get_or_insert(at);
        }
        true
    }

    /// Whether some connection was put off, and waits for its turn.
    pub(crate) fn some_wait(&self) -> bool {
        !self.put_off.is_empty()
    }

    /// Settles what was taken out of `inbox`, fills it if it is empty, and has more read if it stays empty.
    pub(crate) fn exchange(&mut self, now: Instant, inbox: &mut Inbox) {
        if inbox.unsettled() > 0 {
            self.taking += 1;
        }
        self.core.poll_received(now, inbox);
        if inbox.is_empty() {
            self.read_next();
        }
    }

    /// Has the next connection read on which that was put off. One after another: if all of them were to read, the first
    /// would bring so much that it is put off for the others, time and again.
    #[inline]
    fn read_next(&mut self) {
        while self.reading.is_none() && !self.put_off.is_empty() {
            self.reading = self.wake_next();
        }
    }

    /// A connection has read what there was, or is gone: if that was little, the next one may read, too.
    #[inline]
    pub(crate) fn pass_on(&mut self, id: ConnectionId) {
        if self.reading == Some(id) {
            self.reading = None;
            if self.core.receive_held().bytes <= READ_AHEAD {
                self.read_next();
            }
        }
    }

    /// Has all connections read on which that was put off.
    pub(crate) fn read_on(&mut self) {
        while !self.put_off.is_empty() {
            if let Some(link) = self.wake_next().and_then(|id| self.links.get_mut(&id)) {
                link.resumed = true;
            }
        }
    }

    /// Wakes the first connection of which reading was put off, if it is still there.
    fn wake_next(&mut self) -> Option<ConnectionId> {
        let id = self.put_off.pop_front()?;
        let link = self.links.get_mut(&id)?;
        link.put_off = false;
        self.woken.push(link.waker.own_task());
        Some(id)
    }

    /// Has somebody look for messages.
    pub(crate) fn wake_receivers(&mut self) {
        if let Some(first) = self.receivers.take_first() {
            self.woken.push(first);
            self.taking += 1;
        }
        if !self.streams.is_empty() {
            self.woken.extend(self.streams.take_all());
            self.taking += 1;
        }
    }

    fn take_up(&mut self, ready: Ready, wakes: &mut Wakes) {
        match ready {
            // It takes what there is just now.
            Ready::Connection(id) if self.served == Some(id) => {}
            Ready::Connection(id) => {
                let Some(link) = self.links.get_mut(&id) else { return };
                let again = core::mem::replace(&mut link.due, true);
                // One that ends has little time. And if the same is due again, perhaps something keeps the thread that was
                // to serve it.
                let alone = again || self.core.is_ending(id);
                wakes.push(if alone { link.waker.own_task() } else { link.waker.any_task() });
            }
            Ready::Dial(id) => {
                let task = self.dials.entry(id).or_default();
                task.due = true;
                wakes.extend(task.waker.take());
            }
            Ready::Received => self.wake_receivers(),
            Ready::Room => {
                if let Some(first) = self.senders.first() {
                    wakes.push(first);
                }
            }
            Ready::PeerRoom(identity) => {
                wakes.extend(self.peer_senders.get(&identity).and_then(Waiters::first));
            }
            Ready::Accept => wakes.extend(self.listeners.values_mut().filter_map(|task| task.waker.take())),
            Ready::Receipt => self.take_receipts(wakes),
            Ready::Closed => self.end_all(wakes),
            _ => {}
        }
    }

    fn take_receipts(&mut self, wakes: &mut Wakes) {
        while let Some((id, receipt)) = self.core.poll_receipt() {
            // Nobody asks any more if it is not there.
            if let Some(state) = self.receipts.get_mut(&id)
                && let ReceiptState::Awaited(waker) = core::mem::replace(state, ReceiptState::Known(receipt))
            {
                wakes.extend(waker);
            }
        }
    }

    /// Remembers the time, which never runs back.
    pub(crate) fn note_time(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    /// The socket is closing: whoever waits for room, messages or peers is to see that.
    pub(crate) fn end_waiting(&mut self) {
        // Nobody takes any more what these would be put off for.
        self.read_on();
        self.woken.extend(self.senders.take_all());
        self.woken.extend(self.peer_senders.values_mut().flat_map(Waiters::take_all));
        self.woken.extend(self.receivers.take_all());
        self.woken.extend(self.streams.take_all());
        self.woken.extend(self.watchers.take_all());
    }

    /// The socket has closed: every task is to see that.
    fn end_all(&mut self, wakes: &mut Wakes) {
        self.end_waiting();
        wakes.extend(self.dials.values_mut().filter_map(|task| task.waker.take()));
        wakes.extend(self.listeners.values_mut().filter_map(|task| task.waker.take()));
        wakes.extend(self.timer.take());
        self.events.end_streams(wakes);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.core.close_report().is_some()
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.read_on_at.is_some_and(|at| at <= now) {
            self.read_on_at = None;
            // Perhaps something keeps the one whose turn it is.
            self.reading = None;
            self.read_on();
        }
        if self.core.poll_timeout().is_some_and(|due| due <= now) {
            self.core.handle_timeout(now);
        }
    }

    /// Sets the timer task to the next deadline, which is returned.
    pub(crate) fn arm_timer(&mut self, waker: &Waker) -> Option<Instant> {
        self.timer_armed = self.next_deadline();
        self.timer = Some(waker.clone());
        self.timer_armed
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::future::{Future, pending};
    use std::pin::Pin;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Context, Wake};

    use aiomsg_proto::{Config, Origin};
    use bytes::BytesMut;

    use super::*;
    use crate::io::MonotonicClock;
    use crate::leader::LeadingTask;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Its time may be up before a busy thread comes to it.
    #[test]
    fn a_connection_that_ends_follows_nobody() {
        let core = Socket::new(Config::default(), Identity::from_bytes([1; 16]), 1, Instant::EPOCH);
        let shared = Shared::new(core.expect("valid"), Arc::new(MonotonicClock::start()));
        let peers = [2, 3].map(|number| Identity::from_bytes([number; 16]));
        let tasks = peers.map(|peer| {
            let id = shared.with_time(|state, now| {
                let id = state.core.handle_connected(now, Origin::Accepted, "peer").expect("a place");
                let mut hello = BytesMut::from(&[0, 0, 0, 18, 1, 1][..]);
                hello.extend_from_slice(peer.as_bytes());
                state.core.handle_received(now, id, &mut hello);
                id
            });
            let mut task = LeadingTask::new(1, |member| {
                shared.with(|state| state.link(id, Waker::noop(), Some(&member)).due = false);
                pending()
            });
            let woken = Arc::<Woken>::default();
            let waker = Waker::from(woken.clone());
            assert!(Pin::new(&mut task).poll(&mut Context::from_waker(&waker)).is_pending());
            (task, woken)
        });
        shared.with_time(|state, now| {
            assert!(peers.iter().all(|peer| state.core.disconnect(now, *peer)));
        });
        let woken = tasks.each_ref().map(|(_, woken)| woken.0.load(Ordering::Relaxed));
        assert_eq!(woken, [1, 1]);
    }
}
