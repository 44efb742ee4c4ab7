//! Messages between real processes and over real connections, on each adapter: the same scenarios, built once for each.
#![allow(clippy::duplicate_mod, reason = "that is how one scenario runs on two adapters")]

mod on_smol;
mod on_tokio;
