//! The members of a run, and what they do.

use core::hash::{BuildHasher, Hash, Hasher};
use core::net::SocketAddr;
use core::time::Duration;
use std::hash::BuildHasherDefault;

use aiomsg_driver::{Runtime, Socket};
use aiomsg_proto::{Identity, Instant};
use bytes::Bytes;

use super::application::{Application, Order};
use super::faults::Parting;
use super::ledger::Book;
use crate::connection::WireId;
use crate::runtime::{Habits, ProcessId, World};
use crate::simulation::Summary;
use crate::simulation::model::Addressee;
use crate::simulation::plan::{Member, Plan, Weather};

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// A member as it is now.
#[derive(Debug)]
pub(super) struct Living {
    pub(super) member: Member,
    pub(super) app: Application,
    pub(super) identity: Identity,
    pub(super) down_until: Option<Instant>,
    pub(super) listens: bool,
}

impl Living {
    pub(super) fn process(&self) -> ProcessId {
        self.app.socket.runtime().id()
    }
}

/// A fleet, what is wrong with it, and what it has done.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) plan: Plan,
    pub(super) world: World,
    pub(super) rng: fastrand::Rng,
    pub(super) members: Vec<Living>,
    pub(super) book: Book,
    /// Identities that peers may know.
    known: Vec<Identity>,
    pub(super) silenced: Vec<WireId>,
    pub(super) partings: Vec<Parting>,
    pub(super) faults: usize,
    payloads: usize,
    start: Instant,
}

pub(super) fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(number).unwrap_or(u8::MAX)], 25_000))
}

/// The name of a member: behind it is another address, too, at which nobody ever answers.
fn name(number: usize) -> String {
    format!("member-{number}:25000")
}

