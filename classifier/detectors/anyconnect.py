"""AnyConnect: TLS, and soon a DTLS session to the same server that resumes what TLS agreed on.

Login and a first tunnel run in TLS, whose content is not visible. The tunnel's fast path is DTLS,
keyed through TLS: its first hello names a session that no DTLS handshake made. Numbers are
big-endian. First record of the client::

    0    1   type            22, handshake
    1    2   version         0xFEFF, 0xFEFD; 0x0100 is the version before RFC 4347
    3    2   epoch           0
    13   1   handshake type  1, client hello
    25   2   version
    59   1   session length  32
    60  32   session         of TLS (X-DTLS-Session-ID), or the application's (X-DTLS-App-ID)

Behind a server that ends TLS before the capture point, the tunnel's request is in clear text::

    CONNECT /CSCOSSLC/tunnel HTTP/1.1 ...      HTTP/1.1 200 CONNECTED ...

Sources
-------
N. Mavrogiannopoulos, "The OpenConnect VPN Protocol Version 1.2",
draft-mavrogiannopoulos-openconnect-04, sections 2.1 (TLS channel) and 2.2 (DTLS channel: legacy
resumption and PSK-NEGOTIATE); RFC 6347 4.2; RFC 5764 4.1.1 (use_srtp); OpenSSL, ``DTLS1_BAD_VER``.

Strength
--------
Proof: the request in clear text and its answer. Strong: the request alone; a DTLS hello that names a
session of 32 bytes (or is cut before it by a snaplen, and answered) and does not offer ``use_srtp``,
to the same server address and port as a live TLS flow of the same client that began before it (both
flows); a DTLS handshake of version 0x0100 from both sides, whose hello names a session. Weak:
both under way when the capture begins, DTLS with data of epoch 1 and later from both sides.

Mistaken for
------------
WebRTC offers ``use_srtp`` and names no session; TURN over DTLS beside TURN over TLS names none at
its first connection, and would match where it resumes an earlier one, or where its hello is cut. CoAP has no TLS beside it. OpenSSL
0.9.8 itself spoke version 0x0100 at first, and named no session in a first hello. Under way, other tunnels
(Fortinet) and remote desktops (Citrix, Horizon) have TLS and DTLS at one port too.

Blind to
--------
AnyConnect without DTLS, which is TLS like any other. The pair is looked for among flows that end
together (12,288 at most): where a border falls between the two, or one ended long before the other,
neither is found. DTLS alone.
"""

import re
from bisect import bisect_left
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier.detectors._columns import (
    Exchange,
    begins_exchange,
    find_exchanges,
    head,
    row_of_payload,
    window,
)
from classifier.detectors._dialogue import SIDES
from classifier.detectors.heads import Heads
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR"]

TCP, UDP = 6, 17
HANDSHAKE, APPLICATION_DATA, CLIENT_HELLO = 22, 23, 1
ANSWERS = (2, 3)  # server hello, hello verify request
HANDSHAKE_TYPE, SESSION_LENGTH, SESSION_BYTES = 13, 59, 32
BAD_VERSION = 0x0100
VERSIONS = (0xFEFF, 0xFEFD, BAD_VERSION)
USE_SRTP = 14
# A TLS flow is live until its last packet and the longest usual pause of dead peer detection
PAUSE_NS = 60_000_000_000

_NAME = "anyconnect"
_EXCHANGES = (
    Exchange(
        b"CONNECT /CSCOSSLC/tunnel",
        re.compile(rb"CONNECT /CSCOSSLC/tunnel HTTP/1\.[01]\r\n"),
        re.compile(rb"HTTP/1\.[01] 200 "),
        "request for the AnyConnect tunnel",
    ),
)


def _dtls_data(first: NDArray[np.uint8] | NDArray[np.int64]) -> NDArray[np.bool_]:
    version = first[:, 1].astype(np.int64) << 8 | first[:, 2]
    epoch = first[:, 3].astype(np.int64) << 8 | first[:, 4]
    sound: NDArray[np.bool_] = (first[:, 0] == APPLICATION_DATA) & np.isin(version, VERSIONS)
    return sound & (epoch >= 1) & (first[:, 3] >= 0)


_Place = tuple[int, ...]


class _Pair(NamedTuple):
    tls: int
    dtls: int


