"""A proxy: what comes to one socket goes out of the other.

proxy.py FRONT BACK
"""

import asyncio
import os
import sys

import aiomsg


async def bound(address):
    # Spelt with a slashed O.
    socket = getattr(aiomsg, "S\u00f8cket")(send_mode=aiomsg.SendMode.ROUNDROBIN)
    host, port = address.rsplit(":", 1)
    await socket.bind(host, int(port))
    print("ready", flush=True)
    return socket


async def end_when_left_behind():
    parent = os.getppid()
    while os.getppid() == parent:
        await asyncio.sleep(1)
    os._exit(1)


async def main():
    watch = asyncio.create_task(end_when_left_behind())
    back = await bound(sys.argv[2])
    front = await bound(sys.argv[1])
    while not watch.done():
        await back.send(await front.recv())


asyncio.run(main())
