//! What fuzz targets do with their input. Each panics when a promise is broken.
//!
//! A target is a function of bytes, so a fuzzer can call it, and so can a test that plays the inputs again that were
//! kept. Most read a few settings off the front of the input, and take the rest for what a peer sends.

mod connection;
mod decoders;
mod detection;
mod driver;
mod hostile;
mod socket;
mod speech;

use arbitrary::{Result, Unstructured};

/// A fuzz target: its name, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All fuzz targets.
pub const TARGETS: &[Target] = &[
    ("frame", |data| play(data, decoders::frame)),
    ("classic", |data| play(data, decoders::classic)),
    ("v1", |data| play(data, decoders::v1)),
    ("detection", |data| play(data, detection::detection)),
    ("connection", |data| play(data, connection::connection)),
    ("hostile", |data| play(data, hostile::hostile)),
    ("socket", |data| play(data, socket::socket)),
    ("driver", |data| play(data, driver::driver)),
];

/// Plays an input on the target of this name.
///
/// # Panics
/// If there is no such target, or if a promise is broken.
pub fn fuzz(name: &str, data: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(of, _)| *of == name).expect("a target of this name");
    target(data);
}

/// An input that ends too early is none.
fn play(data: &[u8], target: fn(&mut Unstructured<'_>) -> Result<()>) {
    let (Ok(()) | Err(_)) = target(&mut Unstructured::new(data));
}

/// `stream` in pieces of one to a few bytes, or of more, as `seed` says.
fn pieces(stream: &[u8], seed: u64) -> impl Iterator<Item = &[u8]> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut rest = stream;
    core::iter::from_fn(move || {
        let most = if rng.bool() { 4 } else { rest.len() };
        let length = rng.usize(0..most.max(1)) + 1;
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}
