"""VTun: server and client greet each other with text in blocks of fifty bytes.

TCP. The server speaks first::

    0   16   VTUN server ver
    16       its version, line feed, zeros up to 50 bytes

The client answers::

    0    6   HOST: (or HOS2:), space
    6        name of the tunnel, line feed, zeros up to 50 bytes

Then ``OK CHAL: <...>`` and ``CHAL: <...>``, with 32 letters from a to p each, and
``OK FLAGS: <...>``. Data follow in the same connection, or over UDP, in frames. Numbers are
big-endian::

    0    2   length of the rest; 2000 alone is an echo request, 4000 alone its reply
    2        packet, in clear or in whole blocks of ciphertext

Sources
-------
VTun's ``auth.c``, ``lib.c`` and ``vtun.h`` (http://vtun.sourceforge.net), release 3.

Strength
--------
Proof: the server's and the client's block; or frames both ways that are IP packets of that length.
Strong: the server's block alone; or encrypted frames both ways, an echo request and its reply. Weak:
encrypted frames of three sizes and more without them: any protocol of blocks behind a length of two
bytes looks so.

Mistaken for
------------
Honeypots that answer every connection with the banner of some service: the client's block is
missing there.

Blind to
--------
Encrypted data in the middle of a connection without keepalive: no more than a weak finding.
"""

import numpy as np
from numpy.typing import NDArray

from classifier.detectors._findings import Meaning
from classifier.detectors._messages import (
    Case,
    Ints,
    Mask,
    Messages,
    head_of,
    look_random,
    report,
    scan,
)
from classifier.detectors.heads import Heads
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR"]

TCP, UDP = 6, 17
BANNER = b"VTUN server ver "
CLIENT = (b"HOST: ", b"HOS2: ")
BLOCK_BYTES, LINE_FEED = 50, 0x0A
LENGTH_BYTES, FRAME_MOST, FRAME_LEAST, CIPHER_BLOCK = 2, 0x0FFF, 20, 8
ECHO_REQUEST, ECHO_REPLY = 0x2000, 0x4000
PACKETS_LEAST, FRAMES_LEAST, ECHOED_LEAST, SIZES_LEAST = 3, 4, 2, 3
WIDTH, HEAD = 34, 16

_FAMILY = "vtun"
BOTH = Meaning(Strength.PROOF, "VTun server and client greet each other", _FAMILY)
ONE = Meaning(Strength.STRONG, "VTun server's greeting", _FAMILY)
PACKETS = Meaning(Strength.PROOF, "{value} VTun frames that are IP packets of that length", _FAMILY)
ECHOED = Meaning(
    Strength.STRONG, "{value} encrypted VTun frames, an echo request and its reply", _FAMILY
)
FRAMES = Meaning(
    Strength.WEAK, "{value} encrypted frames with VTun's length before them, both ways", _FAMILY
)


def _begins(head: NDArray[np.uint8], text: bytes) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (head[:, : len(text)] == np.frombuffer(text, np.uint8)).all(axis=1)
    return found


def _is_block(head: NDArray[np.uint8], kept: NDArray[np.int64], cut: Mask) -> NDArray[np.bool_]:
    """Tell which heads are a line of text and zeros up to the end of a block, or of what was kept."""
    line = np.cumsum(head == LINE_FEED, axis=1) > 0
    found: NDArray[np.bool_] = (line[:, -1] & (kept >= BLOCK_BYTES)) | cut
    found &= (np.where(line & (head != LINE_FEED), head, 0) == 0).all(axis=1)
    return found


def _judge(batch: FlowBatch) -> list[Evidence]:
    sides = [head_of(batch, side, BLOCK_BYTES) for side in ("orig", "resp")]
    servers = [_begins(head, BANNER) for head, _ in sides]
    if not (servers[0].any() or servers[1].any()):
        return []
    blocks = []
    for side, (head, kept) in zip(("orig", "resp"), sides, strict=True):
        cut = (kept < BLOCK_BYTES) & (batch.flows[f"{side}_payload_bytes"] >= BLOCK_BYTES)
        blocks.append(_is_block(head, kept, cut))
    servers = [server & block for server, block in zip(servers, blocks, strict=True)]
    clients = [
        (_begins(head, CLIENT[0]) | _begins(head, CLIENT[1])) & block
        for (head, _), block in zip(sides, blocks, strict=True)
    ]
    m = Messages(batch, 0)
    first = [m.first(m.direction == d) for d in (0, 1)]
    greeted = (servers[0] & clients[1]) | (servers[1] & clients[0])
    lone = np.where(servers[0], first[0], first[1])
    cases = [
        Case(greeted, BOTH, first[0], first[1]),
        Case(servers[0] | servers[1], ONE, lone, lone),
    ]
    return report(batch, DETECTOR.name, cases, servers[1])


