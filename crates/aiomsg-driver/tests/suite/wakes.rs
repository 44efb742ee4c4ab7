//! Who is woken: everybody who must be, and nobody else.

use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use aiomsg_driver::Handle;
use aiomsg_proto::{DeliveryGuarantee, Limit};
use futures_core::Stream;

use crate::support::{Style, Task, World, config, connection, message, number};

fn receive(world: &World, to: &Handle) -> Task<u64> {
    let to = to.clone();
    world.spawn("receiver", async move { number(&to.recv_from().await.expect("open").payload) })
}

/// Runs until a message has arrived, and no further.
fn run_until_arrival(world: &World, far: &Handle) {
    while far.metrics().receive_held.messages == 0 {
        assert!(world.executor.step(), "the message arrives");
    }
}

#[test]
fn a_wake_up_is_passed_on_when_the_woken_receiver_is_dropped() {
    for seed in 0..50 {
        let world = World::new(seed);
        let (near, far) = world.pair(config(), config());
        let mut waiting: Vec<_> = (0..5).map(|_| receive(&world, &far)).collect();
        world.settle();
        near.try_send(message(1, 8)).expect("room");
        run_until_arrival(&world, &far);
        let survivor = waiting.pop().expect("five of them");
        for task in &waiting {
            task.abort();
        }
        world.settle();
        assert_eq!(survivor.take(), Some(1), "seed {seed}");
    }
}

#[test]
fn as_many_receivers_as_messages_are_served() {
    for seed in 0..50 {
        let world = World::new(seed);
        let (near, far) = world.pair(config(), config());
        let waiting: Vec<_> = (0..10).map(|_| receive(&world, &far)).collect();
        world.settle();
        for n in 0..10 {
            near.try_send(message(n, 8)).expect("room");
        }
        world.settle();
        let mut received: Vec<u64> = waiting.iter().filter_map(Task::take).collect();
        received.sort_unstable();
        assert!(received.into_iter().eq(0..10), "seed {seed}");
    }
}

/// One takes what another was woken for.
#[test]
fn a_receiver_that_comes_in_between_leaves_nobody_behind() {
    for seed in 0..50 {
        let world = World::new(seed);
        let (near, far) = world.pair(config(), config());
        let waiting: Vec<_> = (0..3).map(|_| receive(&world, &far)).collect();
        world.settle();
        for n in 0..3 {
            near.try_send(message(n, 8)).expect("room");
        }
        run_until_arrival(&world, &far);
        assert!(far.try_recv().expect("open").is_some());
        near.try_send(message(3, 8)).expect("room");
        world.settle();
        assert!(waiting.iter().all(Task::is_done), "seed {seed}");
    }
}

