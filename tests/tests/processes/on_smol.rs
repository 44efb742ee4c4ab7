/// The adapter.
mod api {
    pub(crate) use aiomsg_smol::*;
}

#[path = "scenarios/mod.rs"]
mod scenarios;
