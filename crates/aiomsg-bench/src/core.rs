//! The protocol core alone: no I/O, no clock, always the same calls, so that its instructions can be counted.

use std::hint::black_box;
use std::time::Duration;

use aiomsg_proto::dialect::v1;
use aiomsg_proto::{
    Batch, CloseReason, Config, ConnectionId, DeliveryGuarantee, Identity, Inbox, Instant, MessageId, Origin,
    Protocol, Ready, SendMode, Socket,
};
use bytes::{Bytes, BytesMut};
use clap::ValueEnum;

/// Messages that are sent, or arrive, before the socket is asked what to do.
const BURST: u64 = 64;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    case: Case,
    /// Peers of the socket.
    #[arg(long, default_value_t = 1)]
    peers: u32,
    /// How often.
    #[arg(long, default_value_t = 1_000)]
    count: u64,
}

/// What is done over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Case {
    /// A message of 16 bytes is accepted, routed, encoded and taken, 64 at a time.
    Send,
    /// The same, at-least-once, and its acknowledgement comes.
    SendAcknowledged,
    /// The same to all, one message at a time.
    Publish,
    /// The same to all, 64 messages at a time.
    PublishBurst,
    /// A message of 16 bytes arrives and is taken by the application, 64 at a time.
    Receive,
    /// The same, and it is acknowledged.
    ReceiveAcknowledged,
    /// The socket is asked for everything when there is nothing.
    Poll,
    /// Five seconds pass in which nobody says anything but that he is alive.
    Heartbeats,
    /// All connections are lost and made again.
    Reconnect,
}

/// A socket and its peers, which say nothing by themselves.
struct Rig {
    socket: Socket,
    now: Instant,
    links: Vec<ConnectionId>,
    batch: Batch,
    buffer: BytesMut,
    inbox: Inbox,
    /// What was written, if somebody wants to know.
    written: Option<Vec<u8>>,
}

pub fn run(arguments: &Arguments) {
    let Arguments { case, peers, count } = *arguments;
    let config = match case {
        Case::Publish | Case::PublishBurst => Config::default().send_mode(SendMode::Publish),
        Case::SendAcknowledged => Config::default().delivery(DeliveryGuarantee::AtLeastOnce),
        _ => Config::default(),
    };
    let mut rig = Rig::new(config, peers);
    for _ in 0..count {
        rig.play(case);
    }
}

impl Rig {
    fn new(config: Config, peers: u32) -> Self {
        let now = Instant::EPOCH + Duration::from_secs(1);
        let socket = Socket::new(config, Identity::from_bytes([0xff; 16]), 1, now).expect("valid settings");
        let mut rig = Self {
            socket,
            now,
            links: Vec::new(),
            batch: Batch::default(),
            buffer: BytesMut::new(),
            inbox: Inbox::default(),
            written: None,
        };
        for number in 0..peers {
            rig.connect(number);
        }
        rig.serve();
        rig
    }

    fn connect(&mut self, number: u32) {
        let id = self.socket.handle_connected(self.now, Origin::Accepted, "peer").expect("there is a place");
        let mut hello = Vec::new();
        Protocol::V1.encode_greeting(&Identity::from_bytes(u128::from(number).to_be_bytes()), &mut hello);
        self.links.push(id);
        self.hear(id, &hello);
    }

    fn hear(&mut self, id: ConnectionId, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.socket.handle_received(self.now, id, &mut self.buffer);
        assert!(self.buffer.is_empty(), "there is room");
    }

    /// Does all that the socket asks for.
    fn serve(&mut self) {
        while let Some(ready) = self.socket.poll_ready() {
            match ready {
                Ready::Connection(id) => self.write(id),
                Ready::Received => {
                    while self.socket.poll_received(self.now, &mut self.inbox) {
                        self.inbox.by_ref().for_each(|message| drop(black_box(message)));
                    }
                }
                _ => {}
            }
        }
        while let Some(event) = self.socket.poll_event() {
            drop(black_box(event));
        }
        black_box(self.socket.poll_timeout());
    }

    fn write(&mut self, id: ConnectionId) {
        while self.socket.transmit(self.now, id, &mut self.batch) {
            if let Some(written) = &mut self.written {
                self.batch.slices().for_each(|slice| written.extend_from_slice(slice));
            }
            let length = self.batch.slices().map(<[u8]>::len).sum();
            self.batch.advance(length);
            self.socket.handle_transmitted(self.now, id, &mut self.batch);
        }
    }

    fn play(&mut self, case: Case) {
        match case {
            Case::Send | Case::PublishBurst => self.send(BURST),
            Case::Publish => self.send(1),
            Case::SendAcknowledged => self.send_and_acknowledge(),
            Case::Receive => self.receive(|_, out| {
                out.extend_from_slice(&[0, 0, 0, 17, v1::DATA]);
            }),
            Case::ReceiveAcknowledged => {
                let start = self.now.saturating_duration_since(Instant::EPOCH).as_nanos();
                self.now = self.now + Duration::from_nanos(BURST);
                self.receive(|number, out| {
                    out.extend_from_slice(&[0, 0, 0, 33, v1::DATA_REQ]);
                    out.extend_from_slice(&(start + u128::from(number)).to_be_bytes());
                });
            }
            Case::Poll => {
                self.socket.handle_timeout(self.now);
                self.serve();
            }
            Case::Heartbeats => self.stay_alive(),
            Case::Reconnect => self.reconnect(),
        }
    }

    fn send(&mut self, messages: u64) {
        for _ in 0..messages {
            self.socket.send(self.now, Bytes::from_static(&[7; 16])).expect("there is room");
        }
        self.serve();
    }

    /// Every message goes to the first peer, whose acknowledgements come at once.
    fn send_and_acknowledge(&mut self) {
        self.written = Some(Vec::new());
        self.send(BURST);
        let written = self.written.take().unwrap_or_default();
        let mut acknowledgements = Vec::with_capacity(written.len());
        for frame in written.chunks_exact(4 + 1 + 16 + 16) {
            let id = MessageId::from_bytes(frame[5..21].try_into().expect("16 bytes"));
            Protocol::V1.encode_acknowledgement(id, &mut acknowledgements);
        }
        let first = self.links[0];
        self.hear(first, &acknowledgements);
        self.serve();
    }

    fn receive(&mut self, head: impl Fn(u64, &mut Vec<u8>)) {
        let mut bytes = Vec::new();
        for number in 0..BURST {
            head(number, &mut bytes);
            bytes.extend_from_slice(&[7; 16]);
        }
        let first = self.links[0];
        self.hear(first, &bytes);
        self.serve();
    }

    fn stay_alive(&mut self) {
        let end = self.now + Duration::from_secs(5);
        while let Some(due) = self.socket.poll_timeout().filter(|due| *due <= end) {
            self.now = due;
            self.socket.handle_timeout(due);
            self.serve();
        }
        self.now = end;
        let mut heartbeat = Vec::new();
        Protocol::V1.encode_heartbeat(&mut heartbeat);
        for number in 0..self.links.len() {
            self.hear(self.links[number], &heartbeat);
        }
        self.serve();
    }

    fn reconnect(&mut self) {
        let lost = std::mem::take(&mut self.links);
        let peers = lost.len() as u32;
        for id in lost {
            self.socket.handle_disconnected(self.now, id, &mut Batch::default(), CloseReason::PeerClosed);
        }
        self.serve();
        for number in 0..peers {
            self.connect(number);
        }
        self.serve();
    }
}
