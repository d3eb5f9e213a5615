"""Makes the bytes of packets and captures by hand, for tests: every field can be wrong on purpose."""

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

ETHERNET, RAW, NULL, LOOP, SLL, SLL2, PPP, PPPOE, HDLC = 1, 101, 0, 108, 113, 276, 9, 51, 104
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


class Record(NamedTuple):
    """A captured packet: ``wire`` is its size on the wire where the capture holds less."""

    ts_ns: int
    data: bytes
    wire: int | None = None


def u16(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


def u32(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


# --- transport and network ---------------------------------------------------------------------


def udp(
    sport: int, dport: int, payload: bytes = b"", *, length: int | None = None, checksum: int = 0
) -> bytes:
    return u16(sport, dport, len(payload) + 8 if length is None else length, checksum) + payload


def tcp(
    sport: int,
    dport: int,
    payload: bytes = b"",
    *,
    seq: int = 0,
    ack: int = 0,
    flags: int = ACK,
    options: bytes = b"",
    offset: int | None = None,
    checksum: int = 0,
) -> bytes:
    words = (20 + len(options)) // 4 if offset is None else offset
    head = u16(sport, dport) + u32(seq % 2**32, ack) + bytes([words << 4, flags])
    return head + u16(8192, checksum, 0) + options + payload


def ip4(
    payload: bytes = b"",
    proto: int = 17,
    src: int = 0x0A000001,
    dst: int = 0x0A000002,
    *,
    options: bytes = b"",
    ident: int = 0,
    fragment: int = 0,
    more: bool = False,
    total: int | None = None,
    ihl: int | None = None,
    version: int = 4,
) -> bytes:
    """IPv4; ``fragment`` is an offset in units of eight bytes."""
    words = (20 + len(options)) // 4 if ihl is None else ihl
    size = 20 + len(options) + len(payload) if total is None else total
    head = bytes([version << 4 | words, 0]) + u16(size & 0xFFFF, ident, more << 13 | fragment)
    return head + bytes([64, proto]) + u16(0) + u32(src, dst) + options + payload


def ip6(
    payload: bytes = b"",
    proto: int = 17,
    src: int = 0x20010DB8 << 96 | 1,
    dst: int = 0x20010DB8 << 96 | 2,
    *,
    length: int | None = None,
) -> bytes:
    size = len(payload) if length is None else length
    head = bytes([0x60, 0, 0, 0]) + u16(size & 0xFFFF) + bytes([proto, 64])
    return head + src.to_bytes(16, "big") + dst.to_bytes(16, "big") + payload


def extension(following: int, payload: bytes, *, body: bytes = bytes(6)) -> bytes:
    """An IPv6 extension header of the usual form before ``payload``."""
    assert (len(body) + 2) % 8 == 0
    return bytes([following, (len(body) + 2) // 8 - 1]) + body + payload


def fragment6(following: int, payload: bytes, *, ident: int, offset: int, more: bool) -> bytes:
    return bytes([following, 0]) + u16(offset << 3 | more) + u32(ident) + payload


# --- links -------------------------------------------------------------------------------------


def ethertype_of(packet: bytes) -> int:
    return 0x86DD if packet[:1] and packet[0] >> 4 == 6 else 0x0800


def eth(
    packet: bytes,
    ethertype: int | None = None,
    tags: Iterable[tuple[int, int]] = (),
) -> bytes:
    """Ethernet; ``tags`` are (tag protocol, VLAN id), outermost first."""
    kind = ethertype_of(packet) if ethertype is None else ethertype
    stack = b"".join(u16(tpid, vlan) for tpid, vlan in tags)
    return bytes.fromhex("020000000002 020000000001") + stack + u16(kind) + packet


def mpls(packet: bytes, labels: Sequence[int]) -> bytes:
    """A label stack, RFC 3032, as payload of EtherType 0x8847."""
    last = len(labels) - 1
    return (
        b"".join(u32(label << 12 | (i == last) << 8 | 64) for i, label in enumerate(labels))
        + packet
    )


def ppp(packet: bytes, *, address: bool = True, compressed: bool = False) -> bytes:
    protocol = 0x57 if packet[:1] and packet[0] >> 4 == 6 else 0x21
    return (
        (b"\xff\x03" if address else b"")
        + (bytes([protocol]) if compressed else u16(protocol))
        + packet
    )


def pppoe(packet: bytes) -> bytes:
    inner = ppp(packet, address=False)
    return b"\x11\x00" + u16(1, len(inner)) + inner


def link(packet: bytes, kind: int) -> bytes:
    """Put an IP packet on a link type."""
    version = packet[0] >> 4
    family = 2 if version == 4 else 30
    heads = {
        ETHERNET: lambda: eth(packet),
        RAW: lambda: packet,
        NULL: lambda: struct.pack("<I", family) + packet,
        LOOP: lambda: struct.pack(">I", family) + packet,
        SLL: lambda: u16(0, 1, 6) + bytes(8) + u16(ethertype_of(packet)) + packet,
        SLL2: lambda: u16(ethertype_of(packet), 0) + bytes(16) + packet,
        PPP: lambda: ppp(packet),
        PPPOE: lambda: pppoe(packet),
        HDLC: lambda: b"\x0f\x00" + u16(ethertype_of(packet)) + packet,
    }
    return heads[kind]()


# --- containers --------------------------------------------------------------------------------


def pcap_header(
    *, link: int = ETHERNET, order: str = "<", nano: bool = False, modified: bool = False
) -> bytes:
    magic = 0xA1B2CD34 if modified else 0xA1B23C4D if nano else 0xA1B2C3D4
    return struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 262144, link)


def pcap_record(
    r: Record, *, order: str = "<", nano: bool = False, modified: bool = False
) -> bytes:
    wire = len(r.data) if r.wire is None else r.wire
    seconds, part = divmod(r.ts_ns, SECOND)
    head = struct.pack(f"{order}IIII", seconds, part if nano else part // 1000, len(r.data), wire)
    return head + (struct.pack(f"{order}IHBB", 7, 0x0800, 0, 0) if modified else b"") + r.data


def pcap(
    records: Iterable[Record | bytes],
    *,
    link: int = ETHERNET,
    order: str = "<",
    nano: bool = False,
    modified: bool = False,
) -> bytes:
    """A pcap file; bare bytes get time stamps a millisecond apart."""
    return pcap_header(link=link, order=order, nano=nano, modified=modified) + b"".join(
        pcap_record(r, order=order, nano=nano, modified=modified) for r in timed(records)
    )


def timed(records: Iterable[Record | bytes]) -> list[Record]:
    return [
        r if isinstance(r, Record) else Record(START + i * 1_000_000, r)
        for i, r in enumerate(records)
    ]


def block(kind: int, body: bytes, *, order: str = "<", length: int | None = None) -> bytes:
    body += bytes(-len(body) % 4)
    size = len(body) + 12 if length is None else length
    return struct.pack(f"{order}II", kind, size) + body + struct.pack(f"{order}I", size)


def option(code: int, value: bytes, *, order: str = "<") -> bytes:
    return struct.pack(f"{order}HH", code, len(value)) + value + bytes(-len(value) % 4)


def shb(*, order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1), order=order)


def idb(
    *,
    link: int = ETHERNET,
    snaplen: int = 0,
    tsresol: int | None = None,
    tsoffset: int | None = None,
    order: str = "<",
) -> bytes:
    options = b""
    if tsresol is not None:
        options += option(9, bytes([tsresol]), order=order)
    if tsoffset is not None:
        options += option(14, struct.pack(f"{order}q", tsoffset), order=order)
    if options:
        options += option(0, b"", order=order)
    return block(1, struct.pack(f"{order}HHI", link, 0, snaplen) + options, order=order)


def epb(
    data: bytes,
    ticks: int = START // 1000,
    *,
    interface: int = 0,
    wire: int | None = None,
    captured: int | None = None,
    order: str = "<",
    options: bytes = b"",
) -> bytes:
    head = struct.pack(
        f"{order}IIIII",
        interface,
        ticks >> 32,
        ticks & 0xFFFFFFFF,
        len(data) if captured is None else captured,
        len(data) if wire is None else wire,
    )
    return block(6, head + data + bytes(-len(data) % 4) + options, order=order)


def pb(
    data: bytes,
    ticks: int = START // 1000,
    *,
    interface: int = 0,
    drops: int = 0xFFFF,
    wire: int | None = None,
    order: str = "<",
) -> bytes:
    head = struct.pack(
        f"{order}HHIIII",
        interface,
        drops,
        ticks >> 32,
        ticks & 0xFFFFFFFF,
        len(data),
        len(data) if wire is None else wire,
    )
    return block(2, head + data, order=order)


def spb(data: bytes, *, wire: int | None = None, order: str = "<") -> bytes:
    size = len(data) if wire is None else wire
    return block(3, struct.pack(f"{order}I", size) + data, order=order)


def pcapng(
    records: Iterable[Record | bytes], *, link: int = ETHERNET, order: str = "<", nano: bool = False
) -> bytes:
    """A pcapng file of one section and one interface."""
    unit = 1 if nano else 1000
    head = shb(order=order) + idb(link=link, tsresol=9 if nano else None, order=order)
    return head + b"".join(
        epb(r.data, r.ts_ns // unit, wire=r.wire, order=order) for r in timed(records)
    )
