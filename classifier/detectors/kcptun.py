"""kcptun with readable headers: KCP in UDP, in the frames of kcp-go, carrying smux or snappy.

Numbers of KCP are little-endian. A datagram holds one segment after another::

    0    4   conv         names the conversation, the same both ways
    4    1   cmd          81 data, 82 acknowledgement, 83 and 84 window
    5    1   frg          fragments that follow
    6    2   wnd          window
    8    4   ts           milliseconds
    12   4   sn           number of the segment, from 0
    16   4   una          number awaited next
    20   4   len          of the data that follow, 0 but for cmd 81

What stands before the first segment, each part or none, in this order::

    0   16   nonce        with ``--crypt none``, whose "cipher" changes nothing
    16   4   checksum     CRC-32 (IEEE) of all that follows
    0    4   seqid        with forward error correction
    4    2   type         0xF1 data, 0xF2 parity
    6    2   size         of what follows, with these 2 bytes

The first data of the client: a snappy frame ``FF 06 00 00 sNaPpY``, or with ``--nocomp`` the frame
with which smux opens a stream: version 1 or 2, command 0, length 0 (2), stream (4).

Sources
-------
skywind3000/kcp ``protocol.txt`` and ``ikcp.c`` (segments); xtaci/kcp-go ``fec.go`` and ``sess.go``
(frames); xtaci/smux ``frame.go``; google/snappy ``framing_format.txt``, section 4.1.

Strength
--------
Proof: the first data segment of a conversation with snappy's or smux's opening, and a segment of
the same conversation from the other side. Strong: the opening without an answer; or segments both
ways of one conversation in frames of kcp-go whose checksum or size is right. Weak: bare segments
both ways of one conversation.

Mistaken for
------------
Games and cameras use KCP too, bare as a rule, which is therefore weak. Other programs on kcp-go
(frp, v2ray's mKCP has headers of its own) in the frames above are tunnels by another name.

Blind to
--------
Every cipher but ``none`` and ``null``: the whole datagram then looks random.
"""

import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier.detectors._dialogue import SIDES
from classifier.detectors._messages import NO_ROW, Messages, number
from classifier.detectors.heads import Heads, first_bytes
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR"]

UDP = 17
SEGMENT_BYTES, CMD, SN, LENGTH = 24, 4, 12, 20
PUSH, ACK, WINDOW_TOLD = 81, 82, 84
MOST_SEGMENTS = 128
CRYPT_BYTES, CHECKSUM = 20, 16
FEC_BYTES, FEC_TYPE, FEC_SIZE, FEC_DATA = 8, 4, 6, 0xF1
FEC_KIND = bytes([FEC_DATA, 0])  # where a segment has its command
SNAPPY = b"\xff\x06\x00\x00sNaPpY"
SMUX_OPENINGS = (b"\1\0\0\0", b"\2\0\0\0")
SMUX_BYTES = 8
_NAME = "kcptun"


class _Datagram(NamedTuple):
    """A datagram of KCP: conversation, whether kcp-go framed it, and what it opens with."""

    conv: int
    framed: bool
    opening: str


def _segments(data: bytes, at: int, wire_bytes: int, framed: bool) -> _Datagram | None:
    """Read the segments from ``at``; None where they are none."""
    if len(data) < at + SEGMENT_BYTES:
        return None
    conv = data[at : at + 4]
    opening = ""
    if data[at + CMD] == PUSH and data[at + SN : at + SN + 4] == bytes(4):
        body = data[at + SEGMENT_BYTES : wire_bytes]
        if body.startswith(SNAPPY):
            opening = "snappy's"
        elif body[:4] in SMUX_OPENINGS and len(body) >= SMUX_BYTES and body[4:8] != bytes(4):
            opening = "smux's"
    for _ in range(MOST_SEGMENTS):
        if at == wire_bytes or (at >= len(data) > 0 and len(data) < wire_bytes):
            break  # the end, or what follows was not captured
        some = data[at : at + SEGMENT_BYTES]
        if len(some) < SEGMENT_BYTES:
            return None
        size = int.from_bytes(some[LENGTH:], "little")
        known = PUSH <= some[CMD] <= WINDOW_TOLD and some[:4] == conv
        if not known or (size > 0) != (some[CMD] == PUSH) or at + size > wire_bytes:
            return None
        at += SEGMENT_BYTES + size
    if at < wire_bytes and len(data) >= wire_bytes:
        return None
    return _Datagram(int.from_bytes(conv, "little"), framed, opening)


