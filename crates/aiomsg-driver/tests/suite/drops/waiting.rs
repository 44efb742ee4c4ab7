//! Waiting for something that happens to a socket: it happens without those who gave up, and the others are told.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aiomsg_driver::{Dialer, Gate, Handle};
use aiomsg_proto::{CloseReport, DeliveryGuarantee, Limit};
use fastrand::Rng;

use super::{DROPS, DROPS_IN_ONE_WORLD, Drops, Quitter, check_accounts, play};
use crate::support::{Task, World, config, message, number};

/// Attempts of one task before time goes on.
const BOUT: u64 = 250;

/// Messages that go over a connection meanwhile.
async fn exchange(near: Handle, far: Handle, sent: u64) {
    near.send(message(sent, 8)).await.expect("it is open");
    assert_eq!(number(&far.recv().await.expect("it is open").payload), sent);
}

async fn wait_impatiently(socket: Handle, count: usize, mut quitter: Quitter) {
    for _ in 0..BOUT {
        if quitter.attempt(socket.wait_for_peers(count)).await.is_some() {
            assert!(socket.peers().len() >= count, "they are there");
        }
        quitter.rest(4).await;
    }
}

#[test]
fn waits_for_peers_may_be_dropped() {
    play(|seed, drops| {
        let world = World::new(seed);
        let alo = config().delivery(DeliveryGuarantee::AtLeastOnce);
        let (near, far) = world.pair(alo.clone(), alo);
        let mut rng = Rng::with_seed(seed);
        let mut sent = 0;
        while drops.get() < DROPS_IN_ONE_WORLD {
            world.executor.abort_all("link");
            world.settle();
            let patient: Vec<Task<_>> = [&near, &far]
                .map(|socket| (*socket).clone())
                .map(|socket| world.spawn("patient", async move { socket.wait_for_peers(1).await }))
                .into();
            for count in 1..=2 {
                let quitter = Quitter::new(&mut rng, drops);
                world.spawn("impatient", wait_impatiently(near.clone(), count, quitter));
            }
            world.settle();
            // They go on waiting while the connection is made.
            let quitter = Quitter::new(&mut rng, drops);
            world.spawn("impatient", wait_impatiently(near.clone(), 1, quitter));
            world.time.advance_to(world.time.next().expect("a dial is to be tried again"));
            for task in &patient {
                world.finish(task).expect("it is open");
            }
            world.wait("exchange", exchange(near.clone(), far.clone(), sent));
            sent += 1;
        }
        world.pass(Duration::from_secs(1));
        check_accounts(&near, &far, sent);
    });
}

async fn close_impatiently(socket: Handle, linger: Duration, mut quitter: Quitter) {
    for _ in 0..BOUT / 2 {
        quitter.attempt(socket.close(linger)).await;
        quitter.rest(4).await;
    }
}

/// Closes a socket again and again. Returns the report, which everybody gets who waits.
fn close(world: &Rc<World>, near: &Handle, rng: &mut Rng, drops: &Drops) -> CloseReport {
    let linger = Duration::from_millis(rng.u64(..3_000));
    // A future that was not polled starts nothing.
    drop(near.close(linger));
    assert!(near.try_send(message(0, 100)).is_ok());
    let mut patient: Vec<Task<CloseReport>> = Vec::new();
    while patient.first().is_none_or(|task| !task.is_done()) {
        let quitter = Quitter::new(rng, drops);
        world.spawn("impatient", close_impatiently(near.clone(), linger, quitter));
        world.settle();
        if patient.is_empty() || rng.u8(..10) == 0 {
            let socket = near.clone();
            patient.push(world.spawn("patient", async move { socket.close(Duration::MAX).await }));
        }
        world.pass(Duration::from_millis(rng.u64(..200)));
    }
    let mut reports: Vec<CloseReport> = patient.iter().map(|task| world.finish(task)).collect();
    reports.dedup();
    assert_eq!(reports.len(), 1, "all are told the same");
    reports[0]
}

