//! An application of ours that is slower than the Python sender.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use aiomsg_interop::{ActorId, Flags, Stage};
use aiomsg_tokio::{Acknowledge, Socket};
use tokio::runtime::Runtime;

use super::PYTHON;
use super::support::{Received, Receiver, Sent, copies, finish_source, runtime, tally, tell, wait_until};

/// Sent as fast as it goes, and half a minute's work.
const MESSAGES: usize = 600;

const PAUSE: Duration = Duration::from_millis(50);

/// How long all messages may take to arrive. Our early acknowledgement leaves 1 s of the 5 s after which Python sends them
/// again: for their way here, and for that of the acknowledgements.
const ARRIVAL: Duration = Duration::from_millis(300);

/// A receiver that takes 20 messages a second until it has seen all of them, and is fast from then on; and its source.
/// `None` if the machine was too busy for the messages to arrive in time.
fn start(runtime: &Runtime, stage: &mut Stage, acknowledge: Acknowledge) -> Option<(Receiver, ActorId)> {
    let mut seen = HashSet::new();
    let builder = Socket::builder().acknowledge(acknowledge);
    let receiver = Receiver::start(runtime, builder, move |line| {
        seen.insert(line.to_owned());
        if seen.len() < MESSAGES { PAUSE } else { Duration::ZERO }
    });
    let port = receiver.bind(runtime);
    let source = stage.connect(PYTHON, port, &Flags::certain_source(MESSAGES));
    let received = || receiver.socket.metrics().received.messages;
    wait_until("the first message", || received() > 0);
    let first = Instant::now();
    wait_until("the last message", || received() >= MESSAGES);
    if first.elapsed() < ARRIVAL {
        return Some((receiver, source));
    }
    stage.kill(source);
    None
}

fn play(acknowledge: Acknowledge) -> (Sent, Received) {
    /// It takes a second to find out.
    const ATTEMPTS: usize = 20;
    let runtime = runtime();
    let mut stage = Stage::new();
    let started = (0..ATTEMPTS).find_map(|_| start(&runtime, &mut stage, acknowledge));
    let (receiver, source) = started.expect("the machine is not that busy all the time");
    let start = Instant::now();
    let sent = finish_source(&mut stage, source);
    let received = receiver.finish(&runtime);
    let taken = tally(&received.lines);
    let lost = sent.losses(MESSAGES, &taken);
    tell(&format!(
        "{MESSAGES} from Python at once, 20 a second taken, {acknowledge:?}, {:.1?}: {} acknowledged; {} never got \
         through; {} copies taken, Python sent {}",
        start.elapsed(),
        sent.acknowledged.len(),
        lost.len(),
        copies(&taken),
        sent.transmitted - MESSAGES,
    ));
    assert_eq!((taken.len(), sent.acknowledged.len()), (MESSAGES, MESSAGES));
    (sent, received)
}

#[test]
fn early_acknowledgements_spare_a_slow_application_the_copies() {
    let (sent, received) = play(Acknowledge::default());
    assert!(received.was_acknowledged_early());
    assert_eq!((received.lines.len(), sent.transmitted), (MESSAGES, MESSAGES), "nothing came twice");
}

/// Whoever asks for this gets it: Python sends each of them every 5 s, and its copies wait in line behind all others. An
/// application that stays slow would never see the end of them; one that becomes fast does.
#[test]
fn without_early_acknowledgements_a_slow_application_catches_up_on_copies() {
    let start = Instant::now();
    let (_, received) = play(Acknowledge::OnTake { at_latest: None });
    assert!(!received.was_acknowledged_early());
    let copies = received.lines.len() - MESSAGES;
    let rounds = usize::try_from(start.elapsed().as_secs() / 5).expect("a few");
    assert!((MESSAGES..=MESSAGES * rounds).contains(&copies), "{copies} copies in {rounds} times 5 s");
}
