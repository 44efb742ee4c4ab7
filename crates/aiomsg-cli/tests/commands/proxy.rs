//! The proxy: who gets what, when it is acknowledged, what is said about it, and how it stops.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use aiomsg_interop::{ActorId, Stage};

use crate::support::{
    Proxy, Unread, bind, errors, exit_code, figure, numbered, numbers, path, run, start, start_reading,
    start_with,
};

#[test]
fn what_comes_in_front_is_shared_by_the_workers() {
    let stage = &mut Stage::new();
    let proxy = Proxy::start(stage, &["--stats", "50ms"]);
    let workers: Vec<ActorId> =
        (0..2).map(|_| start(stage, &["recv", "--connect", &proxy.back, "--count", "50"])).collect();
    proxy.wait_workers(stage, 2);
    let file = numbered(0..100);
    assert_eq!(run(stage, &["send", "--connect", &proxy.front, "--file", path(&file)]).1, 0);
    let taken: Vec<String> = workers.into_iter().flat_map(|worker| stage.finish(worker)).collect();
    assert_eq!((taken.len(), numbers(&taken)), (100, (0..100).collect()), "each once");
    assert_eq!(proxy.stop(stage), 0);
    assert!(errors(stage, proxy.actor).contains("stopped: 100 messages, 190 bytes"));
}

#[test]
fn a_proxy_may_connect_on_both_sides() {
    let stage = &mut Stage::new();
    let (worker, back) = bind(stage, &["recv", "--count", "1"]);
    let front = format!("127.0.0.1:{}", aiomsg_interop::free_port());
    let proxy = start(stage, &["proxy", "--front-connect", &front, "--back-connect", &back]);
    assert_eq!(run(stage, &["send", "--bind", &front, "--message", "hello"]).1, 0);
    assert_eq!(stage.finish(worker), ["hello"]);
    stage.signal(proxy, "-INT");
    assert_eq!(exit_code(stage, proxy), 0, "stopping it is its proper end");
}

/// It is within the length of a frame that is accepted, since some frames have more beside the payload.
#[test]
fn a_message_a_byte_too_long_to_be_handed_on_does_not_end_the_proxy() {
    const LARGEST: usize = 64 << 20;
    let stage = &mut Stage::new();
    let proxy = Proxy::start(stage, &[]);
    let mut hostile = TcpStream::connect(&*proxy.front).expect("it listens");
    let hello = [&[0, 0, 0, 18, 1, 1][..], &[0xee; 16]].concat();
    let length = u32::try_from(1 + LARGEST + 1).expect("it fits").to_be_bytes();
    hostile.write_all(&[&hello[..], &length, &[3]].concat()).expect("it reads");
    // It may hang up before all is written; that it does tells that all was read.
    let _ = hostile.write_all(&vec![7; LARGEST + 1]);
    let _ = hostile.read_to_end(&mut Vec::new());
    let worker = start(stage, &["recv", "--connect", &proxy.back, "--count", "1"]);
    let send = ["send", "--connect", &proxy.front, "--message", "hello", "--timeout", "5s"];
    assert_eq!(run(stage, &send).1, 0, "others are served");
    assert_eq!(stage.finish(worker), ["hello"]);
    assert_eq!(proxy.stop(stage), 0);
}

#[test]
fn what_was_sent_at_least_once_is_acknowledged_when_a_worker_has_it_and_not_before() {
    let stage = &mut Stage::new();
    let proxy = Proxy::start(stage, &["--stats", "50ms", "--linger", "100ms"]);
    let send = ["send", "--connect", &proxy.front, "--message", "job", "--delivery", "at-least-once"];
    let (sender, code) = run(stage, &[&send[..], &["--timeout", "500ms"]].concat());
    assert_eq!(code, 124, "the proxy has it, and no worker");
    assert!(errors(stage, sender).contains("1 message was not delivered in time"));
    let worker = start(stage, &["recv", "--connect", &proxy.back, "--count", "2"]);
    let (sender, code) = run(stage, &send);
    assert_eq!(code, 0);
    assert!(errors(stage, sender).contains("1 acknowledged"));
    assert_eq!(stage.finish(worker), ["job", "job"]);
    assert_eq!(proxy.stop(stage), 0);
}

