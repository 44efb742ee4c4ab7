//! Who gets a message, in which order, and where it goes when its peer is lost.

use core::time::Duration;

use aiomsg_proto::{Config, Event, Limit, PeerInfo, Ready, SendError, Usage};
use aiomsg_tests::company::{HELLO, MOMENT, id, lose, peer, server, stalled_peer};
use aiomsg_tests::{Chunking, Network, NodeId, RawId, Scene, assert_conserved, numbered, wire};
use bytes::Bytes;

const SECOND: Duration = Duration::from_secs(1);

fn got(net: &Network, raw: RawId) -> Vec<Vec<u8>> {
    wire::v1_payloads(net.bytes(raw))
}

fn info(net: &Network, server: NodeId, number: u8) -> PeerInfo {
    let peers = net.node(server).peers();
    peers.into_iter().find(|peer| peer.identity == id(number)).expect("the peer is there")
}

fn send_all(net: &mut Network, node: NodeId, messages: &[Bytes]) {
    for message in messages {
        net.send(node, message.clone()).expect("there is room");
    }
}

#[test]
fn messages_go_to_one_peer_after_another() {
    for count in 1..6 {
        let (mut net, server) = server(Config::default());
        let peers: Vec<RawId> = (0..count).map(|number| peer(&mut net, number + 1)).collect();
        let messages = numbered(60);
        send_all(&mut net, server, &messages);
        net.run_for(MOMENT);
        for (turn, raw) in peers.iter().enumerate() {
            let share: Vec<Bytes> = messages.iter().skip(turn).step_by(peers.len()).cloned().collect();
            assert_eq!(got(&net, *raw), share, "peer {turn} of {count}");
        }
        assert_conserved(&net, server);
    }
}

#[test]
fn the_cycle_goes_on_when_peers_come_and_go() {
    let (mut net, server) = server(Config::default());
    let (first, second) = (peer(&mut net, 1), peer(&mut net, 2));
    for round in 0..50 {
        let flapping = peer(&mut net, 3);
        send_all(&mut net, server, &numbered(3));
        lose(&mut net, flapping);
        assert_eq!(net.node(server).peer_count(), 2, "round {round}");
    }
    let shares = (got(&net, first).len(), got(&net, second).len());
    assert_eq!(shares, (50, 50), "a peer that flaps takes nothing from the others");
}

#[test]
fn at_most_so_many_messages_are_bound_to_a_peer_that_does_not_read() {
    let (mut net, server) = server(Config::default());
    stalled_peer(&mut net, 1, HELLO);
    let messages = numbered(5_000);
    send_all(&mut net, server, &messages[..1]);
    net.run_for(MOMENT);
    send_all(&mut net, server, &messages[1..]);
    assert_eq!(info(&net, server, 1).queued.messages, 1_024);
    let late = peer(&mut net, 2);
    assert_eq!(got(&net, late), messages[1 + 1_024..], "the newcomer gets all that is not bound, at once");
    assert_conserved(&net, server);
}

#[test]
fn at_most_so_many_bytes_are_bound_to_a_peer_that_does_not_read() {
    let (mut net, server) = server(Config::default());
    stalled_peer(&mut net, 1, HELLO);
    let message = Bytes::from(vec![7; 100_000]);
    for _ in 0..100 {
        net.send(server, message.clone()).expect("there is room");
    }
    let (queued, limit) = (info(&net, server, 1).queued.bytes, 256 << 10);
    assert!(queued <= limit && queued > limit - 100_000, "{queued}");
    let metrics = net.node(server).metrics();
    assert_eq!(metrics.send_held.messages, 100);
    assert_conserved(&net, server);
}

