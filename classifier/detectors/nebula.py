"""Nebula: sixteen bytes of header in clear, with the peer's index and a counter.

UDP. Numbers are big-endian::

    0    1   version << 4 | type   version 1; 0 handshake, 1 message, 2 receive error,
                                   3 lighthouse, 4 test, 5 close, 6 control
    1    1   subtype               0 or 1
    2    2   0                     reserved
    4    4   remote index          chosen by the receiver; 0 in the first handshake message
    8    8   counter               1 and 2 in the handshake, then rises by one
    16       Noise handshake message, or ciphertext with a tag of 16 bytes

Sources
-------
Nebula's ``header/header.go`` and ``handshake_ix.go`` (https://github.com/slackhq/nebula).

Strength
--------
Proof: a first handshake message (index 0, counter 1) and from the other side a second one (its
index, counter 2); or both sides bring two messages or more, each to an index of its own that stays
the same, with a rising counter. Strong: a first handshake message alone, whose header is sixteen
fixed bytes; or three such messages of one side.

Mistaken for
------------
Nothing known. Type, zeros, index and the upper half of the counter are 100 bits that must fit.

Blind to
--------
A flow of which fewer than three packets of one direction, or two of each, were seen in the middle.
"""

import numpy as np
from numpy.typing import NDArray

from classifier.detectors._findings import Meaning
from classifier.detectors._messages import Case, Mask, Messages, report, scan
from classifier.detectors.heads import Heads
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR"]

UDP = 17
VERSION, TYPE_MOST, SUBTYPE_MOST, HEADER_BYTES, TAG_BYTES = 0x10, 6, 1, 16, 16
HANDSHAKE, ERROR, RELAY = 0x10, 0x12, 1
HANDSHAKE_LEAST = 16 + 32 + 16  # header, a public key, and certificate or tag
STEP_MOST, RUN_LEAST = 64, 2
WIDTH = 32

_FAMILY = "nebula"
HANDSHAKES = Meaning(Strength.PROOF, "Nebula handshake message and its answer", _FAMILY)
RUNS = Meaning(
    Strength.PROOF,
    "Nebula messages both ways, {value} with constant indexes and rising counters",
    _FAMILY,
)
LONE = Meaning(Strength.STRONG, "first Nebula handshake message, no answer seen", _FAMILY)
RUN = Meaning(
    Strength.STRONG,
    "Nebula messages of one side, {value} with a constant index and rising counter",
    _FAMILY,
)


def _is_header(head: NDArray[np.uint8], kept: NDArray[np.int64]) -> Mask:
    sound: Mask = (head[:, 0] >= VERSION) & (head[:, 0] <= VERSION + TYPE_MOST)
    sound &= (head[:, 1] <= SUBTYPE_MOST) & (head[:, 2] == 0) & (head[:, 3] == 0)
    sound &= (head[:, 8] == 0) & (head[:, 9] == 0) & (kept >= HEADER_BYTES)
    return sound


def _judge(batch: FlowBatch) -> list[Evidence]:
    m = Messages(batch, WIDTH)
    ours = _is_header(m.bytes, m.kept)
    kind, index, counter = m.be(0, 1), m.be(4, 4), m.be(8, 8)
    shake = ours & (kind == HANDSHAKE) & (m.wire >= HANDSHAKE_LEAST) & m.random(16, 32)
    one, two = shake & (index == 0) & (counter == 1), shake & (index != 0) & (counter == 2)
    # A relayed message holds another header where ciphertext would be
    sealed = m.random(16, 32) | (m.be(1, 1) == RELAY)
    data = ours & (kind > HANDSHAKE) & (kind != ERROR) & (index != 0) & sealed
    data &= m.wire >= HEADER_BYTES + TAG_BYTES
    counts = m.run(data | two, index, counter, STEP_MOST)
    indexes = m.value(data | two, index)
    n_one, n_two = m.count(one), m.count(two)
    answered = ((n_one[:, 0] > 0) & (n_two[:, 1] > 0)) | ((n_one[:, 1] > 0) & (n_two[:, 0] > 0))
    runs = (counts.min(axis=1) >= RUN_LEAST) & (indexes[:, 0] != indexes[:, 1])
    first = m.first(data)
    start = m.first(one)
    cases = [
        Case(answered, HANDSHAKES, start, m.first(two)),
        Case(runs, RUNS, first, *m.enough(data | two, RUN_LEAST)),
        Case(n_one.sum(axis=1) > 0, LONE, start, start),
        Case(
            counts.max(axis=1) > RUN_LEAST,
            RUN,
            first,
            *m.enough(data | two, RUN_LEAST + 1, sides=1),
        ),
    ]
    return report(batch, DETECTOR.name, cases, start == m.first(m.wire > 0))


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows in which either side begins with a header."""
    orig = _is_header(heads.orig, heads.orig_kept)
    return orig | _is_header(heads.resp, heads.resp_kept)


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find Nebula among the UDP flows of a batch."""
    return scan(batch, _judge)


DETECTOR = Detector("nebula", _FAMILY, (UDP,), WIDTH, detect, select)
