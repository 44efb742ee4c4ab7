//! Fleets under random faults: whatever happens, what was accepted arrives, and one life of a receiver gets it once.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use aiomsg_proto::{Acknowledge, Config, DeliveryGuarantee, DialId, Dialect, Identity, Limit, SendError};
use aiomsg_tests::{Network, NodeId, Taking, WireId};
use bytes::Bytes;

use super::support::{SECOND, assert_conserved, held};

/// How long things go wrong, in steps of up to 100 ms.
const STEPS: usize = 400;

/// What may go wrong and how the fleet is made up, drawn from the seed.
#[derive(Debug)]
struct Plan {
    senders: usize,
    receivers: usize,
    /// Senders listen, and receivers dial them.
    reversed: bool,
    restarts: bool,
    /// The application takes messages now and then; otherwise as soon as they arrive.
    slow: bool,
    sending: Config,
    receiving: Config,
}

impl Plan {
    fn draw(rng: &mut fastrand::Rng) -> Self {
        let restarts = rng.bool();
        let slow = rng.bool();
        let acknowledge = match rng.u8(0..4) {
            // What waits in a receiver when it dies is lost under these.
            0 if !(restarts && slow) => Acknowledge::OnReceive,
            1 if !(restarts && slow) => Acknowledge::default(),
            2 if slow => Acknowledge::Manual,
            _ => Acknowledge::OnTake { at_latest: None },
        };
        let classic = rng.u8(..) < 80;
        let dialect = if classic { Dialect::Classic } else { Dialect::Auto };
        let windows = [1, 2, 10, 4_096];
        // Nobody is forgotten, however long the faults keep somebody away.
        let config = || Config::default().peer_retention(SECOND * 10_000);
        Self {
            senders: rng.usize(1..4),
            receivers: rng.usize(1..4),
            reversed: rng.bool(),
            restarts,
            slow,
            sending: config()
                .delivery(DeliveryGuarantee::AtLeastOnce)
                .dialect(dialect)
                .prefetch(Limit::new(rng.usize(1..50), 1 << 20))
                .window(*rng.choice(&windows).expect("some"))
                .send_buffer(Limit::new(rng.usize(20..2_000), 64 << 20)),
            receiving: config()
                .dialect(dialect)
                .acknowledge(acknowledge)
                .receive_buffer(Limit::new(rng.usize(1..100), rng.usize(1_000..1 << 20))),
        }
    }
}

struct Fleet {
    plan: Plan,
    net: Network,
    rng: fastrand::Rng,
    senders: Vec<NodeId>,
    /// The present life of each receiver, and what it dials.
    receivers: Vec<(NodeId, Vec<DialId>)>,
    accepted: BTreeMap<NodeId, BTreeSet<Bytes>>,
    /// Who has taken what, and is done with it.
    done: BTreeMap<Bytes, Vec<NodeId>>,
    /// Messages taken by their automatic takers that were counted.
    counted: BTreeMap<NodeId, usize>,
    silenced: Vec<WireId>,
}

fn address(receiver: bool, number: usize) -> String {
    format!("{} {number}", if receiver { "receiver" } else { "sender" })
}

