//! The production driver in all weathers: fleets of its sockets on a runtime in virtual time, with applications that
//! send, take and change their minds, held against the same model as fleets of the core.

mod application;
mod faults;
mod fleet;
mod ledger;
mod rest;

use super::Summary;

/// Plays the run of a seed with sockets of the driver. With `trace`, what happens is printed as it happens.
///
/// # Panics
/// If something did not keep its promise.
pub fn run(seed: u64, trace: bool) -> Summary {
    let mut fleet = fleet::Fleet::new(seed, trace);
    fleet.play();
    fleet.come_to_rest();
    fleet.close();
    fleet.summary()
}
