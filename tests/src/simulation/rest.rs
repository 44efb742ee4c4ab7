//! After the storm: everything that can be delivered is, and all come to an end in good order.

use core::time::Duration;

use aiomsg_proto::{CloseReason, Event};

use super::fleet::{Fleet, SECOND};
use super::plan::Weather;
use crate::check::assert_conserved;

/// Nothing takes longer than this when nothing is wrong: the longest delay between two attempts to connect, the longest
/// time between two copies, and the longest that an absent identity is waited for, several times over.
const PATIENCE: Duration = Duration::from_secs(1_200);

impl Fleet {
    /// Heals what is wrong, and waits until all that is held is delivered or given up.
    pub(super) fn come_to_rest(&mut self) {
        self.note(format_args!("everything heals"));
        self.heal();
        let start = self.net.now();
        // What is on its way arrives within some of these turns.
        let mut turns_at_rest = 0;
        while turns_at_rest < 10 {
            // Of a small receive buffer, no more than it holds can be taken in a turn.
            self.show_events();
            let before = self.model.delivered();
            self.take(usize::MAX, 0);
            self.note_taken();
            let is_at_rest = self.is_at_rest() && self.model.delivered() == before;
            turns_at_rest = if is_at_rest { turns_at_rest + 1 } else { 0 };
            let waited = self.net.now().saturating_duration_since(start);
            assert!(waited < PATIENCE, "never at rest: {}", self.unrest());
            self.net.run_for(SECOND / 5);
        }
        self.check_bounds();
        self.check_deliveries();
    }

    fn is_at_rest(&self) -> bool {
        self.members.iter().all(|living| {
            let socket = self.net.node(living.node);
            let metrics = socket.metrics();
            metrics.send_held.messages == 0 && metrics.receive_held.messages == 0
        }) && self.missing().is_empty()
    }

    /// Pairs of members that are to be connected, and are not.
    fn missing(&self) -> Vec<(usize, usize)> {
        let mut missing = Vec::new();
        for (number, living) in self.members.iter().enumerate() {
            for to in &living.member.dials {
                let other = &self.members[*to];
                let knows = |from: &super::fleet::Living, of: &super::fleet::Living| {
                    self.net.node(from.node).peers().iter().any(|peer| peer.identity == of.identity)
                };
                if !knows(living, other) || !knows(other, living) {
                    missing.push((number, *to));
                }
            }
        }
        missing
    }

    fn unrest(&self) -> String {
        let held: Vec<String> = self
            .members
            .iter()
            .map(|living| format!("{:?} {:?}", living.life, self.net.node(living.node).metrics()))
            .collect();
        format!("missing {:?}, {held:#?}", self.missing())
    }

    /// What was accepted and not lost for a reason that is told has arrived.
    fn check_deliveries(&self) {
        let quiet = self.plan.weather != Weather::Stormy;
        for living in &self.members {
            let metrics = self.net.node(living.node).metrics();
            if quiet && !self.may_part() {
                assert_eq!(metrics.disconnected, 0, "{:?}", self.net.events(living.node));
            }
            let delivered = self.model.deliveries_of(living.life);
            let handed = metrics.handed_over.messages + metrics.acknowledged.messages;
            if quiet && metrics.disconnected == 0 && !self.anybody_rejects() {
                // What was given up may have arrived all the same.
                let most = handed + metrics.dropped_expired.messages;
                assert!((handed..=most).contains(&delivered), "{delivered} of {handed} arrived: {metrics:?}");
            }
            self.check_done(living, metrics.acknowledged.messages);
        }
    }

    /// Whether connections end although nothing goes wrong: one of two that crossed, or that of a slow subscriber.
    fn may_part(&self) -> bool {
        let crossing = |number: usize| {
            let dials = &self.members[number].member.dials;
            dials.iter().any(|to| self.members[*to].member.dials.contains(&number))
        };
        let slow = |event: &Event| matches!(event, Event::Disconnected { reason: CloseReason::SlowPeer, .. });
        (0..self.members.len()).any(crossing)
            || self.lives.values().any(|node| self.net.events(*node).iter().any(|(_, event)| slow(event)))
    }

    fn anybody_rejects(&self) -> bool {
        self.members.iter().any(|living| living.member.manual)
    }

    /// What a sender at-least-once did not give up, somebody is done with.
    fn check_done(&self, living: &super::fleet::Living, acknowledged: usize) {
        if !living.member.at_least_once {
            return;
        }
        let done = self.model.done_of(living.life);
        if self.nobody_dies_with_what_it_acknowledged() {
            assert!(acknowledged <= done, "{acknowledged} were acknowledged, {done} arrived");
        }
        let metrics = self.net.node(living.node).metrics();
        let given_up = metrics.dropped_expired.messages + metrics.dropped_undeliverable.messages;
        let accepted = self.model.accepted_of(living.life);
        assert_eq!(acknowledged + given_up, accepted, "{metrics:?}");
        if !living.member.gives_up && self.plan.weather == Weather::Calm {
            assert_eq!((done, given_up), (accepted, 0), "{metrics:?}");
        }
    }

    /// No application dies with messages that were acknowledged before it took them.
    fn nobody_dies_with_what_it_acknowledged(&self) -> bool {
        self.lives.len() == self.members.len()
            || !self.members.iter().any(|living| living.member.acknowledges_early)
    }

    /// All members close, in any order, and say truly what became of what they held.
    pub(super) fn close(&mut self) {
        let mut order: Vec<usize> = (0..self.members.len()).collect();
        self.rng.shuffle(&mut order);
        for number in order {
            let node = self.members[number].node;
            let linger = SECOND * self.rng.u32(0..5);
            for _ in 0..self.rng.usize(0..10) {
                // Perhaps there is no room.
                drop(self.net.send(node, "Z last words"));
            }
            let before = self.net.node(node).metrics();
            self.net.command(node, |socket, now| socket.close(now, linger));
            self.net.run_for(linger + SECOND * 3);
            let socket = self.net.node(node);
            let report =
                socket.close_report().unwrap_or_else(|| panic!("{number} does not close: {socket:?}"));
            let after = socket.metrics();
            let done = |metrics: &aiomsg_proto::Metrics| {
                metrics.handed_over.messages + metrics.acknowledged.messages
            };
            assert_eq!(report.handed_over.messages, done(&after) - done(&before), "{report:?}");
            assert_eq!(after.send_held.messages, 0);
            assert_eq!(socket.poll_timeout(), None, "nothing is due any more");
            assert_eq!(after.connections, 0);
            if !self.members[number].member.publishes {
                assert_conserved(&self.net, node);
            }
        }
    }
}
