/// The adapter.
mod api {
    pub(crate) use aiomsg_tokio::*;
}

#[path = "scenarios/mod.rs"]
mod scenarios;
