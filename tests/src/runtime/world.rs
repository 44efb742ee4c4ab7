//! What there is: processes, what is between them, and what time it is.

use alloc::collections::{BTreeMap, BTreeSet};
use core::net::SocketAddr;
use core::task::Context;
use core::time::Duration;
use std::sync::{Arc, Mutex};

use aiomsg_proto::Instant;
use bytes::{Buf, BytesMut};

use super::agenda::{Agenda, Happening, Timers};
use super::tasks::Tasks;
use super::wires::{Backlog, Wire};
use super::{Process, ProcessId, Shared};
use crate::connection::{Side, WireId};

/// Work at one instant of virtual time after which something must be going round in circles.
const RESTLESS: u64 = 1_000_000;

/// A connection that got no answer is asked for again after this long, and after twice as long each time.
const ASKED_AGAIN: Duration = Duration::from_secs(1);

/// What is known of a process.
#[derive(Debug, Default)]
struct Life {
    /// Its clock is ahead by this.
    ahead: Duration,
    frozen: bool,
}

/// How things go where nothing is wrong.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// How long bytes travel, at least.
    pub latency: Duration,
    /// How much longer they may take.
    pub jitter: Duration,
    /// How many bytes a connection holds each way.
    pub capacity: usize,
    /// Reads and writes take anything from one byte up, and bytes arrive cut anyhow.
    pub cuts: bool,
    /// Tasks are woken for no reason, timers ring early, and accepting fails now and then.
    pub pesters: bool,
    /// How much later than its deadline a timer may ring.
    pub lateness: Duration,
    /// How long a task may leave lying what it could do.
    pub laziness: Duration,
}

pub(super) struct Inner {
    pub(super) now: Instant,
    rng: fastrand::Rng,
    pub(super) latency: Duration,
    habits: Habits,
    pub(super) agenda: Agenda,
    pub(super) timers: Timers,
    pub(super) tasks: Tasks,
    processes: Vec<Life>,
    pub(super) wires: Vec<Wire>,
    pub(super) listeners: BTreeMap<SocketAddr, Backlog>,
    pub(super) names: BTreeMap<String, Vec<SocketAddr>>,
    delays: BTreeMap<SocketAddr, Duration>,
    /// Who is not heard by whom.
    severed: BTreeSet<(ProcessId, ProcessId)>,
}

impl Inner {
    pub(super) fn clock(&self, process: ProcessId) -> Instant {
        self.now + self.processes[process.0].ahead
    }

    pub(super) fn pesters(&mut self) -> bool {
        self.habits.pesters && self.rng.u8(..) < 20
    }

    pub(super) fn fails_to_accept(&mut self) -> bool {
        self.habits.pesters && self.rng.u8(..) < 5
    }

    pub(super) fn lateness(&mut self) -> Duration {
        self.up_to(self.habits.lateness)
    }

    pub(super) fn delay_of_names(&mut self) -> Duration {
        self.up_to(Duration::from_millis(20))
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        if nanos == 0 { Duration::ZERO } else { Duration::from_nanos(self.rng.u64(0..=nanos)) }
    }

    /// How much of what could be read or written is.
    pub(super) fn some_of(&mut self, most: usize) -> usize {
        if self.habits.cuts && most > 0 { self.rng.usize(1..=most) } else { most }
    }

    fn arrival(&mut self) -> Instant {
        self.now + self.latency + self.up_to(self.habits.jitter)
    }

    /// Sends a connection on its way to an address.
    pub(super) fn request(&mut self, dialler: ProcessId, address: SocketAddr) -> WireId {
        let wire = WireId(self.wires.len());
        self.wires.push(Wire::new(address, dialler, self.now, self.habits.capacity));
        let at = self.arrival() + self.delays.get(&address).copied().unwrap_or_default();
        self.agenda.plan(at, Happening::Request(wire));
        wire
    }

