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

from classifier.detectors._messages import NO_ROW, Messages
from classifier.detectors.heads import Heads, first_bytes
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR", "exemption"]

TCP = 6
ONES_LEAST, ONES_MOST = 3.4, 4.6
FIRST_PRINTABLE, RUN_PRINTABLE = 6, 20
HTTP_VERBS = (b"GET ", b"PUT ", b"POST ", b"HEAD ")
FLOWS_AT_ONCE = 1024  # of 1.5 KB each, so that the work stays in the cache

_NAME = "fully-encrypted"
_ONES = np.array([value.bit_count() for value in range(256)], np.uint8)


def exemption(payload: bytes) -> int:
    """Return the number of the first exemption that holds for a payload, 0 for none.

    Parameters
    ----------
    payload : bytes
        The client's first payload, not empty.
    """
    matrix = np.frombuffer(payload, np.uint8)[None, :]
    return int(_exemptions(matrix, np.array([len(payload)]))[0])


def _exemptions(data: NDArray[np.uint8], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first exemption of each row, 0 for none; ``data`` is zero beyond the sizes."""
    ones = _ONES[data].sum(axis=1, dtype=np.int64) / sizes
    printable = data - np.uint8(0x20) <= 0x7E - 0x20  # below 0x20 it wraps to more
    first = printable[:, :FIRST_PRINTABLE]
    padded = np.zeros((data.shape[0], 6), np.uint8)
    padded[:, : min(6, data.shape[1])] = data[:, :6]
    tls = (padded[:, 0] >= 0x16) & (padded[:, 0] <= 0x17) & (padded[:, 1] == 3)
    known = tls & (padded[:, 2] <= 9)
    for verb in HTTP_VERBS:
        known |= (padded[:, : len(verb)] == np.frombuffer(verb, np.uint8)).all(axis=1)
    holds = [
        (ones <= ONES_LEAST) | (ones >= ONES_MOST),
        first.all(axis=1) & (first.shape[1] == FIRST_PRINTABLE),
        2 * np.count_nonzero(printable, axis=1) > sizes,
        known,
    ]
    found = np.select(holds, [1, 2, 3, 5], 0)
    left = np.flatnonzero((found == 0) | (found == 5))
    found[left[_in_a_row(printable[left])]] = 4
    return found.astype(np.int64)


def _in_a_row(printable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which rows have more than ``RUN_PRINTABLE`` printable bytes one after another."""
    run = RUN_PRINTABLE + 1
    if printable.shape[1] < run:
        return np.zeros(printable.shape[0], np.bool_)
    counts = np.zeros((printable.shape[0], printable.shape[1] + 1), np.int32)
    np.cumsum(printable, axis=1, out=counts[:, 1:])
    long: NDArray[np.bool_] = ((counts[:, run:] - counts[:, :-run]) == run).any(axis=1)
    return long


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows with a SYN whose first bytes are neither printable nor TLS."""
    first = heads.orig[:, :FIRST_PRINTABLE]
    text = ((first >= 0x20) & (first <= 0x7E)).all(axis=1)
    tls = (first[:, 0] >= 0x16) & (first[:, 0] <= 0x17) & (first[:, 1] == 3) & (first[:, 2] <= 9)
    chosen: NDArray[np.bool_] = heads.has_proto(TCP) & (heads.column("start_seen") > 0)
    chosen &= (heads.orig_kept > 0) & ~text & ~tls
    return chosen


def detect(batch: FlowBatch) -> list[Evidence]:
    """Apply the rule to the TCP flows of a batch."""
    m = Messages(batch, 0)
    rows = m.first(m.direction == 0)
    flows = np.flatnonzero((rows < NO_ROW) & (batch.flows["start_seen"] > 0))
    packets = batch.packets[rows[flows]]
    kept = packets["stop"] - packets["start"]
    flows = flows[kept == packets["payload_bytes"]]
    found = []
    for first in range(0, flows.size, FLOWS_AT_ONCE):
        part = flows[first : first + FLOWS_AT_ONCE]
        start, stop = (batch.packets[name][rows[part]] for name in ("start", "stop"))
        size = stop - start
        data = first_bytes(batch.payload, start, size, int(size.max()))
        for flow in part[_exemptions(data, size) == 0].tolist():
            row = int(rows[flow])
            size, frame = int(batch.packets["payload_bytes"][row]), int(batch.packets["frame"][row])
            detail = f"first {size} bytes of the client meet no exemption Ex1-Ex5, packet {frame}"
            found.append(Evidence(flow, _NAME, Strength.WEAK, detail, row, _NAME))
    return found


DETECTOR = Detector(_NAME, _NAME, (TCP,), 1536, detect, select)
