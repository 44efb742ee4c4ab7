//! Many peers that mean no good, or do nothing: what each says, for the program `crowd` that plays them over TCP.

use aiomsg_proto::Identity;
use clap::ValueEnum;

use crate::wire;

/// The line that the program prints when all have connected and said what they have to say.
pub const ALL_THERE: &str = "all there";

/// What a peer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Says {
    /// It only connects.
    Nothing,
    /// Most of an introduction that is as long as one may be.
    HalfAnIntroduction,
    /// A proper introduction.
    Hello,
    /// A proper introduction, and the start of a message that is as long as one may be.
    HugeMessage,
}

impl Says {
    /// The bytes of the peer with this number.
    #[must_use]
    pub fn bytes(self, number: u32) -> Vec<u8> {
        let hello = wire::hello(Identity::from_bytes(u128::from(number + 1).to_be_bytes()));
        match self {
            Self::Nothing => Vec::new(),
            Self::HalfAnIntroduction => [&255_u32.to_be_bytes()[..], &[7; 200]].concat(),
            Self::Hello => hello,
            Self::HugeMessage => [&hello[..], &(64_u32 << 20).to_be_bytes(), &[3; 2_000]].concat(),
        }
    }
}
