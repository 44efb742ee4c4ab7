//! What goes wrong, and how it heals.

use core::time::Duration;

use aiomsg_driver::Runtime;
use aiomsg_proto::Identity;

use super::fleet::{Fleet, SECOND, address, listen};
use crate::connection::WireId;
use crate::runtime::ProcessId;

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
    fn process(&self, number: usize) -> ProcessId {
        self.members[number].process()
    }

    fn any_wire(&mut self) -> Option<WireId> {
        let number = self.rng.usize(..self.members.len());
        let wires = self.world.wires(self.process(number));
        self.rng.choice(wires)
    }

    /// One thing goes wrong, perhaps.
    pub(super) fn go_wrong(&mut self, kind: u8, number: usize) {
        self.revive(false);
        match kind {
            0..14 => self.cut(),
            14..28 => self.silence(),
            28..40 => self.heal_one(),
            40..54 => self.stall(number, kind < 46),
            54..60 => self.die(number),
            60..66 => self.stop_listening(number),
            66..76 => self.listen_again(number),
            76..82 => self.doze(number),
            82..92 => self.part(number),
            92..98 => self.rejoin_one(),
            98..102 => self.dismiss(number),
            102..106 => self.lengthen(number),
            106..110 => self.jump(number),
            110..114 => self.redial(number),
            _ => return,
        }
        self.faults += 1;
    }

    fn cut(&mut self) {
        if let Some(wire) = self.any_wire() {
            self.note(format!("{wire:?} fails"));
            self.world.cut(wire);
        }
    }

    /// Bytes vanish, in both directions or in one.
    fn silence(&mut self) {
        let Some(wire) = self.any_wire() else { return };
        let (dialler, listener) =
            *self.rng.choice(&[(true, true), (true, false), (false, true)]).unwrap_or(&(true, true));
        self.note(format!("what is written on {wire:?} vanishes: {dialler}, {listener}"));
        self.world.silence(wire, dialler, listener);
        self.silenced.push(wire);
    }

    fn heal_one(&mut self) {
        if let Some(wire) = self.silenced.pop() {
            self.note(format!("{wire:?} is heard again"));
            self.world.heal(wire);
        }
    }

    /// A process does not get to reading one of its connections, or does again.
    fn stall(&mut self, number: usize, stalled: bool) {
        let process = self.process(number);
        let wires = self.world.wires(process);
        if let Some(wire) = self.rng.choice(wires) {
            self.note(format!("member {number} leaves {wire:?} unread: {stalled}"));
            self.world.set_stalled(process, wire, stalled);
        }
    }

    /// A process dies, and its connections with it, or nobody is told of that.
    fn die(&mut self, number: usize) {
        if !self.is_up(number) {
            return;
        }
        self.note(format!("member {number} dies"));
        let process = self.process(number);
        let silently = self.rng.u8(..) < 60;
        for wire in self.world.wires(process) {
            if silently {
                self.world.silence(wire, true, true);
            } else {
                self.world.cut(wire);
            }
        }
        self.world.kill(process);
        let down = Duration::from_millis(self.rng.u64(0..20_000));
        self.members[number].down_until = Some(self.world.now() + down);
        self.book.open().look();
    }

    /// Those whose time has come live again, or all; under their name or under a new one.
    pub(super) fn revive(&mut self, all: bool) {
        for number in 0..self.members.len() {
            let Some(until) = self.members[number].down_until else { continue };
            if until > self.world.now() && !all {
                continue;
            }
            let mut identity = self.members[number].identity;
            if self.rng.u8(..) < 40 {
                identity = Identity::from_bytes(self.rng.u128(..).to_be_bytes());
            }
            self.partings.retain(|parting| parting.from != number && parting.to != number);
            self.members[number] = self.begin(number, identity);
        }
    }

    fn stop_listening(&mut self, number: usize) {
        if self.is_up(number) && self.members[number].listens {
            self.note(format!("member {number} stops listening"));
            self.members[number].listens = false;
            let socket = self.members[number].app.socket.clone();
            socket.runtime().clone().spawn(async move {
                socket.unbind(address(number)).await;
            });
        }
    }

    fn listen_again(&mut self, number: usize) {
        if self.is_up(number) && !self.members[number].listens {
            self.note(format!("member {number} listens again"));
            listen(&mut self.members[number], number);
        }
    }

    /// One process stands still for a while.
    fn doze(&mut self, number: usize) {
        let span = Duration::from_millis(self.rng.u64(0..30_000));
        self.note(format!("member {number} stands still for {span:?}"));
        let process = self.process(number);
        self.world.freeze(process);
        self.run_for(span);
        self.world.thaw(process);
    }

    /// All machines sleep, long enough for that to be noticed; they wake up one by one, within the time that is granted
    /// for that.
    pub(super) fn sleep(&mut self) {
        let span = SECOND * self.rng.u32(20..3_600);
        self.note(format!("all sleep for {span:?}"));
        let mut processes: Vec<_> = self.members.iter().map(super::fleet::Living::process).collect();
        for process in &processes {
            self.world.freeze(*process);
        }
        self.run_for(span);
        self.rng.shuffle(&mut processes);
        for process in processes {
            self.world.thaw(process);
            let pause = Duration::from_millis(self.rng.u64(0..50));
            self.run_for(pause);
        }
        self.faults += 1;
    }

    /// A clock goes ahead at once, as when a machine was stopped and no other was.
    pub(super) fn jump(&mut self, number: usize) {
        let span = SECOND * self.rng.u32(1..600);
        self.note(format!("the clock of member {number} goes ahead by {span:?}"));
        self.world.set_clock_ahead(self.process(number), span);
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
        self.note(format!(
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
            let (from, to) = (self.process(from), self.process(to));
            if open {
                self.world.sever(from, to);
            } else {
                self.world.mend(from, to);
            }
        }
    }

    fn rejoin_one(&mut self) {
        if let Some(Parting { from, to, .. }) = self.partings.pop() {
            self.note(format!("member {to} hears member {from} again"));
            self.world.mend(self.process(from), self.process(to));
        }
    }

    /// Connections to a member take long to be made, some too long, or do not any more.
    fn lengthen(&mut self, number: usize) {
        let delay = self.rng.choice([0, 500, 3_000, 9_999, 20_000]).map(Duration::from_millis);
        let delay = delay.unwrap_or_default();
        self.note(format!("it takes {delay:?} to connect to member {number}"));
        self.world.set_delay(address(number), delay);
    }

    /// A member ends the connection of a peer.
    fn dismiss(&mut self, number: usize) {
        let socket = self.members[number].app.socket.clone();
        let mut peers = socket.peers();
        peers.sort_by_key(|peer| peer.identity);
        if let Some(peer) = self.rng.choice(peers)
            && self.is_up(number)
        {
            self.note(format!("member {number} ends the connection of {}", peer.identity));
            socket.disconnect_peer(peer.identity);
        }
    }

    /// A member stops keeping its connections, and keeps them anew.
    fn redial(&self, number: usize) {
        if !self.is_up(number) {
            return;
        }
        let living = &self.members[number];
        let Some(to) = living.member.dials.first().copied() else { return };
        if living.app.socket.disconnect(address(to)) {
            self.note(format!("member {number} dials member {to} anew"));
            living.app.socket.connect(address(to)).expect("an address");
        }
    }

    /// Nothing is wrong any more.
    pub(super) fn heal(&mut self) {
        while !self.silenced.is_empty() {
            self.heal_one();
        }
        self.revive(true);
        while !self.partings.is_empty() {
            self.rejoin_one();
        }
        for number in 0..self.members.len() {
            self.listen_again(number);
            self.world.set_delay(address(number), Duration::ZERO);
            let process = self.process(number);
            for wire in self.world.wires(process) {
                self.world.set_stalled(process, wire, false);
            }
        }
    }
}
