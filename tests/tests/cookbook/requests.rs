//! Requests of many clients to many workers, by way of a broker.

use aiomsg_tests::program::Program;

use crate::support::{ANY, Middle, Runtime, on_both};

on_both! {
    each_client_gets_its_own_answers, a_request_of_a_killed_worker_goes_to_another,
    an_answer_to_a_client_that_is_gone_is_counted, a_broker_that_is_started_again_is_asked_again,
}

fn start(runtime: Runtime, [clients, workers]: [&str; 2], retention: &str) -> Middle {
    Middle::start(
        runtime,
        "broker",
        [("clients", clients), ("workers", workers)],
        &["--retention", retention],
    )
}

fn start_worker(runtime: Runtime, broker: &Middle, work: &str) -> Program {
    runtime.start("request_worker", &["--connect", &broker.addresses[1], "--work", work])
}

/// A client that waits for as long as it takes.
fn ask(runtime: Runtime, broker: &Middle, questions: &[&str]) -> Program {
    let args = ["--connect", &broker.addresses[0], "--patience", "1h"];
    runtime.start("client", &[&args, questions].concat())
}

/// The client got these answers, and nothing else happened to it.
#[track_caller]
fn assert_answers(client: Program, answers: &[&str]) {
    let end = client.end();
    assert_eq!((end.code, end.lines), (Some(0), answers.iter().map(|&answer| answer.to_owned()).collect()));
}

fn each_client_gets_its_own_answers(runtime: Runtime) {
    let broker = start(runtime, [ANY; 2], "10s");
    let questions: Vec<String> = (0..120).map(|number| format!("question {number}")).collect();
    let answers: Vec<String> = questions.iter().map(|question| question.to_uppercase()).collect();
    let share = |texts: &[String], client: usize| -> Vec<String> { texts[client * 40..][..40].to_vec() };
    let clients = [0, 1, 2].map(|client| {
        let questions = share(&questions, client);
        ask(runtime, &broker, &questions.iter().map(String::as_str).collect::<Vec<_>>())
    });
    let _workers = [runtime, runtime.other()].map(|runtime| start_worker(runtime, &broker, "1ms"));
    for (number, client) in clients.into_iter().enumerate() {
        let answers = share(&answers, number);
        assert_answers(client, &answers.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

fn a_request_of_a_killed_worker_goes_to_another(runtime: Runtime) {
    let broker = start(runtime, [ANY; 2], "10s");
    let mut worker = start_worker(runtime, &broker, "1h");
    let client = ask(runtime, &broker, &["one", "two"]);
    worker.line("working on one");
    let _other = start_worker(runtime, &broker, "1ms");
    worker.kill();
    assert_answers(client, &["ONE", "TWO"]);
}

fn an_answer_to_a_client_that_is_gone_is_counted(runtime: Runtime) {
    for (retention, told) in
        [("2s", "gone, answers dropped: 1"), ("1ms", "not answered: no peer of this identity")]
    {
        let mut broker = start(runtime, [ANY; 2], retention);
        let mut worker = start_worker(runtime, &broker, "300ms");
        let client = ask(runtime, &broker, &["one", "two"]);
        worker.line("working on one");
        client.kill();
        broker.program.line(told);
        assert_answers(ask(runtime, &broker, &["three"]), &["THREE"]);
    }
}

fn a_broker_that_is_started_again_is_asked_again(runtime: Runtime) {
    let broker = start(runtime, [ANY; 2], "10s");
    let mut worker = start_worker(runtime, &broker, "200ms");
    let mut client = runtime.start("client", &["--connect", &broker.addresses[0], "--patience", "1s", "one"]);
    worker.line("working on one");
    let addresses = broker.kill();
    client.line("asking again");
    let _broker = start(runtime, addresses.each_ref().map(String::as_str), "10s");
    client.end().assert_success("ONE");
}
