//! How well the network and the drivers behave.

use core::time::Duration;

use aiomsg_proto::Instant;

use crate::connection::{Side, WireId};
use crate::network::{Chunking, Network};

impl Network {
    /// Sets how long bytes travel from now on, at least and at most.
    pub fn set_latency(&mut self, least: Duration, most: Duration) {
        self.latency = least;
        self.jitter = most.saturating_sub(least);
    }

    /// Draws how long bytes travel for each connection apart from now on: what happens on one connection changes nothing
    /// for others, whichever comes first of what happens at one instant.
    pub const fn keep_apart(&mut self) {
        self.apart = true;
    }

    /// Sets how many bytes each direction of a new connection holds, unread ones included.
    pub const fn set_capacity(&mut self, bytes: usize) {
        self.capacity = bytes;
    }

    /// Sets how bytes are cut from now on.
    pub const fn set_chunking(&mut self, chunking: Chunking) {
        self.chunking = chunking;
    }

    /// Keeps every byte written on connections made from now on, for [`written`](Self::written).
    pub const fn record_bytes(&mut self) {
        self.recorded = true;
    }

    /// Has drivers call `handle_timeout` at every occasion from now on, twice, and with times that have long passed.
    pub const fn set_pestering(&mut self) {
        self.pestering = true;
    }

    /// Lets timers fire up to this much too late from now on.
    pub const fn set_lateness(&mut self, most: Duration) {
        self.lateness = most;
    }

    /// Has drivers leave what they could do lying for up to this long from now on, every other time.
    pub const fn set_laziness(&mut self, most: Duration) {
        self.laziness = most;
    }

    /// When the timer for `deadline` fires.
    pub(crate) fn late(&mut self, deadline: Instant) -> Instant {
        deadline + self.up_to(self.lateness)
    }

    /// Until when a driver leaves lying what it could do now, if it does.
    pub(crate) fn puts_off(&mut self) -> Option<Instant> {
        if self.laziness.is_zero() || self.rng.bool() {
            return None;
        }
        Some(self.now + self.up_to(self.laziness))
    }

    /// When what is sent now on a connection by this side arrives.
    pub(crate) fn arrival(&mut self, wire: WireId, side: Side) -> Instant {
        if !self.apart {
            return self.now + self.latency + self.up_to(self.jitter);
        }
        let sent = &mut self.wires[wire.0].written_by(side).sent;
        *sent += 1;
        let seed = [wire.0 as u64, side as u64, *sent].iter().fold(0, |seed, part| (seed << 20) ^ part);
        self.now + self.latency + self.jitter.mul_f64(fastrand::Rng::with_seed(seed).f64())
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        if nanos == 0 { Duration::ZERO } else { Duration::from_nanos(self.rng.u64(0..=nanos)) }
    }
}
