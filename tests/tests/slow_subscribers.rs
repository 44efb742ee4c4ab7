//! Subscribers that are slow, and those that are not beside them.

use core::time::Duration;

use aiomsg_proto::{Config, Event, Limit, SendMode};
use aiomsg_tests::company::{MOMENT, peer as subscriber, peer_of, server};
use aiomsg_tests::{Network, NodeId, RawId, wire};

const SECOND: Duration = Duration::from_secs(1);

fn got(net: &Network, raw: RawId) -> Vec<usize> {
    wire::v1_payloads(net.bytes(raw)).iter().map(Vec::len).collect()
}

/// Of a subscriber that does not read, one or two are being written, ten wait, and it misses the rest.
fn fall_behind(net: &mut Network, server: NodeId) {
    for _ in 0..13 {
        net.send(server, vec![7; 100_000]).expect("there is room");
        net.run_for(MOMENT);
    }
}

/// Has a slow one read until it gets again what is published.
fn read_until_it_follows(net: &mut Network, server: NodeId, slow: RawId) {
    net.set_reading(slow, true);
    net.run_until("it follows again", SECOND * 60, |net| {
        net.events(server).iter().any(|(_, event)| matches!(event, Event::SlowPeerRecovered { .. }))
    });
    net.set_reading(slow, false);
}

/// `DropNewest`. A subscriber falls behind, misses some, reads until it follows again with some still waiting, and the next
/// that is published has no room there: it must miss that one. Another one, that was never slow, must get it.
#[test]
fn what_a_subscriber_misses_right_after_it_has_recovered_is_not_taken_from_another() {
    let config = Config::default().send_mode(SendMode::Publish).peer_queue(Limit::new(100, 1_000_000));
    let (mut net, server) = server(config);
    let slow = peer_of(&mut net, 1, 50_000, false);
    let fast = subscriber(&mut net, 2);
    fall_behind(&mut net, server);
    // A third one, to which something is being written, and with nothing in its queue. It does not read for a while.
    let third = peer_of(&mut net, 3, 1_000, false);
    net.send(server, vec![5; 2_000]).expect("there is room");
    net.run_for(MOMENT);
    // The slow one reads until it follows again.
    read_until_it_follows(&mut net, server, slow);
    // About 400,000 bytes wait there, so there is no room for this one.
    net.send(server, vec![9; 700_000]).expect("there is room");
    net.run_for(MOMENT);
    net.set_reading(slow, true);
    net.run_for(SECOND);
    net.set_reading(third, true);
    net.run_for(SECOND * 5);

    let metrics = net.node(server).metrics();
    assert!(got(&net, fast).contains(&700_000));
    let missed_by_slow = 14 + 1 - got(&net, slow).len();
    assert_eq!(
        (got(&net, third), metrics.dropped_slow_peer.messages),
        (vec![2_000, 700_000], missed_by_slow),
        "the third one was never slow, and what the slow one missed it did not get"
    );
}

/// The same, with one more that is behind: it must not get an empty message in the place of what was published.
#[test]
fn what_a_subscriber_misses_right_after_it_has_recovered_does_not_reach_another_empty() {
    let config = Config::default().send_mode(SendMode::Publish).peer_queue(Limit::new(100, 1_000_000));
    let (mut net, server) = server(config);
    let slow = peer_of(&mut net, 1, 50_000, false);
    fall_behind(&mut net, server);
    let third = peer_of(&mut net, 3, 1_000, false);
    let fourth = peer_of(&mut net, 4, 1_000, false);
    net.send(server, vec![5; 2_000]).expect("there is room");
    net.run_for(MOMENT);
    net.send(server, vec![6; 10]).expect("there is room");
    read_until_it_follows(&mut net, server, slow);
    net.send(server, vec![9; 700_000]).expect("there is room");
    net.run_for(MOMENT);
    for raw in [slow, third, fourth] {
        net.set_reading(raw, true);
        net.run_for(SECOND * 3);
    }
    assert_eq!(got(&net, third), [2_000, 10, 700_000]);
    assert_eq!(got(&net, fourth), [2_000, 10, 700_000]);
}
