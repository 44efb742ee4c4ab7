//! Futures of sending and receiving that are polled late, by another task, or once too often.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aiomsg_driver::Handle;
use aiomsg_proto::{Acknowledge, DeliveryGuarantee, Limit, SendError};
use futures_core::Stream;

use crate::support::{World, config, message, number};

/// A socket that futures may borrow for as long as they like.
fn for_ever(socket: Handle) -> &'static Handle {
    Box::leak(Box::new(socket))
}

/// Polls once on behalf of nobody.
fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls a future in a task that ends then, and hands it on.
fn start<F: Future<Output: 'static> + Unpin + 'static>(world: &Rc<World>, mut future: F) -> F {
    // In a tuple, so that nobody takes it for something to be awaited.
    let (future,) = world.wait("first", async move {
        std::future::poll_fn(|cx| {
            assert!(Pin::new(&mut future).poll(cx).is_pending(), "it has to wait");
            Poll::Ready(())
        })
        .await;
        (future,)
    });
    future
}

#[test]
fn nothing_is_sent_or_taken_before_a_future_is_polled() {
    let world = World::new(1);
    let (near, far) = world.pair(config(), config());
    let sending = near.send(message(1, 8));
    let taking = far.recv();
    near.try_send(message(0, 8)).expect("room");
    world.settle();
    assert_eq!((near.metrics().accepted.messages, far.metrics().receive_held.messages), (1, 1));
    drop(taking);
    let mut sending = pin!(sending);
    assert_eq!(poll(sending.as_mut()), Poll::Ready(Ok(())));
    world.settle();
    for expected in 0..2 {
        assert_eq!(number(&far.try_recv().expect("open").expect("a message").payload), expected);
    }
}

#[test]
fn a_wait_for_a_message_goes_on_in_another_task() {
    let world = World::new(2);
    let (near, far) = world.pair(config(), config());
    let far = for_ever(far);
    let taking = start(&world, Box::pin(far.recv()));
    let taken = world.spawn("second", taking);
    world.settle();
    near.try_send(message(7, 8)).expect("room");
    world.settle();
    assert_eq!(taken.take().expect("it was woken").expect("open"), message(7, 8));
}

/// One that was woken for a message and then dropped leaves it to the next.
#[test]
fn a_wait_that_was_woken_and_is_dropped_has_the_next_one_look() {
    let world = World::new(3);
    let (near, far) = world.pair(config(), config());
    let far = for_ever(far);
    let first = start(&world, Box::pin(far.recv()));
    let next = world.spawn("next", far.recv());
    world.settle();
    near.try_send(message(7, 8)).expect("room");
    world.settle();
    assert!(!next.is_done(), "the first was woken, whose task has ended");
    drop(first);
    world.settle();
    assert_eq!(next.take().expect("it was woken").expect("open"), message(7, 8));
}

#[test]
fn a_wait_for_room_goes_on_in_another_task() {
    let world = World::new(4);
    let (near, far) = world.pair(config().send_buffer(Limit::new(1, 1 << 20)), config());
    let near = for_ever(near);
    world.wire(0).out.set_capacity(0);
    near.try_send(message(0, 8)).expect("room");
    world.settle();
    let sending = start(&world, Box::pin(near.send(message(1, 8))));
    let sent = world.spawn("second", sending);
    world.settle();
    assert!(!sent.is_done());
    world.wire(0).out.set_capacity(1 << 10);
    world.settle();
    assert_eq!(sent.take(), Some(Ok(())));
    for expected in 0..2 {
        assert_eq!(number(&far.try_recv().expect("open").expect("a message").payload), expected);
    }
}

#[test]
fn who_polls_a_send_once_too_often_sends_nothing_twice() {
    let world = World::new(5);
    let (near, far) = world.pair(config().max_message(100), config());
    let mut sending = pin!(near.send(message(1, 8)));
    assert_eq!(poll(sending.as_mut()), Poll::Ready(Ok(())));
    assert!(poll(sending.as_mut()).is_pending());
    // Nor is one that was refused said to have been sent.
    let long = message(2, 101);
    let mut sending = pin!(near.send(long.clone()));
    let refused = poll(sending.as_mut());
    assert_eq!(refused, Poll::Ready(Err(SendError::TooLong { payload: long, limit: 100 })));
    assert!(poll(sending.as_mut()).is_pending());
    world.settle();
    assert_eq!(near.metrics().accepted.messages, 1);
    assert_eq!(far.metrics().received.messages, 1);
}

#[test]
fn who_polls_a_receive_once_too_often_loses_nothing() {
    let world = World::new(6);
    let (near, far) = world.pair(config(), config());
    near.try_send(message(0, 8)).expect("room");
    near.try_send(message(1, 8)).expect("room");
    world.settle();
    let mut taking = pin!(far.recv());
    for expected in 0..2 {
        assert_eq!(poll(taking.as_mut()), Poll::Ready(Ok(message(expected, 8))));
    }
    assert!(poll(taking.as_mut()).is_pending());
}

/// What is acknowledged already shows nobody that it is to be.
#[test]
fn only_a_message_to_be_acknowledged_has_a_request() {
    let world = World::new(7);
    let (near, far) = world
        .pair(config().delivery(DeliveryGuarantee::AtLeastOnce), config().acknowledge(Acknowledge::Manual));
    let stream = far.messages_from();
    let mut stream = pin!(stream);
    let next = || {
        near.try_send(message(0, 8)).expect("room");
        world.settle();
    };
    next();
    let Poll::Ready(Ok(received)) = poll(pin!(far.recv_from())) else { panic!("one is there") };
    assert_eq!(received.request, None);
    next();
    assert_eq!(far.try_recv().expect("open").expect("one is there").request, None);
    next();
    let Poll::Ready(Some(received)) = stream.as_mut().poll_next(&mut Context::from_waker(Waker::noop()))
    else {
        panic!("one is there")
    };
    assert_eq!(received.request, None);
    next();
    let Poll::Ready(Ok(last)) = poll(pin!(far.recv_message())) else { panic!("one is there") };
    assert!(last.wants_acknowledgement());
    world.settle();
    assert_eq!(near.metrics().acknowledged.messages, 3);
    last.acknowledge();
    world.settle();
    assert_eq!(near.metrics().acknowledged.messages, 4);
}

/// The payload alone is taken, and its acknowledgement goes all the same; each message has its own.
#[test]
fn taking_a_payload_acknowledges_it() {
    let world = World::new(7);
    let (near, far) = world
        .pair(config().delivery(DeliveryGuarantee::AtLeastOnce), config().acknowledge(Acknowledge::Manual));
    for n in 0..3 {
        near.try_send(message(n, 8)).expect("room");
    }
    world.settle();
    for n in 0..3 {
        let mut taking = pin!(far.recv());
        assert_eq!(poll(taking.as_mut()), Poll::Ready(Ok(message(n, 8))));
        world.settle();
        assert_eq!(near.metrics().acknowledged.messages as u64, n + 1);
    }
    world.pass(Duration::from_secs(60));
    assert_eq!(near.metrics().resent.messages, 0);
}
