"""Looks fully encrypted: the published rule that a censor applies to the first bytes of a client.

A published rule, reproduced to be studied: what it hits is *not* thereby a tunnel. Of the client's
first TCP payload, with the connection's SYN seen; a flow is exempt where any of these holds::

    Ex1   bits set per byte     3.4 or less, or 4.6 or more, on average
    Ex2   first six bytes       all printable, 0x20-0x7E
    Ex3   printable bytes       more than half
    Ex4   printable in a row    more than 20
    Ex5   first bytes           TLS (0x16-0x17, 0x03, 0x00-0x09) or HTTP (GET, PUT, POST, HEAD and a space)

Sources
-------
M. Wu et al., "How the Great Firewall of China Detects and Blocks Fully Encrypted Traffic", USENIX
Security 2023, section 4 (the exemptions and their numbers).

Strength
--------
Weak, always, and without the name of a protocol. Published rate of false alarms: about 0.6 % of the
connections of a university network (section 6 of the paper). Measured here on public test
captures, chosen for rare protocols: 43 of 698 connections with a
client's payload (6.2 %).

Mistaken for
------------
Ordinary software with binary protocols of its own: messengers, monitoring agents, peer-to-peer
clients, nodes of crypto-currencies, databases, remote desktops.

Blind to
--------
Carriers with a printable or unbalanced first message, which is how implementations went on to evade
the rule; UDP; flows whose SYN is not in the capture, or whose first payload was cut.
"""

import numpy as np
from numpy.typing import NDArray

from classifier._jit import inline, kernel
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

__all__ = ["DETECTOR", "exemption"]

TCP = 6
ONES_LEAST, ONES_MOST = 3.4, 4.6
FIRST_PRINTABLE, RUN_PRINTABLE = 6, 20
LEAST_PRINTABLE, MOST_PRINTABLE = 0x20, 0x7E
HTTP_VERBS = np.array([list(v) for v in (b"GET \0", b"PUT \0", b"POST ", b"HEAD ")], np.uint8)
HANDSHAKE, APPLICATION_DATA, MAJOR, MINOR_MOST = 0x16, 0x17, 3, 9

_NAME = "fully-encrypted"
_MEANINGS = {
    1: Meaning(Strength.WEAK, "first {value} bytes of the client meet no exemption Ex1-Ex5", _NAME)
}
_ONES = np.array([value.bit_count() for value in range(256)], np.int64)


@inline
def _is_known(buf, start, size):
    """Tell whether a payload begins as TLS or HTTP do; what is not there counts as zero."""
    if size < 2:
        return False
    if buf[start + 1] == MAJOR and HANDSHAKE <= buf[start] <= APPLICATION_DATA:
        return size == 2 or buf[start + 2] <= MINOR_MOST
    found = False
    for verb in range(HTTP_VERBS.shape[0]):
        k = 0
        while k < size and k < HTTP_VERBS.shape[1] and buf[start + k] == HTTP_VERBS[verb, k]:
            k += 1
        found |= k == HTTP_VERBS.shape[1] or HTTP_VERBS[verb, k] == 0
    return found


@inline
def exemption(buf, start, stop):
    """Return the number of the first exemption that holds for a payload, 0 for none.

    Parameters
    ----------
    buf : ndarray of uint8, or bytes
    start, stop : int
        Of the client's first payload, not empty.
    """
    size = stop - start
    ones = np.int64(0)
    for i in range(start, stop):
        ones += _ONES[buf[i]]
    if ones / size <= ONES_LEAST or ones / size >= ONES_MOST:
        return 1
    printable = run = longest = leading = 0
    for i in range(start, stop):
        if LEAST_PRINTABLE <= buf[i] <= MOST_PRINTABLE:
            printable += 1
            run += 1
            longest = max(longest, run)
            leading += run == i - start + 1
        else:
            run = 0
    if leading >= FIRST_PRINTABLE:
        return 2
    if 2 * printable > size:
        return 3
    if longest > RUN_PRINTABLE:
        return 4
    return 5 if _is_known(buf, start, size) else 0


@kernel
def scan(flows, packets, payload, hits):
    """Apply the rule to the first payload of each flow's client, where it was kept whole.

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
        if flows[f].start_seen == 0:
            continue
        for row in range(flows[f].packets_start, flows[f].packets_stop):
            p = packets[row]
            if p.direction != 0 or p.payload_bytes == 0:
                continue
            size = np.int64(p.payload_bytes)
            if p.stop - p.start == size and exemption(payload, p.start, p.stop) == 0:
                hit = hits[n_hits]
                hit[FLOW_ROW], hit[MEANING], hit[STARTS] = f, 1, 0
                hit[FIRST], hit[LAST], hit[VALUE] = row, row, size
                n_hits += 1
            break
    return n_hits


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows with a SYN whose first bytes are neither printable nor TLS."""
    first = heads.orig[:, :FIRST_PRINTABLE]
    text = ((first >= LEAST_PRINTABLE) & (first <= MOST_PRINTABLE)).all(axis=1)
    tls = (first[:, 0] >= 0x16) & (first[:, 0] <= 0x17) & (first[:, 1] == 3) & (first[:, 2] <= 9)
    chosen: NDArray[np.bool_] = heads.has_proto(TCP) & (heads.column("start_seen") > 0)
    chosen &= (heads.orig_kept > 0) & ~text & ~tls
    return chosen


def detect(batch: FlowBatch) -> list[Evidence]:
    """Apply the rule to the TCP flows of a batch."""
    return collect(batch, DETECTOR.name, scan, _MEANINGS)


DETECTOR = Detector(_NAME, _NAME, (TCP,), 1536, detect, select)