    /// Sends bytes on their way.
    pub(super) fn transport(&mut self, wire: WireId, side: Side, mut bytes: BytesMut) {
        while bytes.has_remaining() {
            let length = self.some_of(bytes.len());
            let arrival = self.arrival();
            let chunk = bytes.split_to(length).freeze();
            let arrival = self.wires[wire.0].written_by(side).send(chunk, arrival);
            self.agenda.plan(arrival, Happening::Arrival(wire, side.other()));
        }
    }

    /// Ends what `side` writes.
    pub(super) fn finish_writing(&mut self, wire: WireId, side: Side) {
        let arrival = self.arrival();
        let arrival = self.wires[wire.0].written_by(side).finish(arrival);
        self.agenda.plan(arrival, Happening::Arrival(wire, side.other()));
    }

    /// Closes an end for good. As with TCP, input that was not read makes the other end fail, and what it had not
    /// received yet is lost.
    pub(super) fn close_end(&mut self, id: WireId, side: Side) {
        let wire = &mut self.wires[id.0];
        let reset = wire.end(side).reset;
        if core::mem::replace(&mut wire.end(side).closed, true) || reset {
            return;
        }
        let unread = wire.read_by(side).available() > 0;
        wire.read_by(side).discard_arrived();
        if unread {
            self.send_reset(id, side);
        } else {
            self.finish_writing(id, side);
        }
    }

    /// Tells the other end of `side` that it writes to nobody.
    fn send_reset(&mut self, wire: WireId, side: Side) {
        self.wires[wire.0].written_by(side).discard_travelling();
        if !self.wires[wire.0].written_by(side).swallows {
            let arrival = self.arrival();
            self.agenda.plan(arrival, Happening::Reset(wire, side.other()));
        }
    }

    fn handle_arrival(&mut self, id: WireId, side: Side) {
        let now = self.now;
        let wire = &mut self.wires[id.0];
        let some = wire.read_by(side).arrive(now);
        if !wire.end(side).closed {
            wire.wake(side);
            return;
        }
        wire.read_by(side).discard_arrived();
        if some && !wire.end(side.other()).reset {
            self.send_reset(id, side);
        }
    }

    fn handle_reset(&mut self, wire: WireId, side: Side) {
        let wire = &mut self.wires[wire.0];
        if wire.end(side).closed || core::mem::replace(&mut wire.end(side).reset, true) {
            return;
        }
        wire.read_by(side).discard_travelling();
        wire.written_by(side).discard_travelling();
        wire.wake(side);
    }

    /// A connection arrives at its address.
    fn handle_request(&mut self, id: WireId) {
        let (address, since) = (self.wires[id.0].address, self.wires[id.0].since);
        let dialler = self.wires[id.0].end(Side::Dialler);
        let Some(from) = dialler.holder.filter(|_| !dialler.closed) else { return };
        let listener = self.listeners.get(&address).map(|backlog| backlog.process);
        if let Some(to) = listener
            && (self.severed.contains(&(from, to)) || self.severed.contains(&(to, from)))
        {
            // It is lost on its way, and sent again until the dialler gives up.
            let again = self.now + ASKED_AGAIN.max(self.now.saturating_duration_since(since));
            self.agenda.plan(again, Happening::Request(id));
            return;
        }
        if let Some(backlog) = self.listeners.get_mut(&address) {
            backlog.waiting.push_back(id);
            backlog.waker.take().into_iter().for_each(std::task::Waker::wake);
            self.wires[id.0].end(Side::Listener).holder = listener;
        }
        let at = self.arrival();
        self.agenda.plan(at, Happening::Answer(id, listener.is_some()));
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrival(wire, side) => self.handle_arrival(wire, side),
            Happening::Window(wire, side) => self.wires[wire.0].wake(side),
            Happening::Reset(wire, side) => self.handle_reset(wire, side),
            Happening::Request(wire) => self.handle_request(wire),
            Happening::Answer(wire, listens) => {
                self.wires[wire.0].answer = Some(listens);
                self.wires[wire.0].wake(Side::Dialler);
            }
            Happening::Run(task) => self.tasks.wake(task),
        }
    }

    /// The connections of a process, oldest first.
    fn wires(&self, process: ProcessId) -> Vec<WireId> {
        let mine = |wire: &WireId| self.wires[wire.0].side_of(process).is_some();
        (0..self.wires.len()).map(WireId).filter(mine).collect()
    }

    fn restore(&mut self, wire: WireId, side: Side) {
        let arrival = self.arrival();
        let arrival = self.wires[wire.0].written_by(side).restore(arrival);
        self.agenda.plan(arrival, Happening::Arrival(wire, side.other()));
    }
}

