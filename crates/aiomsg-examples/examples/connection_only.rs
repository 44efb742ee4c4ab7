//! The lowest layer alone: one connection over one stream, without routing, without reconnection.
//!
//! ```text
//! cargo run --example mio                # an echo server
//! cargo run --example connection_only
//! ```
//!
//! Connects, introduces itself, sends messages one by one, checks that each comes back, and ends the connection so that
//! nothing is lost.

#![allow(clippy::print_stderr)]

mod errand;

use std::error::Error;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use aiomsg_proto::dialect::Incoming;
use aiomsg_proto::{Batch, CloseReason, Config, Connection, Dialect, Instant, Role};
use bytes::{Bytes, BytesMut};
use clap::Parser;

use self::errand::{Args, end, new_life, payload, say};

struct Client {
    args: Args,
    connection: Connection,
    stream: TcpStream,
    epoch: std::time::Instant,
    /// What was read and is not taken yet.
    buffer: BytesMut,
    /// What is being written.
    batch: Batch,
    half_closed: bool,
    echoed: u64,
}

fn main() -> ExitCode {
    let result: Result<(), Box<dyn Error>> = Client::connect(Args::parse()).and_then(|mut client| {
        client.run().map_err(|error| {
            // What the system has taken may have arrived; what it has not taken, has not.
            let unsent = client.connection.into_unsent(&mut client.batch).count();
            format!("{error}; {} echoed, {unsent} not handed over", client.echoed).into()
        })
    });
    end("connection_only", result)
}

impl Client {
    fn connect(args: Args) -> Result<Self, Box<dyn Error>> {
        let config = Config::default();
        let stream = TcpStream::connect_timeout(&args.connect, config.connect_deadline())
            .map_err(|error| format!("cannot connect to {}: {error}", args.connect))?;
        stream.set_nodelay(true)?;
        let (identity, seed) = new_life();
        let role = Role::Dialled(Dialect::Auto.opening(None));
        Ok(Self {
            connection: Connection::new(config, identity, role, seed, Instant::EPOCH)?,
            stream,
            epoch: std::time::Instant::now(),
            buffer: BytesMut::new(),
            batch: Batch::default(),
            half_closed: false,
            echoed: 0,
            args,
        })
    }

    /// The time, counted from an epoch of our choice.
    fn now(&self) -> Instant {
        Instant::EPOCH + self.epoch.elapsed()
    }

    fn run(&mut self) -> Result<(), Box<dyn Error>> {
        loop {
            self.write()?;
            match self.read() {
                Ok(0) if self.half_closed => return Ok(()),
                Ok(0) => return Err("the server has ended the connection".into()),
                Ok(_) => self.take()?,
                // Nothing came until something is due.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
            match self.connection.handle_timeout(self.now()) {
                // The server does not close its half in time. It had all that we sent.
                Err(CloseReason::Ended) => return Ok(()),
                result => result?,
            }
        }
    }

    /// Writes all there is. This may wait for the server to read. The server may wait for us to read at the same time,
    /// so a program that writes in this way must not have more on its way than the server holds: here, one message.
    fn write(&mut self) -> Result<(), Box<dyn Error>> {
        self.stream.set_write_timeout(Some(Duration::from_secs(15)))?;
        while self.connection.transmit(&mut self.batch) {
            let slices: Vec<_> = self.batch.slices().take(4).map(IoSlice::new).collect();
            match self.stream.write_vectored(&slices) {
                Ok(0) => return Err("the server takes nothing more".into()),
                Ok(written) => self.batch.advance(written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
            self.connection.handle_transmitted(self.now(), &mut self.batch);
        }
        if self.connection.wants_half_close() && !self.half_closed {
            self.half_closed = true;
            self.stream.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }

    /// Reads once, and waits for that until something is due.
    fn read(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 64 * 1024];
        let most = self.connection.wants_read(&self.buffer).min(chunk.len());
        let wait = self.connection.poll_timeout().map(|at| at.saturating_duration_since(self.now()));
        // A time limit of zero would be none.
        self.stream.set_read_timeout(wait.map(|span| span.max(Duration::from_millis(1))))?;
        let read = self.stream.read(&mut chunk[..most])?;
        self.buffer.extend_from_slice(&chunk[..read]);
        Ok(read)
    }

    /// Takes what has arrived.
    fn take(&mut self) -> Result<(), Box<dyn Error>> {
        while let Some(incoming) = self.connection.receive(self.now(), &mut self.buffer)? {
            match incoming {
                Incoming::Greeting(greeting) => {
                    say(format_args!("connected to {} at {}", greeting.identity, self.args.connect));
                    self.connection.establish(self.now());
                    self.proceed()?;
                }
                Incoming::Message(payload) => self.check(&payload)?,
                Incoming::Request(id, payload) => {
                    self.connection.acknowledge(id);
                    self.check(&payload)?;
                }
                // We ask for no acknowledgement.
                _ => {}
            }
        }
        Ok(())
    }

    fn check(&mut self, echo: &Bytes) -> Result<(), Box<dyn Error>> {
        if *echo != payload(self.echoed, self.args.bytes) {
            return Err(format!("the echo of message {} is another one", self.echoed).into());
        }
        self.echoed += 1;
        self.proceed()
    }

    /// Sends the next message, or ends.
    fn proceed(&mut self) -> Result<(), Box<dyn Error>> {
        if self.echoed < self.args.messages {
            return Ok(self.connection.send(payload(self.echoed, self.args.bytes))?);
        }
        say(format_args!("sent {} messages and got all of them back", self.echoed));
        self.connection.finish(self.now());
        Ok(())
    }
}
