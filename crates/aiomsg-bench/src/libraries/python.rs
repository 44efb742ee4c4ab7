//! The package `aiomsg` 2026.7.1 for Python, as a proxy between ends of ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where `tests/interop/peers.sh` puts the package.
const PACKAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/interop/v1_2026_7_1");

const PROXY: &str = include_str!("proxy.py");

/// The Python that runs the package: the one that `AIOMSG_PYTHON` names, or that with which `peers.sh` has tried it. `None`
/// if the package is not there.
pub fn find() -> Option<PathBuf> {
    let tried = fs::read_to_string(Path::new(PACKAGE).join("interpreter")).ok()?;
    Some(std::env::var_os("AIOMSG_PYTHON").map_or_else(|| tried.trim().into(), PathBuf::from))
}

/// A proxy with its front at `front` and its back at `back`.
pub fn proxy(front: &str, back: &str) -> Command {
    let mut command = Command::new(find().expect("it is only asked for if it is there"));
    command.env("PYTHONPATH", Path::new(PACKAGE).join("site")).args(["-c", PROXY, front, back]);
    command
}
