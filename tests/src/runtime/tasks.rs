//! Tasks, each of a process, and which of them are to be polled.

use alloc::collections::{BTreeMap, BTreeSet};
use core::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

use super::ProcessId;

pub(super) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A task; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TaskId(u64);

/// Tasks that were woken.
#[derive(Clone, Default)]
struct Woken(Arc<Mutex<BTreeSet<TaskId>>>);

impl Woken {
    fn with<R>(&self, change: impl FnOnce(&mut BTreeSet<TaskId>) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Wakes a task.
struct Alert {
    woken: Woken,
    task: TaskId,
}

impl Wake for Alert {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.with(|woken| woken.insert(self.task));
    }
}

struct Task {
    process: ProcessId,
    /// Not there while it is polled.
    work: Option<Work>,
    waker: Waker,
}

/// All tasks.
#[derive(Default)]
pub(super) struct Tasks {
    all: BTreeMap<TaskId, Task>,
    woken: Woken,
    issued: u64,
}

impl Tasks {
    pub(super) fn spawn(&mut self, process: ProcessId, work: Work) {
        self.issued += 1;
        let id = TaskId(self.issued);
        let waker = Waker::from(Arc::new(Alert { woken: self.woken.clone(), task: id }));
        self.all.insert(id, Task { process, work: Some(work), waker });
        self.wake(id);
    }

    pub(super) fn wake(&self, task: TaskId) {
        self.woken.with(|woken| woken.insert(task));
    }

    /// Those that were woken and whose process lives and runs.
    pub(super) fn ready(&self, runs: impl Fn(ProcessId) -> bool) -> Vec<TaskId> {
        self.woken.with(|woken| {
            woken.retain(|task| self.all.contains_key(task));
            woken.iter().copied().filter(|task| runs(self.all[task].process)).collect()
        })
    }

    /// A task is not woken any more.
    pub(super) fn put_off(&self, task: TaskId) {
        self.woken.with(|woken| woken.remove(&task));
    }

    /// Takes a task out, to poll it.
    pub(super) fn begin(&mut self, id: TaskId) -> Option<(Work, Waker)> {
        self.put_off(id);
        let task = self.all.get_mut(&id)?;
        Some((task.work.take()?, task.waker.clone()))
    }

    /// Puts a task back that is not done.
    pub(super) fn go_on(&mut self, id: TaskId, work: Work) {
        if let Some(task) = self.all.get_mut(&id) {
            task.work = Some(work);
        }
    }

    pub(super) fn end(&mut self, id: TaskId) {
        self.all.remove(&id);
    }

    /// Takes out all tasks of a process.
    pub(super) fn take_all(&mut self, process: ProcessId) -> Vec<Work> {
        let mine = |(id, task): (&TaskId, &Task)| (task.process == process).then_some(*id);
        let ids: Vec<TaskId> = self.all.iter().filter_map(mine).collect();
        ids.iter().filter_map(|id| self.all.remove(id)?.work).collect()
    }

    /// A task of those there are, whichever.
    pub(super) fn any(&self, rng: &mut fastrand::Rng) -> Option<TaskId> {
        rng.choice(self.all.keys().copied().collect::<Vec<_>>())
    }

    pub(super) fn count(&self, process: ProcessId) -> usize {
        self.all.values().filter(|task| task.process == process).count()
    }
}
