r"""SoftEther: its HTTP request behind a server that ends TLS, and what it sends over UDP in clear.

First lines of each side, in clear text where TLS has been taken off before the capture point::

    POST /vpnsvc/connect.cgi HTTP/1.1       body: a picture as watermark, or VPNCONNECT
    HTTP/1.1 200 OK                         body: a PACK with the elements hello, version, random

VPN over DNS, in datagrams that read as a question for a key, and its answer (numbers big-endian)::

    0    2   id                               any
    2   10   0100 0001 0000 0000 0001         answer: 8180 0001 0001 0000 0000
    12  10   08, eight hexadecimal digits, 00
    22   4   0030 0001                        DNSKEY
    26   9   00 0029 1000 00008000            answer: c00c 0030 0001, time to live (4)
    35   2   length                           of the rest; answer: at 36
    37       encrypted, random                answer: behind 0100 0308 at 38

Messages to and from its servers for NAT traversal: a PACK in one datagram, or ``A`` and the answer
``IP=192.0.2.1,PORT=40000``. A PACK::

    0    4   elements
    4    4   length of the first one's name, and 1
    8    n   name           letters, digits and underscores
    8+n  4   type           0 to 4
         4   values

Sources
-------
SoftEther VPN, ``Cedar/Protocol.h`` and ``Cedar/Protocol.c`` (targets of the requests, elements of
the greeting), ``Mayaqua/Pack.c`` (``WritePack``, ``WriteElement``), ``Mayaqua/Memory.c``
(``WriteBufStr``), ``Mayaqua/Network.c`` (R-UDP over DNS, NAT traversal); RFC 4034 section 2 and RFC
6891 section 6.1 (what a DNSKEY and an OPT record would be).

Strength
--------
Proof: the request, and an answer 200 that holds the greeting's elements ``hello`` and ``random``;
its question and answer over DNS; a PACK of either side. Strong: the request with no answer captured;
questions over DNS, or a PACK, of one side alone; ``A`` and its answer. Strong also, by what else the
same two hosts say: TLS to a port of the server at which a TLS connection of theirs was live within a
minute of the question over DNS, which a client tries while it connects; and beside such TLS, UDP that looks random from the first
byte of every message of both sides (acceleration). Weak: the request, answered otherwise (a scan).

Mistaken for
------------
Scanners ask web servers for this path, so that an answer without greeting makes it weak. Other TLS to
the very port of a SoftEther server, as its administration is.

Blind to
--------
TLS and acceleration where the question over DNS was not captured, or its flow ended much earlier or
later (pairs are looked for among flows that end together, 12,288 at most); VPN over ICMP.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier.detectors._columns import Exchange, begins_exchange, find_exchanges
from classifier.detectors._dialogue import SIDES
from classifier.detectors._messages import Messages, look_random
from classifier.detectors.heads import Heads
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR"]

TCP, UDP = 6, 17
_NAME = "softether"
_EXCHANGES = (
    Exchange(
        b"POST /vpnsvc/",
        re.compile(rb"POST /vpnsvc/(connect|vpn)\.cgi HTTP/1\.[01]\r\n"),
        re.compile(rb"HTTP/1\.[01] 200 (?=.*hello\x00)(?=.*random\x00)", re.DOTALL),
        "SoftEther's HTTP request",
    ),
)


_NAME_OF_KEY = rb"\x08[0-9a-f]{8}\x00\x00\x30\x00\x01"
_FIXED = {
    "question": re.compile(
        rb"..\x01\x00\x00\x01\x00{5}\x01" + _NAME_OF_KEY + rb"\x00\x00\x29\x10\x00\x00\x00\x80\x00",
        re.DOTALL,
    ),
    "answer": re.compile(
        rb"..\x81\x80\x00\x01\x00\x01\x00{4}"
        + _NAME_OF_KEY
        + rb"\xc0\x0c\x00\x30\x00\x01.{6}\x01\x00\x03\x08",
        re.DOTALL,
    ),
}
_LENGTH_AT, _SECRET_AT = {"question": 35, "answer": 36}, {"question": 37, "answer": 42}
_SECRET_LEAST = 20  # an initialisation vector, and what a hash of it and a key encrypts
_ELEMENTS = re.compile(rb"\x00{3}[\x01-\x40]\x00{3}([\x02-\x40])[a-z0-9_]+", re.IGNORECASE)
_PLACE = re.compile(rb"IP=\d{1,3}(\.\d{1,3}){3},PORT=\d{1,5}")
_TYPE_MOST, _VALUES_MOST = 4, 1 << 16
_WHERE = b"A"
_HANDSHAKE, _APPLICATION_DATA, _TLS = 22, 23, 3
_NEAR_NS = 60_000_000_000
_SECRET_BYTES, _SIDE_LEAST = 16, 2  # of accelerated datagrams; messages of each side
_Host = tuple[int, int]


class _Said(NamedTuple):
    """What two messages of a flow say together, or one alone: kinds of message, and words."""

    one: str
    other: str  # of the other direction; empty: none
    strength: Strength
    text: str


_SAID = (
    _Said("question", "answer", Strength.PROOF, "SoftEther's VPN over DNS, question and answer"),
    _Said("pack", "pack", Strength.PROOF, "SoftEther's PACK both ways"),
    _Said("question", "", Strength.STRONG, "SoftEther's VPN over DNS, encrypted bytes for options"),
    _Said("answer", "", Strength.STRONG, "SoftEther's VPN over DNS, encrypted bytes for a key"),
    _Said("pack", "", Strength.STRONG, "SoftEther's PACK, from one side"),
    _Said("where", "place", Strength.STRONG, "SoftEther's question where it is, and the answer"),
)


_OVER_DNS = ("question", "answer")


def _looks_random(data: bytes) -> bool:
    row = np.array([list(data)], np.uint8)
    return bool(look_random(row, np.array([len(data)], np.int64), 0, len(data))[0])


def _kind(data: bytes, wire_bytes: int) -> str:
    """Return which message a UDP payload is, empty where none."""
    for kind, fixed in _FIXED.items():
        at = _LENGTH_AT[kind]
        size = int.from_bytes(data[at : at + 2])
        secret = data[_SECRET_AT[kind] :][:_SECRET_BYTES]
        sound = size == wire_bytes - at - 2 and size >= _SECRET_LEAST
        if sound and fixed.match(data) and _looks_random(secret):
            return kind
    first = _ELEMENTS.match(data)
    if first:
        end = 8 + first[1][0] - 1
        of_type, values = (int.from_bytes(data[i : i + 4]) for i in (end, end + 4))
        sound = len(data) >= end + 8 and of_type <= _TYPE_MOST and 1 <= values <= _VALUES_MOST
        if sound and first.end() >= end:
            return "pack"
    if data == _WHERE and wire_bytes == len(_WHERE):
        return "where"
    return "place" if _PLACE.fullmatch(data) else ""


def _over_udp(batch: FlowBatch, flow: int) -> tuple[Evidence, bool] | None:
    """Judge the datagrams of a flow; tell whether it begins with a message over DNS."""
    start, stop = (int(batch.flows[f"packets_{end}"][flow]) for end in ("start", "stop"))
    first: dict[tuple[str, int], int] = {}
    for row in range(start, stop):
        p = batch.packets[row]
        data = batch.payload[p["start"] : p["stop"]].tobytes()
        kind = _kind(data, int(p["payload_bytes"]))
        if kind:
            first.setdefault((kind, int(p["direction"])), row)
    for said in _SAID:
        for side in range(len(SIDES)):
            one, other = first.get((said.one, side)), first.get((said.other, 1 - side))
            if one is None or (said.other and other is None):
                continue
            rows = sorted({one, one if other is None else other})
            frames = batch.packets["frame"][rows].tolist()
            place = f"packet{'s' if len(rows) > 1 else ''} {' and '.join(map(str, frames))}"
            detail = f"{said.text}, {place}"
            starts = rows[0] == start
            evidence = Evidence(flow, _NAME, said.strength, detail, rows[-1], _NAME, starts)
            return evidence, starts and said.one in _OVER_DNS
    return None


class _Asked(NamedTuple):
    """Who asked which server over DNS, and when."""

    client: _Host
    server: _Host
    first_ns: int
    last_ns: int
    frame: int


def _ends(flow: np.void) -> tuple[_Host, _Host]:
    one, other = ((int(flow[f"{s}_hi"]), int(flow[f"{s}_lo"])) for s in SIDES)
    return one, other


def _beside(
    batch: FlowBatch, found: list[Evidence], over_dns: list[Evidence]
) -> Iterator[Evidence]:
    """Judge what else two hosts say to each other of which one asked the other over DNS."""
    every: dict[tuple[_Host, _Host], _Asked] = {}
    for e in over_dns:
        f = batch.flows[e.flow]
        times = int(f["first_ns"]), int(f["last_ns"])
        asked = _Asked(*_ends(f), *times, int(batch.packets["frame"][e.packet]))
        every.setdefault((asked.client, asked.server), asked)
    others: dict[tuple[_Host, _Host], list[int]] = {ends: [] for ends in every}
    known = {e.flow for e in found}
    for flow in range(batch.flows.size if every else 0):
        one, other = _ends(batch.flows[flow])
        ends = (one, other) if (one, other) in others else (other, one)
        if ends in others and flow not in known:
            others[ends].append(flow)
    for ends, flows in others.items():
        yield from _judge_beside(batch, every[ends], flows)


def _judge_beside(batch: FlowBatch, asked: _Asked, flows: list[int]) -> Iterator[Evidence]:
    ports: dict[int, int] = {}  # of the server, by TLS flow
    used = set[int]()
    for flow in flows:
        f = batch.flows[flow]
        if f["proto"] == TCP:
            ports[flow] = int(f["resp_port" if _ends(f)[1] == asked.server else "orig_port"])
            near = f["first_ns"] <= asked.last_ns + _NEAR_NS
            used |= {ports[flow]} if near and asked.first_ns <= f["last_ns"] + _NEAR_NS else set()
    text = f"to a server that was asked by SoftEther's VPN over DNS (packet {asked.frame})"
    for flow, port in ports.items():
        if port in used:
            yield _after(batch, flow, asked, f"TLS {text}")
    rest = [flow for flow in flows if flow not in ports]
    if used and rest:
        m = Messages(FlowBatch(batch.flows[rest], batch.packets, batch.payload), _SECRET_BYTES)
        random = m.random(0, _SECRET_BYTES) & (m.kept >= _SECRET_BYTES)
        sound = (m.count(random).min(axis=1) >= _SIDE_LEAST) & (m.count(~random).sum(axis=1) == 0)
        for i in np.flatnonzero(sound).tolist():
            yield _after(batch, rest[i], asked, f"random datagrams beside TLS {text}")


def _after(batch: FlowBatch, flow: int, asked: _Asked, text: str) -> Evidence:
    """Return strong evidence at a flow's first packet with payload after the question."""
    start, stop = (int(batch.flows[f"packets_{end}"][flow]) for end in ("start", "stop"))
    some = batch.packets[start:stop]
    loaded = some["payload_bytes"] > 0
    later = np.flatnonzero(loaded & (some["ts_ns"] >= asked.first_ns))
    row = start + int(later[0]) if later.size else stop - 1
    words = f"{text}, packet {int(batch.packets['frame'][row])}"
    return Evidence(flow, _NAME, Strength.STRONG, words, row, _NAME, False, known_ns=asked.first_ns)


