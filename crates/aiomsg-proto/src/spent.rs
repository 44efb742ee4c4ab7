//! What messages leave that are done with.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::budget::Usage;
use crate::outgoing::Outgoing;

/// Payloads for which there is room before they are asked for, once a burst is over.
const KEPT: usize = 1_024;

/// The payloads of messages that are done with, for who wants to drop them himself. The one place where they leave the core:
/// their memory may be the application's, which is free to do anything when it gets that back.
#[derive(Debug, Default)]
pub(crate) struct Spent {
    wanted: bool,
    payloads: Vec<Bytes>,
}

impl Spent {
    /// Keeps them from now on until they are taken.
    pub(crate) const fn keep(&mut self) {
        self.wanted = true;
    }

    #[inline]
    pub(crate) fn push(&mut self, payload: Bytes) {
        if self.wanted {
            self.payloads.push(payload);
        }
    }

    /// Returns what the message was.
    pub(crate) fn push_message(&mut self, message: Outgoing) -> Usage {
        let usage = message.usage();
        self.push(message.payload);
        usage
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.payloads.is_empty()
    }

    pub(crate) fn take(&mut self, into: &mut impl Extend<Bytes>) {
        into.extend(self.payloads.drain(..));
        self.payloads.shrink_to(KEPT);
    }
}
