//! The members of a run, and what they do.

use alloc::collections::BTreeMap;
use core::fmt::Arguments;
use core::hash::{BuildHasher, Hash, Hasher};
use core::time::Duration;
use std::hash::BuildHasherDefault;

use aiomsg_proto::{DialId, Event, Identity, Received, SendError};
use arbitrary::Arbitrary;
use bytes::Bytes;

use super::Summary;
use super::faults::Parting;
use super::model::{Accepted, Addressee, Circumstances, Life, Model};
use super::plan::{Member, Plan, Weather};
use crate::check::assert_conserved;
use crate::connection::WireId;
use crate::network::{Chunking, Network};
use crate::node::{NodeId, Taking};
use crate::raw::RawId;

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// Of the messages that could be rejected, this many in 256 are.
const REJECTED: u8 = 40;

/// One thing that happens in a run.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Deed {
    /// A member sends a few messages.
    Send {
        /// Which, by its number.
        by: u8,
        /// How many, at most 31.
        count: u8,
    },
    /// The weather of the fleet does something to a member.
    Weather {
        /// What it does.
        kind: u8,
        /// The number of the member.
        on: u8,
    },
    /// Time passes.
    Pass {
        /// How many milliseconds.
        millis: u16,
    },
    /// Slow applications take messages.
    Take {
        /// How many each, at most.
        most: u8,
    },
}

/// A member as it is now.
#[derive(Debug)]
pub(super) struct Living {
    pub(super) member: Member,
    pub(super) node: NodeId,
    pub(super) life: Life,
    pub(super) identity: Identity,
    pub(super) dials: Vec<DialId>,
    pub(super) down_until: Option<aiomsg_proto::Instant>,
    /// Messages that it took by itself and that were noted.
    noted: usize,
}

/// A fleet, what is wrong with it, and what it has done.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) plan: Plan,
    pub(super) net: Network,
    pub(super) rng: fastrand::Rng,
    pub(super) members: Vec<Living>,
    pub(super) model: Model,
    pub(super) lives: BTreeMap<Life, NodeId>,
    /// Identities that peers may know.
    pub(super) known: Vec<Identity>,
    pub(super) silenced: Vec<WireId>,
    pub(super) partings: Vec<Parting>,
    pub(super) strangers: Vec<RawId>,
    pub(super) unlistened: Vec<usize>,
    pub(super) faults: usize,
    numbers: BTreeMap<Life, u64>,
    trace: bool,
    /// Events that were shown.
    shown: BTreeMap<Life, usize>,
    start: aiomsg_proto::Instant,
}

pub(super) fn address(number: usize) -> String {
    format!("member {number}")
}

