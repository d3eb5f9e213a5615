"""Messages of overlay networks and older tunnels, written from their specifications."""

import struct

from vpn_messages import secret

# L2TP


def l2tp_control(kind: int, tunnel: int = 0, *, version: int = 2, body: bytes = b"") -> bytes:
    first = struct.pack(">HHHH", 0x8008, 0, 0, kind) if kind else b""
    size = 12 + len(first) + len(body)
    head = struct.pack(">HH", 0xC800 | version, size)
    ids = struct.pack(">HH", tunnel, 0) if version == 2 else struct.pack(">I", tunnel)
    return head + ids + bytes(4) + first + body


def l2tp_data(tunnel: int, session: int, frame: bytes, *, length: bool = False) -> bytes:
    head = struct.pack(">HH", 0x4002, 8 + len(frame)) if length else b"\x00\x02"
    return head + struct.pack(">HH", tunnel, session) + frame


def l2tp3_data(session: int, frame: bytes, cookie: bytes = b"") -> bytes:
    return struct.pack(">II", 3 << 16, session) + cookie + frame


def ppp(packet: bytes, protocol: int = 0x0021) -> bytes:
    return b"\xff\x03" + protocol.to_bytes(2, "big") + packet


# PPTP


def pptp_control(kind: int) -> bytes:
    sizes = {1: 156, 2: 156, 5: 16, 6: 20, 7: 168, 8: 32}
    head = struct.pack(">HHIHH", sizes[kind], 1, 0x1A2B3C4D, kind, 0)
    return head + bytes(sizes[kind] - len(head))


# n2n


def n2n(
    community: bytes, kind: int, *, version: int = 3, flags: int = 0, body: bytes | None = None
) -> bytes:
    name = community.ljust(20 if version == 3 else 16, b"\0")
    return bytes([version, 2, 0, flags | kind]) + name + (secret(30) if body is None else body)


# Nebula


def nebula(kind: int, index: int, counter: int, size: int = 80, subtype: int = 0) -> bytes:
    return struct.pack(">BBHIQ", 0x10 | kind, subtype, 0, index, counter) + secret(size)


# fastd


def fastd_handshake(number: int, *, prefix: bool = False, name: bytes = b"ec25519-fhmqvc") -> bytes:
    def record(kind: int, value: bytes) -> bytes:
        return struct.pack("<HH", kind, len(value)) + value

    records = record(0, bytes([number])) + record(4, b"\0") + record(5, name)
    records += record(6, secret(32)) + record(7, secret(32))
    ahead = struct.pack(">IQ", 0xC803000C, 0) if prefix else b""
    return ahead + struct.pack(">HH", 0x0100, len(records)) + records


def fastd_data(nonce: int, size: int = 60, *, old: bool = False) -> bytes:
    head = b"\x02" + nonce.to_bytes(7, "big") + b"\0" if old else nonce.to_bytes(8, "big")
    return head + secret(size)


# ZeroTier


def zerotier(to: bytes, source: bytes, *, flags: int = 0x08, size: int = 60) -> bytes:
    return secret(8) + to + source + bytes([flags]) + secret(8) + secret(1 + size)


def zerotier_hello(to: bytes, source: bytes) -> bytes:
    hello = bytes([1, 12, 1, 14]) + struct.pack(">HQ", 2, 1_700_000_000_000)
    return secret(8) + to + source + b"\0" + secret(8) + hello + source + b"\0" + secret(80)


# Tailscale


def disco(key: bytes, size: int = 60) -> bytes:
    return b"TS\xf0\x9f\x92\xac" + key + secret(24 + size)


# VTun


def vtun(line: bytes) -> bytes:
    return (line + b"\n").ljust(50, b"\0")


# WARP: WireGuard's messages with an identifier


def warp(message: bytes, identifier: bytes) -> bytes:
    return message[:1] + identifier + message[4:]


# Yggdrasil


def yggdrasil(minor: int = 5) -> bytes:
    records = struct.pack(">HHHHHH", 0, 2, 0, 1, 2, minor) + struct.pack(">HH", 2, 32) + secret(32)
    records += struct.pack(">HHB", 3, 1, 0) + secret(64)
    return b"meta" + struct.pack(">H", len(records)) + records


# tinc


def tinc_data(source: bytes, sequence: int, size: int = 80) -> bytes:
    return bytes(6) + source + sequence.to_bytes(4, "big") + secret(size)
