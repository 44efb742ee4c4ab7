//! Sockets that reach each other by name.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use aiomsg_driver::{Acceptor, Clock, Dialer, Gate, Handle};
use aiomsg_proto::{Config, Identity, Instant, Socket};
use bytes::Bytes;
use fastrand::Rng;

use super::executor::{Executor, Task};
use super::link::{Style, TestLink, Wire, connection};
use super::time::{TestTimer, Time, Timing};

/// Polls in a row without time passing, at most; more is a loop.
const TOO_MANY_POLLS: u64 = 20_000_000;

/// The longest that a test waits for anything, in virtual time.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Sockets, the connections between them, the tasks that serve them, and time.
pub(crate) struct World {
    pub(crate) executor: Rc<Executor>,
    pub(crate) time: Time,
    pub(crate) style: Cell<Style>,
    listeners: RefCell<BTreeMap<String, Rc<Acceptor>>>,
    wires: RefCell<Vec<Wire>>,
    sockets: Cell<u8>,
    pub(crate) rng: RefCell<Rng>,
}

/// The defaults, to be changed by tests.
pub(crate) fn config() -> Config {
    Config::default()
}

/// A message that shows its number, padded to `length` bytes.
pub(crate) fn message(number: u64, length: usize) -> Bytes {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(length.max(8), number as u8);
    payload.into()
}

/// The number that a message shows. Checks that it is whole.
pub(crate) fn number(payload: &[u8]) -> u64 {
    let (head, padding) = payload.split_first_chunk().expect("all messages have a number");
    let number = u64::from_be_bytes(*head);
    assert!(padding.iter().all(|byte| *byte == number as u8), "message {number} is damaged");
    number
}

impl World {
    pub(crate) fn new(seed: u64) -> Rc<Self> {
        Rc::new(Self {
            executor: Executor::new(seed),
            time: Time::default(),
            style: Cell::new(Style::EAGER),
            listeners: RefCell::default(),
            wires: RefCell::default(),
            sockets: Cell::new(0),
            rng: RefCell::new(Rng::with_seed(seed.wrapping_add(1))),
        })
    }

    /// A socket whose timer runs.
    pub(crate) fn socket(&self, config: Config) -> Handle {
        let handle = self.socket_without_timer(config);
        self.executor.spawn("timer", handle.timer_driver(self.timer(Timing::Exact)));
        handle
    }

    pub(crate) fn socket_without_timer(&self, config: Config) -> Handle {
        self.sockets.set(self.sockets.get() + 1);
        let number = self.sockets.get();
        let identity = Identity::from_bytes([number; 16]);
        let core =
            Socket::new(config, identity, u64::from(number), self.now()).expect("a valid configuration");
        Handle::new(core, self.time.clock.clone())
    }

    pub(crate) fn timer(&self, timing: Timing) -> TestTimer {
        self.time.timer(timing)
    }

    /// Has a socket accept connections under a name, until it closes.
    pub(crate) fn listen(self: &Rc<Self>, handle: &Handle, name: &str) {
        let acceptor = Rc::new(handle.listen(name).expect("open"));
        self.listeners.borrow_mut().insert(name.to_owned(), acceptor.clone());
        let (world, name) = (self.clone(), name.to_owned());
        self.executor.spawn("accept", async move {
            poll_fn(|cx| match acceptor.poll_gate(cx) {
                Poll::Ready(Gate::Shut) => Poll::Ready(()),
                _ => Poll::Pending,
            })
            .await;
            world.stop_listening(&name);
        });
    }

    /// Nobody can connect under this name any more.
    pub(crate) fn stop_listening(&self, name: &str) {
        let acceptor = self.listeners.borrow_mut().remove(name);
        drop(acceptor);
    }

    /// Keeps a connection of a socket to a name.
    pub(crate) fn dial(self: &Rc<Self>, handle: &Handle, name: &str) {
        let (_, dialer) = handle.dial(name).expect("open");
        self.executor.spawn("dial", self.clone().serve_dial(dialer));
    }

