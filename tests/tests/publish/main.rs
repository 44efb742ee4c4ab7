//! Every message to every peer, and what happens to those that do not keep up.

mod blocking;

use core::time::Duration;

use aiomsg_proto::{Acknowledge, CloseReason, Config, Event, Limit, Metrics, SendMode, SlowPeer, Usage};
use aiomsg_tests::company::{HELLO, MOMENT, id, lose, peer as subscriber, peer_of, server};
use aiomsg_tests::{Network, NodeId, RawId, Taking, departures, numbered, wire};
use bytes::Bytes;

const SECOND: Duration = Duration::from_secs(1);

fn publishing() -> Config {
    Config::default().send_mode(SendMode::Publish)
}

/// A publisher at whose subscribers ten messages may wait.
fn short_queues(slow_peer: SlowPeer) -> Config {
    let ten = Limit::new(10, 1 << 20);
    publishing().slow_peer(slow_peer).peer_queue(ten).prefetch(ten)
}

/// One that reads nothing, and to which nothing but the greeting can be written.
fn stalled(net: &mut Network, number: u8) -> RawId {
    peer_of(net, number, HELLO, false)
}

fn got(net: &Network, raw: RawId) -> Vec<Vec<u8>> {
    wire::v1_payloads(net.bytes(raw))
}

/// Publishes, one a moment, so that whoever reads gets each before the next.
fn publish_slowly(net: &mut Network, server: NodeId, messages: &[Bytes]) {
    for message in messages {
        net.send(server, message.clone()).expect("nobody holds it up");
        net.run_for(Duration::from_millis(5));
    }
}

fn slow_events(net: &Network, server: NodeId) -> Vec<Event> {
    let is_slow = |event: &Event| matches!(event, Event::SlowPeer { .. } | Event::SlowPeerRecovered { .. });
    net.events(server).iter().map(|(_, event)| event.clone()).filter(is_slow).collect()
}

/// What subscribers missed, after a check that each of `subscribers` copies of each message is accounted for.
fn missed(metrics: &Metrics, subscribers: usize) -> Usage {
    assert_eq!(metrics.send_held, Usage::default(), "look when all is written");
    let copies = Usage {
        messages: metrics.accepted.messages * subscribers,
        bytes: metrics.accepted.bytes * subscribers,
    };
    let missed = metrics.dropped_slow_peer;
    let left = metrics.dropped_peer_left;
    assert_eq!(
        copies.messages,
        metrics.handed_over.messages + missed.messages + left.messages,
        "{metrics:?}"
    );
    assert_eq!(copies.bytes, metrics.handed_over.bytes + missed.bytes + left.bytes, "{metrics:?}");
    missed
}

#[test]
fn everybody_gets_every_message_in_order() {
    let (mut net, server) = server(publishing());
    let subscribers: Vec<RawId> = (1..=15).map(|number| subscriber(&mut net, number)).collect();
    let messages = numbered(500);
    for message in &messages {
        net.send(server, message.clone()).expect("there is room");
    }
    net.run_for(MOMENT);
    for raw in subscribers {
        assert_eq!(got(&net, raw), messages);
    }
    assert_eq!(missed(&net.node(server).metrics(), 15), Usage::default());
}

#[test]
fn a_published_message_is_held_once_however_many_wait_for_it() {
    let (mut net, server) = server(publishing());
    for number in 1..=15 {
        stalled(&mut net, number);
    }
    let message = Bytes::from(vec![7; 100_000]);
    for _ in 0..10 {
        net.send(server, message.clone()).expect("there is room");
    }
    assert_eq!(net.node(server).metrics().send_held, Usage { messages: 10, bytes: 1_000_000 });
}

#[test]
fn a_subscriber_gets_what_is_published_after_it_came() {
    let (mut net, server) = server(publishing());
    let first = subscriber(&mut net, 1);
    let messages = numbered(20);
    publish_slowly(&mut net, server, &messages[..10]);
    let second = subscriber(&mut net, 2);
    publish_slowly(&mut net, server, &messages[10..]);
    assert_eq!(got(&net, first), messages);
    assert_eq!(got(&net, second), messages[10..]);
}

