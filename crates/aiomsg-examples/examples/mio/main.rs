//! An echo server with any number of connections in one thread: a readiness loop, written by hand around the core.
//!
//! ```text
//! cargo run --example mio -- --bind 127.0.0.1:25000
//! ```
//!
//! Every message goes back to its sender. Ctrl-C ends it orderly, and so do `--messages` echoes.

#![allow(clippy::print_stderr)]

#[path = "../errand/mod.rs"]
mod errand;
mod link;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::{self, ErrorKind};
use std::process::ExitCode;
use std::time::Duration;

use aiomsg_proto::{ConnectionId, Inbox, Instant, Origin, Ready, Socket};
use clap::Parser;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};

use self::errand::{ServerArgs, end, new_socket, say, tell};
use self::link::Link;

const LISTENER: Token = Token(0);
const STOP: Token = Token(1);

/// Outputs of the core that are served before the system is asked for news.
const TURN: usize = 1_000;

struct Server {
    socket: Socket,
    epoch: std::time::Instant,
    poll: Poll,
    listener: TcpListener,
    /// Somebody waits to be accepted. mio tells once when something becomes possible, not as long as it is.
    acceptable: bool,
    links: BTreeMap<ConnectionId, Link>,
    ids: BTreeMap<Token, ConnectionId>,
    last_token: usize,
    /// Connections that have more to do than was done in their turn.
    busy: BTreeSet<ConnectionId>,
    inbox: Inbox,
    echoed: u64,
    stop_after: Option<u64>,
}

fn main() -> ExitCode {
    end("mio", Server::start(&ServerArgs::parse()).and_then(Server::run))
}

impl Server {
    fn start(args: &ServerArgs) -> Result<Self, Box<dyn Error>> {
        let mut listener = TcpListener::bind(args.bind)
            .map_err(|error| format!("cannot listen at {}: {error}", args.bind))?;
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Waker::new(poll.registry(), STOP)?;
        ctrlc::set_handler(move || drop(waker.wake()))?;
        say(format_args!("listening on {}", listener.local_addr()?));
        Ok(Self {
            socket: new_socket()?,
            epoch: std::time::Instant::now(),
            poll,
            listener,
            acceptable: true,
            links: BTreeMap::new(),
            ids: BTreeMap::new(),
            last_token: STOP.0,
            busy: BTreeSet::new(),
            inbox: Inbox::default(),
            echoed: 0,
            stop_after: args.messages,
        })
    }

    fn run(mut self) -> Result<(), Box<dyn Error>> {
        let mut events = Events::with_capacity(256);
        loop {
            // Inputs: what time it is, and what the system told. Time is counted from an epoch of our choice.
            let now = Instant::EPOCH + self.epoch.elapsed();
            self.socket.handle_timeout(now);
            for event in &events {
                self.note(now, event);
            }
            self.accept(now)?;
            for id in std::mem::take(&mut self.busy) {
                self.serve(now, id);
            }
            // Outputs: what the core wants done.
            let mut left = TURN;
            while left > 0
                && let Some(ready) = self.socket.poll_ready()
            {
                left -= 1;
                match ready {
                    Ready::Connection(id) => self.serve(now, id),
                    Ready::Received => self.receive(now),
                    Ready::Room | Ready::PeerRoom(_) => self.busy.extend(self.links.keys()),
                    Ready::Accept => self.accept(now)?,
                    _ => {}
                }
            }
            while let Some(event) = self.socket.poll_event() {
                tell(&event);
            }
            if let Some(report) = self.socket.close_report() {
                let (echoed, dropped) = (self.echoed, report.dropped.messages);
                say(format_args!("echoed {echoed} messages; {dropped} were not handed over"));
                return Ok(());
            }
            // Sleep until the system has news, or it is time for something.
            let now = Instant::EPOCH + self.epoch.elapsed();
            let idle = left > 0 && self.busy.is_empty();
            let until = if idle { self.socket.poll_timeout() } else { Some(now) };
            match self.poll.poll(&mut events, until.map(|at| at.saturating_duration_since(now))) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
                _ => {}
            }
        }
    }

    /// Takes note of what the system told.
    fn note(&mut self, now: Instant, event: &mio::event::Event) {
        match event.token() {
            LISTENER => self.acceptable = true,
            // At once, if it is the second Ctrl-C.
            STOP if self.socket.is_closing() => self.socket.close(now, Duration::ZERO),
            STOP => self.socket.close(now, self.socket.config().linger_time()),
            token => {
                if let Some(link) = self.ids.get(&token).and_then(|id| self.links.get_mut(id)) {
                    link.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
                    link.writable |= event.is_writable();
                    self.busy.insert(link.id);
                }
            }
        }
    }

    fn accept(&mut self, now: Instant) -> io::Result<()> {
        while self.acceptable && self.socket.poll_accept() {
            let (mut stream, address) = match self.listener.accept() {
                Ok(accepted) => accepted,
                // Who waited has gone; others may wait.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    self.acceptable = false;
                    if error.kind() != ErrorKind::WouldBlock {
                        eprintln!("accepting failed, and is tried again when the next one comes: {error}");
                    }
                    continue;
                }
            };
            let Ok(id) = self.socket.handle_connected(now, Origin::Accepted, address.to_string()) else {
                continue;
            };
            // The core makes batches; the system need not wait for more. Who has gone already is noticed by reading.
            let _ = stream.set_nodelay(true);
            self.last_token += 1;
            let token = Token(self.last_token);
            self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            self.ids.insert(token, id);
            self.links.insert(id, Link::new(id, stream));
        }
        Ok(())
    }

    /// Gives a connection its turn.
    fn serve(&mut self, now: Instant, id: ConnectionId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        self.echoed += link.echo(&mut self.socket, now);
        match link.turn(&mut self.socket, now) {
            Ok(true) => drop(self.busy.insert(id)),
            Ok(false) => {}
            Err(reason) => {
                // With the batch, the core learns what was not written.
                self.socket.handle_disconnected(now, id, &mut link.batch, reason);
                self.links.remove(&id);
                self.ids.retain(|_, other| *other != id);
            }
        }
        if self.stop_after.is_some_and(|enough| self.echoed >= enough) && !self.socket.is_closing() {
            self.socket.close(now, self.socket.config().linger_time());
        }
    }

    /// Takes over what has arrived.
    fn receive(&mut self, now: Instant) {
        while self.socket.poll_received(now, &mut self.inbox) {
            for received in &mut self.inbox {
                if let Some(link) = self.links.get_mut(&received.connection) {
                    self.busy.insert(link.id);
                    link.echoes.push_back(received);
                }
            }
        }
    }
}
