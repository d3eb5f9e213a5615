"""Builds flow batches from written-down packets, for tests that need no capture."""

import itertools
from typing import Any, NamedTuple

import numpy as np

from classifier.tables import FLOW, NO_WRAPPING, SERIES, FlowBatch

TCP, UDP = 6, 17


class P(NamedTuple):
    """A packet of a made-up flow: direction 0 is from the originator."""

    direction: int
    payload: bytes
    ts_ns: int | None = None
    wire: int | None = None  # payload bytes on the wire where the capture holds fewer
    seq: int | None = None
    flags: int = 0x18


class F(NamedTuple):
    """A made-up flow."""

    proto: int
    packets: list[P]
    orig_port: int = 40000
    resp_port: int = 50000
    start_seen: bool = True
    orig: int = 0x0A000001
    resp: int = 0xC6336401
    ip_version: int = 4


def _gaps(rows: list[Any]) -> list[int]:
    return [int(b[0]) - int(a[0]) for a, b in itertools.pairwise(rows)]


def _fill(f: Any, side: str, rows: list[Any]) -> None:
    """Write the statistics of a direction."""
    if not rows:
        return
    sizes = [int(row[4]) for row in rows]
    f[f"{side}_payload_packets"] = sum(int(row[5]) > 0 for row in rows)
    f[f"{side}_bytes_min"], f[f"{side}_bytes_max"] = min(sizes), max(sizes)
    f[f"{side}_bytes_sumsq"] = sum(size * size for size in sizes)
    f[f"{side}_first_ns"], f[f"{side}_last_ns"] = rows[0][0], rows[-1][0]
    f[f"{side}_flags"] = [sum(int(row[9]) >> bit & 1 for row in rows) for bit in range(8)]
    gaps = _gaps(rows)
    if gaps:
        f[f"{side}_iat_min"], f[f"{side}_iat_max"] = min(gaps), max(gaps)
        f[f"{side}_iat_sumsq"] = sum(float(gap) ** 2 for gap in gaps)


def batch(*flows: F, start_ns: int = 1_700_000_000_000_000_000) -> FlowBatch:
    """Return the batch that these flows would give."""
    out = np.zeros(len(flows), FLOW)
    rows: list[tuple[object, ...]] = []
    payload = bytearray()
    frame = 1
    for i, flow in enumerate(flows):
        first = len(rows)
        head = {0: bytearray(), 1: bytearray()}
        next_seq = {0: 1000, 1: 2000}
        for k, p in enumerate(flow.packets):
            wire = p.wire if p.wire is not None else len(p.payload)
            seq = (
                (p.seq if p.seq is not None else next_seq[p.direction]) if flow.proto == TCP else 0
            )
            start = len(payload)
            payload += p.payload
            ts = start_ns + (p.ts_ns if p.ts_ns is not None else k * 1_000_000)
            header = 40 if flow.proto == TCP else 28
            rows.append(
                (ts, frame, start, len(payload), wire + header, wire, seq, 0, p.direction, p.flags)
            )
            if flow.proto == TCP:
                if seq == next_seq[p.direction]:
                    head[p.direction] += p.payload
                    next_seq[p.direction] += wire
            elif p.payload and not head[p.direction]:
                head[p.direction] += p.payload
            frame += 1
        f = out[i]
        f["flow_id"], f["parent_flow_id"], f["wrapping"] = i, -1, NO_WRAPPING
        f["orig_lo"], f["resp_lo"] = flow.orig, flow.resp
        f["orig_port"], f["resp_port"] = flow.orig_port, flow.resp_port
        f["proto"], f["ip_version"] = flow.proto, flow.ip_version
        f["start_seen"] = flow.start_seen and flow.proto == TCP
        f["packets_start"], f["packets_stop"] = first, len(rows)
        for side, d in (("orig", 0), ("resp", 1)):
            mine = [r for r in rows[first:] if r[8] == d]
            f[f"{side}_packets"] = len(mine)
            f[f"{side}_bytes"] = sum(int(r[4]) for r in mine)  # type: ignore[call-overload]
            f[f"{side}_payload_bytes"] = sum(int(r[5]) for r in mine)  # type: ignore[call-overload]
            _fill(f, side, mine)
            f[f"{side}_start"] = len(payload)
            payload += head[d]
            f[f"{side}_stop"] = len(payload)
        if rows[first:]:
            f["frame"] = rows[first][1]
            f["first_ns"], f["last_ns"] = rows[first][0], rows[-1][0]
            gaps = _gaps(rows[first:])
            if gaps:
                f["iat_min"], f["iat_max"] = min(gaps), max(gaps)
                f["iat_sumsq"] = sum(float(gap) ** 2 for gap in gaps)
    return FlowBatch(
        out, np.array(rows, dtype=SERIES), np.frombuffer(bytes(payload), np.uint8).copy()
    )
