//! A client of an echo server with plain threads and blocking streams, nothing asynchronous.
//!
//! ```text
//! cargo run --example mio                # an echo server
//! cargo run --example blocking
//! ```
//!
//! One thread has the core, and waits for a channel, until the core wants to be told of the time. Each connection has a
//! thread that reads, as much as it was asked to and when it was asked to, and one that writes batches and brings them
//! back. Nobody waits for the network while it has the core.

#![allow(clippy::print_stderr)]

mod errand;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use aiomsg_proto::{Batch, CloseReason, ConnectionId, DialId, Instant, LinkState, Origin, Ready, Socket};
use bytes::BytesMut;
use clap::Parser;

use self::errand::{Args, Errand, end, new_socket, say};

/// What the threads tell the one that has the core.
enum Input {
    /// An attempt to connect is over.
    Dialled(DialId, io::Result<TcpStream>),
    /// This was read, as it was asked for. Nothing is the end.
    Read(ConnectionId, io::Result<Vec<u8>>),
    /// Some of the batch was written.
    Written(ConnectionId, Box<Batch>, io::Result<()>),
}

struct Link {
    stream: TcpStream,
    /// What was read and the core has left.
    buffer: BytesMut,
    /// What is to be written. It is not here while the writer has it.
    batch: Option<Box<Batch>>,
    reading: bool,
    half_closed: bool,
    reader: Sender<usize>,
    writer: Sender<Box<Batch>>,
    /// The connection is over, for this reason.
    gone: Option<CloseReason>,
}

struct Client {
    address: SocketAddr,
    socket: Socket,
    epoch: std::time::Instant,
    links: BTreeMap<ConnectionId, Link>,
    inputs: Receiver<Input>,
    teller: Sender<Input>,
    errand: Errand,
}

fn main() -> ExitCode {
    end("blocking", Client::new(Args::parse()).and_then(Client::run))
}

impl Client {
    fn new(args: Args) -> Result<Self, Box<dyn Error>> {
        let mut socket = new_socket()?;
        socket.dial(Instant::EPOCH, args.connect.to_string())?;
        let (teller, inputs) = channel();
        Ok(Self {
            socket,
            epoch: std::time::Instant::now(),
            links: BTreeMap::new(),
            inputs,
            teller,
            address: args.connect,
            errand: Errand::new(args),
        })
    }

    /// The time, counted from an epoch of our choice.
    fn now(&self) -> Instant {
        Instant::EPOCH + self.epoch.elapsed()
    }

    fn run(mut self) -> Result<(), Box<dyn Error>> {
        loop {
            let now = self.now();
            self.socket.handle_timeout(now);
            self.errand.send(&mut self.socket, now)?;
            while let Some(ready) = self.socket.poll_ready() {
                match ready {
                    Ready::Connection(id) => self.serve(now, id),
                    Ready::Dial(dial) => self.dial(dial),
                    Ready::Received => self.errand.receive(&mut self.socket, now)?,
                    Ready::Room => self.errand.send(&mut self.socket, now)?,
                    _ => {}
                }
            }
            while let Some(event) = self.socket.poll_event() {
                self.errand.note(&event, &self.socket)?;
            }
            if let Some(report) = self.socket.close_report() {
                say(format_args!("closed; {} messages were not handed over", report.dropped.messages));
                return Ok(());
            }
            self.wait();
        }
    }

    /// Waits for an input, until the core wants to be told of the time.
    fn wait(&mut self) {
        let span = self.socket.poll_timeout().map(|at| at.saturating_duration_since(self.now()));
        // We have a sender ourselves, so the channel is open.
        let mut next = self.inputs.recv_timeout(span.unwrap_or(Duration::MAX));
        // All that is there is told before the core is asked again.
        while let Ok(input) = next {
            self.handle(input);
            next = self.inputs.try_recv().map_err(|_| RecvTimeoutError::Timeout);
        }
    }

