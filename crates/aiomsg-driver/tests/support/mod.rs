//! Sockets of the driver in virtual time, on links in memory, driven by an executor of our own.
//!
//! Everything runs on one thread and is decided by one seed: which of the woken tasks is polled next, how many bytes a
//! link takes, when it is not ready. A task is polled only after its waker was woken, so a lost wake-up shows as a task
//! that never ends.

mod executor;
mod frames;
mod link;
mod poll;
mod time;
mod world;

pub(crate) use self::executor::Task;
pub(crate) use self::frames::{data, frame, hello};
pub(crate) use self::link::{Pipe, Style, connection};
pub(crate) use self::poll::{drop_after, yield_now};
pub(crate) use self::time::Timing;
pub(crate) use self::world::{World, config, message, number};
