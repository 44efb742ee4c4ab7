//! The scene that most tests start from.

use core::time::Duration;

use aiomsg_proto::{Config, Identity};

use crate::check::departures;
use crate::network::Network;
use crate::node::NodeId;
use crate::raw::RawId;

/// A socket that listens, and a well-behaved peer of it that is to notice nothing of what others do.
#[derive(Debug)]
pub struct Scene {
    /// The network that both are in.
    pub net: Network,
    /// The socket that listens at [`Scene::ADDRESS`].
    pub server: NodeId,
    /// Its well-behaved peer, connected.
    pub friend: NodeId,
    exchanged: usize,
}

impl Scene {
    /// Where the server listens.
    pub const ADDRESS: &str = "server";

    /// Both sockets, connected. The server has this configuration, the friend the default one.
    pub fn new(seed: u64, config: Config) -> Self {
        let mut net = Network::new(seed);
        let server = net.socket(config);
        let friend = net.socket(Config::default());
        net.listen(server, Self::ADDRESS);
        net.dial(friend, Self::ADDRESS);
        net.run_until("the friend is there", Duration::from_secs(1), |net| {
            net.node(server).peer_count() == 1
        });
        net.run_for(Duration::from_millis(10));
        Self { net, server, friend, exchanged: 0 }
    }

    /// Some identity that neither socket has.
    pub const fn stranger() -> Identity {
        Identity::from_bytes([0xaa; 16])
    }

    /// A raw peer, connected to the server, that has written `bytes`.
    pub fn stranger_writes(&mut self, bytes: impl AsRef<[u8]>) -> RawId {
        let raw = self.net.dial_raw(Self::ADDRESS);
        self.net.write(raw, bytes);
        raw
    }

    /// Lets time pass.
    pub fn run_for(&mut self, span: Duration) {
        self.net.run_for(span);
    }

    /// Checks that the friend was never disconnected, and that a message goes through each way.
    ///
    /// # Panics
    /// If not.
    pub fn assert_served(&mut self) {
        let (server, friend) = (self.server, self.friend);
        assert_eq!(departures(&self.net, friend), [], "the friend lost its connection");
        self.exchanged += 1;
        let message = format!("exchange {}", self.exchanged);
        let friend_identity = self.net.identity(friend);
        self.net.send_to(server, friend_identity, message.clone()).expect("the server accepts a message");
        self.net.send(friend, message.clone()).expect("the friend accepts a message");
        self.net.run_for(Duration::from_millis(100));
        let last = self.net.received(friend).last().expect("the friend received something");
        assert_eq!(last.payload, message);
        let of_friend =
            self.net.received(server).iter().rev().find(|message| message.identity == friend_identity);
        assert_eq!(of_friend.expect("the server received something").payload, message);
    }
}
