//! The libraries.

pub mod aiomsg;
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

use crate::library::Name;

/// Those that were built in.
pub fn all() -> Vec<Name> {
    let mut names =
        vec![Name::Raw, Name::Aiomsg, Name::AiomsgMulti, Name::AiomsgSmol, Name::AiomsgAcknowledged];
    #[cfg(feature = "zmq")]
    names.push(Name::Zmq);
    #[cfg(feature = "omq")]
    names.extend([Name::Omq, Name::OmqTry]);
    #[cfg(feature = "monocoque")]
    names.push(Name::Monocoque);
    #[cfg(feature = "zeromq")]
    names.push(Name::Zeromq);
    #[cfg(feature = "rzmq")]
    names.push(Name::Rzmq);
    names
}

/// Runs a task on one thread of tokio.
fn on_one_thread<T>(task: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(task)
}
