//! What becomes of messages between real processes and over real connections: kills, cuts, bounds, and the end. The
//! proxies and children that a scenario needs are run by tokio, its sockets by the adapter.

use super::api;

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
