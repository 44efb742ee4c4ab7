"""The ends and the proxy that `proxy-speed` measures, on the Python package.

    speed.py proxy
    speed.py source ADDRESS COUNT
    speed.py sink ADDRESS COUNT

The proxy says where it listens, its front and its back. The sink says when it
is connected, and in the end how many messages it got, and how many a second,
from its first to its last.
"""
import asyncio
import sys
import time

import aiomsg

from peer import aiomsg_socket, flush

MESSAGE = b"0123456789abcdef"


def round_robin():
    return aiomsg_socket(send_mode=aiomsg.SendMode.ROUNDROBIN)


def tell(line):
    print(line, flush=True)


async def proxy():
    front, back = round_robin(), round_robin()
    for socket in (front, back):
        await socket.bind("127.0.0.1", 0)
        tell("{}:{}".format(*socket.server.sockets[0].getsockname()[:2]))
    while True:
        await back.send(await front.recv())


async def source(host, port, count):
    socket = round_robin()
    await socket.connect(host, int(port))
    for _ in range(int(count)):
        await socket.send(MESSAGE)
    await flush(socket)
    await socket.close()


async def sink(host, port, count):
    """Not all may arrive: then it has done when nothing has come for a while."""
    socket = round_robin()
    await socket.connect(host, int(port))
    while not socket._connections:
        await asyncio.sleep(0.01)
    tell("ready")
    times = []
    taking = asyncio.ensure_future(take(socket, int(count), times))
    seen = 0
    for _ in range(60):
        await asyncio.sleep(1)
        if taking.done() or (times and len(times) == seen):
            break
        seen = len(times)
    span = times[-1] - times[0] if len(times) > 1 else float("inf")
    tell("{} {}".format(len(times), (len(times) - 1) / span))


async def take(socket, count, times):
    while len(times) < count:
        await socket.recv()
        times.append(time.monotonic())


def main():
    part, *arguments = sys.argv[1:]
    if arguments:
        host, port = arguments.pop(0).rsplit(":", 1)
        arguments = [host, port, *arguments]
    # Not `asyncio.run`, which Python 3.6 lacks.
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete({"proxy": proxy, "source": source, "sink": sink}[part](*arguments))


if __name__ == "__main__":
    main()