#[test]
fn closes_may_be_dropped() {
    play(|seed, drops| {
        let world = World::new(seed);
        let mut rng = Rng::with_seed(seed);
        let delivery =
            *rng.choice([DeliveryGuarantee::AtMostOnce, DeliveryGuarantee::AtLeastOnce].iter()).expect("two");
        let (near, far) = world.pair(
            config().delivery(delivery),
            // It takes some of them.
            config().receive_buffer(Limit::new(rng.usize(1..60), 1 << 20)),
        );
        world.wire(0).out.set_capacity(rng.usize(..5_000));
        for n in 1..50 {
            assert!(near.try_send(message(n, 100)).is_ok());
        }
        let report = close(&world, &near, &mut rng, drops);
        world.settle();
        let mut taken = 0;
        while let Ok(Some(_)) = far.try_recv() {
            taken += 1;
            // Reading goes on when there is room.
            world.settle();
        }
        let metrics = near.metrics();
        assert_eq!((metrics.accepted.messages, metrics.send_held.messages), (50, 0));
        let handed_over = metrics.handed_over.messages + metrics.acknowledged.messages;
        assert_eq!(handed_over + report.dropped.messages, 50);
        assert_eq!(report.dropped, metrics.dropped_at_close);
        match delivery {
            DeliveryGuarantee::AtMostOnce => assert_eq!(taken, handed_over, "{metrics:?}"),
            // It may have come without having been acknowledged in time.
            _ => assert!(taken >= handed_over, "{metrics:?}"),
        }
    });
}

async fn unlisten_impatiently(socket: Handle, mut quitter: Quitter) {
    for _ in 0..BOUT {
        let stopped = quitter.attempt(socket.unlisten("held")).await;
        assert!(stopped.is_none(), "somebody listens there");
        quitter.rest(4).await;
    }
}

#[test]
fn unlistens_may_be_dropped() {
    play(|seed, drops| {
        let world = World::new(seed);
        let (near, far) = world.pair(config(), config());
        let mut rng = Rng::with_seed(seed);
        let acceptor = far.listen("held").expect("it is open");
        let gate = || acceptor.poll_gate(&Context::from_waker(Waker::noop()));
        drop(far.unlisten("held"));
        assert_eq!(gate(), Poll::Ready(Gate::Open), "a future that was not polled does nothing");
        let mut sent = 0;
        while drops.get() < DROPS_IN_ONE_WORLD {
            let quitter = Quitter::new(&mut rng, drops);
            world.spawn("impatient", unlisten_impatiently(far.clone(), quitter));
            world.wait("exchange", exchange(near.clone(), far.clone(), sent));
            sent += 1;
            world.settle();
            assert_eq!(gate(), Poll::Ready(Gate::Shut), "once polled, it is done");
        }
        let socket = far.clone();
        let patient = world.spawn("patient", async move { socket.unlisten("held").await });
        world.settle();
        assert!(!patient.is_done(), "somebody listens there");
        drop(acceptor);
        assert!(!world.finish(&patient), "it was done before");
        assert_eq!(far.peers().len(), 1, "connections that are up stay");
        check_accounts(&near, &far, sent);
    });
}

/// Waits for attempts that are due, all of which fail, and counts them.
async fn dial_impatiently(dialer: Rc<Dialer>, tried: Rc<Cell<u64>>, mut quitter: Quitter) {
    for _ in 0..BOUT {
        if let Some(address) = quitter.attempt(dialer.attempt()).await {
            assert_eq!(address.as_deref(), Some("nowhere"));
            tried.set(tried.get() + 1);
            dialer.failed(&io::ErrorKind::ConnectionRefused.into());
        }
        quitter.rest(4).await;
    }
}

#[test]
fn waits_for_an_attempt_to_connect_may_be_dropped() {
    let (drops, tried) = (Drops::default(), Rc::new(Cell::new(0)));
    let world = World::new(1);
    let mut rng = Rng::with_seed(1);
    let socket = world.socket(config());
    let (_, dialer) = socket.dial("nowhere").expect("it is open");
    let dialer = Rc::new(dialer);
    socket.try_send(message(1, 8)).expect("there is room");
    while drops.get() < DROPS {
        let quitter = Quitter::new(&mut rng, &drops);
        world.spawn("impatient", dial_impatiently(dialer.clone(), tried.clone(), quitter));
        // The first attempt is due at once.
        if let Some(next) = world.time.next() {
            world.time.advance_to(next);
        }
        world.settle();
    }
    // Who is waiting is woken, though others were here before.
    let patient = world.spawn("patient", async move { dialer.attempt().await });
    assert_eq!(world.finish(&patient).as_deref(), Some("nowhere"));
    let metrics = socket.metrics();
    assert!(tried.get() > DROPS / BOUT / 2, "{}", tried.get());
    assert_eq!(metrics.dial_attempts, tried.get() + 1, "each attempt was made once");
    assert_eq!((metrics.accepted.messages, metrics.send_held.messages), (1, 1));
}
