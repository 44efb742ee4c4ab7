//! One bound agent and a mixed fleet: all three peers and an agent on each
//! runtime, connected at the same time.

use std::collections::HashSet;

use aiomsg_interop::{ActorId, Flags, Peer, Program, Runtime, Stage};

use crate::scenarios::messages;

const COUNT: usize = 200;

fn fleet() -> Vec<Program> {
    let agents = Runtime::ALL.map(Program::Agent);
    agents.into_iter().chain(Peer::ALL.map(Program::Peer)).collect()
}

/// Puts the whole fleet on the stage, all with the same flags.
fn launch(stage: &mut Stage, port: u16, flags: &Flags) -> Vec<ActorId> {
    fleet().into_iter().map(|program| stage.connect(program, port, flags)).collect()
}

fn source_for_all(mode: &str) -> Flags {
    Flags::source("fleet ", COUNT).with("send-mode", mode).with("wait-peers", fleet().len())
}

pub(crate) fn publish_to_every_sink(runtime: Runtime) {
    let mut stage = Stage::new();
    let (source, port) = stage.bind(Program::Agent(runtime), &source_for_all("publish"));
    for sink in launch(&mut stage, port, &Flags::sink(COUNT)) {
        assert_eq!(stage.finish(sink), messages("fleet ", COUNT));
    }
    stage.finish(source);
}

pub(crate) fn roundrobin_shares_between_all_sinks(runtime: Runtime) {
    let mut stage = Stage::new();
    let share = COUNT / fleet().len();
    let (source, port) = stage.bind(Program::Agent(runtime), &source_for_all("roundrobin"));
    // The sinks stay to the end: one that leaves would change the circle.
    let sinks = launch(&mut stage, port, &Flags::endless_sink());
    stage.finish(source);
    let mut seen = HashSet::new();
    for sink in sinks {
        let lines = stage.wait_lines(sink, share);
        assert_eq!(lines.len(), share);
        seen.extend(lines);
    }
    assert_eq!(seen, messages("fleet ", COUNT).into_iter().collect());
}

pub(crate) fn sources_of_all_peers_to_one_sink(runtime: Runtime) {
    let mut stage = Stage::new();
    let total = COUNT * fleet().len();
    let (sink, port) = stage.bind(Program::Agent(runtime), &Flags::sink(total));
    let mut sources = Vec::new();
    for program in fleet() {
        let flags = Flags::source(&format!("{} ", program.name()), COUNT);
        sources.push(stage.connect(program, port, &flags));
    }
    let lines = stage.finish(sink);
    assert_eq!(lines.len(), total);
    for program in fleet() {
        let prefix = format!("{} ", program.name());
        let own = lines.iter().filter(|line| line.starts_with(&prefix));
        let own: Vec<_> = own.cloned().collect();
        assert_eq!(own, messages(&prefix, COUNT));
    }
    for source in sources {
        stage.finish(source);
    }
}

pub(crate) fn identity_replies_to_each_requester(runtime: Runtime) {
    let mut stage = Stage::new();
    let each = 50;
    let (echo, port) = stage.bind(Program::Agent(runtime), &Flags::echo(each * fleet().len()));
    let mut requesters = Vec::new();
    for program in fleet() {
        let prefix = format!("{} ", program.name());
        let flags = Flags::request(&prefix, each);
        requesters.push((stage.connect(program, port, &flags), prefix));
    }
    for (requester, prefix) in requesters {
        assert_eq!(stage.finish(requester), messages(&prefix, each));
    }
    stage.finish(echo);
}
