//! Copies that were acknowledged while they waited to be written, and who waited for their place.

use core::time::Duration;

use aiomsg_proto::{
    Batch, Config, ConnectionId, DeliveryGuarantee, Instant, Limit, Origin, Ready, SendError, Socket,
};
use aiomsg_tests::company::id;
use aiomsg_tests::wire;
use bytes::BytesMut;

const SECOND: Duration = Duration::from_secs(1);

/// A socket with one peer, and what is written to it.
struct Node {
    socket: Socket,
    link: ConnectionId,
    batch: Batch,
    written: Vec<u8>,
    now: Instant,
    announced: Vec<Ready>,
}

impl Node {
    fn new(config: Config) -> Self {
        let now = Instant::EPOCH + SECOND * 1_000;
        let config = config.delivery(DeliveryGuarantee::AtLeastOnce).resend_after(SECOND);
        let mut socket = Socket::new(config, id(100), 1, now).expect("valid");
        let link = socket.handle_connected(now, Origin::Accepted, "peer").expect("there is a place");
        socket.handle_received(now, link, &mut BytesMut::from(&wire::hello(id(1))[..]));
        let mut node =
            Self { socket, link, batch: Batch::default(), written: Vec::new(), now, announced: Vec::new() };
        node.serve();
        node
    }

    /// Does what the socket asks for, without writing. Returns whether the connection was to be looked after.
    fn look(&mut self) -> bool {
        self.socket.handle_timeout(self.now);
        let mut looked = false;
        while let Some(ready) = self.socket.poll_ready() {
            self.announced.push(ready);
            if ready == Ready::Connection(self.link) {
                looked = true;
                self.socket.transmit(self.now, self.link, &mut self.batch);
            }
        }
        looked
    }

    /// The connection takes what is being written.
    fn write(&mut self) {
        self.batch.slices().for_each(|slice| self.written.extend_from_slice(slice));
        self.batch.advance(usize::MAX);
        self.socket.handle_transmitted(self.now, self.link, &mut self.batch);
    }

    /// All that there is to do now.
    fn serve(&mut self) {
        while self.look() {
            self.write();
        }
    }

    fn acknowledge(&mut self, request: usize) {
        let (frames, _) = wire::partial_frames(&self.written);
        let id = frames.iter().filter(|frame| frame[0] == 4).nth(request).expect("it was written")[1..17]
            .try_into()
            .expect("16 bytes");
        self.socket.handle_received(self.now, self.link, &mut BytesMut::from(&wire::ack(id)[..]));
    }

    fn requests(&self) -> Vec<Vec<u8>> {
        let (frames, _) = wire::partial_frames(&self.written);
        frames.into_iter().filter(|frame| frame[0] == 4).map(|frame| frame[17..].to_vec()).collect()
    }
}

/// Round-robin. The first message is acknowledged late: its copy has the only place that there is at the peer, behind the
/// second, which is being written. When that is written, the place is free, and the third message is to be written.
#[test]
fn what_waits_for_the_place_of_a_copy_goes_on_when_that_is_dropped() {
    let mut node = Node::new(Config::default().prefetch(Limit::new(1, 1 << 20)));
    node.socket.send(node.now, "first".into()).expect("room");
    node.serve();
    node.now = node.now + SECOND / 2;
    node.socket.send(node.now, "second".into()).expect("room");
    while node.look() {}
    // Now the copy of the first lines up.
    node.now = node.now + SECOND / 2;
    while node.look() {}
    node.socket.send(node.now, "third".into()).expect("room");
    node.acknowledge(0);
    node.write();
    node.serve();
    // Short of the time of a heartbeat, which would have it go on.
    node.now = node.now + Duration::from_millis(900);
    node.serve();
    assert_eq!(node.requests(), [b"first".to_vec(), b"second".to_vec(), b"third".to_vec()]);
}

/// The same with messages to this peer alone, where the sender waits.
#[test]
fn who_waits_for_the_place_of_a_copy_is_told_when_that_is_dropped() {
    let mut node = Node::new(Config::default().peer_queue(Limit::new(1, 1 << 20)));
    node.socket.send_to(node.now, id(1), "first".into()).expect("room");
    node.serve();
    node.now = node.now + SECOND / 2;
    node.socket.send_to(node.now, id(1), "second".into()).expect("room");
    while node.look() {}
    node.now = node.now + SECOND / 2;
    while node.look() {}
    let refused = node.socket.send_to(node.now, id(1), "third".into());
    assert!(matches!(refused, Err(SendError::PeerFull(_))), "{refused:?}");
    node.acknowledge(0);
    node.announced.clear();
    node.write();
    node.serve();
    node.now = node.now + Duration::from_millis(900);
    node.serve();
    assert!(node.announced.contains(&Ready::PeerRoom(id(1))), "{:?}", node.announced);
}
