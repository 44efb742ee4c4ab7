//! Two services of which there may be any number each, with one proxy in the middle or with three.

use std::collections::BTreeSet;

use aiomsg_tests::program::Program;

use crate::support::{ANY, Middle, Runtime, number, on_both, wait_for_steps};

on_both! { creators_and_workers_come_and_go, three_proxies, a_list_of_proxies_with_a_gap_is_told }

fn start(runtime: Runtime, [creators, workers]: [&str; 2]) -> Middle {
    Middle::start(runtime, "proxy", [("creators", creators), ("workers", workers)], &[])
}

/// A creator of jobs, and a worker, that know these proxies.
fn create(runtime: Runtime, proxies: &str, name: &str, period: &str) -> Program {
    let variable = ("PROXY_HOSTNAMES", proxies);
    runtime.start_with(variable, "scaled_creator", &["--name", name, "--period", period])
}

fn work(runtime: Runtime, proxies: &str) -> Program {
    runtime.start_with(("PROXY_HOSTNAMES", proxies), "scaled_worker", &[])
}

fn creators_and_workers_come_and_go(runtime: Runtime) {
    let proxy = start(runtime.other(), [ANY; 2]);
    let _first = create(runtime, &proxy.addresses[0], "job of a", "5ms");
    // Not as often as the first, or each worker may see jobs of one creator only.
    let second = create(runtime, &proxy.addresses[0], "job of b", "7ms");
    let [mut worker, mut other] = [(); 2].map(|()| work(runtime, &proxy.addresses[1]));
    for worker in [&mut worker, &mut other] {
        worker.line("job of a");
        worker.line("job of b");
    }
    second.kill();
    other.kill();
    let _third = create(runtime, &proxy.addresses[0], "job of c", "7ms");
    worker.line("job of c");
    let before = number(&mut worker, "job of a");
    let proxy = start(runtime.other(), proxy.kill().each_ref().map(String::as_str));
    for worker in [&mut worker, &mut work(runtime, &proxy.addresses[1])] {
        worker.line("job of c");
        assert!(number(worker, "job of a") > before, "nothing twice");
    }
}

fn three_proxies(runtime: Runtime) {
    let proxies = [(); 3].map(|()| start(runtime, [ANY; 2]));
    let creators = proxies.each_ref().map(|proxy| &*proxy.addresses[0]).join(";");
    let workers = proxies.each_ref().map(|proxy| &*proxy.addresses[1]).join(";");
    let mut workers = [(); 2].map(|()| work(runtime, &workers));

    let creator = create(runtime, &creators, "job", "5ms");
    let mut done = BTreeSet::new();
    for worker in &mut workers {
        let mut last = 0;
        while last < 60 {
            last = number(worker, "job");
            assert!(done.insert(last), "{last} is done twice");
        }
    }
    // What goes by way of different proxies may change its order, but not by as much as that.
    let missing: Vec<u64> = (1..30).filter(|job| !done.contains(job)).collect();
    assert!(missing.is_empty(), "not done: {missing:?}");
    drop(creator);

    // One that is left is enough, whichever that is.
    let [first, second, third] = proxies;
    let addresses = first.kill();
    second.kill();
    let creator = create(runtime, &creators, "job by way of the third", "5ms");
    for worker in &mut workers {
        wait_for_steps(worker, "job by way of the third", 2);
    }
    drop(creator);
    let _first = start(runtime, addresses.each_ref().map(String::as_str));
    third.kill();
    let _creator = create(runtime, &creators, "job by way of the first", "5ms");
    for worker in &mut workers {
        wait_for_steps(worker, "job by way of the first", 2);
    }
}

fn a_list_of_proxies_with_a_gap_is_told(runtime: Runtime) {
    for list in ["", "127.0.0.1;", ";127.0.0.1"] {
        work(runtime, list).end().assert_failure(1, "scaled_worker: \":25002\" is not an address");
    }
}
