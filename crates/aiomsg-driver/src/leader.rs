//! Connections that are woken together, and served by the task of the first of them.
//!
//! Where a runtime has several threads, a second task that is ready has another thread woken, which takes tasks over: in the
//! middle of what one thread could do by itself in the same time, connections change threads, and the memory that they
//! work on has to follow. So when a thread wakes several connections before the first has had its turn, the others *follow*
//! that one, and its task serves them, too. Only the core wakes in this way; readiness of a stream wakes each task by itself.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};

#[cfg(not(shuttle))]
use std::sync::{Mutex, MutexGuard};

#[cfg(shuttle)]
use shuttle::{
    sync::{Mutex, MutexGuard},
    thread_local,
};

/// Connections that follow one, at most: what is more than that is worth another thread.
const MOST_FOLLOWERS: usize = 15;

thread_local! {
    /// The connection that this thread has woken as the first, and which lead of it that was.
    static LEADER: RefCell<(Weak<Member>, u64)> = const { RefCell::new((Weak::new(), 0)) };
}

/// The task of a connection, which serves those that follow, too.
#[derive(Debug)]
pub(crate) struct LeadingTask<D> {
    driver: Arc<Mutex<D>>,
    member: Arc<Member>,
}

/// The future that serves a connection.
type Driver = Mutex<dyn Future<Output = ()> + Send + Unpin>;

/// How a connection is woken.
#[derive(Debug)]
pub(crate) enum LinkWaker {
    /// It is served by its own task alone.
    Alone(Waker),
    Together(Arc<Member>),
}

/// A connection as others see it. Waking it lets it follow another one, or lead.
pub(crate) struct Member {
    runtime: u64,
    driver: OnceLock<Weak<Driver>>,
    task: Mutex<Task>,
}

/// What is known of the task of a connection.
struct Task {
    waker: Waker,
    lead: Lead,
    /// Counts its leads, since others may follow none but the one that their thread has begun.
    leads: u64,
}

/// Whether others may follow a connection.
enum Lead {
    /// Its task has had its turn since it was woken, or is not woken.
    Over,
    /// Its task has still to come, and serves these first.
    Of(Followers),
    /// Its task is gone, and will serve nobody.
    Never,
}

/// Connections that are to be served. Those that are not, since the task that was to do it is gone or panics, are left to
/// their own.
#[derive(Default)]
struct Followers(VecDeque<Arc<Member>>);

impl<D: Future<Output = ()> + Send + Unpin + 'static> LeadingTask<D> {
    /// A task for the runtime of this number. `make` gives the future that serves the connection, which is to be woken as
    /// this member for what the core asks for. Once that is done, polling it again must do nothing.
    pub(crate) fn new(runtime: u64, make: impl FnOnce(Arc<Member>) -> D) -> Self {
        let task = Mutex::new(Task { waker: Waker::noop().clone(), lead: Lead::Over, leads: 0 });
        let member = Arc::new(Member { runtime, driver: OnceLock::new(), task });
        let driver = Arc::new(Mutex::new(make(member.clone())));
        let served: Arc<Driver> = driver.clone();
        member.driver.get_or_init(|| Arc::downgrade(&served));
        Self { driver, member }
    }
}

impl<D: Future<Output = ()> + Unpin> Future for LeadingTask<D> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { driver, member } = self.get_mut();
        let mut task = lock(&member.task);
        task.waker.clone_from(cx.waker());
        let followers = task.end_lead(Lead::Over);
        drop(task);
        followers.serve();
        // If another task serves this connection just now, that takes one turn.
        let poll = Pin::new(&mut *lock(driver)).poll(cx);
        if poll.is_ready() {
            member.retire();
        }
        poll
    }
}

/// The connection has ended, or the runtime drops its tasks.
impl<D> Drop for LeadingTask<D> {
    fn drop(&mut self) {
        self.member.retire();
    }
}

impl Followers {
    fn serve(mut self) {
        // Each stays in the list while it is served.
        while let Some(next) = self.0.front().cloned() {
            next.serve();
            self.0.pop_front();
        }
    }
}

impl Drop for Followers {
    fn drop(&mut self) {
        while let Some(follower) = self.0.pop_front() {
            follower.own_task().wake();
        }
    }
}

impl Task {
    /// Nobody follows from now on. Returns those who did.
    fn end_lead(&mut self, lead: Lead) -> Followers {
        match core::mem::replace(&mut self.lead, lead) {
            Lead::Of(followers) => followers,
            Lead::Over | Lead::Never => Followers::default(),
        }
    }
}

impl LinkWaker {
    /// Has the connection served, by whatever task.
    pub(crate) fn any_task(&self) -> Waker {
        match self {
            Self::Alone(task) => task.clone(),
            Self::Together(member) => Waker::from(member.clone()),
        }
    }

    /// Wakes its own task.
    pub(crate) fn own_task(&self) -> Waker {
        match self {
            Self::Alone(task) => task.clone(),
            Self::Together(member) => member.own_task(),
        }
    }
}

