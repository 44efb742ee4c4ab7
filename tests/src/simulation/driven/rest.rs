//! After the storm: everything that can be delivered is, all come to an end in good order, and nothing is left running.

use core::time::Duration;

use aiomsg_driver::{CloseReason, Event, Runtime};

use super::fleet::{Fleet, Living, SECOND};
use super::ledger::LAST_WORDS;
use crate::check::assert_accounted;
use crate::simulation::plan::Weather;

/// Nothing takes longer than this when nothing is wrong: the longest delay between two attempts to connect, the longest
/// time between two copies, and the longest that an absent identity is waited for, several times over.
const PATIENCE: Duration = Duration::from_secs(1_200);

impl Fleet {
    /// Heals what is wrong, and waits until all that is held is delivered or given up.
    pub(super) fn come_to_rest(&mut self) {
        self.note("everything heals".to_owned());
        self.heal();
        let start = self.world.now();
        // What is on its way arrives within some of these turns.
        let mut turns_at_rest = 0;
        while turns_at_rest < 10 {
            let before = self.book.open().model.delivered();
            self.take(1_000_000);
            let waited = self.world.now().saturating_duration_since(start);
            assert!(waited < PATIENCE, "never at rest: {}", self.unrest());
            self.run_for(SECOND / 5);
            let is_at_rest = self.is_at_rest() && self.book.open().model.delivered() == before;
            turns_at_rest = if is_at_rest { turns_at_rest + 1 } else { 0 };
        }
        self.look_around();
        self.check_deliveries();
    }

    fn is_at_rest(&self) -> bool {
        let holds_nothing = self.members.iter().all(|living| {
            let metrics = living.app.socket.metrics();
            let awaited = self.book.open().awaited.get(&living.app.life).copied().unwrap_or_default();
            let held = metrics.send_held.messages + metrics.receive_held.messages + awaited;
            held == 0 && !living.app.has_orders()
        });
        holds_nothing && self.missing().is_empty()
    }

    /// Pairs of members that are to be connected, and are not.
    fn missing(&self) -> Vec<(usize, usize)> {
        let knows = |from: &Living, of: &Living| {
            from.app.socket.peers().iter().any(|peer| peer.identity == of.identity)
        };
        let pairs = self
            .members
            .iter()
            .enumerate()
            .flat_map(|(number, living)| living.member.dials.iter().map(move |to| (number, *to)));
        let apart = |(from, to): &(usize, usize)| {
            let (from, to) = (&self.members[*from], &self.members[*to]);
            !knows(from, to) || !knows(to, from)
        };
        pairs.filter(apart).collect()
    }

    fn unrest(&self) -> String {
        let held: Vec<String> = self
            .members
            .iter()
            .map(|living| format!("{:?} {:?}", living.app.life, living.app.socket.metrics()))
            .collect();
        format!("missing {:?}, {held:#?}, {:?}", self.missing(), self.book.open().awaited)
    }

    /// What was accepted and not lost for a reason that is told has arrived.
    fn check_deliveries(&self) {
        let quiet = self.plan.weather != Weather::Stormy;
        let may_part = self.may_part();
        let rejects = self.members.iter().any(|living| living.member.manual);
        for living in &self.members {
            let metrics = living.app.socket.metrics();
            if quiet && !may_part {
                assert_eq!(metrics.disconnected, 0, "{:?}", living.app.life);
            }
            let delivered = self.book.open().model.deliveries_of(living.app.life);
            let handed = metrics.handed_over.messages + metrics.acknowledged.messages;
            if quiet && metrics.disconnected == 0 && !rejects {
                // What was given up may have arrived all the same.
                let most = handed + metrics.dropped_expired.messages;
                assert!((handed..=most).contains(&delivered), "{delivered} of {handed} arrived: {metrics:?}");
            }
            self.check_done(living);
        }
    }

    /// Whether connections end although nothing goes wrong: one of two that crossed, or that of a slow subscriber.
    fn may_part(&self) -> bool {
        let book = self.book.open();
        let slow = |event: &Event| matches!(event, Event::Disconnected { reason: CloseReason::SlowPeer, .. });
        let crossing = book.dials.iter().any(|(from, to)| book.dials.contains(&(*to, *from)));
        crossing || book.lives.values().any(|known| known.seen.iter().any(|(_, event)| slow(event)))
    }

    /// What a sender at-least-once did not give up, somebody is done with.
    fn check_done(&self, living: &Living) {
        if !living.member.at_least_once {
            return;
        }
        let book = self.book.open();
        let (done, accepted) = (book.model.done_of(living.app.life), book.model.accepted_of(living.app.life));
        // Nobody died with messages that were acknowledged before the application took them.
        let early = self.members.iter().any(|living| living.member.acknowledges_early || !living.member.slow);
        let metrics = living.app.socket.metrics();
        let acknowledged = metrics.acknowledged.messages;
        if book.lives.len() == self.members.len() || !early {
            assert!(acknowledged <= done, "{acknowledged} were acknowledged, {done} arrived");
        }
        let given_up = metrics.dropped_expired.messages + metrics.dropped_undeliverable.messages;
        assert_eq!(acknowledged + given_up, accepted, "{metrics:?}");
        if !living.member.gives_up && self.plan.weather == Weather::Calm {
            assert_eq!((done, given_up), (accepted, 0), "{metrics:?}");
        }
    }

    /// All members close, in any order, say truly what became of what they held, and leave nothing running.
    pub(super) fn close(&mut self) {
        let mut order: Vec<usize> = (0..self.members.len()).collect();
        self.rng.shuffle(&mut order);
        for number in order {
            let linger = SECOND * self.rng.u32(0..5);
            let last_words = self.rng.usize(0..10);
            let Living { app, member, .. } = &self.members[number];
            for _ in 0..last_words {
                // Perhaps there is no room.
                let _ = app.socket.try_send(LAST_WORDS);
            }
            app.close();
            let report = std::sync::Arc::new(std::sync::Mutex::new(None));
            let (socket, slot) = (app.socket.clone(), report.clone());
            app.socket.runtime().spawn(async move {
                let before = socket.metrics();
                let report = socket.close_within(linger).await;
                *slot.lock().expect("nobody panics with it") = Some((before, report));
            });
            self.run_for(linger + SECOND * 4);
            let report = report.lock().expect("nobody panics with it").take();
            let (before, report) = report.unwrap_or_else(|| panic!("{number} does not close"));
            let after = app.socket.metrics();
            let done = after.handed_over.messages + after.acknowledged.messages
                - before.handed_over.messages
                - before.acknowledged.messages;
            assert_eq!(report.handed_over.messages, done, "{report:?}");
            assert_eq!(after.send_held.messages, 0);
            assert_eq!(after.connections, 0);
            assert_eq!(self.world.tasks(app.socket.runtime().id()), 0, "tasks are left of {:?}", app.life);
            if !member.publishes {
                assert_accounted(&after);
            }
        }
    }
}
