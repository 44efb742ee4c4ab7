//! A socket without a runtime.

use std::sync::Arc;

use aiomsg_proto::{Closed, DialId};

use crate::acceptor::Acceptor;
use crate::dialer::Dialer;
use crate::io::{Clock, Timer};
use crate::socket::Socket;
use crate::timer::TimerDriver;

/// A socket without a runtime: who makes it runs its futures himself.
///
/// For runtimes whose tasks stay on one thread, and for links that are no TCP connections. The futures that serve it
/// ([`LinkDriver`](crate::LinkDriver), [`TimerDriver`], [`Dialer`], [`Acceptor`]) do not keep it open.
pub type Handle = Socket<()>;

impl Handle {
    /// A socket around a core.
    pub fn new(core: aiomsg_proto::Socket, clock: impl Clock + 'static) -> Self {
        Self::assemble(core, Arc::new(clock), ())
    }

    /// The future that lets the socket do what is due; it must be run, once.
    pub fn timer_driver<T: Timer>(&self, timer: T) -> TimerDriver<T> {
        TimerDriver::new(self.shared.clone(), timer)
    }

    /// Keeps a connection to `address` from now on; what is returned must be served. What an address means is up to who
    /// serves it.
    ///
    /// # Errors
    /// [`Closed`] if the socket is closed.
    pub fn dial(&self, address: impl Into<Arc<str>>) -> Result<(DialId, Dialer), Closed> {
        self.start_dialling(address)
    }

    /// Notes that connections are accepted at `address`; what is returned must be served.
    ///
    /// # Errors
    /// [`Closed`] if the socket is closed.
    pub fn listen(&self, address: &str) -> Result<Acceptor, Closed> {
        self.start_listening(address)
    }
}
