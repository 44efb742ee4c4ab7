//! Wrong input, and a system that does not give what is needed.

use std::process::Command;

use aiomsg_tests::program::{Program, examples};

const CLIENTS: [&str; 3] = ["blocking", "completion", "connection_only"];

#[test]
fn what_is_no_address_is_told() {
    for client in CLIENTS {
        for address in ["nonsense", "127.0.0.1", "127.0.0.1:99999", ""] {
            let program = Program::start(client, &["--connect", address]);
            program.end().assert_failure(2, &format!("invalid value '{address}' for '--connect <IP:PORT>'"));
        }
    }
    let program = Program::start("mio", &["--bind", "nonsense"]);
    program.end().assert_failure(2, "invalid value 'nonsense' for '--bind <IP:PORT>'");
    let program = Program::start("custom_runtime", &["--bind", "nonsense"]);
    program
        .end()
        .assert_failure(1, "\"nonsense\" is not an address: a host without a port; try nonsense:25000");
}

#[test]
fn numbers_out_of_bounds_and_unknown_flags_are_told() {
    for (program, args, part) in [
        ("blocking", ["--bytes", "7"], "7 is not in 8.."),
        ("completion", ["--bytes", "-1"], "unexpected argument '-1'"),
        ("connection_only", ["--messages", "many"], "invalid value 'many'"),
        ("mio", ["--messages", "0"], "0 is not in 1.."),
        ("custom_runtime", ["--connect", "127.0.0.1:1"], "unexpected argument '--connect'"),
    ] {
        Program::start(program, &args).end().assert_failure(2, part);
    }
}

#[test]
fn an_address_that_is_taken_is_told() {
    let (_first, address) = Program::serve("mio", &[]);
    for name in ["mio", "custom_runtime"] {
        let second = Program::start(name, &["--bind", &address]);
        second.end().assert_failure(
            1,
            &format!("{name}: {}", if name == "mio" { "cannot listen at " } else { &address }),
        );
    }
}

#[test]
fn one_connection_that_cannot_be_made_is_told() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let free = free.expect("a free port").to_string();
    let program = Program::start("connection_only", &["--connect", &free]);
    program.end().assert_failure(1, &format!("connection_only: cannot connect to {free}: "));
}

#[test]
fn a_message_that_is_too_long_is_told() {
    let (_server, address) = Program::serve("mio", &[]);
    for client in CLIENTS {
        let program = Program::start(client, &["--connect", &address, "--bytes", "70000000"]);
        let end = program.end();
        if client == "completion" && end.code == Some(3) {
            end.assert_failure(3, "completion: io_uring is not available: ");
        } else {
            end.assert_failure(1, "the message is longer than the largest allowed, 67108864 bytes");
        }
    }
}

/// A process that may have no further descriptors cannot have io_uring, wherever it runs.
#[cfg(unix)]
#[test]
fn a_system_without_io_uring_is_told_by_a_code_of_its_own() {
    if cfg!(not(target_os = "linux")) {
        return;
    }
    // The fourth is left for loading the program. It may have been inherited open, from whoever runs the tests.
    for inherited in ["", "exec 3</dev/null && "] {
        let script = format!("{inherited}exec 3>&- && ulimit -n 4 && exec \"$0\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(examples().join("completion"));
        Program::spawn(&mut command).end().assert_failure(3, "completion: io_uring is not available: ");
    }
}
