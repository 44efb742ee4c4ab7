//! The examples that show how to embed the protocol, as processes: against the adapters, against each other, and against
//! what real peers do.

mod clients;
mod misuse;
mod servers;
mod support;
