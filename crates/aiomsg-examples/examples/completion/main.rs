//! A client of an echo server on io_uring: a completion loop, written by hand around the core.
//!
//! ```text
//! cargo run --example mio                # an echo server
//! cargo run --example completion
//! ```
//!
//! The system is asked to connect, to read or to write, and says later that it has; until then it owns the buffers. Where
//! there is no io_uring, or it may not be used, the example says so and exits with 3.

#![allow(clippy::print_stderr)]

#[path = "../errand/mod.rs"]
mod errand;
mod link;

use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use aiomsg_proto::{Batch, CloseReason, DialId, Instant, LinkState, Origin, Ready, Socket};
use bytes::BytesMut;
use clap::Parser;
use compio_buf::BufResult;
use compio_driver::Proactor;
use compio_driver::op::{Connect, Read, Write};
use socket2::{Domain, Type};

use self::errand::{Args, Errand, end, new_socket, say};
use self::link::{CHUNK, Link, Operation, Stream, front, is_own};

struct Dial {
    id: DialId,
    stream: Stream,
    operation: Operation<Connect<Stream>>,
    until: Instant,
}

struct Client {
    address: SocketAddr,
    system: Proactor,
    socket: Socket,
    epoch: std::time::Instant,
    dial: Option<Dial>,
    link: Option<Link>,
    errand: Errand,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let system = match Proactor::new() {
        Ok(system) => system,
        Err(error) => {
            eprintln!("completion: io_uring is not available: {error}");
            return ExitCode::from(3);
        }
    };
    say(format_args!("driver: {:?}", system.driver_type()));
    end("completion", Client::new(args, system).and_then(Client::run))
}

impl Client {
    fn new(args: Args, system: Proactor) -> Result<Self, Box<dyn Error>> {
        let mut socket = new_socket()?;
        socket.dial(Instant::EPOCH, args.connect.to_string())?;
        Ok(Self {
            system,
            socket,
            epoch: std::time::Instant::now(),
            dial: None,
            link: None,
            address: args.connect,
            errand: Errand::new(args),
        })
    }

    fn run(mut self) -> Result<(), Box<dyn Error>> {
        loop {
            // The time is counted from an epoch of our choice.
            let now = Instant::EPOCH + self.epoch.elapsed();
            self.complete_dial(now);
            self.serve(now)?;
            self.socket.handle_timeout(now);
            self.errand.send(&mut self.socket, now)?;
            while let Some(ready) = self.socket.poll_ready() {
                match ready {
                    Ready::Connection(_) => self.serve(now)?,
                    Ready::Dial(id) => self.start_dial(now, id)?,
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
            let until =
                self.dial.as_ref().map(|dial| dial.until).into_iter().chain(self.socket.poll_timeout());
            let span = until.min().map(|at| at.saturating_duration_since(now));
            let done_already =
                self.link.as_ref().is_some_and(|link| link.read.is_done() || link.write.is_done());
            match self.system.poll(if done_already { Some(Duration::ZERO) } else { span }) {
                Err(error) if !matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
    }

    fn start_dial(&mut self, now: Instant, id: DialId) -> io::Result<()> {
        let address = self.address.into();
        let stream = Arc::new(socket2::Socket::new(Domain::for_address(self.address), Type::STREAM, None)?);
        stream.set_tcp_nodelay(true)?;
        let operation = Operation::start(&mut self.system, Connect::new(stream.clone(), address));
        let until = now + self.socket.config().connect_deadline();
        self.dial = Some(Dial { id, stream, operation, until });
        Ok(())
    }

    fn complete_dial(&mut self, now: Instant) {
        let Some(mut dial) = self.dial.take() else { return };
        let connected = match dial.operation.finish(&mut self.system) {
            None if now < dial.until => return self.dial = Some(dial),
            None => {
                dial.operation.cancel(&mut self.system);
                Err(ErrorKind::TimedOut.into())
            }
            // Where nobody listens on this machine, a connection may be made to itself.
            Some(BufResult(Ok(_), _)) if is_own(&dial.stream) => Err(ErrorKind::ConnectionRefused.into()),
            Some(BufResult(result, _)) => result,
        };
        if let Err(error) = connected {
            return self.socket.handle_dial_failed(now, dial.id, error.to_string());
        }
        let address = self.address.to_string();
        let Ok(id) = self.socket.handle_connected(now, Origin::Dialled(dial.id), address) else { return };
        let (buffer, batch, stream) = (BytesMut::new(), Batch::default(), dial.stream);
        let (read, write) = (Operation(None), Operation(None));
        self.link = Some(Link { id, stream, buffer, batch, read, write, half_closed: false, gone: None });
    }

    /// Does for the connection what there is to do.
    fn serve(&mut self, now: Instant) -> io::Result<()> {
        let Some(link) = &mut self.link else { return Ok(()) };
        link.take_results(&mut self.system, &mut self.socket, now);
        self.socket.handle_received(now, link.id, &mut link.buffer);
        match self.socket.link_state(link.id) {
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
            // Not before the system has done with it, since the core is to know what was written.
            if link.read.is_free() && link.write.is_free() {
                self.socket.handle_disconnected(now, link.id, &mut link.batch, reason);
                self.link = None;
            }
            return Ok(());
        }
        if link.write.is_free() && self.socket.transmit(now, link.id, &mut link.batch) {
            let write = Write::new(link.stream.clone(), front(&link.batch));
            link.write = Operation::start(&mut self.system, write);
        }
        let most = self.socket.wants_read(link.id, &link.buffer).min(CHUNK);
        if link.read.is_free() && most > 0 {
            link.read = Operation::start(&mut self.system, Read::new(link.stream.clone(), vec![0; most]));
        }
        Ok(())
    }
}
