//! Two connections that show the same identity, and a connection that shows our own.

use core::time::Duration;

use super::Socket;
use super::link::Link;
use crate::config::DuplicateIdentity;
use crate::dialect::Greeting;
use crate::error::CloseReason;
use crate::event::Origin;
use crate::id::ConnectionId;
use crate::identity::Identity;
use crate::time::Instant;

/// A live peer sends something within a heartbeat interval; this much longer is waited for it.
const PROBE_MARGIN: Duration = Duration::from_secs(1);

impl Socket {
    /// Decides on a peer that has introduced itself.
    pub(super) fn handle_greeting(
        &mut self,
        id: ConnectionId,
        greeting: Greeting,
    ) -> Result<(), CloseReason> {
        self.end_handshake(id);
        if self.kept_out.contains(&greeting.identity) {
            return Err(CloseReason::KeptOut);
        }
        if greeting.identity == self.identity {
            return self.refuse_own_identity(id);
        }
        match self.peers.holder(greeting.identity) {
            None => self.open(id),
            Some(holder) => self.contend(id, holder, greeting.identity)?,
        }
        Ok(())
    }

    /// The dialling end must learn that it has dialled itself, so the accepting one answers before it closes.
    fn refuse_own_identity(&mut self, id: ConnectionId) -> Result<(), CloseReason> {
        let Some(link) = self.links.get_mut(id.0) else { return Ok(()) };
        if link.origin != Origin::Accepted {
            return Err(CloseReason::OwnIdentity);
        }
        link.discard = true;
        link.connection.establish(self.now);
        self.finish(id, CloseReason::OwnIdentity);
        Ok(())
    }

    /// Decides between a newcomer and the connection that has its identity. The newcomer opens only when the holder is
    /// gone, so that nothing overtakes what was on its way there.
    fn contend(
        &mut self,
        id: ConnectionId,
        holder: ConnectionId,
        identity: Identity,
    ) -> Result<(), CloseReason> {
        let Some(held) = self.links.get(holder.0) else { return Ok(()) };
        let (accepted, paused) = (held.origin == Origin::Accepted, held.paused.is_some());
        // Dials cross before anything is said: one that has spoken is displaced by none of them.
        let spoken = held.connection.has_spoken();
        if held.ending.is_some() {
            self.wait_for_holder(id, identity, None);
            return Ok(());
        }
        let dialled = self.links.get(id.0).is_some_and(|link| link.origin != Origin::Accepted);
        if dialled && accepted && !spoken && self.identity > identity {
            // Dials that cross: both ends keep the one made by the greater identity.
            self.finish(holder, CloseReason::Replaced);
            self.wait_for_holder(id, identity, None);
            return Ok(());
        }
        if dialled && !accepted {
            self.finish(id, CloseReason::DuplicateIdentity);
            return Ok(());
        }
        if dialled && !spoken {
            // The peer ends this one, when all that it has written to it is read.
            self.yield_to_peer(id, CloseReason::DuplicateIdentity);
            return Ok(());
        }
        match self.config.duplicate_identity {
            DuplicateIdentity::Reject => return Err(CloseReason::DuplicateIdentity),
            DuplicateIdentity::Probe if paused => return Err(CloseReason::DuplicateIdentity),
            DuplicateIdentity::Replace => {
                self.abort(holder, CloseReason::Replaced);
                self.wait_for_holder(id, identity, None);
            }
            DuplicateIdentity::Probe => {
                let Some(link) = self.links.get_mut(holder.0) else { return Ok(()) };
                // The wait begins with the first newcomer, or one that comes again and again is never served; and the
                // holder is asked once.
                let begins = link.probed_until.is_none();
                let until = self.now + self.config.heartbeat_interval + PROBE_MARGIN;
                let until = *link.probed_until.get_or_insert(until);
                if begins {
                    link.connection.probe();
                    self.mark_ready(holder);
                }
                self.wait_for_holder(id, identity, Some(until));
            }
        }
        Ok(())
    }

    /// Keeps a newcomer until the holder of its identity is gone; at the latest until then, if the holder is asked for
    /// a sign of life. Of several newcomers that are to stay, the latest does.
    fn wait_for_holder(&mut self, id: ConnectionId, identity: Identity, until: Option<Instant>) {
        if let Some(link) = self.links.get_mut(id.0) {
            link.waits_for_holder = until;
        }
        let Some(peer) = self.peers.get_mut(identity) else { return };
        let stays = |id: ConnectionId| self.links.get(id.0).is_some_and(|link| link.ending.is_none());
        let earlier = peer.newcomers.back().copied().filter(|newcomer| stays(*newcomer));
        if earlier.is_some() {
            peer.newcomers.pop_back();
        }
        peer.newcomers.push_back(id);
        if let Some(earlier) = earlier {
            self.abort(earlier, CloseReason::DuplicateIdentity);
        }
        self.rearm(id);
    }

    /// Whether a connection waits for the holder of its identity to be gone.
    pub(super) fn waits_for_turn(&self, id: ConnectionId) -> bool {
        let identity = self.links.get(id.0).and_then(Link::identity);
        let peer = identity.and_then(|identity| self.peers.get(identity));
        peer.is_some_and(|peer| peer.newcomers.contains(&id))
    }

    /// The holder of an identity is alive: whoever waits for its place is refused.
    pub(super) fn refuse_newcomer(&mut self, holder: ConnectionId) {
        let Some(link) = self.links.get_mut(holder.0) else { return };
        if link.probed_until.take().is_none() {
            return;
        }
        let peer = link.identity().and_then(|identity| self.peers.get_mut(identity));
        for newcomer in peer.map(|peer| core::mem::take(&mut peer.newcomers)).into_iter().flatten() {
            self.abort(newcomer, CloseReason::DuplicateIdentity);
        }
    }

    /// The holder of the identity that a newcomer waits for gave no sign of life in time.
    pub(super) fn displace_holder(&mut self, newcomer: ConnectionId) {
        let Some(link) = self.links.get_mut(newcomer.0) else { return };
        let Some(until) = link.waits_for_holder.filter(|until| *until <= self.now) else { return };
        if self.now.saturating_duration_since(until) > PROBE_MARGIN {
            // The machine slept, perhaps: what the holder has sent meanwhile is read first.
            link.waits_for_holder = Some(self.now + PROBE_MARGIN);
            return;
        }
        link.waits_for_holder = None;
        let holder = link.identity().and_then(|identity| self.peers.holder(identity));
        if let Some(holder) = holder {
            self.abort(holder, CloseReason::Replaced);
        }
    }
}
