//! What the applications of a fleet have sent and got, held against the model as it happens.

use alloc::collections::{BTreeMap, BTreeSet};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aiomsg_driver::{Clock, EventStream, Receipt, Socket};
use aiomsg_proto::{Event, Identity, Instant};
use bytes::Bytes;

use crate::runtime::Process;
use crate::simulation::model::{Accepted, Circumstances, Life, Model};
use crate::simulation::plan::Member;

/// What is sent while a socket closes, and is not held against the model.
pub(super) const LAST_WORDS: &str = "last words";

/// What is known of one life.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) number: usize,
    pub(super) socket: Socket<Process>,
    pub(super) identity: Identity,
    pub(super) member: Member,
    events: EventStream,
    pub(super) seen: Vec<(Instant, Event)>,
    /// Messages accepted, and so the number of the next.
    accepted: u64,
}

/// What has happened.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) model: Model,
    pub(super) lives: BTreeMap<Life, Known>,
    /// Who dials whom, by number.
    pub(super) dials: BTreeSet<(usize, usize)>,
    /// Receipts that are awaited, by whom.
    pub(super) awaited: BTreeMap<Life, usize>,
    /// What happened, in short, for whoever wants to compare two runs or read one.
    pub(super) story: Vec<String>,
    pub(super) trace: bool,
}

/// The ledger, as all applications share it.
#[derive(Clone, Debug)]
pub(super) struct Book(Arc<Mutex<Ledger>>);

impl Book {
    pub(super) fn new(trace: bool) -> Self {
        Self(Arc::new(Mutex::new(Ledger {
            model: Model::default(),
            lives: BTreeMap::new(),
            dials: BTreeSet::new(),
            awaited: BTreeMap::new(),
            story: Vec::new(),
            trace,
        })))
    }

    pub(super) fn open(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    #[expect(clippy::print_stderr, reason = "asked for")]
    pub(super) fn note(&mut self, now: Instant, what: String) {
        if self.trace {
            eprintln!("{now:?}: {what}");
        }
        self.story.push(what);
    }

    pub(super) fn begin(
        &mut self,
        number: usize,
        identity: Identity,
        member: Member,
        socket: Socket<Process>,
    ) -> Life {
        let life = Life(self.lives.len());
        let events = socket.events();
        let known = Known { number, socket, identity, member, events, seen: Vec::new(), accepted: 0 };
        self.lives.insert(life, known);
        self.model.begin(life, identity);
        life
    }

    /// Takes note of a message that a socket has accepted.
    pub(super) fn accept(&mut self, payload: Bytes, mut accepted: Accepted) {
        let Some(known) = self.lives.get_mut(&accepted.from) else { return };
        accepted.number = known.accepted;
        known.accepted += 1;
        let now = known.socket.runtime().now();
        self.note(now, format!("{:?} sends {:?} to {:?}", accepted.from, head(&payload), accepted.to));
        self.model.accept(payload, accepted);
    }

    /// Takes note of a message that an application has got, and checks it.
    pub(super) fn deliver(&mut self, to: Life, from: Identity, payload: &Bytes, done: bool) {
        if payload == LAST_WORDS {
            return;
        }
        self.look();
        let (now, rejects) = {
            let known = &self.lives[&to];
            (known.socket.runtime().now(), known.member.manual)
        };
        self.note(now, format!("{to:?} gets {:?}, done: {done}", head(payload)));
        let crossing = self.dial_each_other(to, from);
        let forgotten = self.was_long_away(to, from);
        let seen = Circumstances { shown: from, forgotten, crossing, rejects };
        let Self { model, lives, .. } = self;
        let undisturbed = |from: Life| {
            let socket = &lives[&from].socket;
            socket.metrics().connected == socket.peers().len() as u64
        };
        model.deliver(to, payload, seen, undisturbed);
        if done {
            model.finish(payload);
        }
    }

    pub(super) fn note_receipt(&mut self, life: Life, payload: &Bytes, receipt: Receipt) {
        if let Some(awaited) = self.awaited.get_mut(&life) {
            *awaited -= 1;
        }
        let now = self.lives[&life].socket.runtime().now();
        self.note(now, format!("{life:?} hears of {:?}: {receipt:?}", head(payload)));
    }

    /// Takes note of the events of all sockets. Called whenever something has happened, so that their times are right.
    pub(super) fn look(&mut self) {
        let mut story = Vec::new();
        for (life, known) in &mut self.lives {
            loop {
                let next = pin!(known.events.recv()).poll(&mut Context::from_waker(Waker::noop()));
                let Poll::Ready(Some(event)) = next else { break };
                let now = known.socket.runtime().now();
                story.push((now, format!("{life:?} {event:?}")));
                known.seen.push((now, event));
            }
        }
        story.into_iter().for_each(|(now, what)| self.note(now, what));
    }

    fn dial_each_other(&self, life: Life, peer: Identity) -> bool {
        let here = self.lives[&life].number;
        let there = self.lives.values().find(|known| known.identity == peer).map(|known| known.number);
        there.is_none_or(|there| self.dials.contains(&(here, there)) && self.dials.contains(&(there, here)))
    }

    /// Whether a peer came back after it was forgotten.
    fn was_long_away(&self, life: Life, peer: Identity) -> bool {
        let known = &self.lives[&life];
        let is_long =
            |from: Instant, to: Instant| to.saturating_duration_since(from) >= known.member.retention;
        let mut left = None;
        let came_back_late = known.seen.iter().any(|(at, event)| match event {
            Event::Disconnected { identity, .. } if *identity == peer => {
                left = Some(*at);
                false
            }
            Event::Connected { identity, .. } if *identity == peer => {
                left.take().is_some_and(|left| is_long(left, *at))
            }
            _ => false,
        });
        // One that has not come back may still be heard on a connection that is ending.
        came_back_late || left.is_some_and(|left| is_long(left, known.socket.runtime().now()))
    }

    /// Peers come before they go, each once.
    pub(super) fn check_pairs(&self) {
        for known in self.lives.values() {
            let mut there = BTreeSet::new();
            for (_, event) in &known.seen {
                match event {
                    Event::Connected { connection, .. } => {
                        assert!(there.insert(*connection), "it came twice: {event:?}");
                    }
                    Event::Disconnected { connection, .. } => {
                        assert!(there.remove(connection), "it went and had not come: {event:?}");
                    }
                    Event::Lagged { .. } => panic!("events are taken at once"),
                    _ => {}
                }
            }
        }
    }
}

fn head(payload: &Bytes) -> String {
    String::from_utf8_lossy(&payload[..payload.len().min(10)]).into_owned()
}
