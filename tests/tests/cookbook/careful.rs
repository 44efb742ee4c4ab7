//! Jobs that have to be done, whatever becomes of the workers.

use crate::support::{ANY, Middle, Runtime, on_both};

on_both! {
    what_a_killed_worker_had_is_done_by_another, jobs_do_not_wait_at_a_busy_worker,
    what_a_killed_proxy_had_is_done,
}

fn what_a_killed_worker_had_is_done_by_another(runtime: Runtime) {
    let (creator, address) = runtime.serve("careful_creator", &["--jobs", "20"]);
    let work = |work| runtime.start("careful_worker", &["--connect", &address, "--work", work]);
    // Each dies with a job that it has begun.
    for _ in 0..3 {
        let mut killed = work("1h");
        let job = killed.line("working on ");
        assert!(!killed.kill().iter().any(|line| line.starts_with("done")), "{job}");
    }
    let worker = work("1ms");
    let done = creator.end();
    assert_eq!(done.code, Some(0), "{:#?}", done.lines);
    let jobs = done.lines.iter().filter_map(|line| Some(line.split_once(": done by ")?.0));
    assert!(jobs.eq((1..=20).map(|number| format!("job {number}"))), "{:#?}", done.lines);
    let lines = worker.kill();
    for number in 1..=20 {
        let done = lines.iter().filter(|line| **line == format!("done with job {number}"));
        assert_eq!(done.count(), 1, "job {number}: {lines:#?}");
    }
}

fn jobs_do_not_wait_at_a_busy_worker(runtime: Runtime) {
    let (mut creator, address) = runtime.serve("careful_creator", &["--jobs", "20"]);
    let work = |work| runtime.start("careful_worker", &["--connect", &address, "--work", work]);
    let mut busy = work("1h");
    assert_eq!(busy.line("working on "), "working on job 1");
    let mut worker = work("1ms");
    worker.line("done with job 20");
    // Only the one that it has begun waits for the busy one.
    busy.kill();
    worker.line("done with job 1");
    creator.line("job 20: done by ");
    assert_eq!(creator.end().code, Some(0));
}

fn what_a_killed_proxy_had_is_done(runtime: Runtime) {
    let start = |[creators, workers]: [&str; 2]| {
        Middle::start(runtime, "careful_proxy", [("creators", creators), ("workers", workers)], &[])
    };
    let proxy = start([ANY; 2]);
    let [creators, workers] = proxy.addresses.clone();
    let args = ["--connect", &creators, "--window", "100", "--jobs", "20"];
    let creator = runtime.start("careful_creator", &args);
    let work = |work| runtime.start("careful_worker", &["--connect", &workers, "--work", work]);
    let mut busy = work("1h");
    assert_eq!(busy.line("working on "), "working on job 1");
    // There are more at the proxy, and another worker gets them.
    let mut worker = work("1ms");
    worker.line("done with job 20");
    // With the proxy dies what it knew of the first.
    proxy.kill();
    busy.kill();
    let _proxy = start([&creators, &workers]);
    worker.line("done with job 1");
    assert_eq!(creator.end().code, Some(0));
}
