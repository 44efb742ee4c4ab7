//! A connection between two ends, and what its ends are.

use aiomsg_proto::ConnectionId;

use crate::node::NodeId;
use crate::pipe::Pipe;
use crate::raw::RawId;

/// One connection of the network, whatever its ends are. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WireId(pub(crate) usize);

/// One of the two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Dialler = 0,
    Listener = 1,
}

impl Side {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Listener,
            Self::Listener => Self::Dialler,
        }
    }
}

/// Who holds an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Nobody yet: the connection has not been accepted, or its dialler has not heard that it has.
    Open,
    Socket(NodeId, ConnectionId),
    Raw(RawId),
    Closed,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    ends: [End; 2],
    /// What each end writes.
    pipes: [Pipe; 2],
    /// Ends that have been told that the other one is gone for good.
    reset: [bool; 2],
}

impl Connection {
    pub(crate) fn new(capacity: usize, recorded: bool) -> Self {
        Self {
            ends: [End::Open; 2],
            pipes: [Pipe::new(capacity, recorded), Pipe::new(capacity, recorded)],
            reset: [false; 2],
        }
    }

    pub(crate) const fn end(&self, side: Side) -> End {
        self.ends[side as usize]
    }

    pub(crate) const fn set_end(&mut self, side: Side, end: End) {
        self.ends[side as usize] = end;
    }

    /// What `side` writes.
    pub(crate) const fn written_by(&mut self, side: Side) -> &mut Pipe {
        &mut self.pipes[side as usize]
    }

    /// What `side` reads.
    pub(crate) const fn read_by(&mut self, side: Side) -> &mut Pipe {
        self.written_by(side.other())
    }

    pub(crate) const fn is_reset(&self, side: Side) -> bool {
        self.reset[side as usize]
    }

    pub(crate) const fn set_reset(&mut self, side: Side) {
        self.reset[side as usize] = true;
    }

    pub(crate) fn is_closed(&self, side: Side) -> bool {
        self.end(side) == End::Closed
    }
}
