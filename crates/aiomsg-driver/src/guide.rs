//! What is to be said of a socket on any runtime.

/// The greater part of an adapter's front page: its links lead to what the adapter hands on.
#[doc(hidden)]
#[macro_export]
macro_rules! guide {
    () => {
        r"
# The types

| to | there is |
|---|---|
| set a socket up | [`Socket::builder`], which gives a [`Builder`]; all settings are those of [`Config`] |
| choose who gets a message | [`SendMode`], [`SlowPeer`] |
| choose what is promised of it | [`DeliveryGuarantee`]; at the other end, [`Acknowledge`] |
| reach peers | [`Socket::bind`], [`Socket::connect`], [`Socket::wait_for_peers`]; back again: [`Socket::unbind`], [`Socket::disconnect`], [`Socket::disconnect_peer`], [`Socket::keep_out`] |
| send | [`Socket::send`], [`Socket::send_to`]; at once or not at all, [`Socket::try_send`]; to know what became of it, [`Socket::send_with_receipt`] |
| receive | [`Socket::recv`]; with the sender's [`Identity`], [`Socket::recv_from`]; to acknowledge by hand, [`Socket::recv_message`] and the setting [`Acknowledge::Manual`]; as a stream, [`Socket::messages`]; if one is there, [`Socket::try_recv`] or [`Socket::try_recv_message`] |
| watch | [`Socket::events`], [`Event`]; [`Socket::peers`]; [`Socket::metrics`] |
| end | [`Socket::close`], whose [`CloseReport`] says what was not handed over |

All of them take `&self`, and a socket is cheap to clone: send in one task and receive in another.

# Which end binds

It affects nothing else. Bind the end with a known, stable address; connect the end that may have several instances.

# What happens to a message

A message is accepted when [`Socket::send`] is ready. It is handed to the operating system as soon as there is a peer that
can take it. If the connection is lost before its last byte was taken, it goes to another peer, or to the same one when it
is back. What the operating system had taken by then may be lost with the connection, unless the message is sent
[at least once](DeliveryGuarantee::AtLeastOnce).

Everything that waits is bounded, see [`Config`]: sending waits when the bound is reached, and receiving stops reading so
that the sender feels it. By default a publisher does not wait for slow subscribers; [`SlowPeer`] selects the policy.

# Errors, and futures that are dropped

A failed send returns its message: [`SendError::into_payload`]. Losing a connection is not an error: the socket reconnects
and reports it through [`Socket::events`]. Every asynchronous method says what happens if its future is dropped before it
is ready. In short: dropping a send drops its unaccepted message, dropping a receive loses nothing; so all of them may be
used in `select!` or under a timeout.

A socket that is dropped does not wait for anything: [close](Socket::close) it, if what it holds is to be handed over.

# Logging

By `tracing`, under the target `aiomsg_driver`; never what is in a message. Level `warn`: accepting fails, a dial is given
up or has failed five times in a row, a socket is dropped with messages that were not sent, or messages are taken to be
acknowledged by hand without [`Acknowledge::Manual`]; and, the first time that each of these happens to a socket, a
subscriber that misses messages, messages that are given up, and acknowledgements that come early or are hidden. Level
`debug`: every other [`Event`], with the identity of the socket, and what the system says of a connection that failed. It is
shown when the program installs a subscriber, such as that of `tracing-subscriber`, and turns the level on:
`RUST_LOG=warn` is worth having always (`tracing_subscriber::fmt::init()` shows errors alone without it, if it heeds
`RUST_LOG` at all), `RUST_LOG=aiomsg_driver=debug` when something is to be found out.

# Features and versions

There are no feature flags. Rust 1.89 or newer is needed.

# Where to go on

In the repository, `docs/COOKBOOK.md` has programs to copy: work for any number of workers, proxies, requests and answers,
graceful shutdown. `docs/DELIVERY.md` says what is promised of a message, `docs/ADAPTERS.md` in what the runtimes differ and
how to write code for any of them, `docs/FROM_ZEROMQ.md` and `docs/FROM_PYTHON.md` what is called how there and here,
`docs/PROTOCOL.md` what goes over the wire, and `SECURITY.md` what a peer can do. `crates/aiomsg-examples` has programs to
run.
"
    };
}
