//! Inputs of the fuzz targets are played again: what each starts from, and what once broke a promise.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use aiomsg_tests::fuzzing::{TARGETS, fuzz};

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(name)
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
}

/// Plays what is kept for a target, and returns how many inputs that were.
fn play(kind: &str, target: &str) -> usize {
    let directory = directory(kind).join(target);
    let names = names(&directory);
    for name in &names {
        let input = fs::read(directory.join(name)).expect("readable");
        let played = std::panic::catch_unwind(|| fuzz(target, &input));
        assert!(played.is_ok(), "fuzz/{kind}/{target}/{name} broke a promise");
    }
    names.len()
}

#[test]
fn decoders() {
    for target in ["frame", "classic", "v1", "detection"] {
        assert!(play("corpus", target) >= 20, "{target}");
    }
}

#[test]
fn connections() {
    assert!(play("corpus", "connection") >= 20);
}

#[test]
fn strangers() {
    assert!(play("corpus", "hostile") >= 20);
}

#[test]
fn schedules() {
    assert!(play("corpus", "socket") >= 20);
}

#[test]
fn drivers() {
    assert!(play("corpus", "driver") >= 20);
}

#[test]
fn what_once_failed() {
    for target in names(&directory("regressions")) {
        assert!(play("regressions", &target) > 0, "{target}");
    }
}

#[test]
fn every_target_is_built_and_played() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&directory("corpus")), targets);
    let sources = targets.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names(&directory("fuzz_targets")), sources);
    let manifest = fs::read_to_string(directory("Cargo.toml")).expect("readable");
    let built: BTreeSet<String> = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\""))
        .map(str::to_owned)
        .collect();
    assert_eq!(built, targets);
}
