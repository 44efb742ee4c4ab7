//! The client that was written from `docs/PROTOCOL.md` alone, against our socket.

use aiomsg_interop::{Flags, Peer, Program, Stage};
use aiomsg_tokio::{Acknowledge, DeliveryGuarantee, Receipt, Socket};
use tokio::runtime::Runtime;

use crate::delivery::support::{runtime, wait_until, within};

/// Among them all that is ambiguous in classic, as an argument of a program and as a line can be.
const MESSAGES: [&str; 5] = ["first", "", "aiomsg-heartbeat", "blåbærgrød", "last"];

/// A socket, and its port.
fn server(runtime: &Runtime, delivery: DeliveryGuarantee) -> (Socket, String) {
    let _entered = runtime.enter();
    let builder = Socket::builder().delivery(delivery).acknowledge(Acknowledge::Manual);
    let socket = builder.build().expect("a runtime");
    let address = within(runtime, "a port", socket.bind("127.0.0.1:0")).expect("a free port");
    (socket, address.port().to_string())
}

/// The client's messages arrive, are sent again under their ids until they are acknowledged, and come back with receipts.
fn echo(dialect: &str) {
    let (runtime, mut stage) = (runtime(), Stage::new());
    let (socket, port) = server(&runtime, DeliveryGuarantee::AtLeastOnce);
    let arguments: Vec<&str> = [dialect, "127.0.0.1", &port].into_iter().chain(MESSAGES).collect();
    let client = stage.start_with(Program::ProtocolClient, &arguments);
    let mut receipts = Vec::new();
    for (place, sent) in MESSAGES.into_iter().enumerate() {
        let message = within(&runtime, sent, socket.recv_message()).expect("open");
        let (identity, payload) = (message.identity(), message.payload().clone());
        assert_eq!(payload, sent);
        if place == 0 {
            // It is not acknowledged until it has come again under the same id.
            wait_until("a copy of the first message", || socket.metrics().duplicates.messages > 0);
        }
        message.acknowledge();
        let receipt = socket.send_to_with_receipt(identity, payload);
        receipts.push((identity, within(&runtime, sent, receipt).expect("there is room")));
    }
    for (identity, receipt) in receipts {
        assert_eq!(within(&runtime, "a receipt", receipt), Receipt::Acknowledged { by: identity });
    }
    assert_eq!(stage.finish(client), MESSAGES);
    wait_until("the client's leave", || socket.peers().is_empty());
    assert_eq!(socket.metrics().skipped_frames, 0);
    let report = within(&runtime, "the end", socket.close());
    assert_eq!(report.dropped.messages, 0);
}

#[test]
fn v1_at_least_once_both_ways() {
    echo("v1");
}

#[test]
fn classic_at_least_once_both_ways() {
    echo("classic");
}

#[test]
fn classic_text_at_least_once_both_ways() {
    echo("classic-text");
}

/// The client's messages are acknowledged, and answered at most once: what classic would misread arrives all the same.
fn answer(dialect: &str) {
    let (runtime, mut stage) = (runtime(), Stage::new());
    let (socket, port) = server(&runtime, DeliveryGuarantee::AtMostOnce);
    let client = stage.start_with(Program::ProtocolClient, &[dialect, "127.0.0.1", &port, "one", "two"]);
    let answers = ["aiomsg-heartbeat", "News!"];
    for (sent, answer) in ["one", "two"].into_iter().zip(answers) {
        let message = within(&runtime, sent, socket.recv_message()).expect("open");
        assert_eq!(message.payload(), sent);
        within(&runtime, answer, socket.send_to(message.identity(), answer)).expect("there is room");
        message.acknowledge();
    }
    assert_eq!(stage.finish(client), answers);
    within(&runtime, "the end", socket.close());
}

#[test]
fn v1_at_most_once_back() {
    answer("v1");
}

#[test]
fn classic_at_most_once_back() {
    answer("classic");
}

#[test]
fn classic_text_at_most_once_back() {
    answer("classic-text");
}

/// The document is true of the published packages, too: one of them sends everything back, at least once.
fn echo_by_peer(dialect: &str, peer: Peer) {
    let mut stage = Stage::new();
    let flags = Flags::echo(3).with("delivery", "at-least-once");
    let (echo, port) = stage.bind(Program::Peer(peer), &flags);
    let messages = ["one", "two", "three"];
    let port = port.to_string();
    let arguments: Vec<&str> = [dialect, "127.0.0.1", &port].into_iter().chain(messages).collect();
    let client = stage.start_with(Program::ProtocolClient, &arguments);
    assert_eq!(stage.finish(client), messages);
    stage.finish(echo);
}

#[test]
fn v1_with_the_package_of_2026() {
    echo_by_peer("v1", Peer::V1_2026_7_1);
}

#[test]
fn classic_with_a_package_of_2019() {
    echo_by_peer("classic", Peer::Classic2019_12_3);
}

#[test]
fn classic_text_with_an_older_package_of_2019() {
    echo_by_peer("classic-text", Peer::ClassicText2019_4_5);
}
