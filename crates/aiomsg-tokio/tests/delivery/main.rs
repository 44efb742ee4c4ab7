//! What becomes of messages between real processes and over real connections: kills, cuts, bounds, and the end.

mod blackhole;
mod bounds;
mod child;
mod closing;
mod cuts;
mod early;
mod flows;
mod kills;
mod subscribers;
mod support;
