"""pcap and pcapng, read from ``bytes``, plainly and slowly.

Written from draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng. What those leave open is decided so
(and the library decides the same): a pcap packet of more than 262144 bytes and a packet block of
more than 393216 bytes are damage, as is a block shorter than 12 bytes; a block length that is no
multiple of four is rounded up; an interface description of more than 393216 bytes is passed over;
a packet without a time has the time of the one before; a time that is further than
4,611,686,018 s from 1970 becomes the nearest that is not.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

SECOND = 1_000_000_000
MOST_SECONDS = 4_611_686_018
MOST_CAPTURED = 262144
MOST_BLOCK = 393216
UNKNOWN_INTERFACE, MALFORMED_RECORD = 9, 10

Order = Literal["little", "big"]


class Found(NamedTuple):
    """A packet as the container holds it; ``reason`` is 0 where it can be read."""

    frame: int
    ts_ns: int
    data: bytes
    wire_bytes: int
    link: int
    reason: int = 0


@dataclass
class Container:
    """All packets up to the end or to damage."""

    packets: list[Found] = field(default_factory=list)
    damaged: bool = False  # something in it cannot be
    truncated: bool = False  # it ends in the middle of something
    clamped: int = 0

    def time(self, ns: int) -> int:
        seconds, rest = divmod(ns, SECOND)
        if abs(seconds) >= MOST_SECONDS:
            self.clamped += 1
            return MOST_SECONDS * SECOND if seconds > 0 else -MOST_SECONDS * SECOND
        return seconds * SECOND + rest


def read(data: bytes) -> Container:
    """Read a capture; its first bytes must be those of one."""
    if data[:4] == bytes.fromhex("0a0d0d0a"):
        return read_pcapng(data)
    return read_pcap(data)


def read_pcap(data: bytes) -> Container:
    order: Order = "little" if data[:2] in (b"\xd4\xc3", b"\x4d\x3c", b"\x34\xcd") else "big"
    order = "little" if data[2:4] == b"\x00\x1c" else order
    magic = int.from_bytes(data[:4], order)
    unit = {0xA1B2C3D4: 1000, 0xA1B23C4D: 1, 0xA1B2CD34: 1000}.get(magic, 1000)
    header = 24 if magic == 0xA1B2CD34 else 16
    link = int.from_bytes(data[20:24], order) % 2**26
    result = Container()
    at = 28 if magic in (0x1C0001AC, 0x1C0001AB) else 24
    while at < len(data):
        fields = [int.from_bytes(data[at + i : at + i + 4], order) for i in (0, 4, 8, 12)]
        seconds, part, captured, wire = fields
        if at + header > len(data):
            result.truncated = True
            break
        if captured > MOST_CAPTURED:
            result.damaged = True
            break
        packet = data[at + header : at + header + captured]
        if len(packet) < captured:
            result.truncated = True
            break
        at += header + captured
        time = result.time(seconds * SECOND + part * unit)
        result.packets.append(Found(len(result.packets) + 1, time, packet, wire, link))
    return result


@dataclass
class Interface:
    link: int = -1
    snaplen: int = 0
    resolution: int = 6
    offset_s: int = 0

    def time(self, ticks: int) -> int:
        base, exponent = (
            (2, self.resolution - 128) if self.resolution > 127 else (10, self.resolution)
        )
        return ticks * SECOND // base**exponent + self.offset_s * SECOND


def read_interface(body: bytes, order: Order) -> Interface:
    interface = Interface()
    if len(body) < 8:
        return interface
    interface.link = int.from_bytes(body[:2], order)
    interface.snaplen = int.from_bytes(body[4:8], order)
    options = body[8:]
    while len(options) >= 4:
        code = int.from_bytes(options[:2], order)
        size = int.from_bytes(options[2:4], order)
        value = options[4 : 4 + size]
        if code == 0 or len(value) < size:
            break
        if code == 9 and size >= 1:
            interface.resolution = value[0]
        if code == 14 and size >= 8:
            interface.offset_s = int.from_bytes(value[:8], order, signed=True)
        options = options[4 + size + -size % 4 :]
    return interface


def read_pcapng(data: bytes) -> Container:
    result = Container()
    order: Order = "little"
    interfaces: list[Interface] = []
    at, last = 0, 0
    while at < len(data):
        head = data[at : at + 12]
        if len(head) < 12:
            result.truncated = True
            break
        if head[:4] == bytes.fromhex("0a0d0d0a"):
            if head[8:] not in (bytes.fromhex("1a2b3c4d"), bytes.fromhex("4d3c2b1a")):
                result.damaged = True
                break
            order = "big" if head[8] == 0x1A else "little"
            interfaces = []
        kind = int.from_bytes(head[:4], order)
        length = int.from_bytes(head[4:8], order)
        if length < 12:
            result.damaged = True
            break
        length += -length % 4
        if kind in (2, 3, 6) and length > MOST_BLOCK:
            result.damaged = True
            break
        block = data[at : at + length]
        if len(block) < length:
            result.truncated = True
            break
        at += length
        body = block[8:-4]
        if kind == 1 and length <= MOST_BLOCK:
            interfaces.append(read_interface(body, order))
        elif kind in (2, 3, 6):
            found = read_packet(body, kind, order, interfaces, last, result)
            last = found.ts_ns
            result.packets.append(found._replace(frame=len(result.packets) + 1))
    return result


def read_packet(
    body: bytes,
    kind: int,
    order: Order,
    interfaces: list[Interface],
    last: int,
    result: Container,
) -> Found:
    """Read an obsolete (2), simple (3) or enhanced (6) packet block."""

    def number(start: int, stop: int) -> int:
        return int.from_bytes(body[start:stop], order)

    def no_good(reason: int) -> Found:
        return Found(0, last, b"", 0, -1, reason)

    fixed = 4 if kind == 3 else 20
    if len(body) < fixed:
        return no_good(MALFORMED_RECORD)
    rest = body[fixed:]
    if kind == 3:
        which, wire = 0, number(0, 4)
        captured = min(wire, len(rest))
        if interfaces and interfaces[0].snaplen:
            captured = min(captured, interfaces[0].snaplen)
    else:
        which = number(0, 4) if kind == 6 else number(0, 2)
        captured, wire = number(12, 16), number(16, 20)
    if captured > len(rest):
        return no_good(MALFORMED_RECORD)
    if which >= len(interfaces):
        return no_good(UNKNOWN_INTERFACE)
    interface = interfaces[which]
    if kind != 3:
        ticks = number(4, 8) << 32 | number(8, 12)
        last = result.time(interface.time(ticks))
    return Found(0, last, rest[:captured], wire, interface.link)
