#!/usr/bin/env bash
# Sets up the peers, builds the agent, the demo and the command, and runs the interoperability tests.
# Arguments go to the test program: a name, for instance, picks the tests that
# contain it.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."

tests/interop/peers.sh
cargo build -p aiomsg-examples --example agent --example demo
cargo build -p aiomsg-cli
# Most tests wait for timers most of the time, so more of them than there are
# processors fit; far more would starve the peers into their timeouts.
cargo test -p aiomsg-interop -- --test-threads="${INTEROP_THREADS:-8}" "$@"
