//! No wake-up is lost, in whatever order threads go on. `RUSTFLAGS='--cfg shuttle' cargo test -p aiomsg-driver --test
//! interleavings` plays each scene many times, each time with another order at every lock; who waits for a wake-up that
//! never comes is reported as a deadlock. Time stands still, so that no timer makes good what was lost.
#![cfg(shuttle)]

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aiomsg_driver::{
    Bytes, Clock, Config, Handle, Identity, Limit, Link, Listener, Receipt, Runtime, SendMode, SlowPeer,
    Socket, Timer,
};
use aiomsg_proto::Instant;
use bytes::BytesMut;
use futures_core::Stream;
use shuttle::future::{JoinHandle, block_on, spawn, yield_now};

/// How often each scene is played.
const TIMES: usize = 3_000;

#[derive(Debug)]
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Instant {
        Instant::EPOCH
    }
}

impl Timer for Stopped {
    fn poll_until(&mut self, _: &mut Context<'_>, _: Instant) -> Poll<()> {
        Poll::Pending
    }
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct State {
    bytes: VecDeque<u8>,
    ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Clone, Debug, Default)]
struct Pipe(Arc<Mutex<State>>);

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

/// As little as fits in, so that links wait for each other.
const CAPACITY: usize = 40;

#[derive(Debug)]
struct End {
    reads: Pipe,
    writes: Pipe,
}

impl Link for End {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut state = self.reads.lock();
        if state.bytes.is_empty() && !state.ended {
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = state.bytes.len().min(buffer.capacity() - buffer.len());
        buffer.extend(state.bytes.drain(..count));
        let writer = state.writer.take();
        drop(state);
        writer.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(count))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut state = self.writes.lock();
        let room = CAPACITY - state.bytes.len();
        if room == 0 {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter()).copied().take(room).collect();
        state.bytes.extend(&bytes);
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writes.end();
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.writes.end();
        self.reads.end();
    }
}

/// Two sockets with a connection between them, and the tasks that serve them.
struct Pair {
    left: Handle,
    right: Handle,
    tasks: Vec<JoinHandle<()>>,
}

impl Pair {
    fn new(config: &Config) -> Self {
        let socket = |number: u8| {
            let identity = Identity::from_bytes([number; 16]);
            let core = aiomsg_proto::Socket::new(config.clone(), identity, number.into(), Instant::EPOCH);
            Handle::new(core.expect("the configuration is valid"), Stopped)
        };
        let (left, right) = (socket(1), socket(2));
        let mut tasks = vec![spawn(left.timer_driver(Stopped)), spawn(right.timer_driver(Stopped))];
        let (there, back) = (Pipe::default(), Pipe::default());
        let accepted = End { reads: there.clone(), writes: back.clone() };
        let acceptor = right.listen("here").expect("open");
        tasks.push(spawn(acceptor.accepted(accepted, "there").expect("wanted")));
        let (_, dialer) = left.dial("here").expect("open");
        tasks.push(spawn(async move {
            let mut link = Some(End { reads: back, writes: there });
            while dialer.attempt().await.is_some() {
                match link.take().and_then(|link| dialer.connected(link, "here")) {
                    Some(driver) => end(spawn(driver)).await,
                    None => dialer.failed(&io::ErrorKind::ConnectionRefused.into()),
                }
            }
        }));
        Self { left, right, tasks }
    }

    /// Closes both, and waits until nothing is left running.
    async fn close(self) {
        let Self { left, right, tasks } = self;
        left.close().await;
        right.close().await;
        for task in tasks {
            end(task).await;
        }
    }
}

/// A runtime whose connections are served together. It has one address where it listens.
#[derive(Clone, Debug, Default)]
struct Together(Arc<Mutex<Door>>);

#[derive(Debug, Default)]
struct Door {
    came: VecDeque<End>,
    waiting: Option<Waker>,
    tasks: Vec<JoinHandle<()>>,
}

const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
const ELSEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2);

impl Together {
    fn lock(&self) -> MutexGuard<'_, Door> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for Together {
    fn now(&self) -> Instant {
        Instant::EPOCH
    }
}

impl Runtime for Together {
    type Link = End;
    type Listener = Self;
    type Timer = Stopped;

    fn current() -> Option<Self> {
        None
    }

    fn id(&self) -> Option<u64> {
        Some(1)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = spawn(task);
        self.lock().tasks.push(task);
    }

    fn timer(&self) -> Stopped {
        Stopped
    }

