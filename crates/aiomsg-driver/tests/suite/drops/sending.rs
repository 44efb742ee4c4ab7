//! Sending: a message whose future was dropped was not accepted, any other was.

use std::collections::BTreeMap;
use std::time::Duration;

use aiomsg_driver::{Handle, PendingReceipt};
use aiomsg_proto::{Identity, Limit, Receipt, SendError};
use bytes::Bytes;
use fastrand::Rng;

use super::{DROPS_IN_ONE_WORLD, Drops, Quitter, Taken, check_accounts, check_taken, note, play};
use crate::support::{Style, Task, World, config, message, yield_now};

/// The methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Send,
    SendTo,
    WithReceipt,
    ToWithReceipt,
}

async fn submit(
    socket: &Handle,
    method: Method,
    peer: Identity,
    payload: Bytes,
) -> Result<Option<PendingReceipt>, SendError> {
    match method {
        Method::Send => socket.send(payload).await.map(|()| None),
        Method::SendTo => socket.send_to(peer, payload).await.map(|()| None),
        Method::WithReceipt => socket.send_with_receipt(None, payload).await.map(Some),
        Method::ToWithReceipt => socket.send_with_receipt(Some(peer), payload).await.map(Some),
    }
}

/// Sends until enough futures were dropped, each message as often as it takes until one attempt is not. Returns how many
/// were accepted, and their receipts.
async fn send_impatiently(
    (near, far): (Handle, Identity),
    method: Method,
    mut quitter: Quitter,
    sender: u64,
) -> (u64, Vec<PendingReceipt>) {
    let mut receipts = Vec::new();
    let mut sent = 0;
    while quitter.drops.get() < DROPS_IN_ONE_WORLD {
        let payload = message(sender << 32 | sent, 8);
        if let Some(result) = quitter.attempt(submit(&near, method, far, payload)).await {
            receipts.extend(result.expect("it is open"));
            sent += 1;
        }
        quitter.rest(4).await;
    }
    (sent, receipts)
}

/// Sends in the same queues and gives nothing up.
async fn send_patiently(near: Handle, drops: Drops, sender: u64) -> (u64, Vec<PendingReceipt>) {
    let mut sent = 0;
    while drops.get() < DROPS_IN_ONE_WORLD {
        near.send(message(sender << 32 | sent, 8)).await.expect("it is open");
        sent += 1;
    }
    (sent, Vec::new())
}

/// Takes messages, more slowly than they could come.
async fn take_slowly(far: Handle, taken: Taken, mut rng: Rng) {
    while let Ok(received) = far.recv().await {
        note(&taken, &received.payload);
        for _ in 0..rng.u8(..100) {
            yield_now().await;
        }
    }
}

async fn take(far: Handle, taken: Taken) {
    while let Ok(received) = far.recv().await {
        note(&taken, &received.payload);
    }
}

fn check(method: Method) {
    play(|seed, drops| {
        let world = World::new(seed);
        world.style.set(Style { capacity: 100, most: 60, reluctance: 10 });
        let few = Limit::new(4, 1 << 20);
        let (near, far) = world
            .pair(config().send_buffer(few).peer_queue(Limit::new(2, 1 << 20)), config().receive_buffer(few));
        let (mut rng, taken) = (Rng::with_seed(seed), Taken::default());
        let mut senders: Vec<Task<(u64, Vec<PendingReceipt>)>> = Vec::new();
        for sender in 0..2 {
            let (sockets, quitter) = ((near.clone(), far.identity()), Quitter::new(&mut rng, drops));
            senders.push(world.spawn("impatient", send_impatiently(sockets, method, quitter, sender)));
        }
        senders.push(world.spawn("patient", send_patiently(near.clone(), drops.clone(), 2)));
        world.spawn("receiver", take_slowly(far.clone(), taken.clone(), rng.fork()));
        let mut sent = BTreeMap::new();
        for (sender, task) in (0..).zip(&senders) {
            let (count, receipts) = world.finish(task);
            assert!(count > 0, "sender {sender} had its turn");
            sent.insert(sender, count);
            for receipt in receipts {
                let told = world.wait("receipt", receipt);
                assert_eq!(told, Receipt::Acknowledged { by: far.identity() });
            }
        }
        world.settle();
        check_taken(&taken.borrow(), &sent);
        check_accounts(&near, &far, sent.values().sum());
    });
}

#[test]
fn sends_may_be_dropped() {
    check(Method::Send);
}

#[test]
fn sends_to_one_peer_may_be_dropped() {
    check(Method::SendTo);
}

#[test]
fn sends_with_a_receipt_may_be_dropped() {
    check(Method::WithReceipt);
}

#[test]
fn sends_to_one_peer_with_a_receipt_may_be_dropped() {
    check(Method::ToWithReceipt);
}

/// Sends with receipts until enough of these were dropped. Returns how many messages there were, and the receipts kept.
async fn drop_receipts(near: Handle, mut quitter: Quitter) -> (u64, Vec<PendingReceipt>) {
    let (mut sent, mut kept) = (0, Vec::new());
    while quitter.drops.get() < DROPS_IN_ONE_WORLD {
        let mut receipts = Vec::new();
        for _ in 0..quitter.rng.u8(1..32) {
            receipts.push(near.send_with_receipt(None, message(sent, 8)).await.expect("it is open"));
            sent += 1;
        }
        for receipt in receipts {
            if quitter.rng.u8(..10) == 0 {
                kept.push(receipt);
            } else {
                quitter.attempt(receipt).await;
            }
        }
    }
    (sent, kept)
}

/// A receipt that is dropped cancels nothing, and takes nothing from those that are kept.
#[test]
fn receipts_may_be_dropped() {
    play(|seed, drops| {
        let world = World::new(seed);
        let (near, far) = (world.socket(config()), world.socket(config()));
        let mut rng = Rng::with_seed(seed);
        let taken = Taken::default();
        // In some worlds there is nobody until all are sent, in others nobody ever, and the others have time to answer.
        let comes = seed % 10 < 2;
        if seed % 10 == 0 {
            world.join(&near, &far, "far");
        }
        world.spawn("receiver", take(far.clone(), taken.clone()));
        let quitter = Quitter::new(&mut rng, drops);
        let sending = world.spawn("sender", drop_receipts(near.clone(), quitter));
        let (sent, kept) = world.finish(&sending);
        if seed % 10 == 1 {
            world.join(&near, &far, "far");
        }
        if !comes {
            let (socket, held) = (near.clone(), near.metrics().send_held.messages);
            assert_eq!(held as u64, sent);
            let report = world.wait("close", async move { socket.close(Duration::from_secs(1)).await });
            assert_eq!(report.dropped.messages as u64, sent);
        }
        for receipt in kept {
            let told = world.wait("receipt", receipt);
            let expected = if comes { Receipt::Acknowledged { by: far.identity() } } else { Receipt::Closed };
            assert_eq!(told, expected);
        }
        world.settle();
        let metrics = near.metrics();
        if comes {
            check_taken(&taken.borrow(), &BTreeMap::from([(0, sent)]));
            check_accounts(&near, &far, sent);
            assert_eq!(metrics.acknowledged.messages as u64, sent);
        } else {
            let accounted = metrics.dropped_at_close.messages + metrics.send_held.messages;
            assert_eq!((metrics.accepted.messages as u64, accounted as u64), (sent, sent));
        }
    });
}
