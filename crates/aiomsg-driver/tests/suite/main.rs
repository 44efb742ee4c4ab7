//! The driver on links in memory and in virtual time.

mod backpressure;
mod buffers;
mod cancel;
mod close;
mod crowd;
mod drops;
mod events;
mod flow;
mod futures;
mod gates;
mod timer;
mod turns;
mod wakes;
mod warnings;

#[path = "../support/mod.rs"]
mod support;