#[test]
fn with_nobody_there_the_first_subscriber_gets_what_waited() {
    let (mut net, server) = server(publishing());
    let messages = numbered(20_000);
    for message in &messages {
        net.send(server, message.clone()).expect("there is room");
    }
    net.run_for(SECOND);
    let first = subscriber(&mut net, 1);
    let second = subscriber(&mut net, 2);
    assert_eq!(got(&net, first), messages);
    assert!(got(&net, second).is_empty());
    assert_eq!(slow_events(&net, server), [], "what waited is not too much for it");
    assert_eq!(missed(&net.node(server).metrics(), 1), Usage::default());
}

#[test]
fn what_was_handed_whole_to_nobody_returns() {
    let (mut net, server) = server(publishing());
    let messages = numbered(10);
    // Room for the greeting, two messages, and half of the third.
    let lost = peer_of(&mut net, 1, HELLO + 14 + 14 + 7, false);
    for message in &messages {
        net.send(server, message.clone()).expect("there is room");
    }
    lose(&mut net, lost);
    assert_eq!(net.node(server).metrics().send_held.messages, 8);
    let next = subscriber(&mut net, 2);
    assert_eq!(got(&net, next), messages[2..]);
    assert_eq!(missed(&net.node(server).metrics(), 1), Usage::default());
}

#[test]
fn what_was_handed_to_somebody_does_not_return() {
    let (mut net, server) = server(publishing());
    let lost = stalled(&mut net, 1);
    let other = subscriber(&mut net, 2);
    let messages = numbered(10);
    publish_slowly(&mut net, server, &messages);
    lose(&mut net, lost);
    let metrics = net.node(server).metrics();
    assert_eq!(metrics.dropped_peer_left.messages, 10, "the copies of who left are counted");
    let next = subscriber(&mut net, 3);
    assert_eq!(got(&net, other), messages);
    assert!(got(&net, next).is_empty());
    missed(&net.node(server).metrics(), 2);
}

#[test]
fn what_two_lost_subscribers_both_had_returns_once() {
    let (mut net, server) = server(publishing());
    let lost = [stalled(&mut net, 1), stalled(&mut net, 2)];
    let messages = numbered(10);
    for message in &messages {
        net.send(server, message.clone()).expect("there is room");
    }
    for raw in lost {
        lose(&mut net, raw);
    }
    let next = subscriber(&mut net, 3);
    assert_eq!(got(&net, next), messages);
}

#[test]
fn messages_to_one_identity_keep_their_place_among_published_ones() {
    for seed in 0..20 {
        let (mut net, server) = server(publishing());
        let raw = stalled(&mut net, 1);
        let other = subscriber(&mut net, 2);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut published = Vec::new();
        let messages = numbered(200);
        for message in &messages {
            if rng.bool() {
                net.send_to(server, id(1), message.clone()).expect("there is room");
            } else {
                net.send(server, message.clone()).expect("there is room");
                published.push(message.clone());
            }
            net.set_reading(raw, rng.u8(..) < 100);
            net.run_for(Duration::from_micros(rng.u64(0..2_000)));
        }
        net.set_reading(raw, true);
        net.run_for(SECOND);
        assert_eq!(got(&net, raw), messages, "seed {seed}");
        assert_eq!(got(&net, other), published, "seed {seed}");
    }
}

