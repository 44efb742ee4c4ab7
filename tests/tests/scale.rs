//! Ten thousand peers of one socket: who gets what, and how they all come back after an outage.

use core::time::Duration;

use aiomsg_proto::{Config, Event, Identity, Instant, SendMode};
use aiomsg_tests::{Chunking, Network, NodeId, assert_conserved};

const SECOND: Duration = Duration::from_secs(1);
const PEERS: u32 = 10_000;

/// One socket, and all that keep a connection to it.
struct Fleet {
    net: Network,
    hub: NodeId,
    peers: Vec<NodeId>,
}

impl Fleet {
    const ADDRESS: &str = "hub";

    fn new(mode: SendMode) -> Self {
        let mut net = Network::new(1);
        net.set_chunking(Chunking::Whole);
        let hub = net.socket(Config::default().send_mode(mode));
        net.listen(hub, Self::ADDRESS);
        let peers: Vec<NodeId> = (0..PEERS)
            .map(|number| {
                let peer =
                    net.socket_as(Config::default(), Identity::from_bytes(u128::from(number).to_be_bytes()));
                net.dial(peer, Self::ADDRESS);
                peer
            })
            .collect();
        let mut fleet = Self { net, hub, peers };
        fleet.await_all(SECOND * 5);
        fleet
    }

    /// Waits until all are there, and returns how long that took.
    fn await_all(&mut self, patience: Duration) -> Duration {
        let hub = self.hub;
        let all = |net: &Network| net.node(hub).peer_count() == PEERS as usize;
        self.net.run_until("all are there", patience, all)
    }

    fn send(&mut self, messages: std::ops::Range<usize>) {
        for number in messages {
            self.net.send(self.hub, number.to_string()).expect("there is room");
        }
        self.net.run_for(SECOND);
    }

    /// Nobody listens, and all connections fail.
    fn break_down(&mut self) {
        self.net.unlisten(Self::ADDRESS);
        for wire in self.net.wires(self.hub) {
            self.net.cut(wire);
        }
        self.net.run_for(Duration::ZERO);
        assert_eq!(self.net.node(self.hub).peer_count(), 0);
    }

    /// When the peers tried to connect.
    fn attempts(&self) -> Vec<Instant> {
        let attempt =
            |(at, event): &(Instant, Event)| matches!(event, Event::Connecting { .. }).then_some(*at);
        self.peers.iter().flat_map(|peer| self.net.events(*peer).iter().filter_map(attempt)).collect()
    }
}

#[test]
fn each_gets_every_published_message_in_order() {
    let mut fleet = Fleet::new(SendMode::Publish);
    fleet.send(0..5);
    for peer in &fleet.peers {
        assert_eq!(fleet.net.payloads(*peer), ["0", "1", "2", "3", "4"]);
    }
}

#[test]
fn in_turn_each_gets_its_share_before_and_after_an_outage() {
    let mut fleet = Fleet::new(SendMode::RoundRobin);
    fleet.send(0..2 * PEERS as usize);
    assert!(fleet.peers.iter().all(|peer| fleet.net.received(*peer).len() == 2));

    fleet.break_down();
    let began = fleet.net.now();
    // What is sent meanwhile waits.
    fleet.send(0..PEERS as usize);
    fleet.net.run_for(SECOND * 59);
    fleet.net.listen(fleet.hub, Fleet::ADDRESS);
    // The longest delay is ten seconds.
    let back = fleet.await_all(SECOND * 11);
    assert!(back > SECOND * 8, "they do not come all at once: {back:?}");
    fleet.net.run_for(SECOND);
    let got: usize = fleet.peers.iter().map(|peer| fleet.net.received(*peer).len()).sum();
    assert_eq!(got, 3 * PEERS as usize, "nothing is lost");
    fleet.send(0..PEERS as usize);
    let got: Vec<usize> = fleet.peers.iter().map(|peer| fleet.net.received(*peer).len()).collect();
    assert!(got.iter().all(|got| *got >= 3), "each has its share of what was sent when all were back");
    assert_conserved(&fleet.net, fleet.hub);

    // At first all try again within 100 ms; then the delays grow, and the attempts spread.
    let mut attempts = fleet.attempts();
    attempts.retain(|at| *at > began);
    let within = |from: Duration, span: Duration| {
        let from = began + from;
        attempts.iter().filter(|at| (from..from + span).contains(at)).count()
    };
    assert!(within(Duration::ZERO, SECOND / 10) >= PEERS as usize);
    // From then on one waits for five seconds on average: 2,000 attempts a second, in no rhythm.
    let bins: Vec<usize> = (0..200).map(|bin| within(SECOND * 39 + SECOND / 10 * bin, SECOND / 10)).collect();
    let (least, most) = (bins.iter().min().expect("some"), bins.iter().max().expect("some"));
    assert!(*least > 130 && *most < 270, "about 200 in each tenth of a second: {least} to {most}");
}
