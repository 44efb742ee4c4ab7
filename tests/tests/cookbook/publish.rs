//! News for everybody who is there, whoever binds.

use std::process::Command;

use aiomsg_tests::program::{Program, examples};

use crate::support::{ANY, Runtime, assert_steps, number, on_both};

on_both! { a_publisher_that_binds, a_publisher_that_connects, a_subscriber_that_nobody_reads }

const OFTEN: [&str; 2] = ["--period", "5ms"];

fn a_publisher_that_binds(runtime: Runtime) {
    let (publisher, address) = runtime.serve("publisher", &OFTEN);
    let subscribe = || runtime.start("subscriber", &["--connect", &address]);
    let (mut first, mut second) = (subscribe(), subscribe());
    assert_steps(&mut first, "News!", 1, 5);
    assert_steps(&mut second, "News!", 1, 5);
    // One that leaves is not missed, and one that comes gets what is published from then on.
    second.kill();
    let before = assert_steps(&mut first, "News!", 1, 5);
    let mut third = subscribe();
    assert!(number(&mut third, "News!") > before, "nothing old");
    // They find a publisher again that was restarted.
    publisher.kill();
    let _publisher =
        runtime.start("publisher", &["--bind", &address, "--news", "Later news!", "--period", "5ms"]);
    for subscriber in [&mut first, &mut third] {
        assert_steps(subscriber, "Later news!", 1, 5);
    }
}

fn a_publisher_that_connects(runtime: Runtime) {
    let subscribe = |address: &str| runtime.start("subscriber", &["--bind", address]);
    let (mut first, mut second) = (subscribe(ANY), subscribe(ANY));
    let addresses = [&mut first, &mut second].map(|subscriber| subscriber.last_word("listening on "));
    let _publisher = runtime
        .start("publisher", &["--connect", &addresses[0], "--connect", &addresses[1], "--period", "5ms"]);
    assert_steps(&mut first, "News!", 1, 5);
    let before = assert_steps(&mut second, "News!", 1, 5);
    // The publisher finds a subscriber again that was restarted.
    second.kill();
    let mut second = subscribe(&addresses[1]);
    assert!(assert_steps(&mut second, "News!", 1, 5) > before);
    assert_steps(&mut first, "News!", 1, 5);
}

/// `subscriber | head -n 1` ends when it has a line more to print, and says nothing about it. So do all programs that print
/// in the same way.
fn a_subscriber_that_nobody_reads(runtime: Runtime) {
    if cfg!(not(unix)) {
        return;
    }
    let (_publisher, address) = runtime.serve("publisher", &OFTEN);
    let mut command = Command::new("sh");
    command.args(["-c", "{ \"$0\" \"$@\"; echo \"exit $?\" >&2; } | head -n 1"]);
    command.arg(examples().join("subscriber")).args(["--runtime", runtime.0, "--connect", &address]);
    let end = Program::spawn(&mut command).end();
    let (news, others): (Vec<&String>, Vec<_>) = end.lines.iter().partition(|line| line.contains("News!"));
    assert_eq!((news.len(), others), (1, vec![&"exit 0".to_owned()]), "{:#?}", end.lines);
}
