"""Other questions under the zone of a tunnel in DNS, where each has a flow of its own.

A resolver between client and tunnel asks every question from another port, so that most flows are
one question and its answer. What names the tunnel once, iodine's version or a control label of
dns2tcp, names its zone; and so do three of iodine's pings whose counter rises, in flows of their
own. Each must be answered by a record: anyone can make a browser ask for a name like these under a zone
of others, where there is none. All questions of the same host to the same server under that zone belong to
the tunnel.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["under_zones"]

HEADER_BYTES, LABEL_MOST, NAME_MOST, RESPONSE, ERROR = 12, 63, 255, 0x80, 0x0F
PING_BYTES, PINGS_LEAST, PING_STEP = 8, 3, 16
CONTROLS = (b"=auth", b"=resource", b"=connect")
BASE32 = b"abcdefghijklmnopqrstuvwxyz012345"
USER_MOST, ACKNOWLEDGED_MOST = 15, 127
VERSION_BYTES, VERSION_BEGINS = 11, b"vaaa"

_Labels = tuple[bytes, ...]
_Hosts = tuple[int, ...]


class _Question(NamedTuple):
    """The first question of a flow."""

    flow: int
    row: int
    hosts: _Hosts
    labels: _Labels


def _labels(data: bytes) -> _Labels:
    """Return the labels of a question's name, empty where there is no question or it was cut."""
    at, found = HEADER_BYTES, list[bytes]()
    if len(data) <= at or data[2] & RESPONSE:
        return ()
    while at < len(data) and data[at] != 0:
        size = data[at]
        if size > LABEL_MOST or at + 1 + size >= len(data) or at > HEADER_BYTES + NAME_MOST:
            return ()
        found.append(data[at + 1 : at + 1 + size].lower())
        at += 1 + size
    return tuple(found) if at < len(data) else ()


def _ping_of(label: bytes) -> int:
    """Return user << 16 | counter of iodine's ping, -1 where a label is none."""
    digits = [BASE32.find(byte) for byte in label[1:]]
    if len(label) != PING_BYTES or label[:1] != b"p" or min(digits) < 0:
        return -1
    value = 0
    for digit in digits:
        value = value << 5 | digit
    user, acknowledged = value >> 27, value >> 19 & 0xFF
    sound = value & 7 == 0 and user <= USER_MOST and acknowledged <= ACKNOWLEDGED_MOST
    return user << 16 | value >> 3 & 0xFFFF if sound else -1


def _zone(names: list[_Labels]) -> _Labels:
    """Return the zone that a tunnel's names have behind their data, empty where that is not clear."""
    for labels in names:
        head = labels[0]
        if (len(head) == VERSION_BYTES and head.startswith(VERSION_BEGINS)) or _ping_of(head) >= 0:
            return labels[1:]
        for i, label in enumerate(labels):
            if label in CONTROLS:
                return labels[i + 1 :]
    if len(set(names)) < 2:
        return ()
    shared = 0
    while all(len(n) > shared and n[-1 - shared] == names[0][-1 - shared] for n in names):
        shared += 1
    return names[0][len(names[0]) - shared :]


def _names(batch: FlowBatch, flow: int) -> list[tuple[int, _Labels]]:
    """Return the names that a flow asks, each with the row of its packet."""
    start, stop = (int(batch.flows[f"packets_{end}"][flow]) for end in ("start", "stop"))
    spans = batch.packets[start:stop]
    payloads = (batch.payload[p["start"] : p["stop"]].tobytes() for p in spans)
    named = ((start + i, _labels(data)) for i, data in enumerate(payloads))
    return [(row, labels) for row, labels in named if labels]


def _is_answered(batch: FlowBatch, flow: int) -> bool:
    """Tell whether a question of a flow got a record, RFC 1035 4.1.1: no error, answers above 0."""
    start, stop = (int(batch.flows[f"packets_{end}"][flow]) for end in ("start", "stop"))
    for packet in batch.packets[start:stop]:
        head = batch.payload[packet["start"] : packet["stop"]][:HEADER_BYTES].tobytes()
        whole = len(head) == HEADER_BYTES
        if whole and head[2] & RESPONSE and not head[3] & ERROR and head[6:8] != b"\0\0":
            return True
    return False


def _hosts(flow: np.void) -> _Hosts:
    ends = ("orig_hi", "orig_lo", "resp_hi", "resp_lo", "resp_port")
    return tuple(int(flow[name]) for name in ends)


def _pinged(batch: FlowBatch, questions: list[_Question]) -> dict[tuple[_Hosts, _Labels], int]:
    """Return hosts and zones of which three pings in flows of their own count, and the row of one."""
    runs: dict[tuple[_Hosts, _Labels], tuple[int, int]] = {}  # last ping, length of its run
    found: dict[tuple[_Hosts, _Labels], int] = {}
    for question in questions:
        ping = _ping_of(question.labels[0])
        if ping < 0 or not _is_answered(batch, question.flow):
            continue
        place = (question.hosts, question.labels[1:])
        last, n = runs.get(place, (-1, 0))
        if ping == last:
            continue
        runs[place] = (ping, n + 1 if last >= 0 and 0 < ping - last <= PING_STEP else 1)
        if runs[place][1] >= PINGS_LEAST:
            found.setdefault(place, question.row)
    return found


def under_zones(
    batch: FlowBatch, found: list[Evidence], named: set[int], detector: str
) -> Iterator[Evidence]:
    """Judge flows of one question by the zones that other flows of the same hosts name.

    Parameters
    ----------
    batch : FlowBatch
        UDP flows alone.
    found : list of Evidence
        What was found in them one by one.
    named : set of int
        Flows in which that is a program's own message.
    detector : str
        Name for the evidence.
    """
    zones: dict[tuple[_Hosts, _Labels], int] = {}
    for e in found:
        if e.flow in named and _is_answered(batch, e.flow):
            zone = _zone([labels for _, labels in _names(batch, e.flow)])
            zones.setdefault((_hosts(batch.flows[e.flow]), zone), e.packet)
    known = {e.flow for e in found}
    rest = np.setdiff1d(np.arange(batch.flows.size), list(known))
    questions = []
    for flow in rest[np.argsort(batch.flows["first_ns"][rest], kind="stable")].tolist():
        for row, labels in _names(batch, flow)[:1]:
            questions.append(_Question(flow, row, _hosts(batch.flows[flow]), labels))
    zones = _pinged(batch, questions) | zones
    lengths = sorted({len(zone) for _, zone in zones if len(zone) >= 2})
    for question in questions:
        for length in lengths:
            place = (question.hosts, question.labels[-length:])
            if place not in zones or len(question.labels) <= length:
                continue
            frames = [int(batch.packets["frame"][i]) for i in (zones[place], question.row)]
            text = f"question under the zone of a tunnel (packet {frames[0]}), packet {frames[1]}"
            yield Evidence(
                *(question.flow, detector, Strength.STRONG, text, question.row, detector, True),
                known_ns=int(batch.packets["ts_ns"][zones[place]]),
            )
            break
