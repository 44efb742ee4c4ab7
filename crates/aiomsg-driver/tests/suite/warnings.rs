//! What is logged as a warning.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use aiomsg_driver::Handle;
use aiomsg_proto::{Acknowledge, Config, Limit, SendMode};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::with_default;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::support::{World, config, message};

/// Keeps the texts of warnings.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn texts(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() == &Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0.lock().expect("no panic").push(format!("{value:?}"));
        }
    }
}

/// A way to take a message.
type Take = fn(&Handle);

const WAYS: [Take; 2] = [
    |socket| assert!(socket.try_recv_message().expect("open").is_none()),
    |socket| {
        let mut context = Context::from_waker(Waker::noop());
        assert!(pin!(socket.recv_message()).poll(&mut context).is_pending());
    },
];

/// What is said when it is done twice.
fn said_when_taking(config: Config, take: Take) -> Vec<String> {
    let log = Log::default();
    with_default(log.clone(), || {
        let world = World::new(1);
        let socket = world.socket(config);
        let clone = socket.clone();
        take(&socket);
        take(&clone);
    });
    log.texts()
}

#[test]
fn acknowledging_by_hand_without_the_setting_for_it_is_warned_of_once() {
    for take in WAYS {
        let said = said_when_taking(config(), take);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("`recv_message`") && said[0].contains("`Acknowledge::Manual`"), "{said:?}");
    }
}

#[test]
fn acknowledging_by_hand_is_not_warned_of_where_it_was_chosen_when_to_acknowledge() {
    for chosen in [Acknowledge::Manual, Acknowledge::OnReceive, Acknowledge::OnTake { at_latest: None }] {
        for take in WAYS {
            assert_eq!(said_when_taking(config().acknowledge(chosen), take), [""; 0], "{chosen:?}");
        }
    }
}

/// What is said while `act` goes on.
fn said_during(act: impl FnOnce(&Rc<World>)) -> Vec<String> {
    let log = Log::default();
    with_default(log.clone(), || act(&World::new(1)));
    log.texts()
}

#[test]
fn a_dial_that_keeps_failing_is_warned_of_once() {
    let said = said_during(|world| {
        let socket = world.socket(config());
        world.dial(&socket, "nobody");
        world.pass(Duration::from_secs(600));
        assert!(socket.metrics().dial_attempts > 10);
    });
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("trying nobody again") && said[0].contains("5 failures in a row"), "{said:?}");
}

#[test]
fn a_dial_that_is_given_up_is_warned_of() {
    let said = said_during(|world| {
        let socket = world.socket(config());
        world.listen(&socket, "itself");
        world.dial(&socket, "itself");
        world.settle();
    });
    assert_eq!(said, ["not trying itself any more: the peer shows our own identity"]);
}

#[test]
fn a_subscriber_that_misses_messages_is_warned_of_the_first_time() {
    let said = said_during(|world| {
        let publisher =
            world.socket(config().send_mode(SendMode::Publish).peer_queue(Limit::new(2, 1 << 20)));
        let subscriber = world.socket(config());
        world.join(&publisher, &subscriber, "subscriber");
        for _ in 0..3 {
            for number in 0..10 {
                publisher.try_send(message(number, 100)).expect("open");
            }
            world.settle();
        }
        assert!(publisher.metrics().dropped_slow_peer.messages > 10);
    });
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("misses messages"), "{said:?}");
}

#[test]
fn a_socket_that_is_dropped_with_messages_that_were_not_sent_is_warned_of() {
    for (sent, closed, warned) in [(2, false, true), (0, false, false), (2, true, false)] {
        let log = Log::default();
        with_default(log.clone(), || {
            let world = World::new(1);
            let socket = world.socket(config());
            for _ in 0..sent {
                socket.try_send("unsent").expect("room");
            }
            if closed {
                let closing = socket.clone();
                world.wait("close", async move { closing.close_within(Duration::ZERO).await });
            }
            drop(socket);
            world.settle();
        });
        let said = log.texts();
        assert_eq!(said.iter().any(|text| text.contains("unsent")), warned, "{sent} {closed}: {said:?}");
    }
}
