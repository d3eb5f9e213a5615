"""Tailscale: discovery messages with a magic of six bytes, among WireGuard's.

UDP::

    0    6   54 53 F0 9F 92 AC   "TS" and a speech balloon in UTF-8
    6   32   public key          of the sender, the same in all of its messages
    38  24   nonce               another in each message
    62       ciphertext with a tag of 16 bytes; two bytes or more inside

Sources
-------
Tailscale's ``disco/disco.go`` (https://github.com/tailscale/tailscale); NaCl's ``box``.

Strength
--------
Proof: discovery messages of both sides, or two of one side with the same key and another nonce.
Strong: one message.

Mistaken for
------------
Nothing known: 48 bits of magic, and a key that looks random.

Blind to
--------
Traffic relayed by a DERP server, which is TLS to that server; a flow whose discovery messages are
all outside the capture, which is WireGuard by name.
"""

import numpy as np
from numpy.typing import NDArray

from classifier.detectors._findings import Meaning
from classifier.detectors._messages import Case, Messages, report, scan
from classifier.detectors.heads import Heads
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR"]

UDP = 17
MAGIC = b"TS\xf0\x9f\x92\xac"
KEY, NONCE, LEAST_BYTES = 6, 38, 80
WIRE_TYPES = (1, 2, 3, 4)  # of WireGuard: one of its messages may come first
WIDTH = 62

_FAMILY = "tailscale"
BOTH = Meaning(Strength.PROOF, "Tailscale discovery messages both ways", _FAMILY)
AGAIN = Meaning(
    Strength.PROOF, "{value} Tailscale discovery messages of one side with the same key", _FAMILY
)
ONE = Meaning(Strength.STRONG, "one Tailscale discovery message", _FAMILY)


def _judge(batch: FlowBatch) -> list[Evidence]:
    m = Messages(batch, WIDTH)
    ours = m.be(0, len(MAGIC)) == int.from_bytes(MAGIC)
    ours &= m.random(KEY, NONCE) & (m.wire >= LEAST_BYTES) & (m.kept > NONCE - 16)
    if not ours.any():
        return []
    key = m.be(KEY, 8)
    same = ours & (key == m.value(ours, key)[m.flow, m.direction])
    n = m.count(same)
    nonce = m.be(NONCE, 8)
    repeated = m.count(same & (nonce == m.value(same, nonce)[m.flow, m.direction]))
    several = ((n >= 2) & (repeated == 1)).any(axis=1)
    first = m.first(ours)
    cases = [
        Case(n.min(axis=1) > 0, BOTH, first, m.both(ours)),
        Case(several, AGAIN, first, *m.enough(same, 2, sides=1)),
        Case(n.max(axis=1) > 0, ONE, first, first),
    ]
    return report(batch, DETECTOR.name, cases, first == m.first(m.wire > 0))


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows that begin with a discovery message, or with what may be WireGuard's."""
    chosen = heads.starts_with(MAGIC)
    for head in (heads.orig, heads.resp):
        wire = (head[:, 0] >= WIRE_TYPES[0]) & (head[:, 0] <= WIRE_TYPES[-1])
        chosen |= wire & (head[:, 1:4] == 0).all(axis=1)
    return chosen


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find Tailscale among the UDP flows of a batch."""
    return scan(batch, _judge)


DETECTOR = Detector("tailscale", _FAMILY, (UDP,), WIDTH, detect, select)