#[test]
fn a_proxy_may_be_told_to_acknowledge_at_once() {
    let stage = &mut Stage::new();
    let proxy = Proxy::start(stage, &["--delivery", "at-most-once", "--linger", "100ms"]);
    let send = ["send", "--connect", &proxy.front, "--message", "job", "--delivery", "at-least-once"];
    assert_eq!(run(stage, &send).1, 0, "nobody else has it");
    // And then it is lost, which is said.
    assert_eq!(proxy.stop(stage), 1);
    let said = errors(stage, proxy.actor);
    assert!(said.contains("1 message could not be handed on") && !said.contains("WARN"), "{said}");
}

#[test]
fn a_worker_that_is_killed_loses_nothing_that_was_sent_at_least_once() {
    const MESSAGES: usize = 20_000;
    let stage = &mut Stage::new();
    let proxy = Proxy::start(stage, &["--stats", "50ms"]);
    let doomed = start(stage, &["recv", "--connect", &proxy.back]);
    proxy.wait_workers(stage, 1);
    let file = numbered(0..MESSAGES);
    let send = ["send", "--connect", &proxy.front, "--file", path(&file), "--delivery", "at-least-once"];
    // Slowly enough that it is in the middle when the worker dies.
    let sender = start(stage, &[&send[..], &["--rate", "20000"]].concat());
    let _ = stage.wait_lines(doomed, MESSAGES / 10);
    let mut taken = stage.kill(doomed);
    assert!(taken.len() < MESSAGES, "it was killed too late");
    let worker = start(stage, &["recv", "--connect", &proxy.back]);
    assert_eq!(exit_code(stage, sender), 0, "all is acknowledged");
    stage.signal(worker, "-TERM");
    taken.extend(stage.finish(worker));
    assert_eq!(numbers(&taken), (0..MESSAGES).collect());
    assert_eq!(proxy.stop(stage), 0);
}

#[test]
fn a_message_that_is_given_up_is_not_acknowledged() {
    let stage = &mut Stage::new();
    let flags = ["--max-attempts", "1", "--stats", "50ms", "--json"];
    let proxy = Proxy::start(stage, &flags);
    let worker = start(stage, &["recv", "--connect", &proxy.back]);
    stage.wait_error(proxy.actor, "a worker", |line| line.contains("\"back_peers\":1"));
    stage.signal(worker, "-STOP");
    let send = ["send", "--connect", &proxy.front, "--message", "job", "--delivery", "at-least-once"];
    let sender = start(stage, &[&send[..], &["--timeout", "2s"]].concat());
    // Told twice, it has been in flight for a while: the system has it.
    stage.wait_errors(proxy.actor, "a message in flight", 2, |line| line.contains("\"in_flight\":1"));
    let _ = stage.kill(worker);
    assert_eq!(exit_code(stage, sender), 124);
    assert_eq!(proxy.stop(stage), 0);
    let last = stage.errors(proxy.actor).pop().expect("it said something");
    assert_eq!((figure(&last, "dropped"), figure(&last, "in_flight")), (1, 0), "{last}");
}

/// Whether so many messages wait. One may be on its way between the two sockets, and neither counts it then.
fn are_waiting(line: &str, messages: usize) -> bool {
    [messages - 1, messages].iter().any(|count| line.contains(&format!(" {count} waiting")))
}

#[test]
fn a_proxy_that_stops_hands_on_what_it_has() {
    /// More than the back holds, so that some of them are still in front.
    const MESSAGES: usize = 80_000;
    let stage = &mut Stage::new();
    let proxy = Proxy::start(stage, &["--stats", "50ms"]);
    let file = numbered(0..MESSAGES);
    assert_eq!(run(stage, &["send", "--connect", &proxy.front, "--file", path(&file)]).1, 0);
    stage.wait_error(proxy.actor, "all of them", |line| are_waiting(line, MESSAGES));
    // There is nobody to hand them to before it has been told to stop.
    stage.signal(proxy.actor, "-TERM");
    let count = MESSAGES.to_string();
    let worker = start(stage, &["recv", "--connect", &proxy.back, "--count", &count]);
    assert_eq!(numbers(&stage.finish(worker)), (0..MESSAGES).collect());
    assert_eq!(exit_code(stage, proxy.actor), 0);
}