impl Fleet {
    pub(super) fn new(seed: u64, trace: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng);
        let mut net = Network::new(seed);
        net.set_latency(Duration::from_micros(rng.u64(0..500)), Duration::from_millis(rng.u64(1..50)));
        net.set_capacity(rng.usize(500..100_000));
        if rng.u8(..) < 80 {
            net.set_chunking(Chunking::Whole);
        }
        if rng.u8(..) < 40 {
            net.set_pestering();
        }
        if rng.u8(..) < 60 {
            net.set_lateness(Duration::from_millis(rng.u64(1..900)));
            net.set_laziness(Duration::from_millis(rng.u64(1..300)));
        }
        let start = net.now();
        let mut fleet = Self {
            net,
            rng,
            members: Vec::new(),
            model: Model::default(),
            lives: BTreeMap::new(),
            known: Vec::new(),
            silenced: Vec::new(),
            partings: Vec::new(),
            strangers: Vec::new(),
            unlistened: Vec::new(),
            faults: 0,
            numbers: BTreeMap::new(),
            trace,
            shown: BTreeMap::new(),
            start,
            plan,
        };
        fleet.note(format_args!("{:?} {:?}", fleet.plan.weather, fleet.plan.members));
        for number in 0..fleet.plan.members.len() {
            let identity = Identity::from_bytes([0xb0 + u8::try_from(number).unwrap_or(0); 16]);
            let living = fleet.begin(number, identity);
            fleet.members.push(living);
        }
        fleet
    }

    /// Shows what is done, to who wants to see it.
    #[expect(clippy::print_stderr, reason = "asked for")]
    pub(super) fn note(&self, what: Arguments<'_>) {
        if self.trace {
            let time = self.net.now().saturating_duration_since(self.start);
            eprintln!("{time:?}: {what}");
        }
    }

    /// Starts a life of a member.
    pub(super) fn begin(&mut self, number: usize, identity: Identity) -> Living {
        let member = self.plan.members[number].clone();
        let node = self.net.socket_as(member.config.clone(), identity);
        if member.slow {
            self.net.set_taking(node, Taking::Nothing);
        }
        let life = Life(self.lives.len());
        self.lives.insert(life, node);
        self.model.begin(life, identity);
        self.known.push(identity);
        self.net.listen(node, &address(number));
        let dials = member.dials.iter().map(|to| self.net.dial(node, &address(*to))).collect();
        self.note(format_args!("member {number} begins {life:?} as {identity}"));
        Living { member, node, life, identity, dials, down_until: None, noted: 0 }
    }

    pub(super) fn is_up(&self, number: usize) -> bool {
        self.members[number].down_until.is_none()
    }

    /// Lets things go their way, and wrong.
    pub(super) fn play(&mut self) {
        for _ in 0..self.plan.steps {
            for number in 0..self.members.len() {
                for _ in 0..self.rng.usize(0..5) {
                    self.send(number);
                }
            }
            let (kind, number) = (self.rng.u8(..), self.rng.usize(..self.members.len()));
            self.meet_weather(kind, number);
            let span = Duration::from_micros(self.rng.u64(0..300_000));
            self.net.run_for(span);
            if self.rng.bool() {
                let most = self.rng.usize(1..50);
                self.take(most, REJECTED);
            }
            self.look_around();
        }
    }

    /// One thing happens.
    pub(super) fn play_deed(&mut self, deed: Deed) {
        let number = |number: u8| usize::from(number) % self.members.len();
        match deed {
            Deed::Send { by, count } => {
                let by = number(by);
                (0..count % 32).for_each(|_| self.send(by));
            }
            Deed::Weather { kind, on } => self.meet_weather(kind, number(on)),
            Deed::Pass { millis } => self.net.run_for(Duration::from_millis(millis.into())),
            Deed::Take { most } => self.take(most.into(), REJECTED),
        }
        self.look_around();
    }

    /// What the weather of this fleet does to a member.
    fn meet_weather(&mut self, kind: u8, number: usize) {
        match self.plan.weather {
            Weather::Calm => {}
            Weather::Drowsy => match kind {
                0..20 => self.sleep(),
                20..40 => self.jump(number),
                _ => {}
            },
            Weather::Stormy => {
                self.flap();
                self.go_wrong(kind, number);
            }
        }
    }

    /// Takes note of what has happened, and checks it.
    fn look_around(&mut self) {
        self.show_events();
        self.note_taken();
        self.check_bounds();
    }

    fn send(&mut self, number: usize) {
        if !self.is_up(number) {
            return;
        }
        let Living { node, life, ref member, .. } = self.members[number];
        let (publishes, mut at_least_once) = (member.publishes, member.at_least_once);
        let next = self.numbers.get(&life).copied().unwrap_or_default();
        let padding = if self.rng.u8(..) < 8 { self.plan.largest } else { self.rng.usize(0..40) };
        let payload = Bytes::from(format!("{} {next} {}", life.0, "x".repeat(padding)));
        let to = if self.rng.u8(..) < 64 {
            Addressee::One(self.known[self.rng.usize(..self.known.len())])
        } else if publishes {
            Addressee::Everyone
        } else {
            Addressee::Anyone
        };
        let with_receipt = to != Addressee::Everyone && self.rng.u8(..) < 16;
        let sent = payload.clone();
        let result = self.net.command(node, |socket, now| match to {
            Addressee::One(identity) if with_receipt => {
                socket.send_with_receipt(now, Some(identity), sent).map(drop)
            }
            Addressee::One(identity) => socket.send_to(now, identity, sent),
            _ if with_receipt => socket.send_with_receipt(now, None, sent).map(drop),
            _ => socket.send(now, sent),
        });
        match result {
            Ok(()) => {
                at_least_once |= with_receipt;
                self.note(format_args!("{life:?} sends {next} to {to:?}, at least once: {at_least_once}"));
                self.model.accept(payload, Accepted { from: life, to, at_least_once, number: next });
                self.numbers.insert(life, next + 1);
            }
            Err(error) => {
                assert!(
                    !matches!(
                        error,
                        SendError::Closed(_) | SendError::PublishAtLeastOnce(_) | SendError::TooLong { .. }
                    ),
                    "{error}"
                );
                assert_eq!(error.into_payload(), payload, "the message comes back");
            }
        }
    }

    /// Lets slow applications take up to `most` messages each, and reject some of those that can be.
    pub(super) fn take(&mut self, most: usize, rejects: u8) {
        for number in 0..self.members.len() {
            let Living { node, life, ref member, .. } = self.members[number];
            if !member.slow || !self.is_up(number) {
                continue;
            }
            for message in self.net.take(node, most) {
                let Some(request) = message.request else {
                    self.deliver(life, &message, true);
                    continue;
                };
                let rejected = self.rng.u8(..) < rejects;
                self.deliver(life, &message, !rejected);
                self.net.command(node, |socket, now| match rejected {
                    true => socket.reject(now, message.identity, request),
                    false => socket.acknowledge(now, message.identity, request),
                });
            }
        }
    }

    fn deliver(&mut self, to: Life, message: &Received, done: bool) {
        if self.is_noise(message) {
            return;
        }
        let start = String::from_utf8_lossy(&message.payload[..message.payload.len().min(8)]);
        self.note(format_args!("{to:?} gets {start:?} by {:?}", message.connection));
        let manual = self.members.iter().any(|living| living.life == to && living.member.manual);
        let forgotten = self.was_long_away(to, message.identity);
        let crossing = self.dial_each_other(to, message.identity);
        let seen = Circumstances { shown: message.identity, forgotten, crossing, rejects: manual };
        let Self { model, net, lives, .. } = self;
        // All that were ever there still are.
        let undisturbed = |from| {
            let socket = net.node(lives[&from]);
            socket.metrics().connected == socket.peer_count() as u64
        };
        model.deliver(to, &message.payload, seen, undisturbed);
        if done {
            self.model.finish(&message.payload);
        }
    }

    fn dial_each_other(&self, life: Life, peer: Identity) -> bool {
        let place = |is_it: &dyn Fn(&Living) -> bool| self.members.iter().position(is_it);
        let (here, there) = (place(&|living| living.life == life), place(&|living| living.identity == peer));
        let dials = |from: usize, to: usize| self.members[from].member.dials.contains(&to);
        // Who is not a member any more was one, perhaps.
        here.zip(there).is_none_or(|(here, there)| dials(here, there) && dials(there, here))
    }

    /// Whether a peer came back to a member after that has forgotten it.
    fn was_long_away(&self, from: Life, peer: Identity) -> bool {
        let Some(living) = self.members.iter().find(|living| living.life == from) else { return false };
        let mut left = None;
        let retention = living.member.retention;
        let is_long = |from: aiomsg_proto::Instant, to: aiomsg_proto::Instant| {
            to.saturating_duration_since(from) >= retention
        };
        let came_back_late = self.net.events(living.node).iter().any(|(at, event)| match event {
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
        came_back_late || left.is_some_and(|left| is_long(left, self.net.clock(living.node)))
    }

    /// Whether a message comes from a stranger.
    fn is_noise(&self, message: &Received) -> bool {
        let text = core::str::from_utf8(&message.payload).unwrap_or("");
        let mut words = text.split(' ');
        let mut is_number = || words.next().is_some_and(|word| word.parse::<u64>().is_ok());
        !(is_number() && is_number())
    }

    /// Notes what applications took by themselves.
    pub(super) fn note_taken(&mut self) {
        for number in 0..self.members.len() {
            let Living { node, life, noted, .. } = self.members[number];
            let new = self.net.received(node)[noted..].to_vec();
            self.members[number].noted += new.len();
            for message in new {
                self.deliver(life, &message, true);
            }
        }
    }

    /// Shows what has happened since the last time.
    #[expect(clippy::print_stderr, reason = "asked for")]
    pub(super) fn show_events(&mut self) {
        if !self.trace {
            return;
        }
        for (life, node) in &self.lives {
            let events = self.net.events(*node);
            let shown = self.shown.insert(*life, events.len()).unwrap_or_default();
            for (at, event) in &events[shown..] {
                eprintln!("    {:?}: {life:?} {event:?}", at.saturating_duration_since(self.start));
            }
        }
    }

    /// Nobody holds more than it may, and every message is somewhere.
    pub(super) fn check_bounds(&self) {
        for living in &self.members {
            let metrics = self.net.node(living.node).metrics();
            living.member.assert_within_bounds(&metrics, self.plan.largest);
            if !living.member.publishes {
                assert_conserved(&self.net, living.node);
            }
        }
        for node in self.lives.values() {
            self.check_pairs(*node);
        }
    }

    /// Peers come before they go, each once, and who is there has come and not gone.
    fn check_pairs(&self, node: NodeId) {
        let mut there = alloc::collections::BTreeSet::new();
        for (_, event) in self.net.events(node) {
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
        for peer in self.net.node(node).peers() {
            assert!(there.contains(&peer.connection), "{peer:?} is there and never came");
        }
    }

    pub(super) fn summary(&self) -> Summary {
        let mut hasher = BuildHasherDefault::<std::hash::DefaultHasher>::default().build_hasher();
        for node in self.lives.values() {
            for (at, event) in self.net.events(*node) {
                (at, format!("{event:?}")).hash(&mut hasher);
            }
            self.net.payloads(*node).hash(&mut hasher);
            format!("{:?}", self.net.node(*node).metrics()).hash(&mut hasher);
        }
        Summary {
            accepted: self.model.accepted(),
            delivered: self.model.delivered(),
            faults: self.faults,
            connections: self.net.wire_count(),
            time: self.net.now().saturating_duration_since(self.start),
            fingerprint: hasher.finish(),
        }
    }
}
