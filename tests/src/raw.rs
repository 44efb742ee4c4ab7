//! Peers that are just bytes: in, out, and the ends of both.

use bytes::BytesMut;

use crate::connection::{End, Side, WireId};
use crate::network::Network;

/// One connection of a peer that is just bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawId(pub(crate) usize);

/// How a connection of a raw peer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The other end writes nothing more.
    Finished,
    /// The other end does not exist any more.
    Reset,
}

#[derive(Debug)]
pub(crate) struct Raw {
    wire: WireId,
    side: Side,
    received: Vec<u8>,
    unwritten: BytesMut,
    finishing: bool,
    reading: bool,
    ended: Option<Ended>,
}

impl Network {
    pub(crate) fn add_raw(&mut self, wire: WireId, side: Side) -> RawId {
        let id = RawId(self.raws.len());
        self.wires[wire.0].set_end(side, End::Raw(id));
        self.raws.push(Raw {
            wire,
            side,
            received: Vec::new(),
            unwritten: BytesMut::new(),
            finishing: false,
            reading: true,
            ended: None,
        });
        id
    }

    /// Lets a raw peer write, at once or as soon as there is room.
    pub fn write(&mut self, raw: RawId, bytes: impl AsRef<[u8]>) {
        self.raws[raw.0].unwritten.extend_from_slice(bytes.as_ref());
        self.serve_raw(raw);
        self.settle();
    }

    /// Lets a raw peer close its writing half behind what it has written.
    pub fn finish(&mut self, raw: RawId) {
        self.raws[raw.0].finishing = true;
        self.serve_raw(raw);
        self.settle();
    }

    /// Lets a raw peer close its connection.
    pub fn close(&mut self, raw: RawId) {
        let Raw { wire, side, .. } = self.raws[raw.0];
        self.close_end(wire, side);
        self.settle();
    }

    /// Sets whether a raw peer reads, which it does unless told otherwise.
    pub fn set_reading(&mut self, raw: RawId, reading: bool) {
        self.raws[raw.0].reading = reading;
        self.serve_raw(raw);
        self.settle();
    }

    /// All that a raw peer has read.
    pub fn bytes(&self, raw: RawId) -> &[u8] {
        &self.raws[raw.0].received
    }

    /// What a raw peer's other end did to the connection, if it ended it.
    pub fn ended(&self, raw: RawId) -> Option<Ended> {
        self.raws[raw.0].ended
    }

    /// The connection that a raw peer is one end of.
    pub fn wire_of_raw(&self, raw: RawId) -> WireId {
        self.raws[raw.0].wire
    }

    /// Reads and writes as far as it goes.
    pub(crate) fn serve_raw(&mut self, id: RawId) {
        let now = self.now;
        let raw = &mut self.raws[id.0];
        let (wire, side) = (raw.wire, raw.side);
        let connection = &mut self.wires[wire.0];
        let window = connection.written_by(side).window();
        let bytes = raw.unwritten.split_to(window.min(raw.unwritten.len()));
        let finishes = raw.finishing && raw.unwritten.is_empty();
        if raw.reading {
            let is_reset = connection.is_reset(side);
            let pipe = connection.read_by(side);
            let read = pipe.take(usize::MAX);
            raw.received.extend_from_slice(&read);
            if is_reset {
                raw.ended = Some(Ended::Reset);
            } else if pipe.is_ended(now) {
                raw.ended = Some(Ended::Finished);
            }
            if !read.is_empty() {
                self.announce_window(wire, side.other());
            }
        }
        if !bytes.is_empty() {
            self.transport(wire, side, bytes);
        }
        if finishes {
            self.raws[id.0].finishing = false;
            self.finish_writing(wire, side);
        }
    }
}