impl Member {
    fn own_task(&self) -> Waker {
        lock(&self.task).waker.clone()
    }

    /// Nobody follows any more, now or later.
    fn retire(&self) {
        let followers = lock(&self.task).end_lead(Lead::Never);
        drop(followers);
    }

    /// Wakes its own task, unless it was woken and has still to come. Others may follow until then; this says which of its
    /// leads it is.
    fn lead(&self) -> Option<u64> {
        let mut task = lock(&self.task);
        let begun = match task.lead {
            Lead::Over => {
                task.lead = Lead::Of(Followers::default());
                task.leads += 1;
                Some(task.leads)
            }
            Lead::Of(_) => return None,
            Lead::Never => None,
        };
        let waker = task.waker.clone();
        drop(task);
        waker.wake();
        begun
    }

    /// Has `other` served by the task of this one, if that has still to come for this lead. False if it has not, or has
    /// enough to do.
    fn takes_along(&self, other: &Arc<Self>, lead: u64) -> bool {
        if self.runtime != other.runtime {
            return false;
        }
        let mut task = lock(&self.task);
        if task.leads != lead {
            return false;
        }
        let Lead::Of(Followers(followers)) = &mut task.lead else { return false };
        let has_place = followers.len() < MOST_FOLLOWERS;
        if has_place {
            followers.push_back(other.clone());
        }
        has_place
    }

    /// Gives a connection that follows its turn. Whatever is left goes to its own task: it may have to end.
    fn serve(&self) {
        let Some(driver) = self.driver.get().and_then(Weak::upgrade) else { return };
        let is_pending = driver.try_lock().is_ok_and(|mut driver| {
            // As of now, or the link would wake what is its task no more.
            let waker = self.own_task();
            Pin::new(&mut *driver).poll(&mut Context::from_waker(&waker)).is_pending()
        });
        if !is_pending {
            self.own_task().wake();
        }
    }
}

impl Wake for Member {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // A thread that ends has no leader any more.
        let leader = LEADER.try_with(|leader| {
            let (member, lead) = &*leader.borrow();
            let other = member.as_ptr() != Arc::as_ptr(self);
            other.then(|| (member.clone(), *lead))
        });
        if let Ok(Some((leader, lead))) = &leader
            && leader.upgrade().is_some_and(|leader| leader.takes_along(self, *lead))
        {
            return;
        }
        let Some(lead) = self.lead() else { return };
        let _ = LEADER.try_with(|own| match &leader {
            Ok(None) => own.borrow_mut().1 = lead,
            Ok(Some(_)) | Err(_) => *own.borrow_mut() = (Arc::downgrade(self), lead),
        });
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("runtime", &self.runtime).finish_non_exhaustive()
    }
}

