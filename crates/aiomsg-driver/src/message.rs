//! A message with its acknowledgement.

use std::sync::Arc;

use aiomsg_proto::{Identity, Received};
use bytes::Bytes;

use crate::shared::Shared;

/// A message that the application acknowledges when it has done with it.
///
/// With [`Acknowledge::Manual`](aiomsg_proto::Acknowledge::Manual), and if its sender asked for it, the sender keeps the
/// message until it is acknowledged. Dropped without, it counts as rejected: when the sender sends it again, it is
/// received again. In any other mode there is nothing to acknowledge, and the calls do nothing.
///
/// Does not keep the socket open.
#[derive(Debug)]
pub struct Message {
    shared: Arc<Shared>,
    /// With what the sender waits for, until that is answered.
    received: Received,
}

impl Message {
    pub(crate) const fn new(shared: Arc<Shared>, received: Received) -> Self {
        Self { shared, received }
    }

    /// Who sent it.
    pub fn identity(&self) -> Identity {
        self.received.identity
    }

    /// The message. A clone of it shares the bytes.
    pub fn payload(&self) -> &Bytes {
        &self.received.payload
    }

    /// Whether it must be acknowledged by the application. Always false unless
    /// [`Acknowledge::Manual`](aiomsg_proto::Acknowledge::Manual) is set.
    pub fn wants_acknowledgement(&self) -> bool {
        self.received.request.is_some()
    }

    /// The application has done with it; its sender may forget it. Acknowledge before the socket is
    /// [closed](crate::Socket::close): afterwards this has no effect, and the sender gives the message to another peer.
    pub fn acknowledge(mut self) {
        acknowledge(&self.shared, &mut self.received);
    }

    /// The application has not done with it; its sender is to send it again. Nothing is sent: a sender of this
    /// implementation resends after its own timeout (5 s by default), to this peer while that is connected.
    pub fn reject(self) {
        drop(self);
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        let identity = self.received.identity;
        if let Some(id) = self.received.request.take() {
            self.shared.with_time(|state, now| state.core.reject(now, identity, id));
        }
    }
}

/// Acknowledges a message that asks for it, once.
pub(crate) fn acknowledge(shared: &Shared, received: &mut Received) {
    let identity = received.identity;
    if let Some(id) = received.request.take() {
        shared.with_time(|state, now| state.core.acknowledge(now, identity, id));
    }
}
