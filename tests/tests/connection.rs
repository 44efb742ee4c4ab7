//! One connection alone, without a socket around it.

use core::time::Duration;

use aiomsg_proto::dialect::Incoming;
use aiomsg_proto::{Batch, CloseReason, Config, Connection, Identity, Instant, Protocol, Role};
use bytes::{Bytes, BytesMut};

/// A connection whose peer has introduced itself, with all that it had to say written at `now`.
fn open_connection(now: Instant) -> Connection {
    let role = Role::Dialled(Protocol::V1);
    let mut connection =
        Connection::new(Config::default(), Identity::from_bytes([1; 16]), role, 7, now).expect("defaults");
    let mut greeting = Vec::new();
    Protocol::V1.encode_greeting(&Identity::from_bytes([2; 16]), &mut greeting);
    let greeted = connection.receive(now, &mut BytesMut::from(&greeting[..])).expect("a HELLO");
    assert!(matches!(greeted, Some(Incoming::Greeting(_))));
    connection.establish(now);
    write_all(&mut connection, now);
    connection
}

/// Writes what there is to write, and returns how many bytes that were.
fn write_all(connection: &mut Connection, now: Instant) -> usize {
    let mut batch = Batch::default();
    if !connection.transmit(&mut batch) {
        return 0;
    }
    let bytes = batch.slices().map(<[u8]>::len).sum();
    batch.advance(bytes);
    connection.handle_transmitted(now, &mut batch);
    bytes
}

#[test]
fn what_the_peer_sends_does_not_postpone_our_heartbeat() {
    let start = Instant::EPOCH;
    let mut connection = open_connection(start);
    // Just before ours is due, the peer's comes, and the driver reports at that occasion that it has written nothing.
    let almost = start + Duration::from_millis(4_999);
    let mut heartbeat = Vec::new();
    Protocol::V1.encode_heartbeat(&mut heartbeat);
    assert_eq!(connection.receive(almost, &mut BytesMut::from(&heartbeat[..])), Ok(None));
    connection.handle_transmitted(almost, &mut Batch::default());
    assert_eq!(connection.poll_timeout(), Some(start + Duration::from_secs(5)));
    connection.handle_timeout(start + Duration::from_secs(5)).expect("alive");
    assert_eq!(write_all(&mut connection, start + Duration::from_secs(5)), heartbeat.len());
}

#[test]
fn what_was_not_written_to_the_last_byte_comes_back() {
    let start = Instant::EPOCH;
    for cut in 0..=18 {
        let mut connection = open_connection(start);
        for payload in ["one", "two"] {
            connection.send(payload.into()).expect("open");
        }
        let mut batch = Batch::default();
        assert!(connection.transmit(&mut batch));
        assert!(batch.slices().count() > 0);
        batch.advance(cut);
        connection.handle_transmitted(start, &mut batch);
        connection.send("three".into()).expect("open");
        let unsent: Vec<Bytes> = connection.into_unsent(&mut batch).collect();
        // Each of the first two frames has eight bytes.
        assert_eq!(unsent, ["one", "two", "three"][(cut / 8).min(2)..], "after {cut} bytes");
    }
}

#[test]
fn a_short_sleep_is_noticed_with_something_half_written() {
    let start = Instant::EPOCH;
    let mut connection = open_connection(start);
    connection.send("a message".into()).expect("open");
    let mut batch = Batch::default();
    assert!(connection.transmit(&mut batch));
    batch.advance(3);
    connection.handle_transmitted(start, &mut batch);
    // The peer would have been dead half a second ago, had we been there to listen.
    let woken = start + Duration::from_millis(15_500);
    assert_eq!(connection.handle_timeout(woken), Ok(()));
    // Who is there is told from who is not by the time that we were there.
    for seconds in 1..15 {
        assert_eq!(connection.handle_timeout(woken + Duration::from_secs(seconds)), Ok(()), "{seconds}");
    }
    let silent = connection.handle_timeout(woken + Duration::from_secs(15));
    assert_eq!(silent, Err(CloseReason::Silent));
}

#[test]
fn a_sleep_is_noticed_by_who_writes_before_it_looks_at_the_time() {
    let start = Instant::EPOCH;
    let mut connection = open_connection(start);
    connection.send("a message".into()).expect("open");
    let mut batch = Batch::default();
    assert!(connection.transmit(&mut batch));
    batch.advance(usize::MAX);
    // The clock went ahead between the write and the note of it: what was due 10 s ago is put off.
    let woken = start + Duration::from_secs(15);
    connection.handle_transmitted(woken, &mut batch);
    for seconds in 0..15 {
        assert_eq!(connection.handle_timeout(woken + Duration::from_secs(seconds)), Ok(()), "{seconds}");
    }
    let silent = connection.handle_timeout(woken + Duration::from_secs(15));
    assert_eq!(silent, Err(CloseReason::Silent));
}
