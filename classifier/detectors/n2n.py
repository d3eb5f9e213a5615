"""n2n: every message names the community it belongs to, in clear and padded with zeros.

UDP, between edges and a supernode. Numbers are big-endian::

    0    1   version     3, or 2
    1    1   hops        time to live, 2 and a little more
    2    2   flags       0x0020 from the supernode, 0x0040 with a socket, 0x0080 options; the low
                         five bits are the type, 1 to 12
    4    C   community   a name in printable ASCII, zeros behind; C is 20, of version 2 16
    4+C      by type: 1 register, 3 packet, 4 its answer, 5 register at the supernode, 7 its
             acknowledgement, 8 its refusal, 9 federation, 10 and 11 peers ...

Version 1, as distributions still ship it, has a header of 87 bytes in every message::

    0    1   version     1
    1    1   type        1 register, 2 deregister, 3 packet, 4 its acknowledgement, 5 list of peers
    2    1   hops        0 or a little more
    3    1   flag        1 from the supernode
    4   16   community   a name in printable ASCII, a zero, and anything behind it
    20   6   Ethernet addresses of sender and, at 26, receiver
    32  20   outer and, at 52, own address: family 2, 0, port (2), IPv4, 12 zeros

Sources
-------
n2n's ``wire.c``, ``n2n_typedefs.h`` and ``n2n_define.h`` (https://github.com/ntop/n2n), release 3,
and the release 2 branch for its shorter community; release 1.3.1's ``n2n.h``
(``struct n2n_packet_header``, ``struct peer_addr``).

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
MOST_VERSION = 3
COMMUNITY = 4
COMMUNITY_BYTES = {3: 20, 2: 16}
TYPE_MASK, TYPE_MOST, HOPS_MOST = 0x1F, 12, 15
REGISTER_SUPER = 5
# The least that follows the community: cookie and address, or two addresses
BODY_LEAST = 10
NAME_LEAST = 4
WIDTH = 72
VERSION_1, TYPE_1_MOST, HEADER_1 = 1, 5, 87
COMMUNITY_1 = slice(4, 20)
FAMILIES_1, ZEROS_1 = (32, 52), (33, *range(40, 52), 53, *range(60, 72))
AF_INET = 2
KEPT_1 = 48  # a snaplen of 96 leaves the first address, and 8 of the 12 zeros behind it

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


def _may_be_header(rows: NDArray[np.uint8]) -> Mask:
    """Tell which messages have a first byte, hops, flags and a name of either form: few others do."""
    two = (rows[:, 2] == 0) & (rows[:, 0] >= 2) & (rows[:, 0] <= MOST_VERSION)
    two &= (rows[:, 1] <= HOPS_MOST) & (rows[:, COMMUNITY] > 0x20)
    one = (rows[:, 0] == VERSION_1) & (rows[:, 3] <= 1) & (rows[:, 2] <= HOPS_MOST)
    one &= rows[:, COMMUNITY_1.start] > 0x20
    return two | (one & (rows[:, 1] >= 1) & (rows[:, 1] <= TYPE_1_MOST))


def _probe_1(rows: NDArray[np.uint8], kept: Ints, wire: Ints) -> tuple[Mask, Ints]:
    """Tell which messages are of version 1, as far as they were kept, and how long their names are."""
    name = rows[:, COMMUNITY_1]
    length = (np.cumsum(name == 0, axis=1) == 0).sum(axis=1)
    printable = (name > 0x20) & (name < 0x7F)
    inside = np.arange(name.shape[1]) < length[:, None]
    found = (rows[:, 0] == VERSION_1) & (rows[:, 1] >= 1) & (rows[:, 1] <= TYPE_1_MOST)
    found &= (rows[:, 2] <= HOPS_MOST) & (rows[:, 3] <= 1) & (kept >= COMMUNITY_1.stop)
    found &= (printable | ~inside).all(axis=1) & (length > 0) & (length < name.shape[1])
    for value, places in ((AF_INET, FAMILIES_1), (0, ZEROS_1)):
        for at in places:
            if at < rows.shape[1]:
                found &= (rows[:, at] == value) | (kept <= at)
    return found & (wire >= HEADER_1), np.where(found, length, 0)


def _judge(batch: FlowBatch) -> list[Evidence]:
    m = Messages(batch, WIDTH)
    ours, length = _probe(m.bytes, m.kept, m.wire)
    first_version, short = _probe_1(m.bytes, m.kept, m.wire)
    first_version &= m.kept >= KEPT_1
    ours |= first_version
    length = np.where(first_version, short, length)
    whole = length[:, None] > np.arange(COMMUNITY_BYTES[3])
    name = np.where(whole, m.bytes[:, COMMUNITY : COMMUNITY + COMMUNITY_BYTES[3]], 0)
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
    kind = np.where(first_version, 0, m.bytes[:, 3] & TYPE_MASK).astype(np.int64)
    starts = kind == REGISTER_SUPER
    starts |= first_version & (m.bytes[:, 1] == 1)
    return report(batch, DETECTOR.name, cases, m.value(ours, starts.astype(np.int64))[:, 0] == 1)


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows in which either side begins with a version, a type and a community."""
    found = np.zeros(heads.size, np.bool_)
    is_udp = heads.has_proto(UDP)
    for head, kept in ((heads.orig, heads.orig_kept), (heads.resp, heads.resp_kept)):
        rows = np.flatnonzero(is_udp & _may_be_header(head))
        # A name of one letter has zeros behind it
        goes_on = head[rows, COMMUNITY + 1] != 0
        rows = rows[goes_on | ~head[rows, COMMUNITY + 2 : COMMUNITY + 8].any(axis=1)]
        if not rows.size:
            continue
        some = head[rows]
        wire = np.full(rows.size, 1 << 16)
        kept = np.minimum(kept[rows], head.shape[1])
        found[rows] |= _probe(some, kept, wire)[0] | _probe_1(some, kept, wire)[0]
    return found


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find n2n among the UDP flows of a batch."""
    return scan(batch, _judge)


DETECTOR = Detector("n2n", _FAMILY, (UDP,), WIDTH, detect, select)
