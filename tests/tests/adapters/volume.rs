//! Many messages, in both directions at once, in order.

use std::time::Duration;

use aiomsg_driver::Socket;
use aiomsg_proto::Limit;

use crate::support::{Adapter, builder, message, number, pair, spawn, timeout, within, yield_now};

const COUNT: u64 = 100_000;

async fn send_all<R: Adapter>(socket: Socket<R>) {
    for n in 0..COUNT {
        socket.send(message(n)).await.expect("open");
    }
}

async fn receive_all<R: Adapter>(socket: Socket<R>) {
    for n in 0..COUNT {
        assert_eq!(number(&socket.recv().await.expect("open")), n);
    }
}

/// Both ends send and receive, in four tasks.
async fn exchange<R: Adapter>() {
    let (far, near) = pair(builder::<R>(), builder::<R>()).await;
    let tasks = [
        spawn::<R, _>(send_all(near.clone())),
        spawn::<R, _>(send_all(far.clone())),
        spawn::<R, _>(receive_all(near.clone())),
        spawn::<R, _>(receive_all(far.clone())),
    ];
    for task in tasks {
        within("all messages", task).await;
    }
    for socket in [near, far] {
        let report = within("closing", socket.close()).await;
        assert_eq!(report.dropped.messages, 0);
    }
}

/// All four in one task, so that nobody runs but when somebody waits.
async fn exchange_in_one_task<R: Adapter>() {
    let (far, near) = pair(builder::<R>(), builder::<R>()).await;
    // The sockets live on when one of the four has ended, and so does what they hold.
    let all = async {
        ::tokio::join!(
            send_all(near.clone()),
            send_all(far.clone()),
            receive_all(near.clone()),
            receive_all(far.clone())
        )
    };
    within("all messages", all).await;
}

fn on_one_thread<R: Adapter>() {
    R::run(exchange::<R>());
}

fn on_many_threads<R: Adapter>() {
    R::block_on(&R::on_threads(), exchange::<R>());
}

fn in_one_task<R: Adapter>() {
    R::run(exchange_in_one_task::<R>());
    R::block_on(&R::on_threads(), exchange_in_one_task::<R>());
}

/// A few large messages among many small ones.
fn of_all_sizes<R: Adapter>() {
    R::block_on(&R::on_threads(), async {
        let (far, near) = pair(builder::<R>(), builder::<R>()).await;
        let size = |n: usize| [0, 1, 16, 1_000, 5_000, 70_000, 1 << 20, 5 << 20][n % 8];
        let sending = spawn::<R, _>(async move {
            for n in 0..200 {
                near.send(vec![n as u8; size(n)]).await.expect("open");
            }
            near.close().await
        });
        for n in 0..200 {
            let received = within("a message", far.recv()).await.expect("open");
            assert!(received.len() == size(n) && received.iter().all(|byte| *byte == n as u8));
        }
        within("closing", sending).await;
    });
}

/// Sends messages that nobody else sends, and gives up and tries again at each.
async fn send_impatiently<R: Adapter>(from: Socket<R>, to: Socket<R>, sender: u64) {
    for n in 0..500 {
        let payload = message(sender << 32 | n);
        let mut patience = Duration::ZERO;
        loop {
            let sent = if n % 3 == 0 {
                timeout(patience, from.send_to(to.identity(), payload.clone())).await
            } else {
                timeout(patience, from.send(payload.clone())).await
            };
            match sent {
                Some(result) => break result.expect("open"),
                None => patience += Duration::from_micros(100),
            }
        }
    }
}

async fn receive_impatiently<R: Adapter>(to: Socket<R>, receiver: u64) -> Vec<u64> {
    let mut received = Vec::new();
    let patience = Duration::from_micros(100 * receiver);
    loop {
        match timeout(patience, to.recv()).await {
            Some(Ok(payload)) => received.push(number(&payload)),
            Some(Err(_)) => return received,
            None => yield_now().await,
        }
    }
}

/// Threads, tasks, little room everywhere, and everybody gives up now and then: all is received, once.
fn many_tasks_with_little_room_lose_nothing<R: Adapter>() {
    let little = Limit::new(5, 1 << 20);
    R::block_on(&R::on_threads(), async {
        let near = builder::<R>().send_buffer(little).peer_queue(Limit::new(2, 1 << 20));
        let (far, near) = pair(builder::<R>().receive_buffer(little), near).await;
        let receivers: Vec<_> =
            (0..6).map(|receiver| spawn::<R, _>(receive_impatiently(far.clone(), receiver))).collect();
        let senders: Vec<_> =
            (0..8).map(|sender| spawn::<R, _>(send_impatiently(near.clone(), far.clone(), sender))).collect();
        for sender in senders {
            within("sending", sender).await;
        }
        within("arrival", async {
            while far.metrics().received.messages < 4_000 || far.metrics().receive_held.messages > 0 {
                yield_now().await;
            }
        })
        .await;
        within("closing", far.close()).await;
        let mut received = Vec::new();
        for receiver in receivers {
            received.extend(within("the end", receiver).await);
        }
        received.sort_unstable();
        let expected = (0..8_u64).flat_map(|sender| (0..500).map(move |n| sender << 32 | n));
        assert!(received.into_iter().eq(expected));
    });
}

on_both! {
    sync on_one_thread, on_many_threads, in_one_task, of_all_sizes, many_tasks_with_little_room_lose_nothing;
}