    async fn resolve(&self, _: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(vec![ADDRESS])
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<(End, SocketAddr)> {
        assert_eq!(address, ADDRESS);
        let (there, back) = (Pipe::default(), Pipe::default());
        let mut door = self.lock();
        door.came.push_back(End { reads: there.clone(), writes: back.clone() });
        let waiting = door.waiting.take();
        drop(door);
        waiting.into_iter().for_each(Waker::wake);
        Ok((End { reads: back, writes: there }, ELSEWHERE))
    }

    fn listen(&self, _: SocketAddr) -> io::Result<Self> {
        Ok(self.clone())
    }
}

impl Listener for Together {
    type Link = End;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(End, SocketAddr)>> {
        let mut door = self.lock();
        let Some(link) = door.came.pop_front() else {
            door.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        };
        Poll::Ready(Ok((link, ELSEWHERE)))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(ADDRESS)
    }
}

/// One message at a time, wherever there is a choice.
fn narrow() -> Config {
    let one = Limit::new(1, 1_000);
    Config::default().send_buffer(one).receive_buffer(one).peer_queue(one).prefetch(one)
}

fn play(scene: fn()) {
    shuttle::check_random(scene, TIMES);
    shuttle::check_pct(scene, TIMES, 3);
}

fn sends(socket: &Handle, payloads: &'static [&'static str]) -> JoinHandle<()> {
    let socket = socket.clone();
    spawn(async move {
        for payload in payloads {
            socket.send(*payload).await.expect("open");
        }
    })
}

fn takes(socket: &Handle, count: usize) -> JoinHandle<Vec<Bytes>> {
    let socket = socket.clone();
    spawn(async move {
        let mut taken = Vec::new();
        for _ in 0..count {
            taken.push(socket.recv().await.expect("open"));
        }
        taken
    })
}

/// What a task comes to that must not panic.
async fn end<T>(task: JoinHandle<T>) -> T {
    task.await.expect("no panic")
}

fn sorted(mut messages: Vec<Bytes>) -> Vec<Bytes> {
    messages.sort();
    messages
}

#[test]
fn senders_and_receivers_get_on() {
    play(|| {
        block_on(async {
            let pair = Pair::new(&narrow());
            let (left, right) = (pair.left.clone(), pair.right.clone());
            let senders = [sends(&left, &["a", "b", "c"]), sends(&left, &["d", "e"])];
            let receivers = [takes(&right, 2), takes(&right, 3)];
            for sender in senders {
                end(sender).await;
            }
            let mut taken = Vec::new();
            for receiver in receivers {
                taken.extend(end(receiver).await);
            }
            assert_eq!(sorted(taken), ["a", "b", "c", "d", "e"]);
            pair.close().await;
        });
    });
}

#[test]
fn connections_that_are_served_together_all_get_their_messages() {
    play(|| {
        block_on(async {
            let runtime = Together::default();
            let socket = || {
                let builder = Socket::builder().runtime(runtime.clone()).send_mode(SendMode::Publish);
                builder.prefetch(Limit::new(1, 1_000)).slow_peer(SlowPeer::Block(Duration::from_secs(1)))
            };
            let server = socket().build().expect("valid settings");
            server.bind(ADDRESS).await.expect("free");
            let clients = [socket(), socket()].map(|client| client.build().expect("valid settings"));
            for client in &clients {
                client.connect(ADDRESS).expect("an address");
            }
            server.wait_for_peers(2).await.expect("open");
            let sending = {
                let server = server.clone();
                spawn(async move {
                    for payload in ["a", "b", "c"] {
                        server.send(payload).await.expect("open");
                    }
                })
            };
            for client in &clients {
                for payload in ["a", "b", "c"] {
                    assert_eq!(client.recv().await.expect("open"), payload);
                }
            }
            end(sending).await;
            for client in clients {
                client.close().await;
            }
            server.close().await;
            let tasks = core::mem::take(&mut runtime.lock().tasks);
            for task in tasks {
                end(task).await;
            }
        });
    });
}

/// Each message is so long that reading is put off until it has been taken.
#[test]
fn peers_that_are_put_off_all_have_their_turn() {
    const PAYLOADS: [&str; 3] = ["aaaa", "bbbb", "cccc"];
    play(|| {
        block_on(async {
            let runtime = Together::default();
            let socket = || Socket::builder().runtime(runtime.clone()).build().expect("valid settings");
            let server = socket();
            server.bind(ADDRESS).await.expect("free");
            let clients = [socket(), socket(), socket()];
            let sending = clients.clone().map(|client| {
                client.connect(ADDRESS).expect("an address");
                spawn(async move {
                    for payload in PAYLOADS {
                        client.send(payload).await.expect("open");
                    }
                })
            });
            let mut taken = Vec::new();
            for _ in 0..clients.len() * PAYLOADS.len() {
                taken.push(server.recv().await.expect("open"));
            }
            assert_eq!(sorted(taken), PAYLOADS.map(|payload| [payload; 3]).concat());
            for task in sending {
                end(task).await;
            }
            for socket in clients.into_iter().chain([server]) {
                socket.close().await;
            }
            let tasks = core::mem::take(&mut runtime.lock().tasks);
            for task in tasks {
                end(task).await;
            }
        });
    });
}

