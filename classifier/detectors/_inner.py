"""Kernels that check an IP packet or Ethernet frame inside an encapsulation.

Both return the bytes that the carried packet says it has, 0 where it cannot be one, -1 where too
little was captured to tell. ``room`` is how many bytes the carrier had left on the wire.
"""

import numpy as np

from classifier._jit import inline
from classifier.detectors._reading import be16

__all__ = ["inner_ethernet", "inner_ip"]

IPV4_BYTES, IPV6_BYTES, ETHERNET_BYTES, TAG_BYTES, ARP_BYTES = 20, 40, 14, 4, 28
ETHERNET_LEAST = 60  # shorter frames are padded to this
IPV4, ARP, IPV6, VLAN, QINQ = 0x0800, 0x0806, 0x86DD, 0x8100, 0x88A8


@inline
def inner_ip(buf, at, stop, room):
    """Return the total length of the IP packet at ``at`` (RFC 791 3.1, RFC 8200 section 3)."""
    if room < IPV4_BYTES:
        return np.int64(0)
    if stop - at < 8:
        return np.int64(-1)
    version = np.int64(buf[at]) >> 4
    total = be16(buf, at + 2)
    least = (np.int64(buf[at]) & 0x0F) * 4
    if version == 6:
        total = be16(buf, at + 4) + IPV6_BYTES
        least = np.int64(IPV6_BYTES)
        if buf[at + 7] == 0:  # hop limit
            return np.int64(0)
    elif version != 4 or least < IPV4_BYTES or buf[at + 6] & 0x80 != 0:  # reserved flag
        return np.int64(0)
    if total < least or total > room:
        return np.int64(0)
    if version == 4:
        if stop - at < IPV4_BYTES:
            return np.int64(-1)
        if buf[at + 8] == 0 or buf[at + 9] == 0 or be16(buf, at + 12) == 0:
            return np.int64(0)  # time to live; protocol; a source in 0.0.0.0/16
    return total


@inline
def inner_ethernet(buf, at, stop, room):
    """Return the bytes of the Ethernet frame at ``at`` that carries IP or ARP, tags included.

    Other EtherTypes cannot be checked and give -1.
    """
    if room < ETHERNET_BYTES:
        return np.int64(0)
    header = np.int64(ETHERNET_BYTES)
    for _ in range(3):
        if stop - at < header:
            return np.int64(-1)
        ethertype = be16(buf, at + header - 2)
        if ethertype != VLAN and ethertype != QINQ:
            break
        header += TAG_BYTES
    if ethertype == ARP:
        if stop - at < header + 6:
            return np.int64(-1)
        fits = be16(buf, at + header) == 1 and be16(buf, at + header + 2) == IPV4
        fits = fits and be16(buf, at + header + 4) == 0x0604  # address lengths 6 and 4
        return header + ARP_BYTES if fits and room >= header + ARP_BYTES else np.int64(0)
    if ethertype != IPV4 and ethertype != IPV6:
        return np.int64(-1)
    if stop > at + header and (buf[at + header] >> 4 == 4) != (ethertype == IPV4):
        return np.int64(0)
    total = inner_ip(buf, at + header, stop, room - header)
    if total <= 0:
        return total
    # Only padding to the least frame, or a frame check sequence, may follow the packet.
    return total + header if room - 4 <= max(total + header, ETHERNET_LEAST) else np.int64(0)
