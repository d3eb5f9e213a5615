"""Tor's link in TLS: records that hold whole cells of 514 bytes, both ways.

After the handshake a link carries cells of fixed length, so that a record's length is a multiple of
it and what encryption adds::

    0    1   type       23, application data
    1    2   version    3, 3
    3    2   length     514 n + added, n from 1

    added    17  TLS 1.3 (inner content type and tag, RFC 8446 5.2)
             24  TLS 1.2, GCM (explicit nonce and tag, RFC 5288 3)
             16  TLS 1.2, ChaCha20-Poly1305 (tag, RFC 7905 2)

Sources
-------
Tor project, "Tor Protocol Specification", tor-spec section 3 (cells: CELL_LEN 514 from link
protocol 4 on).

Strength
--------
Weak, always: three records of such lengths or more in each direction, with one and the same
addition, and no fewer than half of the records seen there. It is a fact of the protocol's sizes,
without any published rate of false alarms. Measured here on public test captures: none of 64 TLS flows of
that size.

Mistaken for
------------
Any protocol in TLS with messages of 514 bytes. A server name that looks random is *not* used: it
mostly is ordinary.

Blind to
--------
Records with CBC (all that the public captures of Tor at hand have: 14 flows of TLS 1.0, none
found), old links with cells of 512 bytes, record headers that are not at the beginning of
a segment, bridges with pluggable transports.
"""

import numpy as np
from numpy.typing import NDArray

from classifier._jit import kernel
from classifier.detectors._findings import (
    FIRST,
    FLOW_ROW,
    LAST,
    MEANING,
    STARTS,
    VALUE,
    Meaning,
    collect,
)
from classifier.detectors._reading import be16
from classifier.detectors.heads import Heads
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR"]

TCP = 6
CELL_BYTES, RECORD_HEADER, RECORD_MOST = 514, 5, 16384 + 256
ADDED = (16, 17, 24)
RECORDS_LEAST = 3  # in each direction

_FAMILY = "tor"
_MEANINGS = {
    1: Meaning(Strength.WEAK, "{value} records sized as cells of 514 bytes, both ways", _FAMILY)
}


@kernel
def scan(flows, packets, payload, hits):
    """Count records whose length is a multiple of a cell's, at the beginning of segments.

    Parameters
    ----------
    flows, packets, payload : ndarray of FLOW, SERIES, uint8, read
    hits : ndarray of int64, shape (n_flows, 6), written
        See ``_findings``.

    Returns
    -------
    int
        Rows of ``hits`` that were filled.
    """
    n_hits = 0
    counts = np.zeros((2, 4), np.int64)  # per direction: all records, then by what is added
    for f in range(flows.size):
        counts[:] = 0
        first = last = np.int64(-1)
        for row in range(flows[f].packets_start, flows[f].packets_stop):
            p = packets[row]
            if p.stop - p.start < RECORD_HEADER or payload[p.start] != 23:
                continue
            length = be16(payload, p.start + 3)
            if payload[p.start + 1] != 3 or length > RECORD_MOST:
                continue
            mine = counts[np.int64(p.direction)]
            mine[0] += 1
            for i in range(3):
                if length > ADDED[i] and (length - ADDED[i]) % CELL_BYTES == 0:
                    mine[1 + i] += 1
                    first = np.int64(row) if first < 0 else first
                    last = np.int64(row)
        for i in range(1, 4):
            here, there = counts[0, i], counts[1, i]
            if (
                min(here, there) >= RECORDS_LEAST
                and 2 * here >= counts[0, 0]
                and 2 * there >= counts[1, 0]
            ):
                hit = hits[n_hits]
                hit[FLOW_ROW], hit[MEANING], hit[STARTS] = f, 1, 0
                hit[FIRST], hit[LAST], hit[VALUE] = first, last, here + there
                n_hits += 1
                break
    return n_hits


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose TLS with enough bytes in both directions."""
    least = RECORDS_LEAST * CELL_BYTES
    chosen = heads.has_proto(TCP)
    for head, side in ((heads.orig, "orig"), (heads.resp, "resp")):
        tls = ((head[:, 0] == 22) | (head[:, 0] == 23)) & (head[:, 1] == 3)
        chosen = chosen & tls & (heads.column(f"{side}_payload_bytes") >= least)
    return chosen


def detect(batch: FlowBatch) -> list[Evidence]:
    """Count cells in TLS flows."""
    return collect(batch, DETECTOR.name, scan, _MEANINGS)


DETECTOR = Detector("tor", _FAMILY, (TCP,), RECORD_HEADER, detect, select)
