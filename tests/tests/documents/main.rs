//! What the documents say, held to what is there.

mod links;
mod markdown;
mod names;
mod protocol;
mod rustdoc;
mod settings;