#[test]
fn both_directions_flow_at_once() {
    play(|| {
        block_on(async {
            let pair = Pair::new(&narrow());
            let (left, right) = (pair.left.clone(), pair.right.clone());
            let there = (sends(&left, &["a", "b", "c"]), takes(&right, 3));
            let back = (sends(&right, &["d", "e", "f"]), takes(&left, 3));
            for (sender, receiver) in [there, back] {
                end(sender).await;
                assert_eq!(end(receiver).await.len(), 3);
            }
            pair.close().await;
        });
    });
}

#[test]
fn what_comes_at_once_goes_to_all_who_wait() {
    play(|| {
        block_on(async {
            let pair = Pair::new(&Config::default());
            let (left, right) = (pair.left.clone(), pair.right.clone());
            let receivers = [takes(&right, 1), takes(&right, 1), takes(&right, 1)];
            let mut messages = right.messages();
            let streams = spawn(async move {
                let next = poll_fn(|cx| Pin::new(&mut messages).poll_next(cx)).await;
                next.expect("open")
            });
            end(sends(&left, &["a", "b", "c", "d"])).await;
            let mut taken = vec![end(streams).await];
            for receiver in receivers {
                taken.extend(end(receiver).await);
            }
            assert_eq!(sorted(taken), ["a", "b", "c", "d"]);
            pair.close().await;
        });
    });
}

#[test]
fn who_gives_up_receiving_leaves_the_message_to_another() {
    play(|| {
        block_on(async {
            let pair = Pair::new(&narrow());
            let (left, right) = (pair.left.clone(), pair.right.clone());
            let stays = takes(&right, 1);
            let gives_up = spawn(async move {
                let mut recv = pin!(right.recv());
                let polled = poll_fn(|cx| Poll::Ready(recv.as_mut().poll(cx))).await;
                yield_now().await;
                polled.is_ready()
            });
            end(sends(&left, &["a", "b"])).await;
            if !end(gives_up).await {
                assert_eq!(end(stays).await, ["a"]);
            } else {
                assert_eq!(end(stays).await.len(), 1);
            }
            pair.close().await;
        });
    });
}

#[test]
fn who_gives_up_sending_leaves_the_room_to_another() {
    play(|| {
        block_on(async {
            let pair = Pair::new(&narrow());
            let (left, right) = (pair.left.clone(), pair.right.clone());
            let other = left.clone();
            let gives_up = spawn(async move {
                let mut send = pin!(other.send("x"));
                drop(poll_fn(|cx| Poll::Ready(send.as_mut().poll(cx))).await);
                yield_now().await;
            });
            let sender = sends(&left, &["a", "b", "c"]);
            let receiver = spawn(async move {
                let mut wanted = vec!["c", "b", "a"];
                while let Some(next) = wanted.pop() {
                    while right.recv().await.expect("open") != next {}
                }
            });
            end(gives_up).await;
            end(sender).await;
            end(receiver).await;
            pair.close().await;
        });
    });
}

#[test]
fn a_receipt_comes_to_who_waits_for_it() {
    play(|| {
        block_on(async {
            let pair = Pair::new(&narrow());
            let (left, right) = (pair.left.clone(), pair.right.clone());
            let receiver = takes(&right, 2);
            let waits = spawn(async move {
                let first = left.send_with_receipt("a").await.expect("open").await;
                let second = left.send_with_receipt("b").await.expect("open").await;
                (first, second)
            });
            assert_eq!(end(receiver).await, ["a", "b"]);
            // What was taken is acknowledged when the application comes back, or when the timer says so.
            drop(right.try_recv());
            let by = Receipt::Acknowledged { by: right.identity() };
            assert_eq!(end(waits).await, (by, by));
            pair.close().await;
        });
    });
}

#[test]
fn closing_is_seen_by_all_who_wait() {
    play(|| {
        block_on(async {
            let pair = Pair::new(&narrow());
            let (left, right) = (pair.left.clone(), pair.right.clone());
            let waits = [right.clone(), right.clone()].map(|socket| {
                spawn(async move {
                    while socket.recv().await.is_ok() {}
                    assert!(socket.wait_for_peers(9).await.is_err());
                })
            });
            let mut events = right.events();
            let watches = spawn(async move { while events.recv().await.is_some() {} });
            end(sends(&left, &["a"])).await;
            pair.close().await;
            for task in waits {
                end(task).await;
            }
            end(watches).await;
        });
    });
}
