//! Peers that break the rules lose their connection, and nobody else notices.

use std::io::Write;
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Adapter, EchoServer, PATIENCE, data, frame, hello};

/// A server that does not wait long.
fn strict<R: Adapter>() -> EchoServer<R> {
    EchoServer::<R>::start(|builder| {
        builder
            .handshake_timeout(Duration::from_millis(300))
            .heartbeat_interval(Duration::from_millis(200))
            .heartbeat_timeout(Duration::from_millis(1_000))
            .max_message(100_000)
    })
}

fn what_is_no_introduction_is_closed_at_once<R: Adapter>() {
    // The deadline for introductions is far away, so it is not what closes these.
    let server = EchoServer::<R>::start(|builder| builder.handshake_timeout(Duration::from_secs(3_600)));
    let tls =
        [&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03][..], &[0x5a; 500]].concat();
    let wrong: [(&str, &[u8]); 9] = [
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("a TLS handshake", &tls),
        ("a line of text", b"hello?\r\n"),
        ("the largest length", &[0xff, 0xff, 0xff, 0xff]),
        ("an empty frame", &[0, 0, 0, 0]),
        ("a first frame that is too long", &[0, 0, 1, 0]),
        ("a HELLO without identity", &[0, 0, 0, 2, 1, 1]),
        ("a HELLO that is cut short", &[0, 0, 0, 10, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("a HELLO of another version", &frame(&[&[1, 9][..], &[5; 16]].concat())),
    ];
    for (what, bytes) in wrong {
        let mut raw = server.raw();
        raw.write(bytes);
        raw.assert_closed(what);
    }
    assert!(server.socket.peers().is_empty());
    server.assert_serves();
}

fn a_frame_that_is_too_long_is_closed_at_its_prefix<R: Adapter>() {
    let server = strict::<R>();
    for length in [100_018_u32, 1 << 30, u32::MAX] {
        let mut raw = server.raw();
        raw.greet(1);
        raw.write(&data(b"good"));
        assert_eq!(raw.read_message(), b"good");
        raw.write(&length.to_be_bytes());
        raw.assert_closed("a frame that is too long");
    }
    server.assert_serves();
}

fn what_the_protocol_says_to_skip_is_skipped<R: Adapter>() {
    let server = EchoServer::<R>::start(|builder| builder);
    let mut raw = server.raw();
    raw.greet(1);
    for skipped in [&[][..], &[2], &[2, 1, 1], &[4, 1], &[5, 1], &[99, 1, 2, 3], &hello(1)[4..]] {
        raw.write(&frame(skipped));
    }
    raw.write(&data(b"still here"));
    assert_eq!(raw.read_message(), b"still here");
}

fn a_byte_at_a_time_is_as_good_as_all_at_once<R: Adapter>() {
    let server = EchoServer::<R>::start(|builder| builder);
    let mut raw = server.raw();
    for byte in [hello(1), data(b"slow"), data(b"but sure")].concat() {
        raw.write(&[byte]);
    }
    assert_eq!(raw.read_frame().len(), 18);
    assert_eq!(raw.read_message(), b"slow");
    assert_eq!(raw.read_message(), b"but sure");
}

fn silence_is_closed_at_the_deadline<R: Adapter>() {
    let server = strict::<R>();
    let start = Instant::now();
    for said in [&[][..], &[0], &hello(1)[..7], &hello(1)[..21]] {
        let mut raw = server.raw();
        raw.write(said);
        raw.assert_closed("no introduction");
    }
    assert!(start.elapsed() >= 4 * Duration::from_millis(300));
    server.assert_serves();
}

/// There is one deadline for the introduction, and a byte now and then does not move it.
fn dripping_bytes_do_not_move_the_deadline<R: Adapter>() {
    let server = strict::<R>();
    let mut raw = server.raw();
    let start = Instant::now();
    let pause = Duration::from_millis(100);
    for byte in hello(1) {
        if raw.0.write_all(&[byte]).is_err() {
            break;
        }
        thread::sleep(pause);
    }
    raw.assert_closed("an introduction that takes too long");
    assert!(start.elapsed() < PATIENCE);
    assert_eq!(server.socket.metrics().connected, 0);
    server.assert_serves();
}

fn a_peer_that_falls_silent_is_closed<R: Adapter>() {
    let server = strict::<R>();
    let mut raw = server.raw();
    raw.greet(1);
    raw.assert_closed("not a byte for too long");
    server.assert_serves();
}

fn the_end_of_the_stream_is_met_in_every_state<R: Adapter>() {
    let server = EchoServer::<R>::start(|builder| builder);
    let greeted = [hello(1), data(b"x")].concat();
    let last = greeted.len();
    for end in 0..=last {
        let mut raw = server.raw();
        raw.write(&greeted[..end]);
        raw.0.shutdown(Shutdown::Write).expect("open");
        raw.assert_closed("the stream has ended");
    }
    for end in 0..=last {
        let mut raw = server.raw();
        raw.write(&greeted[..end]);
        drop(raw);
    }
    server.assert_serves();
}

/// The connection is cut off hard, with bytes unread on both sides.
fn a_reset_is_met_in_every_state<R: Adapter>() {
    let server = EchoServer::<R>::start(|builder| builder);
    for bytes in
        [vec![], hello(1)[..9].to_vec(), hello(1), [hello(1), data(&[1; 1_000]).repeat(100)].concat()]
    {
        for _ in 0..10 {
            let mut raw = server.raw();
            raw.write(&bytes);
            let socket = socket2::Socket::from(raw.0);
            socket.set_linger(Some(Duration::ZERO)).expect("open");
            drop(socket);
        }
    }
    server.assert_serves();
}

/// Bytes drawn at random, the same in each run.
fn noise_is_met<R: Adapter>() {
    let server = strict::<R>();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut noise = |length: usize| -> Vec<u8> {
        let mut draw = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        (0..length).map(|_| draw()).collect()
    };
    for round in 0..50 {
        let mut raw = server.raw();
        if round % 2 == 0 {
            raw.greet(round);
        }
        // It may be closed before all of it is written.
        drop(raw.0.write_all(&noise(10_000)));
        raw.assert_closed("noise");
    }
    server.assert_serves();
}

on_both! {
    sync what_is_no_introduction_is_closed_at_once, a_frame_that_is_too_long_is_closed_at_its_prefix, what_the_protocol_says_to_skip_is_skipped, a_byte_at_a_time_is_as_good_as_all_at_once, silence_is_closed_at_the_deadline, dripping_bytes_do_not_move_the_deadline, a_peer_that_falls_silent_is_closed, the_end_of_the_stream_is_met_in_every_state, a_reset_is_met_in_every_state, noise_is_met;
}