def _dtls_hello(first: NDArray[np.uint8] | NDArray[np.int64]) -> NDArray[np.bool_]:
    sound: NDArray[np.bool_] = (first[:, 0] == HANDSHAKE) & (
        first[:, HANDSHAKE_TYPE] == CLIENT_HELLO
    )
    sound &= (first[:, 3] == 0) & (first[:, 4] == 0)
    rows = np.flatnonzero(sound)
    version = first[rows, 1].astype(np.int64) << 8 | first[rows, 2]
    sound[rows] = np.isin(version, VERSIONS)
    return sound


def _is_tls(first: NDArray[np.uint8] | NDArray[np.int64]) -> NDArray[np.bool_]:
    kind: NDArray[np.bool_] = (first[:, 0] == HANDSHAKE) | (first[:, 0] == APPLICATION_DATA)
    kind &= (first[:, 1] == 3) & (first[:, 2] <= 4)
    return kind


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose the request in clear text, DTLS hellos, and TLS between ends of any of those."""
    dtls = _dtls_hello(heads.orig) | (_dtls_data(heads.orig) & _dtls_data(heads.resp))
    dtls &= heads.has_proto(UDP)
    chosen = dtls | (heads.has_proto(TCP) & begins_exchange(heads, _EXCHANGES))
    if dtls.any():
        tls = _is_tls(heads.orig) | _is_tls(heads.resp)
        rows = np.flatnonzero(heads.has_proto(TCP) & tls)
        ends = [heads.column(name) for name in ("orig_lo", "resp_lo")]
        hosts = np.concatenate([end[dtls] for end in ends])
        chosen[rows] |= np.logical_and(*(np.isin(end[rows], hosts) for end in ends))
    return chosen


def _offers_srtp(hello: bytes) -> bool:
    """Tell whether a client hello in a DTLS record offers RFC 5764's extension, or is damaged."""
    at = SESSION_LENGTH
    for width in (1, 1, 2, 1):  # session, cookie, cipher suites, compression methods
        if at + width > len(hello):
            return True
        at += width + int.from_bytes(hello[at : at + width])
    at += 2
    while at + 4 <= len(hello):
        if int.from_bytes(hello[at : at + 2]) == USE_SRTP:
            return True
        at += 4 + int.from_bytes(hello[at + 2 : at + 4])
    return False


def _places(batch: FlowBatch, row: int, client: str, server: str) -> _Place:
    """Return client, server and the server's port of a flow, whichever side is the client."""
    f = batch.flows[row]
    names = ("ip_version", f"{client}_hi", f"{client}_lo", f"{server}_hi", f"{server}_lo")
    return (*(int(f[name]) for name in names), int(f[f"{server}_port"]))


def _pairs(batch: FlowBatch, dtls: NDArray[np.int64], tls: NDArray[np.int64]) -> list[_Pair]:
    """Return each DTLS flow with the latest TLS flow of its endpoints that was live before it."""
    server = _by_place(batch, tls)
    found = []
    for row in dtls.tolist():
        begun = int(batch.flows["first_ns"][row])
        flows = server.get(_places(batch, row, *SIDES), [])
        at = bisect_left(flows, (begun, -1))
        if at and int(batch.flows["last_ns"][flows[at - 1][1]]) + PAUSE_NS >= begun:
            found.append(_Pair(flows[at - 1][1], row))
    return found


def _by_place(batch: FlowBatch, tls: NDArray[np.int64]) -> dict[_Place, list[tuple[int, int]]]:
    """Return TLS flows in order of time by place; one joined under way may begin with its server."""
    server: dict[_Place, list[tuple[int, int]]] = {}
    for row in tls.tolist():
        ways = (SIDES,) if batch.flows["start_seen"][row] else (SIDES, SIDES[::-1])
        for way in ways:
            entry = (int(batch.flows["first_ns"][row]), row)
            server.setdefault(_places(batch, row, *way), []).append(entry)
    for flows in server.values():
        flows.sort()
    return server


def _under_way(batch: FlowBatch, dtls: NDArray[np.int64], tls: NDArray[np.int64]) -> list[_Pair]:
    """Return DTLS flows that were under way, each with a TLS flow of its endpoints and that time."""
    server = _by_place(batch, tls)
    times = [batch.flows[name] for name in ("first_ns", "last_ns")]
    found = []
    for row in dtls.tolist():
        for way in (SIDES, SIDES[::-1]):
            for _, other in server.get(_places(batch, row, *way), [])[:1]:
                apart = max(int(times[0][row]), int(times[0][other]))
                apart -= min(int(times[1][row]), int(times[1][other]))
                if apart <= PAUSE_NS:
                    found.append(_Pair(other, row))
    return found