def _corrected(data: bytes, at: int, wire_bytes: int, framed: bool) -> _Datagram | None:
    """Read the segments from ``at``, with or without forward error correction before them."""
    kind = data[at + CMD : at + CMD + 2]
    if len(kind) < 2 or not (PUSH <= kind[0] <= WINDOW_TOLD or kind == FEC_KIND):
        return None
    found = _segments(data, at, wire_bytes, framed)
    if found is not None or len(data) < at + FEC_BYTES:
        return found
    size = int.from_bytes(data[at + FEC_SIZE : at + FEC_BYTES], "little")
    if kind != FEC_KIND or at + FEC_SIZE + size != wire_bytes:
        return None
    return _segments(data, at + FEC_BYTES, wire_bytes, framed=True)


def _read(data: bytes, wire_bytes: int) -> _Datagram | None:
    found = _corrected(data, 0, wire_bytes, framed=False)
    if found is None and len(data) > CRYPT_BYTES:
        whole = len(data) == wire_bytes
        checksum = int.from_bytes(data[CHECKSUM:CRYPT_BYTES], "little")
        if whole and zlib.crc32(data[CRYPT_BYTES:]) == checksum:
            found = _corrected(data, CRYPT_BYTES, wire_bytes, framed=True)
    return found


def _read_first(batch: FlowBatch, side: int) -> Iterator[tuple[int, _Datagram | None]]:
    """Yield for each flow the row of a side's first datagram, and what it is."""
    m, f = Messages(batch, 0), batch.flows
    first = m.first(m.direction == side)
    rows = np.where(first == NO_ROW, f["packets_start"], first)
    wire = batch.packets["payload_bytes"][rows]
    ends = (f[f"{SIDES[side]}_{end}"].tolist() for end in ("start", "stop"))
    view = batch.payload.data
    for row, size, start, stop in zip(rows.tolist(), wire.tolist(), *ends, strict=True):
        yield row, _read(bytes(view[start:stop]), size)


def _judge(
    batch: FlowBatch, flow: int, rows: tuple[int, int], sides: tuple[_Datagram | None, ...]
) -> Evidence | None:
    seen = [side for side in sides if side is not None]
    both = len(seen) == 2 and seen[0].conv == seen[1].conv
    opening = next((side.opening for side in seen if side.opening), "")
    if opening:
        strength = Strength.PROOF if both else Strength.STRONG
        text = f"KCP conversation {seen[0].conv:#010x} with {opening} opening"
        text += ", segments of it both ways" if both else ""
    elif both:
        framed = seen[0].framed and seen[1].framed
        strength = Strength.STRONG if framed else Strength.WEAK
        text = f"KCP segments of conversation {seen[0].conv:#010x} both ways"
        text += " in frames of kcp-go" if framed else ""
    else:
        return None
    used = [row for row, side in zip(rows, sides, strict=True) if side is not None]
    frames = " and ".join(str(int(batch.packets["frame"][row])) for row in sorted(used))
    detail = f"{text}, packet{'s' if len(used) > 1 else ''} {frames}"
    starts = sides[0] is not None and sides[0].opening != ""
    return Evidence(flow, _NAME, strength, detail, max(used), _NAME, starts)


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows with a command, or the type of error correction, where one may stand."""
    chosen = np.zeros(heads.size, np.bool_)
    for side, first, kept in (
        ("orig", heads.orig, heads.orig_kept),
        ("resp", heads.resp, heads.resp_kept),
    ):
        for at in (0, CRYPT_BYTES):
            byte = first[:, at + CMD]
            segment = (byte >= PUSH) & (byte <= WINDOW_TOLD) & (kept >= at + SEGMENT_BYTES)
            # No datagram holds 65,536 bytes; only PUSH has any
            rows = np.flatnonzero(segment)
            begins = heads.column(f"{side}_start")[rows] + at + LENGTH
            field = first_bytes(heads.batch.payload, begins, np.full(rows.size, 4), 4)
            size = number(field, 0, 4, little=True)
            chosen[rows] |= (size < 1 << 16) & ((size > 0) == (byte[rows] == PUSH))
        for at in (FEC_TYPE, CRYPT_BYTES + FEC_TYPE):
            corrected = (first[:, at] == FEC_DATA) & (first[:, at + 1] == 0)
            chosen |= corrected & (kept >= FEC_BYTES + SEGMENT_BYTES)
    return chosen


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find KCP with readable headers among the UDP flows of a batch."""
    read = zip(_read_first(batch, 0), _read_first(batch, 1), strict=True)
    found = []
    for flow, ((row, orig), (other, resp)) in enumerate(read):
        if orig is not None or resp is not None:
            found.append(_judge(batch, flow, (row, other), (orig, resp)))
    return [evidence for evidence in found if evidence is not None]


DETECTOR = Detector(_NAME, _NAME, (UDP,), 1536, detect, select)