impl Fleet {
    pub(super) fn new(seed: u64, trace: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng);
        let slow = rng.u8(..) < 60;
        let habits = Habits {
            latency: Duration::from_micros(rng.u64(0..500)),
            jitter: Duration::from_millis(rng.u64(1..50)),
            capacity: rng.usize(500..100_000),
            cuts: rng.u8(..) >= 80,
            pesters: rng.u8(..) < 60,
            lateness: if slow { Duration::from_millis(rng.u64(1..900)) } else { Duration::ZERO },
            laziness: if slow { Duration::from_millis(rng.u64(1..300)) } else { Duration::ZERO },
        };
        let world = World::new(seed, habits);
        let start = world.now();
        let mut fleet = Self {
            world,
            rng,
            members: Vec::new(),
            book: Book::new(trace),
            known: Vec::new(),
            silenced: Vec::new(),
            partings: Vec::new(),
            faults: 0,
            payloads: 0,
            start,
            plan,
        };
        fleet.note(format!("{:?} {:?}", fleet.plan.weather, fleet.plan.members));
        for number in 0..fleet.plan.members.len() {
            fleet.world.name(&name(number), vec![SocketAddr::from(([10, 0, 9, 9], 1)), address(number)]);
            for to in &fleet.plan.members[number].dials {
                fleet.book.open().dials.insert((number, *to));
            }
        }
        for number in 0..fleet.plan.members.len() {
            let identity = Identity::from_bytes([0xb0 + u8::try_from(number).unwrap_or(0); 16]);
            let living = fleet.begin(number, identity);
            fleet.members.push(living);
        }
        fleet
    }

    pub(super) fn note(&self, what: String) {
        self.book.open().note(self.world.now(), what);
    }

    /// Starts a life of a member.
    pub(super) fn begin(&mut self, number: usize, identity: Identity) -> Living {
        let member = self.plan.members[number].clone();
        let process = self.world.process();
        let socket = Socket::builder()
            .config(member.config.clone())
            .identity(identity)
            .seed(self.rng.u64(..))
            .runtime(process)
            .build()
            .expect("the configuration is valid");
        let life = self.book.open().begin(number, identity, member.clone(), socket.clone());
        self.known.push(identity);
        let permits = if member.slow { 0 } else { usize::MAX };
        let mut app = Application::new(socket, life, self.book.clone(), permits);
        app.at_least_once = member.at_least_once;
        app.manual = member.manual;
        app.start(&mut self.rng);
        for to in &member.dials {
            let to = if self.rng.bool() { name(*to) } else { address(*to).to_string() };
            app.socket.connect(to).expect("an address");
        }
        self.note(format!("member {number} begins {life:?} as {identity}"));
        let mut living = Living { member, app, identity, down_until: None, listens: false };
        listen(&mut living, number);
        living
    }

    pub(super) fn is_up(&self, number: usize) -> bool {
        self.members[number].down_until.is_none()
    }

    /// Lets time pass, and takes note of what happens.
    pub(super) fn run_for(&self, span: Duration) {
        self.world.run_for(span, || self.book.open().look());
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
            self.run_for(span);
            if self.rng.bool() {
                let most = self.rng.usize(1..50);
                self.take(most);
            }
            self.look_around();
        }
    }

    /// What the weather of this fleet does to a member.
    fn meet_weather(&mut self, kind: u8, number: usize) {
        match self.plan.weather {
            Weather::Calm => {}
            Weather::Drowsy if kind < 25 => self.sleep(),
            Weather::Drowsy if kind < 50 => self.jump(number),
            Weather::Drowsy => {}
            Weather::Stormy => {
                self.flap();
                self.go_wrong(kind, number);
            }
        }
    }

    fn send(&mut self, number: usize) {
        if !self.is_up(number) {
            return;
        }
        let padding = if self.rng.u8(..) < 8 { self.plan.largest } else { self.rng.usize(0..40) };
        self.payloads += 1;
        let payload = Bytes::from(format!("{} {} {}", number, self.payloads, "x".repeat(padding)));
        let publishes = self.members[number].member.publishes;
        let to = if self.rng.u8(..) < 64 {
            Addressee::One(self.known[self.rng.usize(..self.known.len())])
        } else if publishes {
            Addressee::Everyone
        } else {
            Addressee::Anyone
        };
        let with_receipt = to != Addressee::Everyone && self.rng.u8(..) < 16;
        let patience = self.rng.u8(..) < 100;
        let patience = patience.then(|| Duration::from_micros(self.rng.u64(0..500_000)));
        let at_once = self.rng.u8(..) < 60;
        self.members[number].app.order(Order { payload, to, with_receipt, patience, at_once });
    }

    /// Lets slow applications take up to `most` messages each.
    pub(super) fn take(&self, most: usize) {
        for living in self.members.iter().filter(|living| living.member.slow && living.down_until.is_none()) {
            living.app.allow(most);
        }
    }

    /// Nobody holds more than it may, every message is somewhere, and peers come before they go.
    pub(super) fn look_around(&self) {
        let mut book = self.book.open();
        book.look();
        book.check_pairs();
        drop(book);
        for living in &self.members {
            let metrics = living.app.socket.metrics();
            living.member.assert_within_bounds(&metrics, self.plan.largest);
            if !living.member.publishes {
                crate::check::assert_accounted(&metrics);
            }
        }
    }

    pub(super) fn summary(&self) -> Summary {
        let mut hasher = BuildHasherDefault::<std::hash::DefaultHasher>::default().build_hasher();
        let book = self.book.open();
        book.story.hash(&mut hasher);
        for known in book.lives.values() {
            format!("{:?}", known.socket.metrics()).hash(&mut hasher);
        }
        Summary {
            accepted: book.model.accepted(),
            delivered: book.model.delivered(),
            faults: self.faults,
            connections: self.world.wire_count(),
            time: self.world.now().saturating_duration_since(self.start),
            fingerprint: hasher.finish(),
        }
    }
}

/// A member accepts connections at its address.
pub(super) fn listen(living: &mut Living, number: usize) {
    living.listens = true;
    let socket = living.app.socket.clone();
    living.app.socket.runtime().spawn(async move {
        // The address may not be free yet.
        while socket.bind(address(number)).await.is_err() && socket.wait_for_peers(0).await.is_ok() {
            socket.runtime().sleep(Duration::from_millis(10)).await;
        }
    });
}
