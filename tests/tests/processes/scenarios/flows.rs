//! Sockets that receive and send, with all queues full, and many that send to one.

use std::time::{Duration, Instant};

use super::api::{Acknowledge, DeliveryGuarantee, Limit, Receive, SendError, Socket};

use super::support::{PATIENCE, connected, runtime, tell, wait_until, within};

const MESSAGES: usize = 20_000;

fn small(delivery: DeliveryGuarantee, receive: usize) -> Socket {
    Socket::builder()
        .delivery(delivery)
        .send_buffer(Limit::new(16, 1 << 20))
        .receive_buffer(Limit::new(receive, 1 << 20))
        .build()
        .expect("valid settings")
}

/// Sends to an echo and takes what comes back, both as fast as it goes.
async fn echo(delivery: DeliveryGuarantee, receive: usize) {
    let (server, client) = (small(delivery, receive), small(delivery, receive));
    connected(&server, &client).await;
    let echo = tokio::spawn(async move {
        while let Ok(received) = server.recv_from().await {
            server.send_to(received.identity, received.payload).await.expect("it is open");
        }
    });
    let sender = client.clone();
    let sending = tokio::spawn(async move {
        for number in 0..MESSAGES {
            sender.send(number.to_string()).await.expect("it is open");
        }
    });
    for number in 0..MESSAGES {
        let message = within("an answer", client.recv()).await.expect("it is open");
        assert_eq!(message, number.to_string());
    }
    within("all is sent", sending).await.expect("no panic");
    echo.abort();
}

#[test]
fn an_echo_with_full_queues_goes_on() {
    runtime().block_on(async {
        echo(DeliveryGuarantee::AtMostOnce, 16).await;
        // One peer may fill half of this, which is twice what its sender may have unacknowledged.
        echo(DeliveryGuarantee::AtLeastOnce, 64).await;
    });
}