#[test]
fn a_message_that_waited_for_the_window_keeps_its_place_among_published_ones() {
    let mut net = Network::new(5);
    net.set_capacity(2_000);
    let publisher = net.socket(publishing().window(1));
    let subscriber = net.socket(Config::default().acknowledge(Acknowledge::Manual));
    net.set_taking(subscriber, Taking::Nothing);
    net.listen(subscriber, "subscriber");
    net.dial(publisher, "subscriber");
    net.run_for(SECOND);
    let (us, it) = (net.identity(publisher), net.identity(subscriber));
    let with_receipt = |net: &mut Network, message: &'static str| {
        let payload = Bytes::from(message);
        net.command(publisher, |socket, now| socket.send_with_receipt(now, Some(it), payload)).expect("room");
    };
    with_receipt(&mut net, "first");
    net.run_for(MOMENT);
    let first = net.take(subscriber, 1).pop().and_then(|message| message.request).expect("a request");
    // Published messages pile up behind a full connection, and two for this subscriber alone behind them: one there, one
    // at the window.
    let wire = net.wire_to(subscriber, us);
    net.set_stalled(subscriber, wire, true);
    for message in numbered(50) {
        net.send(publisher, [message.as_ref(), &[b'.'; 100]].concat()).expect("room");
    }
    net.send_to(publisher, it, "second").expect("room");
    with_receipt(&mut net, "third");
    net.command(subscriber, |socket, now| socket.acknowledge(now, us, first));
    net.run_for(MOMENT);
    net.set_stalled(subscriber, wire, false);
    net.run_for(SECOND);
    let taken = net.take(subscriber, usize::MAX);
    let place = |of: &str| taken.iter().position(|message| message.payload == of).expect("it came");
    assert_eq!((place("second"), place("third"), taken.len()), (50, 51, 52));
}

#[test]
fn drop_newest_keeps_what_waits_and_counts_what_is_missed() {
    let (mut net, server) = server(short_queues(SlowPeer::DropNewest));
    let slow = stalled(&mut net, 1);
    let fast = subscriber(&mut net, 2);
    let messages = numbered(100);
    publish_slowly(&mut net, server, &messages);
    assert_eq!(got(&net, fast), messages, "nobody else notices");
    net.set_reading(slow, true);
    net.run_for(SECOND);
    assert_eq!(got(&net, slow), messages[..11], "one being written, ten in the queue");
    let missed = missed(&net.node(server).metrics(), 2);
    assert_eq!(missed.messages, 100 - 11, "drops counted and observed differ");
    let events = slow_events(&net, server);
    assert!(matches!(events[0], Event::SlowPeer { identity, .. } if identity == id(1)));
    assert!(matches!(events[1], Event::SlowPeerRecovered { dropped, .. } if dropped == missed));
    assert_eq!(events.len(), 2, "one episode");
    publish_slowly(&mut net, server, &messages[..1]);
    assert_eq!(got(&net, slow).len(), 12, "it follows again");
}

#[test]
fn what_a_slow_peer_misses_is_counted_before_it_recovers() {
    let (mut net, server) = server(short_queues(SlowPeer::DropNewest));
    stalled(&mut net, 1);
    publish_slowly(&mut net, server, &numbered(50));
    assert_eq!(net.node(server).metrics().dropped_slow_peer.messages, 50 - 11);
}

#[test]
fn what_a_slow_peer_missed_stays_counted_when_it_leaves() {
    let (mut net, server) = server(short_queues(SlowPeer::DropNewest));
    let slow = stalled(&mut net, 1);
    let fast = subscriber(&mut net, 2);
    publish_slowly(&mut net, server, &numbered(50));
    lose(&mut net, slow);
    let metrics = net.node(server).metrics();
    assert_eq!(missed(&metrics, 2).messages, 50 - 11);
    assert_eq!(metrics.dropped_peer_left.messages, 11);
    assert_eq!(got(&net, fast).len(), 50);
}

#[test]
fn when_everybody_is_slow_what_all_miss_is_counted_for_each() {
    let (mut net, server) = server(short_queues(SlowPeer::DropNewest));
    let slow = [stalled(&mut net, 1), stalled(&mut net, 2)];
    publish_slowly(&mut net, server, &numbered(50));
    for raw in slow {
        net.set_reading(raw, true);
    }
    net.run_for(SECOND);
    assert_eq!(missed(&net.node(server).metrics(), 2).messages, 2 * (50 - 11));
}

