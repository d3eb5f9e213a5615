"""PPTP: a TCP connection whose messages all hold the magic cookie; its data are GRE version 1.

Numbers are big-endian::

    0    2   length      of the message, fixed by its type
    2    2   1           control message
    4    4   1A 2B 3C 4D magic cookie
    8    2   type        1 start request and 2 reply (156 bytes), 3 and 4 stop (16), 5 and 6 echo
                         (16, 20), 7 and 8 outgoing call (168, 32), 9-11 incoming call (220, 24,
                         28), 12 and 13 clear (16, 148), 14 error (40), 15 link info (24)
    10   2   0           reserved

Sources
-------
RFC 2637 sections 1.4, 2.1 to 2.15. Data: ``gre``.

Strength
--------
Proof: both sides begin with a valid message. Strong: one side does.

Mistaken for
------------
Nothing known: 32 bits of cookie, and length and type that must agree.

Blind to
--------
A capture that begins inside a message. Data alone are found by ``gre``, under the same family.
"""

import numpy as np
from numpy.typing import NDArray

from classifier.detectors._findings import Meaning
from classifier.detectors._messages import Case, Mask, Messages, head_of, number, report, scan
from classifier.detectors.heads import Heads
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR"]

TCP = 6
COOKIE, CONTROL, START_REQUEST, HEADER_BYTES = 0x1A2B3C4D, 1, 1, 12
#: Length by type from 0
LENGTHS = np.array([0, 156, 156, 16, 16, 16, 20, 168, 32, 220, 24, 28, 16, 148, 40, 24])

_FAMILY = "pptp"
BOTH = Meaning(Strength.PROOF, "PPTP control messages both ways", _FAMILY)
ONE = Meaning(Strength.STRONG, "PPTP control message of one side", _FAMILY)


def _is_control(head: NDArray[np.uint8], kept: NDArray[np.int64]) -> Mask:
    kind = number(head, 8, 2)
    known = (kind >= 1) & (kind < LENGTHS.size)
    sound: Mask = known & (number(head, 0, 2) == LENGTHS[np.where(known, kind, 0)])
    sound &= (number(head, 2, 2) == CONTROL) & (number(head, 4, 4) == COOKIE)
    return sound & (kept >= HEADER_BYTES)


def _judge(batch: FlowBatch) -> list[Evidence]:
    m = Messages(batch, 0)
    first = [m.first(m.direction == d) for d in (0, 1)]
    head, kept = head_of(batch, "orig", HEADER_BYTES)
    orig = _is_control(head, kept)
    resp = _is_control(*head_of(batch, "resp", HEADER_BYTES))
    lone = np.where(orig, first[0], first[1])
    cases = [Case(orig & resp, BOTH, first[0], first[1]), Case(orig | resp, ONE, lone, lone)]
    return report(batch, DETECTOR.name, cases, orig & (number(head, 8, 2) == START_REQUEST))


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows in which either side begins with a control message."""
    return _is_control(heads.orig, heads.orig_kept) | _is_control(heads.resp, heads.resp_kept)


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find PPTP's control connections among the TCP flows of a batch."""
    return scan(batch, _judge)


DETECTOR = Detector("pptp", _FAMILY, (TCP,), HEADER_BYTES, detect, select)
