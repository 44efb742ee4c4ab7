//! Any call is safe at any time, with any id, and what was announced once is enough.

use core::num::NonZeroU32;
use core::time::Duration;

use aiomsg_proto::{
    Batch, CloseReason, Config, ConnectionId, DeliveryGuarantee, DialId, Identity, Inbox, Instant, Limit,
    LinkState, Origin, Ready, Refusal, SendMode, SlowPeer, Socket, Usage,
};
use aiomsg_tests::wire;
use bytes::{Bytes, BytesMut};

/// What a driver keeps of a connection.
struct Link {
    id: ConnectionId,
    batch: Batch,
    buffer: BytesMut,
    introduced: bool,
    /// What its peer got.
    written: Vec<u8>,
}

impl Link {
    /// Acknowledgements of what its peer got, in the dialect that it came in.
    fn acknowledgements(&self) -> Vec<Vec<u8>> {
        let (frames, _) = wire::partial_frames(&self.written);
        let acknowledgement = |frame: &Vec<u8>| {
            if frame.get(16..21) == Some(b"\0REQ\0") {
                return Some(wire::frame(&[&frame[..16], b"\0REP\0"].concat()));
            }
            let id = frame.get(1..17).filter(|_| frame[0] == 4)?;
            Some(wire::ack(id.try_into().ok()?))
        };
        frames.iter().filter_map(acknowledgement).collect()
    }
}

/// A driver that does whatever comes to its mind.
struct Scatterbrain {
    rng: fastrand::Rng,
    socket: Socket,
    now: Instant,
    /// Connections that were ever made, gone or not.
    ever: Vec<ConnectionId>,
    dials: Vec<DialId>,
    links: Vec<Link>,
    inbox: Inbox,
}

fn at_least_once(config: Config, rng: &mut fastrand::Rng) -> Config {
    config
        .delivery(DeliveryGuarantee::AtLeastOnce)
        .window(rng.usize(1..6))
        .resend_after(Duration::from_secs(1))
        .max_attempts(NonZeroU32::new(rng.u32(0..4)))
}

