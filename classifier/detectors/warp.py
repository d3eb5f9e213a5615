"""Cloudflare WARP: WireGuard's messages with an identifier in their three reserved bytes.

UDP. Lengths, types and indexes are WireGuard's (little-endian, see ``wireguard``), but for::

    0    1   type          1 initiation (148 bytes), 2 response (92), 4 data (32 and more)
    1    3   identifier    of the client, constant; zero in WireGuard

Sources
-------
"Warp: Technical challenges" (https://blog.cloudflare.com/warp-technical-challenges/,
2019), on the identifier in the header; its three bytes on the wire:
https://github.com/ViRb3/wgcf/issues/158. WireGuard: the sources of ``wireguard``.

Strength
--------
Proof: an index that one side announced is used by the other as receiver, in messages of exact
length of which one has the identifier; or data both ways, each to an index of its own that stays
the same, with a rising counter. Strong: three such data messages of one side. Weak: an initiation
alone.

Mistaken for
------------
Other software that puts a number into WireGuard's reserved bytes, as some proxies can on request.

Blind to
--------
WARP without the identifier, which is WireGuard by name; WARP over MASQUE, which is QUIC or TLS.
"""

import numpy as np
from numpy.typing import NDArray

from classifier.detectors._findings import Meaning
from classifier.detectors._messages import Case, Messages, look_random, report, scan
from classifier.detectors.heads import HEAD_BYTES, Heads
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR"]

UDP = 17
INITIATION, RESPONSE, DATA = 1, 2, 4
INITIATION_BYTES, RESPONSE_BYTES, DATA_LEAST, DATA_MULTIPLE = 148, 92, 32, 16
FULL_LEAST = 1280 + DATA_LEAST  # fills an MTU, and is not padded beyond
HEADER_BYTES, STEP_MOST, RUN_LEAST = 16, 1 << 16, 2
WIDTH = 48
SECRET_FROM = {INITIATION: 8, RESPONSE: 12, DATA: 16}

_FAMILY = "warp"
ECHO = Meaning(
    Strength.PROOF,
    "WireGuard handshake with an identifier in the reserved bytes, and its index returned",
    _FAMILY,
)
RUNS = Meaning(
    Strength.PROOF,
    "WireGuard data both ways with an identifier, {value} with constant index and rising counter",
    _FAMILY,
)
RUN = Meaning(
    Strength.STRONG,
    "WireGuard data of one side with an identifier, {value} with constant index and rising counter",
    _FAMILY,
)
LONE = Meaning(
    Strength.WEAK, "shaped like a WireGuard initiation with an identifier, no answer seen", _FAMILY
)


def _judge(batch: FlowBatch) -> list[Evidence]:
    m = Messages(batch, WIDTH)
    kind, own, index = m.be(0, 1), m.be(1, 3) != 0, m.le(4, 4)
    sound = (index != 0) & (m.kept >= HEADER_BYTES)
    one = sound & (kind == INITIATION) & (m.wire == INITIATION_BYTES) & m.random(8, 48)
    two = sound & (kind == RESPONSE) & (m.wire == RESPONSE_BYTES) & m.random(12, 48)
    data = sound & (kind == DATA) & (m.wire >= DATA_LEAST)
    data &= (m.wire % DATA_MULTIPLE == 0) | (m.wire >= FULL_LEAST)
    data &= (m.le(14, 2) == 0) & m.random(16, 32)
    ours = (one | two | data) & own
    if not ours.any():
        return []
    marked = m.count(ours).sum(axis=1) > 0
    # Of each side: indexes of its first initiation and response, against what the other sends to
    announced = [m.value(kinds, index)[m.flow, 1 - m.direction] for kinds in (one, two)]
    returned = two & (m.le(8, 4) == announced[0]) & (announced[0] != 0)
    returned |= data & ((index == announced[0]) | (index == announced[1]))
    key = (index << 24) | m.be(1, 3)
    counts = m.run(data, key, m.le(8, 6), STEP_MOST)
    keys = m.value(data, index)
    runs = (counts.min(axis=1) >= RUN_LEAST) & (keys[:, 0] != keys[:, 1])
    marked_runs = m.run(data & own, key, m.le(8, 6), STEP_MOST).max(axis=1)
    echoed = m.first(returned)
    begun, first = m.first(one | two), m.first(data)
    lone = m.first(one & own)
    cases = [
        Case(marked & (m.last(returned) >= 0), ECHO, begun, echoed),
        Case(marked & runs, RUNS, first, *m.enough(data, RUN_LEAST)),
        Case(marked_runs > RUN_LEAST, RUN, first, *m.enough(data & own, RUN_LEAST + 1, sides=1)),
        Case(m.last(one & own) >= 0, LONE, lone, lone),
    ]
    return report(batch, DETECTOR.name, cases, m.first(one) == m.first(m.wire > 0))


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows in which either side begins with a type, an identifier, and a secret."""
    chosen = np.zeros(heads.size, np.bool_)
    for head, kept in ((heads.orig, heads.orig_kept), (heads.resp, heads.resp_kept)):
        for kind, secret in SECRET_FROM.items():
            rows = np.flatnonzero((head[:, 0] == kind) & (kept >= HEADER_BYTES))
            first = head[rows]
            ours = first[:, 1:4].any(axis=1) & look_random(first, kept[rows], secret, HEAD_BYTES)
            if kind == DATA:  # the counter's upper bytes
                ours &= (first[:, 14] == 0) & (first[:, 15] == 0)
            chosen[rows] |= ours
    return chosen


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find WARP among the UDP flows of a batch."""
    return scan(batch, _judge)


DETECTOR = Detector("warp", _FAMILY, (UDP,), INITIATION_BYTES, detect, select)
