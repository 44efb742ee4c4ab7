//! What the application has taken counts as taken, though it takes nothing further.

use std::time::Duration;

use super::api::{Acknowledge, DeliveryGuarantee, Event, Socket};

use super::support::{runtime, wait_until, within};

#[test]
fn a_message_that_was_taken_is_not_told_to_be_acknowledged_early() {
    runtime().block_on(async {
        let at_latest = Some(Duration::from_millis(300));
        let receiver =
            Socket::builder().acknowledge(Acknowledge::OnTake { at_latest }).build().expect("valid settings");
        let mut events = receiver.events();
        let address = receiver.bind("127.0.0.1:0").await.expect("a free port").to_string();
        let mut senders = Vec::new();
        for (number, delivery) in
            [DeliveryGuarantee::AtLeastOnce, DeliveryGuarantee::AtMostOnce].into_iter().enumerate()
        {
            let sender = Socket::builder().delivery(delivery).build().expect("valid settings");
            sender.connect(address.clone()).expect("an address");
            sender.send(number.to_string()).await.expect("it is open");
            wait_until("it has arrived", || receiver.metrics().receive_held.messages == number + 1).await;
            senders.push(sender);
        }
        let first = within("a message", receiver.recv()).await.expect("it is open");
        assert_eq!(first, "0");
        // The other one stays where it is.
        wait_until("it is acknowledged", || senders[0].metrics().acknowledged.messages == 1).await;
        receiver.close_within(Duration::ZERO).await;
        while let Some(event) = events.recv().await {
            assert!(!matches!(event, Event::AcknowledgedEarly { .. }), "{event:?}");
        }
    });
}
