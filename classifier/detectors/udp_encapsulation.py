"""VXLAN, GENEVE, GTP-U and Teredo: UDP with a short header and a valid IP packet behind it.

Numbers are big-endian. VXLAN, then an Ethernet frame::

    0    1   flags       0x08
    1    3   reserved    zero
    4    3   network
    7    1   reserved    zero

with group policy byte 0 is 0x88, byte 1 has 0x48 at most, and a group stands at 2; with generic protocol
extension byte 0 is 0x0c, and byte 3 says what follows: 1 IPv4, 2 IPv6, 3 Ethernet.

GENEVE, then options, then what the type says::

    0    1   version     zero in the upper two bits; options' length in words of 4 bytes
    1    1   flags       0x80 control, 0x40 critical options; other bits zero
    2    2   type        0x6558 Ethernet, 0x0800 or 0x86DD IP
    4    3   network
    7    1   reserved    zero

GTP-U, then an IP packet that ends where the datagram does::

    0    1   flags       0x30; 0x04, 0x02, 0x01: four bytes more follow the header
    1    1   type        255, a carried packet; 1 and 2, echoes, are passed over
    2    2   length      of what follows the first 8 bytes
    4    4   tunnel
    8    4   sequence, N-PDU, type of the next extension header, which has its length in words of 4
             bytes first and the next one's type last

Teredo, an IPv6 packet that ends where the datagram does, before it perhaps::

    0    2   0x0001      authentication: lengths of identifier and value at 2 and 3, 13 bytes + both
    0    2   0x0000      origin: 8 bytes in all

Sources
-------
RFC 7348 section 5 (VXLAN), draft-smith-vxlan-group-policy-05 section 2.1, draft-ietf-nvo3-vxlan-gpe-13
sections 3.1 and 3.2 (its extensions), RFC 8926 section 3.4 (GENEVE), 3GPP TS 29.281 section 5 (GTP-U), RFC
4380 sections 2.6 and 5.1.1 (Teredo).

Strength
--------
Strong: the first payload of the flow has the header, zeros included, and an IP packet or ARP with a
valid header behind it whose length is what the datagram has left (GTP-U and Teredo: exactly). For
Teredo an address in 2001::/32 or, when asking a server, fe80::/64 besides. No port is looked at.

Mistaken for
------------
OpenVPN's data v1 begins with 0x30, as GTP-U; the length and the carried header tell them apart.

Blind to
--------
Carried frames that are neither IP nor ARP (network service headers, MPLS); GTP-U that carries Ethernet, or signals only.
"""

import numpy as np

from classifier._jit import inline, kernel
from classifier.detectors._findings import FIRST, FLOW_ROW, LAST, MEANING, VALUE, Meaning, collect
from classifier.detectors._inner import inner_ethernet, inner_ip
from classifier.detectors._reading import be16, be32
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR", "probe"]

UDP = 17
HEADER_BYTES = 8
VXLAN_FIRST, VXLAN_POLICY, VXLAN_GENERIC = 0x08000000, 0x88, 0x0C
POLICY_BITS = 0x48  # don't learn, applied
NEXT_IPV4, NEXT_IPV6, NEXT_ETHERNET = 1, 2, 3
GENEVE_VERSION, GENEVE_LENGTH, GENEVE_ZERO = 0xC0, 0x3F, 0x3F
ETHERNET, IPV4, IPV6 = 0x6558, 0x0800, 0x86DD
GTP_FIXED, GTP_FLAGS, GTP_OPTIONAL, GTP_EXTENSION = 0xF8, 0x30, 0x07, 0x04
GTP_ECHO_RESPONSE, GTP_PACKET = 2, 255  # echo request is 1
GTP_OPTIONAL_BYTES, GTP_MOST_EXTENSIONS = 4, 8
ORIGIN, AUTHENTICATION, ORIGIN_BYTES, AUTHENTICATION_BYTES = 0, 1, 8, 13
IPV6_BYTES, IPV6_SOURCE, IPV6_DESTINATION = 40, 8, 24
TEREDO_PREFIX, LINK_LOCAL = 0x20010000, 0xFE800000
UNDECIDED_LIMIT = 4  # payloads that cannot be told, before the flow is given up

# What ``probe`` tells, and kinds of hit
VXLAN, GENEVE, GTP_U, TEREDO = 1, 2, 3, 4

_MEANINGS = {
    VXLAN: Meaning(Strength.STRONG, "VXLAN header of network {value} and a valid frame", "vxlan"),
    GENEVE: Meaning(
        Strength.STRONG, "GENEVE header of network {value} and a valid payload", "geneve"
    ),
    GTP_U: Meaning(Strength.STRONG, "GTP-U header of tunnel {value:#010x} and IP in it", "gtp-u"),
    TEREDO: Meaning(Strength.STRONG, "IPv6 packet with a Teredo address", "teredo"),
}


@inline
def _gtp_payload(buf, start, stop):
    """Return where the packet carried by GTP-U begins; -1 where that was not captured."""
    at = start + HEADER_BYTES
    if buf[start] & GTP_OPTIONAL == 0:
        return at
    at += GTP_OPTIONAL_BYTES
    if buf[start] & GTP_EXTENSION == 0:
        return at
    for _ in range(GTP_MOST_EXTENSIONS):
        if at >= stop:
            return np.int64(-1)
        if buf[at - 1] == 0:
            return at
        at += 4 * max(np.int64(buf[at]), 1)
    return np.int64(-1)


