"""IKE: a fixed header that holds the message's own length, and a pair of indexes both sides repeat.

Numbers are big-endian. Over UDP, a message may have four zero bytes before it (the non-ESP marker
of NAT traversal, usual on port 4500). Over TCP the stream of the side that opened it begins with
``IKETCP``; each message then has two bytes of length (counting themselves) and the marker.

Header, 28 bytes::

    0    8   initiator SPI   random, never zero
    8    8   responder SPI   zero in the first message
    16   1   next payload    version 1: 1-21, 128-; version 2: 33-54, 128-; 0 where none
    17   1   version         0x10 or 0x20
    18   1   exchange        version 1: 1-6, 32-33; version 2: 34-44
    19   1   flags           version 1: bits 0-2; version 2: bits 3-5
    20   4   message id      zero in the first exchange
    24   4   length          of the whole message = bytes of the datagram without the marker
    28   2   first payload   its next payload and flags, readable unless version 1 encrypts
    30   2   length          of that payload, 4 or more and inside the message

Sources
-------
RFC 2408 section 3.1 and RFC 2409 (version 1), RFC 7296 section 3.1 (version 2), RFC 3947 and 3948
(NAT traversal), RFC 9329 (TCP); IANA "Internet Key Exchange Version 2 (IKEv2) Parameters" and
"Internet Key Exchange (IKE) Attributes": exchange types 38 (RFC 5723), 39-41 (group keys), 43
(RFC 9242) and 44 (RFC 9370) are assigned, whatever other programs say of 38 and above.

Strength
--------
Proof: messages from both sides with the same version and the same non-zero initiator SPI, 64 random
bits; or a TCP stream that begins with ``IKETCP`` and a valid message. Strong: one valid message, in
which version, exchange, flags, length and payload agree (some 50 bits). Weak: ``IKETCP`` alone.

Mistaken for
------------
A scan of port 500 is IKE, though no VPN comes of it: a message without an answer is no proof.

Blind to
--------
Messages cut into IP fragments, whose length differs from the fragment's (IKEv2's own fragments are
seen); Microsoft's AuthIP and other exchange types of private use.
"""

import numpy as np

from classifier._jit import inline, kernel
from classifier.detectors._findings import (
    FIRST,
    FLOW_ROW,
    LAST,
    MEANING,
    STARTS,
    VALUE,
    Meaning,
    collect,
)
from classifier.detectors._reading import be16, be32, be64, row_of
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR", "probe"]

TCP, UDP = 6, 17
HEADER_BYTES, MARKER_BYTES, LENGTH_BYTES, PREFIX_BYTES = 28, 4, 2, 6
RESPONDER_SPI, NEXT_PAYLOAD, VERSION, EXCHANGE, FLAGS = 8, 16, 17, 18, 19
MESSAGE_ID, LENGTH, PAYLOAD_LENGTH = 20, 24, 30
V1, V2 = 0x10, 0x20
V1_FLAGS, V1_ENCRYPTED, V2_FLAGS = 0x07, 0x01, 0x38
V1_EXCHANGE_MOST, V1_QUICK, V1_GROUP, V2_EXCHANGE_LEAST, V2_EXCHANGE_MOST = 6, 32, 33, 34, 44
V1_PAYLOAD_MOST, V2_PAYLOAD_LEAST, V2_PAYLOAD_MOST, PRIVATE_PAYLOADS = 21, 33, 54, 128
IKETCP = b"IKETCP"

# Kinds of hit
BOTH_WAYS, ONE_WAY, TCP_MESSAGE, TCP_PREFIX = 1, 2, 3, 4

_FAMILY = "ipsec"
_MEANINGS = {
    BOTH_WAYS: Meaning(
        Strength.PROOF, "IKEv{value} messages from both sides with the same initiator SPI", _FAMILY
    ),
    ONE_WAY: Meaning(Strength.STRONG, "IKEv{value} message, no answer seen", _FAMILY),
    TCP_MESSAGE: Meaning(
        Strength.PROOF, "stream prefix IKETCP and an IKEv{value} message", _FAMILY
    ),
    TCP_PREFIX: Meaning(Strength.WEAK, "stream prefix IKETCP", _FAMILY),
}


