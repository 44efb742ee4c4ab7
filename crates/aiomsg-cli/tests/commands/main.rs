//! The command, as a user or a script sees it: real processes, their output, and their exit codes.

mod echo_and_measure;
mod inspect;
mod proxy;
mod send_and_recv;
mod support;
mod three_proxies;
mod usage;
