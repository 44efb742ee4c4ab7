//! Reading in turn: whoever sends however much, nobody is left out, and nothing is lost by it.

use std::any::Any;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use aiomsg_driver::Handle;
use aiomsg_proto::{Config, DeliveryGuarantee, Identity};

use crate::support::{
    Pipe, Style, Timing, World, config, connection, data, frame, hello, message, number, yield_now,
};

fn request(id: u64, payload: &[u8]) -> Vec<u8> {
    let mut body = vec![4];
    body.extend_from_slice(&u128::from(id).to_be_bytes());
    body.extend_from_slice(payload);
    frame(&body)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum App {
    /// Takes messages.
    Takes,
    /// Answers each message, at most once.
    Answers,
    /// Takes messages, and has sent one with a receipt to the peer that floods, which is not acknowledged.
    Awaits,
    /// Takes messages that ask to be acknowledged.
    Acknowledges,
}

struct Outcome {
    /// Messages of a peer that floods, taken before one of another peer that came when the flood was on.
    before: usize,
    most_held: usize,
}

fn flood(seed: u64, app: App) -> Outcome {
    const FLOOD: usize = 1_000_000;
    let world = World::new(seed);
    let far = world.socket(config());
    world.listen(&far, "far");
    let raw: Vec<_> = (0..2).map(|_| world.raw("far")).collect();
    for (number, (_, wire)) in (200..).zip(&raw) {
        wire.back.set_capacity(usize::MAX);
        wire.out.inject(&[hello(number), data(&[0; 16])].concat());
    }
    world.settle();
    let peer = Identity::from_bytes([200; 16]);
    let receipt = (app == App::Awaits).then(|| {
        let far = far.clone();
        world.wait("send", async move { far.send_to_with_receipt(peer, "to be acknowledged").await })
    });
    let taken: Rc<RefCell<[usize; 2]>> = Rc::default();
    let (count, takes) = (taken.clone(), far.clone());
    world.spawn("app", async move {
        while let Ok(received) = takes.recv_from().await {
            count.borrow_mut()[usize::from(received.identity.as_bytes()[0] - 200)] += 1;
            if app == App::Answers {
                takes.send_to(received.identity, received.payload).await.expect("open");
            }
        }
    });
    world.settle();
    let [flooding, other] = [&raw[0].1.out, &raw[1].1.out];
    if app == App::Acknowledges {
        let bytes: Vec<u8> = (0..FLOOD as u64).flat_map(|id| request(id + 1, &[1; 16])).collect();
        flooding.inject(&bytes);
    } else {
        flooding.inject(&data(&[1; 16]).repeat(FLOOD));
    }
    let mut most_held = 0;
    let mut run_until = |done: &dyn Fn(&[usize; 2]) -> bool| {
        while !done(&taken.borrow()) && world.executor.step() {
            most_held = most_held.max(far.metrics().receive_held.bytes);
        }
    };
    run_until(&|taken| taken[0] > 20_000);
    // It learns that much is there.
    other.inject(&data(&[2; 16]));
    run_until(&|taken| taken[1] > 1);
    let before = taken.borrow()[0];
    other.inject(&data(&[3; 16]));
    run_until(&|taken| taken[1] > 2);
    assert_eq!(taken.borrow()[1], 3);
    let before = taken.borrow()[0] - before;
    drop(receipt);
    Outcome { before, most_held }
}

fn assert_heard_beside_a_flood(app: App) {
    for seed in 0..3 {
        let Outcome { before, most_held } = flood(seed, app);
        // What the receive buffer holds; what is read ahead is far less.
        assert!(before < 65_536, "{app:?}, seed {seed}: it waited for {before} messages of another");
        // Acknowledgements are not left waiting, so what is in front of them is read.
        let bound = if app == App::Awaits { usize::MAX } else { 3 * (96 << 10) };
        assert!(most_held < bound, "{app:?}, seed {seed}: {most_held} bytes were read ahead");
    }
}

#[test]
fn one_is_heard_beside_another_that_floods() {
    assert_heard_beside_a_flood(App::Takes);
}

#[test]
fn one_is_heard_beside_another_that_is_answered() {
    assert_heard_beside_a_flood(App::Answers);
}

#[test]
fn one_is_heard_beside_another_that_does_not_acknowledge() {
    assert_heard_beside_a_flood(App::Awaits);
}

#[test]
fn one_is_heard_beside_another_that_is_acknowledged() {
    assert_heard_beside_a_flood(App::Acknowledges);
}

/// A socket whose application takes messages, slowly, of which many are there.
struct Backlog {
    world: Rc<World>,
    far: Handle,
    _links: Vec<Box<dyn Any>>,
}

impl Backlog {
    const PEER: u8 = 200;

    fn new(config: Config) -> Self {
        let world = World::new(1);
        let far = world.socket(config);
        world.listen(&far, "far");
        let mut backlog = Self { world, far, _links: Vec::new() };
        let pipe = backlog.peer(Self::PEER);
        pipe.inject(&data(&[0; 16]));
        backlog.world.settle();
        assert!(backlog.far.try_recv().expect("open").is_some());
        pipe.inject(&data(&[1; 1_000]).repeat(60));
        backlog.world.settle();
        assert!(backlog.far.metrics().receive_held.bytes > 50_000);
        backlog
    }

    /// A peer that introduces itself at once.
    fn peer(&mut self, number: u8) -> Pipe {
        let (link, wire) = self.world.raw("far");
        self._links.push(Box::new(link));
        wire.out.inject(&hello(number));
        self.world.settle();
        wire.out
    }

    fn has(&self, number: u8) -> bool {
        self.far.peers().iter().any(|peer| peer.identity == Identity::from_bytes([number; 16]))
    }

    /// The application takes `count` messages, one every `pause`.
    fn take(&self, count: usize, pause: Duration) {
        for _ in 0..count {
            assert!(self.far.try_recv().expect("open").is_some());
            self.world.pass(pause);
        }
        self.world.settle();
    }
}

/// The application of a server takes all it needs a bit of time for; somebody connects and introduces himself at once.
#[test]
fn who_introduces_himself_at_once_is_not_too_late() {
    let mut backlog = Backlog::new(config().handshake_timeout(Duration::from_millis(500)));
    backlog.take(2, Duration::from_millis(10));
    backlog.peer(201);
    backlog.take(20, Duration::from_millis(50));
    assert!(backlog.has(201), "refused: {}", backlog.far.metrics().refused);
}

#[test]
fn who_introduces_himself_at_once_is_not_evicted() {
    let mut backlog = Backlog::new(config().max_handshakes(1));
    backlog.take(20, Duration::from_millis(60));
    backlog.peer(201);
    backlog.take(25, Duration::from_millis(50));
    assert!(backlog.has(201), "refused: {}", backlog.far.metrics().refused);
}

/// A peer sends a heartbeat as often as both ends are told to. It must not be taken for dead.
fn check_heartbeats(interval: Duration, timeout: Duration) {
    (0..20).for_each(|phase| {
        check_heartbeats_from(interval, timeout, interval * phase / 20 + Duration::from_millis(7));
    });
}

fn check_heartbeats_from(interval: Duration, timeout: Duration, phase: Duration) {
    let step = interval / 20;
    let mut backlog = Backlog::new(config().heartbeat_interval(interval).heartbeat_timeout(timeout));
    // Keeps the backlog up.
    let busy = backlog.peer(202);
    let pipe = backlog.peer(201);
    while !backlog.has(201) {
        assert!(backlog.far.try_recv().expect("open").is_some());
        busy.inject(&[0, 0, 0, 1, 2]);
        backlog.world.pass(step);
    }
    backlog.world.pass(Duration::from_nanos((phase.as_nanos() % step.as_nanos()) as u64));
    for _ in 0..phase.as_millis() / step.as_millis() {
        busy.inject(&[0, 0, 0, 1, 2]);
        pipe.inject(&[0, 0, 0, 1, 2]);
        assert!(backlog.far.try_recv().expect("open").is_some());
        backlog.world.pass(step);
    }
    for tick in 0..200 {
        assert!(backlog.far.try_recv().expect("open").is_some());
        let much = backlog.far.metrics().receive_held.bytes > 40_000;
        busy.inject(&if much { vec![0, 0, 0, 1, 2] } else { data(&[1; 1_000]).repeat(20) });
        if tick % 20 == 0 {
            pipe.inject(&[0, 0, 0, 1, 2]);
        }
        backlog.world.pass(step);
        let ticks = tick % 20 + 1;
        assert!(backlog.has(201), "taken for dead {:?} after its latest heartbeat", step * ticks);
    }
}

#[test]
fn who_sends_heartbeats_in_time_is_not_taken_for_dead() {
    check_heartbeats(Duration::from_secs(1), Duration::from_millis(1_200));
}

/// Nobody else is put off, so nobody else has it read sooner.
#[test]
fn a_heartbeat_that_is_put_off_is_noticed_in_time_however_little_that_is() {
    let [interval, timeout] = [1_000, 1_200].map(Duration::from_millis);
    let mut backlog = Backlog::new(config().heartbeat_interval(interval).heartbeat_timeout(timeout));
    let pipe = backlog.peer(201);
    backlog.world.pass(interval);
    pipe.inject(&[0, 0, 0, 1, 2]);
    backlog.take(15, Duration::from_millis(50));
    assert!(backlog.far.metrics().receive_held.bytes > 40_000, "it was put off for these");
    assert!(backlog.has(201));
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Takes all messages when it is woken, as another thread may do at this moment.
struct Meanwhile {
    handle: Handle,
    armed: AtomicBool,
}

impl Wake for Meanwhile {
    fn wake(self: Arc<Self>) {
        if self.armed.swap(false, Ordering::Relaxed) {
            let handle = self.handle.clone();
            let other = std::thread::spawn(move || while handle.try_recv().expect("open").is_some() {});
            other.join().expect("it takes all");
        }
    }
}

/// The future of a link moved to another task, which is the one to be woken from then on.
#[test]
fn a_link_that_was_put_off_wakes_the_task_that_polled_it_last() {
    let world = World::new(1);
    let far = world.socket_without_timer(config());
    let acceptor = far.listen("by hand").expect("open");
    let mut timer = far.timer_driver(world.timer(Timing::Exact));
    let meanwhile = Arc::new(Meanwhile { handle: far.clone(), armed: AtomicBool::new(false) });
    let timer_waker = Waker::from(meanwhile.clone());
    let (first, second) = (Arc::<Woken>::default(), Arc::<Woken>::default());
    let wakers = [Waker::from(first.clone()), Waker::from(second.clone())];
    let mut links: Vec<_> = (0..2)
        .map(|n| {
            let (link, peer, wire) = connection(Style::EAGER, n);
            (acceptor.accepted(link, "peer").expect("a place"), peer, wire)
        })
        .collect();
    macro_rules! poll {
        ($driver:expr, $waker:expr) => {
            assert!(Pin::new(&mut $driver).poll(&mut Context::from_waker($waker)).is_pending())
        };
    }
    for (number, (driver, _, wire)) in (200..).zip(&mut links) {
        wire.back.inject(&[hello(number), data(&[0; 16])].concat());
        poll!(*driver, &wakers[0]);
    }
    poll!(timer, &timer_waker);
    while far.try_recv().expect("open").is_some() {}
    links[0].2.back.inject(&data(&[1; 16]).repeat(1_100));
    poll!(links[0].0, &wakers[0]);
    links[1].2.back.inject(&data(&[1; 16]));
    poll!(links[1].0, &wakers[0]);
    for _ in 0..64 {
        assert!(far.try_recv().expect("open").is_some());
    }
    links[1].2.back.inject(&data(&[2; 16]));
    let (before, unread) = (second.0.load(Ordering::Relaxed), links[1].2.back.len());
    // In another task now.
    meanwhile.armed.store(true, Ordering::Relaxed);
    poll!(links[1].0, &wakers[1]);
    assert!(!meanwhile.armed.load(Ordering::Relaxed), "all was taken meanwhile");
    assert_eq!(links[1].2.back.len(), unread, "it is put off");
    for _ in 0..40 {
        world.time.advance_to(world.now() + Duration::from_millis(100));
        poll!(timer, &timer_waker);
    }
    let woken = second.0.load(Ordering::Relaxed) > before;
    assert!(woken, "unread for 4 s: its task was not woken; the task before was, {:?} times", first.0);
}

/// Some peers send at full speed, another one a message now and then. The application takes, and `answers`.
/// Returns how many others were taken before each message of the slow one.
fn beside(fast: u64, guarantee: DeliveryGuarantee, answers: bool) -> (bool, Vec<u64>) {
    let world = World::new(fast);
    let far = world.socket(config());
    world.listen(&far, "far");
    let senders: Vec<Handle> = (0..=fast).map(|_| world.socket(config().delivery(guarantee))).collect();
    senders.iter().for_each(|socket| world.dial(socket, "far"));
    let everybody = far.clone();
    world.wait("join", async move { everybody.wait_for_peers(fast as usize + 1).await.expect("open") });
    let taken: Rc<RefCell<(u64, u64)>> = Rc::default();
    for socket in &senders {
        let socket = socket.clone();
        world.spawn("hears", async move { while socket.recv().await.is_ok() {} });
    }
    for socket in &senders[1..] {
        let socket = socket.clone();
        world.spawn("fast", async move {
            loop {
                socket.send(message(1, 16)).await.expect("open");
            }
        });
    }
    let (slow, count) = (senders[0].clone(), taken.clone());
    let waits: Rc<RefCell<Vec<u64>>> = Rc::default();
    let told = waits.clone();
    let slow = world.spawn("slow", async move {
        for n in 1..20 {
            let before = count.borrow().0;
            slow.send(message(2, 16)).await.expect("open");
            while count.borrow().1 < n {
                yield_now().await;
            }
            told.borrow_mut().push(count.borrow().0 - before);
        }
    });
    let count = taken.clone();
    world.spawn("app", async move {
        while let Ok(received) = far.recv_from().await {
            let slow = number(&received.payload) == 2;
            if slow {
                count.borrow_mut().1 += 1;
            } else {
                count.borrow_mut().0 += 1;
            }
            if answers {
                far.send_to(received.identity, received.payload).await.expect("open");
            }
        }
    });
    while !slow.is_done() && taken.borrow().0 < 1_000_000 {
        assert!(world.executor.step());
    }
    (slow.is_done(), waits.take())
}

fn check_beside(guarantee: DeliveryGuarantee, answers: bool) {
    let all: Vec<_> = [1, 2, 4].into_iter().map(|fast| (fast, beside(fast, guarantee, answers))).collect();
    for (fast, (done, waits)) in all {
        assert!(done, "{fast} fast: {} messages of the slow one beside a million: {waits:?}", waits.len());
        assert!(waits.iter().all(|wait| *wait < 65_536), "{fast} fast: {waits:?}");
    }
}

#[test]
fn a_slow_one_is_heard_beside_fast_ones() {
    check_beside(DeliveryGuarantee::AtMostOnce, false);
}

#[test]
fn a_slow_one_is_heard_beside_fast_ones_that_are_answered() {
    check_beside(DeliveryGuarantee::AtMostOnce, true);
}

#[test]
fn a_slow_one_is_heard_beside_fast_ones_at_least_once() {
    check_beside(DeliveryGuarantee::AtLeastOnce, false);
}

/// A peer reads when what it has written is read, as a program does that writes and reads in turns. It is put off when the
/// socket closes; what comes is dropped then, so nothing is to be waited for.
#[test]
fn closing_reads_on_where_that_was_put_off() {
    for rest in [0, 3] {
        let world = World::new(1);
        let far = world.socket(config());
        world.listen(&far, "far");
        let (_link, wire) = world.raw("far");
        let take = |count| (0..count).for_each(|_| assert!(far.try_recv().expect("open").is_some()));
        wire.out.inject(&[hello(200), data(&[0; 16])].concat());
        world.settle();
        take(1);
        wire.back.set_capacity(0);
        for n in 0..1_000 {
            far.try_send_to(Identity::from_bytes([200; 16]), message(n, 1_000)).expect("room");
        }
        wire.out.inject(&data(&[1; 16]).repeat(2_000));
        world.settle();
        wire.out.inject(&data(&[1; 16]));
        world.settle();
        take(64 + rest);
        wire.out.inject(&data(&[1; 16]).repeat(20_000));
        world.settle();
        assert!(wire.out.len() > 400_000, "it is put off");
        take(64);
        let closing = far.clone();
        let close =
            world.spawn("close", async move { closing.close_within(Duration::from_millis(500)).await });
        for _ in 0..100 {
            world.settle();
            if wire.out.len() == 0 {
                wire.back.set_capacity(2 << 20);
            }
            world.pass(Duration::from_millis(10));
        }
        wire.out.end();
        let report = world.finish(&close);
        assert_eq!((report.handed_over.messages, report.dropped.messages), (1_000, 0), "{rest} not settled");
    }
}
