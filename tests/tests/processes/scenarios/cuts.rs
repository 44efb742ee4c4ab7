//! Connections that are cut between two healthy processes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::api::{DeliveryGuarantee, Socket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::support::{runtime, tell, wait_until, within};

const MESSAGES: usize = 100_000;
const CUTS: usize = 25;

/// Passes connections on to `target`, and cuts them after some bytes, until it has done so `CUTS` times.
async fn proxy(listener: TcpListener, target: SocketAddr, cuts: Arc<AtomicUsize>) {
    loop {
        let (near, _) = listener.accept().await.expect("it listens");
        let far = TcpStream::connect(target).await.expect("somebody listens");
        let done = cuts.load(Ordering::Relaxed);
        // Anywhere in a frame, and sooner or later in the acknowledgements, too.
        let mut left = if done < CUTS { 3_000 + (done * 7_919_777) % 200_003 } else { usize::MAX };
        let (mut near_read, mut near_write) = near.into_split();
        let (mut far_read, mut far_write) = far.into_split();
        let (mut there, mut back) = (vec![0; 16_384], vec![0; 16_384]);
        loop {
            let (read, writer, buffer) = tokio::select! {
                read = near_read.read(&mut there) => (read, &mut far_write, &there),
                read = far_read.read(&mut back) => (read, &mut near_write, &back),
            };
            let read = read.unwrap_or(0);
            let passed = read.min(left);
            if read == 0 || writer.write_all(&buffer[..passed]).await.is_err() {
                break;
            }
            left -= passed;
            if left == 0 {
                cuts.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
    }
}

#[test]
fn connections_that_are_cut_cost_nothing_and_repeat_nothing() {
    runtime().block_on(async {
        let start = Instant::now();
        let receiver = Socket::builder().build().expect("defaults");
        let target = receiver.bind("127.0.0.1:0").await.expect("a free port");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let cuts = Arc::new(AtomicUsize::new(0));
        let proxy = tokio::spawn(proxy(listener, target, cuts.clone()));
        let sender = Socket::builder()
            .delivery(DeliveryGuarantee::AtLeastOnce)
            // Cuts come faster than a peer would be given up.
            .reconnect_delay_max(Duration::from_millis(100))
            .build()
            .expect("valid settings");
        sender.connect(address).expect("an address");
        let submitting = {
            let sender = sender.clone();
            tokio::spawn(async move {
                for number in 0..MESSAGES {
                    sender.send(number.to_string()).await.expect("it is open");
                }
            })
        };
        for number in 0..MESSAGES {
            let message = within("a message", receiver.recv()).await.expect("it is open");
            assert_eq!(message, number.to_string(), "all, each once, in order");
        }
        within("all is sent", submitting).await.expect("no panic");
        wait_until("all is acknowledged", || sender.metrics().send_held.messages == 0).await;
        assert!(receiver.try_recv().expect("it is open").is_none(), "nothing is repeated");
        let (sent, received) = (sender.metrics(), receiver.metrics());
        tell(&format!(
            "{MESSAGES} messages, {} cuts, {:?}: {} sent again, {} copies dropped",
            cuts.load(Ordering::Relaxed),
            start.elapsed(),
            sent.resent.messages,
            received.duplicates.messages
        ));
        assert!(cuts.load(Ordering::Relaxed) >= CUTS);
        assert_eq!((sent.acknowledged.messages, received.received.messages), (MESSAGES, MESSAGES));
        assert!(received.duplicates.messages <= sent.resent.messages);
        proxy.abort();
    });
}
