//! Who the peer is and what it speaks, found out from its first frame, however that comes.

use core::time::Duration;

use aiomsg_proto::dialect::{Greeting, GreetingError, Incoming};
use aiomsg_proto::{
    Batch, CloseReason, Config, Connection, Dialect, Identity, IdentityForm, Instant, Protocol, Role,
};
use arbitrary::{Result, Unstructured};
use bytes::BytesMut;

use super::pieces;
use crate::wire;

/// The most that is read of a peer that is not accepted yet.
const INTRODUCTION: usize = 4 * 1024;

/// What became of a stream.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    incoming: Vec<Incoming>,
    error: Option<CloseReason>,
    /// What the connection says to the peer.
    written: Vec<u8>,
    rest: Vec<u8>,
}

/// How one end is set up.
#[derive(Clone, Copy)]
struct Setting {
    role: Role,
    dialect: Dialect,
}

impl Setting {
    fn draw(input: &mut Unstructured<'_>) -> Result<Self> {
        let roles = [
            Role::Accepted,
            Role::Dialled(Protocol::V1),
            Role::Dialled(Protocol::Classic(IdentityForm::Raw)),
            Role::Dialled(Protocol::Classic(IdentityForm::Text)),
        ];
        Ok(Self {
            role: *input.choose(&roles)?,
            dialect: *input.choose(&[Dialect::Auto, Dialect::V1, Dialect::Classic])?,
        })
    }

    /// What a connection makes of a stream that comes in these pieces.
    fn read(self, pieces: &[&[u8]]) -> Outcome {
        let config = Config::default().dialect(self.dialect).max_message(1_000);
        let identity = Identity::from_bytes([7; 16]);
        let mut connection =
            Connection::new(config, identity, self.role, 1, Instant::EPOCH).expect("valid settings");
        let (mut outcome, mut buffer) = (Outcome::default(), BytesMut::new());
        for piece in pieces {
            let mut piece = *piece;
            while !piece.is_empty() && outcome.error.is_none() {
                let wanted = connection.wants_read(&buffer);
                assert!(wanted > 0, "what has come is taken, or refused");
                if !connection.is_open() {
                    assert!(wanted + buffer.len() <= INTRODUCTION);
                }
                let (taken, left) = piece.split_at(wanted.min(piece.len()));
                piece = left;
                buffer.extend_from_slice(taken);
                outcome.take_from(&mut connection, &mut buffer);
            }
        }
        let mut batch = Batch::default();
        while connection.transmit(&mut batch) {
            batch.slices().for_each(|slice| outcome.written.extend_from_slice(slice));
            batch.advance(usize::MAX);
            connection.handle_transmitted(Instant::EPOCH, &mut batch);
        }
        if outcome.incoming.is_empty() && outcome.error.is_none() {
            let mut deadline = Instant::EPOCH;
            let end = loop {
                deadline = connection.poll_timeout().filter(|next| *next > deadline).expect("it goes on");
                if let Err(reason) = connection.handle_timeout(deadline) {
                    break reason;
                }
            };
            assert_eq!(
                (deadline, end),
                (Instant::EPOCH + Duration::from_secs(10), CloseReason::HandshakeTimeout)
            );
        }
        if outcome.error.is_none() {
            outcome.rest = buffer.to_vec();
        }
        outcome
    }
}

impl Outcome {
    fn take_from(&mut self, connection: &mut Connection, buffer: &mut BytesMut) {
        loop {
            match connection.receive(Instant::EPOCH, buffer) {
                Ok(Some(greeting @ Incoming::Greeting(_))) => {
                    self.incoming.push(greeting);
                    connection.establish(Instant::EPOCH);
                }
                Ok(Some(incoming)) => self.incoming.push(incoming),
                Ok(None) => return,
                Err(error) => {
                    self.error = Some(error);
                    return;
                }
            }
        }
    }
}

/// Any stream, at once and in pieces.
pub(super) fn detection(input: &mut Unstructured<'_>) -> Result<()> {
    let setting = Setting::draw(input)?;
    let seed = input.arbitrary()?;
    let stream = input.bytes(input.len())?;
    let at_once = setting.read(&[stream]);
    let in_pieces = setting.read(&pieces(stream, seed).collect::<Vec<_>>());
    assert_eq!(at_once, in_pieces);
    agrees_with_first_frame(setting, stream, &at_once);
    Ok(())
}

/// The first frame alone decides.
fn agrees_with_first_frame(setting: Setting, stream: &[u8], outcome: &Outcome) {
    let Some(length) = stream.first_chunk().map(|prefix| u32::from_be_bytes(*prefix)) else {
        assert_eq!((&outcome.error, outcome.incoming.len()), (&None, 0));
        return;
    };
    if length > 255 {
        let error = GreetingError::TooLong { length };
        assert_eq!(outcome.error, Some(error.into()));
        return;
    }
    let (frames, _) = wire::partial_frames(stream);
    let Some(first) = frames.first() else { return };
    match (Greeting::decode(first), outcome.incoming.first()) {
        (Ok(greeting), Some(first)) => assert_eq!(*first, Incoming::Greeting(greeting)),
        (Ok(greeting), None) => match outcome.error {
            Some(CloseReason::DialectOff) => assert_ne!(setting.dialect, Dialect::Auto),
            Some(CloseReason::OtherDialect { spoken }) => assert_eq!(spoken, greeting.protocol),
            ref other => panic!("{greeting:?} led to {other:?}"),
        },
        (Err(error), None) => assert_eq!(outcome.error, Some(error.into())),
        (Err(error), Some(first)) => panic!("{error} was taken for {first:?}"),
    }
}
