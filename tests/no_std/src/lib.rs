//! Checks that `aiomsg-proto` builds without the standard library, and shows how a program without it drives a socket.
//!
//! The check is a build:
//!
//! ```text
//! cargo build -p aiomsg-no-std --features alone
//! ```
//!
//! With the feature `alone` this crate brings its own panic handler. A build can have only one, and std brings one too.
//! So if the core, or any crate that it depends on, links std, the build fails with "found duplicate lang item
//! `panic_impl`". No target without an operating system has to be installed for that.
//!
//! Build the package on its own, as above: together with others, it would get the features of `bytes` and `uuid` that
//! those ask for, std among them. `.ci/no-std` does exactly that to make sure that the check can fail.

#![no_std]

extern crate alloc;

use aiomsg_proto::{
    Batch, CloseReason, Config, ConnectionId, Identity, Inbox, Instant, LinkState, Origin, SendError, Socket,
};
use bytes::{Bytes, BytesMut};

/// A byte stream, as a board may have one. None of its methods waits.
pub trait Stream {
    /// Appends at most `limit` bytes that have arrived to `buffer`, or says that the stream has ended.
    ///
    /// # Errors
    /// [`Ended`] at the end of the stream.
    fn read(&mut self, buffer: &mut BytesMut, limit: usize) -> Result<(), Ended>;

    /// Writes what it can of `bytes`, and returns how many that are.
    ///
    /// # Errors
    /// [`Ended`] if nobody reads any more.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Ended>;

    /// Closes the writing half, if it is not closed yet.
    fn shut_down(&mut self);
}

/// A stream has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended;

/// A socket with a single connection, accepted from somewhere, for a program that calls [`turn`](Self::turn) in a loop.
#[derive(Debug)]
pub struct Station {
    socket: Socket,
    connection: ConnectionId,
    buffer: BytesMut,
    batch: Batch,
    inbox: Inbox,
}

impl Station {
    /// A station known to its peer as `identity`. `seed` must be different for each life of it. None if the settings of
    /// the socket do not fit; the default ones do.
    #[must_use]
    pub fn new(config: Config, identity: Identity, seed: u64, now: Instant) -> Option<Self> {
        let mut socket = Socket::new(config, identity, seed, now).ok()?;
        let connection = socket.handle_connected(now, Origin::Accepted, "stream").ok()?;
        let (buffer, batch, inbox) = (BytesMut::new(), Batch::default(), Inbox::default());
        Some(Self { socket, connection, buffer, batch, inbox })
    }

    /// Sends a message to the peer, once it is there.
    ///
    /// # Errors
    /// Those of [`Socket::send`].
    pub fn send(&mut self, now: Instant, payload: Bytes) -> Result<(), SendError> {
        self.socket.send(now, payload)
    }

    /// The next message that has arrived.
    pub fn receive(&mut self, now: Instant) -> Option<Bytes> {
        if self.inbox.is_empty() {
            self.socket.poll_received(now, &mut self.inbox);
        }
        Some(self.inbox.next()?.payload)
    }

    /// Does what there is to do now, and returns when there is something to do without new bytes.
    pub fn turn(&mut self, now: Instant, stream: &mut dyn Stream) -> Option<Instant> {
        if self.socket.poll_timeout().is_some_and(|at| at <= now) {
            self.socket.handle_timeout(now);
        }
        if self.exchange(now, stream) == Err(Ended) {
            self.socket.handle_disconnected(now, self.connection, &mut self.batch, CloseReason::PeerClosed);
        }
        // One connection, served at every turn: nothing to look up in what is ready, and nobody watches the events.
        while self.socket.poll_ready().is_some() {}
        while self.socket.poll_event().is_some() {}
        self.socket.poll_timeout()
    }

    /// Moves bytes between the socket and the stream.
    fn exchange(&mut self, now: Instant, stream: &mut dyn Stream) -> Result<(), Ended> {
        let limit = self.socket.wants_read(self.connection, &self.buffer);
        if limit > 0 {
            stream.read(&mut self.buffer, limit)?;
        }
        self.socket.handle_received(now, self.connection, &mut self.buffer);
        while self.socket.transmit(now, self.connection, &mut self.batch) {
            let written = stream.write(self.batch.slices().next().unwrap_or_default())?;
            self.batch.advance(written);
            self.socket.handle_transmitted(now, self.connection, &mut self.batch);
            if written == 0 {
                break;
            }
        }
        match self.socket.link_state(self.connection) {
            LinkState::HalfClose => stream.shut_down(),
            LinkState::Close => return Err(Ended),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(feature = "alone")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
