//! The heartbeat clock of one connection runs from the last byte that was written, and from nothing else.

use core::time::Duration;

use aiomsg_proto::dialect::Incoming;
use aiomsg_proto::{Batch, Config, Connection, Identity, Instant, Protocol, Role};
use bytes::BytesMut;

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
    let mut slices = [&[][..]; 4];
    let count = batch.slices(&mut slices);
    let bytes = slices[..count].iter().map(|slice| slice.len()).sum();
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