#[test]
fn a_peer_that_is_full_is_passed_over() {
    let (mut net, server) = server(Config::default().prefetch(Limit::new(4, 1 << 20)));
    let slow = stalled_peer(&mut net, 1, HELLO);
    let fast = peer(&mut net, 2);
    for message in numbered(100) {
        net.send(server, message).expect("there is room");
        net.run_for(MOMENT);
    }
    let bound = info(&net, server, 1).queued.messages;
    assert_eq!(bound, 4);
    assert_eq!(got(&net, fast).len(), 100 - bound - 1, "all but what is bound or being written");
    net.set_reading(slow, true);
    net.run_for(MOMENT);
    assert_eq!(got(&net, slow).len(), bound + 1);
    send_all(&mut net, server, &numbered(10));
    net.run_for(MOMENT);
    assert_eq!(got(&net, slow).len(), bound + 1 + 5, "it has its turn again");
    assert_conserved(&net, server);
}

#[test]
fn a_large_message_waits_for_a_peer_that_can_take_it_and_holds_the_order() {
    let (mut net, server) = server(Config::default());
    let raw = stalled_peer(&mut net, 1, 100_000);
    let mut messages = numbered(20);
    messages.insert(7, Bytes::from(vec![1; 3 << 20]));
    messages.insert(9, Bytes::from(vec![2; 3 << 20]));
    send_all(&mut net, server, &messages);
    net.set_reading(raw, true);
    net.set_chunking(Chunking::Whole);
    net.run_until("all are written", SECOND * 10, |net| net.node(server).metrics().send_held.messages == 0);
    net.run_for(MOMENT);
    assert!(got(&net, raw) == messages, "in another order, or not all");
}

#[test]
fn with_nobody_there_messages_wait_for_the_first_to_come() {
    let (mut net, server) = server(Config::default());
    let messages = numbered(5_000);
    send_all(&mut net, server, &messages);
    net.run_for(SECOND * 3_600);
    let first = peer(&mut net, 1);
    let second = peer(&mut net, 2);
    assert_eq!(got(&net, first), messages, "all, in order");
    assert!(got(&net, second).is_empty());
    assert_conserved(&net, server);
}

#[test]
fn a_lost_peer_returns_what_was_not_written_to_the_last_byte() {
    let messages = numbered(8);
    let frames: Vec<usize> = messages.iter().map(|message| message.len() + 5).collect();
    let total: usize = frames.iter().sum();
    for taken in 0..=total {
        let (mut net, server) = server(Config::default());
        let lost = stalled_peer(&mut net, 1, HELLO + taken);
        send_all(&mut net, server, &messages);
        lose(&mut net, lost);
        let mut end = 0;
        let whole = frames
            .iter()
            .take_while(|frame| {
                end += **frame;
                end <= taken
            })
            .count();
        assert_eq!(net.node(server).metrics().handed_over.messages, whole, "{taken} bytes");
        let next = peer(&mut net, 2);
        assert_eq!(got(&net, next), messages[whole..], "{taken} bytes");
        assert_conserved(&net, server);
    }
}

#[test]
fn returned_messages_go_before_those_that_wait() {
    let (mut net, server) = server(Config::default().prefetch(Limit::new(3, 1 << 20)));
    let messages = numbered(50);
    let lost = [stalled_peer(&mut net, 1, HELLO + 5), stalled_peer(&mut net, 2, HELLO + 5)];
    send_all(&mut net, server, &messages);
    net.run_for(MOMENT);
    for raw in lost {
        lose(&mut net, raw);
    }
    let next = peer(&mut net, 3);
    assert_eq!(got(&net, next), messages, "in the order in which they were accepted");
    assert_conserved(&net, server);
}

