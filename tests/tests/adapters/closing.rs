//! The end of a connection, when the other end is slow, stalled, or still talking.

use std::io::{self, Read};
use std::thread;
use std::time::{Duration, Instant};

use aiomsg_proto::{Closed, Event, Limit, SendError};

use crate::support::{
    Adapter, EchoServer, Raw, builder, data, event, frame, hello, pair, spawn, within, yield_now,
};

const LENGTH: usize = 10_000;

/// Reads messages to the end of the stream, and pauses now and then.
fn read_slowly(raw: &mut Raw, pause: Duration) -> io::Result<usize> {
    let mut all = Vec::new();
    let mut chunk = vec![0; 256 << 10];
    loop {
        match raw.0.read(&mut chunk)? {
            0 => break,
            count => all.extend_from_slice(&chunk[..count]),
        }
        thread::sleep(pause);
    }
    let mut messages = 0;
    let mut rest = all.as_slice();
    while let Some((length, body)) = rest.split_first_chunk::<4>() {
        let (body, behind) = body.split_at(u32::from_be_bytes(*length) as usize);
        messages += usize::from(body.first() == Some(&3) && body.len() == LENGTH + 1);
        rest = behind;
    }
    Ok(messages)
}

/// Accepts messages for a raw peer, then closes. Returns how many the report counts as handed over or dropped.
fn send_and_close<R: Adapter>(server: &EchoServer<R>, count: usize) -> (usize, usize) {
    server.block_on(async {
        within("a peer", server.socket.wait_for_peers(1)).await.expect("open");
        let before = server.socket.metrics().handed_over.messages;
        for _ in 0..count {
            within("room", server.socket.send(vec![7; LENGTH])).await.expect("open");
        }
        let report = within("closing", server.socket.close()).await;
        (server.socket.metrics().handed_over.messages - before, report.dropped.messages)
    })
}

fn a_peer_that_reads_slowly_reads_everything_before_the_end<R: Adapter>() {
    let server = EchoServer::<R>::start(|builder| builder);
    let mut raw = server.raw();
    raw.greet(1);
    let reading = thread::spawn(move || read_slowly(&mut raw, Duration::from_millis(5)));
    assert_eq!(send_and_close(&server, 2_000), (2_000, 0));
    let messages = reading.join().expect("no panic").expect("the connection ends in good order");
    assert_eq!(messages, 2_000);
}

/// What a peer still sends must not destroy what it has not read yet.
fn a_peer_that_keeps_talking_reads_everything_before_the_end<R: Adapter>() {
    let server = EchoServer::<R>::start(|builder| builder.receive_buffer(Limit::new(10, 100_000)));
    let mut raw = server.raw();
    raw.greet(1);
    let mut talking = Raw(raw.0.try_clone().expect("open"));
    // Nobody takes these: the answers to them cannot be written while nobody reads.
    let talk = thread::spawn(move || {
        let chatter = data(&[1; 1_000]).repeat(1_000);
        (0..5).try_for_each(|_| io::Write::write_all(&mut talking.0, &chatter))
    });
    let reading = thread::spawn(move || read_slowly(&mut raw, Duration::from_millis(2)));
    let (handed_over, dropped) = send_and_close(&server, 500);
    assert_eq!(dropped, 0);
    assert!(handed_over >= 500);
    let messages = reading.join().expect("no panic").expect("the connection ends in good order");
    assert_eq!(messages, 500);
    talk.join().expect("no panic").expect("all of it was read");
}

async fn a_peer_that_reads_nothing_delays_closing_by_the_linger_time_and_a_second<R: Adapter>() {
    let linger = Duration::from_millis(300);
    let (far, near) = pair(
        builder::<R>().receive_buffer(Limit::new(1, 1_000)),
        builder::<R>().linger(linger).send_buffer(Limit::new(1_000, 1 << 30)),
    )
    .await;
    let mut accepted = 0;
    // More than the buffers of the system hold.
    while near.metrics().send_held.messages < 500 {
        near.send(vec![0; 100_000]).await.expect("open");
        accepted += 1;
    }
    let start = Instant::now();
    let report = within("closing", near.close()).await;
    let took = start.elapsed();
    assert!(took >= linger && took < linger + Duration::from_millis(1_900), "{took:?}");
    let handed_over = near.metrics().handed_over.messages;
    assert_eq!(handed_over + report.dropped.messages, accepted);
    assert!(report.dropped.messages > 0);
    drop(far);
}

async fn closing_hands_everything_over_and_the_peer_can_take_it_later<R: Adapter>() {
    let (far, near) = pair(builder::<R>(), builder::<R>()).await;
    let mut events = far.events();
    for n in 0..1_000_u32 {
        near.send(n.to_be_bytes().to_vec()).await.expect("open");
    }
    let report = within("closing", near.close()).await;
    assert_eq!(report.dropped.messages, 0);
    event(&mut events, "the end", |event| matches!(event, Event::Disconnected { .. })).await;
    for n in 0..1_000_u32 {
        assert_eq!(within("a message", far.recv()).await.expect("open"), n.to_be_bytes()[..]);
    }
    assert_eq!(near.send("late").await, Err(SendError::Closed("late".into())));
    assert_eq!(near.recv().await, Err(Closed));
}

async fn closing_ends_a_recv_that_waits<R: Adapter>() {
    let (_far, near) = pair(builder::<R>(), builder::<R>()).await;
    let waiting = spawn::<R, _>({
        let near = near.clone();
        async move { near.recv().await }
    });
    yield_now().await;
    within("closing", near.close()).await;
    assert_eq!(within("the end", waiting).await, Err(Closed));
}

async fn dropping_the_last_handle_ends_the_connections_and_frees_the_port<R: Adapter>() {
    let (far, near) = pair(builder::<R>(), builder::<R>()).await;
    let mut events = near.events();
    let identity = far.identity();
    drop(far);
    let gone = event(&mut events, "the end", |event| matches!(event, Event::Disconnected { .. })).await;
    assert!(matches!(gone, Event::Disconnected { identity: whose, .. } if whose == identity));
}

/// A peer that ends its writing half has said all it wants to say; it is answered no more.
fn what_was_sent_before_the_end_of_a_stream_is_received<R: Adapter>() {
    let server = EchoServer::<R>::start(|builder| builder);
    let mut events = server.socket.events();
    let mut raw = server.raw();
    raw.write(&[hello(9), data(b"one"), data(b"two"), frame(&[3])[..3].to_vec()].concat());
    raw.0.shutdown(std::net::Shutdown::Write).expect("open");
    raw.assert_closed("after the end of the stream");
    server.block_on(event(&mut events, "the end", |event| matches!(event, Event::Disconnected { .. })));
    assert_eq!(server.socket.metrics().received.messages, 2);
}

on_both! {
    async a_peer_that_reads_nothing_delays_closing_by_the_linger_time_and_a_second, closing_hands_everything_over_and_the_peer_can_take_it_later, closing_ends_a_recv_that_waits, dropping_the_last_handle_ends_the_connections_and_frees_the_port;
    sync a_peer_that_reads_slowly_reads_everything_before_the_end, a_peer_that_keeps_talking_reads_everything_before_the_end, what_was_sent_before_the_end_of_a_stream_is_received;
}
