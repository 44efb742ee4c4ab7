//! Who speaks first, in which dialect, and what the peer's answer decides.
#![deny(clippy::arithmetic_side_effects)]

use crate::dialect::{Dialect, Greeting, IdentityForm, Protocol};
use crate::error::CloseReason;

/// Which end of a connection this is, for the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// We connected, and speak this at once: a v1 peer is silent until it has heard us.
    Dialled(Protocol),
    /// The peer connected. We are silent until it has introduced itself, and answer in its dialect.
    Accepted,
}

impl Dialect {
    /// What a dial speaks to an address that last spoke `remembered`.
    pub fn opening(self, remembered: Option<Protocol>) -> Protocol {
        let fallback = match self {
            Self::Auto | Self::V1 => Protocol::V1,
            Self::Classic => Protocol::Classic(IdentityForm::Raw),
        };
        remembered.filter(|protocol| self.allows(*protocol)).unwrap_or(fallback)
    }

    const fn allows(self, protocol: Protocol) -> bool {
        match self {
            Self::Auto => true,
            Self::V1 => matches!(protocol, Protocol::V1),
            Self::Classic => matches!(protocol, Protocol::Classic(_)),
        }
    }
}

impl Role {
    /// What is spoken on a connection whose peer introduced itself with `greeting`.
    ///
    /// A raw classic identity in answer to a v1 HELLO goes on in classic: such a peer takes the HELLO for an identity,
    /// and may have sent messages right behind its own. Any other difference needs a new connection.
    pub(super) fn settle(self, dialect: Dialect, greeting: Greeting) -> Result<Protocol, CloseReason> {
        let spoken = greeting.protocol;
        if (self, dialect, spoken) == (Self::Accepted, Dialect::Classic, Protocol::V1) {
            // The later classic packages take a HELLO for an identity, and a connector of ours follows their answer.
            return Ok(Protocol::Classic(IdentityForm::Raw));
        }
        if !dialect.allows(spoken) {
            return Err(CloseReason::DialectOff);
        }
        match self {
            Self::Accepted => Ok(spoken),
            Self::Dialled(ours) if ours == spoken => Ok(spoken),
            Self::Dialled(Protocol::V1) if spoken == Protocol::Classic(IdentityForm::Raw) => Ok(spoken),
            Self::Dialled(_) => Err(CloseReason::OtherDialect { spoken }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    const RAW: Protocol = Protocol::Classic(IdentityForm::Raw);
    const TEXT: Protocol = Protocol::Classic(IdentityForm::Text);

    fn settle(role: Role, dialect: Dialect, protocol: Protocol) -> Result<Protocol, CloseReason> {
        role.settle(dialect, Greeting { identity: Identity::from_bytes([1; 16]), protocol })
    }

    #[test]
    fn a_connector_changes_dialect_only_where_the_peer_can_follow() {
        let other = |spoken| Err(CloseReason::OtherDialect { spoken });
        for (ours, theirs, expected) in [
            (Protocol::V1, Protocol::V1, Ok(Protocol::V1)),
            (Protocol::V1, RAW, Ok(RAW)),
            (Protocol::V1, TEXT, other(TEXT)),
            (RAW, Protocol::V1, other(Protocol::V1)),
            (RAW, TEXT, other(TEXT)),
            (TEXT, RAW, other(RAW)),
            (TEXT, TEXT, Ok(TEXT)),
        ] {
            assert_eq!(settle(Role::Dialled(ours), Dialect::Auto, theirs), expected, "{ours:?} {theirs:?}");
        }
    }

    #[test]
    fn an_acceptor_answers_in_kind_unless_switched_off() {
        for theirs in [Protocol::V1, RAW, TEXT] {
            assert_eq!(settle(Role::Accepted, Dialect::Auto, theirs), Ok(theirs));
        }
        assert_eq!(settle(Role::Accepted, Dialect::V1, RAW), Err(CloseReason::DialectOff));
        assert_eq!(settle(Role::Accepted, Dialect::Classic, Protocol::V1), Ok(RAW));
    }

    #[test]
    fn a_dial_opens_with_what_it_remembers_if_it_may() {
        assert_eq!(Dialect::Auto.opening(None), Protocol::V1);
        assert_eq!(Dialect::Auto.opening(Some(TEXT)), TEXT);
        assert_eq!(Dialect::V1.opening(Some(TEXT)), Protocol::V1);
        assert_eq!(Dialect::Classic.opening(None), RAW);
    }
}