#[test]
fn with_a_single_peer_the_order_is_total_across_reconnects() {
    for seed in 0..20 {
        let mut net = Network::new(seed);
        let server = net.socket(Config::default());
        let client = net.socket(Config::default());
        net.listen(server, Scene::ADDRESS);
        net.dial(client, Scene::ADDRESS);
        net.set_capacity(3_000);
        let messages = numbered(3_000);
        let mut rng = fastrand::Rng::with_seed(seed);
        for message in &messages {
            net.send(server, message.clone()).expect("there is room");
            if rng.u8(..) < 8 {
                for wire in net.wires(server) {
                    net.cut(wire);
                }
            }
            net.run_for(Duration::from_micros(rng.u64(0..5_000)));
        }
        net.run_for(SECOND * 60);
        let place = |payload: &Bytes| {
            let text = core::str::from_utf8(payload).expect("text");
            text.rsplit_once(' ').and_then(|(_, place)| place.parse::<usize>().ok()).expect("a number")
        };
        let places: Vec<usize> = net.payloads(client).iter().map(place).collect();
        assert!(places.is_sorted_by(|a, b| a < b), "seed {seed}: doubled or out of order");
        let handed_over = net.node(server).metrics().handed_over.messages;
        assert_eq!(handed_over, 3_000, "seed {seed}: what is lost was in the hands of the network");
        assert!(net.node(client).metrics().connected > 3, "seed {seed}");
        assert_conserved(&net, server);
    }
}

#[test]
fn at_the_bound_of_the_send_buffer_a_message_comes_back() {
    let (mut net, server) = server(Config::default().send_buffer(Limit::new(3, 1 << 20)));
    send_all(&mut net, server, &numbered(3));
    let refused = net.send(server, "one too many");
    assert_eq!(refused, Err(SendError::Full(Bytes::from_static(b"one too many"))));
    assert!(!net.announced(server).iter().any(|(_, ready)| *ready == Ready::Room));
    let raw = peer(&mut net, 1);
    assert!(net.announced(server).iter().any(|(_, ready)| *ready == Ready::Room), "there is room again");
    net.send(server, "in its turn").expect("there is room");
    net.run_for(MOMENT);
    assert_eq!(got(&net, raw).len(), 4);
    assert_conserved(&net, server);
}

#[test]
fn the_send_buffer_is_bounded_in_bytes_and_takes_one_of_any_size() {
    let (mut net, server) = server(Config::default().send_buffer(Limit::new(100, 1_000)));
    net.send(server, vec![0; 5_000]).expect("an empty buffer takes it");
    assert!(matches!(net.send(server, "x"), Err(SendError::Full(_))));
    peer(&mut net, 1);
    net.send(server, vec![0; 600]).expect("there is room");
    let (mut net, server) = self::server(Config::default().send_buffer(Limit::new(100, 1_000)));
    net.send(server, vec![0; 600]).expect("there is room");
    assert!(matches!(net.send(server, vec![0; 401]), Err(SendError::Full(_))));
    net.send(server, vec![0; 400]).expect("there is just room");
    assert_eq!(net.node(server).metrics().send_held, Usage { messages: 2, bytes: 1_000 });
}

#[test]
fn a_message_that_is_too_long_comes_back() {
    let (mut net, server) = server(Config::default().max_message(100));
    let payload = Bytes::from(vec![0; 101]);
    let refused = net.send(server, payload.clone());
    assert_eq!(refused, Err(SendError::TooLong { payload, limit: 100 }));
    net.send(server, vec![0; 100]).expect("it is not too long");
    assert_conserved(&net, server);
}

#[test]
fn a_message_to_one_identity_goes_there() {
    let (mut net, server) = server(Config::default());
    let peers: Vec<RawId> = (1..=3).map(|number| peer(&mut net, number)).collect();
    for message in numbered(10) {
        net.send_to(server, id(2), message).expect("there is room");
    }
    net.run_for(MOMENT);
    let counts: Vec<usize> = peers.iter().map(|raw| got(&net, *raw).len()).collect();
    assert_eq!(counts, [0, 10, 0]);
    assert_conserved(&net, server);
}

