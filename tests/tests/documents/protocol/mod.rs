//! The bytes in `docs/PROTOCOL.md`, against the codec and against sockets.

mod conversations;
mod frames;
mod notation;

use crate::markdown::{Document, Fence};

/// The blocks of the document whose info string begins with this word, each with what stands behind it.
fn blocks(kind: &str) -> Vec<(String, String)> {
    let taken = |Fence { info, text }: Fence| {
        let (word, rest) = info.split_once(' ').unwrap_or((&info, ""));
        (word == kind).then(|| (rest.to_owned(), text))
    };
    Document::read("docs/PROTOCOL.md").fences().into_iter().filter_map(taken).collect()
}

#[test]
fn every_block_is_looked_at() {
    for Fence { info, .. } in Document::read("docs/PROTOCOL.md").fences() {
        let kind = info.split(' ').next().unwrap_or_default();
        assert!(["frames", "first-frames", "identities", "conversation"].contains(&kind), "what is {info}?");
    }
}