def _evidence(
    batch: FlowBatch, flow: int, row: int, strength: Strength, text: str, starts: bool = True
) -> Evidence:
    frame = int(batch.packets["frame"][row])
    detail = f"{text}packet {frame}"
    return Evidence(flow, _NAME, strength, detail, row, _NAME, starts)


def _row_after(batch: FlowBatch, flow: int, ts_ns: int) -> int:
    """Return the row of a flow's first kept packet after a time, else of its last."""
    start, stop = (int(batch.flows[name][flow]) for name in ("packets_start", "packets_stop"))
    after = np.flatnonzero(batch.packets["ts_ns"][start:stop] >= ts_ns)
    return start + int(after[0]) if after.size else stop - 1


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find AnyConnect by a pair of flows, or by its request."""
    proto = batch.flows["proto"]
    found = find_exchanges(batch, _NAME, _NAME, _EXCHANGES)
    first = window(batch, "orig", 0, SESSION_LENGTH + 1)
    answer = window(batch, "resp", 0, HANDSHAKE_TYPE + 1)
    hello = (proto == UDP) & _dtls_hello(first)
    answered = (answer[:, 0] == HANDSHAKE) & np.isin(answer[:, HANDSHAKE_TYPE], ANSWERS)
    old = hello & answered
    for side in (first, answer):
        old &= (side[:, 1] == BAD_VERSION >> 8) & (side[:, 2] == BAD_VERSION & 255)
    # What a snaplen took is not held against a hello that was answered
    cut = hello & answered
    for flow in np.flatnonzero(cut).tolist():
        size = int(batch.packets["payload_bytes"][row_of_payload(batch, flow, 0)])
        cut[flow] = len(head(batch, flow, "orig")) < size
    unseen = cut & (first[:, SESSION_LENGTH] < 0)
    named = hello & (unseen | (first[:, SESSION_LENGTH] == SESSION_BYTES))
    old &= named
    tls = np.flatnonzero((proto == TCP) & (_is_tls(first) | _is_tls(answer)))
    of_tls: dict[int, Evidence] = {}
    for pair in _pairs(batch, np.flatnonzero(named), tls):
        if not cut[pair.dtls] and _offers_srtp(head(batch, pair.dtls, "orig")):
            continue
        frames = [int(batch.flows["frame"][row]) for row in pair]
        named_here = "cut before its session" if unseen[pair.dtls] else "that names a session"
        text = f"DTLS hello {named_here}, after TLS to the same server (packet {frames[0]}), "
        row = row_of_payload(batch, pair.dtls, 1 if answered[pair.dtls] else 0)
        found.append(_evidence(batch, pair.dtls, row, Strength.STRONG, text))
        if pair.tls not in of_tls:
            told = int(batch.flows["first_ns"][pair.dtls])
            row = _row_after(batch, pair.tls, told)
            when = "known at" if batch.packets["ts_ns"][row] >= told else "last kept before it:"
            text = f"DTLS to the same server, hello {named_here}, at packet {frames[1]}; {when} "
            one = _evidence(batch, pair.tls, row, Strength.STRONG, text)
            of_tls[pair.tls] = replace(one, known_ns=told)
    found += of_tls.values()
    surely = {e.flow for e in found if e.strength >= Strength.STRONG}
    for flow in np.flatnonzero(old).tolist():
        if flow not in surely:
            text = (
                "DTLS of the version before RFC 4347 from both sides, hello that names a session, "
            )
            row = row_of_payload(batch, flow, 1)
            found.append(_evidence(batch, flow, row, Strength.STRONG, text))
    of_both = {e.flow for e in found}
    late = np.flatnonzero((proto == UDP) & _dtls_data(first) & _dtls_data(answer))
    for pair in _under_way(batch, late, tls):
        text = "TLS and DTLS between the same ends, at the same port of one, under way, "
        for flow in {*pair} - of_both:
            row = row_of_payload(batch, flow, 1)
            found.append(_evidence(batch, flow, row, Strength.WEAK, text, starts=False))
            of_both.add(flow)
    return sorted(found, key=lambda e: e.flow)


DETECTOR = Detector(_NAME, _NAME, (TCP, UDP), 2048, detect, select)
