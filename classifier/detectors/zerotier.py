"""ZeroTier: every packet names receiver and sender by 40-bit addresses, in clear.

UDP. Numbers are big-endian::

    0    8   packet id    also the initialisation vector
    8    5   destination  address of the receiver
    13   5   source       address of the sender; the first byte of an address is never 0xFF
    18   1   flags (2 bits), cipher (3): 0 none, 1 Salsa20/12, 2 trusted path, 3 AES; hops (3)
    19   8   MAC
    27   1   verb (5 bits, 3 of flags) and content: encrypted but in HELLO

HELLO has cipher 0 and verb 1, and then::

    28   1   protocol version     4 to 13 so far
    29   4   software version     major, minor, revision (2)
    33   8   time                 milliseconds since 1970
    41   5   address              the sender's, as at 13
    46   1   0                    type of identity
    47  64   public key

A fragment has 0xFF at 13 and no source.

Sources
-------
ZeroTier One's ``node/Packet.hpp`` and ``node/Identity.hpp``
(https://github.com/zerotier/ZeroTierOne).

Strength
--------
Proof: HELLO, or two packets, of one side and a packet of the other with the same two addresses
exchanged (80 bits). Strong: HELLO of one side (the sender's address twice, among fixed bytes); or
one packet each way with addresses exchanged.

Mistaken for
------------
Nothing known; addresses and packet ids must look random, and each packet id be another.

Blind to
--------
Flows to a root server in which all packets are relayed to or from other nodes; data of one side.
"""

import numpy as np
from numpy.typing import NDArray

from classifier.detectors._findings import Meaning
from classifier.detectors._messages import (
    Case,
    Ints,
    Mask,
    Messages,
    look_random,
    number,
    report,
    scan,
)
from classifier.detectors.heads import Heads
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR"]

UDP = 17
HEADER_BYTES, DESTINATION, SOURCE, FLAGS, VERB = 28, 8, 13, 18, 27
ADDRESS_BYTES, RESERVED = 5, 0xFF
CIPHER_MOST = 3
HELLO, VERSION_LEAST, VERSION_MOST, IDENTITY = 1, 4, 32, 41
HELLO_BYTES = 111  # up to the end of the public key
WIDTH = 64

_FAMILY = "zerotier"
HELLO_BOTH = Meaning(
    Strength.PROOF, "ZeroTier HELLO, and packets back with its addresses exchanged", _FAMILY
)
BOTH = Meaning(Strength.PROOF, "ZeroTier packets both ways between the same two addresses", _FAMILY)
ONE = Meaning(Strength.STRONG, "ZeroTier HELLO with its sender's address twice", _FAMILY)
FEW = Meaning(Strength.STRONG, "one packet each way with ZeroTier addresses exchanged", _FAMILY)


def _is_packet(rows: NDArray[np.uint8], kept: Ints) -> Mask:
    to, source = number(rows, DESTINATION, 5), number(rows, SOURCE, 5)
    sound: Mask = (to != source) & ((rows[:, FLAGS] >> 3 & 7) <= CIPHER_MOST)
    for address in (DESTINATION, SOURCE):
        sound &= (rows[:, address] != RESERVED) & look_random(rows, kept, address, address + 5)
    sound &= look_random(rows, kept, 0, 8) & look_random(rows, kept, DESTINATION, FLAGS)
    sound &= kept >= HEADER_BYTES
    return sound


def _is_hello(m: Messages) -> Mask:
    sound: Mask = (m.bytes[:, FLAGS] >> 3 & 7 == 0) & (m.bytes[:, VERB] & 0x1F == HELLO)
    sound &= (m.be(28, 1) >= VERSION_LEAST) & (m.be(28, 1) <= VERSION_MOST)
    sound &= (m.be(IDENTITY, 5) == m.be(SOURCE, 5)) & (m.be(IDENTITY + 5, 1) == 0)
    sound &= (m.wire >= HELLO_BYTES) & (m.kept > IDENTITY + 5) & (m.be(SOURCE, 5) != 0)
    return sound


def _judge(batch: FlowBatch) -> list[Evidence]:
    m = Messages(batch, WIDTH)
    ours = _is_packet(m.bytes, m.kept)
    to, source, packet_id = m.be(DESTINATION, 5), m.be(SOURCE, 5), m.be(0, 8)
    hello = _is_hello(m) & ours
    # The pair of addresses that the originator's first HELLO, or else its first packet, has
    base = np.where(m.count(hello)[m.flow, 0] > 0, hello, ours)
    pair_to, pair_source = m.value(base, to)[:, 0], m.value(base, source)[:, 0]
    forward = (to == pair_to[m.flow]) & (source == pair_source[m.flow]) & (m.direction == 0)
    back = (source == pair_to[m.flow]) & (to == pair_source[m.flow]) & (m.direction == 1)
    between = ours & (forward | back)
    n = m.count(between)
    again = m.count(between & (packet_id == m.value(between, packet_id)[m.flow, m.direction]))
    mirrored = n.min(axis=1) > 0
    greeted = m.first(hello & between)
    greets = m.last(hello & between) >= 0
    other = (n >= 2).any(axis=1) & (again == 1).all(axis=1)
    first, both = m.first(between), m.both(between)
    start, lone = m.first(m.wire > 0), m.first(hello)
    cases = [
        Case(mirrored & greets, HELLO_BOTH, greeted, np.maximum(greeted, both)),
        Case(mirrored & other, BOTH, first, both),
        Case(m.last(hello) >= 0, ONE, lone, lone),
        Case(mirrored & (n == 1).all(axis=1), FEW, first, both),
    ]
    return report(batch, DETECTOR.name, cases, lone == start)


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows that begin with HELLO, or whose sides begin with addresses exchanged."""
    orig, resp = heads.orig, heads.resp
    chosen: Mask = (orig[:, 8:13] == resp[:, 13:18]).all(axis=1)
    chosen &= (orig[:, 13:18] == resp[:, 8:13]).all(axis=1) & (heads.resp_kept >= HEADER_BYTES)
    for head, kept in ((orig, heads.orig_kept), (resp, heads.resp_kept)):
        hello = (head[:, FLAGS] >> 3 & 7 == 0) & (head[:, VERB] & 0x1F == HELLO)
        hello &= (head[:, 28] >= VERSION_LEAST) & (head[:, 28] <= VERSION_MOST)
        chosen |= hello & (kept > IDENTITY + 5)
    return chosen


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find ZeroTier among the UDP flows of a batch."""
    return scan(batch, _judge)


DETECTOR = Detector("zerotier", _FAMILY, (UDP,), WIDTH, detect, select)