#[test]
fn drop_oldest_keeps_the_newest_and_never_touches_what_is_being_written() {
    let (mut net, server) = server(short_queues(SlowPeer::DropOldest));
    let slow = stalled(&mut net, 1);
    let fast = subscriber(&mut net, 2);
    let messages = numbered(100);
    publish_slowly(&mut net, server, &messages);
    assert_eq!(got(&net, fast), messages);
    net.set_reading(slow, true);
    net.run_for(SECOND);
    let expected: Vec<Bytes> = messages[..1].iter().chain(&messages[90..]).cloned().collect();
    assert_eq!(got(&net, slow), expected);
    assert_eq!(missed(&net.node(server).metrics(), 2).messages, 100 - 11);
    assert_eq!(slow_events(&net, server).len(), 2, "one episode");
}

#[test]
fn drop_oldest_with_a_single_subscriber_drops_for_good() {
    let (mut net, server) = server(short_queues(SlowPeer::DropOldest));
    let slow = stalled(&mut net, 1);
    publish_slowly(&mut net, server, &numbered(100));
    assert_eq!(net.node(server).metrics().send_held.messages, 11);
    net.set_reading(slow, true);
    net.run_for(SECOND);
    assert_eq!(missed(&net.node(server).metrics(), 1).messages, 100 - 11);
}

#[test]
fn disconnect_ends_the_slow_one_alone() {
    let (mut net, server) = server(short_queues(SlowPeer::Disconnect));
    let slow = stalled(&mut net, 1);
    let fast = subscriber(&mut net, 2);
    let messages = numbered(100);
    publish_slowly(&mut net, server, &messages);
    assert_eq!(got(&net, fast), messages);
    assert_eq!(departures(&net, server), [CloseReason::SlowPeer]);
    assert!(got(&net, slow).is_empty());
    assert_eq!(net.node(server).peer_count(), 1);
    assert_eq!(net.node(server).metrics().dropped_peer_left.messages, 11);
}

#[test]
fn disconnect_of_the_only_subscriber_loses_nothing() {
    let (mut net, server) = server(short_queues(SlowPeer::Disconnect));
    stalled(&mut net, 1);
    let messages = numbered(100);
    publish_slowly(&mut net, server, &messages);
    assert_eq!(departures(&net, server), [CloseReason::SlowPeer]);
    assert_eq!(net.node(server).metrics().send_held.messages, 100);
    let next = subscriber(&mut net, 2);
    assert_eq!(got(&net, next), messages);
}

#[test]
fn disconnect_of_all_subscribers_at_once_loses_nothing() {
    let (mut net, server) = server(short_queues(SlowPeer::Disconnect));
    for number in 1..=3 {
        stalled(&mut net, number);
    }
    let messages = numbered(50);
    publish_slowly(&mut net, server, &messages);
    assert_eq!(departures(&net, server), [CloseReason::SlowPeer; 3]);
    let next = subscriber(&mut net, 9);
    assert_eq!(got(&net, next), messages);
}

/// What waited for the first subscriber is more than may wait at one. Who comes next can take the next message at once,
/// and the first one, in the middle of what it was given, is not slow for that.
#[test]
fn subscribers_that_come_to_a_backlog_do_not_have_each_other_disconnected() {
    let config = publishing().slow_peer(SlowPeer::Disconnect).peer_queue(Limit::new(100, 20_000));
    let (mut net, server) = server(config);
    net.set_latency(MOMENT, MOMENT);
    net.set_capacity(10_000);
    net.listen(server, "backlog");
    let backlog: Vec<Bytes> = (0..20).map(|number| vec![number; 30_000].into()).collect();
    for message in &backlog {
        net.send(server, message.clone()).expect("there is room");
    }
    let subscribers: Vec<NodeId> = (0..3)
        .map(|_| {
            let subscriber = net.socket(Config::default());
            net.dial(subscriber, "backlog");
            net.run_for(SECOND);
            subscriber
        })
        .collect();
    net.run_until("all is handed over", SECOND * 300, |net| {
        net.node(server).metrics().send_held == Usage::default()
    });
    net.run_for(SECOND);
    assert_eq!(departures(&net, server), []);
    assert_eq!(net.payloads(subscribers[0]), backlog);
    assert!(backlog.ends_with(&net.payloads(subscribers[2])) && !net.payloads(subscribers[2]).is_empty());
}