#[test]
fn what_could_not_be_handed_on_is_counted_to_the_last_message() {
    /// More than the back holds, so that one is between the two and others are still in front.
    const MESSAGES: usize = 70_000;
    let stage = &mut Stage::new();
    let proxy = Proxy::start(stage, &["--stats", "50ms", "--linger", "200ms"]);
    let file = numbered(0..MESSAGES);
    assert_eq!(run(stage, &["send", "--connect", &proxy.front, "--file", path(&file)]).1, 0);
    stage.wait_error(proxy.actor, "all of them", |line| are_waiting(line, MESSAGES));
    assert_eq!(proxy.stop(stage), 1);
    let told = format!("aiomsg: {MESSAGES} messages could not be handed on");
    let errors = errors(stage, proxy.actor);
    assert!(errors.contains(&told), "{errors}");
}

#[test]
fn a_worker_that_hangs_does_not_keep_from_others_what_they_could_have() {
    let stage = &mut Stage::new();
    let proxy = Proxy::start(stage, &["--stats", "50ms", "--linger", "3s"]);
    let hanging = start(stage, &["recv", "--connect", &proxy.back]);
    proxy.wait_workers(stage, 1);
    stage.signal(hanging, "-STOP");
    let send = ["send", "--connect", &proxy.front];
    let job = ["--message", "job", "--delivery", "at-least-once", "--timeout", "10s"];
    let sender = start(stage, &[&send[..], &job].concat());
    stage.wait_error(proxy.actor, "a message in flight", |line| line.contains("1 in flight"));
    let worker = start(stage, &["recv", "--connect", &proxy.back]);
    proxy.wait_workers(stage, 2);
    let other = start_reading(stage, &send);
    stage.wait_error(proxy.actor, "two senders", |line| line.contains("peers: 2 in front"));
    stage.signal(proxy.actor, "-TERM");
    // One for each of the workers.
    stage.write(other, "one\ntwo\n");
    assert_eq!(stage.wait_lines(worker, 1).len(), 1, "though the other job is never acknowledged");
    stage.close_input(other);
    assert_eq!(exit_code(stage, other), 0);
    assert_eq!(exit_code(stage, proxy.actor), 1, "the job is not acknowledged");
    assert_eq!(exit_code(stage, sender), 124, "its sender has it still");
    let _ = stage.kill(hanging);
    stage.signal(worker, "-TERM");
    assert_eq!(exit_code(stage, worker), 0);
}

#[test]
fn a_second_signal_stops_at_once() {
    let stage = &mut Stage::new();
    let proxy = Proxy::start(stage, &["--linger", "1h", "--stats", "50ms"]);
    assert_eq!(run(stage, &["send", "--connect", &proxy.front, "--message", "job"]).1, 0);
    stage.wait_error(proxy.actor, "a message that waits", |line| line.contains("1 waiting"));
    stage.signal(proxy.actor, "-TERM");
    // The first has been heard when nobody can connect any more.
    while TcpStream::connect(&proxy.front).is_ok() {
        std::thread::yield_now();
    }
    stage.signal(proxy.actor, "-INT");
    assert_eq!(exit_code(stage, proxy.actor), 130);
}

#[test]
fn an_idle_proxy_does_nothing() {
    const STRETCH: Duration = Duration::from_secs(3);
    let stage = &mut Stage::new();
    let proxy = Proxy::start(stage, &["--capture", "/dev/null"]);
    let worker = start(stage, &["recv", "--connect", &proxy.back]);
    // All have met.
    assert_eq!(run(stage, &["send", "--connect", &proxy.front, "--message", "hello"]).1, 0);
    assert_eq!(stage.wait_lines(worker, 1), ["hello"]);
    let process = stage.process(proxy.actor);
    let before = Effort::of(process);
    std::thread::sleep(STRETCH);
    let after = Effort::of(process);
    // A heartbeat each way in 5 s, and its answer. A tick is 10 ms.
    assert!(after.switches - before.switches <= 10, "{before:?} {after:?}");
    assert!(after.ticks - before.ticks <= 1, "{before:?} {after:?}");
}

/// What a process has done, all of its threads together.
#[derive(Debug)]
struct Effort {
    switches: u64,
    ticks: u64,
}

