//! Connections that are cut between two healthy processes.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use aiomsg_interop::{Flags, Role, Stage};
use aiomsg_tokio::{Builder, Identity, Socket};

use super::proxy::Proxy;
use super::support::{Receiver, Sender, copies, finish_source, identity, named, runtime, tally, tell};
use super::{PYTHON, PYTHON_RECEIVES, PYTHON_SENDS};

const CUTS: usize = 14;

/// What passes at least for each message: its frame and that of its acknowledgement have 22 bytes or more each.
const CERTAIN_BYTES: usize = 42;

/// All of these are sent again after a cut. By default it would be 4,096, and Python would do little else than count them.
const WINDOW: usize = 1_000;

/// What the random numbers start from.
const SEED: u64 = 20_260_701;

fn builder() -> Builder {
    Socket::builder()
        // Cuts come faster than a peer would be given up.
        .reconnect_delay_max(Duration::from_millis(100))
        // A Python that listens, and has not noticed yet that the old connection is gone, refuses the new one without
        // a word, and leaves it open. It is silent then for longer than a live one, which says something every 5 s.
        .heartbeat_timeout(Duration::from_secs(7))
}

/// We send, through the proxy; `role` is ours.
fn send(role: Role, messages: usize) {
    let _turn = PYTHON_RECEIVES.wait();
    let start = Instant::now();
    let runtime = runtime();
    let mut stage = Stage::new();
    let python: Identity = identity(7);
    let flags = Flags::endless_sink().with("identity", python);
    let sender = Sender::start(&runtime, builder().window(WINDOW), messages);
    let bytes = messages * CERTAIN_BYTES;
    let (receiver, proxy) = match role {
        Role::Bind => {
            let proxy = Proxy::start(&runtime, sender.bind(&runtime), CUTS, bytes, SEED);
            (stage.connect(PYTHON, proxy.port, &flags), proxy)
        }
        Role::Connect => {
            let (receiver, port) = stage.bind(PYTHON, &flags);
            let proxy = Proxy::start(&runtime, port, CUTS, bytes, SEED);
            sender.socket.connect(format!("127.0.0.1:{}", proxy.port)).expect("an address");
            (receiver, proxy)
        }
    };
    let (acknowledged, metrics) = sender.finish(&runtime);
    assert!(acknowledged.values().all(|by| *by == python));
    // It lives, so that none of what it acknowledged may be missing.
    let all: HashSet<_> = acknowledged.keys().map(usize::to_string).collect();
    stage.wait_for_all(receiver, all);
    let taken = tally(stage.kill(receiver));
    let (resets, fins) = proxy.cuts();
    tell(&format!(
        "{messages} to Python, we {}, {resets} resets, {fins} FINs, {:.1?}: all acknowledged and taken; {} copies \
         taken of {} sent again",
        role.flag(),
        start.elapsed(),
        copies(&taken),
        metrics.resent.messages,
    ));
    assert_eq!((resets + fins, taken.len()), (CUTS, messages));
    assert!(copies(&taken) <= metrics.resent.messages, "it repeats nothing by itself");
}

/// Python sends, through the proxy; `role` is ours.
fn receive(role: Role, messages: usize) {
    let _turn = PYTHON_SENDS.wait();
    let start = Instant::now();
    let runtime = runtime();
    let mut stage = Stage::new();
    let flags = Flags::certain_source(messages).with("burst", 100).with("pause", 0.1);
    let receiver = Receiver::start(&runtime, builder(), |_| Duration::ZERO);
    let bytes = messages * CERTAIN_BYTES;
    let (source, proxy) = match role {
        Role::Bind => {
            let proxy = Proxy::start(&runtime, receiver.bind(&runtime), CUTS, bytes, SEED);
            (stage.connect(PYTHON, proxy.port, &flags), proxy)
        }
        Role::Connect => {
            let (source, port) = stage.bind(PYTHON, &flags);
            let proxy = Proxy::start(&runtime, port, CUTS, bytes, SEED);
            receiver.socket.connect(format!("127.0.0.1:{}", proxy.port)).expect("an address");
            (source, proxy)
        }
    };
    let sent = finish_source(&mut stage, source);
    let received = receiver.finish(&runtime);
    let taken = tally(&received.lines);
    let lost = sent.losses(messages, &taken);
    let (resets, fins) = proxy.cuts();
    tell(&format!(
        "{messages} from Python, we {}, {resets} resets, {fins} FINs, {:.1?}: {} acknowledged, all of them taken; {} \
         never got through: {}; {} copies taken, Python sent {}",
        role.flag(),
        start.elapsed(),
        sent.acknowledged.len(),
        lost.len(),
        named(&lost),
        copies(&taken),
        sent.transmitted - messages,
    ));
    assert_eq!(resets + fins, CUTS);
    assert!(lost.is_empty(), "Python sends without end");
}

#[test]
fn cuts_cost_nothing_on_the_way_to_a_python_that_connects() {
    send(Role::Bind, 8_000);
}

#[test]
fn cuts_cost_nothing_on_the_way_to_a_python_that_binds() {
    send(Role::Connect, 8_000);
}

#[test]
fn cuts_cost_nothing_on_the_way_from_a_python_that_connects() {
    receive(Role::Bind, 5_000);
}

#[test]
fn cuts_cost_nothing_on_the_way_from_a_python_that_binds() {
    receive(Role::Connect, 5_000);
}