impl Scatterbrain {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let modes = [SendMode::RoundRobin, SendMode::Publish];
        let policies = [
            SlowPeer::DropNewest,
            SlowPeer::DropOldest,
            SlowPeer::Disconnect,
            SlowPeer::Block(Duration::from_secs(1)),
        ];
        let config = Config::default()
            .send_mode(*rng.choice(&modes).expect("some"))
            .slow_peer(*rng.choice(&policies).expect("some"))
            .send_buffer(Limit::new(rng.usize(1..60), rng.usize(1..9_000)))
            .prefetch(Limit::new(rng.usize(1..9), rng.usize(1..900)))
            .peer_queue(Limit::new(rng.usize(1..9), rng.usize(1..900)))
            .receive_buffer(Limit::new(rng.usize(1..20), rng.usize(1..900)))
            .max_message(5_000)
            .peer_retention(Duration::from_secs(rng.u64(1..30)))
            .max_handshakes(rng.usize(1..9))
            .max_connections(rng.usize(1..20));
        let config = if rng.bool() { config } else { at_least_once(config, &mut rng) };
        let socket = Socket::new(config, Identity::from_bytes([1; 16]), seed, Instant::EPOCH).expect("valid");
        Self {
            rng,
            socket,
            now: Instant::EPOCH,
            ever: Vec::new(),
            dials: Vec::new(),
            links: Vec::new(),
            inbox: Inbox::default(),
        }
    }

    fn identity(&mut self) -> Identity {
        Identity::from_bytes([self.rng.u8(0..6); 16])
    }

    fn payload(&mut self) -> Vec<u8> {
        vec![7; self.rng.usize(0..400)]
    }

    fn connect(&mut self) {
        let origin = match self.rng.choice(&self.dials) {
            Some(dial) if self.rng.bool() => Origin::Dialled(*dial),
            _ => Origin::Accepted,
        };
        if let Ok(id) = self.socket.handle_connected(self.now, origin, "somewhere") {
            self.ever.push(id);
            self.links.push(Link {
                id,
                batch: Batch::default(),
                buffer: BytesMut::new(),
                introduced: false,
                written: Vec::new(),
            });
        }
    }

    /// Something that a peer may send.
    fn bytes(&mut self, introduced: bool) -> Vec<u8> {
        if !introduced && self.rng.u8(..) < 240 {
            let identity = self.identity();
            return if self.rng.bool() { wire::hello(identity) } else { wire::frame(identity.as_bytes()) };
        }
        let payload = self.payload();
        match self.rng.u8(..) {
            0..30 => wire::heartbeat(),
            30..60 => wire::data_req([self.rng.u8(..); 16], &payload),
            60..65 => wire::frame(&payload),
            65 => vec![self.rng.u8(0..2), self.rng.u8(..), self.rng.u8(..)],
            66..70 => wire::ack([self.rng.u8(..); 16]),
            _ => wire::data(&payload),
        }
    }

    fn any_link(&mut self) -> Option<usize> {
        (!self.links.is_empty()).then(|| self.rng.usize(..self.links.len()))
    }

    fn receive(&mut self) {
        let Some(place) = self.any_link() else { return };
        let mut bytes = self.bytes(self.links[place].introduced);
        if self.rng.u8(..) < 60
            && let Some(acknowledgement) = self.rng.choice(self.links[place].acknowledgements())
        {
            bytes = acknowledgement;
        }
        let cut = self.rng.usize(..bytes.len() * 8).min(bytes.len());
        let link = &mut self.links[place];
        if self.socket.wants_read(link.id, &link.buffer) > 0 || self.rng.u8(..) < 10 {
            link.buffer.extend_from_slice(&bytes[..cut]);
            link.introduced = true;
            self.socket.handle_received(self.now, link.id, &mut link.buffer);
            link.buffer.extend_from_slice(&bytes[cut..]);
        }
        self.socket.handle_received(self.now, link.id, &mut link.buffer);
    }

    fn write(&mut self) {
        let Some(place) = self.any_link() else { return };
        let Link { id, batch, written, .. } = &mut self.links[place];
        self.socket.transmit(self.now, *id, batch);
        let shown = batch.slices().take(self.rng.usize(0..4)).collect::<Vec<_>>().concat();
        let taken = if self.rng.bool() { shown.len() } else { self.rng.usize(0..=shown.len()) };
        batch.advance(taken);
        written.extend_from_slice(&shown[..taken]);
        if self.rng.u8(..) < 200 {
            self.socket.handle_transmitted(self.now, *id, batch);
        }
    }

    fn disconnect(&mut self, place: usize) {
        let mut link = self.links.swap_remove(place);
        self.socket.handle_disconnected(self.now, link.id, &mut link.batch, CloseReason::Failed);
        // And once more, now that it is gone.
        self.socket.handle_disconnected(self.now, link.id, &mut link.batch, CloseReason::PeerClosed);
    }

    /// Ends some connection that is to be closed.
    fn close_one(&mut self) {
        let closes = |link: &Link| self.socket.link_state(link.id) == LinkState::Close;
        if let Some(place) = self.links.iter().position(closes) {
            self.disconnect(place);
        }
    }

    fn look(&mut self) {
        let mut ready = 0;
        while let Some(announced) = self.socket.poll_ready() {
            assert!(!matches!(announced, Ready::Closed) || self.socket.is_closing());
            ready += 1;
            assert!(ready < 10_000, "there is no end to it");
        }
        while self.socket.poll_event().is_some() {}
    }

    fn step(&mut self) {
        match self.rng.u8(0..40) {
            0..3 => self.connect(),
            3..15 => self.receive(),
            15..24 => self.write(),
            24 => {
                if let Some(place) = self.any_link().filter(|_| self.rng.bool()) {
                    self.disconnect(place);
                }
            }
            25 | 26 => self.close_one(),
            27..30 => {
                let payload = Bytes::from(self.payload());
                let mut left = payload.clone();
                if self.socket.send_from(self.now, &mut left).is_err() {
                    assert_eq!(left, payload, "what is refused is left as it was");
                }
            }
            30 | 31 => {
                let (to, payload) = (self.identity(), self.payload());
                let _ = self.socket.send_to(self.now, to, payload.into());
            }
            32 | 33 => self.take(),
            34 => self.dial(),
            35 => {
                let identity = self.identity();
                if self.rng.u8(..) < 30 {
                    self.socket.disconnect(self.now, identity);
                }
                self.socket.poll_accept();
            }
            36 | 37 => self.look(),
            _ => self.pass_time(),
        }
        if let Some(id) = self.rng.choice(&self.ever).copied() {
            let _ = (self.socket.link_state(id), self.socket.wants_read(id, b"abc"));
            self.socket.handle_transmitted(self.now, id, &mut Batch::default());
        }
    }

    fn dial(&mut self) {
        if self.rng.bool() && self.dials.len() < 5 {
            self.dials.extend(self.socket.dial(self.now, "address"));
        }
        if let Some(dial) = self.rng.choice(&self.dials).copied() {
            match self.rng.u8(..) {
                0..9 => {
                    self.socket.undial(self.now, dial);
                    self.dials.retain(|other| *other != dial);
                }
                9..90 => self.socket.handle_dial_failed(self.now, dial, "so it is"),
                _ => {}
            }
        }
    }

    fn take(&mut self) {
        let some = self.rng.usize(0..9);
        self.socket.poll_received(self.now, &mut self.inbox);
        self.inbox.by_ref().take(some).for_each(drop);
    }

    fn pass_time(&mut self) {
        self.now = self.now + Duration::from_millis(self.rng.u64(0..600));
        let early = Instant::from_nanos(self.rng.u64(0..=self.now.as_nanos()));
        self.socket.handle_timeout(early);
        self.socket.handle_timeout(self.now);
        let next = self.socket.poll_timeout();
        assert!(next.is_none_or(|next| next > self.now), "still due: {next:?}");
    }

    /// Does at last what is to be done: closes all connections, and the socket.
    fn tidy_up(&mut self) {
        self.socket.close(self.now, Duration::ZERO);
        while !self.links.is_empty() {
            self.disconnect(0);
        }
        self.look();
        assert!(self.socket.close_report().is_some());
        assert_eq!(self.socket.poll_timeout(), None);
    }
}

