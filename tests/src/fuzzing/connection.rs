//! One connection alone: what is said to it, what it is asked, and what it does.

use core::time::Duration;

use aiomsg_proto::dialect::Incoming;
use aiomsg_proto::{
    Batch, CloseReason, Config, Connection, Identity, IdentityForm, Instant, Limit, MessageId, Protocol,
    Role, SendError,
};
use arbitrary::{Arbitrary, Result, Unstructured};
use bytes::{Bytes, BytesMut};

use super::speech::Speech;
use crate::wire;

/// What happens to a connection.
#[derive(Arbitrary, Debug)]
enum Deed {
    Greeting,
    Said(Speech),
    Establish,
    Send(Vec<u8>),
    Acknowledge(u8),
    /// So many bytes can be written.
    Write(u16),
    /// So many milliseconds pass.
    Pass(u16),
    /// The time of the next deadline.
    Due,
    /// A call that comes too early.
    Early,
    Finish,
}

/// A connection, and what it has done.
struct Player {
    connection: Connection,
    protocol: Protocol,
    now: Instant,
    buffer: BytesMut,
    batch: Batch,
    written: Vec<u8>,
    accepted: Vec<Bytes>,
}

const PROTOCOLS: [Protocol; 3] =
    [Protocol::V1, Protocol::Classic(IdentityForm::Raw), Protocol::Classic(IdentityForm::Text)];

/// Deeds in any order. What is sent is either written, whole and in order, or comes back.
pub(super) fn connection(input: &mut Unstructured<'_>) -> Result<()> {
    let protocol = *input.choose(&PROTOCOLS)?;
    let role = if input.arbitrary()? { Role::Accepted } else { Role::Dialled(protocol) };
    let config = Config::default().max_message(500).peer_queue(Limit::new(20, 2_000));
    let now = Instant::EPOCH + Duration::from_secs(1);
    let connection =
        Connection::new(config, Identity::from_bytes([9; 16]), role, 3, now).expect("valid settings");
    let mut player = Player {
        connection,
        protocol,
        now,
        buffer: BytesMut::new(),
        batch: Batch::default(),
        written: Vec::new(),
        accepted: Vec::new(),
    };
    let deeds = input.arbitrary_iter::<Deed>()?.take(100);
    for deed in deeds {
        if player.play(deed?).is_err() {
            break;
        }
    }
    player.check_sent();
    Ok(())
}

impl Player {
    fn play(&mut self, deed: Deed) -> core::result::Result<(), CloseReason> {
        match deed {
            Deed::Greeting => {
                self.hear(&Speech::greeting(self.protocol, Identity::from_bytes([5; 16])))?;
            }
            Deed::Said(speech) => self.hear(&speech.bytes())?,
            Deed::Establish => self.connection.establish(self.now),
            Deed::Send(payload) => self.send(payload.into()),
            Deed::Acknowledge(number) => self.connection.acknowledge(MessageId::from_bytes([number; 16])),
            Deed::Write(most) => self.write(most.into()),
            Deed::Pass(millis) => {
                self.now = self.now + Duration::from_millis(millis.into());
                self.tick()?;
            }
            Deed::Due => {
                self.now = self.now.max(self.connection.poll_timeout().unwrap_or(self.now));
                self.tick()?;
            }
            Deed::Early => {
                let due = self.connection.poll_timeout();
                self.connection.handle_timeout(Instant::EPOCH).expect("nothing is due before the start");
                assert_eq!(self.connection.poll_timeout(), due, "early calls change nothing");
            }
            Deed::Finish => self.connection.finish(self.now),
        }
        Ok(())
    }

    fn hear(&mut self, bytes: &[u8]) -> core::result::Result<(), CloseReason> {
        let mut rest = bytes;
        loop {
            let wanted = self.connection.wants_read(&self.buffer);
            let (now, later) = rest.split_at(wanted.min(rest.len()));
            self.buffer.extend_from_slice(now);
            rest = later;
            let mut took = false;
            while let Some(incoming) = self.connection.receive(self.now, &mut self.buffer)? {
                took = true;
                assert!(!matches!(incoming, Incoming::Heartbeat | Incoming::Skipped(_)));
            }
            // What cannot be read yet is lost here; a peer's system would keep it.
            if rest.is_empty() || (now.is_empty() && !took) {
                return Ok(());
            }
        }
    }

    fn send(&mut self, payload: Bytes) {
        match self.connection.send(payload.clone()) {
            Ok(()) => {
                assert!(self.connection.is_open() && payload.len() <= 500);
                self.accepted.push(payload);
            }
            Err(error) => {
                assert_eq!(matches!(error, SendError::TooLong { .. }), payload.len() > 500);
                assert_eq!(error.into_payload(), payload);
            }
        }
    }

    fn write(&mut self, most: usize) {
        if !self.connection.transmit(&mut self.batch) {
            return;
        }
        let mut bytes = self.batch.slices().take(3).collect::<Vec<_>>().concat();
        assert!(!bytes.is_empty(), "there is something to write");
        bytes.truncate(most);
        self.batch.advance(bytes.len());
        self.written.extend(bytes);
        self.connection.handle_transmitted(self.now, &mut self.batch);
    }

    fn tick(&mut self) -> core::result::Result<(), CloseReason> {
        self.connection.handle_timeout(self.now)?;
        let due = self.connection.poll_timeout();
        assert!(due.is_none_or(|due| due > self.now), "still due after it was done");
        self.connection.handle_timeout(self.now).expect("it was alive a moment ago");
        assert_eq!(self.connection.poll_timeout(), due, "a second call changes nothing");
        Ok(())
    }

    fn check_sent(mut self) {
        let spoken = self.connection.protocol();
        let unsent: Vec<Bytes> = self.connection.into_unsent(&mut self.batch).collect();
        let payload = |frame: Vec<u8>| match spoken?.decode(frame.into()) {
            Incoming::Message(payload) => Some(payload),
            // What would be ambiguous goes with a header.
            Incoming::Request(_, payload) => Some(payload),
            _ => None,
        };
        let (frames, rest) = wire::partial_frames(&self.written);
        let mut sent: Vec<Bytes> = frames.into_iter().skip(1).filter_map(payload).collect();
        assert!(rest.len() < 600, "one frame at most is written in part");
        sent.extend(unsent);
        assert_eq!(sent, self.accepted, "written or given back, in order");
    }
}
