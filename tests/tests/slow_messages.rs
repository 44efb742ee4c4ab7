//! Large messages that never arrive in full, and what they leave to others.

use core::time::Duration;

use aiomsg_proto::{Config, Limit};
use aiomsg_tests::company::{id, peer, server};
use aiomsg_tests::{Taking, wire};

const SECOND: Duration = Duration::from_secs(1);

/// The receive buffer has room for a few messages: no more are to be here than that. As many peers announce a message of 100
/// KB each, and send a byte now and then.
fn friend_is_served_beside(hostile: u8, room: usize) -> bool {
    let (mut net, server) = server(Config::default().receive_buffer(Limit::new(room, 64 << 20)));
    net.set_taking(server, Taking::All);
    let announced = wire::data(&vec![0; 100_000]);
    let hostile: Vec<_> = (1..=hostile)
        .map(|number| {
            let raw = peer(&mut net, number);
            net.write(raw, &announced[..10]);
            raw
        })
        .collect();
    let friend = peer(&mut net, 100);
    for second in 0..600 {
        if second % 10 == 0 {
            hostile.iter().for_each(|raw| net.write(*raw, [0]));
        }
        if second % 4 == 0 {
            net.write(friend, wire::data(b"well?"));
        }
        net.run_for(SECOND);
    }
    net.received(server).iter().any(|message| message.identity == id(100))
}

#[test]
fn one_that_sends_a_large_message_slowly_does_not_take_the_only_place() {
    assert!(friend_is_served_beside(1, 1), "nothing of the friend was received in ten minutes");
}

#[test]
fn several_that_send_large_messages_slowly_do_not_take_all_places() {
    assert!(friend_is_served_beside(8, 8), "nothing of the friend was received in ten minutes");
}