def _changes(m: Messages, frames: Mask) -> Mask:
    """Tell in which flows each of the first bytes differs among the frames of either side."""
    low = np.full((2 * m.n_flows, HEAD), 255, np.uint8)
    high = np.zeros((2 * m.n_flows, HEAD), np.uint8)
    side = (m.flow * 2 + m.direction)[frames]
    head = m.bytes[frames, LENGTH_BYTES : LENGTH_BYTES + HEAD]
    np.minimum.at(low, side, head)
    np.maximum.at(high, side, head)
    changes: Mask = np.all((low < high).reshape(-1, 2 * HEAD), axis=1)
    return changes


def _count_sizes(m: Messages, frames: Mask) -> Ints:
    pairs = np.unique(np.stack([m.flow[frames], m.wire[frames]], axis=1), axis=0)
    return np.bincount(pairs[:, 0], minlength=m.n_flows)


def _judge_frames(batch: FlowBatch) -> list[Evidence]:
    m = Messages(batch, WIDTH)
    first, size = m.be(0, LENGTH_BYTES), m.wire - LENGTH_BYTES
    frame = (first == size) & (size >= FRAME_LEAST) & (m.kept >= LENGTH_BYTES + HEAD)
    request, reply = ((size == 0) & (first == kind) for kind in (ECHO_REQUEST, ECHO_REPLY))
    tcp = batch.flows["proto"] == TCP
    n, n_other = m.count(frame), m.count(~frame & ~request & ~reply).sum(axis=1)
    framed = np.where(tcp, n.sum(axis=1) >= 2 * n_other, n_other == 0)
    if (n.min(axis=1) < ECHOED_LEAST).all():  # the least that any rule below asks for
        return []
    packet: Mask = frame & (m.be(2, 1) == 0x45) & (m.be(4, 2) == size)
    packet |= frame & (m.be(2, 1) >> 4 == 6) & (m.be(6, 2) == size - 40)
    packets = m.count(packet)
    blocks = frame & (size % CIPHER_BLOCK == 0) & m.random(LENGTH_BYTES, WIDTH)
    encrypted = framed & (m.count(frame & ~blocks).sum(axis=1) == 0)
    several = encrypted
    if encrypted.any():
        encrypted = encrypted & _changes(m, frame)
        several = encrypted & (_count_sizes(m, frame) >= SIZES_LEAST)
    echoed = (m.count(request).max(axis=1) > 0) & (m.count(reply).max(axis=1) > 0)
    echoed &= encrypted & (n.min(axis=1) >= ECHOED_LEAST)
    begun, last = m.first(frame), m.last(frame)
    known, _ = m.enough(frame, ECHOED_LEAST)
    known = np.maximum(known, np.maximum(m.first(request), m.first(reply)))
    n_known = m.count(frame & (m.row <= known[m.flow])).sum(axis=1)
    cases = [
        Case(
            (framed | tcp) & (packets.min(axis=1) >= PACKETS_LEAST),
            PACKETS,
            begun,
            *m.enough(packet, PACKETS_LEAST),
        ),
        Case(echoed, ECHOED, begun, known, n_known),
        Case(several & (n.min(axis=1) >= FRAMES_LEAST), FRAMES, begun, last, n.sum(axis=1)),
    ]
    return report(batch, DETECTOR.name, cases)


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows that begin with the server's greeting, or with a frame or echo of each side."""
    tcp = heads.has_proto(TCP)
    greeting = heads.starts_with(BANNER) & tcp
    frames: Mask = np.ones(heads.size, np.bool_)
    for head, kept in ((heads.orig, heads.orig_kept), (heads.resp, heads.resp_kept)):
        # Of a frame's length the upper four bits are zero, of an echo's number all but those
        rows = np.flatnonzero(frames & ((head[:, 0] <= FRAME_MOST >> 8) | (head[:, 1] == 0)))
        head, kept = head[rows], kept[rows]
        first = head[:, 0].astype(np.int64) << 8 | head[:, 1]
        framed = (first <= FRAME_MOST) & (first >= FRAME_LEAST) & (kept >= LENGTH_BYTES + HEAD)
        framed &= tcp[rows] | (first >= kept - LENGTH_BYTES)
        if framed.any():
            packet = (head[:, 2] == 0x45) | (head[:, 2] >> 4 == 6)
            framed &= packet | look_random(head, kept, 2, 18)
        framed |= ((first == ECHO_REQUEST) | (first == ECHO_REPLY)) & (kept >= LENGTH_BYTES)
        frames[:] = False
        frames[rows] = framed
    return greeting | frames


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find VTun among the TCP and UDP flows of a batch."""
    found = {e.flow: e for judge in (_judge_frames, _judge) for e in scan(batch, judge)}
    return [found[flow] for flow in sorted(found)]


DETECTOR = Detector("vtun", _FAMILY, (TCP, UDP), BLOCK_BYTES, detect, select)
