"""A test program around the Python package `aiomsg`.

One program for every version of the package that the tests speak to. It runs
on Python 3.6 and everything later, PyPy included, and takes the same flags as
the `agent` example of this workspace, so that a scenario can put either of
the two at either end.

Payloads go to stdout, one a line. All else goes to stderr, where these lines
are meant for the tests to wait for:

    listening HOST:PORT     bound (with --port 0, this tells which port)
    ready                   bind or connect was called
    event: connected        a peer joined
    event: disconnected     a peer left
    transmitted N           by a certain source: its messages, copies included

A certain source, which only the package of 2026 can be, writes each message
to stdout when it is acknowledged, and ends when all are.
"""
import argparse
import asyncio
import logging
import sys
import uuid

import aiomsg

POLL = 0.02
# Acknowledgements are sent this package's usual 20 ms late: a program that
# has read its last message must stay a little for its answer to leave.
ACKNOWLEDGEMENT_TIME = 0.15


def parse_flags(arguments):
    parser = argparse.ArgumentParser(description="one end of an aiomsg link")
    parser.add_argument("--role", choices=["bind", "connect"], required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--send-mode", choices=["publish", "roundrobin"], default="roundrobin"
    )
    parser.add_argument(
        "--behavior",
        choices=["source", "certain-source", "sink", "echo", "request"],
        required=True,
    )
    parser.add_argument("--count", type=int)
    parser.add_argument("--prefix", default="")
    parser.add_argument(
        "--delivery",
        choices=["at-most-once", "at-least-once"],
        default="at-most-once",
    )
    parser.add_argument("--identity", help="32 hex digits")
    parser.add_argument("--linger", type=float, default=0.2)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--burst", type=int, default=1)
    parser.add_argument("--wait-peers", type=int, default=0)
    parser.add_argument("--hex", choices=["true", "false"], default="false")
    parser.add_argument("--log-level", default="CRITICAL")
    return parser.parse_args(arguments)


def note(line):
    print(line, file=sys.stderr, flush=True)


def show(payload, as_hex):
    text = payload.hex() if as_hex else payload.decode("utf-8", errors="replace")
    # Written as bytes: an interpreter started in the C locale would refuse
    # to encode what lies outside ASCII.
    sys.stdout.buffer.write(text.encode("utf-8") + b"\n")
    sys.stdout.buffer.flush()


def aiomsg_socket(**options):
    return getattr(aiomsg, "S\u00f8cket")(**options)


def make_socket(flags):
    options = {
        "send_mode": {
            "publish": aiomsg.SendMode.PUBLISH,
            "roundrobin": aiomsg.SendMode.ROUNDROBIN,
        }[flags.send_mode],
        "delivery_guarantee": {
            "at-most-once": aiomsg.DeliveryGuarantee.AT_MOST_ONCE,
            "at-least-once": aiomsg.DeliveryGuarantee.AT_LEAST_ONCE,
        }[flags.delivery],
    }
    socket = aiomsg_socket(**options)
    if flags.identity is not None:
        wanted = uuid.UUID(hex=flags.identity)
        socket.identity = (
            str(wanted) if isinstance(socket.identity, str) else wanted.bytes
        )
    return socket


async def open_socket(socket, flags):
    if flags.role == "bind":
        await socket.bind(flags.host, flags.port)
        host, port = socket.server.sockets[0].getsockname()[:2]
        note("listening {}:{}".format(host, port))
    else:
        await socket.connect(flags.host, flags.port)
    note("ready")


async def report_peers(socket):
    """Prints who joins and leaves; the package has no events of its own.

    Connections are told apart as objects: a peer that comes back under its
    old identity between two looks counts as a new one.
    """
    known = []
    while True:
        current = list(socket._connections.values())
        for connection in known:
            if not any(connection is other for other in current):
                note("event: disconnected {}".format(name_of(connection)))
        for connection in current:
            if not any(connection is other for other in known):
                note("event: connected {}".format(name_of(connection)))
        known = current
        await asyncio.sleep(POLL)


def name_of(connection):
    identity = connection.identity
    return identity if isinstance(identity, str) else identity.hex()


def all_is_written(socket):
    """Whether nothing that was sent still waits inside this process."""
    queue = socket._user_send_queue
    # The package takes a message off its queue before it has a peer for it.
    # Only when its sender waits for the next one has it placed the last one.
    if not queue.empty() or not queue._getters:
        return False
    return all(
        connection.writer_queue.empty()
        and connection.writer.transport.get_write_buffer_size() == 0
        for connection in list(socket._connections.values())
        if hasattr(connection.writer, "transport")
    )