#[test]
fn a_message_to_an_identity_never_seen_comes_back() {
    let (mut net, server) = server(Config::default());
    peer(&mut net, 1);
    let refused = net.send_to(server, id(9), "hello");
    assert_eq!(refused, Err(SendError::UnknownPeer(Bytes::from_static(b"hello"))));
    assert_conserved(&net, server);
}

#[test]
fn a_message_to_a_departed_identity_waits_for_its_return() {
    let (mut net, server) = server(Config::default());
    let raw = peer(&mut net, 1);
    let other = peer(&mut net, 2);
    lose(&mut net, raw);
    let messages = numbered(100);
    for message in &messages {
        net.send_to(server, id(1), message.clone()).expect("there is room");
    }
    net.run_for(SECOND * 59);
    let back = peer(&mut net, 1);
    net.run_for(SECOND * 5);
    assert_eq!(got(&net, back), messages);
    assert!(got(&net, other).is_empty(), "nobody else got them");
    assert_conserved(&net, server);
}

#[test]
fn messages_to_one_identity_keep_their_order_across_its_departure() {
    let (mut net, server) = server(Config::default());
    let raw = stalled_peer(&mut net, 1, HELLO + 40);
    let messages = numbered(30);
    let mut queue = messages.iter();
    let mut send = |net: &mut Network| {
        for message in queue.by_ref().take(10) {
            net.send_to(server, id(1), message.clone()).expect("there is room");
        }
    };
    send(&mut net);
    lose(&mut net, raw);
    send(&mut net);
    let back = peer(&mut net, 1);
    send(&mut net);
    net.run_for(MOMENT);
    let taken = net.node(server).metrics().handed_over.messages - got(&net, back).len();
    assert!((1..5).contains(&taken), "{taken}");
    assert_eq!(got(&net, back), messages[taken..]);
    assert_conserved(&net, server);
}

#[test]
fn what_waits_too_long_for_an_identity_is_undeliverable() {
    let (mut net, server) = server(Config::default());
    let raw = peer(&mut net, 1);
    peer(&mut net, 2);
    lose(&mut net, raw);
    let left = net.now();
    net.send_to(server, id(1), "will not arrive").expect("there is room");
    net.run_until("it is told", SECOND * 60, |net| {
        net.events(server).iter().any(|(_, event)| matches!(event, Event::Undeliverable { .. }))
    });
    let waited = net.now().saturating_duration_since(left);
    assert!(waited > SECOND * 59, "{waited:?}");
    let dropped = Usage { messages: 1, bytes: 15 };
    let told = net.events(server).last().map(|(_, event)| event.clone());
    assert_eq!(told, Some(Event::Undeliverable { identity: id(1), dropped }));
    assert_eq!(net.node(server).metrics().dropped_undeliverable, dropped);
    assert!(matches!(net.send_to(server, id(1), "forgotten"), Err(SendError::UnknownPeer(_))));
    assert_conserved(&net, server);
}

#[test]
fn an_identity_that_returns_in_time_is_not_forgotten_at_its_first_departure() {
    let (mut net, server) = server(Config::default());
    let first = peer(&mut net, 1);
    lose(&mut net, first);
    net.run_for(SECOND * 50);
    let second = peer(&mut net, 1);
    lose(&mut net, second);
    net.run_for(SECOND * 50);
    net.send_to(server, id(1), "still known").expect("it left 50 s ago, not 100");
    let third = peer(&mut net, 1);
    assert_eq!(got(&net, third), [b"still known"]);
}

#[test]
fn the_queue_to_one_identity_is_bounded() {
    let (mut net, server) = server(Config::default().peer_queue(Limit::new(10, 1 << 20)));
    let raw = stalled_peer(&mut net, 1, HELLO);
    let refused_at =
        (0..100).find(|_| matches!(net.send_to(server, id(1), "m"), Err(SendError::PeerFull(_))));
    assert_eq!(refused_at, Some(11), "ten wait beside the one being written");
    net.send_to(server, id(1), "m").expect_err("it is still full");
    net.set_reading(raw, true);
    net.run_for(MOMENT);
    let told = net.announced(server).iter().filter(|(_, ready)| *ready == Ready::PeerRoom(id(1))).count();
    assert_eq!(told, 1);
    net.send_to(server, id(1), "m").expect("there is room");
    assert_conserved(&net, server);
}

