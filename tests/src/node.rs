//! A socket in the network, and what happened to it.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::time::Duration;

use aiomsg_proto::{Batch, ConnectionId, Event, Inbox, Instant, Ready, Received, Socket};
use bytes::BytesMut;

use crate::connection::{Side, WireId};

/// A socket of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) usize);

/// Whether the application takes messages by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// As soon as they arrive.
    All,
    /// Not until the test takes them with [`Network::take`](crate::Network::take).
    Nothing,
}

/// What a driver keeps for one connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) wire: WireId,
    pub(crate) side: Side,
    pub(crate) buffer: BytesMut,
    pub(crate) batch: Batch,
    pub(crate) half_closed: bool,
    /// The driver does not read it, although it may: a process that does not get to it.
    pub(crate) stalled: bool,
}

/// A socket and its driver.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) socket: Socket,
    pub(crate) links: BTreeMap<ConnectionId, Link>,
    /// Connections that wait to be accepted, as in a kernel's backlog.
    pub(crate) backlog: VecDeque<(WireId, alloc::sync::Arc<str>)>,
    pub(crate) inbox: Inbox,
    pub(crate) taking: Taking,
    /// Its process does not run.
    pub(crate) frozen: bool,
    /// Its clock goes ahead of that of the network by this much.
    pub(crate) ahead: Duration,
    /// The deadline that the socket told, by the clock of the network.
    pub(crate) asked_for: Option<Instant>,
    /// When the network calls it, at that time or later.
    pub(crate) deadline: Option<Instant>,
    pub(crate) record: Record,
}

impl Node {
    pub(crate) fn new(socket: Socket) -> Self {
        Self {
            socket,
            links: BTreeMap::new(),
            backlog: VecDeque::new(),
            inbox: Inbox::default(),
            taking: Taking::All,
            frozen: false,
            ahead: Duration::ZERO,
            asked_for: None,
            deadline: None,
            record: Record::default(),
        }
    }

    /// When the socket wants to be called, by the clock of the network.
    pub(crate) fn asks_for(&self) -> Option<Instant> {
        let at = self.socket.poll_timeout().filter(|_| !self.frozen)?;
        Some(Instant::EPOCH + at.saturating_duration_since(Instant::EPOCH + self.ahead))
    }

    /// Takes note of the events that wait.
    pub(crate) fn note_events(&mut self, now: Instant) {
        while let Some(event) = self.socket.poll_event() {
            match &event {
                Event::Connected { connection, .. } => {
                    self.record.open.insert(*connection);
                }
                Event::Disconnected { connection, .. } => {
                    self.record.open.remove(connection);
                }
                _ => {}
            }
            self.record.events.push((now, event));
        }
    }

    /// Hands all that has arrived to the application.
    pub(crate) fn take_all(&mut self, now: Instant) {
        while self.socket.poll_received(now, &mut self.inbox) {
            self.record.received.extend(self.inbox.by_ref());
        }
    }
}

/// What happened to a socket, for tests to look at.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) events: Vec<(Instant, Event)>,
    /// All but those that name a connection.
    pub(crate) ready: Vec<(Instant, Ready)>,
    pub(crate) received: Vec<Received>,
    /// Connections whose peers are accepted.
    pub(crate) open: BTreeSet<ConnectionId>,
    /// The most bytes that ever stood unread in the buffer of a connection whose peer was not accepted.
    pub(crate) introduction_high_water: usize,
    /// Calls that the driver made because the core had announced something.
    pub(crate) services: u64,
}
