//! A sender that finds no room while the application takes nothing is told, before it waits for itself.

use aiomsg_proto::{Config, Event, Limit, Ready, SendError};
use aiomsg_tests::{Network, NodeId, RawId, Taking, wire};

use super::support::{
    MOMENT, SECOND, acknowledge_from, assert_conserved, at_least_once, id, patient, peer, server,
};

const TOO_LONG: core::time::Duration = core::time::Duration::from_secs(15);

/// A socket whose application takes nothing, and a peer that has sent more than there is room for, so that it is not
/// read.
fn not_reading(config: Config) -> (Network, NodeId, RawId) {
    let (mut net, server) = server(config.receive_buffer(Limit::new(1, 1 << 20)));
    net.set_taking(server, Taking::Nothing);
    let raw = peer(&mut net, 1);
    net.write(raw, wire::data(b"x").repeat(3));
    net.run_for(MOMENT);
    assert!(net.unread_by_core(net.wire_to(server, id(1))) > 0, "it is not read");
    (net, server, raw)
}

/// How often senders were told to try again.
fn called(net: &Network, server: NodeId) -> usize {
    let room = |ready: &Ready| matches!(ready, Ready::Room | Ready::PeerRoom(_));
    net.announced(server).iter().filter(|(_, ready)| room(ready)).count()
}

fn fill(net: &mut Network, server: NodeId, to_peer: bool) -> SendError {
    for _ in 0..100 {
        let sent = if to_peer { net.send_to(server, id(1), "m") } else { net.send(server, "m") };
        if let Err(error) = sent {
            return error;
        }
        net.run_for(MOMENT);
    }
    panic!("there is room without end");
}

#[test]
fn a_sender_to_a_peer_that_is_not_read_is_told_after_15_seconds_and_gets_its_message_back() {
    let config = at_least_once().window(2).peer_queue(Limit::new(4, 1 << 20));
    let (mut net, server, raw) = not_reading(config);
    assert!(matches!(fill(&mut net, server, true), SendError::PeerFull(_)));
    acknowledge_from(&mut net, raw, 0);
    net.run_for(TOO_LONG - SECOND);
    assert_eq!(called(&net, server), 0);
    assert!(matches!(fill(&mut net, server, true), SendError::PeerFull(_)), "not yet");
    net.run_for(SECOND * 2);
    assert_eq!(called(&net, server), 1, "it is called");
    let error = net.send_to(server, id(1), "mine").expect_err("nothing has changed");
    assert!(matches!(error, SendError::WouldDeadlock(_)), "{error:?}");
    assert_eq!(error.into_payload(), "mine");
    assert_eq!(net.take(server, 1).len(), 1);
    net.take(server, 0);
    assert!(
        matches!(net.send_to(server, id(1), "m"), Err(SendError::PeerFull(_))),
        "the application takes again"
    );
    net.set_taking(server, Taking::All);
    net.run_for(MOMENT);
    assert!(net.send_to(server, id(1), "m").is_ok(), "the acknowledgements were read");
    assert_conserved(&net, server);
}

#[test]
fn a_sender_that_waits_for_the_socket_is_told_as_well() {
    let config = at_least_once().window(2).send_buffer(Limit::new(5, 1 << 20));
    let (mut net, server, _) = not_reading(config);
    assert!(matches!(fill(&mut net, server, false), SendError::Full(_)));
    net.run_for(TOO_LONG + SECOND);
    assert_eq!(called(&net, server), 1);
    assert!(matches!(net.send(server, "m"), Err(SendError::WouldDeadlock(_))));
    net.run_for(TOO_LONG * 10);
    assert_eq!(called(&net, server), 1, "nothing goes on by itself");
    assert_conserved(&net, server);
}

#[test]
fn at_most_once_two_ends_that_wait_for_each_other_are_told() {
    let config = patient().peer_queue(Limit::new(4, 1 << 20));
    let (mut net, server, raw) = not_reading(config);
    net.set_reading(raw, false);
    let full = (0..100).find_map(|_| net.send_to(server, id(1), vec![0; 100_000]).err());
    assert!(matches!(full, Some(SendError::PeerFull(_))), "{full:?}");
    net.run_for(TOO_LONG + SECOND);
    assert!(matches!(net.send_to(server, id(1), "m"), Err(SendError::WouldDeadlock(_))));
    net.set_reading(raw, true);
    net.run_for(MOMENT);
    assert!(net.send_to(server, id(1), "m").is_ok());
    assert_conserved(&net, server);
}

#[test]
fn who_takes_slowly_is_not_told() {
    let config = at_least_once().window(2).peer_queue(Limit::new(4, 1 << 20));
    let (mut net, server, raw) = not_reading(config);
    net.write(raw, wire::data(b"x").repeat(100));
    for _ in 0..40 {
        assert!(matches!(fill(&mut net, server, true), SendError::PeerFull(_)));
        net.run_for(TOO_LONG - SECOND);
        net.take(server, 1);
        net.take(server, 0);
    }
    assert_conserved(&net, server);
}

#[test]
fn a_peer_that_reads_slowly_is_waited_for() {
    let config = patient().peer_queue(Limit::new(4, 1 << 20));
    let (mut net, server, raw) = not_reading(config);
    net.set_reading(raw, false);
    for _ in 0..20 {
        let full = (0..100).find_map(|_| net.send_to(server, id(1), vec![0; 100_000]).err());
        assert!(matches!(full, Some(SendError::PeerFull(_))), "{full:?}");
        net.run_for(TOO_LONG - SECOND);
        net.set_reading(raw, true);
        net.set_reading(raw, false);
    }
    assert_conserved(&net, server);
}

#[test]
fn a_peer_that_is_read_and_does_not_acknowledge_is_waited_for() {
    let (mut net, server) = server(at_least_once().window(2).peer_queue(Limit::new(4, 1 << 20)));
    peer(&mut net, 1);
    assert!(matches!(fill(&mut net, server, true), SendError::PeerFull(_)));
    net.run_for(TOO_LONG * 10);
    assert!(matches!(net.send_to(server, id(1), "m"), Err(SendError::PeerFull(_))));
    let slow = |event: &Event| matches!(event, Event::AcknowledgementsHidden { .. });
    assert!(!net.events(server).iter().any(|(_, event)| slow(event)));
    assert_conserved(&net, server);
}
