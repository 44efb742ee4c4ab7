//! Messages as streams, and receiving that is given up again and again.

use std::future::pending;
use std::time::Duration;

use aiomsg_driver::Socket;
use aiomsg_proto::{Closed, Limit};
use futures_lite::StreamExt;

use crate::support::{
    Adapter, Task, builder, message, next, number, pair, spawn, timeout, within, yield_now,
};

/// Sends numbered messages from a task, now fast, now with pauses.
fn send_numbers<R: Adapter>(from: &Socket<R>, count: u64) -> Task<()> {
    let from = from.clone();
    spawn::<R, _>(async move {
        for n in 0..count {
            from.send(message(n)).await.expect("open");
            if n % 50 == 0 {
                yield_now().await;
            }
        }
    })
}

async fn messages_come_as_a_stream_that_ends_with_the_socket<R: Adapter>() {
    let (far, near) = pair(builder::<R>(), builder::<R>()).await;
    let mut messages = far.messages();
    send_numbers(&near, 1_000).await;
    for n in 0..1_000 {
        assert_eq!(number(&next(&mut messages).await.expect("open")), n);
    }
    within("closing", far.close()).await;
    assert_eq!(next(&mut messages).await, None);
}

async fn messages_come_with_their_senders_as_a_stream<R: Adapter>() {
    let (far, near) = pair(builder::<R>(), builder::<R>()).await;
    let mut messages = far.messages_from();
    send_numbers(&near, 100).await;
    for n in 0..100 {
        let received = next(&mut messages).await.expect("open");
        assert_eq!((received.identity, number(&received.payload)), (near.identity(), n));
    }
    within("closing", far.close()).await;
    assert_eq!(next(&mut messages).await, None);
}

async fn streams_and_calls_share_the_messages<R: Adapter>() {
    let (far, near) = pair(builder::<R>(), builder::<R>()).await;
    let mut takers = Vec::new();
    for _ in 0..2 {
        let far = far.clone();
        takers.push(spawn::<R, _>(async move {
            let mut taken = Vec::new();
            while let Ok(payload) = far.recv().await {
                taken.push(number(&payload));
            }
            taken
        }));
    }
    let mut stream = far.messages();
    takers.push(spawn::<R, _>(async move {
        let mut taken = Vec::new();
        while let Some(payload) = next(&mut stream).await {
            taken.push(number(&payload));
        }
        taken
    }));
    let sending = send_numbers(&near, 10_000);
    within("sending", sending).await;
    within("closing", near.close()).await;
    within("arrival", async {
        while far.metrics().received.messages < 10_000 || far.metrics().receive_held.messages > 0 {
            yield_now().await;
        }
    })
    .await;
    within("closing", far.close()).await;
    let mut all = Vec::new();
    for taker in takers {
        all.extend(taker.await);
    }
    all.sort_unstable();
    assert!(all.into_iter().eq(0..10_000));
}

async fn recv_in_a_select_loop_loses_nothing<R: Adapter>() {
    let (far, near) = pair(builder::<R>(), builder::<R>().send_buffer(Limit::new(100, 1 << 20))).await;
    let sending = send_numbers(&near, 20_000);
    let mut ticks = async_io::Timer::interval(Duration::from_micros(50));
    let mut given_up = 0;
    let mut expected = 0;
    while expected < 20_000 {
        ::tokio::select! {
            received = far.recv() => {
                assert_eq!(number(&received.expect("open")), expected);
                expected += 1;
            }
            _ = ticks.next() => given_up += 1,
            () = pending() => {}
        }
    }
    assert!(given_up > 0, "no recv was ever dropped");
    within("sending", sending).await;
}

async fn recv_under_a_timeout_loses_nothing<R: Adapter>() {
    let (far, near) = pair(builder::<R>(), builder::<R>()).await;
    let sending = send_numbers(&near, 5_000);
    let mut expected = 0;
    while expected < 5_000 {
        if let Some(received) = timeout(Duration::from_micros(10), far.recv()).await {
            assert_eq!(number(&received.expect("open")), expected);
            expected += 1;
        }
    }
    within("sending", sending).await;
}

async fn send_under_a_timeout_is_accepted_or_not<R: Adapter>() {
    let (far, near) = pair(
        builder::<R>().receive_buffer(Limit::new(10, 1 << 20)),
        builder::<R>().send_buffer(Limit::new(10, 1 << 20)),
    )
    .await;
    let taking = spawn::<R, _>(async move {
        let mut taken = Vec::new();
        while taken.last() != Some(&2_000) {
            taken.push(number(&far.recv().await.expect("open")));
        }
        taken
    });
    let mut accepted = Vec::new();
    for n in 0..2_000 {
        if timeout(Duration::from_micros(10), near.send(message(n))).await.is_some() {
            accepted.push(n);
        }
    }
    near.send(message(2_000)).await.expect("open");
    accepted.push(2_000);
    assert_eq!(within("the messages", taking).await, accepted);
}

async fn try_recv_takes_what_is_there<R: Adapter>() {
    let (far, near) = pair(builder::<R>(), builder::<R>()).await;
    assert_eq!(far.try_recv(), Ok(None));
    near.send("one").await.expect("open");
    within("arrival", async {
        while far.metrics().receive_held.messages == 0 {
            yield_now().await;
        }
    })
    .await;
    assert_eq!(far.try_recv().expect("open").expect("one").payload, "one");
    within("closing", far.close()).await;
    assert_eq!(far.try_recv(), Err(Closed));
}

on_both! {
    async messages_come_as_a_stream_that_ends_with_the_socket, messages_come_with_their_senders_as_a_stream, streams_and_calls_share_the_messages, recv_in_a_select_loop_loses_nothing, recv_under_a_timeout_loses_nothing, send_under_a_timeout_is_accepted_or_not, try_recv_takes_what_is_there;
}