#[test]
fn any_order_of_calls_is_safe_and_keeps_account() {
    for seed in 0..150 {
        let mut driver = Scatterbrain::new(seed);
        for _ in 0..1_500 {
            driver.step();
            let metrics = driver.socket.metrics();
            assert!(metrics.receive_held.messages <= 20, "{metrics:?}");
            assert!(metrics.receive_held.bytes <= 5_000, "{metrics:?}");
            assert!(metrics.connections <= 20 && metrics.handshakes <= 9, "{metrics:?}");
        }
        driver.tidy_up();
        let metrics = driver.socket.metrics();
        assert_eq!(metrics.connections, 0, "seed {seed}");
        assert_eq!(metrics.send_held, Usage::default(), "seed {seed}");
        assert_eq!(metrics.connected, metrics.disconnected, "seed {seed}");
        while driver.socket.poll_received(driver.now, &mut driver.inbox) {
            driver.inbox.by_ref().for_each(drop);
        }
        let left = driver.socket.metrics().receive_held;
        assert_eq!(left, Usage::default(), "seed {seed}");
    }
}

#[test]
fn for_one_recipient_at_a_time_the_sums_close_at_every_step() {
    let mut checked = 0;
    for seed in 0..150 {
        let mut driver = Scatterbrain::new(seed);
        if driver.socket.config() == &driver.socket.config().clone().send_mode(SendMode::Publish) {
            continue;
        }
        checked += 1;
        for step in 0..1_500 {
            driver.step();
            let metrics = driver.socket.metrics();
            let sum = metrics.handed_over.messages
                + metrics.acknowledged.messages
                + metrics.send_held.messages
                + metrics.dropped_undeliverable.messages
                + metrics.dropped_expired.messages
                + metrics.dropped_at_close.messages;
            assert_eq!(metrics.accepted.messages, sum, "seed {seed}, step {step}: {metrics:?}");
        }
    }
    assert!(checked > 50);
}

#[test]
fn a_drained_socket_has_nothing_more_to_say_at_the_same_instant() {
    let mut driver = Scatterbrain::new(5);
    for _ in 0..5_000 {
        driver.step();
        driver.look();
        assert_eq!(driver.socket.poll_ready(), None);
        assert_eq!(driver.socket.poll_event(), None);
    }
}

#[test]
fn a_message_that_is_refused_is_left_as_it_was_and_counts_nowhere() {
    let settings = Config::default();
    let cases = [
        (settings.clone().send_buffer(Limit::new(1, 1 << 20)), Refusal::Full),
        (settings.clone().max_message(9), Refusal::TooLong { limit: 9 }),
        (
            settings.clone().send_mode(SendMode::Publish).delivery(DeliveryGuarantee::AtLeastOnce),
            Refusal::PublishAtLeastOnce,
        ),
        (settings, Refusal::Closed),
    ];
    for (config, refusal) in cases {
        let now = Instant::EPOCH;
        let mut socket = Socket::new(config, Identity::from_bytes([1; 16]), 1, now).expect("valid");
        match refusal {
            Refusal::Full => socket.send(now, "first".into()).expect("there is room"),
            Refusal::Closed => socket.close(now, Duration::ZERO),
            _ => {}
        }
        let accepted = socket.metrics().accepted;
        let payload = Bytes::from(vec![7; 10]);
        let mut left = payload.clone();
        assert_eq!(socket.send_from(now, &mut left), Err(refusal));
        assert_eq!((left.as_ptr(), left.len()), (payload.as_ptr(), payload.len()));
        assert_eq!(socket.send(now, left), Err(refusal.of(payload)));
        assert_eq!(socket.metrics().accepted, accepted);
    }
}
