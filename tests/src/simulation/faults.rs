//! What goes wrong, and how it heals.

use core::time::Duration;

use aiomsg_proto::Identity;

use super::fleet::{Fleet, SECOND, address};
use crate::connection::{Side, WireId};
use crate::wire;

/// What one member writes does not get to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parting {
    from: usize,
    to: usize,
    /// It comes and goes.
    flaps: bool,
    /// It does get there at the moment.
    open: bool,
}

impl Fleet {
    fn any_wire(&mut self) -> Option<WireId> {
        let number = self.rng.usize(..self.members.len());
        let wires = self.net.wires(self.members[number].node);
        self.rng.choice(wires)
    }

    /// One thing goes wrong, perhaps.
    pub(super) fn go_wrong(&mut self, kind: u8, number: usize) {
        self.revive(false);
        match kind {
            0..14 => self.cut(),
            14..22 => self.silence(true),
            22..28 => self.silence(false),
            28..40 => self.heal_one(),
            40..46 => self.stall(number, true),
            46..54 => self.stall(number, false),
            54..60 => self.die(number),
            60..66 => self.stop_listening(number),
            66..76 => self.listen_again(),
            76..80 => self.doze(number),
            80..90 => self.stranger_comes(number),
            90..100 => self.stranger_talks(),
            100..104 => self.stranger_goes(),
            104..112 => self.part(number),
            112..118 => self.rejoin_one(),
            118..122 => self.dismiss(number),
            122..126 => self.lengthen(number),
            126..130 => self.jump(number),
            _ => return,
        }
        self.faults += 1;
    }

    fn cut(&mut self) {
        if let Some(wire) = self.any_wire() {
            self.note(format_args!("{wire:?} fails"));
            self.net.cut(wire);
        }
    }

    /// Bytes vanish, in both directions or in one.
    fn silence(&mut self, both: bool) {
        let Some(wire) = self.any_wire() else { return };
        if both {
            self.note(format_args!("{wire:?} falls silent"));
            self.net.blackhole(wire);
        } else {
            let side = if self.rng.bool() { Side::Dialler } else { Side::Listener };
            self.note(format_args!("what the {side:?} of {wire:?} writes vanishes"));
            self.net.swallow(wire, side);
        }
        self.silenced.push(wire);
    }

    fn heal_one(&mut self) {
        if let Some(wire) = self.silenced.pop() {
            self.note(format_args!("{wire:?} is heard again"));
            self.net.heal(wire);
        }
    }

    /// A process does not get to reading one of its connections, or does again.
    fn stall(&mut self, number: usize, stalled: bool) {
        let node = self.members[number].node;
        let wires = self.net.wires(node);
        if let Some(wire) = self.rng.choice(wires) {
            self.note(format_args!("member {number} leaves {wire:?} unread: {stalled}"));
            self.net.set_stalled(node, wire, stalled);
        }
    }

    /// A process dies, and its connections with it, or nobody is told of that.
    fn die(&mut self, number: usize) {
        if !self.is_up(number) {
            return;
        }
        self.note_taken();
        self.note(format_args!("member {number} dies"));
        let node = self.members[number].node;
        self.net.freeze(node);
        self.net.unlisten(&address(number));
        for dial in core::mem::take(&mut self.members[number].dials) {
            self.net.command(node, |socket, now| socket.undial(now, dial));
        }
        let silently = self.rng.u8(..) < 60;
        for wire in self.net.wires(node) {
            if silently {
                self.net.blackhole(wire);
            } else {
                self.net.cut(wire);
            }
        }
        let down = Duration::from_millis(self.rng.u64(0..20_000));
        self.members[number].down_until = Some(self.net.now() + down);
    }

    /// Those whose time has come live again, or all; under their name or under a new one.
    pub(super) fn revive(&mut self, all: bool) {
        for number in 0..self.members.len() {
            let Some(until) = self.members[number].down_until else { continue };
            if until > self.net.now() && !all {
                continue;
            }
            let mut identity = self.members[number].identity;
            if self.rng.u8(..) < 40 {
                identity = Identity::from_bytes(self.rng.u128(..).to_be_bytes());
            }
            self.unlistened.retain(|unlistened| *unlistened != number);
            self.rejoin(number);
            self.members[number] = self.begin(number, identity);
        }
    }

    fn stop_listening(&mut self, number: usize) {
        if self.is_up(number) {
            self.note(format_args!("member {number} stops listening"));
            self.net.unlisten(&address(number));
            self.unlistened.push(number);
        }
    }

    fn listen_again(&mut self) {
        if let Some(number) = self.unlistened.pop()
            && self.is_up(number)
        {
            self.note(format_args!("member {number} listens again"));
            self.net.listen(self.members[number].node, &address(number));
        }
    }

    /// One process stands still for a while.
    fn doze(&mut self, number: usize) {
        if !self.is_up(number) {
            return;
        }
        let span = Duration::from_millis(self.rng.u64(0..30_000));
        self.note(format_args!("member {number} stands still for {span:?}"));
        let node = self.members[number].node;
        self.net.freeze(node);
        self.net.run_for(span);
        self.net.thaw(node);
    }

    /// All machines sleep, long enough for that to be noticed; they wake up one by one, within the time that is granted
    /// for that.
    pub(super) fn sleep(&mut self) {
        let span = SECOND * self.rng.u32(20..3_600);
        self.note(format_args!("all sleep for {span:?}"));
        let mut nodes: Vec<_> = self.members.iter().map(|living| living.node).collect();
        for node in &nodes {
            self.net.freeze(*node);
        }
        self.net.run_for(span);
        self.rng.shuffle(&mut nodes);
        for node in nodes {
            self.net.thaw(node);
            let pause = Duration::from_millis(self.rng.u64(0..50));
            self.net.run_for(pause);
        }
        self.faults += 1;
    }