@inline
def _vxlan_extended(buf, start, stop, room):
    """Return the bytes behind a VXLAN header with an extension, 0 or -1, see ``_inner``."""
    at = start + HEADER_BYTES
    if buf[start + 7] != 0:
        return np.int64(0)
    if buf[start] == VXLAN_POLICY and buf[start + 1] & ~POLICY_BITS & 0xFF == 0:
        return inner_ethernet(buf, at, stop, room)
    if buf[start] != VXLAN_GENERIC or be16(buf, start + 1) != 0:
        return np.int64(0)
    if buf[start + 3] == NEXT_ETHERNET:
        return inner_ethernet(buf, at, stop, room)
    if buf[start + 3] != NEXT_IPV4 and buf[start + 3] != NEXT_IPV6:
        return np.int64(0)
    if at < stop and (buf[at] >> 4 == 6) != (buf[start + 3] == NEXT_IPV6):
        return np.int64(0)
    size = inner_ip(buf, at, stop, room)
    return size if size <= 0 or size == room else np.int64(0)


@inline
def _teredo(buf, start, stop, wire_bytes):
    """Return 0, -1 or ``TEREDO`` for a UDP payload."""
    at = start
    if be16(buf, at) == AUTHENTICATION:
        at += AUTHENTICATION_BYTES + np.int64(buf[at + 2]) + np.int64(buf[at + 3])
    if at + IPV6_BYTES > start + wire_bytes:
        return 0
    if at + 2 > stop:
        return -1
    if be16(buf, at) == ORIGIN:
        at += ORIGIN_BYTES
    room = wire_bytes - (at - start)
    if at < stop and buf[at] >> 4 != 6:
        return 0
    total = inner_ip(buf, at, stop, room)
    if total < 0:
        return -1
    if total == 0 or total != room:
        return 0
    if stop - at < IPV6_BYTES:
        return -1
    source, destination = be32(buf, at + IPV6_SOURCE), be32(buf, at + IPV6_DESTINATION)
    ours = source == TEREDO_PREFIX or destination == TEREDO_PREFIX or source == LINK_LOCAL
    return TEREDO if ours else 0


@kernel
def probe(buf, start, stop, wire_bytes):
    """Tell which encapsulation a UDP payload is.

    Parameters
    ----------
    buf : ndarray of uint8, read
    start, stop : int
        ``0 <= start <= stop <= buf.size``: what was captured of the payload.
    wire_bytes : int
        Its length on the wire.

    Returns
    -------
    int
        0 not ours, -1 cannot tell, 1 VXLAN, 2 GENEVE, 3 GTP-U, 4 Teredo.
    """
    if wire_bytes < HEADER_BYTES:
        return 0
    if stop - start < HEADER_BYTES:
        return -1
    first = np.int64(buf[start])
    at, room = start + HEADER_BYTES, wire_bytes - HEADER_BYTES
    if be32(buf, start) == VXLAN_FIRST and buf[start + 7] == 0:
        size = inner_ethernet(buf, at, stop, room)
        return VXLAN if size > 0 else size
    size = _vxlan_extended(buf, start, stop, room)
    if size != 0:
        return VXLAN if size > 0 else size
    gtp = first & GTP_FIXED == GTP_FLAGS and be16(buf, start + 2) == room
    if gtp and buf[start + 1] <= GTP_ECHO_RESPONSE:
        return -1
    if gtp and buf[start + 1] == GTP_PACKET:
        at = _gtp_payload(buf, start, stop)
        if at < 0:
            return -1
        room = wire_bytes - (at - start)
        size = inner_ip(buf, at, stop, room)
        return min(size, 0) if size <= 0 else GTP_U if size == room else 0
    kind = be16(buf, start + 2)
    geneve = first & GENEVE_VERSION == 0 and buf[start + 1] & GENEVE_ZERO == 0
    if geneve and buf[start + 7] == 0 and (kind == ETHERNET or kind == IPV4 or kind == IPV6):
        skip = 4 * (first & GENEVE_LENGTH)
        at, room = at + skip, room - skip
        if kind == ETHERNET:
            size = inner_ethernet(buf, at, stop, room)
        else:
            size = inner_ip(buf, at, stop, room)
        return GENEVE if size > 0 else size
    if first >> 4 == 6 or be16(buf, start) <= AUTHENTICATION:
        return _teredo(buf, start, stop, wire_bytes)
    return 0


@kernel
def scan(flows, packets, payload, hits):
    """Look at the UDP flows of a batch.

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
        if flow.proto != UDP:
            continue
        n_undecided = 0
        for row in range(flow.packets_start, flow.packets_stop):
            p = packets[row]
            if p.payload_bytes == 0:
                continue
            kind = probe(payload, p.start, p.stop, np.int64(p.payload_bytes))
            if kind > 0:
                hit[:] = 0
                hit[FLOW_ROW], hit[MEANING] = f, kind
                hit[FIRST] = hit[LAST] = row
                if kind != TEREDO:
                    number = be32(payload, p.start + 4)
                    hit[VALUE] = number if kind == GTP_U else number >> 8
                n_hits += 1
            n_undecided += kind < 0
            if kind >= 0 or n_undecided > UNDECIDED_LIMIT:
                break
    return n_hits


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find encapsulations among the UDP flows of a batch."""
    return collect(batch, DETECTOR.name, scan, _MEANINGS)


DETECTOR = Detector("udp-encapsulation", "", (UDP,), 512, detect)
