//! Connections that are to end, whatever their peers do.

use core::time::Duration;

use aiomsg_proto::{Config, Limit};
use aiomsg_tests::company::{HELLO, MOMENT, id, peer, peer_of, server};
use aiomsg_tests::{Taking, departures, wire};

const SECOND: Duration = Duration::from_secs(1);

/// A peer that does not read is kept out. It goes on sending messages, so it is not silent, and what is being written to it
/// never gets written.
#[test]
fn who_does_not_read_is_kept_out_all_the_same() {
    let (mut net, server) = server(Config::default());
    let hostile = peer_of(&mut net, 1, HELLO, false);
    net.send(server, vec![7; 100]).expect("there is room");
    net.run_for(MOMENT);
    net.command(server, |socket, now| socket.keep_out(now, id(1)));
    for number in 0..600 {
        net.write(hostile, wire::data(format!("message {number}").as_bytes()));
        net.run_for(SECOND);
    }
    let received = net.received(server).len();
    assert_eq!(
        (departures(&net, server).len(), net.node(server).metrics().connections),
        (1, 0),
        "ten minutes later it is still there, and {received} messages of it were received"
    );
}

/// A peer that reads is disconnected. It sends more than the application takes at once, so reading is paused and taken up
/// again and again, and each time it has a further second.
#[test]
fn who_sends_more_than_is_taken_is_disconnected_all_the_same() {
    let (mut net, server) = server(Config::default().receive_buffer(Limit::new(8, 1 << 20)));
    net.set_taking(server, Taking::Nothing);
    let hostile = peer(&mut net, 1);
    net.run_for(MOMENT);
    net.command(server, |socket, now| socket.keep_out(now, id(1)));
    let mut received = 0;
    for _ in 0..1_200 {
        net.write(hostile, wire::data(b"message").repeat(20));
        net.run_for(SECOND / 2);
        received += net.take(server, 8).len();
    }
    assert_eq!(
        (departures(&net, server).len(), net.node(server).metrics().connections),
        (1, 0),
        "ten minutes later it is still there, and {received} messages of it were received"
    );
}
