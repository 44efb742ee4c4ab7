//! Many messages, in both directions at once, in order.

use std::future::Future;

use aiomsg_tokio::Socket;
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
    let all = async {
        tokio::join!(send_all(near.clone()), send_all(far.clone()), receive_all(near), receive_all(far))
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
