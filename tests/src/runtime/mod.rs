//! A runtime in virtual time, so that the production driver can be played with: tasks, timers and connections of any
//! number of processes, all on one thread and from one seed.
//!
//! A [`World`] is what there is; a [`Process`] is one process in it, and the runtime that its sockets are built with.

mod agenda;
mod tasks;
mod wires;
mod world;

use core::net::SocketAddr;
use core::task::{Context, Poll};
use core::time::Duration;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aiomsg_driver::{Clock, Runtime, Timer};
use aiomsg_proto::Instant;

use self::agenda::TimerId;
pub use self::wires::{Link, Listener};
use self::world::Inner;
pub use self::world::{Habits, World};

/// What all handles to a world share.
#[derive(Clone)]
struct Shared(Arc<Mutex<Inner>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic of a test is told by the test.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl core::fmt::Debug for Shared {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("World")
    }
}

/// One process of a world. Never used twice: one that is started again is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(usize);

/// A process, as its tasks see it.
#[derive(Clone, Debug)]
pub struct Process {
    world: Shared,
    id: ProcessId,
}

impl Process {
    /// Which one it is.
    pub const fn id(&self) -> ProcessId {
        self.id
    }
}

impl Clock for Process {
    fn now(&self) -> Instant {
        self.world.lock().clock(self.id)
    }
}

impl Runtime for Process {
    type Link = Link;
    type Listener = Listener;
    type Timer = Alarm;

    fn current() -> Option<Self> {
        None
    }

    fn id(&self) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        (Arc::as_ptr(&self.world.0).addr(), self.id).hash(&mut hasher);
        Some(hasher.finish())
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.world.lock().tasks.spawn(self.id, Box::pin(task));
    }

    fn timer(&self) -> Alarm {
        let id = self.world.lock().timers.issue();
        Alarm { process: self.clone(), id }
    }

    async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        let delay = self.world.lock().delay_of_names();
        self.sleep(delay).await;
        let found = self.world.lock().names.get(name).cloned();
        found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such name"))
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<(Link, SocketAddr)> {
        wires::connect(self.world.clone(), self.id, address).await
    }

    fn listen(&self, address: SocketAddr) -> io::Result<Listener> {
        Listener::bind(self.world.clone(), self.id, address)
    }
}

/// A timer that goes by the clock of its process.
#[derive(Debug)]
pub struct Alarm {
    process: Process,
    id: TimerId,
}

impl Timer for Alarm {
    fn poll_until(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let mut world = self.process.world.lock();
        let left = at.saturating_duration_since(world.clock(self.process.id));
        // It may be early.
        if left == Duration::ZERO || world.pesters() {
            world.timers.cancel(self.id);
            return Poll::Ready(());
        }
        let due = world.now + left + world.lateness();
        world.timers.set(self.id, self.process.id, due, cx.waker());
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.process.world.lock().timers.cancel(self.id);
    }
}
