//! The recipes of the cookbook, as processes: programs that come and go, restart, are killed, and are told to stop.

mod careful;
mod document;
mod jobs;
mod proxies;
mod publish;
mod relay;
mod requests;
#[cfg(unix)]
mod shutdown;
mod support;
