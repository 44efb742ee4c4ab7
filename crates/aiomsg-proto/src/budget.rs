//! Counting what a queue holds, in messages and in bytes.
#![deny(clippy::arithmetic_side_effects)]

use core::fmt;

/// A number of messages and the bytes of their payloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Messages.
    pub messages: usize,
    /// Bytes of payload.
    pub bytes: usize,
}

impl Usage {
    /// One message of `bytes` bytes.
    pub(crate) const fn one(bytes: usize) -> Self {
        Self { messages: 1, bytes }
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.messages == 0 && self.bytes == 0
    }

    pub(crate) const fn add(&mut self, other: Self) {
        self.messages = self.messages.saturating_add(other.messages);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    /// Takes `other` out. What was never put in is a defect of ours: loud in tests, harmless in production.
    pub(crate) fn sub(&mut self, other: Self) {
        debug_assert!(self.messages >= other.messages && self.bytes >= other.bytes, "{self:?} - {other:?}");
        self.messages = self.messages.saturating_sub(other.messages);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, bytes } = self;
        write!(f, "{messages} message{} of {bytes} bytes", if *messages == 1 { "" } else { "s" })
    }
}

/// What may be added to a queue, message by message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// So many messages at most.
    pub(crate) messages: usize,
    /// So many bytes at most.
    pub(crate) bytes: usize,
    /// With fewer bytes left than this, no further one.
    pub(crate) last_from: usize,
}

impl Allowance {
    /// Uses it for a message of `bytes` bytes; false if that is too much.
    #[inline]
    pub(crate) const fn take(&mut self, bytes: usize) -> bool {
        if self.messages == 0 || self.bytes < self.last_from || bytes > self.bytes {
            return false;
        }
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }
}

/// The bound of a queue, in messages and in bytes of payload; whichever is reached first counts.
///
/// An empty queue admits one message of any legal size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Messages, at least 1.
    pub messages: usize,
    /// Bytes of payload, at least 1.
    pub bytes: usize,
}

impl Limit {
    /// A bound of `messages` messages and `bytes` bytes.
    pub const fn new(messages: usize, bytes: usize) -> Self {
        Self { messages, bytes }
    }

    /// Whether a queue that holds `held` may take one more message of `bytes` bytes.
    pub(crate) const fn admits(self, held: Usage, bytes: usize) -> bool {
        held.is_empty() || (!self.is_reached(held) && bytes <= self.bytes.saturating_sub(held.bytes))
    }

    /// Whether a queue that holds `held` is at its bound: no further message, however small, has a place.
    pub(crate) const fn is_reached(self, held: Usage) -> bool {
        held.messages >= self.messages || held.bytes >= self.bytes
    }

    /// What is left beside `held`.
    pub(crate) const fn free(self, held: Usage) -> Usage {
        Usage {
            messages: self.messages.saturating_sub(held.messages),
            bytes: self.bytes.saturating_sub(held.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_queue_admits_one_message_of_any_size() {
        let limit = Limit::new(2, 10);
        assert!(limit.admits(Usage::default(), 1_000));
        assert!(!limit.admits(Usage::one(1_000), 0));
        assert!(limit.admits(Usage::one(4), 6));
        assert!(!limit.admits(Usage::one(4), 7));
        assert!(!limit.admits(Usage { messages: 2, bytes: 0 }, 0));
        assert!(limit.is_reached(Usage { messages: 2, bytes: 0 }));
        assert!(!limit.is_reached(Usage { messages: 1, bytes: 9 }));
    }
}