/// Processes, what is between them, and the time.
#[derive(Debug)]
pub struct World(Shared);

impl World {
    /// A world without processes.
    pub fn new(seed: u64, habits: Habits) -> Self {
        Self(Shared(Arc::new(Mutex::new(Inner {
            now: Instant::EPOCH + Duration::from_secs(1_000),
            rng: fastrand::Rng::with_seed(seed),
            latency: habits.latency,
            habits,
            agenda: Agenda::default(),
            timers: Timers::default(),
            tasks: Tasks::default(),
            processes: Vec::new(),
            wires: Vec::new(),
            listeners: BTreeMap::new(),
            names: BTreeMap::new(),
            delays: BTreeMap::new(),
            severed: BTreeSet::new(),
        }))))
    }

    /// Starts a process.
    pub fn process(&self) -> Process {
        let mut world = self.0.lock();
        world.processes.push(Life::default());
        Process { world: self.0.clone(), id: ProcessId(world.processes.len() - 1) }
    }

    /// What time it is, by a clock that never jumps.
    pub fn now(&self) -> Instant {
        self.0.lock().now
    }

    /// Gives addresses a name.
    pub fn name(&self, name: &str, addresses: Vec<SocketAddr>) {
        self.0.lock().names.insert(name.to_owned(), addresses);
    }

    /// Lets time pass; `look` is called whenever something has happened.
    pub fn run_for(&self, span: Duration, mut look: impl FnMut()) {
        let end = self.now() + span;
        self.settle();
        look();
        while self.step(end) {
            look();
        }
        self.0.lock().now = end;
    }

    /// Goes to the next instant at which something happens, no later than `end`, and lets it happen.
    fn step(&self, end: Instant) -> bool {
        let mut world = self.0.lock();
        let next = [world.agenda.next(), world.timers.next()].into_iter().flatten().min();
        let Some(next) = next.filter(|next| *next <= end) else { return false };
        world.now = world.now.max(next);
        let now = world.now;
        while let Some(happening) = world.agenda.take(now) {
            world.happen(happening);
        }
        world.timers.wake(|_, due| due <= now);
        drop(world);
        self.settle();
        true
    }

    /// Polls all tasks that want to be.
    pub fn settle(&self) {
        let mut work = 0_u64;
        while let Some(task) = self.choose() {
            work += 1;
            assert!(work < RESTLESS, "something never comes to rest at {:?}", self.now());
            let Some((mut future, waker)) = self.0.lock().tasks.begin(task) else { continue };
            let done = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
            let mut world = self.0.lock();
            match done {
                true => world.tasks.end(task),
                false => world.tasks.go_on(task, future),
            }
        }
    }

    /// A task that was woken, whichever. Those that take their time are put off.
    fn choose(&self) -> Option<super::tasks::TaskId> {
        let mut guard = self.0.lock();
        let world = &mut *guard;
        loop {
            let ready = world.tasks.ready(|process| !world.processes[process.0].frozen);
            let task = world.rng.choice(ready)?;
            if world.habits.laziness.is_zero() || world.rng.u8(..) < 230 {
                if world.pesters()
                    && let Some(any) = world.tasks.any(&mut world.rng)
                {
                    world.tasks.wake(any);
                }
                return Some(task);
            }
            world.tasks.put_off(task);
            let later = world.now + world.up_to(world.habits.laziness);
            world.agenda.plan(later, Happening::Run(task));
        }
    }

