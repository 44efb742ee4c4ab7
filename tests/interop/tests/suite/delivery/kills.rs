//! A receiving process that is killed and started again while messages flow.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use aiomsg_interop::{ActorId, Flags, Program, Runtime, Stage};
use aiomsg_tokio::{Identity, Socket};

use super::support::{Receiver, Sender, copies, finish_source, identity, named, runtime, tally, tell};
use super::{PYTHON, PYTHON_RECEIVES, PYTHON_SENDS};

const KILLS: usize = 10;

/// The lives of a Python receiver.
struct Lives {
    kills: usize,
    /// What the application prints in each life.
    printed: Vec<Vec<String>>,
    /// Who acknowledged each message.
    acknowledged: BTreeMap<usize, Identity>,
    /// Messages that we sent again.
    resent: usize,
}

impl Lives {
    /// Lets Python receive `messages` in `kills` lives that are cut short, and one more. In those that are cut short
    /// the application rests for `pause` seconds after each message that it takes.
    fn play(messages: usize, kills: usize, pause: f64) -> Self {
        let runtime = runtime();
        let mut stage = Stage::new();
        let sender = Sender::start(&runtime, Socket::builder(), messages);
        let port = sender.bind(&runtime);
        let start = |stage: &mut Stage, life: usize, pause: f64| -> ActorId {
            let flags = Flags::endless_sink().with("identity", identity(life)).with("pause", pause);
            stage.connect(PYTHON, port, &flags)
        };
        let mut printed = Vec::new();
        for life in 0..kills {
            let receiver = start(&mut stage, life, pause);
            sender.wait_acknowledged((life + 1) * messages / (kills + 1));
            printed.push(stage.kill(receiver));
        }
        let last = start(&mut stage, kills, 0.0);
        let (acknowledged, metrics) = sender.finish(&runtime);
        // It has acknowledged these and lives: its application gets every one of them.
        let owed = acknowledged.iter().filter(|(_, by)| **by == identity(kills));
        stage.wait_for_all(last, owed.map(|(number, _)| number.to_string()).collect::<HashSet<_>>());
        printed.push(stage.kill(last));
        Self { kills, printed, acknowledged, resent: metrics.resent.messages }
    }

    /// What no application ever got. Each of these was acknowledged by a life that was killed, or it would be our loss.
    fn lost_by_python(&self) -> BTreeSet<usize> {
        let taken = self.taken();
        let lost: BTreeSet<_> =
            self.acknowledged.keys().copied().filter(|number| !taken.contains_key(number)).collect();
        for number in &lost {
            let by = self.acknowledged[number];
            assert!(
                (0..self.kills).any(|life| by == identity(life)),
                "{number} was lost, acknowledged by {by}"
            );
        }
        lost
    }

    fn taken(&self) -> BTreeMap<usize, usize> {
        tally(self.printed.iter().flatten())
    }

    /// Copies that came to one and the same life. They come only after 5 s without an acknowledgement.
    fn copies_in_one_life(&self) -> usize {
        self.printed.iter().map(|lines| copies(&tally(lines))).sum()
    }

    fn tell(&self, took: Duration) {
        let (messages, lost) = (self.acknowledged.len(), self.lost_by_python());
        tell(&format!(
            "{messages} to Python, {} kills, {took:.1?}, {:.0} a second: all acknowledged; {} acknowledged by Python, \
             which was killed before its application took them: {}; {} copies taken of {} sent again, {} of them \
             in one life",
            self.kills,
            messages as f64 / took.as_secs_f64(),
            lost.len(),
            named(&lost),
            copies(&self.taken()),
            self.resent,
            self.copies_in_one_life(),
        ));
    }
}

#[test]
fn python_is_killed_again_and_again_and_loses_only_what_it_acknowledged() {
    let _turn = PYTHON_RECEIVES.wait();
    let start = Instant::now();
    let lives = Lives::play(100_000, KILLS, 0.0);
    lives.tell(start.elapsed());
    lives.lost_by_python();
    assert!(lives.resent > 0, "messages were on their way when it was killed");
    assert!(copies(&lives.taken()) <= lives.resent, "it repeats nothing by itself");
}

/// The same with an application that is slower than its queue: here Python does lose messages, so that the test above
/// would see it.
#[test]
fn what_python_acknowledged_and_nobody_took_dies_with_it() {
    let _turn = PYTHON_RECEIVES.wait();
    let start = Instant::now();
    let lives = Lives::play(2_000, 2, 0.05);
    lives.tell(start.elapsed());
    let lost = lives.lost_by_python();
    assert!(!lost.is_empty(), "it takes at most 20 messages a second, and acknowledges thousands");
    assert_eq!(lives.taken().len() + lost.len(), 2_000);
}

#[test]
fn we_are_killed_again_and_again_and_lose_nothing_that_we_acknowledged() {
    const MESSAGES: usize = 10_000;
    let _turn = PYTHON_SENDS.wait();
    let start = Instant::now();
    let runtime = runtime();
    let mut stage = Stage::new();
    let (source, port) =
        stage.bind(PYTHON, &Flags::certain_source(MESSAGES).with("burst", 100).with("pause", 0.1));
    let mut printed = Vec::new();
    for life in 0..KILLS {
        let receiver = stage.connect(
            Program::Agent(Runtime::Tokio),
            port,
            &Flags::endless_sink().with("identity", identity(life)),
        );
        let _ = stage.wait_lines(source, (life + 1) * MESSAGES / (KILLS + 1));
        printed.push(stage.kill(receiver));
        assert_eq!(stage.count_notes(receiver, "AcknowledgedEarly"), 0, "it took them all at once");
    }
    // The last life is in this process, where the counters can be seen.
    let last = Receiver::start(&runtime, Socket::builder(), |_| Duration::ZERO);
    last.socket.connect(format!("127.0.0.1:{port}")).expect("an address");
    let sent = finish_source(&mut stage, source);
    // Nobody is left to connect to.
    last.socket.disconnect(format!("127.0.0.1:{port}"));
    let received = last.finish(&runtime);
    printed.push(received.lines);
    let taken = tally(printed.iter().flatten());
    let lost = sent.losses(MESSAGES, &taken);
    tell(&format!(
        "{MESSAGES} from Python, {KILLS} kills of ours, {:.1?}: {} acknowledged, all of them taken; {} never got \
         through: {}; {} copies taken, Python sent {}",
        start.elapsed(),
        sent.acknowledged.len(),
        lost.len(),
        named(&lost),
        copies(&taken),
        sent.transmitted - MESSAGES,
    ));
    assert!(lost.is_empty(), "Python sends without end");
}
