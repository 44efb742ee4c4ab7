//! Counters of a socket.

use crate::budget::Usage;

/// What a socket has done since it was made, and what it holds now.
///
/// For messages to one peer at a time the sums close: accepted = handed over (at-least-once: acknowledged) + held +
/// dropped. A published message is accepted once, and each of its copies is handed over or dropped by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Messages accepted for sending.
    pub accepted: Usage,
    /// Messages that need no acknowledgement of which the last byte was taken by the link, counted for each peer.
    pub handed_over: Usage,
    /// Messages acknowledged by their recipients.
    pub acknowledged: Usage,
    /// Copies of messages that were sent again, to the same peer or to another.
    pub resent: Usage,
    /// Messages held for sending now: unrouted, queued, being written, or not acknowledged. A published message counts
    /// once.
    pub send_held: Usage,
    /// Published copies that were dropped since the subscriber was slow.
    pub dropped_slow_peer: Usage,
    /// Published copies that were dropped since the subscriber left.
    pub dropped_peer_left: Usage,
    /// Messages to an identity that did not come back in time.
    pub dropped_undeliverable: Usage,
    /// Messages that were not acknowledged in as many attempts as are allowed.
    pub dropped_expired: Usage,
    /// Messages that were left when the socket closed.
    pub dropped_at_close: Usage,
    /// Messages received. Duplicates are not counted, discarded ones are.
    pub received: Usage,
    /// Messages that had been received before, under the same id, and were dropped.
    pub duplicates: Usage,
    /// Messages received that the application has not taken yet.
    pub receive_held: Usage,
    /// Messages received that nobody is to take: while closing, or with [`Receive::Discard`](crate::Receive::Discard).
    pub discarded: Usage,
    /// Frames that the protocol asks to skip: of unknown type, truncated, empty, or a second HELLO.
    pub skipped_frames: u64,
    /// Connections whose peers were accepted.
    pub connected: u64,
    /// Of these, those that have ended.
    pub disconnected: u64,
    /// Connections that ended before their peer was accepted.
    pub refused: u64,
    /// Attempts to connect.
    pub dial_attempts: u64,
    /// Connections now, those still introducing themselves included.
    pub connections: usize,
    /// Of these, accepted ones still introducing themselves.
    pub handshakes: usize,
}