/// What is behind these locks stays consistent whoever panics.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const RUNTIME: u64 = 1;
    const OTHER: u64 = 2;

    /// The last turn of a connection that panics in the one after its first.
    const PANIC: usize = 0;

    /// Counts its turns, and is done with the last of them.
    struct Turns {
        count: Arc<AtomicUsize>,
        last: usize,
        /// Whom its stream wakes.
        reader: Arc<Mutex<Waker>>,
    }

    impl Future for Turns {
        type Output = ();

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            lock(&self.reader).clone_from(cx.waker());
            let turns = 1 + self.count.fetch_add(1, Ordering::Relaxed);
            assert!(turns == 1 || self.last != PANIC, "as it is told");
            if turns < self.last || turns == 1 { Poll::Pending } else { Poll::Ready(()) }
        }
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A task that is run by hand.
    struct Connection {
        task: LeadingTask<Turns>,
        turns: Arc<AtomicUsize>,
        woken: Arc<Woken>,
        waker: Waker,
        reader: Arc<Mutex<Waker>>,
    }

    impl Connection {
        fn until(runtime: u64, last: usize) -> Self {
            let (turns, woken) = (Arc::<AtomicUsize>::default(), Arc::<Woken>::default());
            let mut waker = Waker::noop().clone();
            let reader = Arc::new(Mutex::new(waker.clone()));
            let task = LeadingTask::new(runtime, |own| {
                waker = Waker::from(own);
                Turns { count: turns.clone(), last, reader: reader.clone() }
            });
            let mut connection = Self { task, turns, woken, waker, reader };
            assert!(connection.run().is_pending());
            connection
        }

        fn on(runtime: u64) -> Self {
            Self::until(runtime, usize::MAX)
        }

        fn run(&mut self) -> Poll<()> {
            let waker = Waker::from(self.woken.clone());
            Pin::new(&mut self.task).poll(&mut Context::from_waker(&waker))
        }

        /// How often its task was woken.
        fn woken(&self) -> usize {
            self.woken.0.load(Ordering::Relaxed)
        }

        /// The turns that it has had since it began.
        fn turns(&self) -> usize {
            self.turns.load(Ordering::Relaxed) - 1
        }
    }

    fn several(count: usize) -> Vec<Connection> {
        (0..count).map(|_| Connection::on(RUNTIME)).collect()
    }

    fn wake(connections: &[Connection]) {
        for connection in connections {
            connection.waker.wake_by_ref();
        }
    }

    fn each<T>(connections: &[Connection], of: impl Fn(&Connection) -> T) -> Vec<T> {
        connections.iter().map(of).collect()
    }

    #[test]
    fn the_task_of_the_first_serves_all() {
        let mut all = several(3);
        wake(&all);
        wake(&all[..1]);
        assert_eq!(each(&all, Connection::woken), [1, 0, 0]);
        assert!(all[0].run().is_pending());
        assert_eq!(each(&all, Connection::turns), [1, 1, 1]);
        assert!(all[0].run().is_pending());
        assert_eq!(each(&all, Connection::turns), [2, 1, 1], "once");
    }

    #[test]
    fn nobody_follows_one_that_has_had_its_turn() {
        let mut all = several(3);
        wake(&all[..1]);
        assert!(all[0].run().is_pending());
        wake(&all[1..]);
        assert_eq!(each(&all, Connection::woken), [1, 1, 0]);
    }

    #[test]
    fn one_task_serves_so_many_and_no_more() {
        let all = several(2 * (1 + MOST_FOLLOWERS));
        wake(&all);
        let mut leaders = vec![1];
        leaders.resize(1 + MOST_FOLLOWERS, 0);
        assert_eq!(each(&all, Connection::woken), leaders.repeat(2));
    }

    #[test]
    fn nobody_follows_into_another_runtime() {
        let all = [RUNTIME, OTHER, OTHER, RUNTIME].map(Connection::on);
        wake(&all);
        assert_eq!(each(&all, Connection::woken), [1, 1, 0, 1]);
    }

    #[test]
    fn nobody_follows_what_another_thread_has_woken() {
        let mut all = several(2);
        std::thread::scope(|threads| {
            threads.spawn(|| wake(&all[..1]));
        });
        wake(&all[1..]);
        assert_eq!(each(&all, Connection::woken), [1, 1]);
        assert!(all[0].run().is_pending());
        assert_eq!(each(&all, Connection::turns), [1, 0]);
    }

    #[test]
    fn nobody_follows_what_another_thread_has_woken_again() {
        let mut all = several(2);
        wake(&all[..1]);
        assert!(all[0].run().is_pending());
        std::thread::scope(|threads| {
            threads.spawn(|| wake(&all[..1]));
        });
        wake(&all);
        assert_eq!(each(&all, Connection::woken), [2, 1], "that thread may be busy for long");
    }

    #[test]
    fn nobody_follows_one_that_is_done() {
        let mut all = [Connection::until(RUNTIME, 2), Connection::on(RUNTIME)];
        assert!(all[0].run().is_ready());
        wake(&all);
        assert_eq!(each(&all, Connection::woken), [1, 1]);
    }

    #[test]
    fn those_who_follow_are_woken_when_one_of_them_panics() {
        let mut all = [Connection::on(RUNTIME), Connection::until(RUNTIME, PANIC), Connection::on(RUNTIME)];
        wake(&all);
        let poll = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| all[0].run()));
        assert!(poll.is_err());
        assert_eq!(each(&all, Connection::woken), [1, 1, 1]);
        assert_eq!(all[2].turns(), 0);
    }

    #[test]
    fn those_who_follow_a_task_that_is_dropped_are_woken() {
        let mut all = several(3);
        wake(&all);
        let first = all.remove(0);
        drop(first.task);
        assert_eq!(each(&all, Connection::woken), [1, 1]);
        first.waker.wake_by_ref();
        wake(&all[..1]);
        assert_eq!(each(&all, Connection::woken), [2, 1], "nobody follows one that is gone");
    }

    /// Not the task that serves it just now, nor its own as that was known when it began to follow.
    #[test]
    fn what_comes_for_one_that_follows_wakes_its_own_task_as_it_is_now() {
        let mut all = several(2);
        wake(&all);
        let [first, second] = all.as_mut_slice() else { panic!("two") };
        second.woken = Arc::default();
        assert!(second.run().is_pending());
        assert!(first.run().is_pending());
        assert_eq!(second.turns(), 2);
        lock(&second.reader).wake_by_ref();
        assert_eq!((first.woken(), second.woken()), (1, 1));
    }

    #[test]
    fn the_own_task_ends_a_connection_that_is_done() {
        let mut all = [Connection::on(RUNTIME), Connection::until(RUNTIME, 2)];
        wake(&all);
        assert!(all[0].run().is_pending());
        assert_eq!(each(&all, Connection::woken), [1, 1]);
        assert!(all[1].run().is_ready());
    }

    #[test]
    fn the_own_task_follows_where_a_connection_is_just_served() {
        let mut all = several(2);
        wake(&all);
        let [first, second] = all.as_mut_slice() else { panic!("two") };
        let served = lock(&second.task.driver);
        assert!(first.run().is_pending());
        drop(served);
        assert_eq!((second.turns(), second.woken()), (0, 1));
    }
}
