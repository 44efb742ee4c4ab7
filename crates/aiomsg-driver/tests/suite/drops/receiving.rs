//! Receiving: a message that was not returned was not taken.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use aiomsg_driver::{EventStream, Handle, MessageStream, ReceivedStream};
use aiomsg_proto::{Acknowledge, DeliveryGuarantee, Event, Limit};
use bytes::Bytes;
use fastrand::Rng;
use futures_core::Stream;

use super::{DROPS_IN_ONE_WORLD, Drops, Quitter, Taken, check_accounts, check_taken, note, play};
use crate::support::{Style, World, config, message, number, yield_now};

/// The methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Recv,
    RecvFrom,
    Messages,
    MessagesFrom,
}

/// What messages come out of.
enum Source {
    Recv(Handle),
    RecvFrom(Handle),
    Messages(MessageStream),
    MessagesFrom(ReceivedStream),
}

impl Source {
    fn new(socket: &Handle, method: Method) -> Self {
        match method {
            Method::Recv => Self::Recv(socket.clone()),
            Method::RecvFrom => Self::RecvFrom(socket.clone()),
            Method::Messages => Self::Messages(socket.messages()),
            Method::MessagesFrom => Self::MessagesFrom(socket.messages_from()),
        }
    }

    async fn next(&mut self) -> Bytes {
        match self {
            Self::Recv(socket) => socket.recv().await.expect("it is open"),
            Self::RecvFrom(socket) => socket.recv_from().await.expect("it is open").payload,
            Self::Messages(stream) => next(stream).await.expect("it is open"),
            Self::MessagesFrom(stream) => next(stream).await.expect("it is open").payload,
        }
    }
}

async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await
}

/// Takes messages until all are taken, or leaves the rest to others when enough futures were dropped. Now and then it
/// drops the stream as well, and goes on with another.
async fn take_impatiently(
    (far, method): (Handle, Method),
    taken: Taken,
    total: Rc<Cell<Option<u64>>>,
    leaves: bool,
    mut quitter: Quitter,
) {
    let mut source = Source::new(&far, method);
    while total.get() != Some(taken.borrow().len() as u64) {
        if leaves && quitter.drops.get() >= DROPS_IN_ONE_WORLD {
            return;
        }
        match quitter.attempt(source.next()).await {
            Some(payload) => note(&taken, &payload),
            // Somebody else needs a turn, or nothing would ever come.
            None => quitter.rest(4).await,
        }
        if quitter.rng.u8(..10) == 0 {
            source = Source::new(&far, method);
        }
    }
}

/// Takes messages beside them, and gives nothing up.
async fn take_patiently(far: Handle, taken: Taken) {
    while let Ok(received) = far.recv_from().await {
        note(&taken, &received.payload);
    }
}

/// Sends now and then until enough futures were dropped, and some more. Returns how many messages there were.
async fn send_slowly(near: Handle, drops: Drops, mut rng: Rng) -> u64 {
    let mut sent = 0;
    while drops.get() < DROPS_IN_ONE_WORLD {
        near.send(message(sent, 8)).await.expect("it is open");
        sent += 1;
        for _ in 0..rng.u8(..160) {
            yield_now().await;
        }
    }
    for _ in 0..20 {
        near.send(message(sent, 8)).await.expect("it is open");
        sent += 1;
    }
    sent
}

fn check(method: Method) {
    play(|seed, drops| {
        let world = World::new(seed);
        world.style.set(Style { capacity: 100, most: 60, reluctance: 10 });
        let few = Limit::new(4, 1 << 20);
        let (near, far) = world.pair(config().send_buffer(few), config().receive_buffer(few));
        let (mut rng, taken) = (Rng::with_seed(seed), Taken::default());
        let total = Rc::new(Cell::new(None));
        // In half of the worlds somebody waits in earnest, and is alone in the end.
        let leaves = seed % 2 == 0;
        for _ in 0..2 {
            let (source, quitter) = ((far.clone(), method), Quitter::new(&mut rng, drops));
            let work = take_impatiently(source, taken.clone(), total.clone(), leaves, quitter);
            world.spawn("impatient", work);
        }
        if leaves {
            world.spawn("patient", take_patiently(far.clone(), taken.clone()));
        }
        let sending = world.spawn("sender", send_slowly(near.clone(), drops.clone(), rng.fork()));
        let sent = world.finish(&sending);
        assert!(sent > 20, "messages came meanwhile: {sent}");
        total.set(Some(sent));
        world.settle();
        check_taken(&taken.borrow(), &BTreeMap::from([(0, sent)]));
        check_accounts(&near, &far, sent);
    });
}

#[test]
fn receives_may_be_dropped() {
    check(Method::Recv);
}

#[test]
fn receives_of_who_sent_may_be_dropped() {
    check(Method::RecvFrom);
}

#[test]
fn waits_for_the_next_of_a_stream_of_messages_may_be_dropped() {
    check(Method::Messages);
}

#[test]
fn waits_for_the_next_of_a_stream_of_received_may_be_dropped() {
    check(Method::MessagesFrom);
}

/// What was acknowledged, and how many messages were rejected.
#[derive(Default)]
struct Work {
    acknowledged: BTreeSet<u64>,
    rejected: u64,
}

