"""n2n: every message names the community it belongs to, in clear and padded with zeros.

UDP, between edges and a supernode. Numbers are big-endian::

    0    1   version     3, or 2
    1    1   hops        time to live, 2 and a little more
    2    2   flags       0x0020 from the supernode, 0x0040 with a socket, 0x0080 options; the low
                         five bits are the type, 1 to 12
    4    C   community   a name in printable ASCII, zeros behind; C is 20, of version 2 16
    4+C      by type: 1 register, 3 packet, 4 its answer, 5 register at the supernode, 7 its
             acknowledgement, 8 its refusal, 9 federation, 10 and 11 peers ...

Sources
-------
n2n's ``wire.c``, ``n2n_typedefs.h`` and ``n2n_define.h`` (https://github.com/ntop/n2n), release 3,
and the release 2 branch for its shorter community.

Strength
--------
Proof: both sides name the same community, in messages of known types. Strong: one side does, in
two messages or by a name of four letters or more.

Mistaken for
------------
RADIUS answers have the same first bytes, and a random authenticator where the name would be.

Blind to
--------
Header encryption (``-H``), which leaves nothing constant.
"""

import numpy as np
from numpy.typing import NDArray

from classifier.detectors._findings import Meaning
from classifier.detectors._messages import Case, Ints, Mask, Messages, report, scan
from classifier.detectors.heads import Heads
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR"]

UDP = 17
COMMUNITY = 4
COMMUNITY_BYTES = {3: 20, 2: 16}
TYPE_MASK, TYPE_MOST, HOPS_MOST = 0x1F, 12, 15
REGISTER_SUPER = 5
# The least that follows the community: cookie and address, or two addresses
BODY_LEAST = 10
NAME_LEAST = 4
WIDTH = 24

_FAMILY = "n2n"
BOTH = Meaning(Strength.PROOF, "n2n messages both ways with the same community", _FAMILY)
ONE = Meaning(Strength.STRONG, "n2n messages of one side, {value} with the same community", _FAMILY)


def _names(rows: NDArray[np.uint8], size: int) -> tuple[Mask, Ints]:
    """Tell which rows hold a name padded with zeros, and how long it is."""
    name = rows[:, COMMUNITY : COMMUNITY + size]
    length = (name != 0).sum(axis=1)
    printable = (name > 0x20) & (name < 0x7F)
    sound = (printable == (np.arange(size) < length[:, None])).all(axis=1) & (length > 0)
    return sound, length


def _probe(rows: NDArray[np.uint8], kept: Ints, wire: Ints) -> tuple[Mask, Ints]:
    """Tell which messages are n2n's, and how long their communities are."""
    kind = rows[:, 3] & TYPE_MASK
    head = (rows[:, 1] <= HOPS_MOST) & (rows[:, 2] == 0) & (kind >= 1) & (kind <= TYPE_MOST)
    found = np.zeros(kind.size, np.bool_)
    length = np.zeros(kind.size, np.int64)
    for version, size in COMMUNITY_BYTES.items():
        sound, n = _names(rows, size)
        sound &= head & (rows[:, 0] == version) & (kept >= COMMUNITY + size)
        sound &= wire >= COMMUNITY + size + BODY_LEAST
        found |= sound
        length[sound] = n[sound]
    return found, length


def _judge(batch: FlowBatch) -> list[Evidence]:
    m = Messages(batch, WIDTH)
    ours, length = _probe(m.bytes, m.kept, m.wire)
    whole = np.where(m.bytes[:, 0] == 3, 20, 16)[:, None] > np.arange(WIDTH - COMMUNITY)
    name = np.where(whole, m.bytes[:, COMMUNITY:], 0)
    _, key = np.unique(name, axis=0, return_inverse=True)
    key = key.reshape(-1) + 1
    theirs = m.value(ours, key)
    n = m.count(ours & (key == theirs[m.flow, m.direction]))
    both = (n.min(axis=1) > 0) & (theirs[:, 0] == theirs[:, 1])
    some = n.max(axis=1)
    lone = (some >= 2) | (m.value(ours, length).max(axis=1) >= NAME_LEAST)
    first = m.first(ours)
    cases = [
        Case(both, BOTH, first, m.both(ours)),
        Case((some > 0) & lone, ONE, first, first, some),
    ]
    kind = (m.bytes[:, 3] & TYPE_MASK).astype(np.int64)
    return report(batch, DETECTOR.name, cases, m.value(ours, kind)[:, 0] == REGISTER_SUPER)


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows in which either side begins with a version, a type and a community."""
    found = [
        _probe(head, kept, np.full(kept.size, 1 << 16))[0]
        for head, kept in ((heads.orig, heads.orig_kept), (heads.resp, heads.resp_kept))
    ]
    return found[0] | found[1]


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find n2n among the UDP flows of a batch."""
    return scan(batch, _judge)


DETECTOR = Detector("n2n", _FAMILY, (UDP,), WIDTH, detect, select)
