"""fastd: a handshake that names its key exchange, and data whose counters step by two.

UDP. A handshake message may have twelve bytes ahead, an empty L2TP control message
(``C8 03 00 0C`` and eight zeros). Numbers of its header are big-endian, in records little-endian::

    0    2   01 00
    2    2   length      of the records, all that is left
    4        records: type (2 bytes), length (2), value. The first is 0000, length 1: the
             handshake's number, 1 to 3. Type 5 is the name ``ec25519-fhmqvc``

Data, from release 22 on, and before it::

    0    1   00          type              0    1   02          type
    1    7   nonce       big-endian        1    7   nonce
    8   16   tag, ciphertext               8    1   00          flags
                                           9        ciphertext, tag

The nonce rises by two: the initiator's is odd, the other side's even. With the method ``null`` the
packet follows in clear::

    0    1   00          type
    1        IPv4 packet, its length that of the rest; or such a packet behind an Ethernet header

Sources
-------
fastd's ``doc/source/devel/protocol.rst``, ``src/handshake.h``, ``src/methods/common.c`` and
``common.h`` (https://github.com/neocturne/fastd).

Strength
--------
Proof: handshake messages of both sides, of right length and with the name. Strong: of one side; or
data of both sides, three messages or more of each, nonces odd of one and even of the other side; or of both sides, two messages or more
of each, IPv4 packets of the right length behind the type.

Mistaken for
------------
A 64-bit counter in clear that starts at zero looks like data; steps of two, other parity of the
other side and what looks random behind tell them apart.

Blind to
--------
Data alone of one side; IPv6 packets of the method ``null``; its form that looks like L2TP.
"""

import numpy as np
from numpy.typing import NDArray

from classifier.detectors._findings import Meaning
from classifier.detectors._messages import Case, Ints, Mask, Messages, number, report, scan
from classifier.detectors.heads import Heads
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR"]

UDP = 17
PREFIX, PREFIX_BYTES = 0xC803000C, 12
HANDSHAKE, HEADER_BYTES = 0x0100, 4
NAME = np.frombuffer(b"\x05\x00\x0e\x00ec25519-fhmqvc", np.uint8)
DATA, OLD_DATA, DATA_LEAST = 0, 2, 24
NONCE_HIGH_BYTES = 2  # zero for the 2**40 packets that no key lives through
STEP, STEP_MOST, RUN_LEAST = 2, 128, 3
PLAIN_LEAST, IPV4, ETHERNET_BYTES, ETHERTYPE_IPV4 = 2, 0x45, 14, 0x0800
WIDTH = 160

_FAMILY = "fastd"
BOTH = Meaning(Strength.PROOF, "fastd handshake messages both ways", _FAMILY)
ONE = Meaning(Strength.STRONG, "fastd handshake message of one side", _FAMILY)
RUNS = Meaning(
    Strength.STRONG, "fastd data both ways, {value} messages, nonces rising by two", _FAMILY
)

PLAIN = Meaning(Strength.STRONG, "{value} IPv4 packets behind fastd's type, both ways", _FAMILY)


def _is_handshake(rows: NDArray[np.uint8], at: int, wire: Ints) -> Mask:
    """Tell which rows hold a handshake message's first bytes at ``at``; ``wire`` -1: unknown."""
    first: Mask = (rows[:, at] == 1) & (rows[:, at + 1] == 0)
    first &= (rows[:, at + 4 : at + 8] == (0, 0, 1, 0)).all(axis=1)
    first &= (rows[:, at + 8] >= 1) & (rows[:, at + 8] <= 3)
    first &= (wire < 0) | (number(rows, at + 2, 2) == wire - at - HEADER_BYTES)
    return first


def _judge(batch: FlowBatch) -> list[Evidence]:
    m = Messages(batch, WIDTH)
    prefixed = (m.be(0, 4) == PREFIX) & (m.be(4, 8) == 0)
    shake = _is_handshake(m.bytes, 0, m.wire)
    shake |= prefixed & _is_handshake(m.bytes, PREFIX_BYTES, m.wire)
    if shake.any():
        windows = np.lib.stride_tricks.sliding_window_view(m.bytes[shake], NAME.size, axis=1)
        shake[shake] = (windows == NAME).all(axis=2).any(axis=1)

    data = (m.be(1, NONCE_HIGH_BYTES) == 0) & (m.wire >= DATA_LEAST) & (m.kept >= 16)
    new, old = data & (m.be(0, 1) == DATA), data & (m.be(0, 1) == OLD_DATA) & (m.be(8, 1) == 0)
    if new.any():
        new &= m.random(8, 24)
    if old.any():
        old &= m.random(9, 24)
    data = new | old
    plain = (m.be(0, 1) == DATA) & (m.be(1, 1) == IPV4) & (m.be(3, 2) == m.wire - 1)
    at = 1 + ETHERNET_BYTES
    framed = (m.be(0, 1) == DATA) & (m.be(at - 2, 2) == ETHERTYPE_IPV4) & (m.be(at, 1) == IPV4)
    plain |= framed & (m.be(at + 2, 2) == m.wire - at)
    if not (shake.any() or data.any() or plain.any()):
        return []
    nonce = m.be(1, 7)
    parity = m.value(data, (nonce & 1) + 1)
    counts = m.run(data, nonce & 1, nonce, STEP_MOST)
    runs = (counts.min(axis=1) >= RUN_LEAST) & (parity[:, 0] != parity[:, 1])
    n_shake, n_plain = m.count(shake), m.count(plain)
    first = m.first(shake)
    cases = [
        Case(n_shake.min(axis=1) > 0, BOTH, first, m.both(shake)),
        Case(n_shake.max(axis=1) > 0, ONE, first, first),
        Case(runs, RUNS, m.first(data), *m.enough(data, RUN_LEAST)),
        Case(
            n_plain.min(axis=1) >= PLAIN_LEAST,
            PLAIN,
            m.first(plain),
            *m.enough(plain, PLAIN_LEAST),
        ),
    ]
    return report(batch, DETECTOR.name, cases, first == m.first(m.wire > 0))


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows that begin with a handshake message, or in which both sides begin with data."""
    chosen = np.zeros(heads.size, np.bool_)
    data, plain = (np.ones(heads.size, np.bool_) for _ in range(2))
    for head, kept in ((heads.orig, heads.orig_kept), (heads.resp, heads.resp_kept)):
        for at, first, least in ((0, 1, 9), (PREFIX_BYTES, PREFIX >> 24, 0)):
            rows = np.flatnonzero((head[:, 0] == first) & (kept >= least))
            chosen[rows] |= _is_handshake(head[rows], at, np.full(rows.size, -1))
        data &= ((head[:, 0] == DATA) | (head[:, 0] == OLD_DATA)) & (kept >= 16)
        data &= (head[:, 1] == 0) & (head[:, 2] == 0)
        at = 1 + ETHERNET_BYTES
        packet = (head[:, 1] == IPV4) | (
            (head[:, at] == IPV4) & (number(head, at - 2, 2) == 0x0800)
        )
        plain &= (head[:, 0] == DATA) & packet & (kept >= at + 5)
    return chosen | data | plain


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find fastd among the UDP flows of a batch."""
    return scan(batch, _judge)


DETECTOR = Detector("fastd", _FAMILY, (UDP,), WIDTH, detect, select)