impl Fleet {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng);
        let mut net = Network::new(seed);
        net.set_latency(Duration::from_micros(rng.u64(0..500)), Duration::from_millis(rng.u64(1..50)));
        net.set_capacity(rng.usize(500..100_000));
        let senders: Vec<NodeId> = (0..plan.senders).map(|_| net.socket(plan.sending.clone())).collect();
        let mut fleet = Self {
            net,
            rng,
            senders,
            receivers: Vec::new(),
            accepted: BTreeMap::new(),
            done: BTreeMap::new(),
            counted: BTreeMap::new(),
            silenced: Vec::new(),
            plan,
        };
        for (number, sender) in fleet.senders.iter().enumerate() {
            if fleet.plan.reversed {
                fleet.net.listen(*sender, &address(false, number));
            } else {
                for receiver in 0..fleet.plan.receivers {
                    fleet.net.dial(*sender, &address(true, receiver));
                }
            }
        }
        for number in 0..fleet.plan.receivers {
            let life = fleet.start_receiver(number);
            fleet.receivers.push(life);
        }
        fleet
    }

    fn start_receiver(&mut self, number: usize) -> (NodeId, Vec<DialId>) {
        let identity = Identity::from_bytes([0xb0 + u8::try_from(number).expect("few"); 16]);
        let node = self.net.socket_as(self.plan.receiving.clone(), identity);
        if self.plan.slow {
            self.net.set_taking(node, Taking::Nothing);
        }
        let mut dials = Vec::new();
        if self.plan.reversed {
            dials = (0..self.plan.senders).map(|to| self.net.dial(node, &address(false, to))).collect();
        } else {
            self.net.listen(node, &address(true, number));
        }
        (node, dials)
    }

    /// Ends the process of a receiver, and starts it anew.
    fn restart(&mut self, number: usize) {
        let (node, dials) = self.receivers[number].clone();
        self.note_taken(node);
        self.net.freeze(node);
        for dial in dials {
            self.net.command(node, |socket, now| socket.undial(now, dial));
        }
        for wire in self.net.wires(node) {
            self.net.cut(wire);
        }
        let down = Duration::from_millis(self.rng.u64(0..5_000));
        self.net.run_for(down);
        self.receivers[number] = self.start_receiver(number);
    }

    fn send(&mut self, sender: usize) {
        let node = self.senders[sender];
        let known = self.accepted.entry(node).or_default();
        let padding = if self.rng.u8(..) < 5 { 50_000 } else { self.rng.usize(0..300) };
        let payload = Bytes::from(format!("{sender} {} {}", known.len(), "x".repeat(padding)));
        let result = if self.rng.u8(..) < 64 {
            let to = self.rng.usize(..self.plan.receivers);
            let to = self.net.identity(self.receivers[to].0);
            self.net.send_to(node, to, payload.clone())
        } else {
            self.net.send(node, payload.clone())
        };
        match result {
            Ok(()) => assert!(known.insert(payload)),
            Err(SendError::Full(_) | SendError::PeerFull(_) | SendError::UnknownPeer(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn random_wire(&mut self) -> Option<WireId> {
        let node = self.senders[self.rng.usize(..self.senders.len())];
        let wires = self.net.wires(node);
        self.rng.choice(&wires).copied()
    }

    fn step(&mut self) {
        for sender in 0..self.senders.len() {
            for _ in 0..self.rng.usize(0..4) {
                self.send(sender);
            }
        }
        let fault = self.rng.u8(..);
        if fault < 12
            && let Some(wire) = self.random_wire()
        {
            self.net.cut(wire);
        } else if fault < 18
            && let Some(wire) = self.random_wire()
        {
            self.net.blackhole(wire);
            self.silenced.push(wire);
        } else if fault < 24
            && let Some(wire) = self.silenced.pop()
        {
            self.net.heal(wire);
        } else if fault < 27 && self.plan.restarts {
            let number = self.rng.usize(..self.plan.receivers);
            self.restart(number);
        }
        let span = self.rng.u64(0..100_000);
        self.net.run_for(Duration::from_micros(span));
        if self.rng.u8(..) < 128 {
            let most = self.rng.usize(1..50);
            self.take(most, 60);
        }
        for sender in &self.senders {
            assert_conserved(&self.net, *sender);
        }
    }

    /// Takes up to `most` messages at each receiver, and rejects some of those that can be.
    fn take(&mut self, most: usize, rejects: u8) {
        for (node, _) in self.receivers.clone() {
            for message in self.net.take(node, most) {
                if let Some(request) = message.request {
                    let rejected = self.rng.u8(..) < rejects;
                    self.net.command(node, |socket, now| {
                        if rejected {
                            socket.reject(now, message.identity, request);
                        } else {
                            socket.acknowledge(now, message.identity, request);
                        }
                    });
                    if rejected {
                        continue;
                    }
                }
                self.done.entry(message.payload).or_default().push(node);
            }
            self.note_taken(node);
        }
    }

    fn note_taken(&mut self, node: NodeId) {
        let counted = self.counted.entry(node).or_default();
        for message in &self.net.received(node)[*counted..] {
            self.done.entry(message.payload.clone()).or_default().push(node);
        }
        *counted = self.net.received(node).len();
    }

    /// Nothing goes wrong any more, but what was silenced may stay so.
    fn come_to_rest(&mut self) {
        self.take(usize::MAX, 0);
        let mut turns = 0;
        while self.senders.iter().any(|sender| held(&self.net, *sender) > 0) {
            // Of a small receive buffer, no more than it holds can be taken in a turn.
            self.net.run_for(SECOND / 5);
            self.take(usize::MAX, 0);
            turns += 1;
            assert!(turns < 5_000, "{:?}", self.net.node(self.senders[0]).metrics());
        }
    }

    fn check(&self) {
        for sender in &self.senders {
            assert_conserved(&self.net, *sender);
            let metrics = self.net.node(*sender).metrics();
            let messages = self.accepted.get(sender).map_or(0, BTreeSet::len);
            assert_eq!((metrics.accepted.messages, metrics.acknowledged.messages), (messages, messages));
        }
        let accepted: BTreeSet<&Bytes> = self.accepted.values().flatten().collect();
        let done: BTreeSet<&Bytes> = self.done.keys().collect();
        assert!(accepted == done, "{} of {} arrived", done.len(), accepted.len());
        for (payload, takers) in &self.done {
            let lives: BTreeSet<&NodeId> = takers.iter().collect();
            assert_eq!(lives.len(), takers.len(), "one life got it twice: {:?}", &payload[..8]);
            if self.plan.receivers == 1 && !self.plan.restarts {
                assert_eq!(takers.len(), 1);
            }
        }
    }
}

/// The seeds to play: a few, or those that `DELIVERY_SEEDS` names, as in `100..200`.
fn seeds() -> core::ops::Range<u64> {
    let named = std::env::var("DELIVERY_SEEDS").unwrap_or_else(|_| "0..20".into());
    let bounds = named.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    bounds.expect("DELIVERY_SEEDS is a range, as in 100..200")
}

#[test]
fn all_that_was_accepted_arrives_whatever_happens() {
    for seed in seeds() {
        let mut fleet = Fleet::new(seed);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..STEPS {
                fleet.step();
            }
            fleet.come_to_rest();
            fleet.check();
        }));
        assert!(outcome.is_ok(), "seed {seed}: {:?}", fleet.plan);
    }
}
