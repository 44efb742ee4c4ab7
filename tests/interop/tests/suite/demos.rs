//! The demo of the Python packages against the Rust demo: either may send, and
//! either may bind.

use aiomsg_interop::{Peer, Program, Role, Runtime, Stage, free_port};

/// Messages that the client has to print.
const COUNT: usize = 3;

/// What a pair of demos is told.
#[derive(Clone, Copy)]
pub(crate) struct Demo {
    /// What the Rust demo runs on.
    pub(crate) runtime: Runtime,
    pub(crate) peer: Peer,
    /// Which end the sending demo takes.
    pub(crate) server_role: Role,
}

/// The Rust demo sends, the Python demo prints.
pub(crate) fn rust_to_python(demo: Demo) {
    run(demo, Program::Demo(demo.runtime), Program::PeerDemo(demo.peer));
}

/// The Python demo sends, the Rust demo prints.
pub(crate) fn python_to_rust(demo: Demo) {
    run(demo, Program::PeerDemo(demo.peer), Program::Demo(demo.runtime));
}

fn run(demo: Demo, server: Program, client: Program) {
    let mut stage = Stage::new();
    let address = format!("127.0.0.1:{}", free_port());
    let role = demo.server_role;
    stage.start_with(server, &["server", role.flag(), &address]);
    let client = stage.start_with(client, &["client", role.opposite().flag(), &address]);
    let lines = stage.wait_lines(client, COUNT);
    // Each line is a time: the year stands in all of them.
    assert!(lines.iter().all(|line| line.contains("20")), "{lines:?}");
}
