//! Sending, publishing and receiving.

use std::io::Write;

use aiomsg_interop::{ActorId, Stage};

use crate::support::{Unread, bind, errors, exit_code, figure, run, start, start_reading};

const IDENTITY: &str = "000102030405060708090a0b0c0d0e0f";

fn receiver(stage: &mut Stage, arguments: &[&str]) -> (ActorId, String) {
    bind(stage, &[&["recv"], arguments].concat())
}

#[test]
fn lines_of_standard_input_are_messages() {
    let stage = &mut Stage::new();
    let (receiver, address) = receiver(stage, &["--count", "3"]);
    let sender = start_reading(stage, &["send", "--connect", &address]);
    stage.write(sender, "one\n");
    // Each goes as soon as it is there.
    assert_eq!(stage.wait_lines(receiver, 1), ["one"]);
    stage.write(sender, "\nthree");
    stage.close_input(sender);
    assert_eq!(exit_code(stage, sender), 0);
    assert_eq!(stage.finish(receiver), ["one", "", "three"]);
    assert!(errors(stage, sender).contains("sent 3 messages, 8 bytes"));
}

#[test]
fn a_list_is_sent_over_and_over_up_to_a_count() {
    let stage = &mut Stage::new();
    let (receiver, address) = receiver(stage, &["--count", "5"]);
    let send = ["send", "--connect", &address, "-m", "a", "-m", "b", "--count", "5"];
    assert_eq!(run(stage, &send).1, 0);
    assert_eq!(stage.finish(receiver), ["a", "b", "a", "b", "a"]);
}

#[test]
fn a_file_may_be_one_message() {
    let stage = &mut Stage::new();
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(b"two\nlines\n").expect("there is room");
    let path = file.path().to_str().expect("it is text");
    let (receiver, address) = receiver(stage, &["--count", "1", "--format", "raw"]);
    assert_eq!(run(stage, &["send", "--connect", &address, "--file", path, "--format", "whole"]).1, 0);
    assert_eq!(stage.finish(receiver), ["two", "lines"]);
}

#[test]
fn a_message_is_printed_in_the_form_that_was_asked_for() {
    let stage = &mut Stage::new();
    for (format, printed) in [("text", "grüße"), ("hex", "6772c3bcc39f65"), ("raw", "grüße")] {
        let (receiver, address) = receiver(stage, &["--count", "1", "--format", format]);
        assert_eq!(run(stage, &["send", "--connect", &address, "--message", "grüße"]).1, 0);
        assert_eq!(stage.finish(receiver), [printed]);
    }
    let (receiver, address) = receiver(stage, &["--count", "2", "--format", "json"]);
    let send = ["send", "--connect", &address, "--identity", IDENTITY, "--format", "hex"];
    assert_eq!(run(stage, &[&send[..], &["-m", "61", "-m", "ff"]].concat()).1, 0);
    let lines = stage.finish(receiver);
    let [text, hex]: [serde_json::Value; 2] =
        [0, 1].map(|line: usize| serde_json::from_str(&lines[line]).expect("it is JSON"));
    assert_eq!((&text["text"], &hex["hex"]), (&"a".into(), &"ff".into()));
    assert_eq!(text["identity"], IDENTITY);
    let time = text["time"].as_str().expect("a time");
    assert!(humantime::parse_rfc3339(time).is_ok(), "{time}");
}

#[test]
fn a_count_is_all_that_is_printed() {
    let stage = &mut Stage::new();
    let (receiver, address) = receiver(stage, &["--count", "1000", "--format", "count", "--json"]);
    assert_eq!(run(stage, &["send", "--connect", &address, "-m", "hello", "--count", "1000"]).1, 0);
    let printed = stage.finish(receiver);
    assert_eq!(printed.len(), 1, "{printed:?}");
    assert_eq!(figure(&printed[0], "messages"), 1000);
    assert_eq!(figure(&printed[0], "bytes"), 5000);
}

#[test]
fn all_subscribers_get_what_is_published() {
    const MESSAGES: usize = 20_000;
    let stage = &mut Stage::new();
    let count = MESSAGES.to_string();
    let publish = ["pub", "--bind", "127.0.0.1:0", "--peers", "2", "--message", "News!", "--count", &count];
    let publisher = start(stage, &publish);
    let address = stage.wait_note(publisher, "listening ");
    let subscribers = [(); 2]
        .map(|()| start(stage, &["sub", "--connect", &address, "--count", &count, "--format", "count"]));
    assert_eq!(exit_code(stage, publisher), 0);
    for subscriber in subscribers {
        assert!(stage.finish(subscriber)[0].starts_with(&format!("{MESSAGES} messages")));
    }
}

#[test]
fn a_message_to_one_peer_waits_for_that_peer() {
    let stage = &mut Stage::new();
    let sender = start(
        stage,
        &["send", "--bind", "127.0.0.1:0", "--to", IDENTITY, "-m", "to you", "--delivery", "at-least-once"],
    );
    let address = stage.wait_note(sender, "listening ");
    let other = start(stage, &["recv", "--connect", &address, "--json"]);
    let _ = stage.wait_note(other, "{\"event\":\"connected\"");
    let you = start(stage, &["recv", "--connect", &address, "--identity", IDENTITY, "--count", "1"]);
    assert_eq!(stage.finish(you), ["to you"]);
    assert_eq!(exit_code(stage, sender), 0);
    stage.signal(other, "-TERM");
    assert_eq!(exit_code(stage, other), 0);
    assert_eq!(stage.output(other), [""; 0]);
}