def _is_tls(head: NDArray[np.uint8]) -> NDArray[np.bool_]:
    begun: NDArray[np.bool_] = (head[:, 0] == _HANDSHAKE) | (head[:, 0] == _APPLICATION_DATA)
    return begun & (head[:, 1] == _TLS)


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows that begin with the request or a datagram of SoftEther's, and what is beside."""
    chosen = heads.has_proto(TCP) & begins_exchange(heads, _EXCHANGES)
    udp = heads.has_proto(UDP)
    datagrams, asked = heads.starts_with(b"IP="), np.zeros(heads.size, np.bool_)
    for head, kept in ((heads.orig, heads.orig_kept), (heads.resp, heads.resp_kept)):
        key = (head[:, 12] == 8) & (head[:, 21:26] == (0, 0, 48, 0, 1)).all(axis=1)
        pack = (head[:, :3] == 0).all(axis=1) & (head[:, 4:7] == 0).all(axis=1)
        pack &= (head[:, 3] > 0) & (head[:, 7] > 1) & (head[:, 7] <= 64) & (head[:, 8] >= 0x30)
        datagrams |= (key | pack) & (kept > 16)
        asked |= udp & key & (kept > 16)
    chosen |= udp & datagrams
    if asked.any():
        lows = [heads.column(f"{side}_lo") for side in SIDES]
        hosts = np.concatenate([low[asked] for low in lows])
        beside = np.isin(lows[0], hosts) & np.isin(lows[1], hosts)
        tls = heads.has_proto(TCP) & (_is_tls(heads.orig) | _is_tls(heads.resp))
        chosen |= beside & (tls | udp)
    return chosen


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find the request and its answer, and SoftEther's datagrams."""
    found = find_exchanges(batch, _NAME, _NAME, _EXCHANGES)
    over_dns = []
    for flow in np.flatnonzero(batch.flows["proto"] == UDP).tolist():
        judged = _over_udp(batch, flow)
        if judged is not None:
            found.append(judged[0])
            over_dns += [judged[0]] if judged[1] else []
    return sorted([*found, *_beside(batch, found, over_dns)], key=lambda evidence: evidence.flow)


DETECTOR = Detector(_NAME, _NAME, (TCP, UDP), 2048, detect, select)
