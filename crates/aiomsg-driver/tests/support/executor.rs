//! A single-threaded executor that polls a task only when its waker was woken.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

use fastrand::Rng;

type TaskId = usize;
type Work = Pin<Box<dyn Future<Output = ()>>>;

/// What wakers reach.
#[derive(Debug, Default)]
struct RunQueue {
    woken: Vec<TaskId>,
    polled: Option<TaskId>,
    self_wakes: u64,
}

struct TaskWaker {
    id: TaskId,
    queue: Arc<Mutex<RunQueue>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut queue = self.queue.lock().expect("one thread");
        if queue.polled == Some(self.id) {
            queue.self_wakes += 1;
        }
        if !queue.woken.contains(&self.id) {
            queue.woken.push(self.id);
        }
    }
}

/// The tasks of one test.
pub(crate) struct Executor {
    queue: Arc<Mutex<RunQueue>>,
    tasks: RefCell<BTreeMap<TaskId, (&'static str, Work)>>,
    aborted: RefCell<Vec<TaskId>>,
    spawned: RefCell<TaskId>,
    polls: RefCell<BTreeMap<&'static str, u64>>,
    rng: RefCell<Rng>,
}

/// A task whose result can be had when it is done.
pub(crate) struct Task<T> {
    id: TaskId,
    executor: Rc<Executor>,
    result: Rc<RefCell<Option<T>>>,
}

impl Executor {
    pub(crate) fn new(seed: u64) -> Rc<Self> {
        Rc::new(Self {
            queue: Arc::default(),
            tasks: RefCell::default(),
            aborted: RefCell::default(),
            spawned: RefCell::default(),
            polls: RefCell::default(),
            rng: RefCell::new(Rng::with_seed(seed)),
        })
    }

    /// Starts a task; `name` is for counting its polls.
    pub(crate) fn spawn<T: 'static>(
        self: &Rc<Self>,
        name: &'static str,
        future: impl Future<Output = T> + 'static,
    ) -> Task<T> {
        let result = Rc::new(RefCell::new(None));
        let slot = result.clone();
        let work: Work = Box::pin(async move {
            let output = future.await;
            *slot.borrow_mut() = Some(output);
        });
        *self.spawned.borrow_mut() += 1;
        let id = *self.spawned.borrow();
        self.tasks.borrow_mut().insert(id, (name, work));
        self.queue.lock().expect("one thread").woken.push(id);
        Task { id, executor: self.clone(), result }
    }

    /// Polls one of the woken tasks; false if there are none.
    pub(crate) fn step(&self) -> bool {
        let id = {
            let mut queue = self.queue.lock().expect("one thread");
            if queue.woken.is_empty() {
                return false;
            }
            let choice = self.rng.borrow_mut().usize(..queue.woken.len());
            let id = queue.woken.remove(choice);
            queue.polled = Some(id);
            id
        };
        let task = self.tasks.borrow_mut().remove(&id);
        if let Some((name, mut work)) = task {
            *self.polls.borrow_mut().entry(name).or_default() += 1;
            let waker = self.waker(id);
            let pending = work.as_mut().poll(&mut Context::from_waker(&waker)).is_pending();
            if pending && !self.aborted.borrow().contains(&id) {
                self.tasks.borrow_mut().insert(id, (name, work));
            }
        }
        self.queue.lock().expect("one thread").polled = None;
        true
    }

    fn waker(&self, id: TaskId) -> Waker {
        Waker::from(Arc::new(TaskWaker { id, queue: self.queue.clone() }))
    }

    /// How often tasks of this name were polled.
    pub(crate) fn polls(&self, name: &str) -> u64 {
        self.polls.borrow().get(name).copied().unwrap_or_default()
    }

    /// How often tasks were polled.
    pub(crate) fn all_polls(&self) -> u64 {
        self.polls.borrow().values().sum()
    }

    /// How often a task woke itself while it was polled.
    pub(crate) fn self_wakes(&self) -> u64 {
        self.queue.lock().expect("one thread").self_wakes
    }

    /// Drops all tasks of this name, as a runtime does that shuts down.
    pub(crate) fn abort_all(&self, name: &str) {
        let gone: Vec<TaskId> =
            self.tasks.borrow().iter().filter(|(_, task)| task.0 == name).map(|(id, _)| *id).collect();
        for id in gone {
            let task = self.tasks.borrow_mut().remove(&id);
            drop(task);
        }
    }

    /// How many tasks of this name there are.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.tasks.borrow().values().filter(|task| task.0 == name).count()
    }
}

impl<T> Task<T> {
    /// The result, if the task is done; once.
    pub(crate) fn take(&self) -> Option<T> {
        self.result.borrow_mut().take()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.result.borrow().is_some()
    }

    /// Drops the task at once.
    pub(crate) fn abort(&self) {
        self.executor.aborted.borrow_mut().push(self.id);
        let task = self.executor.tasks.borrow_mut().remove(&self.id);
        drop(task);
    }
}

impl<T> Debug for Task<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").field("id", &self.id).finish_non_exhaustive()
    }
}
