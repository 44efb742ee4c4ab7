//! The 16 bytes by which a socket is known to its peers.

use core::cmp::Ordering;
use core::fmt;
use core::str::FromStr;

use uuid::Uuid;

/// The namespace under which identities of other forms are mapped to 16 bytes, see [`Identity::from_classic`].
const CLASSIC_NAMESPACE: Uuid = Uuid::from_u128(0x8b5f_1c0e_6d0a_5a59_9f43_61a1_0a2d_4d53);

/// The identity of a socket: 16 bytes that no other socket in the fleet uses.
///
/// Adapters make a random one unless the user sets it. A socket that keeps its identity across restarts gets what was
/// held for it by its peers. Printed and parsed as 32 hex digits; the hyphenated UUID form is parsed as well.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity([u8; 16]);

/// The order of the bytes, found in one step.
impl Ord for Identity {
    fn cmp(&self, other: &Self) -> Ordering {
        u128::from_be_bytes(self.0).cmp(&u128::from_be_bytes(other.0))
    }
}

impl PartialOrd for Identity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Identity {
    /// An identity of these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The identity under which a classic peer that shows `shown` as its first frame is known here.
    ///
    /// * 16 bytes are the identity.
    /// * The 36 characters of a hyphenated UUID are that UUID.
    /// * Anything else is the UUIDv5 of those bytes in the namespace `8b5f1c0e-6d0a-5a59-9f43-61a10a2d4d53`, so that a
    ///   user who knows the text that a peer was given can compute where to send.
    pub fn from_classic(shown: &[u8]) -> Self {
        if let Ok(bytes) = <[u8; 16]>::try_from(shown) {
            return Self(bytes);
        }
        if shown.len() == uuid::fmt::Hyphenated::LENGTH
            && let Ok(uuid) = Uuid::try_parse_ascii(shown)
        {
            return Self(uuid.into_bytes());
        }
        Self(Uuid::new_v5(&CLASSIC_NAMESPACE, shown).into_bytes())
    }

    /// The hyphenated UUID form, 36 ASCII characters, which the oldest classic peers show and expect.
    pub(crate) fn encode_hyphenated<'a>(
        &self,
        buffer: &'a mut [u8; uuid::fmt::Hyphenated::LENGTH],
    ) -> &'a [u8] {
        Uuid::from_bytes(self.0).hyphenated().encode_lower(buffer).as_bytes()
    }
}

impl From<[u8; 16]> for Identity {
    fn from(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

/// The slice is not an identity: it does not have 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an identity is 16 bytes")]
pub struct IdentityLengthError;

/// For what begins with an identity, as an envelope may: `Identity::try_from(&message[..16])`. The slice must have 16
/// bytes, no more and no fewer.
impl TryFrom<&[u8]> for Identity {
    type Error = IdentityLengthError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(Self).map_err(|_| IdentityLengthError)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Uuid::from_bytes(self.0).simple())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({self})")
    }
}

/// The text is not an identity: neither 32 hex digits nor a hyphenated UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an identity is 32 hex digits or a hyphenated UUID")]
pub struct ParseIdentityError;

impl FromStr for Identity {
    type Err = ParseIdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = text.len() == uuid::fmt::Simple::LENGTH || text.len() == uuid::fmt::Hyphenated::LENGTH;
        match Uuid::try_parse(text) {
            Ok(uuid) if expected => Ok(Self(uuid.into_bytes())),
            Ok(_) | Err(_) => Err(ParseIdentityError),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn text_round_trips_and_rejects_other_forms() {
        let identity: Identity = "000102030405060708090a0b0c0d0e0f".parse().expect("32 hex digits");
        assert_eq!(identity.as_bytes()[15], 15);
        assert_eq!(identity.to_string(), "000102030405060708090a0b0c0d0e0f");
        assert_eq!("00010203-0405-0607-0809-0a0b0c0d0e0f".parse(), Ok(identity));
        for bad in [
            "",
            "0",
            "zz",
            "{00010203-0405-0607-0809-0a0b0c0d0e0f}",
            "urn:uuid:00010203-0405-0607-0809-0a0b0c0d0e0f",
        ] {
            assert_eq!(bad.parse::<Identity>(), Err(ParseIdentityError), "{bad}");
        }
    }

    #[test]
    fn sixteen_bytes_are_an_identity_and_other_lengths_are_none() {
        let envelope = *b"0123456789abcdef and what it holds";
        assert_eq!(Identity::try_from(&envelope[..16]), Ok(Identity::from_bytes(*b"0123456789abcdef")));
        for bad in [&[][..], &envelope[..15], &envelope[..17]] {
            assert_eq!(Identity::try_from(bad), Err(IdentityLengthError), "{bad:?}");
        }
    }

    #[test]
    fn classic_forms_map_to_sixteen_bytes() {
        let raw = Identity::from_classic(&[7; 16]);
        assert_eq!(raw, Identity::from_bytes([7; 16]));
        let text = Identity::from_classic(b"11111111-2222-4333-8444-555555555555");
        assert_eq!(text.to_string(), "11111111222243338444555555555555");
        // The documented mapping: a change here changes where a user's messages go.
        assert_eq!(Identity::from_classic(b"worker-1").to_string(), "e45af37729585ab883eb173d4f76c13a");
        assert_ne!(Identity::from_classic(b"worker-1"), Identity::from_classic(b"worker-2"));
    }
}
