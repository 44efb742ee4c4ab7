//! One connection of the server, and its turns of writing and reading.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;

use aiomsg_proto::{Batch, CloseReason, ConnectionId, Instant, LinkState, Received, SendError, Socket};
use bytes::BytesMut;
use mio::net::TcpStream;

pub(crate) struct Link {
    pub(crate) id: ConnectionId,
    pub(crate) stream: TcpStream,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    half_closed: bool,
    /// What was read and the core has left.
    buffer: BytesMut,
    /// What is being written.
    pub(crate) batch: Batch,
    /// Messages that came and are to go back.
    pub(crate) echoes: VecDeque<Received>,
}

impl Link {
    pub(crate) fn new(id: ConnectionId, stream: TcpStream) -> Self {
        let (buffer, batch, echoes) = (BytesMut::new(), Batch::default(), VecDeque::new());
        Self { id, stream, readable: true, writable: true, half_closed: false, buffer, batch, echoes }
    }

    /// Sends back what came, as far as there is room. Returns how many that were.
    pub(crate) fn echo(&mut self, socket: &mut Socket, now: Instant) -> u64 {
        let mut echoed = 0;
        while let Some(received) = self.echoes.front() {
            match socket.send_to(now, received.identity, received.payload.clone()) {
                // `Ready::Room` or `Ready::PeerRoom` says when to try again.
                Err(SendError::Full(_) | SendError::PeerFull(_)) => break,
                // Otherwise the socket is closing.
                result => echoed += u64::from(result.is_ok()),
            }
            self.echoes.pop_front();
        }
        echoed
    }

    /// Writes and reads once. Returns whether it is worth doing again.
    pub(crate) fn turn(&mut self, socket: &mut Socket, now: Instant) -> Result<bool, CloseReason> {
        // What the core has left in the buffer, it may want now.
        socket.handle_received(now, self.id, &mut self.buffer);
        match socket.link_state(self.id) {
            LinkState::Open => {}
            LinkState::HalfClose if self.half_closed => {}
            LinkState::HalfClose => {
                self.half_closed = true;
                // Fails if the peer has closed already.
                let _ = self.stream.shutdown(Shutdown::Write);
            }
            _ => return Err(CloseReason::Ended),
        }
        // What the peer sent before writing failed is read all the same.
        let wrote = self.write(socket, now);
        let read = self.read(socket, now)?;
        Ok(wrote? || read)
    }

    fn write(&mut self, socket: &mut Socket, now: Instant) -> Result<bool, CloseReason> {
        if !self.writable || !socket.transmit(now, self.id, &mut self.batch) {
            return Ok(false);
        }
        let slices: Vec<_> = self.batch.slices().take(16).map(IoSlice::new).collect();
        let written = self.stream.write_vectored(&slices);
        let written = possible(written, &mut self.writable, CloseReason::Failed)?;
        self.batch.advance(written);
        socket.handle_transmitted(now, self.id, &mut self.batch);
        Ok(written > 0)
    }

    fn read(&mut self, socket: &mut Socket, now: Instant) -> Result<bool, CloseReason> {
        let mut chunk = [0; 64 * 1024];
        let most = socket.wants_read(self.id, &self.buffer).min(chunk.len());
        // Who does not read echoes is not read either, and then taken for dead: we would hold them without bound.
        if most == 0 || !self.readable || !self.echoes.is_empty() {
            return Ok(false);
        }
        let read =
            possible(self.stream.read(&mut chunk[..most]), &mut self.readable, CloseReason::PeerClosed)?;
        self.buffer.extend_from_slice(&chunk[..read]);
        socket.handle_received(now, self.id, &mut self.buffer);
        Ok(read > 0)
    }
}

/// How many bytes were read or written. None, if it is not possible for now.
fn possible(result: io::Result<usize>, flag: &mut bool, zero: CloseReason) -> Result<usize, CloseReason> {
    match result {
        Ok(0) => Err(zero),
        Ok(count) => Ok(count),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            *flag = false;
            Ok(0)
        }
        Err(_) => Err(CloseReason::Failed),
    }
}
