//! placeholder
mod net;
mod socket;

pub use aiomsg_driver::{Builder, EventStream, MessageStream, ReceivedStream};
pub use aiomsg_proto::{
    CloseReason, CloseReport, Closed, Config, ConfigError, ConnectionId, DialId, Dialect, DuplicateIdentity,
    Event, Identity, IdentityForm, Limit, Metrics, Origin, ParseIdentityError, PeerInfo, Protocol, Received,
    SendError, SendMode, SlowPeer, Usage,
};
pub use bytes::Bytes;

pub use self::socket::{BuildError, ConnectError, Socket};
