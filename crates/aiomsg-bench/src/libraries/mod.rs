//! The libraries.

pub mod aiomsg;
pub mod python;
pub mod raw;

#[cfg(feature = "monocoque")]
pub mod monocoque;
#[cfg(feature = "omq")]
pub mod omq;
#[cfg(feature = "rzmq")]
pub mod rzmq;
#[cfg(feature = "zeromq")]
pub mod zeromq;
#[cfg(feature = "zmq")]
pub mod zmq;

use std::future::Future;

use tokio::runtime::Builder;

use clap::ValueEnum;

use crate::library::Name;

/// Those that were built in.
#[allow(clippy::match_like_matches_macro, reason = "not with all features")]
pub fn all() -> Vec<Name> {
    let built = |name: &Name| match name {
        Name::Zmq => cfg!(feature = "zmq"),
        Name::Omq | Name::OmqTry => cfg!(feature = "omq"),
        Name::Monocoque => cfg!(feature = "monocoque"),
        Name::Zeromq => cfg!(feature = "zeromq"),
        Name::Rzmq => cfg!(feature = "rzmq"),
        Name::Python => python::find().is_some(),
        _ => true,
    };
    Name::value_variants().iter().copied().filter(built).collect()
}

/// Runs a task on one thread of tokio.
fn on_one_thread<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
    in_a_task(Builder::new_current_thread(), task)
}

/// Runs a task as one of those of a runtime, as a server does. The future of `block_on` is none: to wake it costs a look at
/// the system, or another thread.
fn in_a_task<T: Send + 'static>(mut builder: Builder, task: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = builder.enable_all().build().expect("a runtime");
    runtime.block_on(runtime.spawn(task)).expect("no panic")
}