#[test]
fn a_rate_is_kept() {
    let stage = &mut Stage::new();
    let (_receiver, address) = receiver(stage, &["--count", "11"]);
    let send = ["send", "--connect", &address, "-m", "a", "--count", "11", "--rate", "50", "--json"];
    let (sender, code) = run(stage, &send);
    assert_eq!(code, 0);
    let summary: serde_json::Value =
        serde_json::from_str(stage.errors(sender).last().expect("it said something")).expect("it is JSON");
    assert!(summary["seconds"].as_f64() >= Some(0.2), "ten pauses of 20 ms: {summary}");
}

#[test]
fn time_that_is_up_has_an_exit_code_of_its_own() {
    let stage = &mut Stage::new();
    let (nobody, code) = run(stage, &["recv", "--bind", "127.0.0.1:0", "--timeout", "50ms"]);
    assert_eq!(code, 124);
    assert!(errors(stage, nobody).contains("nothing came for 50ms, after 0 messages"));
    let (alone, code) = run(stage, &["send", "--bind", "127.0.0.1:0", "-m", "a", "--timeout", "50ms"]);
    assert_eq!(code, 124);
    assert!(errors(stage, alone).contains("no peer came for 50ms"));
    let (_other, address) = receiver(stage, &["--count", "1"]);
    let to = ["send", "--connect", &address, "--to", IDENTITY, "-m", "a", "--timeout", "300ms"];
    let (sender, code) = run(stage, &to);
    assert_eq!(code, 124);
    assert!(errors(stage, sender).contains(&format!("the peer {IDENTITY} did not come for 300ms")));

    let (receiver, address) = receiver(stage, &["--count", "2", "--timeout", "300ms"]);
    assert_eq!(run(stage, &["send", "--connect", &address, "-m", "a"]).1, 0);
    assert_eq!(exit_code(stage, receiver), 124, "one of two");
    assert_eq!(stage.output(receiver), ["a"]);
}

#[test]
fn without_a_count_silence_is_the_end() {
    let stage = &mut Stage::new();
    let (receiver, address) = receiver(stage, &["--timeout", "300ms"]);
    assert_eq!(run(stage, &["send", "--connect", &address, "-m", "a"]).1, 0);
    assert_eq!(stage.finish(receiver), ["a"]);
}

#[test]
fn signals_end_what_has_no_other_end_and_interrupt_what_has() {
    let stage = &mut Stage::new();
    let (endless, _) = receiver(stage, &[]);
    stage.signal(endless, "-INT");
    assert_eq!(exit_code(stage, endless), 0);
    let (counting, _) = receiver(stage, &["--count", "1"]);
    stage.signal(counting, "-INT");
    assert_eq!(exit_code(stage, counting), 130);
    let alone = start(stage, &["send", "--bind", "127.0.0.1:0", "-m", "a"]);
    let _ = stage.wait_note(alone, "listening ");
    stage.signal(alone, "-TERM");
    assert_eq!(exit_code(stage, alone), 143);
    assert!(errors(stage, alone).contains("stopped by SIGTERM before all was done"));
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let stage = &mut Stage::new();
    let mut receiver = Unread::start(&["recv", "--bind", "127.0.0.1:0"]);
    let address = receiver.note("listening ");
    let end = receiver.hang_up();
    let sender = start(stage, &["send", "--connect", &address, "-m", "a"]);
    assert_eq!(end(), (Vec::new(), Some(0)));
    assert_eq!(exit_code(stage, sender), 0);
}

#[test]
fn what_was_not_written_yet_is_not_acknowledged() {
    let stage = &mut Stage::new();
    let file = tempfile::NamedTempFile::new().expect("a file");
    // More than fits into a pipe.
    std::fs::write(file.path(), "x".repeat(1 << 20)).expect("there is room");
    let path = file.path().to_str().expect("it is text");
    let mut receiver = Unread::start(&["recv", "--bind", "127.0.0.1:0", "--count", "1"]);
    let address = receiver.note("listening ");
    let send = ["send", "--connect", &address, "--file", path, "--delivery", "at-least-once"];
    assert_eq!(run(stage, &[&send[..], &["--timeout", "500ms"]].concat()).1, 124);
    let (printed, _, code) = receiver.read();
    assert_eq!((printed[0].len(), code), (1 << 20, Some(0)));
}

#[test]
fn an_empty_message_is_acknowledged_although_nothing_is_written_for_it() {
    let stage = &mut Stage::new();
    let (receiver, address) = receiver(stage, &["--format", "raw"]);
    let send = ["send", "--connect", &address, "--message", "", "--delivery", "at-least-once"];
    assert_eq!(run(stage, &[&send[..], &["--timeout", "5s"]].concat()).1, 0);
    stage.signal(receiver, "-TERM");
    assert_eq!(exit_code(stage, receiver), 0);
}

#[test]
fn a_receiver_whose_output_nobody_reads_stops_all_the_same() {
    let stage = &mut Stage::new();
    let file = tempfile::NamedTempFile::new().expect("a file");
    // More than fits into a pipe.
    std::fs::write(file.path(), "x".repeat(1 << 20)).expect("there is room");
    let path = file.path().to_str().expect("it is text");
    let mut receiver = Unread::start(&["recv", "--bind", "127.0.0.1:0", "--linger", "100ms"]);
    let address = receiver.note("listening ");
    assert_eq!(run(stage, &["send", "--connect", &address, "--file", path]).1, 0);
    receiver.wait_output();
    receiver.terminate();
    let (errors, code) = receiver.end();
    assert_eq!(code, Some(1), "it was not all written");
    assert!(errors[0].contains("nobody reads the output"), "{errors:?}");
}
