//! The tokio adapter over real TCP on the loopback interface. Every wait is for an event, with a deadline.

mod addresses;
mod closing;
#[cfg(unix)]
mod descriptors;
#[cfg(unix)]
mod flood;
mod hostile;
mod receiving;
mod runtimes;
mod support;
mod volume;
