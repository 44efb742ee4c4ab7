#!/usr/bin/env python3
"""A small client in both dialects, written from PROTOCOL.md and nothing else.

    protocol_client.py v1|classic|classic-text HOST PORT MESSAGE...

Sends each message at least once, and prints what it gets. Ends when all of its messages are acknowledged and as many have
come, or with an error if the connection is lost: who needs more than this dials again, and sends what is left again.
"""
import socket
import sys
import time
import uuid

HELLO, HEARTBEAT, DATA, DATA_REQ, ACK = b"\1", b"\2", b"\3", b"\4", b"\5"
CLASSIC_HEARTBEAT, REQ, REP = b"aiomsg-heartbeat", b"\0REQ\0", b"\0REP\0"


class Client:
    def __init__(self, dialect, host, port):
        self.v1 = dialect == "v1"
        self.link = socket.create_connection((host, port), timeout=5)
        self.link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.read = self.written = time.monotonic()
        self.buffer, self.introduced = b"", False
        self.unacknowledged = {}  # id: (message, when to send it again, the time until then)
        me = uuid.uuid4()
        self.write({"v1": HELLO + b"\1" + me.bytes, "classic": me.bytes, "classic-text": str(me).encode()}[dialect])

    def write(self, frame):
        self.link.sendall(len(frame).to_bytes(4, "big") + frame)
        self.written = time.monotonic()

    def send(self, message, name=None, delay=5):
        name = name or uuid.uuid4().bytes
        self.unacknowledged[name] = (message, time.monotonic() + delay, delay)
        self.write(DATA_REQ + name + message if self.v1 else name + REQ + message)

    def receive(self):
        """Waits until something comes or is due, does it, and returns the messages that came."""
        now = time.monotonic()
        times = [self.read + 15, self.written + 5, *(due for _, due, _ in self.unacknowledged.values())]
        self.link.settimeout(max(min(times) - now, 0.001))
        try:
            chunk = self.link.recv(65536)
        except socket.timeout:
            chunk = None
        now = time.monotonic()
        if chunk == b"" or (chunk is None and now >= self.read + 15):
            raise ConnectionError("the connection is lost")
        if chunk:
            self.read, self.buffer = now, self.buffer + chunk
        for name, (message, due, delay) in list(self.unacknowledged.items()):
            if now >= due:
                self.send(message, name, min(2 * delay, 60))
        if now >= self.written + 5:
            self.write(HEARTBEAT if self.v1 else CLASSIC_HEARTBEAT)
        return [message for frame in self.frames() for message in self.understand(frame)]

    def frames(self):
        while len(self.buffer) >= 4 and len(self.buffer) >= (end := 4 + int.from_bytes(self.buffer[:4], "big")):
            frame, self.buffer = self.buffer[4:end], self.buffer[end:]
            yield frame

    def understand(self, frame):
        """The message in a frame, if it has one. A message that asks for it is acknowledged."""
        if not self.introduced:
            self.introduced = True
            if self.v1 and (frame[:2] != HELLO + b"\1" or len(frame) < 18):
                raise ConnectionError("the peer does not speak v1")
        elif self.v1 and frame[:1] == DATA:
            yield frame[1:]
        elif self.v1 and frame[:1] == DATA_REQ and len(frame) >= 17:
            self.write(ACK + frame[1:17])
            yield frame[17:]
        elif self.v1 and frame[:1] == ACK:
            self.unacknowledged.pop(frame[1:17], None)
        elif not self.v1 and frame[16:21] == REQ:
            self.write(frame[:16] + REP)
            yield frame[21:]
        elif not self.v1 and frame[16:] == REP:
            self.unacknowledged.pop(frame[:16], None)
        elif not self.v1 and frame not in (b"", CLASSIC_HEARTBEAT):
            yield frame

    def close(self):
        self.link.shutdown(socket.SHUT_WR)
        self.link.settimeout(1)
        while self.link.recv(65536):
            pass


def main():
    dialect, host, port, *messages = sys.argv[1:]
    client = Client(dialect, host, int(port))
    while not client.introduced:
        client.receive()
    for message in messages:
        client.send(message.encode())
    missing = len(messages)
    while client.unacknowledged or missing > 0:
        for message in client.receive():
            print(message.decode(), flush=True)
            missing -= 1
    client.close()


if __name__ == "__main__":
    main()
