"""TLS inside TLS by its burst sizes: a published rule of thumb, reproduced to be studied.

A proxy in TLS carries the client's next TLS handshake inside, whose sizes shine through. Counted
are payload bytes from the client's change cipher spec on (RFC 8446 D.4: ``14 03 03 00 01 01``), and
looked at when the client sends::

    up       650 to 1000       sent so far by the client
    down     170 to 180,       sent so far by the server
             or 3000 to 7500

Sources
-------
XTLS/Trojan-killer, and apernet/OpenGFW ``analyzer/tcp/trojan.go``, whose numbers these are; D. Xue
et al., "Fingerprinting Obfuscated Proxy Traffic with Encapsulated TLS Handshakes", USENIX Security
2024, for why sizes of bursts show it (its classifier is learned, its parameters are not published,
and it is not reproduced).

Strength
--------
Weak, always. Its authors call their rate of false alarms significant; the paper's learned
classifier was tuned to 0.01 % and better. Measured here on public test captures: none of 162 TLS flows, 59 of them
with a change cipher spec at the beginning of a segment.

Mistaken for
------------
Ordinary HTTPS, whose first requests and answers have such sizes now and then.

Blind to
--------
Multiplexed or padded carriers, other sizes of inner hellos, TLS without a change cipher spec of
the client's, flows whose SYN is not in the capture, losses.
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
from classifier.detectors.heads import Heads
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR"]

TCP = 6
UP_LEAST, UP_MOST = 650, 1000
DOWN_SMALL_LEAST, DOWN_SMALL_MOST = 170, 180
DOWN_LARGE_LEAST, DOWN_LARGE_MOST = 3000, 7500
CCS_BYTES = 6  # 14 03 03 00 01 01

_FAMILY = "tls-in-tls"
_MEANINGS = {
    1: Meaning(
        Strength.WEAK,
        "bursts after the handshake sized as a TLS handshake inside, {value} bytes up",
        _FAMILY,
    )
}


@kernel
def scan(flows, packets, payload, hits):
    """Sum what both sides send after the client's change cipher spec.

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
    for f in range(flows.size):
        first = np.int64(-1)
        up = down = 0
        for row in range(flows[f].packets_start, flows[f].packets_stop):
            p = packets[row]
            size = np.int64(p.payload_bytes)
            if size == 0:
                continue
            if p.direction == 1:
                if first >= 0:
                    down += size
                continue
            if first < 0 and p.stop - p.start >= CCS_BYTES:
                at = p.start
                if (
                    payload[at] == 20
                    and payload[at + 1] == 3
                    and payload[at + 2] == 3
                    and payload[at + 3] == 0
                    and payload[at + 4] == 1
                    and payload[at + 5] == 1
                ):
                    first = np.int64(row)
            if first < 0:
                continue
            small = DOWN_SMALL_LEAST <= down <= DOWN_SMALL_MOST
            if UP_LEAST <= up <= UP_MOST and (small or DOWN_LARGE_LEAST <= down <= DOWN_LARGE_MOST):
                hit = hits[n_hits]
                hit[FLOW_ROW], hit[MEANING], hit[STARTS] = f, 1, 0
                hit[FIRST], hit[LAST], hit[VALUE] = first, row, up
                n_hits += 1
                break
            up += size
            if up > UP_MOST or down > DOWN_LARGE_MOST:
                break
    return n_hits


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose TLS with a SYN and enough bytes in both directions."""
    first = heads.orig
    tls = (first[:, 0] == 22) & (first[:, 1] == 3) & (first[:, 5] == 1)
    chosen: NDArray[np.bool_] = heads.has_proto(TCP) & (heads.column("start_seen") > 0) & tls
    enough = heads.column("orig_payload_bytes") >= UP_LEAST
    return chosen & enough & (heads.column("resp_payload_bytes") >= DOWN_SMALL_LEAST)


def detect(batch: FlowBatch) -> list[Evidence]:
    """Apply the rule to TLS flows."""
    return collect(batch, DETECTOR.name, scan, _MEANINGS)


DETECTOR = Detector("tls-in-tls", _FAMILY, (TCP,), CCS_BYTES, detect, select)