    /// A clock goes ahead at once, as when a machine was stopped and no other was.
    pub(super) fn jump(&mut self, number: usize) {
        let span = SECOND * self.rng.u32(1..600);
        self.note(format_args!("the clock of member {number} goes ahead by {span:?}"));
        self.net.set_clock_ahead(self.members[number].node, span);
    }

    /// The network comes apart: a member and some others do not hear each other, or do not hear it, or it them, all the
    /// time or now and then.
    fn part(&mut self, number: usize) {
        let (heard, hears, flaps) = (self.rng.bool(), self.rng.bool(), self.rng.bool());
        for other in 0..self.members.len() {
            if other == number || self.rng.u8(..) < 60 {
                continue;
            }
            if !heard {
                self.partings.push(Parting { from: number, to: other, flaps, open: true });
            }
            if !hears {
                self.partings.push(Parting { from: other, to: number, flaps, open: true });
            }
        }
        self.note(format_args!(
            "member {number} comes apart, is heard: {heard}, hears: {hears}, by turns: {flaps}"
        ));
        self.flap();
    }

    /// Partings that come and go do one or the other, and new ones come.
    pub(super) fn flap(&mut self) {
        for number in 0..self.partings.len() {
            let Parting { from, to, flaps, open } = self.partings[number];
            let turns = open || (flaps && self.rng.bool());
            if !turns {
                continue;
            }
            self.partings[number].open = !open;
            let (from, to) = (self.members[from].node, self.members[to].node);
            if open {
                self.net.sever(from, to);
            } else {
                self.net.mend(from, to);
            }
        }
    }

    fn rejoin_one(&mut self) {
        if let Some(Parting { from, to, .. }) = self.partings.pop() {
            self.note(format_args!("member {to} hears member {from} again"));
            self.net.mend(self.members[from].node, self.members[to].node);
        }
    }

    /// A process that starts may be anywhere.
    fn rejoin(&mut self, number: usize) {
        self.partings.retain(|parting| parting.from != number && parting.to != number);
    }

    /// Connections to a member take long to be made, some too long, or do not any more.
    fn lengthen(&mut self, number: usize) {
        let delay = self.rng.choice([0, 500, 3_000, 9_999, 20_000]).map(Duration::from_millis);
        let delay = delay.unwrap_or_default();
        self.note(format_args!("it takes {delay:?} to connect to member {number}"));
        self.net.set_delay(&address(number), delay);
    }

    /// A member ends the connection of a peer.
    fn dismiss(&mut self, number: usize) {
        let node = self.members[number].node;
        let peers = self.net.node(node).peers();
        if let Some(peer) = self.rng.choice(peers)
            && self.is_up(number)
        {
            self.note(format_args!("member {number} ends the connection of {}", peer.identity));
            self.net.command(node, |socket, now| socket.disconnect(now, peer.identity));
        }
    }

    /// Somebody connects who is no member. His identity may be that of one.
    fn stranger_comes(&mut self, number: usize) {
        let raw = self.net.dial_raw(&address(number));
        let identity = if self.rng.u8(..) < 100 {
            self.known[self.rng.usize(..self.known.len())]
        } else {
            Identity::from_bytes([self.rng.u8(0x60..0x70); 16])
        };
        self.note(format_args!("a stranger comes to member {number} as {identity}"));
        match self.rng.u8(0..6) {
            0 => {}
            1 => self.net.write(raw, b"GET / HTTP/1.1\r\n\r\n"),
            2 => self.net.write(raw, wire::frame(identity.as_bytes())),
            3 => self.net.write(raw, &wire::hello(identity)[..9]),
            _ => self.net.write(raw, wire::hello(identity)),
        }
        if self.rng.u8(..) < 60 {
            self.net.set_reading(raw, false);
        }
        self.strangers.push(raw);
    }

    /// Talk that is right, almost right, or wrong.
    fn stranger_talks(&mut self) {
        let Some(raw) = self.rng.choice(self.strangers.clone()) else { return };
        let noise: Vec<u8> = (0..self.rng.usize(1..60)).map(|_| self.rng.u8(b'A'..=b'Z')).collect();
        let id = self.rng.u128(..).to_be_bytes();
        let mut bytes = match self.rng.u8(0..8) {
            0 => wire::heartbeat(),
            1 => wire::data(&noise),
            2 => wire::data_req(id, &noise),
            3 => wire::ack(id),
            4 => wire::frame(&[&id[..], b"\0REQ\0", &noise].concat()),
            5 => vec![0xff; 4],
            6 => wire::frame(&noise),
            _ => wire::data(&noise).repeat(20),
        };
        if self.rng.u8(..) < 60 {
            let place = self.rng.usize(..bytes.len());
            bytes[place] ^= 1 << self.rng.u8(0..8);
        }
        self.net.write(raw, bytes);
    }

    fn stranger_goes(&mut self) {
        if let Some(raw) = self.strangers.pop() {
            self.note(format_args!("a stranger goes"));
            self.net.close(raw);
        }
    }

    /// Nothing is wrong any more.
    pub(super) fn heal(&mut self) {
        while !self.silenced.is_empty() {
            self.heal_one();
        }
        while !self.strangers.is_empty() {
            self.stranger_goes();
        }
        self.revive(true);
        while !self.unlistened.is_empty() {
            self.listen_again();
        }
        while !self.partings.is_empty() {
            self.rejoin_one();
        }
        for number in 0..self.members.len() {
            self.net.set_delay(&address(number), Duration::ZERO);
            let node = self.members[number].node;
            for wire in self.net.wires(node) {
                self.net.set_stalled(node, wire, false);
            }
        }
    }
}
