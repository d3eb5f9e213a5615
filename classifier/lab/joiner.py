"""Carries many TCP connections in one TLS connection, in the framing of common multiplexers; a program.

``joiner.py JSON`` is one end. The framings: ``yamux`` (twelve bytes: version, type, flags, stream, length;
windows and pings), ``websocket`` (RFC 6455, an HTTP upgrade, then binary messages, masked by the client,
each with four bytes of stream and type), ``h2`` (RFC 9113: preface, settings, a stream for each
connection, window updates). The near end listens on local ports and says in the first message of a
stream which port of the target it wants.
"""

import asyncio
import contextlib
import itertools
import json
import os
import ssl
import struct
import sys
from collections.abc import Callable
from typing import Any

from classifier.lab.carrier import OPENINGS, message, websocket

__all__: list[str] = []

OPEN, DATA, CLOSE, UPDATE, PING = range(5)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ASK, ANSWER = (words.encode() for words in OPENINGS["websocket"])
H2_TYPES = {OPEN: 1, DATA: 0, CLOSE: 3, UPDATE: 8, PING: 6}  # HEADERS, DATA, RST_STREAM, ...
H2_KINDS = {number: kind for kind, number in H2_TYPES.items()}
YAMUX_FLAGS = {OPEN: 1, CLOSE: 4}  # SYN, FIN


def framed(framing: str, masks: bool, kind: int, stream: int, body: bytes) -> bytes:
    """Return a message as it goes into TLS."""
    if framing == "yamux":
        number = {UPDATE: 1, PING: 2}.get(kind, 0)
        head = struct.pack(">BBHII", 0, number, YAMUX_FLAGS.get(kind, 0), stream, len(body))
        return head if kind in (CLOSE, UPDATE, PING) else head + body
    if framing == "h2":
        if kind == OPEN:  # a header block is longer than a port
            body += os.urandom(44)
        return (
            struct.pack(">I", len(body))[1:] + struct.pack(">BBI", H2_TYPES[kind], 0, stream) + body
        )
    return websocket(masks, struct.pack(">HB", stream, kind) + body)


async def unframed(framing: str, reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    """Read a message; return its kind, stream and body."""
    if framing == "yamux":
        _, number, flags, stream, n = struct.unpack(">BBHII", await reader.readexactly(12))
        kinds = {1: UPDATE, 2: PING}
        kind = kinds.get(number, OPEN if flags & 1 else CLOSE if flags & 4 else DATA)
        return kind, stream, await reader.readexactly(n if kind in (OPEN, DATA) else 0)
    if framing == "h2":
        head = await reader.readexactly(9)
        n = int.from_bytes(head[:3])
        kind = H2_KINDS.get(head[3], PING)
        body = await reader.readexactly(n)
        return kind, int.from_bytes(head[5:]), body[:2] if kind == OPEN else body
    body = await message(reader)
    stream, kind = struct.unpack(">HB", body[:3])
    return kind, stream, body[3:]


class Joined:
    """One TLS connection and the streams in it."""

    def __init__(self, setup: dict[str, Any], reader: Any, writer: Any) -> None:
        self.setup, self.reader, self.writer = setup, reader, writer
        self.near: bool = not setup["listen"]
        self.streams: dict[int, asyncio.Queue[bytes]] = {}  # what came; nothing is the end
        self.numbers = itertools.count(1, 2)
        self.tasks: set[asyncio.Task[None]] = set()

    def send(self, kind: int, stream: int, body: bytes = b"") -> None:
        """Send a message."""
        self.writer.write(framed(self.setup["framing"], self.near, kind, stream, body))

    def spawn(self, work: Any) -> None:
        """Do something beside, and keep hold of it."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def greet(self) -> None:
        """Say what the framing begins with."""
        framing = self.setup["framing"]
        if framing == "websocket":
            if self.near:
                self.writer.write(ASK)
            await self.reader.readuntil(b"\r\n\r\n")
            if not self.near:
                self.writer.write(ANSWER)
        elif framing == "h2":
            settings = bytes(6 * self.setup["settings"])
            if self.near:
                self.writer.write(PREFACE)
            else:
                await self.reader.readexactly(len(PREFACE))
            self.writer.write(struct.pack(">I", len(settings))[1:] + b"\4\0\0\0\0\0" + settings)

    async def pump(self, stream: int, reader: asyncio.StreamReader) -> None:
        """Send what an inner connection says, and its end."""
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(self.setup["piece"]):
                self.send(DATA, stream, data)
                await self.writer.drain()
        self.send(CLOSE, stream, bytes(4))

    async def carry(
        self, stream: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carry an inner connection until the other end closes it."""
        self.spawn(self.pump(stream, reader))
        taken = 0
        while body := await self.streams[stream].get():
            writer.write(body)
            taken += len(body)
            if self.setup["framing"] != "websocket" and taken > self.setup["window"] // 2:
                taken = 0
                self.send(UPDATE, stream, bytes(4))
        writer.close()

    async def take(self, reader: asyncio.StreamReader, writer: Any, port: int) -> None:
        """Begin a stream for a local connection."""
        stream = next(self.numbers)
        self.streams[stream] = asyncio.Queue()
        self.send(OPEN, stream, struct.pack(">H", port))
        await self.carry(stream, reader, writer)

    async def open(self, stream: int, port: int) -> None:
        """Connect to the target for the other end's stream."""
        await self.carry(stream, *await asyncio.open_connection(self.setup["target"], port))

    async def alive(self) -> None:
        """Ping every so often."""
        while True:
            await asyncio.sleep(self.setup["alive_s"])
            self.send(PING, 0, bytes(8))

    async def run(self) -> None:
        """Hand out what comes, until the connection ends."""
        if self.near:
            self.spawn(self.alive())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                kind, stream, body = await unframed(self.setup["framing"], self.reader)
                if kind == OPEN:
                    self.streams[stream] = asyncio.Queue()
                    self.spawn(self.open(stream, int.from_bytes(body[:2])))
                elif kind in (DATA, CLOSE) and stream in self.streams:
                    self.streams[stream].put_nowait(body if kind == DATA else b"")


def _context(setup: dict[str, Any]) -> ssl.SSLContext:
    if setup["listen"]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(setup["certificate"], setup["key"])
    else:
        context = ssl.create_default_context(cafile=setup["ca"])
        context.check_hostname = False
        if setup["old"]:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        if setup["ciphers"]:
            context.set_ciphers(setup["ciphers"])
    if setup["alpn"]:
        context.set_alpn_protocols(setup["alpn"])
    return context


async def main(setup: dict[str, Any]) -> None:
    """Be the end that the setup says."""
    context = _context(setup)

    async def joined(reader: Any, writer: Any) -> Joined:
        one = Joined(setup, reader, writer)
        await one.greet()
        return one

    async def serve(reader: Any, writer: Any) -> None:
        await (await joined(reader, writer)).run()

    if setup["listen"]:
        server = await asyncio.start_server(serve, setup["address"], setup["port"], ssl=context)
        await server.serve_forever()
    ends = []
    for _ in range(setup["connections"]):
        place = (setup["address"], setup["port"])
        pair = await asyncio.open_connection(
            *place, ssl=context, server_hostname=setup["name"] or ""
        )
        ends.append(await joined(*pair))
    turn = itertools.cycle(ends)

    def taking(port: int) -> Callable[[Any, Any], Any]:
        return lambda reader, writer: next(turn).take(reader, writer, port)

    for port, local in setup["forwards"].items():
        await asyncio.start_server(taking(int(port)), "127.0.0.1", local)
    await asyncio.gather(*(one.run() for one in ends))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
