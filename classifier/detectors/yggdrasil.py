"""Yggdrasil: both peers begin a connection with the word ``meta``, their version and public key.

TCP. Numbers are big-endian. Since release 0.5::

    0    4   "meta"
    4    2   length      of the records that follow
    6    6   0000 0002 0000   record 0, two bytes: major version 0
    12   6   0001 0002 0005   record 1, two bytes: minor version
    18   4   0002 0020        record 2, 32 bytes: public key
    22  32   public key
    54       more records, and a signature of 64 bytes after the length

In release 0.4 (Debian 12)::

    0    4   "meta"
    4    2   0004        version 0, minor version 4
    6   32   public key, and nothing more until the peer has answered

Sources
-------
Yggdrasil's ``src/core/version.go``, protocol versions 0.4 and 0.5
(https://github.com/yggdrasil-network/yggdrasil-go).

Strength
--------
Proof: both sides begin with it. Strong: one side.

Mistaken for
------------
Nothing known: 22 bytes are fixed but for length and version; 6 in release 0.4, whose message has a
length of its own.

Blind to
--------
Connections inside TLS, QUIC or WebSocket, as most public peers have them; releases before 0.4;
a connection in the middle.
"""

import numpy as np
from numpy.typing import NDArray

from classifier.detectors._findings import Meaning
from classifier.detectors._messages import Case, Mask, Messages, look_random, number, report, scan
from classifier.detectors.heads import Heads
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR"]

TCP = 6
WORD, MAJOR, MINOR, MINOR_MOST, KEY = 0x6D657461, 0x000000020000, 0x00010002, 63, 0x00020020
KEY_BYTE, LENGTH_LEAST, LENGTH_MOST = 22, 48, 1024
OLD_VERSION, OLD_KEY_BYTE = 0x0004, 6

_FAMILY = "yggdrasil"
BOTH = Meaning(Strength.PROOF, "Yggdrasil peers exchange versions and keys", _FAMILY)
ONE = Meaning(Strength.STRONG, "Yggdrasil peer sends its version and key", _FAMILY)


def _is_meta(head: NDArray[np.uint8], kept: NDArray[np.int64]) -> Mask:
    size = number(head, 4, 2)
    sound: Mask = (number(head, 0, 4) == WORD) & (size >= LENGTH_LEAST) & (size <= LENGTH_MOST)
    sound &= (number(head, 6, 6) == MAJOR) & (number(head, 12, 4) == MINOR)
    sound &= (number(head, 16, 2) <= MINOR_MOST) & (number(head, 18, 4) == KEY)
    sound &= (kept >= KEY_BYTE) & look_random(head, kept, KEY_BYTE, 32)
    old: Mask = (number(head, 0, 4) == WORD) & (size == OLD_VERSION)
    old &= (kept >= KEY_BYTE) & look_random(head, kept, OLD_KEY_BYTE, 32)
    return sound | old


def _judge(batch: FlowBatch) -> list[Evidence]:
    m, heads = Messages(batch, 0), Heads(batch)
    first = [m.first(m.direction == d) for d in (0, 1)]
    orig = _is_meta(heads.orig, heads.orig_kept)
    resp = _is_meta(heads.resp, heads.resp_kept)
    lone = np.where(orig, first[0], first[1])
    cases = [Case(orig & resp, BOTH, first[0], first[1]), Case(orig | resp, ONE, lone, lone)]
    return report(batch, DETECTOR.name, cases, orig)


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows in which either side begins with the word and its version."""
    chosen = heads.starts_with(WORD.to_bytes(4, "big"))
    rows = np.flatnonzero(chosen)
    if rows.size:
        chosen[rows] = _is_meta(heads.orig[rows], heads.orig_kept[rows])
        chosen[rows] |= _is_meta(heads.resp[rows], heads.resp_kept[rows])
    return chosen


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find Yggdrasil among the TCP flows of a batch."""
    return scan(batch, _judge)


DETECTOR = Detector("yggdrasil", _FAMILY, (TCP,), 32, detect, select)