/// An echo that waits for room to send before it receives again, of a peer that does the same.
///
/// Its buffers, and those of the system, fill in both directions; then nobody can go on before somebody receives.
async fn stuck_echo(delivery: DeliveryGuarantee) {
    const PATIENCE: Duration = Duration::from_millis(300);
    let server =
        Socket::builder().delivery(delivery).deadlock_timeout(PATIENCE).build().expect("valid settings");
    let client = Socket::builder().build().expect("defaults");
    connected(&server, &client).await;
    let sender = client.clone();
    let flood = tokio::spawn(async move { while sender.send(vec![7; 4_096]).await.is_ok() {} });
    let (mut echoed, mut refused) = (0, 0);
    while refused < 3 {
        let received = within("a message", server.recv_from()).await.expect("it is open");
        let sent = Instant::now();
        match within("room, or an error", server.send_to(received.identity, received.payload)).await {
            Ok(()) => echoed += 1,
            Err(SendError::WouldDeadlock(payload)) => {
                assert_eq!(payload.len(), 4_096, "the message comes back");
                assert!(sent.elapsed() >= PATIENCE, "{:?}", sent.elapsed());
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    tell(&format!("{delivery:?}: {echoed} echoed, then told {refused} times that waiting is no use"));
    let metrics = server.metrics();
    let done = metrics.handed_over.messages + metrics.acknowledged.messages + metrics.send_held.messages;
    assert_eq!((metrics.accepted.messages, echoed), (done, done), "{metrics:?}");
    // Whoever receives gets things going again: what comes back is read, and with it what makes room.
    let drain = tokio::spawn(async move { while server.recv().await.is_ok() {} });
    for _ in 0..echoed {
        within("what was echoed", client.recv()).await.expect("it is open");
    }
    flood.abort();
    drain.abort();
}

#[test]
fn an_echo_that_would_wait_for_ever_is_told() {
    runtime().block_on(async {
        stuck_echo(DeliveryGuarantee::AtMostOnce).await;
        stuck_echo(DeliveryGuarantee::AtLeastOnce).await;
    });
}

#[test]
fn a_chain_with_full_queues_goes_on() {
    for delivery in [DeliveryGuarantee::AtMostOnce, DeliveryGuarantee::AtLeastOnce] {
        runtime().block_on(async {
            let sockets: Vec<Socket> = (0..4).map(|_| small(delivery, 4)).collect();
            for pair in sockets.windows(2) {
                let address = pair[1].bind("127.0.0.1:0").await.expect("a free port");
                pair[0].connect(address).expect("an address");
                let next = pair[1].identity();
                wait_until("the next one is there", || {
                    pair[0].peers().iter().any(|peer| peer.identity == next)
                })
                .await;
            }
            // Each sends to the next one alone, though it has two peers.
            for trio in sockets.windows(3) {
                let (here, next) = (trio[1].clone(), trio[2].identity());
                tokio::spawn(async move {
                    while let Ok(message) = here.recv().await {
                        here.send_to(next, message).await.expect("it is open");
                    }
                });
            }
            let first = sockets[0].clone();
            tokio::spawn(async move {
                for number in 0..MESSAGES {
                    first.send(number.to_string()).await.expect("it is open");
                }
            });
            for number in 0..MESSAGES {
                let message = within("a message", sockets[3].recv()).await.expect("it is open");
                assert_eq!(message, number.to_string());
            }
        });
    }
}

#[test]
fn a_socket_that_only_sends_is_not_held_up_by_answers() {
    runtime().block_on(async {
        let source = Socket::builder()
            .delivery(DeliveryGuarantee::AtLeastOnce)
            .receive(Receive::Discard)
            .receive_buffer(Limit::new(1, 1))
            .send_buffer(Limit::new(100, 1 << 20))
            .build()
            .expect("valid settings");
        let address = source.bind("127.0.0.1:0").await.expect("a free port");
        for _ in 0..3 {
            let worker =
                Socket::builder().acknowledge(Acknowledge::OnReceive).build().expect("valid settings");
            worker.connect(address).expect("an address");
            tokio::spawn(async move {
                while let Ok(message) = worker.recv().await {
                    worker.send([&message[..], &[7; 2_000]].concat()).await.expect("it is open");
                }
            });
        }
        within("the workers", source.wait_for_peers(3)).await.expect("it is open");
        for number in 0..MESSAGES {
            within("room", source.send(number.to_string())).await.expect("it is open");
        }
        let report = source.close().await;
        let metrics = source.metrics();
        assert_eq!((report.dropped.messages, metrics.acknowledged.messages), (0, MESSAGES));
        assert!(metrics.discarded.messages > MESSAGES / 2, "{metrics:?}");
    });
}

/// Sends without end, with a pause after each message if there is to be one. A message says who sends it, and when.
async fn send_on(sender: Socket, number: u8, pause: Option<Duration>, start: Instant) {
    loop {
        let sent = u64::try_from(start.elapsed().as_micros()).expect("not that long");
        if sender.send([&[number][..], &sent.to_be_bytes()].concat()).await.is_err() {
            return;
        }
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
    }
}

#[test]
fn slow_senders_are_served_beside_one_at_full_speed() {
    const SLOW: usize = 10;
    /// Messages of each of the slow ones, on average.
    const EACH: usize = 200;
    const BUFFER: usize = 4_096;
    runtime().block_on(async {
        let receiver =
            Socket::builder().receive_buffer(Limit::new(BUFFER, 64 << 20)).build().expect("valid settings");
        let address = receiver.bind("127.0.0.1:0").await.expect("a free port").to_string();
        let senders: Vec<_> = (0..=SLOW).map(|_| Socket::builder().build().expect("defaults")).collect();
        for sender in &senders {
            sender.connect(address.clone()).expect("an address");
        }
        within("the senders", receiver.wait_for_peers(senders.len())).await.expect("it is open");
        let start = Instant::now();
        for (number, sender) in (0..).zip(senders) {
            let pause = (number > 0).then_some(Duration::from_millis(10));
            tokio::spawn(send_on(sender, number, pause, start));
        }
        let (mut came, mut longest) = ([0; SLOW + 1], Duration::ZERO);
        while came[1..].iter().sum::<usize>() < SLOW * EACH {
            // It lets them gather, so that there are some before those of the others, however fast the machine is. No more
            // than are read ahead in any case.
            wait_until("many messages", || receiver.metrics().receive_held.messages >= BUFFER / 8).await;
            while let Some(received) = receiver.try_recv().expect("it is open") {
                assert!(start.elapsed() < PATIENCE, "only {came:?} came");
                let (number, sent) = received.payload.split_first_chunk::<1>().expect("who sends it");
                came[usize::from(number[0])] += 1;
                if number[0] > 0 {
                    let sent = u64::from_be_bytes(sent.try_into().expect("eight bytes"));
                    longest = longest.max(start.elapsed() - Duration::from_micros(sent));
                }
            }
        }
        let [fast, slow @ ..] = came;
        tell(&format!(
            "beside {fast} messages of one sender, {slow:?} of ten others waited {longest:?} at most"
        ));
        let metrics = receiver.metrics();
        // The core is told of what was taken when there were 64, so that it may seem to hold some of those.
        let held = metrics.received.messages - came.iter().sum::<usize>();
        assert!((held..held + 64).contains(&metrics.receive_held.messages), "{held}: {metrics:?}");
        assert!(fast > 10 * SLOW * EACH, "it was at full speed: {fast}");
        assert!(slow.iter().all(|slow| *slow > EACH / 4), "none was passed over: {slow:?}");
    });
}