impl Effort {
    fn of(process: u32) -> Self {
        let (mut switches, mut ticks) = (0, 0);
        for thread in fs::read_dir(format!("/proc/{process}/task")).expect("it runs") {
            let path: PathBuf = thread.expect("it runs").path();
            let status = fs::read_to_string(path.join("status")).expect("it runs");
            switches += status
                .lines()
                .filter_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
                .map(|number| number.trim().parse::<u64>().expect("a number"))
                .sum::<u64>();
            let stat = fs::read_to_string(path.join("stat")).expect("it runs");
            let (_, figures) = stat.rsplit_once(')').expect("a name in parentheses");
            let figures = figures.split_whitespace().skip(11).take(2);
            ticks += figures.map(|number| number.parse::<u64>().expect("a number")).sum::<u64>();
        }
        Self { switches, ticks }
    }
}

#[test]
fn a_capture_can_be_sent_again() {
    let stage = &mut Stage::new();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("capture.jsonl");
    let path = path.to_str().expect("it is text");
    let proxy = Proxy::start(stage, &["--capture", path]);
    let payloads = ["68656c6c6f", "ff00", "", "226120220a62"];
    let mut send = vec!["send", "--connect", &proxy.front, "--format", "hex", "--identity"];
    let identity = "000102030405060708090a0b0c0d0e0f";
    send.push(identity);
    send.extend(payloads.iter().flat_map(|payload| ["--message", payload]));
    let worker = start(stage, &["recv", "--connect", &proxy.back, "--count", "4", "--format", "hex"]);
    assert_eq!(run(stage, &send).1, 0);
    assert_eq!(stage.finish(worker), payloads);
    assert_eq!(proxy.stop(stage), 0);
    let captured = fs::read_to_string(path).expect("it was written");
    assert_eq!(captured.matches(identity).count(), 4, "{captured}");

    let (receiver, address) = bind(stage, &["recv", "--count", "4", "--format", "hex"]);
    let again = ["send", "--connect", &address, "--format", "json", "--file", path];
    assert_eq!(run(stage, &again).1, 0);
    assert_eq!(stage.finish(receiver), payloads);
}

#[test]
fn a_capture_that_cannot_keep_up_misses_messages_and_says_so() {
    const MESSAGES: usize = 200_000;
    let stage = &mut Stage::new();
    // Nobody reads its output before all has passed.
    let ends = ["proxy", "--front", "127.0.0.1:0", "--back", "127.0.0.1:0", "--capture", "-"];
    let mut proxy = Unread::start(&ends);
    let (back, front) = (proxy.note("back listening "), proxy.note("front listening "));
    let count = MESSAGES.to_string();
    let receiver = start(stage, &["recv", "--connect", &back, "--count", &count, "--format", "count"]);
    let send = ["send", "--connect", &front, "--message", "0123456789abcdef", "--count", &count];
    assert_eq!(run(stage, &send).1, 0);
    assert!(stage.finish(receiver)[0].starts_with(&format!("{MESSAGES} messages")), "messages do not wait");
    proxy.terminate();
    let (captured, errors, code) = proxy.read();
    assert_eq!(code, Some(0));
    let missed: usize = captured
        .iter()
        .filter(|line| line.starts_with("{\"missed\""))
        .map(|line| figure(line, "missed"))
        .sum();
    let written = captured.iter().filter(|line| line.contains("0123456789abcdef")).count();
    assert!(missed > 0, "the pipe and 4 MiB took all of it");
    assert_eq!(written + missed, MESSAGES);
    assert!(errors[0].contains(&format!("{missed} not captured")), "{errors:?}");
}

#[test]
fn statistics_are_for_machines_too() {
    let stage = &mut Stage::new();
    let ends = ["proxy", "--front", "127.0.0.1:0", "--back", "127.0.0.1:0"];
    let proxy = start_with(stage, &ends, |command| {
        command.env("AIOMSG_STATS", "50ms").env("AIOMSG_JSON", "1").stdin(Stdio::null());
    });
    stage.wait_errors(proxy, "statistics", 2, |line| line.starts_with("{\"event\":\"stats\""));
    stage.signal(proxy, "-TERM");
    assert_eq!(exit_code(stage, proxy), 0);
    for line in stage.errors(proxy) {
        let value: serde_json::Value = serde_json::from_str(&line).expect("each line is JSON");
        assert!(value["event"].is_string(), "{line}");
    }
    let last = stage.errors(proxy).pop().expect("it said something");
    for name in
        ["messages", "bytes", "front_peers", "back_peers", "waiting", "in_flight", "dropped", "resent"]
    {
        assert_eq!(figure(&last, name), 0, "{last}");
    }
}
