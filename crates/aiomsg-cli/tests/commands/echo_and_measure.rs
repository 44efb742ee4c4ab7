//! Echo, and what asks it: ping and bench.

use aiomsg_interop::Stage;
use serde_json::Value;

use crate::support::{bind, errors, exit_code, run, start};

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn an_echo_answers_whoever_asks_and_nobody_else() {
    let stage = &mut Stage::new();
    let (echo, address) = bind(stage, &["echo", "--count", "6"]);
    let ping = ["ping", "--connect", &address, "--count", "3", "--interval", "1ms", "--json"];
    for ping in [(); 2].map(|()| start(stage, &ping)) {
        let lines: Vec<Value> = stage.finish(ping).iter().map(|line| json(line)).collect();
        let numbers: Vec<_> = lines.iter().filter_map(|line| line["number"].as_u64()).collect();
        assert_eq!(numbers, [1, 2, 3]);
        let last = lines.last().expect("a summary");
        assert_eq!((last["sent"].as_u64(), last["answered"].as_u64()), (Some(3), Some(3)));
        assert!(last["microseconds"]["p99"].as_f64() >= last["microseconds"]["p50"].as_f64());
    }
    assert_eq!(exit_code(stage, echo), 0);
    let said = errors(stage, echo);
    assert!(said.contains("answered 6 messages") && !said.contains("WARN"), "{said}");
}

#[test]
fn a_ping_without_an_answer_fails() {
    let stage = &mut Stage::new();
    let nobody = ["ping", "--bind", "127.0.0.1:0", "--timeout", "50ms", "--count", "1"];
    let (alone, code) = run(stage, &nobody);
    assert_eq!(code, 1);
    assert!(errors(stage, alone).contains("is the other end running?"));
    // Somebody who listens, and says nothing.
    let (_receiver, address) = bind(stage, &["recv"]);
    let silent = ["ping", "--connect", &address, "--timeout", "300ms", "--count", "1"];
    let (ping, code) = run(stage, &silent);
    assert_eq!(code, 1);
    let lines = stage.output(ping);
    assert_eq!(lines, ["no answer within 300ms: number=1", "1 sent, 0 answered, 100.0% lost"]);
    assert!(errors(stage, ping).contains("nobody answered; is the other end an echo"));
}

#[test]
fn a_ping_without_end_is_ended_by_a_signal_and_still_sums_up() {
    let stage = &mut Stage::new();
    let (_echo, address) = bind(stage, &["echo"]);
    let ping = start(stage, &["ping", "--connect", &address, "--interval", "1ms"]);
    let _ = stage.wait_lines(ping, 3);
    stage.signal(ping, "-INT");
    let lines = stage.finish(ping);
    assert!(lines[0].contains("number=1 time="), "{}", lines[0]);
    assert!(lines.last().is_some_and(|line| line.contains("0.0% lost; min ")), "{lines:?}");
}

#[test]
fn bench_measures_one_way_and_round_trips() {
    let stage = &mut Stage::new();
    let (receiver, address) = bind(stage, &["recv", "--format", "count"]);
    let bench = ["bench", "--duration", "300ms", "--json", "--connect"];
    for delivery in ["at-most-once", "at-least-once"] {
        let (bench, code) = run(stage, &[&bench[..], &[&address, "--delivery", delivery]].concat());
        assert_eq!(code, 0);
        let measured = json(&stage.output(bench)[0]);
        assert_eq!(measured["event"], "one_way");
        assert!(measured["messages"].as_u64() > Some(1_000), "{measured}");
    }
    stage.signal(receiver, "-TERM");
    assert_eq!(exit_code(stage, receiver), 0);

    let (_echo, address) = bind(stage, &["echo"]);
    let round_trip = [&bench[..], &[&address, "--round-trip", "--outstanding", "10"]].concat();
    let (bench, code) = run(stage, &round_trip);
    assert_eq!(code, 0);
    let measured = json(&stage.output(bench)[0]);
    let figure = |name: &str| measured["microseconds"][name].as_f64().expect("a number");
    let ordered = ["min", "p50", "p90", "p99", "p999", "max"].map(figure);
    assert!(ordered.is_sorted() && ordered[0] > 0.0, "{measured}");
}

#[test]
fn bench_says_when_there_is_nothing_to_measure() {
    let stage = &mut Stage::new();
    let (alone, code) = run(stage, &["bench", "--bind", "127.0.0.1:0", "--timeout", "50ms"]);
    assert_eq!(code, 1);
    assert!(errors(stage, alone).contains("is the other end running?"));
    let (_receiver, address) = bind(stage, &["recv", "--format", "count"]);
    let (unanswered, code) =
        run(stage, &["bench", "--connect", &address, "--round-trip", "--timeout", "100ms"]);
    assert_eq!(code, 1);
    assert!(errors(stage, unanswered).contains("is the other end an echo"));
}
