//! placeholder
mod acceptor;
mod builder;
mod dialer;
mod events;
mod handle;
mod io;
mod link;
mod recv;
mod send;
mod shared;
mod timer;
mod waiters;

pub use self::acceptor::{Acceptor, Gate};
pub use self::builder::{Build, Builder};
pub use self::dialer::Dialer;
pub use self::events::EventStream;
pub use self::handle::Handle;
pub use self::io::{Clock, Link, MonotonicClock, Timer};
pub use self::link::LinkDriver;
pub use self::recv::{MessageStream, ReceivedStream};
pub use self::timer::TimerDriver;
