"""GRE: IP protocol 47, with the EtherType of what it carries; version 1 is PPTP's data.

Numbers are big-endian. Version 0::

    0    2   flags       0x8000 checksum, 0x2000 key, 0x1000 sequence; other bits zero, version 0
    2    2   type        EtherType of the payload
    then, as the flags say, 4 bytes each: checksum and reserved, key, sequence

Types 0x0800 and 0x86DD carry IP, 0x6558 Ethernet, 0x88BE and 0x22EB mirrored frames (ERSPAN). NVGRE
is type 0x6558 with a key alone, whose upper 24 bits are a network number of 0x1000 or more.

Version 1::

    0    2   flags       0x2000 key, always; 0x1000 sequence, 0x0080 acknowledgement; version 1
    2    2   type        0x880B, PPP
    4    2   length      of the payload
    6    2   call id
         4   sequence, acknowledgement, as the flags say

Sources
-------
RFC 2784 and 2890 (GRE), RFC 2637 section 4.1 (PPTP), RFC 7637 section 3.2 (NVGRE),
draft-foschiano-erspan-03 (ERSPAN).

Strength
--------
Proof: a version 0 header with a valid IP packet or Ethernet frame in it; version 1 headers with
right lengths from both sides. Strong: a valid header whose content cannot be checked, or version 1
from one side. Version 1 is the VPN family ``pptp``, all else bare encapsulation.

Mistaken for
------------
GRE over Ethernet with a key is NVGRE where the key is large: no field tells them apart.

Blind to
--------
GRE as RFC 1701 has it, with routing; what the carried packets are (ask for decapsulation).
"""

import numpy as np

from classifier._jit import inline, kernel
from classifier.detectors._findings import (
    FIRST,
    FLOW_ROW,
    LAST,
    MEANING,
    VALUE,
    Meaning,
    collect,
)
from classifier.detectors._inner import inner_ethernet, inner_ip
from classifier.detectors._reading import be16, be32
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR", "probe"]

GRE = 47
HEADER_BYTES, OPTION_BYTES = 4, 4
CHECKSUM, KEY, SEQUENCE, ACKNOWLEDGEMENT, VERSION = 0x8000, 0x2000, 0x1000, 0x0080, 0x0007
ZERO_BITS = 0x4FF8
PPTP_BITS = KEY | SEQUENCE | ACKNOWLEDGEMENT | VERSION
IPV4, IPV6, ETHERNET, ERSPAN_II, ERSPAN_III, PPP = 0x0800, 0x86DD, 0x6558, 0x88BE, 0x22EB, 0x880B
NVGRE_KEY_LEAST = 0x1000 << 8

# What ``probe`` tells, and kinds of hit: + CHECKED where the content was valid
PLAIN, MIRROR, VIRTUAL, PPTP, PPTP_BOTH, CHECKED = 1, 2, 3, 4, 5, 8

_MEANINGS = {
    PLAIN: Meaning(Strength.STRONG, "GRE header, payload of type {value:#06x}", "gre"),
    PLAIN + CHECKED: Meaning(
        Strength.PROOF, "GRE header and valid payload of type {value:#06x}", "gre"
    ),
    MIRROR: Meaning(Strength.STRONG, "GRE header of type {value:#06x}, ERSPAN", "erspan"),
    VIRTUAL: Meaning(Strength.STRONG, "NVGRE header", "nvgre"),
    VIRTUAL + CHECKED: Meaning(Strength.PROOF, "NVGRE header and valid Ethernet frame", "nvgre"),
    PPTP: Meaning(Strength.STRONG, "GRE version 1 with PPP, from one side", "pptp"),
    PPTP_BOTH: Meaning(Strength.PROOF, "GRE version 1 with PPP, from both sides", "pptp"),
}


@kernel
def probe(buf, start, stop, wire_bytes):
    """Tell which GRE header follows an IP header of protocol 47.

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
        0 not ours, -1 cannot tell, 1 GRE, 2 ERSPAN, 3 NVGRE, 4 PPTP; 8 more where the IP packet or
        Ethernet frame inside is valid.
    """
    if wire_bytes < HEADER_BYTES:
        return 0
    if stop - start < HEADER_BYTES:
        return -1
    flags, ethertype = be16(buf, start), be16(buf, start + 2)
    size = HEADER_BYTES
    for bit in (CHECKSUM, KEY, SEQUENCE):
        size += OPTION_BYTES if flags & bit else 0
    if flags & VERSION == 1:
        size += OPTION_BYTES if flags & ACKNOWLEDGEMENT else 0
        if flags & ~PPTP_BITS != 0 or flags & KEY == 0 or ethertype != PPP or size > wire_bytes:
            return 0
        if stop - start < 6:
            return -1
        return PPTP if be16(buf, start + HEADER_BYTES) <= wire_bytes - size else 0
    if flags & (ZERO_BITS | VERSION) != 0 or size > wire_bytes:
        return 0
    at, room = start + size, wire_bytes - size
    if ethertype == ERSPAN_II or ethertype == ERSPAN_III:
        return MIRROR
    if ethertype == IPV4 or ethertype == IPV6:
        return PLAIN + (CHECKED if inner_ip(buf, at, stop, room) > 0 else 0)
    if ethertype != ETHERNET:
        return PLAIN
    kind = PLAIN
    if flags == KEY and stop >= at and be32(buf, at - OPTION_BYTES) >= NVGRE_KEY_LEAST:
        kind = VIRTUAL
    return kind + (CHECKED if inner_ethernet(buf, at, stop, room) > 0 else 0)


@inline
def _judge(packets, payload, start, stop, hit):
    """Fill ``hit`` for the packets of one flow; return whether there was anything."""
    for row in range(start, stop):
        p = packets[row]
        kind = probe(payload, p.start, p.stop, np.int64(p.payload_bytes))
        if kind <= 0:
            continue
        if hit[MEANING] == 0 or kind > CHECKED:
            hit[MEANING], hit[VALUE] = kind, be16(payload, p.start + 2)
            hit[FIRST] = hit[LAST] = row
        if kind > CHECKED:
            return True
        if hit[MEANING] == PPTP and kind == PPTP and p.direction != packets[hit[FIRST]].direction:
            hit[MEANING], hit[LAST] = PPTP_BOTH, row
            return True
    return hit[MEANING] != 0


@kernel
def scan(flows, packets, payload, hits):
    """Look at the GRE flows of a batch.

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
        if flow.proto == GRE:
            hit[:] = 0
            hit[FLOW_ROW] = f
            n_hits += _judge(packets, payload, flow.packets_start, flow.packets_stop, hit)
    return n_hits


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find GRE and what is built on it among the GRE flows of a batch."""
    return collect(batch, DETECTOR.name, scan, _MEANINGS)


DETECTOR = Detector("gre", "gre", (GRE,), 84, detect)
