"""Writes conformance captures of protocols whose software is not at hand, by their specification.

    python datasets/recipes/written.py [--out tests/conformance/default] [CASE...]

Each case is one conversation: over TCP with handshake and acknowledgements, over UDP, or of bare IP
packets. What stands for ciphertext is seeded. The same case gives the same bytes.
"""

import argparse
import random
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import dpkt

CLIENT, SERVER = "10.20.44.7", "198.51.100.44"
CLIENT_PORT, START, STEP = 40044, 1_700_000_000.0, 0.02
SYN, ACK, PUSH = 0x02, 0x10, 0x18
ICMP, IPIP, TCP, UDP, GRE = 1, 4, 6, 17, 47
PROTO_NAMES = {ICMP: "icmp", IPIP: "ipip", TCP: "tcp", UDP: "udp", GRE: "gre"}


class Case(NamedTuple):
    """Messages as (direction, bytes), and what they are."""

    text: str
    port: int
    family: str
    application: str
    messages: list[tuple[int, bytes]]
    proto: int = TCP
    is_vpn: int = 1


_SECRETS = random.Random("written captures")


def _clear(text: str, family: str, request: bytes, answer: bytes, data: list[bytes]) -> Case:
    later = [(n % 2, message) for n, message in enumerate(data)]
    return Case(text, 80, family, "http", [(0, request), (1, answer), *later])


def _record(kind: int, size: int) -> bytes:
    return bytes([kind, 3, 3]) + size.to_bytes(2) + _SECRETS.randbytes(size)


def _hello(kind: int) -> bytes:
    """Return a hello in a record, RFC 8446 4.1.2 and 4.1.3, TLS 1.3 by its extension 43."""
    version = b"\0\x2b\0\3\2\3\4" if kind == 1 else b"\0\x2b\0\2\3\4"
    suites = b"\0\2\x13\1\1\0" if kind == 1 else b"\x13\1\0"
    body = b"\3\3" + _SECRETS.randbytes(32) + b"\0" + suites + len(version).to_bytes(2) + version
    message = bytes([kind]) + len(body).to_bytes(3) + body
    return b"\x16\3\3" + len(message).to_bytes(2) + message


CHANGE = b"\x14\3\3\0\1\1"


def _tls(
    text: str, family: str, *, flight: int, finished: int, sizes: list[tuple[int, int]]
) -> Case:
    first = [(0, _hello(1)), (1, _hello(2) + CHANGE + _record(23, flight))]
    finish = (0, CHANGE + _record(23, finished))
    later = [(direction, _record(23, size)) for direction, size in sizes]
    return Case(text, 443, family, "tls", [*first, finish, *later])


def _ppp(size: int) -> bytes:
    return b"\xff\x03\x00\x21" + _SECRETS.randbytes(size)


def _fortinet(size: int) -> bytes:
    return struct.pack("!HHH", size + 10, 0x5050, size + 4) + _ppp(size)


def _sstp(size: int) -> bytes:
    return struct.pack("!BBH", 0x10, 0, size + 8) + _ppp(size)


def _globalprotect(size: int) -> bytes:
    return struct.pack("!IHHII", 0x1A2B3C4D, 0x0800, size, 1, 0) + _SECRETS.randbytes(size)


def _warp(kind: int, receiver: bytes, size: int, *, counter: int = 0) -> bytes:
    """Return a message of WireGuard with an identifier in its reserved bytes."""
    head = bytes([kind]) + IDENTIFIER + receiver
    if kind == 4:
        head += struct.pack("<Q", counter)
    return (
        head + _SECRETS.randbytes(size - len(head) - 32 * (kind < 4)) + bytes(16) * 2 * (kind < 4)
    )


def _disco(key: bytes, size: int) -> bytes:
    return b"TS\xf0\x9f\x92\xac" + key + _SECRETS.randbytes(24 + 16 + size)


