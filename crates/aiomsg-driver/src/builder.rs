//! Building a socket.

use std::io;
use std::num::NonZeroU32;
use std::time::Duration;

use aiomsg_proto::{
    Acknowledge, Config, ConfigError, DeliveryGuarantee, Dialect, DuplicateIdentity, Identity, Instant,
    Limit, Receive, SendMode, SlowPeer,
};
use uuid::Uuid;

use crate::handle::Handle;
use crate::io::Clock;
use crate::runtime::Runtime;
use crate::socket::Socket;

/// Sets up a socket that is served by `R`.
///
/// By default it sends round-robin, speaks both dialects, and has a random identity.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder<R> {
    config: Config,
    identity: Option<Identity>,
    seed: Option<u64>,
    runtime: Option<R>,
}

impl<R> Default for Builder<R> {
    fn default() -> Self {
        Self { config: Config::default(), identity: None, seed: None, runtime: None }
    }
}

/// A socket could not be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Settings contradict themselves.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no runtime to serve it.
    #[error("no runtime: build the socket inside one, or pass one to `Builder::runtime`")]
    NoRuntime,
}

/// [`InvalidInput`](io::ErrorKind::InvalidInput) if settings contradict themselves, otherwise
/// [`Other`](io::ErrorKind::Other).
impl From<BuildError> for io::Error {
    fn from(error: BuildError) -> Self {
        let kind = match error {
            BuildError::Config(_) => io::ErrorKind::InvalidInput,
            BuildError::NoRuntime => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $default:expr;)*) => {
        /// The settings, each as in [`Config`].
        impl<R> Builder<R> {
            $($(#[$doc])*
            pub fn $name(mut self, value: $type) -> Self {
                self.config = self.config.$name(value);
                self
            })*
        }
    };
}

aiomsg_proto::with_settings!(settings);

impl<R> Builder<R> {
    /// Replaces all settings by those of `config`.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets who the socket says it is. Default: 16 random bytes. A socket that keeps its identity when it is restarted
    /// gets what its peers hold for it. Of two sockets with the same one, a peer serves one at a time, by its
    /// [`DuplicateIdentity`]: with `Probe` the one that is connected, as long as it shows signs of life; with `Reject`
    /// the one that is connected; with `Replace` the latest, so that they displace each other in turn.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Seeds reconnect delays and message ids, for reproducible tests. Default: random. Restarted with the same
    /// identity and seed, ids repeat and peers drop new messages as copies.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    fn core(self, now: Instant) -> Result<aiomsg_proto::Socket, ConfigError> {
        // 62 of these bits are random, which is what the seed is for: lives that differ.
        let (_, seed) = Uuid::new_v4().as_u64_pair();
        let random = Identity::from_bytes(Uuid::new_v4().into_bytes());
        aiomsg_proto::Socket::new(
            self.config,
            self.identity.unwrap_or(random),
            self.seed.unwrap_or(seed),
            now,
        )
    }
}

impl<R: Runtime> Builder<R> {
    /// Sets the runtime that serves the socket. Default: the one in which [`build`](Self::build) is called.
    pub fn runtime(mut self, runtime: R) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Builds the socket. It neither connects nor listens yet.
    ///
    /// # Errors
    /// If settings contradict themselves, or there is no runtime.
    ///
    /// # Panics
    /// On tokio, if the runtime has I/O disabled. With time disabled, this panics, or the task that connects does.
    pub fn build(mut self) -> Result<Socket<R>, BuildError> {
        let runtime = self.runtime.take().or_else(R::current).ok_or(BuildError::NoRuntime)?;
        let core = self.core(runtime.now())?;
        Ok(Socket::start(core, runtime))
    }
}

impl Builder<()> {
    /// Builds a socket whose futures the caller runs himself.
    ///
    /// # Errors
    /// [`ConfigError`] if settings contradict themselves.
    pub fn build_handle(self, clock: impl Clock + 'static) -> Result<Handle, ConfigError> {
        let core = self.core(clock.now())?;
        Ok(Handle::new(core, clock))
    }
}
