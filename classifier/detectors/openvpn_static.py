"""OpenVPN with a static key: no header at all, but sizes leave a MAC, an IV and whole blocks.

There is no handshake, no opcode and no session id. A message, over UDP a datagram, over TCP behind
its length (2 bytes, big-endian)::

    0        H   HMAC          --auth: MD5 16, SHA1 20 (default), SHA224 28, SHA256 32, SHA384 48,
                               SHA512 64 bytes
    H        V   IV            --cipher: AES and its like in CBC 16, Blowfish and its like 8 bytes
    H+V      n   ciphertext    whole blocks of V: packet id (4), time (4), packet, padding (1 to V)

The shortest content is a keepalive of 16 bytes: 24 with packet id and time, padded to 32. So with
blocks of 16 all lengths leave the same rest: 0 (least 64), 4 (SHA1, least 68) or 12 (SHA224, least
76); with blocks of 8 and SHA1 the rest of 4, and 60 bytes at least.

Sources
-------
OpenVPN's documentation of its source: ``crypto.h`` ("Data packets when NOT using TLS or AEAD",
IV and packet id in long form), ``ping.c`` (keepalive of 16 bytes); OpenVPN 2.x manual, ``--secret``,
``--auth``, ``--cipher``.

Strength
--------
Strong: both sides send four messages and more (of the first 32 packets); every one looks random
from its first byte, no byte of the first 16 is the same in all messages of a side, and all lengths
leave one of the rests above, at least four different lengths among them (six with blocks of 8; five
with a rest of 0), and not of blocks twice as long: lengths of chance would do so once in 16**3 flows and less. With SHA1 one of them
must be that of a keepalive or of a bare acknowledgement of TCP. Over TCP each segment
must hold one message whole, its length before it, and two lengths do.

Mistaken for
------------
Another protocol of CBC and HMAC that shows neither version, key id nor counter. tinc 1.0 has no IV
and a MAC of 4 bytes: its acknowledgements of TCP with time stamps (frames of 66 bytes) give 84 bytes
(Blowfish: 76), which only IP packets of 24 to 39 bytes (33 to 39) give here.

Blind to
--------
Flows of a few messages or of messages of few sizes; ciphers in CFB and OFB mode; ``--auth none``;
over TCP, a MAC of 16, 32 and more bytes, and
messages in several segments or several in one.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier.detectors._findings import Meaning, of_rows
from classifier.detectors._headless import (
    LENGTH_BYTES,
    TCP,
    in_blocks,
    may_be_headless,
    read_headless,
)
from classifier.detectors._messages import Case, report, scan
from classifier.detectors.heads import Heads
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR"]

UDP = 17
TCP_SIZES_LEAST = 2
WIDTH = 34


class Layout(NamedTuple):
    """What all lengths of one choice of MAC and cipher share."""

    block: int
    rest: int
    least: int
    sizes: int  # different lengths that must be seen over UDP
    usual: tuple[int, ...] = ()  # keepalive and acknowledgement: one of them must be seen
    tinc: int = 0  # length of an acknowledgement in tinc 1.0, which no packet has here


LAYOUTS = (
    Layout(16, 4, 68, 4, (68, 100), 84),
    Layout(16, 12, 76, 4),
    Layout(16, 0, 64, 5),
    Layout(8, 4, 60, 6, (60, 84, 92), 76),
)

STATIC = Meaning(
    Strength.STRONG,
    "{value} messages without any header, random from the first byte, of whole blocks behind a "
    "MAC and an IV (static key)",
    "openvpn",
)


def _judge_part(batch: FlowBatch, shift: int) -> list[Evidence]:
    read = read_headless(batch, shift)
    if read is None:
        return []
    size, m = read.size, read.messages
    fits = np.zeros(m.n_flows, np.bool_)
    for layout in LAYOUTS:
        wrong = (size % layout.block != layout.rest) | (size < layout.least)
        wrong |= (size == layout.tinc) & (shift == 0)
        several = read.sizes >= (TCP_SIZES_LEAST if shift else layout.sizes)
        if shift and layout.rest == 0:
            continue  # VTun has that length and that rest too
        if layout.usual:
            several &= ~read.none(np.isin(size, layout.usual))
        # Else they are blocks of twice the size: what is padded to 64 bytes, say
        several &= ~read.none((size - layout.rest) % (2 * layout.block) != 0)
        fits |= read.none(wrong) & several
    every = m.wire > 0
    case = Case(read.holds & fits, STATIC, m.first(every), m.last(every), read.n)
    return report(batch, DETECTOR.name, [case])


def _judge(batch: FlowBatch) -> list[Evidence]:
    found = []
    for proto, shift in ((UDP, 0), (TCP, LENGTH_BYTES)):
        rows = np.flatnonzero(batch.flows["proto"] == proto)
        part = FlowBatch(batch.flows[rows], batch.packets, batch.payload)
        found += of_rows(_judge_part(part, shift), rows)
    return sorted(found, key=lambda e: e.flow)


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows of both directions whose messages begin with random bytes, in whole blocks."""
    return in_blocks(heads, may_be_headless(heads), min(layout.block for layout in LAYOUTS))


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find OpenVPN with a static key among the UDP and TCP flows of a batch."""
    return scan(batch, _judge)


DETECTOR = Detector("openvpn-static-key", "openvpn", (UDP, TCP), WIDTH, detect, select)
