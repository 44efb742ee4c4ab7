//! At-least-once, in virtual time: who keeps a message for how long, and who acknowledges it when.

mod closing;
mod copies;
mod deadlock;
mod discarding;
mod peers_lost;
mod random;
mod receipts;
mod resending;
mod stale;
mod support;
mod taking;
mod windows;
