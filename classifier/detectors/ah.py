"""AH: IP protocol 51, whose header states its own length and repeats an index.

Numbers are big-endian::

    0    1   next header 4 and 41 in tunnels, any protocol in transport mode
    1    1   length      of the header in words of 4 bytes, less 2
    2    2   reserved    zero
    4    4   SPI         1-255 reserved, 0 never on the wire
    8    4   sequence    from 1, rises with each packet of an SPI
    12   n   integrity check value, 4 bytes and more

Sources
-------
RFC 4302 section 2. Routing protocols that it protects: RFC 4552 (OSPFv3), RFC 5796 (PIM), RFC 2338
(VRRP); their numbers are of IANA's register of protocols.

Strength
--------
Proof: two packets of an SPI of 256 or more with a rising sequence, or valid headers from both
sides. Strong: one valid header. Headers before messages of OSPF, PIM or VRRP do not count: they
are of neighbours on one link, who tunnel nothing.

Mistaken for
------------
Nothing known: the IP protocol number says the same.

Blind to
--------
AH between other extension headers of IPv6, where the flow's protocol is what follows it.
"""

import numpy as np

from classifier._jit import inline, kernel
from classifier.detectors._findings import FIRST, FLOW_ROW, LAST, MEANING, VALUE, Meaning, collect
from classifier.detectors._reading import be16, be32
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR", "probe"]

AH = 51
OSPF, PIM, VRRP = 89, 103, 112
HEADER_BYTES, LENGTH, RESERVED, SPI, SEQUENCE = 12, 1, 2, 4, 8
WORD_BYTES, LENGTH_LEAST, SPI_LEAST = 4, 2, 256

# Kinds of hit
COUNTING, SINGLE, BOTH_WAYS = 1, 2, 3

_MEANINGS = {
    COUNTING: Meaning(
        Strength.PROOF, "AH, two packets of SPI {value:#010x} with rising sequence", "ipsec"
    ),
    BOTH_WAYS: Meaning(Strength.PROOF, "AH packets from both sides", "ipsec"),
    SINGLE: Meaning(Strength.STRONG, "AH packet of SPI {value:#010x}", "ipsec"),
}


@kernel
def probe(buf, start, stop, wire_bytes):
    """Tell whether what follows an IP header of protocol 51 is an AH header.

    Parameters
    ----------
    buf : ndarray of uint8, read
    start, stop : int
        ``0 <= start <= stop <= buf.size``: what was captured after the IP header.
    wire_bytes : int
        Its length on the wire.

    Returns
    -------
    int
        0 not ours, or before a routing protocol, -1 cannot tell, 1 AH.
    """
    if wire_bytes < HEADER_BYTES + WORD_BYTES:
        return 0
    if stop - start < HEADER_BYTES:
        return -1
    length = np.int64(buf[start + LENGTH])
    if length < LENGTH_LEAST or (length + 2) * WORD_BYTES > wire_bytes:
        return 0
    carried = buf[start]
    if carried == OSPF or carried == PIM or carried == VRRP:
        return 0
    if be16(buf, start + RESERVED) != 0 or be32(buf, start + SPI) < SPI_LEAST:
        return 0
    return 1


@inline
def _judge(packets, payload, start, stop, hit):
    """Fill ``hit`` for the packets of one flow; return whether there was anything."""
    for row in range(start, stop):
        p = packets[row]
        if probe(payload, p.start, p.stop, np.int64(p.payload_bytes)) != 1:
            continue
        spi, sequence = be32(payload, p.start + SPI), be32(payload, p.start + SEQUENCE)
        if hit[MEANING] == 0:
            hit[MEANING], hit[VALUE] = SINGLE, spi
            hit[FIRST] = hit[LAST] = row
        for earlier in range(row - 1, start - 1, -1):
            q = packets[earlier]
            if probe(payload, q.start, q.stop, np.int64(q.payload_bytes)) != 1:
                continue
            if q.direction != p.direction:
                hit[MEANING], hit[FIRST], hit[LAST] = BOTH_WAYS, earlier, row
                return True
            if be32(payload, q.start + SPI) == spi and be32(payload, q.start + SEQUENCE) < sequence:
                hit[MEANING], hit[VALUE], hit[FIRST], hit[LAST] = COUNTING, spi, earlier, row
                return True
    return hit[MEANING] != 0


@kernel
def scan(flows, packets, payload, hits):
    """Look at the AH flows of a batch.

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
    for f in range(flows.size):
        flow, hit = flows[f], hits[n_hits]
        if flow.proto == AH:
            hit[:] = 0
            hit[FLOW_ROW] = f
            n_hits += _judge(packets, payload, flow.packets_start, flow.packets_stop, hit)
    return n_hits


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find AH among the AH flows of a batch."""
    return collect(batch, DETECTOR.name, scan, _MEANINGS)


DETECTOR = Detector("ipsec-ah", "ipsec", (AH,), 12, detect)
