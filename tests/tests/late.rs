//! A loop that is slow: it looks at its connections and at the time every few seconds.

use core::time::Duration;

use aiomsg_proto::{
    Batch, CloseReason, Config, ConnectionId, Event, Instant, Limit, LinkState, Origin, Socket,
};
use aiomsg_tests::company::id;
use aiomsg_tests::wire;
use bytes::BytesMut;

const SECOND: Duration = Duration::from_secs(1);

fn ended(socket: &mut Socket) -> Option<CloseReason> {
    std::iter::from_fn(|| socket.poll_event()).find_map(|event| match event {
        Event::Refused { reason, .. } | Event::Disconnected { reason, .. } => Some(reason),
        _ => None,
    })
}

/// Everything that is asked for, each `period`, for an hour; nothing comes from the peer. Returns why its connection ended.
fn run(says: &[u8], period: Duration) -> Option<CloseReason> {
    let mut now = Instant::EPOCH + SECOND * 1_000;
    let mut socket = Socket::new(Config::default(), id(100), 1, now).expect("valid");
    let link: ConnectionId = socket.handle_connected(now, Origin::Accepted, "peer").expect("a place");
    let mut buffer = BytesMut::from(says);
    let mut batch = Batch::default();
    let end = now + SECOND * 3_600;
    while now < end {
        socket.handle_received(now, link, &mut buffer);
        socket.handle_timeout(now);
        while socket.poll_ready().is_some() {}
        if socket.link_state(link) == LinkState::Close {
            socket.handle_disconnected(now, link, &mut batch, CloseReason::PeerClosed);
        }
        if socket.transmit(now, link, &mut batch) {
            batch.advance(usize::MAX);
            socket.handle_transmitted(now, link, &mut batch);
        }
        if let Some(reason) = ended(&mut socket) {
            return Some(reason);
        }
        now = now + period;
    }
    None
}

#[test]
fn who_never_introduces_itself_is_sent_away_by_a_slow_loop_too() {
    for millis in [100, 1_000, 2_500, 5_000, 10_000] {
        let reason = run(&[], Duration::from_millis(millis));
        assert_eq!(reason, Some(CloseReason::HandshakeTimeout), "a loop of {millis} ms");
    }
}

#[test]
fn who_is_silent_is_given_up_by_a_slow_loop_too() {
    for millis in [100, 1_000, 2_500, 5_000, 6_500, 10_000] {
        let reason = run(&wire::hello(id(1)), Duration::from_millis(millis));
        assert_eq!(reason, Some(CloseReason::Silent), "a loop of {millis} ms");
    }
}

/// All deadlines are due, and none later than now can be set.
#[test]
fn at_the_end_of_time_everything_is_done_once() {
    let now = Instant::EPOCH;
    let config = Config::default().receive_buffer(Limit::new(1, 1 << 20));
    let mut socket = Socket::new(config, id(100), 1, now).expect("valid");
    let link = socket.handle_connected(now, Origin::Accepted, "peer").expect("a place");
    // One message is there and the other has no place, so the peer is not read and not taken for dead.
    let mut buffer = BytesMut::from(&[wire::hello(id(1)), wire::data(b"a"), wire::data(b"b")].concat()[..]);
    socket.handle_received(now, link, &mut buffer);
    socket.handle_timeout(now + Duration::MAX);
    assert_eq!(socket.poll_timeout(), None, "nothing is due later");
}