/// Takes messages to acknowledge or to reject them, until enough waits were dropped.
async fn work_impatiently(far: Handle, mut quitter: Quitter) -> Work {
    let mut work = Work::default();
    while quitter.drops.get() < DROPS_IN_ONE_WORLD {
        match quitter.attempt(far.recv_message()).await {
            Some(message) => {
                let message = message.expect("it is open");
                if quitter.rng.u8(..20) == 0 {
                    work.rejected += 1;
                    message.reject();
                    continue;
                }
                assert!(work.acknowledged.insert(number(message.payload())), "taken twice");
                message.acknowledge();
            }
            None => quitter.rest(4).await,
        }
    }
    work
}

#[test]
fn receives_with_acknowledgement_may_be_dropped() {
    play(|seed, drops| {
        let world = World::new(seed);
        world.style.set(Style { capacity: 100, most: 60, reluctance: 10 });
        let few = Limit::new(4, 1 << 20);
        let (near, far) = world.pair(
            config().delivery(DeliveryGuarantee::AtLeastOnce),
            config().receive_buffer(few).acknowledge(Acknowledge::Manual),
        );
        let mut rng = Rng::with_seed(seed);
        let quitter = Quitter::new(&mut rng, drops);
        let working = world.spawn("impatient", work_impatiently(far.clone(), quitter));
        let sending = world.spawn("sender", send_slowly(near.clone(), drops.clone(), rng.fork()));
        let sent = world.finish(&sending);
        let mut work = world.finish(&working);
        // No time has passed, so that what was rejected has not come again.
        assert_eq!(near.metrics().resent.messages, 0);
        while (work.acknowledged.len() as u64) < sent {
            let socket = far.clone();
            let message =
                world.wait("patient", async move { socket.recv_message().await.expect("it is open") });
            assert!(work.acknowledged.insert(number(message.payload())), "taken twice");
            message.acknowledge();
        }
        world.pass(Duration::from_secs(1));
        assert!(work.acknowledged.iter().copied().eq(0..sent));
        let (sender, receiver) = (near.metrics(), far.metrics());
        assert_eq!(sender.acknowledged.messages as u64, sent);
        assert_eq!((sender.accepted.messages as u64, sender.send_held.messages), (sent, 0));
        assert_eq!(sender.resent.messages as u64, work.rejected, "each rejected one came once more");
        assert_eq!(receiver.received.messages as u64, sent + work.rejected);
        assert_eq!((receiver.receive_held.messages, receiver.duplicates.messages), (0, 0));
    });
}

/// Takes events to the end of the stream. Waits in earnest now and then, or time would not pass.
async fn watch_impatiently(mut events: EventStream, as_stream: bool, mut quitter: Quitter) -> Vec<Event> {
    let mut seen = Vec::new();
    let mut tired = 0;
    loop {
        let attempt = if as_stream {
            quitter.attempt(next(&mut events)).await
        } else {
            quitter.attempt(events.recv()).await
        };
        match attempt {
            Some(Some(event)) => seen.push(event),
            Some(None) => return seen,
            None => tired += 1,
        }
        if tired == 200 {
            tired = 0;
            match events.recv().await {
                Some(event) => seen.push(event),
                None => return seen,
            }
        }
    }
}

fn check_events(as_stream: bool) {
    play(|seed, drops| {
        let world = World::new(seed);
        let (near, far) = (world.socket(config()), world.socket(config()));
        let mut patient = near.events();
        let mut rng = Rng::with_seed(seed);
        let quitter = Quitter::new(&mut rng, drops);
        let impatient = world.spawn("impatient", watch_impatiently(near.events(), as_stream, quitter));
        let watching = world.spawn("patient", async move {
            let mut seen = Vec::new();
            while let Some(event) = patient.recv().await {
                seen.push(event);
            }
            seen
        });
        world.join(&near, &far, "far");
        while drops.get() < DROPS_IN_ONE_WORLD {
            assert!(near.try_send(message(0, 8)).is_ok());
            world.pass(Duration::from_secs(1));
            near.disconnect_peer(far.identity());
            world.pass(Duration::from_secs(1));
        }
        let closing = near.clone();
        world.wait("close", async move { closing.close_within(Duration::from_secs(20)).await });
        let seen = world.finish(&watching);
        assert_eq!(world.finish(&impatient), seen);
        // They are all that happened.
        let count = |is_it: fn(&Event) -> bool| seen.iter().filter(|event| is_it(event)).count() as u64;
        let metrics = near.metrics();
        assert_eq!(count(|event| matches!(event, Event::Connected { .. })), metrics.connected);
        assert_eq!(count(|event| matches!(event, Event::Disconnected { .. })), metrics.disconnected);
        assert_eq!(count(|event| matches!(event, Event::Connecting { .. })), metrics.dial_attempts);
        assert_eq!(count(|event| matches!(event, Event::Lagged { .. })), 0);
        let sent = metrics.handed_over.messages + metrics.dropped_at_close.messages;
        assert_eq!(metrics.accepted.messages, sent + metrics.send_held.messages);
    });
}

#[test]
fn waits_for_an_event_may_be_dropped() {
    check_events(false);
}

#[test]
fn waits_for_the_next_of_a_stream_of_events_may_be_dropped() {
    check_events(true);
}