def _zerotier(direction: int, size: int, *, hello: bool = False) -> bytes:
    """Return a packet of ZeroTier, ``node/Packet.hpp``; HELLO with its identity in clear."""
    source, to = NODES[direction], NODES[1 - direction]
    head = _SECRETS.randbytes(8) + to + source
    if not hello:
        return head + b"\x08" + _SECRETS.randbytes(8 + 1 + size)
    clear = struct.pack("!BBBBHQ", 1, 12, 1, 14, 2, int(START) * 1000)
    return head + b"\0" + _SECRETS.randbytes(8) + clear + source + b"\0" + _SECRETS.randbytes(70)


def _yggdrasil() -> bytes:
    """Return what a peer begins with, ``src/core/version.go``."""
    records = struct.pack("!6H", 0, 2, 0, 1, 2, 5) + struct.pack("!2H", 2, 32)
    records += _SECRETS.randbytes(32) + struct.pack("!HHB", 3, 1, 0) + _SECRETS.randbytes(64)
    return b"meta" + len(records).to_bytes(2) + records


def _key(direction: int, size: int) -> bytes:
    """Return a question for a DNSKEY with what is no option, or its answer with what is no key."""
    ident, name = _SECRETS.randbytes(2), b"\x08" + _SECRETS.randbytes(4).hex().encode() + b"\0"
    if direction == 0:
        words = "000029100000008000"
        fixed, length = bytes.fromhex("01000001000000000001"), size
    else:
        words = "c00c0030000100000000"
        fixed, length = bytes.fromhex("81800001000100000000"), size + 4
    head = ident + fixed + name + b"\0\x30\0\1" + bytes.fromhex(words) + length.to_bytes(2)
    return head + (bytes.fromhex("01000308") if direction else b"") + _SECRETS.randbytes(size)


def _inner(direction: int, size: int) -> bytes:
    """Return an IPv4 packet with UDP between the tunnel's own addresses, RFC 2003."""
    ends = ("10.99.0.1", "10.99.0.2")
    udp = dpkt.udp.UDP(sport=(5353, 7)[direction], dport=(7, 5353)[direction], data=b"x" * size)
    udp.ulen = len(udp)
    src, dst = (socket.inet_aton(ends[side]) for side in (direction, 1 - direction))
    ip = dpkt.ip.IP(src=src, dst=dst, p=UDP, ttl=64, data=udp)
    ip.len = len(ip)
    return bytes(ip)


def _n2n(version: int, kind: int, body: bytes, *, flags: int = 0) -> bytes:
    """Return a message of n2n's releases 2 and 3, ``wire.c``: header, then what the type has."""
    community = b"riverside".ljust({2: 16, 3: 20}[version], b"\0")
    return struct.pack("!BBH", version, 2, flags | kind) + community + body


def _n2n_talk(version: int) -> list[tuple[int, bytes]]:
    """Return an edge's registration at its supernode, and frames that this passes on."""
    cookie, edge, peer = (
        _SECRETS.randbytes(4),
        b"\x02\x11\x22\x33\x44\x55",
        b"\x02" + bytes(4) + b"\7",
    )
    auth, network = struct.pack("!HH", 1, 16) + _SECRETS.randbytes(16), b"\x0a\x40\0\0\x18"
    described = network + b"laptop".ljust(16, b"\0") if version == 3 else b""
    asked = _n2n(version, 5, cookie + edge + described + auth)
    socket_ = struct.pack("!HH", 0, CLIENT_PORT) + socket.inet_aton(CLIENT)
    told = cookie + peer + network * (version == 3) + struct.pack("!H", 60) + socket_ + bytes(5)
    frames = [
        _n2n(version, 3, ends + b"\3\1" + _SECRETS.randbytes(size), flags=0x20 * (n % 2))
        for n, size in enumerate(SIZES)
        for ends in [edge + peer if n % 2 == 0 else peer + edge]
    ]
    later = [(n % 2, frame) for n, frame in enumerate(frames)]
    return [(0, asked), (1, _n2n(version, 7, told, flags=0x20)), *later]


