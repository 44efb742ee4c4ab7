#!/usr/bin/env python3
"""The demo of the Python package: one end sends the time, the other prints it.

    demo.py server|client bind|connect HOST:PORT

Runs on each of the published packages. The Rust demo takes the same words.
"""

import asyncio
import sys
import time

import aiomsg


def new_socket():
    """The class is spelt with a slashed O in all versions under test."""
    return getattr(aiomsg, "S\u00f8cket")()


async def join(socket, role, address):
    host, port = address.rsplit(":", 1)
    if role == "bind":
        await socket.bind(host, int(port))
    else:
        await socket.connect(host, int(port))


async def server(socket):
    while True:
        await socket.send(time.ctime().encode())
        await asyncio.sleep(0.1)


async def client(socket):
    async for message in socket.messages():
        print(message.decode(), flush=True)


async def main():
    part, role, address = sys.argv[1:]
    async with new_socket() as socket:
        await join(socket, role, address)
        await {"server": server, "client": client}[part](socket)


asyncio.run(main())
