//! Every message is counted once, also where two ends of its life meet.

use core::time::Duration;

use aiomsg_proto::{Config, DeliveryGuarantee, Event, Usage};
use aiomsg_tests::{Network, Scene, assert_conserved, wire};

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(50);

/// The id of the first message that is to be acknowledged in `bytes`, a v1 stream.
fn first_request(bytes: &[u8]) -> [u8; 16] {
    let (frames, _) = wire::partial_frames(bytes);
    let request = frames.iter().find(|frame| frame[0] == 4).expect("there is one");
    request[1..17].try_into().expect("16 bytes")
}

#[test]
fn what_was_acknowledged_while_a_copy_waited_is_not_undeliverable() {
    let mut net = Network::new(20);
    let config = Config::default().delivery(DeliveryGuarantee::AtLeastOnce).resend_after(SECOND);
    let server = net.socket(config);
    net.listen(server, Scene::ADDRESS);
    net.set_capacity(1_000);
    let raw = net.dial_raw(Scene::ADDRESS);
    net.write(raw, wire::hello(Scene::stranger()));
    net.run_for(MOMENT);
    net.send_to(server, Scene::stranger(), "arrives").expect("there is room");
    net.run_for(MOMENT);
    // It stops reading, so that the copy of the first waits behind the second, and goes back when the peer is sent away.
    net.set_reading(raw, false);
    net.send_to(server, Scene::stranger(), vec![7; 5_000]).expect("there is room");
    net.run_for(SECOND * 2);
    net.command(server, |socket, now| socket.disconnect(now, Scene::stranger()));
    net.write(raw, wire::ack(first_request(net.bytes(raw))));
    net.run_for(MOMENT);
    assert_eq!(net.node(server).metrics().acknowledged.messages, 1);
    net.close(raw);
    net.run_for(SECOND * 70);
    let dropped = Usage { messages: 1, bytes: 5_000 };
    assert_eq!(net.node(server).metrics().dropped_undeliverable, dropped);
    let told = net
        .events(server)
        .iter()
        .any(|(_, event)| matches!(event, Event::Undeliverable { dropped: told, .. } if *told == dropped));
    assert!(told);
    assert_conserved(&net, server);
}
