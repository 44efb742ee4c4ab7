//! Fleets in all weathers, from many seeds. `cargo run --release -p aiomsg-tests --bin simulate` plays more of them.

use aiomsg_tests::simulation;

/// The seeds that are played each time.
const SEEDS: u64 = 2_000;

/// Those that are played with the driver, too.
const DRIVEN: u64 = 200;

/// Tests run in as many parts, side by side.
const PARTS: u64 = 4;

fn play(part: u64) {
    for seed in (part..SEEDS).step_by(PARTS as usize) {
        let played = std::panic::catch_unwind(|| simulation::run(seed, false));
        assert!(played.is_ok(), "seed {seed} failed");
    }
}

#[test]
fn every_promise_is_kept_first_part() {
    play(0);
}

#[test]
fn every_promise_is_kept_second_part() {
    play(1);
}

#[test]
fn every_promise_is_kept_third_part() {
    play(2);
}

#[test]
fn every_promise_is_kept_fourth_part() {
    play(3);
}

#[test]
fn the_driver_keeps_every_promise() {
    for seed in 0..DRIVEN {
        let played = std::panic::catch_unwind(|| simulation::driven::run(seed, false));
        assert!(played.is_ok(), "seed {seed} of the driver failed");
    }
}

#[test]
fn a_seed_plays_the_same_again() {
    for seed in 0..20 {
        assert_eq!(simulation::run(seed, false).fingerprint, simulation::run(seed, false).fingerprint);
        let driven = || simulation::driven::run(seed, false).fingerprint;
        assert_eq!(driven(), driven(), "seed {seed} of the driver");
    }
}
