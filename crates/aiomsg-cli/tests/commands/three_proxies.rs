//! Two services of any size with three proxies between them: one may die at any time.

use std::collections::BTreeMap;
use std::io::Write;

use aiomsg_interop::{ActorId, Stage};

use crate::support::{Proxy, exit_code, numbered, path, start};

const CREATORS: usize = 3;
const WORKERS: usize = 3;

/// Messages of each creator.
const MESSAGES: usize = 20_000;

fn connected<'a>(command: &[&'a str], addresses: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    command.iter().copied().chain(addresses.flat_map(|address| ["--connect", address])).collect()
}

#[test]
fn one_of_three_proxies_is_killed_and_nothing_is_lost() {
    let stage = &mut Stage::new();
    // No worker has more than a few, so that most of what is in flight is in the proxies alone.
    let flags = ["--stats", "20ms", "--window", "16"];
    let proxies: Vec<Proxy> = (0..3).map(|_| Proxy::start(stage, &flags)).collect();
    let worker = connected(&["recv"], proxies.iter().map(|proxy| &*proxy.back));
    let workers: Vec<ActorId> = (0..WORKERS).map(|_| start(stage, &worker)).collect();
    for proxy in &proxies {
        proxy.wait_workers(stage, WORKERS);
    }
    let files: Vec<_> =
        (0..CREATORS).map(|creator| numbered(creator * MESSAGES..(creator + 1) * MESSAGES)).collect();
    let create = ["send", "--delivery", "at-least-once", "--peers", "3", "--rate", "10000", "--file"];
    let creators: Vec<ActorId> = files
        .iter()
        .map(|file| {
            let create = [&create[..], &[path(file)]].concat();
            start(stage, &connected(&create, proxies.iter().map(|proxy| &*proxy.front)))
        })
        .collect();

    // In the middle of it the workers pause, so that the proxy that is killed has messages that nobody else has but
    // those who sent them.
    let _ = stage.wait_lines(workers[0], MESSAGES / 10);
    workers.iter().for_each(|worker| stage.signal(*worker, "-STOP"));
    let doomed = &proxies[1];
    let has_many = |line: &str| in_flight(line) >= 200;
    let before = stage.errors(doomed.actor).iter().filter(|line| has_many(line)).count();
    stage.wait_errors(doomed.actor, "messages in flight", before + 1, has_many);
    let _ = stage.kill(doomed.actor);
    workers.iter().for_each(|worker| stage.signal(*worker, "-CONT"));

    for creator in creators {
        assert_eq!(exit_code(stage, creator), 0, "all that it sent is acknowledged");
    }
    let mut taken: BTreeMap<usize, usize> = BTreeMap::new();
    for worker in workers {
        stage.signal(worker, "-TERM");
        for line in stage.finish(worker) {
            *taken.entry(line.parse().expect("a number")).or_default() += 1;
        }
    }
    let all = CREATORS * MESSAGES;
    let lost: Vec<usize> = (0..all).filter(|number| !taken.contains_key(number)).collect();
    let copies = taken.values().sum::<usize>() - taken.len();
    let told = format!("{all} messages, {} taken, {} lost, {copies} taken twice\n", taken.len(), lost.len());
    // Nothing can be done about a standard error that is gone.
    let _ = std::io::stderr().write_all(told.as_bytes());
    assert!(
        lost.is_empty(),
        "acknowledged, and taken by nobody: {} messages, {:?}...",
        lost.len(),
        lost.first()
    );
    for proxy in [&proxies[0], &proxies[2]] {
        assert_eq!(proxy.stop(stage), 0);
    }
}

/// How many messages are in flight, by a line of statistics.
fn in_flight(line: &str) -> usize {
    let figure = line.split(", ").find_map(|part| part.strip_suffix(" in flight"));
    figure.and_then(|figure| figure.parse().ok()).unwrap_or(0)
}
