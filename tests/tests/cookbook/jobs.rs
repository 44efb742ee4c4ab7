//! Jobs for a service of which there may be any number.

use crate::support::{Runtime, assert_steps, number, on_both, wait_for_steps};

on_both! { workers_come_and_go, workers_of_two_creators }

fn workers_come_and_go(runtime: Runtime) {
    let (creator, address) = runtime.serve("job_creator", &["--period", "5ms"]);
    let work = || runtime.start("worker", &["--connect", &address]);
    let mut first = work();
    assert_steps(&mut first, "job", 1, 5);
    // Another one, and each gets every other job.
    let mut second = work();
    wait_for_steps(&mut first, "job", 2);
    wait_for_steps(&mut second, "job", 2);
    let (one, other) = (number(&mut first, "job"), number(&mut second, "job"));
    assert_eq!((one + other) % 2, 1, "not the same jobs: {one}, {other}");
    // One that is killed gets nothing any more.
    second.kill();
    wait_for_steps(&mut first, "job", 1);
    // A creator that is started again has its workers back.
    creator.kill();
    let mut second = work();
    let _creator =
        runtime.start("job_creator", &["--bind", &address, "--name", "later job", "--period", "5ms"]);
    for worker in [&mut first, &mut second] {
        wait_for_steps(worker, "later job", 2);
    }
}

fn workers_of_two_creators(runtime: Runtime) {
    let create = |name| runtime.serve("job_creator", &["--name", name, "--period", "5ms"]);
    let (first, address) = create("job of a");
    let (_second, other) = create("job of b");
    let work = || runtime.start("worker", &["--connect", &address, "--connect", &other]);
    let mut workers = [work(), work()];
    for worker in &mut workers {
        wait_for_steps(worker, "job of a", 2);
        wait_for_steps(worker, "job of b", 2);
    }
    // One of the creators is enough, and the other one may come back.
    first.kill();
    for worker in &mut workers {
        assert_steps(worker, "job of b", 2, 5);
    }
    let _first = runtime.start("job_creator", &["--name", "job of c", "--period", "5ms", "--bind", &address]);
    for worker in &mut workers {
        wait_for_steps(worker, "job of c", 2);
    }
}
