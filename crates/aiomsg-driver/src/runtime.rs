//! What a runtime has to bring, and what follows from that: waiting, resolving, connecting.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aiomsg_proto::Instant;

use crate::io::{Clock, Link, Timer};

/// A further address of a name is tried when the one before has not answered for this long.
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// How often a timer that is early is set anew before others run.
const EARLY: usize = 8;

/// A runtime that serves sockets: it spawns tasks, keeps time, and knows the network. An adapter implements it; the
/// rest of a [`Socket`](crate::Socket) is the same for all.
///
/// Tasks may move between threads, so they are [`Send`]. For a runtime whose tasks are not, there is
/// [`Handle`](crate::Handle).
pub trait Runtime: Clock + Clone + 'static {
    /// A connection.
    type Link: Link + Send + Unpin + 'static;
    /// A place where connections are accepted.
    type Listener: Listener<Link = Self::Link> + Send + 'static;
    /// A timer that goes by the clock of this runtime.
    type Timer: Timer + Send + Unpin + 'static;

    /// The runtime that the caller is in, if there is one.
    fn current() -> Option<Self>;

    /// A number that no other runtime has which is there at the same time. Connections that are woken together, and that have
    /// the same, may be served by one task: a link is polled in the task of another connection then, with the waker of its
    /// own. `None`, the default: each is served by its own task alone.
    fn id(&self) -> Option<u64> {
        None
    }

    /// Starts a task that runs until it is done, whoever is interested in it.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);

    /// A new timer.
    fn timer(&self) -> Self::Timer;

    /// The timer of a socket, which has one for as long as it is there, set nearly all the time: it may cost more to make,
    /// if it costs less to have.
    fn lasting_timer(&self) -> Self::Timer {
        self.timer()
    }

    /// Finds the addresses of `name`, a host and a port, in the order in which they are to be tried.
    fn resolve(&self, name: &str) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;

    /// Connects to one address, and says from which of ours. Called in a task of this runtime, and dropped if it takes too
    /// long. Batches are made by the socket, so the system must not wait for more (`TCP_NODELAY`).
    fn connect(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<(Self::Link, SocketAddr)>> + Send;

    /// Listens at an address, and may be called from outside of the runtime. A server that is restarted gets its port
    /// back (`SO_REUSEADDR` on Unix).
    fn listen(&self, address: SocketAddr) -> io::Result<Self::Listener>;

    /// The result of `future`, or `None` if it takes longer than `span`; it is dropped then.
    fn timeout<T: Send>(
        &self,
        span: Duration,
        future: impl Future<Output = T> + Send,
    ) -> impl Future<Output = Option<T>> + Send {
        async move {
            let until = self.now() + span;
            let mut timer = self.timer();
            let mut future = pin!(future);
            poll_fn(|cx| match future.as_mut().poll(cx) {
                Poll::Ready(result) => Poll::Ready(Some(result)),
                Poll::Pending => poll_until(self, &mut timer, cx, until).map(|()| None),
            })
            .await
        }
    }

    /// Waits for `span`.
    fn sleep(&self, span: Duration) -> impl Future<Output = ()> + Send {
        async move {
            let until = self.now() + span;
            let mut timer = self.timer();
            poll_fn(|cx| poll_until(self, &mut timer, cx, until)).await;
        }
    }
}

/// A place where connections are accepted.
pub trait Listener {
    /// A connection.
    type Link;

    /// Accepts a connection, and says from whom. [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) means that only
    /// this connection failed, and the next may be well.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Link, SocketAddr)>>;

    /// Where it listens.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// Ready when `at` has come by the clock; the timer only wakes us.
fn poll_until<R: Runtime>(runtime: &R, timer: &mut R::Timer, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
    for _ in 0..EARLY {
        if runtime.now() >= at {
            return Poll::Ready(());
        }
        ready!(timer.poll_until(cx, at));
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// Finds the addresses of a name; one that is an address needs no looking up.
pub(crate) async fn resolve(runtime: &impl Runtime, name: &str) -> io::Result<Vec<SocketAddr>> {
    match name.parse() {
        Ok(address) => Ok(vec![address]),
        Err(_) => runtime.resolve(name).await,
    }
}

type Attempt<'a, L> = Pin<Box<dyn Future<Output = io::Result<(L, SocketAddr)>> + Send + 'a>>;

/// Connects to a name. All of its addresses are tried, each as soon as the one before has failed or has not answered
/// for a quarter of a second; the first that answers is taken.
pub(crate) async fn connect<R: Runtime>(runtime: &R, name: &str) -> io::Result<(R::Link, SocketAddr)> {
    let mut addresses = resolve(runtime, name).await?.into_iter();
    let mut attempts: Vec<Attempt<'_, R::Link>> = Vec::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no addresses");
    let mut timer = runtime.timer();
    let mut next_at = runtime.now();
    poll_fn(|cx| {
        loop {
            let mut failed = false;
            let mut place = 0;
            while let Some(attempt) = attempts.get_mut(place) {
                match attempt.as_mut().poll(cx) {
                    Poll::Ready(Ok(connected)) => return Poll::Ready(Ok(connected)),
                    Poll::Ready(Err(error)) => {
                        failed = true;
                        last = error;
                        drop(attempts.swap_remove(place));
                    }
                    Poll::Pending => place += 1,
                }
            }
            if addresses.len() == 0 {
                if attempts.is_empty() {
                    let nothing = io::Error::from(last.kind());
                    return Poll::Ready(Err(core::mem::replace(&mut last, nothing)));
                }
                return Poll::Pending;
            }
            if !failed && !attempts.is_empty() {
                ready!(poll_until(runtime, &mut timer, cx, next_at));
            }
            attempts.extend(addresses.next().map(|address| attempt(runtime, address)));
            next_at = runtime.now() + NEXT_ADDRESS;
        }
    })
    .await
}

fn attempt<R: Runtime>(runtime: &R, address: SocketAddr) -> Attempt<'_, R::Link> {
    Box::pin(async move {
        let (link, own) = runtime.connect(address).await?;
        // Where nobody listens, a connection may be made to itself: when the system draws its port, it may draw the very
        // one that is dialled.
        if own == address { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok((link, address)) }
    })
}