    /// How many tasks a process has.
    pub fn tasks(&self, process: ProcessId) -> usize {
        self.0.lock().tasks.count(process)
    }

    /// Ends a process: its tasks are gone, and its connections closed.
    pub fn kill(&self, process: ProcessId) {
        // They are dropped while nothing is locked.
        let tasks = self.0.lock().tasks.take_all(process);
        drop(tasks);
    }

    /// Stops a process: its tasks do not run, and its deadlines pass unnoticed.
    pub fn freeze(&self, process: ProcessId) {
        self.0.lock().processes[process.0].frozen = true;
    }

    /// Lets a process go on.
    pub fn thaw(&self, process: ProcessId) {
        self.0.lock().processes[process.0].frozen = false;
    }

    /// Lets the clock of a process go ahead at once.
    pub fn set_clock_ahead(&self, process: ProcessId, by: Duration) {
        let mut world = self.0.lock();
        world.processes[process.0].ahead += by;
        world.timers.wake(|of, _| of == process);
    }

    /// How many connections there ever were.
    pub fn wire_count(&self) -> usize {
        self.0.lock().wires.len()
    }

    /// The connections of a process, oldest first.
    pub fn wires(&self, process: ProcessId) -> Vec<WireId> {
        self.0.lock().wires(process)
    }

    /// Lets a connection fail at both ends, now. What was on its way is lost.
    pub fn cut(&self, wire: WireId) {
        let mut world = self.0.lock();
        world.handle_reset(wire, Side::Dialler);
        world.handle_reset(wire, Side::Listener);
    }

    /// Lets bytes vanish, without a word to either end: what the dialler writes, and what the listener writes.
    pub fn silence(&self, wire: WireId, dialler: bool, listener: bool) {
        let mut world = self.0.lock();
        world.wires[wire.0].written_by(Side::Dialler).swallows |= dialler;
        world.wires[wire.0].written_by(Side::Listener).swallows |= listener;
    }

    /// Lets bytes arrive again, those that vanished first.
    pub fn heal(&self, wire: WireId) {
        let mut world = self.0.lock();
        world.restore(wire, Side::Dialler);
        world.restore(wire, Side::Listener);
    }

    /// Sets whether a process does not get to reading a connection.
    pub fn set_stalled(&self, process: ProcessId, wire: WireId, stalled: bool) {
        let mut world = self.0.lock();
        if let Some(side) = world.wires[wire.0].side_of(process) {
            world.wires[wire.0].end(side).stalled = stalled;
            world.wires[wire.0].wake(side);
        }
    }

    /// Sets how much longer it takes to connect to an address.
    pub fn set_delay(&self, address: SocketAddr, delay: Duration) {
        self.0.lock().delays.insert(address, delay);
    }

    /// What one process writes does not get to another from now on.
    pub fn sever(&self, from: ProcessId, to: ProcessId) {
        let mut world = self.0.lock();
        world.severed.insert((from, to));
        for (wire, side) in between(&world, from, to) {
            world.wires[wire.0].written_by(side).swallows = true;
        }
    }

    /// What one process writes gets to another again, what vanished included.
    pub fn mend(&self, from: ProcessId, to: ProcessId) {
        let mut world = self.0.lock();
        world.severed.remove(&(from, to));
        for (wire, side) in between(&world, from, to) {
            world.restore(wire, side);
        }
    }
}

/// Connections between two processes, and the side of the first.
fn between(world: &Inner, from: ProcessId, to: ProcessId) -> Vec<(WireId, Side)> {
    let both = |wire: &WireId| {
        let side = world.wires[wire.0].side_of(from)?;
        (world.wires[wire.0].side_of(to)? == side.other()).then_some((*wire, side))
    };
    world.wires(from).iter().filter_map(both).collect()
}