def _dnscat(direction: int, session: int, kind: int, size: int, ident: bytes) -> bytes:
    """Return a question of dnscat2 or its answer in TXT, ``doc/protocol.md``."""

    def said(n: int) -> bytes:
        head = _SECRETS.randbytes(2) + bytes([kind]) + session.to_bytes(2)
        return (head + _SECRETS.randbytes(n)).hex().encode()

    text = said(size)
    labels = [text[at : at + 60] for at in range(0, len(text), 60)] + [b"t", b"example", b"net"]
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    if direction == 0:
        return ident + bytes.fromhex("01000001000000000000") + name + b"\0\x10\0\1"
    back = said(size // 2)
    record = bytes.fromhex("c00c001000010000003c") + (len(back) + 1).to_bytes(2)
    head = ident + bytes.fromhex("81800001000100000000") + name + b"\0\x10\0\1"
    return head + record + bytes([len(back)]) + back


def _dnscat_talk(session: int) -> list[tuple[int, bytes]]:
    found = []
    for kind, size in ((0, 12), (1, 40), (1, 4), (1, 70), (2, 6)):
        ident = _SECRETS.randbytes(2)
        found.append((0, _dnscat(0, session, kind, size, ident)))
        # The answer repeats the question, whose digits are its own
        answer = _dnscat(1, session, kind, size, ident)
        question = found[-1][1][12:]
        found.append((1, answer[:12] + question + answer[12 + len(question) :]))
    return found


def _echo(direction: int, number: int, data: bytes) -> bytes:
    """Return an ICMP echo request (0) or reply with its checksum, RFC 792."""
    echo = dpkt.icmp.ICMP.Echo(id=0x4A2F, seq=number, data=data)
    return bytes(dpkt.icmp.ICMP(type=8 * (1 - direction), data=echo))


def _ike(direction: int, exchange: int, number: int, size: int) -> bytes:
    """Return a message of IKEv2, RFC 7296 3.1, behind its length and marker, RFC 9329 3."""
    spis = KEYS[0][:8] + (bytes(8) if direction == number == 0 else KEYS[1][:8])
    kind = 33 if exchange == 34 else 46  # a security association, or what is encrypted
    flags = 0x08 if direction == 0 else 0x20
    payload = struct.pack("!BBH", 0, 0, size + 4) + _SECRETS.randbytes(size)
    head = struct.pack("!BBBBII", kind, 0x20, exchange, flags, number, 28 + len(payload))
    message = bytes(4) + spis + head + payload
    return (len(message) + 2).to_bytes(2) + message


def _esp(direction: int, number: int, size: int) -> bytes:
    """Return a packet of ESP behind its length, RFC 9329 3, RFC 4303 2."""
    packet = KEYS[direction][8:12] + number.to_bytes(4) + _SECRETS.randbytes(size)
    return (len(packet) + 2).to_bytes(2) + packet


def _gre(direction: int, size: int) -> bytes:
    return struct.pack("!HHI", 0x2000, 0x0800, 71) + _inner(direction, size)


IDENTIFIER = b"\xb9\x19\x81"
INDEXES = (b"\x1d\xa7\x5e\x90", b"\xc2\x38\x4b\xf1")
KEYS = tuple(random.Random(side).randbytes(32) for side in ("client", "server"))
NODES = (b"\x8a\x3f\x91\xd7\x42", b"\x1c\xe0\x75\xb6\x2d")
SIZES = (60, 60, 52, 400, 1200, 52)
SSTP_PATH = b"/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/"
WHOLE = b"Content-Length: 18446744073709551615\r\n"
GREETING = b"".join(
    (len(name) + 1).to_bytes(4)
    + name
    + (2).to_bytes(4)
    + (1).to_bytes(4)
    + len(value).to_bytes(4)
    + value
    for name, value in ((b"hello", b"SoftEther VPN Server"), (b"random", b"0123456789"))
)
CASES = {
    "sstp-clear": _clear(
        "SSTP in clear text, as behind a server that ends TLS ([MS-SSTP] 4.1).",
        "sstp",
        b"SSTP_DUPLEX_POST "
        + SSTP_PATH
        + b" HTTP/1.1\r\nHost: vpn.example.net\r\n"
        + WHOLE
        + b"\r\n",
        b"HTTP/1.1 200\r\n" + WHOLE + b"Server: Microsoft-HTTPAPI/2.0\r\n\r\n",
        [_sstp(size) for size in SIZES],
    ),
    "softether-clear": _clear(
        "SoftEther in clear text, as behind a server that ends TLS (Cedar/Protocol.c).",
        "softether",
        b"POST /vpnsvc/connect.cgi HTTP/1.1\r\nHost: vpn.example.net\r\nContent-Length: 10\r\n\r\nVPNCONNECT",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n\0\0\0\2" + GREETING,
        [_SECRETS.randbytes(size) for size in SIZES],
    ),
    "globalprotect-clear": _clear(
        "GlobalProtect in clear text, as behind a server that ends TLS (OpenConnect, gpst.c).",
        "globalprotect",
        b"GET /ssl-tunnel-connect.sslvpn?user=a&authcookie=0123456789 HTTP/1.1\r\n\r\n",
        b"START_TUNNEL",
        [_globalprotect(size) for size in SIZES],
    ),
    "fortinet-clear": _clear(
        "FortiGate's tunnel in clear text, as behind a server that ends TLS (OpenConnect, ppp.c).",
        "fortinet",
        b"GET /remote/sslvpn-tunnel HTTP/1.1\r\nHost: vpn.example.net\r\nCookie: SVPNCOOKIE=0\r\n\r\n",
        _fortinet(20),
        [_fortinet(size) for size in SIZES],
    ),
    "pulse-clear": _clear(
        "Pulse's upgrade to IF-T in clear text, as behind a server that ends TLS (OpenConnect, pulse.c).",
        "pulse",
        b"GET / HTTP/1.1\r\nHost: vpn.example.net\r\nUpgrade: IF-T/TLS 1.0\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: IF-T/TLS 1.0\r\n\r\n",
        [_SECRETS.randbytes(size) for size in SIZES],
    ),
    "tor-cells": _tls(
        "Records of TLS 1.3 that hold cells of 514 bytes (tor-spec, section 3).",
        "tor",
        flight=900,
        finished=53,
        sizes=[(n % 2, 514 * (1 + n // 8) + 17) for n in range(16)],
    ),
    "tls-in-tls": _tls(
        "Bursts of the sizes that the published rule looks for (OpenGFW, trojan.go).",
        "tls-in-tls",
        flight=900,
        finished=53,
        sizes=[(0, 700), (1, 3500), (0, 120), (1, 900)],
    ),
    "warp": Case(
        "Cloudflare WARP: WireGuard with an identifier in the reserved bytes (their blog, 2019).",
        2408,
        "warp",
        "warp",
        [(0, _warp(1, INDEXES[0], 148)), (1, _warp(2, INDEXES[1] + INDEXES[0], 92))]
        + [
            (n % 2, _warp(4, INDEXES[1 - n % 2], 96 + 16 * n, counter=n // 2))
            for n in range(len(SIZES))
        ],
        UDP,
    ),
    "tailscale": Case(
        "Tailscale's discovery messages of both sides, then WireGuard (tailscale, disco.go).",
        41641,
        "tailscale",
        "tailscale",
        [(n % 2, _disco(KEYS[n % 2], 46)) for n in range(4)]
        + [(n % 2, b"\4\0\0\0" + INDEXES[n % 2] + struct.pack("<Q", n) + KEYS[0]) for n in (0, 1)],
        UDP,
    ),
    "zerotier": Case(
        "ZeroTier: HELLO, its answer, and packets between the two nodes (node/Packet.hpp).",
        9993,
        "zerotier",
        "zerotier",
        [(0, _zerotier(0, 0, hello=True))]
        + [(1 - n % 2, _zerotier(1 - n % 2, 60)) for n in range(5)],
        UDP,
    ),
    "yggdrasil": Case(
        "Yggdrasil peers greet each other over TCP, then ciphertext (src/core/version.go).",
        9001,
        "yggdrasil",
        "yggdrasil",
        [(0, _yggdrasil()), (1, _yggdrasil())]
        + [(n % 2, _SECRETS.randbytes(size)) for n, size in enumerate(SIZES)],
    ),
    "ip-in-ip": Case(
        "IPv4 in IPv4 (RFC 2003) around readable UDP: encapsulation, no VPN.",
        0,
        "ipip",
        "ipip",
        [(n % 2, _inner(n % 2, size)) for n, size in enumerate(SIZES)],
        IPIP,
        0,
    ),
    "softether-dns": Case(
        "SoftEther's VPN over DNS: questions for keys and answers (Mayaqua/Network.c).",
        53,
        "softether",
        "dns",
        [(n % 2, _key(n % 2, size)) for n, size in enumerate(SIZES)],
        UDP,
    ),
}
CASES |= {
    "n2n-v3": Case(
        "n2n release 3: an edge registers, and the supernode passes frames on (wire.c).",
        7654,
        "n2n",
        "n2n",
        _n2n_talk(3),
        UDP,
    ),
    "n2n-v2": Case(
        "n2n release 2: the same with its shorter community (wire.c of that branch).",
        7654,
        "n2n",
        "n2n",
        _n2n_talk(2),
        UDP,
    ),
    "dns-tunnel-dnscat2": Case(
        "dnscat2: a session from SYN to FIN in hexadecimal names and TXT (doc/protocol.md).",
        53,
        "dns-tunnel",
        "dns",
        _dnscat_talk(0x5C1D),
        UDP,
    ),
    "icmp-tunnel-hans": Case(
        "hans: its headers in echo requests and replies (worker.h, client.cpp, server.cpp).",
        0,
        "icmp-tunnel",
        "icmp",
        [
            (n % 2, _echo(n % 2, n // 2, (b"hanc", b"hans")[n % 2] + bytes([kind]) + data))
            for n, (kind, data) in enumerate(
                [
                    (2, b"user"),
                    (6, _SECRETS.randbytes(20)),
                    (7, _SECRETS.randbytes(20)),
                    (3, bytes(4)),
                ]
                + [(9, _inner(n % 2, size)) for n, size in enumerate(SIZES)]
            )
        ],
        ICMP,
    ),
    "icmp-tunnel-ip": Case(
        "Echoes with an IP packet each, as icmptx and icmptunnel send them.",
        0,
        "icmp-tunnel",
        "icmp",
        [(n % 2, _echo(n % 2, n // 2, _inner(n % 2, size))) for n, size in enumerate(SIZES)],
        ICMP,
    ),
    "socks4a": Case(
        "SOCKS 4a: a name behind an address that is none, granted, then what it carries.",
        1080,
        "socks",
        "socks",
        [
            (0, b"\4\1\0\x50\0\0\0\1\0example.net\0"),
            (1, b"\0\x5a\0\x50\xc0\0\2\x07"),
            (0, b"GET / HTTP/1.1\r\nHost: example.net\r\n\r\n"),
            (1, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        ],
    ),
    "ike-tcp": Case(
        "IKEv2 and ESP in TCP: the prefix, messages of both sides, packets (RFC 9329).",
        4500,
        "ipsec",
        "ike",
        [(0, b"IKETCP" + _ike(0, 34, 0, 200)), (1, _ike(1, 34, 0, 200))]
        + [(n, _ike(n, 35, 1, 180)) for n in (0, 1)]
        + [(n % 2, _esp(n % 2, 1 + n // 2, 84 + 16 * n)) for n in range(6)],
    ),
    "gre": Case(
        "GRE with a key around readable UDP (RFC 2784, RFC 2890): encapsulation, no VPN.",
        0,
        "gre",
        "gre",
        [(n % 2, _gre(n % 2, size)) for n, size in enumerate(SIZES)],
        GRE,
        0,
    ),
    "gtp-u": Case(
        "GTP-U around readable UDP (3GPP TS 29.281): encapsulation, no VPN.",
        2152,
        "gtp-u",
        "gtp-u",
        [
            (n % 2, struct.pack("!BBHI", 0x30, 0xFF, len(inner), 0x0A11 + n % 2) + inner)
            for n, inner in ((n, _inner(n % 2, size)) for n, size in enumerate(SIZES))
        ],
        UDP,
        0,
    ),
}


def _packet(direction: int, proto: int, data: bytes | dpkt.Packet) -> bytes:
    """Return an Ethernet frame with an IPv4 packet from client (0) or server (1)."""
    ends = (CLIENT, SERVER)
    src, dst = (socket.inet_aton(ends[side]) for side in (direction, 1 - direction))
    ip = dpkt.ip.IP(src=src, dst=dst, p=proto, ttl=63, data=data)
    ip.len = len(ip)
    return bytes(dpkt.ethernet.Ethernet(src=b"\2\0\0\0\0\1", dst=b"\2\0\0\0\0\2", data=ip))


def _datagrams(case: Case) -> Iterator[bytes]:
    ports = (CLIENT_PORT, case.port)
    for direction, message in case.messages:
        data: bytes | dpkt.Packet = message
        if case.proto == UDP:
            data = dpkt.udp.UDP(sport=ports[direction], dport=ports[1 - direction], data=message)
            data.ulen = len(data)
        yield _packet(direction, case.proto, data)


def _segments(case: Case) -> Iterator[bytes]:
    ports = (CLIENT_PORT, case.port)
    seq = [1000, 2000]

    def segment(direction: int, flags: int, data: bytes = b"") -> bytes:
        tcp = dpkt.tcp.TCP(
            sport=ports[direction],
            dport=ports[1 - direction],
            seq=seq[direction],
            ack=seq[1 - direction],
            flags=flags,
            data=data,
        )
        seq[direction] += len(data) + (flags & SYN > 0)
        return _packet(direction, TCP, tcp)

    yield from (segment(0, SYN), segment(1, SYN | ACK), segment(0, ACK))
    for direction, message in case.messages:
        for at in range(0, len(message), 1400):
            yield segment(direction, PUSH, message[at : at + 1400])
        yield segment(1 - direction, ACK)


README = """# {name}

{text}

- Made by `datasets/recipes/written.py {name}`: one conversation between a private and a documentation address.
- Software: none; written by the specification, because the programs are not at hand where captures are made.
- {packets} packets. What stands for ciphertext are seeded random bytes, as are hellos' random fields.
- `labels.csv` says what the conversation stands for.
"""


def write(name: str, folder: Path) -> None:
    """Write one case."""
    case = CASES[name]
    folder.mkdir(parents=True, exist_ok=True)
    frames = list(_segments(case) if case.proto == TCP else _datagrams(case))
    with (folder / "capture.pcap").open("wb") as file:
        writer = dpkt.pcap.Writer(file)
        for n, frame in enumerate(frames):
            writer.writepkt(frame, ts=START + n * STEP)
    ports = (CLIENT_PORT, case.port) if case.proto in (TCP, UDP) else (0, 0)
    flow = f"capture.pcap,{PROTO_NAMES[case.proto]},{CLIENT},{ports[0]},{SERVER},{ports[1]}"
    header = "path,proto,src,sport,dst,dport,is_vpn,family,application"
    labels = f"{header}\n{flow},{case.is_vpn},{case.family},{case.application}\n"
    (folder / "labels.csv").write_text(labels, encoding="utf-8")
    text = README.format(name=name, text=case.text, packets=len(frames))
    (folder / "README.md").write_text(text, encoding="utf-8")


def main() -> None:
    """Write the cases that are named, else all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--out", type=Path, default=Path("tests/conformance/default"))
    options = parser.parse_args()
    for name in CASES:
        if not options.cases or name in options.cases:
            write(name, options.out / name)


if __name__ == "__main__":
    main()