/// A stream stays where it is between two polls, so a wake-up that went to it must not be the only one.
#[test]
fn a_stream_that_is_not_polled_keeps_nothing_from_others() {
    let world = World::new(1);
    let (near, far) = world.pair(config(), config());
    let mut stream = far.messages();
    world.spawn("busy elsewhere", async move {
        poll_fn(|cx| {
            assert!(Pin::new(&mut stream).poll_next(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        pending::<()>().await;
        drop(stream);
    });
    world.settle();
    let waiting = receive(&world, &far);
    world.settle();
    near.try_send(message(1, 8)).expect("room");
    world.settle();
    assert_eq!(waiting.take(), Some(1));
}

/// Streams and single receivers share the messages.
#[test]
fn streams_take_what_nobody_else_does() {
    for seed in 0..20 {
        let world = World::new(seed);
        let (near, far) = world.pair(config(), config());
        let taken: Rc<RefCell<Vec<u64>>> = Rc::default();
        for _ in 0..2 {
            let (mut stream, taken) = (far.messages_from(), taken.clone());
            world.spawn("stream", async move {
                while let Some(received) = poll_fn(|cx| Pin::new(&mut stream).poll_next(cx)).await {
                    taken.borrow_mut().push(number(&received.payload));
                }
            });
        }
        let waiting = receive(&world, &far);
        world.settle();
        for n in 0..20 {
            near.try_send(message(n, 8)).expect("room");
            if n % 3 == 0 {
                world.settle();
            }
        }
        world.settle();
        let mut all = taken.take();
        all.extend(waiting.take());
        all.sort_unstable();
        assert!(all.into_iter().eq(0..20), "seed {seed}");
    }
}

/// Its sender must not have to wait until the application asks for the next one.
#[test]
fn a_message_that_is_taken_is_acknowledged_at_once() {
    for count in [1, 3, 64, 65] {
        let world = World::new(1);
        let (near, far) = world.pair(config().delivery(DeliveryGuarantee::AtLeastOnce), config());
        for n in 0..count {
            near.try_send(message(n, 8)).expect("room");
        }
        let taker = far.clone();
        world.wait("receiver", async move {
            for _ in 0..count {
                taker.recv_from().await.expect("open");
            }
        });
        world.settle();
        assert_eq!(near.metrics().acknowledged.messages as u64, count);
    }
}

/// Calls a socket from inside `wake`, in another thread, and waits for it.
struct CallBack {
    handle: Handle,
    answered: AtomicUsize,
}

impl Wake for CallBack {
    fn wake(self: Arc<Self>) {
        let (answer, answers) = mpsc::channel();
        let handle = self.handle.clone();
        std::thread::spawn(move || answer.send(handle.try_recv().is_ok()));
        let answered = answers.recv_timeout(Duration::from_secs(10)).is_ok();
        self.answered.fetch_add(usize::from(answered), Ordering::Relaxed);
    }
}

/// No lock is held while somebody is woken.
#[test]
fn a_socket_may_be_used_while_it_wakes_somebody() {
    let world = World::new(1);
    let far = world.socket(config().receive_buffer(Limit::new(4, 1 << 20)));
    world.listen(&far, "far");
    let (link, _peer, wire) = connection(Style::EAGER, 1);
    let acceptor = far.listen("by hand").expect("open");
    let mut driver = acceptor.accepted(link, "peer").expect("a place");
    let call_back = Arc::new(CallBack { handle: far.clone(), answered: AtomicUsize::new(0) });
    let waker = Waker::from(call_back.clone());
    let mut poll = || assert!(Pin::new(&mut driver).poll(&mut Context::from_waker(&waker)).is_pending());
    wire.back.inject(&[&[0, 0, 0, 18, 1, 1][..], &[9; 16]].concat());
    for _ in 0..10 {
        wire.back.inject(&[0, 0, 0, 2, 3, 7]);
    }
    poll();
    let before = call_back.answered.load(Ordering::Relaxed);
    while far.try_recv().expect("open").is_some() {}
    assert_eq!(call_back.answered.load(Ordering::Relaxed), before + 1, "the link may be read again");
}

#[test]
fn an_idle_connection_costs_a_few_polls_per_heartbeat() {
    let world = World::new(1);
    let (near, far) = world.pair(config(), config());
    world.settle();
    // The timers were set to look at the introductions, which are over.
    world.pass(Duration::from_millis(1_100));
    let (polls, self_wakes) = (world.executor.all_polls(), world.executor.self_wakes());
    world.pass(Duration::from_millis(3_800));
    assert_eq!(world.executor.all_polls(), polls, "nobody is woken before something is due");
    world.pass(Duration::from_millis(60_000 - 4_900));
    // Twelve heartbeats each way: a timer, who writes, who reads, and the timer again for the next one.
    let spent = world.executor.all_polls() - polls;
    assert!(spent <= 12 * 2 * 4, "{spent} polls");
    assert_eq!(world.executor.self_wakes(), self_wakes, "nobody wakes himself");
    assert_eq!((near.peers().len(), far.peers().len()), (1, 1));
}

#[test]
fn a_round_trip_costs_few_polls_and_nobody_wakes_himself() {
    let world = World::new(1);
    let (near, far) = world.pair(config(), config());
    world.spawn("echo", async move {
        while let Ok(received) = far.recv_from().await {
            far.send(received.payload).await.expect("open");
        }
    });
    world.settle();
    assert_eq!(world.executor.self_wakes(), 0, "the handshake is over");
    let polls = world.executor.all_polls();
    world.wait("ping", async move {
        for n in 0..100 {
            near.send(message(n, 8)).await.expect("open");
            assert_eq!(number(&near.recv_from().await.expect("open").payload), n);
        }
    });
    assert_eq!(world.executor.self_wakes(), 0);
    // Who writes, who reads, who answers, who writes, who reads, who asks.
    let spent = world.executor.all_polls() - polls;
    assert!(spent <= 100 * 6 + 10, "{spent} polls");
}

/// A link that has been paused because nobody took messages goes on when somebody does.
#[test]
fn a_paused_link_is_woken_once_when_there_is_room() {
    let world = World::new(2);
    world.style.set(Style { capacity: 4_096, ..Style::EAGER });
    let (near, far) = world.pair(config(), config().receive_buffer(Limit::new(100, 1 << 20)));
    for n in 0..1_000 {
        near.try_send(message(n, 8)).expect("room");
    }
    world.settle();
    let polls = world.executor.polls("link");
    world.wait("receiver", async move {
        for n in 0..1_000 {
            assert_eq!(number(&far.recv_from().await.expect("open").payload), n);
        }
    });
    let spent = world.executor.polls("link") - polls;
    assert!(spent < 100, "{spent} polls of links for ten buffers full");
}

/// Whoever finds a message each time must not keep others from running.
#[test]
fn a_loop_that_only_receives_lets_others_run() {
    let world = World::new(3);
    let (near, far) = world.pair(config(), config());
    for n in 0..20_000 {
        near.try_send(message(n, 8)).expect("room");
    }
    world.settle();
    assert_eq!(far.metrics().receive_held.messages, 20_000);
    let receiving = world.spawn("receiver", async move {
        for n in 0..20_000 {
            assert_eq!(number(&far.recv_from().await.expect("open").payload), n);
        }
    });
    world.finish(&receiving);
    let polls = world.executor.polls("receiver");
    assert!((10..100).contains(&polls), "{polls} polls for 20,000 messages");
}
