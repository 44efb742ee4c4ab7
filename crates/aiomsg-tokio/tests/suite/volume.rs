//! Many messages, in both directions at once, in order.

use std::future::Future;
use std::time::Duration;

use aiomsg_tokio::{Limit, Socket};
use tokio::runtime::Builder;

use crate::support::{builder, message, number, pair, within};

const COUNT: u64 = 100_000;

async fn send_all(socket: Socket) {
    for n in 0..COUNT {
        socket.send(message(n)).await.expect("open");
    }
}

async fn receive_all(socket: Socket) {
    for n in 0..COUNT {
        assert_eq!(number(&socket.recv().await.expect("open")), n);
    }
}

/// Both ends send and receive, in four tasks.
async fn exchange() {
    let (far, near) = pair(builder(), builder()).await;
    let tasks = [
        tokio::spawn(send_all(near.clone())),
        tokio::spawn(send_all(far.clone())),
        tokio::spawn(receive_all(near.clone())),
        tokio::spawn(receive_all(far.clone())),
    ];
    for task in tasks {
        within("all messages", task).await.expect("no panic");
    }
    for socket in [near, far] {
        let report = within("closing", socket.close()).await;
        assert_eq!(report.dropped.messages, 0);
    }
}

/// All four in one task, so that nobody runs but when somebody waits.
async fn exchange_in_one_task() {
    let (far, near) = pair(builder(), builder()).await;
    // The sockets live on when one of the four has ended, and so does what they hold.
    let all = async {
        tokio::join!(
            send_all(near.clone()),
            send_all(far.clone()),
            receive_all(near.clone()),
            receive_all(far.clone())
        )
    };
    within("all messages", all).await;
}

fn run(mut builder: Builder, exchange: impl Future<Output = ()>) {
    builder.enable_all().build().expect("a runtime").block_on(exchange);
}

#[test]
fn on_one_thread() {
    run(Builder::new_current_thread(), exchange());
}

#[test]
fn on_many_threads() {
    run(Builder::new_multi_thread(), exchange());
}

#[test]
fn in_one_task() {
    run(Builder::new_current_thread(), exchange_in_one_task());
    run(Builder::new_multi_thread(), exchange_in_one_task());
}

/// A few large messages among many small ones.
#[test]
fn of_all_sizes() {
    run(Builder::new_multi_thread(), async {
        let (far, near) = pair(builder(), builder()).await;
        let size = |n: usize| [0, 1, 16, 1_000, 5_000, 70_000, 1 << 20, 5 << 20][n % 8];
        let sending = tokio::spawn(async move {
            for n in 0..200 {
                near.send(vec![n as u8; size(n)]).await.expect("open");
            }
            near.close().await
        });
        for n in 0..200 {
            let received = within("a message", far.recv()).await.expect("open");
            assert!(received.len() == size(n) && received.iter().all(|byte| *byte == n as u8));
        }
        within("closing", sending).await.expect("no panic");
    });
}

/// Sends messages that nobody else sends, and gives up and tries again at each.
async fn send_impatiently(from: Socket, to: Socket, sender: u64) {
    for n in 0..500 {
        let payload = message(sender << 32 | n);
        let mut patience = Duration::ZERO;
        loop {
            let sent = if n % 3 == 0 {
                tokio::time::timeout(patience, from.send_to(to.identity(), payload.clone())).await
            } else {
                tokio::time::timeout(patience, from.send(payload.clone())).await
            };
            match sent {
                Ok(result) => break result.expect("open"),
                Err(_) => patience += Duration::from_micros(100),
            }
        }
    }
}

async fn receive_impatiently(to: Socket, receiver: u64) -> Vec<u64> {
    let mut received = Vec::new();
    let patience = Duration::from_micros(100 * receiver);
    loop {
        match tokio::time::timeout(patience, to.recv()).await {
            Ok(Ok(payload)) => received.push(number(&payload)),
            Ok(Err(_)) => return received,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

/// Threads, tasks, little room everywhere, and everybody gives up now and then: all is received, once.
#[test]
fn many_tasks_with_little_room_lose_nothing() {
    let little = Limit::new(5, 1 << 20);
    let mut threads = Builder::new_multi_thread();
    threads.worker_threads(4);
    run(threads, async {
        let near = builder().send_buffer(little).peer_queue(Limit::new(2, 1 << 20));
        let (far, near) = pair(builder().receive_buffer(little), near).await;
        let receivers: Vec<_> =
            (0..6).map(|receiver| tokio::spawn(receive_impatiently(far.clone(), receiver))).collect();
        let senders: Vec<_> =
            (0..8).map(|sender| tokio::spawn(send_impatiently(near.clone(), far.clone(), sender))).collect();
        for sender in senders {
            within("sending", sender).await.expect("no panic");
        }
        within("arrival", async {
            while far.metrics().received.messages < 4_000 || far.metrics().receive_held.messages > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        within("closing", far.close()).await;
        let mut received = Vec::new();
        for receiver in receivers {
            received.extend(within("the end", receiver).await.expect("no panic"));
        }
        received.sort_unstable();
        let expected = (0..8_u64).flat_map(|sender| (0..500).map(move |n| sender << 32 | n));
        assert!(received.into_iter().eq(expected));
    });
}
