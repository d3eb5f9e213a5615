"""IP or Ethernet directly in IP: the protocol number says so, the carried header agrees.

========  ============  =======================================================================
protocol  outer         family
========  ============  =======================================================================
4         IPv4          ``ipip``; in IPv6 ``4in6``
41        IPv4          ``6in4``, or ``6to4`` where a carried address is in 2002::/16
41        IPv6          ``ipip`` (IPv6 in IPv6)
97        either        ``etherip``: 0x30 0x00, then an Ethernet frame
========  ============  =======================================================================

The carried header (offsets from the end of the outer one): IPv4 has version 4 and a header length
of 20 or more at 0, its total length at 2, time to live at 8; IPv6 has version 6 at 0, the payload's
length at 4, hop limit at 7, source and destination at 8 and 24.

Sources
-------
RFC 2003 (IPv4), RFC 2473 (in IPv6), RFC 4213 (IPv6 in IPv4), RFC 3056 (6to4), RFC 3378 (EtherIP).

Strength
--------
Proof: the protocol number and a carried packet or frame whose header is valid and whose length fits
what the outer packet has. Strong: the number alone, where too little was captured to look inside.

Mistaken for
------------
Nothing known: the IP protocol number says the same.

Blind to
--------
What the carried packets are (ask for decapsulation).
"""

import numpy as np

from classifier._jit import inline, kernel
from classifier.detectors._findings import FIRST, FLOW_ROW, LAST, MEANING, Meaning, collect
from classifier.detectors._inner import inner_ethernet, inner_ip
from classifier.detectors._reading import be16
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR", "probe"]

IPIP, IPV6, ETHERIP = 4, 41, 97
IPV6_BYTES, IPV6_SOURCE, IPV6_DESTINATION, SIX_TO_FOUR = 40, 8, 24, 0x2002
ETHERIP_HEADER, ETHERIP_BYTES = 0x3000, 2

# What ``probe`` tells, and kinds of hit: + UNCHECKED where too little was captured
V4, V6, V6_TO_4, FRAME, V4_IN_V6, V6_IN_V6, UNCHECKED = 1, 2, 3, 4, 5, 6, 8

_CARRIED = {
    V4: ("IPv4 in IPv4", "ipip"),
    V6: ("IPv6 in IPv4", "6in4"),
    V6_TO_4: ("IPv6 in IPv4 with an address of 2002::/16", "6to4"),
    FRAME: ("Ethernet in IP", "etherip"),
    V4_IN_V6: ("IPv4 in IPv6", "4in6"),
    V6_IN_V6: ("IPv6 in IPv6", "ipip"),
}
_MEANINGS = {
    kind: Meaning(Strength.PROOF, f"{text}, carried header valid", family)
    for kind, (text, family) in _CARRIED.items()
} | {
    kind + UNCHECKED: Meaning(Strength.STRONG, f"{text}, carried header not captured", family)
    for kind, (text, family) in _CARRIED.items()
}


@kernel
def probe(buf, start, stop, wire_bytes, proto):
    """Tell what follows an IP header of protocol 4, 41 or 97.

    Parameters
    ----------
    buf : ndarray of uint8, read
    start, stop : int
        ``0 <= start <= stop <= buf.size``: what was captured after the outer header.
    wire_bytes : int
        Its length on the wire.
    proto : int
        The IP protocol number.

    Returns
    -------
    int
        0 not ours, -1 cannot tell, 1 IPv4, 2 IPv6, 3 IPv6 by 6to4, 4 Ethernet.
    """
    if proto == ETHERIP:
        if wire_bytes < ETHERIP_BYTES:
            return 0
        if stop - start < ETHERIP_BYTES:
            return -1
        if be16(buf, start) != ETHERIP_HEADER:
            return 0
        at = start + ETHERIP_BYTES
        size = inner_ethernet(buf, at, stop, wire_bytes - ETHERIP_BYTES)
        return FRAME if size > 0 else size
    size = inner_ip(buf, start, stop, wire_bytes)
    if size <= 0:
        return size
    if buf[start] >> 4 == 4:
        return V4 if proto == IPIP else 0
    if proto == IPIP:
        return 0
    if stop - start < IPV6_BYTES:
        return V6
    source, destination = be16(buf, start + IPV6_SOURCE), be16(buf, start + IPV6_DESTINATION)
    return V6_TO_4 if source == SIX_TO_FOUR or destination == SIX_TO_FOUR else V6


@inline
def _judge(packets, payload, flow, hit):
    """Fill ``hit`` for a flow; return whether there was anything."""
    proto = np.int64(flow.proto)
    for row in range(flow.packets_start, flow.packets_stop):
        p = packets[row]
        kind = probe(payload, p.start, p.stop, np.int64(p.payload_bytes), proto)
        if kind == 0 or (kind < 0 and hit[MEANING] != 0):
            continue
        known = kind > 0
        if not known:
            kind = V4 if proto == IPIP else V6 if proto == IPV6 else FRAME
        if flow.ip_version == 6 and proto != ETHERIP:
            kind = V4_IN_V6 if kind == V4 else V6_IN_V6
        hit[MEANING] = kind + (0 if known else UNCHECKED)
        hit[FIRST] = hit[LAST] = row
        if known:
            return True
    return hit[MEANING] != 0


@kernel
def scan(flows, packets, payload, hits):
    """Look at the flows of protocols 4, 41 and 97 of a batch.

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
        if flow.proto == IPIP or flow.proto == IPV6 or flow.proto == ETHERIP:
            hit[:] = 0
            hit[FLOW_ROW] = f
            n_hits += _judge(packets, payload, flow, hit)
    return n_hits


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find IP and Ethernet carried directly in IP."""
    return collect(batch, DETECTOR.name, scan, _MEANINGS)


DETECTOR = Detector("ip-in-ip", "ipip", (IPIP, IPV6, ETHERIP), 58, detect)