@kernel
def probe(buf, start, stop, wire_bytes):
    """Tell whether a datagram, or what follows a non-ESP marker, is an IKE message.

    Parameters
    ----------
    buf : ndarray of uint8, read
    start, stop : int
        ``0 <= start <= stop <= buf.size``: what was captured of the message.
    wire_bytes : int
        Its length on the wire.

    Returns
    -------
    int
        0 not ours, -1 cannot tell, else 1 or 2, the version.
    """
    if wire_bytes < HEADER_BYTES:
        return 0
    kept = stop - start
    if kept <= FLAGS:
        return -1
    version, exchange = np.int64(buf[start + VERSION]), np.int64(buf[start + EXCHANGE])
    following, flags = np.int64(buf[start + NEXT_PAYLOAD]), np.int64(buf[start + FLAGS])
    if version == V1:
        known = 1 <= exchange <= V1_EXCHANGE_MOST or exchange == V1_QUICK or exchange == V1_GROUP
        fits = following <= V1_PAYLOAD_MOST
    elif version == V2:
        known = V2_EXCHANGE_LEAST <= exchange <= V2_EXCHANGE_MOST
        fits = following == 0 or V2_PAYLOAD_LEAST <= following <= V2_PAYLOAD_MOST
    else:
        return 0
    bad_flags = flags & ~(V1_FLAGS if version == V1 else V2_FLAGS)
    fits = fits or following >= PRIVATE_PAYLOADS
    if not known or not fits or bad_flags != 0 or be64(buf, start) == 0:
        return 0
    if kept < HEADER_BYTES:
        return -1
    if be32(buf, start + LENGTH) != wire_bytes or (following == 0) != (wire_bytes == HEADER_BYTES):
        return 0
    encrypted = version == V1 and flags & V1_ENCRYPTED != 0
    if following != 0 and not encrypted and kept >= PAYLOAD_LENGTH + 2:
        payload_bytes = be16(buf, start + PAYLOAD_LENGTH)
        if payload_bytes < 4 or payload_bytes > wire_bytes - HEADER_BYTES:
            return 0
    return version >> 4


@inline
def _judge(packets, payload, flow, spi, hit):
    """Fill ``hit`` for a flow; return whether there was anything. ``spi`` (2, 3) is scratch.

    TCP is read as UDP is, message by message, after its two bytes of length.
    """
    tcp = flow.proto == TCP
    row, at, direction = flow.packets_start, flow.orig_start, np.int64(0)
    n_payloads = 0
    if tcp:
        if flow.orig_stop - at < PREFIX_BYTES:
            return False
        for k in range(PREFIX_BYTES):
            if payload[at + k] != IKETCP[k]:
                return False
        at += PREFIX_BYTES
        hit[MEANING], hit[STARTS] = TCP_PREFIX, 1
        hit[FIRST] = hit[LAST] = row_of(packets, row, flow.packets_stop, direction, 0)
    while True:
        if tcp:
            if at + LENGTH_BYTES > (flow.orig_stop if direction == 0 else flow.resp_stop):
                if direction == 1:
                    break
                direction, at = np.int64(1), flow.resp_start
                continue
            wire_bytes, start = be16(payload, at) - LENGTH_BYTES, at + LENGTH_BYTES
            head_stop = flow.orig_stop if direction == 0 else flow.resp_stop
            stop = min(start + max(wire_bytes, 0), head_stop)
            at = start + max(wire_bytes, 0)
        else:
            if row == flow.packets_stop:
                break
            p = packets[row]
            row += 1
            wire_bytes, start, stop = np.int64(p.payload_bytes), p.start, p.stop
            direction = np.int64(p.direction)
        n_payloads += wire_bytes > 0
        if wire_bytes > MARKER_BYTES and stop - start >= 4 and be32(payload, start) == 0:
            start, wire_bytes = start + MARKER_BYTES, wire_bytes - MARKER_BYTES
        version = probe(payload, start, stop, wire_bytes)
        if version <= 0:
            continue
        mine = row - 1
        if tcp:
            head = flow.orig_start if direction == 0 else flow.resp_start
            mine = row_of(packets, row, flow.packets_stop, direction, start - head)
        first_message = be64(payload, start + RESPONDER_SPI) == 0
        if n_payloads == 1 and first_message and be32(payload, start + MESSAGE_ID) == 0:
            hit[STARTS] = 1
        if hit[MEANING] == 0 or hit[MEANING] == TCP_PREFIX:
            hit[MEANING], hit[VALUE] = TCP_MESSAGE if tcp else ONE_WAY, version
            hit[FIRST] = hit[LAST] = mine
        other = 1 - direction
        if spi[other, 1] == version and spi[other, 0] == be64(payload, start):
            hit[MEANING], hit[VALUE] = BOTH_WAYS, version
            hit[FIRST], hit[LAST] = min(mine, spi[other, 2]), max(mine, spi[other, 2])
            return True
        if spi[direction, 1] != version or spi[direction, 0] != be64(payload, start):
            spi[direction, 0], spi[direction, 1] = be64(payload, start), version
            spi[direction, 2] = mine
    return hit[MEANING] != 0


@kernel
def scan(flows, packets, payload, hits):
    """Look at the UDP and TCP flows of a batch.

    Parameters
    ----------
    flows, packets, payload : ndarray of FLOW, SERIES, uint8, read
    hits : ndarray of int64, shape (n_flows, 6), written
        See ``_findings``.

    Returns
    -------
    int
        Rows of ``hits`` that were filled.
    """
    n_hits = 0
    spi = np.zeros((2, 3), np.int64)  # per direction: initiator SPI, version, row of its first
    for f in range(flows.size):
        flow, hit = flows[f], hits[n_hits]
        if flow.proto == UDP or flow.proto == TCP:
            hit[:] = 0
            spi[:] = 0
            hit[FLOW_ROW] = f
            n_hits += _judge(packets, payload, flow, spi, hit)
    return n_hits


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find IKE among the UDP and TCP flows of a batch."""
    return collect(batch, DETECTOR.name, scan, _MEANINGS)


DETECTOR = Detector("ike", _FAMILY, (UDP, TCP), 512, detect)