    fn handle(&mut self, input: Input) {
        let now = self.now();
        match input {
            Input::Dialled(dial, Err(error)) => self.socket.handle_dial_failed(now, dial, error.to_string()),
            Input::Dialled(dial, Ok(stream)) => self.connected(now, dial, stream),
            Input::Read(id, result) => {
                let Some(link) = self.links.get_mut(&id) else { return };
                link.reading = false;
                match result {
                    Ok(bytes) if bytes.is_empty() => link.end(CloseReason::PeerClosed),
                    Ok(bytes) => link.buffer.extend_from_slice(&bytes),
                    Err(_) => link.end(CloseReason::Failed),
                }
                self.serve(now, id);
            }
            Input::Written(id, mut batch, result) => {
                let Some(link) = self.links.get_mut(&id) else { return };
                self.socket.handle_transmitted(now, id, &mut batch);
                link.batch = Some(batch);
                if result.is_err() {
                    link.end(CloseReason::Failed);
                }
                self.serve(now, id);
            }
        }
    }

    /// Connects, on a thread of its own.
    fn dial(&self, dial: DialId) {
        let (address, limit) = (self.address, self.socket.config().connect_deadline());
        let teller = self.teller.clone();
        thread::spawn(move || drop(teller.send(Input::Dialled(dial, connect(address, limit)))));
    }

    fn connected(&mut self, now: Instant, dial: DialId, stream: TcpStream) {
        let (Ok(for_reader), Ok(for_writer)) = (stream.try_clone(), stream.try_clone()) else {
            return self.socket.handle_dial_failed(now, dial, "out of descriptors");
        };
        let address = self.address.to_string();
        let Ok(id) = self.socket.handle_connected(now, Origin::Dialled(dial), address) else { return };
        let (reader, permits) = channel();
        let (writer, batches) = channel();
        let teller = self.teller.clone();
        thread::spawn(move || read(id, &for_reader, &permits, &teller));
        let teller = self.teller.clone();
        thread::spawn(move || write(id, &for_writer, &batches, &teller));
        let (buffer, batch) = (BytesMut::new(), Some(Box::default()));
        let [reading, half_closed] = [false; 2];
        let link = Link { stream, buffer, batch, reading, half_closed, reader, writer, gone: None };
        self.links.insert(id, link);
    }

    /// Does for a connection what there is to do.
    fn serve(&mut self, now: Instant, id: ConnectionId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        self.socket.handle_received(now, id, &mut link.buffer);
        match self.socket.link_state(id) {
            LinkState::Open => {}
            LinkState::HalfClose if link.half_closed => {}
            LinkState::HalfClose => {
                link.half_closed = true;
                // Fails if the peer has closed already.
                let _ = link.stream.shutdown(Shutdown::Write);
            }
            _ => link.end(CloseReason::Ended),
        }
        if let Some(reason) = link.gone {
            // Not before the batch is back, since the core is to know what was written of it.
            if let Some(batch) = &mut link.batch {
                self.socket.handle_disconnected(now, id, batch, reason);
                self.links.remove(&id);
            }
            return;
        }
        if let Some(mut batch) = link.batch.take() {
            if self.socket.transmit(now, id, &mut batch) {
                let _ = link.writer.send(batch);
            } else {
                link.batch = Some(batch);
            }
        }
        let most = self.socket.wants_read(id, &link.buffer);
        if most > 0 && !link.reading {
            link.reading = link.reader.send(most).is_ok();
        }
    }
}

impl Link {
    /// Lets reader and writer end, whatever they wait for.
    fn end(&mut self, reason: CloseReason) {
        self.gone.get_or_insert(reason);
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn connect(address: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_nodelay(true)?;
    // Where nobody listens on this machine, a connection may be made to itself.
    if stream.local_addr()? == address { Err(ErrorKind::ConnectionRefused.into()) } else { Ok(stream) }
}

/// Reads as much as it is permitted to, each time that it is.
fn read(id: ConnectionId, mut stream: &TcpStream, permits: &Receiver<usize>, teller: &Sender<Input>) {
    let mut chunk = vec![0; 64 * 1024];
    for most in permits {
        let most = most.min(chunk.len());
        let bytes = stream.read(&mut chunk[..most]).map(|read| chunk[..read].to_vec());
        let _ = teller.send(Input::Read(id, bytes));
    }
}

/// Writes some of each batch, and brings it back.
fn write(id: ConnectionId, mut stream: &TcpStream, batches: &Receiver<Box<Batch>>, teller: &Sender<Input>) {
    for mut batch in batches {
        let slices: Vec<_> = batch.slices().take(16).map(IoSlice::new).collect();
        let written = stream.write_vectored(&slices);
        let result = written.map(|written| batch.advance(written));
        let _ = teller.send(Input::Written(id, batch, result));
    }
}
