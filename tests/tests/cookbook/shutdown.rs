//! Programs that are told to stop.

use aiomsg_tests::program::End;

use crate::support::{ANY, Runtime, on_both};

on_both! {
    a_worker_that_is_told_to_stop_ends_with_its_job, a_creator_that_is_told_to_stop_has_its_jobs_done,
    a_creator_without_workers_says_what_is_lost,
}

fn a_worker_that_is_told_to_stop_ends_with_its_job(runtime: Runtime) {
    let (creator, address) = runtime.serve("graceful_creator", &["--period", "1ms"]);
    let work = |work| runtime.start("graceful_worker", &["--connect", &address, "--work", work]);
    let mut stopped = work("300ms");
    stopped.line("done with ");
    let job = stopped.line("working on ").replace("working on", "done with");
    stopped.stop();
    let end = stopped.end();
    end.assert_success(&job);
    end.assert_success("stopped after 2 jobs");
    // All others are done by those who come then, and none twice.
    let mut other = work("0s");
    other.line("done with job 50");
    creator.interrupt();
    let created = jobs(&creator.end(), "created ");
    other.interrupt();
    let done = [jobs(&end, "done with "), jobs(&other.end(), "done with ")].concat();
    assert_eq!(done, created);
}

fn a_creator_that_is_told_to_stop_has_its_jobs_done(runtime: Runtime) {
    let (mut creator, address) = runtime.serve("graceful_creator", &["--period", "1ms"]);
    // So slow that jobs wait for it.
    let mut worker = runtime.start("graceful_worker", &["--connect", &address, "--work", "20ms"]);
    worker.line("done with job 5");
    creator.interrupt();
    creator.line("stopping, at most for 10s");
    creator.line("while stopping: ");
    let created = jobs(&creator.end(), "created ");
    assert!(created.len() > 5, "jobs waited: {created:?}");
    worker.stop();
    assert_eq!(jobs(&worker.end(), "done with "), created);
}

/// What follows `word` on the lines that begin with it, if the program ended well.
#[track_caller]
fn jobs(end: &End, word: &str) -> Vec<String> {
    assert_eq!(end.code, Some(0), "{:#?}", end.lines);
    end.lines.iter().filter_map(|line| line.strip_prefix(word)).map(str::to_owned).collect()
}

fn a_creator_without_workers_says_what_is_lost(runtime: Runtime) {
    let args = ["--bind", ANY, "--period", "1h", "--linger", "100ms"];
    let mut creator = runtime.start("graceful_creator", &args);
    creator.line("created job 1");
    creator.stop();
    creator.line("stopping, at most for 100ms");
    creator.end().assert_failure(1, "graceful_creator: 1 jobs are not done, or not known to be");
}