/// One that has stalled holds the others up for a second, and no longer.
#[test]
fn who_takes_nothing_of_a_backlog_is_disconnected_after_a_second() {
    let config = publishing().slow_peer(SlowPeer::Disconnect).peer_queue(Limit::new(3, 1 << 20));
    let (mut net, server) = server(config);
    let messages = numbered(100);
    for message in &messages {
        net.send(server, message.clone()).expect("there is room");
    }
    stalled(&mut net, 1);
    net.run_for(MOMENT);
    let fast = subscriber(&mut net, 2);
    let took =
        net.run_until("the stalled one is gone", SECOND * 5, |net| !departures(net, server).is_empty());
    assert!(took <= SECOND, "{took:?}");
    net.run_for(SECOND);
    assert_eq!(departures(&net, server), [CloseReason::SlowPeer]);
    assert_eq!(net.node(server).metrics().send_held, Usage::default());
    // What the stalled one was given comes back with the end of its connection, behind what went on meanwhile.
    let mut got = got(&net, fast);
    got.sort();
    let mut all = messages;
    all.sort();
    assert_eq!(got, all);
}

#[test]
fn a_queue_full_of_bytes_is_full() {
    let config = publishing().peer_queue(Limit::new(1_000, 1_000));
    let (mut net, server) = server(config);
    let slow = stalled(&mut net, 1);
    let messages: Vec<Bytes> = (0..50_u8).map(|number| Bytes::from(vec![number; 300])).collect();
    publish_slowly(&mut net, server, &messages);
    net.set_reading(slow, true);
    net.run_for(SECOND);
    assert_eq!(got(&net, slow), messages[..4], "one being written, three in the queue");
    assert_eq!(missed(&net.node(server).metrics(), 1).bytes, 46 * 300);
}

#[test]
fn a_message_larger_than_the_queue_goes_to_who_has_nothing_waiting() {
    for policy in [SlowPeer::DropNewest, SlowPeer::DropOldest, SlowPeer::Disconnect] {
        let config = publishing().slow_peer(policy).peer_queue(Limit::new(1_000, 1_000));
        let (mut net, server) = server(config);
        let raw = subscriber(&mut net, 1);
        publish_slowly(&mut net, server, &[Bytes::from(vec![1; 5_000]), Bytes::from(vec![2; 5_000])]);
        assert_eq!(got(&net, raw).len(), 2, "{policy:?}");
    }
}

#[test]
fn subscribers_of_any_speed_get_their_own_in_order() {
    for (seed, policy) in (0..30).zip([SlowPeer::DropNewest, SlowPeer::DropOldest].into_iter().cycle()) {
        let (mut net, server) = server(short_queues(policy));
        let mut rng = fastrand::Rng::with_seed(seed);
        let subscribers: Vec<RawId> =
            (1..=5).map(|number| peer_of(&mut net, number, HELLO + 60, true)).collect();
        let messages: Vec<Bytes> = (0..500_u32).map(|number| number.to_be_bytes().to_vec().into()).collect();
        for message in &messages {
            net.send(server, message.clone()).expect("nobody holds it up");
            net.set_reading(*rng.choice(&subscribers).expect("some"), rng.u8(..) < 150);
            net.run_for(Duration::from_micros(rng.u64(0..3_000)));
        }
        for raw in &subscribers {
            net.set_reading(*raw, true);
        }
        net.run_for(SECOND);
        let received: Vec<Vec<Vec<u8>>> = subscribers.iter().map(|raw| got(&net, *raw)).collect();
        for of_one in &received {
            assert!(of_one.is_sorted_by(|a, b| a < b), "seed {seed}");
        }
        let dropped = 5 * 500 - received.iter().map(Vec::len).sum::<usize>();
        assert_eq!(missed(&net.node(server).metrics(), 5).messages, dropped, "seed {seed}");
        let told: usize = slow_events(&net, server)
            .iter()
            .map(|event| match event {
                Event::SlowPeerRecovered { dropped, .. } => dropped.messages,
                _ => 0,
            })
            .sum();
        assert_eq!(told, dropped, "seed {seed}: told and counted differ");
    }
}
