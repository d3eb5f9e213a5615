"""Carries IP packets in one TLS connection, in the framing of several products; runs as a program.

``carrier.py JSON`` is one end. Both send packets of a TUN device as frames, one to a TLS record, and a
frame of control every so often. The framings: ``sstp`` (MS-SSTP 2.2.3: version, control, length, then PPP),
``fortinet`` (six bytes of length, mark and length, then PPP, as openfortivpn speaks), ``cstp`` (AnyConnect's
eight bytes: ``STF``, one, length, type, zero), ``websocket`` (RFC 6455, a binary message each, masked by
the client), ``length`` (two bytes of length alone). No one's
negotiation is played beyond the HTTP request that opens each; addresses are set from outside.
"""

import asyncio
import fcntl
import json
import os
import ssl
import struct
import sys
from typing import Any

__all__: list[str] = []

TUNSETIFF, TUN_FLAGS = 0x400454CA, 0x1001  # TUN without its own header
PPP_IP = b"\x00\x21"
OPENINGS = {
    "sstp": (
        ("SSTP_DUPLEX_POST /sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/ HTTP/1.1\r\n"
        "Content-Length: 18446744073709551615\r\nHost: vpn.example.net\r\n\r\n"),
        "HTTP/1.1 200\r\nContent-Length: 18446744073709551615\r\nServer: lab\r\n\r\n",
    ),
    "fortinet": (
        "GET /remote/sslvpn-tunnel HTTP/1.1\r\nHost: sslvpn\r\nCookie: SVPNCOOKIE=" + "a" * 180 + "\r\n\r\n",
        "",
    ),
    "cstp": (
        "CONNECT /CSCOSSLC/tunnel HTTP/1.1\r\nHost: vpn.example.net\r\nUser-Agent: lab\r\n"
        "Cookie: webvpn=" + "b" * 120 + "\r\nX-CSTP-MTU: 1400\r\n\r\n",
        "HTTP/1.1 200 CONNECTED\r\nX-CSTP-Version: 1\r\nX-CSTP-MTU: 1400\r\n\r\n",
    ),
    "websocket": (
        ("GET /vpn HTTP/1.1\r\nHost: vpn.example.net\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"),
    ),
    "length": ("", ""),
}  # fmt: skip


def framed(kind: str, packet: bytes, masks: bool = False) -> bytes:
    """Return a packet as it goes into TLS; an empty one is a frame of control."""
    n = len(packet)
    if kind == "sstp":
        if not packet:
            return struct.pack(">BBHHH", 0x10, 1, 8, 8, 0)  # echo request
        return struct.pack(">BBH", 0x10, 0, n + 8) + b"\xff\x03" + PPP_IP + packet
    if kind == "fortinet":
        inner = PPP_IP + packet if packet else b"\xc0\x21\x09\x01\x00\x08abcd"  # LCP echo
        return struct.pack(">HHH", len(inner) + 6, 0x5050, len(inner)) + inner
    if kind == "cstp":
        return b"STF\x01" + struct.pack(">HBB", n, 0 if packet else 7, 0) + packet
    if kind == "websocket":
        return websocket(masks, packet)
    return struct.pack(">H", n) + packet


def websocket(masks: bool, body: bytes) -> bytes:
    """Return a WebSocket's binary message of less than 65,536 bytes (RFC 6455, section 5.2)."""
    n, mark = len(body), masks << 7
    head = (
        struct.pack(">BB", 0x82, n | mark) if n < 126 else struct.pack(">BBH", 0x82, 126 | mark, n)
    )
    if not masks:
        return head + body
    key = os.urandom(4)
    return head + key + masked(key, body)


def masked(key: bytes, body: bytes) -> bytes:
    """Return bytes with the mask put on, or taken off (section 5.3)."""
    n = len(body)
    stretched = (key * (n // 4 + 1))[:n]
    return (int.from_bytes(body) ^ int.from_bytes(stretched)).to_bytes(n)


async def message(reader: asyncio.StreamReader) -> bytes:
    """Read a WebSocket's message."""
    _, second = await reader.readexactly(2)
    n = second & 0x7F
    if n == 126:
        n = int.from_bytes(await reader.readexactly(2))
    key = await reader.readexactly(4) if second & 0x80 else b""
    body = await reader.readexactly(n)
    return masked(key, body) if key else body


async def unframed(kind: str, reader: asyncio.StreamReader) -> bytes:
    """Read a frame and return its packet; empty for one of control."""
    if kind == "sstp":
        _, control, size = struct.unpack(">BBH", await reader.readexactly(4))
        body = await reader.readexactly(size - 4)
        return b"" if control else body[4:]
    if kind == "fortinet":
        _, _, size = struct.unpack(">HHH", await reader.readexactly(6))
        body = await reader.readexactly(size)
        return body[2:] if body[:2] == PPP_IP else b""
    if kind == "cstp":
        size, control, _ = struct.unpack(">4xHBB", await reader.readexactly(8))
        body = await reader.readexactly(size)
        return b"" if control else body
    if kind == "websocket":
        return await message(reader)
    return await reader.readexactly(struct.unpack(">H", await reader.readexactly(2))[0])


def device(name: str) -> int:
    """Open the TUN device."""
    number = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(number, TUNSETIFF, struct.pack("16sH22x", name.encode(), TUN_FLAGS))
    return number


async def carry(
    setup: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Carry packets until the connection ends."""
    kind, tun = setup["kind"], device("tun0")
    ask, answer = OPENINGS[kind]
    mine, theirs = (answer, ask) if setup["listen"] else (ask, answer)
    if setup["listen"] and theirs:
        await reader.readuntil(b"\r\n\r\n")
    if mine:
        writer.write(mine.encode())
    if not setup["listen"] and theirs:
        await reader.readuntil(b"\r\n\r\n")
    loop = asyncio.get_running_loop()
    near = not setup["listen"]
    loop.add_reader(tun, lambda: writer.write(framed(kind, os.read(tun, 2048), near)))

    async def alive() -> None:
        while True:
            await asyncio.sleep(setup["alive_s"])
            writer.write(framed(kind, b"", near))

    beat = asyncio.create_task(alive())
    try:
        while True:
            packet = await unframed(kind, reader)
            if packet:
                os.write(tun, packet)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the other end has gone
    finally:
        beat.cancel()
        loop.remove_reader(tun)
        os.close(tun)


async def main(setup: dict[str, Any]) -> None:
    """Be the end that the setup says."""
    if setup["listen"]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(setup["certificate"], setup["key"])
        server = await asyncio.start_server(
            lambda r, w: carry(setup, r, w), setup["address"], setup["port"], ssl=context
        )
        await server.serve_forever()
    context = ssl.create_default_context(cafile=setup["ca"])
    context.check_hostname = False
    if setup["old"]:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    if setup["alpn"]:
        context.set_alpn_protocols(setup["alpn"])
    name = setup["name"] or ""
    ends = await asyncio.open_connection(
        setup["address"], setup["port"], ssl=context, server_hostname=name
    )
    await carry(setup, *ends)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
