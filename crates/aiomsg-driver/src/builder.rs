//! Building a socket, for adapters.

use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::time::Duration;

use aiomsg_proto::{
    Acknowledge, Config, ConfigError, DeliveryGuarantee, Dialect, DuplicateIdentity, Identity, Limit,
    Receive, SendMode, SlowPeer, Socket,
};
use uuid::Uuid;

use crate::handle::Handle;
use crate::io::Clock;

/// Sets up a socket of an adapter, `S`.
///
/// Without further ado it distributes by round-robin, speaks both dialects, and has a random identity.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder<S> {
    config: Config,
    identity: Option<Identity>,
    socket: PhantomData<fn() -> S>,
}

impl<S> Default for Builder<S> {
    fn default() -> Self {
        Self { config: Config::default(), identity: None, socket: PhantomData }
    }
}

macro_rules! settings {
    ($($name:ident: $type:ty,)*) => {
        impl<S> Builder<S> {
            $(#[doc = concat!(
                "Sets [`Config::", stringify!($name), "`]; its meaning, default and bounds are described there."
            )]
            pub fn $name(mut self, value: $type) -> Self {
                self.config = self.config.$name(value);
                self
            })*
        }
    };
}

settings! {
    send_mode: SendMode,
    delivery: DeliveryGuarantee,
    acknowledge: Acknowledge,
    receive: Receive,
    resend_after: Duration,
    resend_after_max: Duration,
    max_attempts: Option<NonZeroU32>,
    window: usize,
    dialect: Dialect,
    duplicate_identity: DuplicateIdentity,
    slow_peer: SlowPeer,
    heartbeat_interval: Duration,
    heartbeat_timeout: Duration,
    handshake_timeout: Duration,
    connect_timeout: Duration,
    reconnect_delay: Duration,
    reconnect_delay_max: Duration,
    max_message: usize,
    send_buffer: Limit,
    prefetch: Limit,
    peer_queue: Limit,
    receive_buffer: Limit,
    deadlock_timeout: Duration,
    max_connections: usize,
    max_handshakes: usize,
    peer_retention: Duration,
    linger: Duration,
}

/// A socket that a [`Builder`] can build. For adapters.
pub trait Build: Sized {
    /// What can be wrong.
    type Error;

    /// Builds the socket, see [`Builder::build`].
    ///
    /// # Errors
    /// Whatever can be wrong.
    fn build(builder: Builder<Self>) -> Result<Self, Self::Error>;
}

impl<S: Build> Builder<S> {
    /// Builds the socket. It neither connects nor listens yet.
    ///
    /// # Errors
    /// If settings contradict themselves, or the runtime that the socket needs is not there.
    pub fn build(self) -> Result<S, S::Error> {
        S::build(self)
    }
}

impl<S> Builder<S> {
    /// Replaces all settings by those of `config`.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets who the socket says it is. Default: 16 random bytes. A socket that keeps its identity when it is restarted
    /// gets what its peers hold for it; two sockets with the same one shut each other out.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Makes the part of the socket that does not depend on a runtime. For adapters.
    ///
    /// # Errors
    /// [`ConfigError`] if settings contradict themselves.
    pub fn build_handle(self, clock: impl Clock + 'static) -> Result<Handle, ConfigError> {
        // 62 of these bits are random, which is what the seed is for: lives that differ.
        let (_, seed) = Uuid::new_v4().as_u64_pair();
        let random = Identity::from_bytes(Uuid::new_v4().into_bytes());
        let core = Socket::new(self.config, self.identity.unwrap_or(random), seed, clock.now())?;
        Ok(Handle::new(core, clock))
    }
}
