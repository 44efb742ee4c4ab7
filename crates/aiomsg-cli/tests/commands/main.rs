//! The command, as a user or a script sees it: real processes, their output, and their exit codes.

mod proxy;
mod send_and_recv;
mod support;
