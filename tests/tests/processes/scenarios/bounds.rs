//! What is held is bounded, on both sides, and nothing is dropped for that.

use std::time::Duration;

use super::api::{DeliveryGuarantee, SendError, Socket};

use super::child::Actor;
use super::support::{memory, runtime, tell, within};

const MIB: usize = 1 << 20;

/// Sends to nobody until it has to wait, and returns how many were accepted; then a peer comes.
async fn fill(delivery: DeliveryGuarantee, size: usize) -> usize {
    let sender = Socket::builder().delivery(delivery).build().expect("valid settings");
    let address = sender.bind("127.0.0.1:0").await.expect("a free port");
    let message = |number: usize| {
        let mut message = vec![7; size];
        message[..8].copy_from_slice(&number.to_be_bytes());
        message
    };
    let mut accepted = 0;
    while sender.try_send(message(accepted)).is_ok() {
        accepted += 1;
    }
    assert!(matches!(sender.try_send("m"), Err(SendError::Full(_))));
    let waiting = {
        let sender = sender.clone();
        let last = message(accepted);
        tokio::spawn(async move { sender.send(last).await })
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    let receiver = Socket::builder().build().expect("defaults");
    receiver.connect(address).expect("an address");
    for number in 0..=accepted {
        let message = within("a message", receiver.recv()).await.expect("it is open");
        assert_eq!(message[..8], number.to_be_bytes(), "in order");
    }
    within("room", waiting).await.expect("no panic").expect("it is open");
    accepted
}

#[test]
fn a_sender_to_nobody_stops_at_its_bound_and_goes_on_in_order() {
    runtime().block_on(async {
        for delivery in [DeliveryGuarantee::AtMostOnce, DeliveryGuarantee::AtLeastOnce] {
            assert_eq!(fill(delivery, 8).await, 65_536);
            assert_eq!(fill(delivery, MIB).await, 64);
        }
    });
}

#[test]
fn a_receiver_that_does_not_take_holds_its_sender_up_within_the_bounds_of_both() {
    for size in [100, 1_024, 100_000] {
        let mut receiver = Actor::start(&format!("idle {}", 200_000_000 / (size + 3_000)));
        let address = receiver.wait_for("listening");
        let sender = Actor::start(&format!("source {address} {size}"));
        let sent: usize = sender.wait_for("blocked").parse().expect("a number");
        let held = (sent * size) as f64 / MIB as f64;
        let (here, there) = (memory(sender.id(), "VmRSS"), memory(receiver.id(), "VmRSS"));
        tell(&format!(
            "{size} bytes: blocked after {sent} messages ({held:.0} MiB); sender {here:.0} MiB, receiver {there:.0} MiB"
        ));
        // Each may hold 64 MiB in 65,536 messages, each of which costs some hundred bytes more at most.
        let bound =
            64.0_f64.min(65_536.0 * size as f64 / MIB as f64) * 1.25 + 65_536.0 * 300.0 / MIB as f64 + 20.0;
        assert!(here < bound && there < bound, "{here} or {there} of {bound} MiB");
        receiver.write("take");
        receiver.wait_for("taken");
    }
}