    async fn serve_dial(self: Rc<Self>, dialer: Dialer) {
        while let Some(name) = dialer.attempt().await {
            match self.connect(&name) {
                Ok(near) => {
                    if let Some(driver) = dialer.connected(near, name) {
                        self.executor.spawn("link", driver);
                    }
                }
                Err(error) => dialer.failed(&error),
            }
        }
    }

    /// Connects to a name, and serves the far end.
    fn connect(&self, name: &str) -> io::Result<TestLink> {
        let acceptor = self.listeners.borrow().get(name).cloned();
        let acceptor = acceptor.ok_or(io::ErrorKind::ConnectionRefused)?;
        let (near, far, wire) = connection(self.style.get(), self.rng.borrow_mut().u64(..));
        self.wires.borrow_mut().push(wire);
        if let Some(driver) = acceptor.accepted(far, "peer") {
            self.executor.spawn("link", driver);
        }
        Ok(near)
    }

    /// Connects to a name by hand: what is put into `out` of the wire is read there, what is written comes in `back`.
    pub(crate) fn raw(&self, name: &str) -> (TestLink, Wire) {
        let near = self.connect(name).expect("somebody listens");
        (near, self.wire(self.wires.borrow().len() - 1))
    }

    /// The connections in the order in which they were made.
    pub(crate) fn wire(&self, index: usize) -> Wire {
        self.wires.borrow().get(index).cloned().expect("so many connections were made")
    }

    /// Two sockets with a connection between them, made by the first.
    pub(crate) fn pair(self: &Rc<Self>, near: Config, far: Config) -> (Handle, Handle) {
        let (near, far) = (self.socket(near), self.socket(far));
        self.join(&near, &far, "far");
        (near, far)
    }

    /// Connects one socket to another, under a new name, and waits until each sees the other.
    pub(crate) fn join(self: &Rc<Self>, near: &Handle, far: &Handle, name: &str) {
        self.listen(far, name);
        self.dial(near, name);
        let (a, b) = (near.clone(), far.clone());
        let (peers_a, peers_b) = (near.peers().len() + 1, far.peers().len() + 1);
        self.wait("join", async move {
            a.wait_for_peers(peers_a).await.expect("open");
            b.wait_for_peers(peers_b).await.expect("open");
        });
    }

    pub(crate) fn now(&self) -> Instant {
        self.time.clock.now()
    }

    pub(crate) fn spawn<T: 'static>(
        &self,
        name: &'static str,
        future: impl Future<Output = T> + 'static,
    ) -> Task<T> {
        self.executor.spawn(name, future)
    }

    /// Runs until nobody is woken. No time passes.
    pub(crate) fn settle(&self) {
        let before = self.executor.all_polls();
        while self.executor.step() {
            assert!(self.executor.all_polls() - before < TOO_MANY_POLLS, "tasks wake each other without end");
        }
    }

    /// Lets time pass, with all that happens meanwhile.
    pub(crate) fn pass(&self, span: Duration) {
        let end = self.now() + span;
        self.settle();
        while let Some(next) = self.time.next().filter(|next| *next <= end) {
            self.time.advance_to(next);
            self.settle();
        }
        self.time.advance_to(end);
    }

    /// Runs until a task is done, letting as much time pass as that takes.
    pub(crate) fn finish<T>(&self, task: &Task<T>) -> T {
        let end = self.now() + PATIENCE;
        let before = self.executor.all_polls();
        loop {
            while !task.is_done() && self.executor.step() {
                assert!(self.executor.all_polls() - before < TOO_MANY_POLLS, "a task never ends");
            }
            if let Some(result) = task.take() {
                return result;
            }
            let next = self.time.next().expect("somebody waits for something that never comes");
            assert!(next <= end, "somebody waits for something that does not come");
            self.time.advance_to(next);
        }
    }

    /// Runs a future to its end.
    pub(crate) fn wait<T: 'static>(
        &self,
        name: &'static str,
        future: impl Future<Output = T> + 'static,
    ) -> T {
        let task = self.spawn(name, future);
        self.finish(&task)
    }
}
