//! The examples that connect: `blocking`, `completion` and `connection_only`.

use aiomsg_driver::Runtime;
use aiomsg_tests::free_address;
use aiomsg_tests::program::Program;

use crate::support::{echo_server, on_both, slow_line, socket, soon};

on_both! {
    each_gets_its_echoes, large_messages_come_back, bytes_may_come_few_at_a_time,
    a_server_that_restarts_is_found_again, a_server_that_is_late_is_waited_for,
    one_connection_says_when_the_server_is_gone,
}

const CLIENTS: [&str; 3] = ["blocking", "completion", "connection_only"];

/// Those that connect again.
const SOCKETS: [&str; 2] = ["blocking", "completion"];

#[test]
fn every_client_gets_on_with_every_server() {
    for server in ["mio", "custom_runtime"] {
        let (server, address) = Program::serve(server, &[]);
        for client in CLIENTS {
            finish(client, &address, 100, 1_000);
        }
        drop(server);
    }
}

async fn each_gets_its_echoes<R: Runtime>() {
    let (_server, address) = echo_server::<R>("127.0.0.1:0").await;
    for client in CLIENTS {
        finish(client, &address, 200, 100);
    }
}

async fn large_messages_come_back<R: Runtime>() {
    let (_server, address) = echo_server::<R>("127.0.0.1:0").await;
    for client in CLIENTS {
        finish(client, &address, 12, 5_000_000);
    }
}

async fn bytes_may_come_few_at_a_time<R: Runtime>() {
    let (_server, address) = echo_server::<R>("127.0.0.1:0").await;
    for client in CLIENTS {
        finish(client, &slow_line(address.clone()), 20, 300);
    }
}

async fn a_server_that_restarts_is_found_again<R: Runtime>() {
    for client in SOCKETS {
        let first = socket::<R>();
        let (address, _reserved) = free_address();
        let address = first.bind(address).await.expect("it is reserved").to_string();
        let Some(mut program) = start(client, &address, 300, 50_000) else { continue };
        // It answers nothing, and dies with what it has.
        soon(&first, first.recv()).await.expect("it is open");
        first.close().await;
        program.line("disconnected: ");
        let (_second, _) = echo_server::<R>(&address).await;
        program.line("connected to ");
        assert_finished(program, 300);
    }
}

async fn a_server_that_is_late_is_waited_for<R: Runtime>() {
    for client in SOCKETS {
        let (address, _reserved) = free_address();
        let address = address.to_string();
        let Some(mut program) = start(client, &address, 10, 100) else { continue };
        program.line("; trying again in ");
        let (_server, _) = echo_server::<R>(&address).await;
        assert_finished(program, 10);
    }
}

async fn one_connection_says_when_the_server_is_gone<R: Runtime>() {
    let server = socket::<R>();
    let address = server.bind("127.0.0.1:0").await.expect("a free port").to_string();
    let program = start("connection_only", &address, 10, 100).expect("it needs nothing special");
    for echoed in 0..=3 {
        let received = soon(&server, server.recv_from()).await.expect("it is open");
        if echoed < 3 {
            server.send_to(received.identity, received.payload).await.expect("it is there");
        }
    }
    server.close().await;
    program.end().assert_failure(1, "the server has ended the connection; 3 echoed, 0 not handed over");
}

/// Starts a client. None if it needs io_uring, which is not to be had: it has said so then.
fn start(client: &str, address: &str, messages: u64, bytes: usize) -> Option<Program> {
    let (messages, bytes) = (messages.to_string(), bytes.to_string());
    let args = ["--connect", address, "--messages", &messages, "--bytes", &bytes];
    let mut program = Program::start(client, &args);
    if client == "completion" && !program.line("").starts_with("driver: ") {
        program.end().assert_failure(3, "completion: io_uring is not available: ");
        return None;
    }
    Some(program)
}

fn finish(client: &str, address: &str, messages: u64, bytes: usize) {
    if let Some(program) = start(client, address, messages, bytes) {
        assert_finished(program, messages);
    }
}

#[track_caller]
fn assert_finished(program: Program, messages: u64) {
    program.end().assert_success(&format!("sent {messages} messages and got all of them back"));
}
