"""VTun: server and client greet each other with text in blocks of fifty bytes.

TCP. The server speaks first::

    0   16   VTUN server ver
    16       its version, line feed, zeros up to 50 bytes

The client answers::

    0    6   HOST: (or HOS2:), space
    6        name of the tunnel, line feed, zeros up to 50 bytes

Then ``OK CHAL: <...>`` and ``CHAL: <...>``, with 32 letters from a to p each, and
``OK FLAGS: <...>``. Data follow in the same connection, or over UDP.

Sources
-------
VTun's ``auth.c``, ``lib.c`` and ``vtun.h`` (http://vtun.sourceforge.net), release 3.

Strength
--------
Proof: the server's and the client's block. Strong: the server's block alone.

Mistaken for
------------
Honeypots that answer every connection with the banner of some service: the client's block is
missing there.

Blind to
--------
Data in the middle of a connection, and data over UDP, whose header is a length of two bytes.
"""

import numpy as np
from numpy.typing import NDArray

from classifier.detectors._findings import Meaning
from classifier.detectors._messages import Case, Messages, head_of, report, scan
from classifier.detectors.heads import Heads
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR"]

TCP = 6
BANNER = b"VTUN server ver "
CLIENT = (b"HOST: ", b"HOS2: ")
BLOCK_BYTES, LINE_FEED = 50, 0x0A

_FAMILY = "vtun"
BOTH = Meaning(Strength.PROOF, "VTun server and client greet each other", _FAMILY)
ONE = Meaning(Strength.STRONG, "VTun server's greeting", _FAMILY)


def _begins(head: NDArray[np.uint8], text: bytes) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (head[:, : len(text)] == np.frombuffer(text, np.uint8)).all(axis=1)
    return found


def _is_block(head: NDArray[np.uint8], kept: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which heads are a line of text and zeros up to the end of a block."""
    line = np.cumsum(head == LINE_FEED, axis=1) > 0
    found: NDArray[np.bool_] = line[:, -1] & (kept >= BLOCK_BYTES)
    found &= (np.where(line & (head != LINE_FEED), head, 0) == 0).all(axis=1)
    return found


def _judge(batch: FlowBatch) -> list[Evidence]:
    m = Messages(batch, 0)
    first = [m.first(m.direction == d) for d in (0, 1)]
    servers, clients = [], []
    for side in ("orig", "resp"):
        head, kept = head_of(batch, side, BLOCK_BYTES)
        block = _is_block(head, kept)
        servers.append(_begins(head, BANNER) & block)
        clients.append((_begins(head, CLIENT[0]) | _begins(head, CLIENT[1])) & block)
    greeted = (servers[0] & clients[1]) | (servers[1] & clients[0])
    lone = np.where(servers[0], first[0], first[1])
    cases = [
        Case(greeted, BOTH, first[0], first[1]),
        Case(servers[0] | servers[1], ONE, lone, lone),
    ]
    return report(batch, DETECTOR.name, cases, servers[1])


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows in which either side begins with the server's greeting."""
    return heads.starts_with(BANNER)


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find VTun among the TCP flows of a batch."""
    return scan(batch, _judge)


DETECTOR = Detector("vtun", _FAMILY, (TCP,), BLOCK_BYTES, detect, select)
