#!/usr/bin/env bash
# Sets up the published Python packages that the interoperability tests speak
# to. Each of them is unpacked to target/interop/<peer>/site, next to a file
# `interpreter` that names the Python which runs it; the tests read both.
#
# Safe to run again at any time. Whatever goes wrong ends the script with a
# non-zero status: a peer that is missing must never look like a peer that
# passed.
#
# AIOMSG_PYTHON and AIOMSG_CLASSIC_PYTHON choose the interpreters by hand.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
store="$root/target/interop"

fail() {
    echo "peers.sh: $*" >&2
    exit 1
}

# usable COMMAND LOWEST HIGHEST: whether the command is a Python whose minor
# version (3.x) lies in the range. It is run to find out, because a version
# manager may leave commands on the path that do not work.
usable() {
    "$1" -c "import asyncio, sys; v = sys.version_info
sys.exit(0 if v[0] == 3 and $2 <= v[1] <= $3 else 1)" >/dev/null 2>&1
}

# first_usable LOWEST HIGHEST COMMAND...: prints the path of the first
# command that is usable.
first_usable() {
    local lowest="$1" highest="$2" candidate
    shift 2
    for candidate in "$@"; do
        if usable "$candidate" "$lowest" "$highest"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return 0
        fi
    done
    return 1
}

find_modern() {
    if [[ -n "${AIOMSG_PYTHON:-}" ]]; then
        first_usable 10 99 "$AIOMSG_PYTHON"
    else
        first_usable 10 99 python3 python3.14 python3.13 python3.12 python3.11 \
            python3.10 python
    fi
}

find_classic() {
    if [[ -n "${AIOMSG_CLASSIC_PYTHON:-}" ]]; then
        first_usable 6 9 "$AIOMSG_CLASSIC_PYTHON"
    else
        first_usable 6 9 python3.9 python3.8 python3.7 python3.6 \
            pypy3 pypy3.9 python3
    fi
}

# The 2019 packages pass a `loop` argument that asyncio dropped in 3.10.
# Debian's PyPy still is a 3.9, so there it can be installed on the spot.
install_classic() {
    [[ "$(id -u)" -eq 0 && -e /etc/debian_version ]] || return 1
    command -v apt-get >/dev/null || return 1
    echo "peers.sh: installing pypy3" >&2
    { apt-get update && DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends pypy3; } >&2
}

# present SITE VERSION: whether exactly this version lies unpacked there.
present() {
    [[ -d "$1/aiomsg-$2.dist-info" && -f "$1/aiomsg/__init__.py" ]]
}

# fetch SITE VERSION SHA256: downloads and unpacks a wheel. The work is done
# aside and moved into place at the end, so that an interrupted run leaves
# nothing behind that looks complete.
fetch() {
    local site="$1" version="$2" hash="$3" work
    work="$(mktemp -d "$store/fetch.XXXXXX")"
    echo "aiomsg==$version --hash=sha256:$hash" >"$work/requirements.txt"
    "$modern" -m pip --version >/dev/null 2>&1 ||
        fail "$modern has no pip: install python3-pip (or run '$modern -m ensurepip')."
    # The interpreter that downloads need not be the one that runs the wheel.
    "$modern" -m pip download --quiet --disable-pip-version-check \
        --no-deps --only-binary :all: --ignore-requires-python \
        --require-hashes -r "$work/requirements.txt" -d "$work" ||
        fail "pip could not download aiomsg $version."
    "$modern" -m zipfile -e "$work"/aiomsg-*.whl "$work/site"
    rm -rf "$site"
    mkdir -p "$(dirname "$site")"
    mv "$work/site" "$site"
    rm -rf "$work"
}

# set_up NAME VERSION SHA256 INTERPRETER
set_up() {
    local home="$store/$1" version="$2" hash="$3" interpreter="$4" running
    present "$home/site" "$version" || fetch "$home/site" "$version" "$hash"
    running="$(PYTHONPATH="$home/site" PYTHONDONTWRITEBYTECODE=1 \
        "$interpreter" - "$home/site" <<'PYTHON'
import os
import platform
import sys

import aiomsg

where = os.path.dirname(os.path.dirname(os.path.realpath(aiomsg.__file__)))
if where != os.path.realpath(sys.argv[1]):
    sys.exit("another aiomsg was imported, from " + where)
aiomsg.SendMode.PUBLISH, aiomsg.DeliveryGuarantee.AT_LEAST_ONCE
getattr(aiomsg, "S\u00f8cket")
name = platform.python_implementation()
if name != "CPython":
    name += " for Python"
print(name, platform.python_version())
PYTHON
    )" || fail "aiomsg $version does not import with $interpreter."
    printf '%s\n' "$interpreter" >"$home/interpreter"
    echo "$1: aiomsg $version on $running ($interpreter)"
}

modern="$(find_modern)" ||
    fail "no Python of version 3.10 or newer found: install python3 (or set AIOMSG_PYTHON)."
if ! classic="$(find_classic)"; then
    # A choice made by hand is not overruled.
    [[ -n "${AIOMSG_CLASSIC_PYTHON:-}" ]] || install_classic || true
    classic="$(find_classic)" ||
        fail "no Python between 3.6 and 3.9 found: install PyPy 3.9 ('apt-get install pypy3' on" \
            "Debian 12) or CPython 3.9, or set AIOMSG_CLASSIC_PYTHON to one."
fi

mkdir -p "$store"
set_up v1_2026_7_1 2026.7.1 \
    f7fbb3e8ad9f5dddcbee2124691729aaa138b434b290cb2a284e01d7fcb7b75f "$modern"
set_up classic_2019_12_3 2019.12.3 \
    aa531c1bc267908242dd7c6896c784ff542712255e18c0d5048c273b45418d85 "$classic"
set_up classic_text_2019_4_5 2019.4.5 \
    850ce8d07e8b9795d779ba949039aa568bd9d8b9555e1521a8999fe11f29d97f "$classic"