async def flush(socket):
    """Waits until everything is written; `close` drops what is not.

    Between its queues a message is in nobody's sight for a moment, therefore
    several looks in a row have to agree. Before the first peer there is no
    limit; once all have left for long, none may ever come to take the rest.
    """
    quiet, met_someone, alone = 0, False, 0.0
    while quiet < 3:
        quiet = quiet + 1 if all_is_written(socket) else 0
        await asyncio.sleep(POLL)
        met_someone = met_someone or bool(socket._connections)
        alone = 0.0 if socket._connections else alone + POLL
        if met_someone and alone > 10.0:
            note("gave up: all peers have left")
            return


async def settle(socket, flags):
    """Gives acknowledgements a bounded time to come in.

    A message that is about to be sent again is not listed for a moment,
    therefore several looks in a row have to agree.
    """
    quiet, remaining = 0, 10.0
    while quiet < 3 and remaining > 0:
        quiet = 0 if socket.waiting_for_acks else quiet + 1
        await asyncio.sleep(POLL)
        remaining -= POLL
    await asyncio.sleep(flags.linger)


class Receipts:
    """Tells which messages were acknowledged; the package does not.

    It listens at the two places that all messages and all acknowledgements
    pass. A copy that is sent again has an id of its own.
    """

    def __init__(self, socket):
        self.payloads = {}
        self.acknowledged = set()
        self.put = socket._user_send_queue.put
        self.raw_recv = socket.raw_recv
        socket._user_send_queue.put = self.note_sent
        socket.raw_recv = self.note_received

    async def note_sent(self, item):
        envelope = aiomsg.envelope.decode(item[1])
        if envelope.type is aiomsg.envelope.MsgType.DATA_REQ:
            self.payloads[envelope.msg_id] = envelope.payload
        await self.put(item)

    def note_received(self, identity, envelope):
        self.raw_recv(identity, envelope)
        if envelope.type is aiomsg.envelope.MsgType.ACK:
            payload = self.payloads[envelope.msg_id]
            if payload not in self.acknowledged:
                self.acknowledged.add(payload)
                show(payload, False)

    def report(self):
        note("transmitted {}".format(len(self.payloads)))


async def wait_for_peers(socket, wanted):
    while len(socket._connections) < wanted:
        await asyncio.sleep(POLL)


def numbered(flags):
    if flags.count is None:
        sys.exit("--count is needed with --behavior " + flags.behavior)
    for number in range(flags.count):
        yield "{}{}".format(flags.prefix, number).encode("utf-8")


async def send_all(socket, flags):
    await wait_for_peers(socket, flags.wait_peers)
    for number, payload in enumerate(numbered(flags)):
        if number > 0 and number % flags.burst == 0 and flags.pause > 0:
            await asyncio.sleep(flags.pause)
        await socket.send(payload)


async def run_source(socket, flags):
    await send_all(socket, flags)
    await flush(socket)
    await settle(socket, flags)


async def run_certain_source(socket, flags):
    receipts = Receipts(socket)
    await send_all(socket, flags)
    while len(receipts.acknowledged) < flags.count:
        await asyncio.sleep(POLL)
    # Copies may still be under way; they are not worth waiting for long.
    await settle(socket, flags)
    return receipts.report


async def run_sink(socket, flags):
    received = 0
    while flags.count is None or received < flags.count:
        show(await socket.recv(), flags.hex == "true")
        received += 1
        if flags.pause > 0:
            await asyncio.sleep(flags.pause)
    await asyncio.sleep(ACKNOWLEDGEMENT_TIME)
    await flush(socket)


async def run_echo(socket, flags):
    answered = 0
    while flags.count is None or answered < flags.count:
        sender, payload = await socket.recv_identity()
        await socket.send(payload, identity=sender)
        answered += 1
    await flush(socket)
    await settle(socket, flags)


async def run_request(socket, flags):
    await wait_for_peers(socket, flags.wait_peers)
    for number, payload in enumerate(numbered(flags)):
        if number > 0 and flags.pause > 0:
            await asyncio.sleep(flags.pause)
        await socket.send(payload)
        show(await socket.recv(), flags.hex == "true")
    await asyncio.sleep(ACKNOWLEDGEMENT_TIME)
    await flush(socket)


BEHAVIORS = {
    "source": run_source,
    "certain-source": run_certain_source,
    "sink": run_sink,
    "echo": run_echo,
    "request": run_request,
}


async def run(flags):
    socket = make_socket(flags)
    await open_socket(socket, flags)
    reporter = asyncio.ensure_future(report_peers(socket))
    report = await BEHAVIORS[flags.behavior](socket, flags)
    reporter.cancel()
    await socket.close()
    if report is not None:
        report()
    note("closed")


def main():
    flags = parse_flags(sys.argv[1:])
    logging.basicConfig(level=flags.log_level, stream=sys.stderr)
    # Not `asyncio.run`, which Python 3.6 lacks. Nor does this cancel what a
    # closed socket leaves running: the end of the process does.
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(run(flags))


if __name__ == "__main__":
    main()
