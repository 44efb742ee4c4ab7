//! Whole fleets in all weathers, each from one seed, held against a model of what may be delivered to whom.
//!
//! [`run`] draws a fleet and its faults from a seed, plays them, lets everything heal, and checks that what can be
//! delivered is. It panics with the reason; the same seed plays the same again.

pub mod driven;
mod faults;
mod fleet;
mod model;
mod plan;
mod rest;

use core::time::Duration;

pub use self::fleet::Deed;
pub use self::plan::Weather;

/// What a run came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Messages accepted.
    pub accepted: usize,
    /// Messages delivered, each copy and each time.
    pub delivered: usize,
    /// Things that went wrong.
    pub faults: usize,
    /// Connections that were made, those that came to nothing included.
    pub connections: usize,
    /// How long it took, in virtual time.
    pub time: Duration,
    /// All that happened, in one number: two runs of one seed have the same.
    pub fingerprint: u64,
}

/// Plays the run of a seed. With `trace`, what is done is printed as it is done.
///
/// # Panics
/// If something did not keep its promise.
pub fn run(seed: u64, trace: bool) -> Summary {
    let mut fleet = fleet::Fleet::new(seed, trace);
    fleet.play();
    end(fleet)
}

/// Plays the fleet of a seed, in which these things happen instead of those that the seed would draw.
///
/// # Panics
/// If something did not keep its promise.
pub fn run_deeds(seed: u64, deeds: &[Deed]) -> Summary {
    let mut fleet = fleet::Fleet::new(seed, false);
    for deed in deeds {
        fleet.play_deed(*deed);
    }
    end(fleet)
}

fn end(mut fleet: fleet::Fleet) -> Summary {
    fleet.come_to_rest();
    fleet.close();
    fleet.summary()
}
