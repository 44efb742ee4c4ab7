//! Reports that are published, and answered to whoever sent them.

use aiomsg_tests::program::Program;

use crate::support::{ANY, Middle, Runtime, assert_steps, number, on_both};

on_both! { reports_are_published_and_answered }

fn reports_are_published_and_answered(runtime: Runtime) {
    let start = |[reporters, subscribers]: [&str; 2]| {
        Middle::start(runtime, "relay", [("reporters", reporters), ("subscribers", subscribers)], &[])
    };
    let mut relay = start([ANY; 2]);
    let [reporters, subscribers] = relay.addresses.clone();
    let report =
        |name| runtime.start("reporter", &["--connect", &reporters, "--name", name, "--period", "5ms"]);
    let mut subscriber = runtime.start("subscriber", &["--connect", &subscribers]);
    let (mut kitchen, hall) = (report("kitchen"), report("hall"));
    // All reports, of both.
    assert_steps(&mut subscriber, "kitchen", 1, 5);
    assert_steps(&mut subscriber, "hall", 1, 5);
    // Each has the answers to its own reports, each once.
    assert_answers(&mut kitchen);
    let answered =
        hall.kill().iter().filter_map(|line| line.strip_suffix(": ok")?.parse().ok()).collect::<Vec<u64>>();
    assert!(answered.iter().copied().eq(1..=answered.len() as u64), "{answered:?}");
    // One that is gone, and one who does not know how to report, are in nobody's way.
    let (_, port) = reporters.rsplit_once(':').expect("an address");
    let confused = ["--role", "connect", "--port", port, "--behavior", "source", "--count", "1"];
    runtime.start("agent", &confused).end();
    relay.program.line("a report without an id");
    assert_answers(&mut kitchen);
    // A relay that is started again is found by all.
    relay.kill();
    let _relay = start([&reporters, &subscribers]);
    let mut attic = report("attic");
    assert_answers(&mut attic);
    let before = number(&mut subscriber, "attic");
    assert_eq!(number(&mut subscriber, "attic"), before + 1);
    assert_answers(&mut kitchen);
}

/// The next answers are to one report after the other.
#[track_caller]
fn assert_answers(reporter: &mut Program) {
    let mut answered = || {
        let line = reporter.line(": ok");
        line.trim_end_matches(": ok").parse::<u64>().expect("a number")
    };
    let first = answered();
    for next in first + 1..first + 5 {
        assert_eq!(answered(), next);
    }
}