#[test]
fn the_queue_to_a_departed_identity_is_bounded_as_well() {
    let (mut net, server) = server(Config::default().peer_queue(Limit::new(10, 1 << 20)));
    let raw = peer(&mut net, 1);
    lose(&mut net, raw);
    for _ in 0..10 {
        net.send_to(server, id(1), "m").expect("there is room");
    }
    assert!(matches!(net.send_to(server, id(1), "m"), Err(SendError::PeerFull(_))));
    let back = peer(&mut net, 1);
    assert_eq!(got(&net, back).len(), 10);
    assert!(net.announced(server).iter().any(|(_, ready)| *ready == Ready::PeerRoom(id(1))));
}

#[test]
fn room_is_announced_when_what_filled_a_queue_goes_elsewhere() {
    let limit = Limit::new(10, 1 << 20);
    let (mut net, server) = server(Config::default().peer_queue(limit).prefetch(limit));
    let raw = stalled_peer(&mut net, 1, HELLO);
    send_all(&mut net, server, &numbered(50));
    assert!(matches!(net.send_to(server, id(1), "m"), Err(SendError::PeerFull(_))));
    lose(&mut net, raw);
    assert!(net.announced(server).iter().any(|(_, ready)| *ready == Ready::PeerRoom(id(1))));
    net.send_to(server, id(1), "m").expect("there is room");
}

#[test]
fn a_full_queue_to_one_identity_does_not_hold_up_the_others() {
    let (mut net, server) = server(Config::default().peer_queue(Limit::new(10, 1 << 20)));
    stalled_peer(&mut net, 1, HELLO);
    let other = peer(&mut net, 2);
    while net.send_to(server, id(1), "m").is_ok() {}
    for message in numbered(100) {
        net.send_to(server, id(2), message).expect("there is room");
        net.run_for(MOMENT);
    }
    assert_eq!(got(&net, other), numbered(100));
}

#[test]
fn a_dial_that_is_withdrawn_hands_over_what_is_being_written_and_returns_the_rest() {
    let (mut net, server) = server(Config::default());
    let client = net.socket(Config::default());
    let dial = net.dial(client, Scene::ADDRESS);
    net.run_for(MOMENT);
    let messages = numbered(50);
    net.set_stalled(server, net.wires(server)[0], true);
    for message in &messages {
        net.send(client, message.clone()).expect("there is room");
    }
    assert!(net.command(client, |socket, now| socket.undial(now, dial)));
    net.set_stalled(server, net.wires(server)[0], false);
    net.run_for(SECOND * 60);
    assert_eq!((net.node(client).peer_count(), net.node(server).peer_count()), (0, 0));
    net.dial(client, Scene::ADDRESS);
    net.run_for(SECOND);
    assert_eq!(net.payloads(server), messages, "all arrive, once, in order");
    assert_conserved(&net, client);
}

#[test]
fn a_peer_that_is_disconnected_loses_nothing_that_it_has_sent() {
    let (mut net, server) = server(Config::default());
    let client = net.socket(Config::default());
    net.dial(client, Scene::ADDRESS);
    net.run_for(MOMENT);
    let identity = net.identity(client);
    let messages = numbered(500);
    for (place, message) in messages.iter().enumerate() {
        net.send(client, message.clone()).expect("there is room");
        if place % 100 == 99 {
            net.command(server, |socket, now| socket.disconnect(now, identity));
        }
        net.run_for(Duration::from_micros(300));
    }
    net.run_for(SECOND * 60);
    assert_eq!(net.payloads(server), messages);
}
