"""Kernels: one captured packet -> one row of the packet table.

How this works: ``dissect`` finds the IP header below the link layer (``find_ip``), reads IP and
transport (``read_ip``), and with ``decapsulate`` goes on into what the packet carries
(``find_inner``). ``start, stop`` bound what was captured; ``wire_stop`` is where the packet ended
on the wire. No byte at or beyond ``stop`` is ever read, and no length from the wire is used before
it was compared with the bytes that are left.
"""

import numpy as np

from classifier._jit import inline
from classifier.tables import NO_WRAPPING

# Link types, https://www.tcpdump.org/linktypes.html
NULL, ETHERNET, PPP, PPP_HDLC, PPP_ETHER = 0, 1, 9, 50, 51
RAW, RAW_BSD, RAW_OPENBSD, IPV4, IPV6 = 101, 12, 14, 228, 229
CISCO_HDLC, LOOP, LINUX_SLL, PPI, LINUX_SLL2 = 104, 108, 113, 192, 276

# EtherTypes, IANA "IEEE 802 Numbers"
ET_IPV4, ET_ARP, ET_IPV6, ET_RARP = 0x0800, 0x0806, 0x86DD, 0x8035
ET_VLAN, ET_QINQ, ET_QINQ_OLD, ET_QINQ_OLD2 = 0x8100, 0x88A8, 0x9100, 0x9200
ET_MPLS, ET_MPLS_UP, ET_PPPOE_DISCOVERY, ET_PPPOE = 0x8847, 0x8848, 0x8863, 0x8864
ET_EAPOL, ET_LLDP, ET_TEB, ET_PPP_GRE, ET_ERSPAN = 0x888E, 0x88CC, 0x6558, 0x880B, 0x88BE
MOST_IP_BYTES = 0xFFFFFFFF  # that the row can hold; a jumbogram can claim 40 more
ET_LEAST = 0x0600  # below: an IEEE 802.3 length
MOST_TAGS, MOST_LABELS, MOST_EXTENSIONS, MOST_LAYERS = 8, 16, 16, 4

# IP protocols
P_ICMP, P_IPIP, P_TCP, P_UDP, P_DCCP, P_IPV6, P_GRE = 1, 4, 6, 17, 33, 41, 47
P_ICMP6, P_NONE, P_ETHERIP, P_SCTP, P_UDPLITE = 58, 59, 97, 132, 136

# Rows of Reason (an IntEnum is no constant for numba)
ARP, LLC, PPP_CONTROL, MPLS, LLDP, EAPOL, OTHER, UNSUPPORTED = 1, 2, 3, 4, 5, 6, 7, 8
BAD_VERSION, BAD_HEADER, BAD_EXTENSION, BAD_TRANSPORT = 11, 12, 13, 14
CUT_LINK, CUT_NETWORK, CUT_TRANSPORT = 15, 16, 17

# Rows of tables.ENCAPSULATIONS
E_GRE, E_IPIP, E_6IN4, E_4IN6, E_VXLAN, E_GENEVE, E_GTPU, E_TEREDO, E_L2TP = (
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
)
E_ERSPAN, E_PPTP, E_ETHERIP = 11, 13, 14

_NONE = np.uint64(NO_WRAPPING)


@inline
def byte(buf, i):
    """Read one byte. Indexes are unsigned, as a signed one is first looked at for its sign."""
    return np.int64(buf[np.uint64(i)])


@inline
def be16(buf, i):
    return (byte(buf, i) << 8) | byte(buf, i + 1)


@inline
def be32(buf, i):
    return (
        (byte(buf, i) << 24) | (byte(buf, i + 1) << 16) | (byte(buf, i + 2) << 8) | byte(buf, i + 3)
    )


@inline
def be64(buf, i):
    return (np.uint64(be32(buf, i)) << np.uint64(32)) | np.uint64(be32(buf, i + 4))


@inline
def push_vlan(wrapping, vlan):
    """Put a VLAN id into the outermost free of four places; a fifth is not kept."""
    for place in range(4):
        shift = np.uint64(12 * place)
        if (wrapping >> shift) & np.uint64(0xFFF) == np.uint64(0xFFF):
            hole = np.uint64(0xFFF) << shift
            return (wrapping & ~hole) | (np.uint64(vlan & 0xFFF) << shift)
    return wrapping


@inline
def push_encapsulation(wrapping, code):
    """Put an encapsulation code into the outermost free of four places."""
    for place in range(4):
        shift = np.uint64(48 + 4 * place)
        if (wrapping >> shift) & np.uint64(0xF) == np.uint64(0):
            return wrapping | (np.uint64(code) << shift)
    return wrapping


@inline
def after_mpls(buf, at, stop):
    """Pass a stack of labels: (IP version or -reason, offset of the IP header)."""
    for _ in range(MOST_LABELS):  # RFC 3032 section 2.1: bottom of stack is bit 8
        if at + 4 > stop:
            return -CUT_LINK, at
        at += 4
        if byte(buf, at - 2) & 1:
            break
    if at >= stop:
        return -CUT_LINK, at
    version = byte(buf, at) >> 4
    return version if version == 4 or version == 6 else -MPLS, at


@inline
def after_ppp(buf, at, stop):
    """Read a PPP protocol field, RFC 1661 section 2: (IP version or -reason, offset after it)."""
    if at + 2 > stop:
        return -CUT_LINK, at
    if (
        byte(buf, at) == 0xFF and byte(buf, at + 1) == 0x03
    ):  # address and control, RFC 1662 section 3.1
        at += 2
    if at + 2 > stop:
        return -CUT_LINK, at
    protocol = byte(buf, at)
    if protocol & 1:  # compressed to one byte
        at += 1
    else:
        protocol = be16(buf, at)
        at += 2
    if protocol == 0x0021:
        return 4, at
    if protocol == 0x0057:
        return 6, at
    if protocol == 0x0281 or protocol == 0x0283:  # RFC 3032 section 4.3
        return after_mpls(buf, at, stop)
    return -PPP_CONTROL, at


@inline
def after_ethertype(buf, at, stop, ethertype, wrapping):
    """Follow tags, labels and PPPoE: (IP version or -reason, offset of the IP header, wrapping)."""
    for _ in range(MOST_TAGS):
        if not (
            ethertype == ET_VLAN
            or ethertype == ET_QINQ
            or ethertype == ET_QINQ_OLD
            or ethertype == ET_QINQ_OLD2
        ):
            break
        if at + 4 > stop:
            return -CUT_LINK, at, wrapping
        wrapping = push_vlan(wrapping, be16(buf, at))
        ethertype = be16(buf, at + 2)
        at += 4
    if ethertype < ET_LEAST:
        # SNAP, IEEE 802: AA AA 03, OUI 00 00 00, EtherType
        if (
            at + 8 > stop
            or byte(buf, at) != 0xAA
            or byte(buf, at + 1) != 0xAA
            or byte(buf, at + 2) != 3
        ):
            return -LLC, at, wrapping
        if byte(buf, at + 3) != 0 or byte(buf, at + 4) != 0 or byte(buf, at + 5) != 0:
            return -LLC, at, wrapping
        ethertype = be16(buf, at + 6)
        at += 8
    if ethertype == ET_IPV4:
        return 4, at, wrapping
    if ethertype == ET_IPV6:
        return 6, at, wrapping
    if ethertype == ET_ARP or ethertype == ET_RARP:
        return -ARP, at, wrapping
    if ethertype == ET_MPLS or ethertype == ET_MPLS_UP:
        version, at = after_mpls(buf, at, stop)
        return version, at, wrapping
    if ethertype == ET_PPPOE:
        version, at = after_ppp(buf, at + 6, stop)  # RFC 2516 section 4: six bytes of header
        return version, at, wrapping
    if ethertype == ET_PPPOE_DISCOVERY:
        return -PPP_CONTROL, at, wrapping
    if ethertype == ET_LLDP:
        return -LLDP, at, wrapping
    if ethertype == ET_EAPOL:
        return -EAPOL, at, wrapping
    return -OTHER, at, wrapping


@inline
def find_ip(buf, start, stop, link, wrapping):
    """Find the IP header: (IP version or -reason, its offset, wrapping)."""
    if link == PPI:  # version, flags, header length and inner link type, both little-endian
        if start + 8 > stop:
            return -CUT_LINK, start, wrapping
        link = byte(buf, start + 4) | byte(buf, start + 5) << 8
        start += byte(buf, start + 2) | byte(buf, start + 3) << 8
    if link == ETHERNET:
        if start + 14 > stop:
            return -CUT_LINK, start, wrapping
        return after_ethertype(buf, start + 14, stop, be16(buf, start + 12), wrapping)
    if link == RAW or link == RAW_BSD or link == RAW_OPENBSD or link == IPV4 or link == IPV6:
        if start >= stop:
            return -CUT_NETWORK, start, wrapping
        version = byte(buf, start) >> 4
        return version if version == 4 or version == 6 else -BAD_VERSION, start, wrapping
    if link == LINUX_SLL or link == LINUX_SLL2:
        size = 16 if link == LINUX_SLL else 20
        if start + size > stop:
            return -CUT_LINK, start, wrapping
        ethertype = be16(buf, start + 14 if link == LINUX_SLL else start)
        return after_ethertype(buf, start + size, stop, ethertype, wrapping)
    if link == NULL or link == LOOP:
        if start + 4 > stop:
            return -CUT_LINK, start, wrapping
        family = be32(buf, start)
        if family > 0xFFFF:  # the other byte order
            family = (
                family >> 24 | family >> 8 & 0xFF00 | (family & 0xFF00) << 8 | (family & 255) << 24
            )
        if family == 2:
            return 4, start + 4, wrapping
        if family == 10 or family == 24 or family == 28 or family == 30:  # Linux and the BSDs
            return 6, start + 4, wrapping
        return -OTHER, start, wrapping
    if link == PPP or link == PPP_HDLC:
        version, at = after_ppp(buf, start, stop)
        return version, at, wrapping
    if link == PPP_ETHER:
        version, at = after_ppp(buf, start + 6, stop)
        return version, at, wrapping
    if link == CISCO_HDLC:
        if start + 4 > stop:
            return -CUT_LINK, start, wrapping
        return after_ethertype(buf, start + 4, stop, be16(buf, start + 2), wrapping)
    return -UNSUPPORTED, start, wrapping


@inline
def piece(start, size, at, more):
    """Pack where a fragment's bytes begin, how many there are, where they belong, if more follow.

    16 bits of size, 13 of offset in units of 8 bytes, 1 of *more*; the rest is the start.
    """
    return start << 30 | min(size, 0xFFFF) << 14 | at << 1 | more


@inline
def read_transport(buf, at, stop, wire_stop, p):
    """Read the transport header at ``at`` into the row; return 0 or the reason."""
    proto = p.proto
    has_ports = (
        proto == P_TCP or proto == P_UDP or proto == P_SCTP or proto == P_DCCP or proto == P_UDPLITE
    )
    header = 0
    if has_ports:
        if wire_stop - at < 4:
            return BAD_TRANSPORT
        if stop - at < 4:
            return CUT_TRANSPORT
        p.src_port = be16(buf, at)
        p.dst_port = be16(buf, at + 2)
        if proto == P_TCP:
            header = 20
            if stop - at >= 14:
                p.seq = be32(buf, at + 4)
                p.tcp_flags = byte(buf, at + 13)
                if (byte(buf, at + 12) >> 4) > 5:
                    header = (byte(buf, at + 12) >> 4) * 4
            if stop - at >= 18:
                p.checksum = be16(buf, at + 16)
        elif proto == P_UDP or proto == P_UDPLITE:
            header = 8
            if stop - at >= 8:
                length = be16(buf, at + 4)
                # 0 is a jumbogram (RFC 2675 section 4); UDP-Lite has its coverage there
                if proto == P_UDP and length >= 8 and at + length < wire_stop:
                    wire_stop = at + length
                p.checksum = be16(buf, at + 6)
        else:
            header = 12
    elif proto == P_ICMP or proto == P_ICMP6:
        header = 8
        if stop - at >= 2:
            p.icmp = be16(buf, at)
    payload = min(at + header, wire_stop)
    p.payload_bytes = wire_stop - payload
    p.payload_start = min(payload, stop)
    p.payload_stop = min(wire_stop, stop)
    return 0


@inline
def read_ipv4(buf, at, stop, wire_stop, p):
    """Read an IPv4 header (RFC 791) and what follows into the row; return 0 or the reason."""
    if stop - at < 20:
        return CUT_NETWORK if wire_stop - at >= 20 else BAD_HEADER
    if byte(buf, at) >> 4 != 4:
        return BAD_VERSION
    header = (byte(buf, at) & 15) * 4
    total = be16(buf, at + 2)
    if total == 0:  # segmentation offload: the capture point saw it before the length was set
        total = wire_stop - at
    if header < 20 or total < header:
        return BAD_HEADER
    p.ip_version = 4
    p.ip_bytes = total
    p.fragment_id = be16(buf, at + 4)
    p.proto = byte(buf, at + 9)
    p.src_hi, p.src_lo = 0, be32(buf, at + 12)
    p.dst_hi, p.dst_lo = 0, be32(buf, at + 16)
    fragment = be16(buf, at + 6)
    wire_stop = at + total
    stop = min(stop, wire_stop)
    p.truncated = 1 if stop < wire_stop else 0
    if at + header > stop:
        return CUT_NETWORK
    if fragment & 0x1FFF:
        p.fragment = 2
        p.payload_start, p.payload_stop = at + header, stop
        p.payload_bytes = total - header
        p.flow_id = piece(at + header, total - header, fragment & 0x1FFF, fragment >> 13 & 1)
        return 0
    if fragment & 0x2000:
        p.fragment = 1
    reason = read_transport(buf, at + header, stop, wire_stop, p)
    if fragment & 0x2000 and reason == 0:
        p.flow_id = piece(at + header, total - header, np.int64(0), np.int64(1))
    return reason


@inline
def jumbo_length(buf, at, stop):
    """Return the jumbo payload option of a hop-by-hop header (RFC 2675 section 2), or 0."""
    end = min(at + (byte(buf, at + 1) + 1) * 8, stop)
    at += 2
    while at + 6 <= end:
        if byte(buf, at) == 0xC2 and byte(buf, at + 1) == 4:
            return be32(buf, at + 2)
        at += 1 if byte(buf, at) == 0 else 2 + byte(buf, at + 1)
    return 0


@inline
def read_ipv6(buf, at, stop, wire_stop, p):
    """Read IPv6 (RFC 8200) with extension headers into the row; return 0 or the reason."""
    if stop - at < 40:
        return CUT_NETWORK if wire_stop - at >= 40 else BAD_HEADER
    if byte(buf, at) >> 4 != 6:
        return BAD_VERSION
    total = 40 + be16(buf, at + 4)
    following = byte(buf, at + 6)
    if total == 40 and following != P_NONE:
        jumbo = jumbo_length(buf, at + 40, stop) if following == 0 and stop - at >= 48 else 0
        total = min(40 + jumbo, MOST_IP_BYTES) if jumbo > 0 else max(wire_stop - at, 40)
    p.ip_version = 6
    p.ip_bytes = total
    p.src_hi, p.src_lo = be64(buf, at + 8), be64(buf, at + 16)
    p.dst_hi, p.dst_lo = be64(buf, at + 24), be64(buf, at + 32)
    wire_stop = at + total
    stop = min(stop, wire_stop)
    p.truncated = 1 if stop < wire_stop else 0
    at += 40
    fragmented = offset = np.int64(0)  # where the fragment's own bytes begin, and its offset field
    for _ in range(MOST_EXTENSIONS):
        is_fragment = following == 44
        # hop-by-hop, routing, destination options, mobility, HIP, Shim6
        if not (
            is_fragment
            or following == 0
            or following == 43
            or following == 60
            or following == 135
            or following == 139
            or following == 140
        ):
            break
        if at + 8 > stop:
            return CUT_NETWORK if at + 8 <= wire_stop else BAD_EXTENSION
        size = 8 if is_fragment else (byte(buf, at + 1) + 1) * 8
        if at + size > wire_stop:
            return BAD_EXTENSION
        following = byte(buf, at)
        if is_fragment:
            p.fragment_id = be32(buf, at + 4)
            offset = be16(buf, at + 2)
            p.fragment = 2 if offset & 0xFFF8 else offset & 1
        at += size
        if at > stop:
            return CUT_NETWORK
        if is_fragment:
            fragmented = at
            if p.fragment == 2:
                break
    p.proto = following
    if p.fragment == 2:
        p.payload_start, p.payload_stop, p.payload_bytes = at, stop, wire_stop - at
        p.flow_id = piece(at, wire_stop - at, offset >> 3, offset & 1)
        return 0
    reason = read_transport(buf, at, stop, wire_stop, p)
    if p.fragment == 1 and reason == 0:
        p.flow_id = piece(fragmented, wire_stop - fragmented, np.int64(0), np.int64(1))
    return reason


@inline
def after_gre(buf, at, stop):
    """Read a GRE header (RFC 2784, 2890; version 1: RFC 2637): (EtherType or 0, offset, code)."""
    if at + 4 > stop:
        return 0, at, 0
    flags, ethertype = be16(buf, at), be16(buf, at + 2)
    version = flags & 7
    size = 4
    if version == 1:
        size = 8 + (4 if flags & 0x1000 else 0) + (4 if flags & 0x0080 else 0)
        return (ethertype if ethertype == ET_PPP_GRE else 0), at + size, E_PPTP
    if version != 0 or flags & 0x4000:  # source routing is long gone
        return 0, at, 0
    size += (4 if flags & 0x8000 else 0) + (4 if flags & 0x2000 else 0)
    size += 4 if flags & 0x1000 else 0
    if ethertype == ET_ERSPAN:
        # type II has an 8-byte header and a sequence number, type I has neither
        return ET_TEB, at + size + (8 if flags & 0x1000 else 0), E_ERSPAN
    return ethertype, at + size, E_GRE


@inline
def find_inner(buf, p, wrapping):
    """Find the packet inside the row's payload: (IP version or 0, offset, wrapping).

    UDP encapsulations are opened on their assigned ports only, and when their header fits.
    """
    at, stop = np.int64(p.payload_start), np.int64(p.payload_stop)
    if p.fragment != 0 or at >= stop:
        return 0, at, wrapping
    if p.proto == P_IPIP:
        code = E_IPIP if p.ip_version == 4 else E_4IN6
        return 4, at, push_encapsulation(wrapping, code)
    if p.proto == P_IPV6:
        return 6, at, push_encapsulation(wrapping, E_6IN4)
    ethernet = False
    code = 0
    if p.proto == P_ETHERIP and at + 2 <= stop and byte(buf, at) >> 4 == 3:  # RFC 3378
        at, code, ethernet = at + 2, E_ETHERIP, True
    elif p.proto == P_GRE:
        ethertype, at, code = after_gre(buf, at, stop)
        if ethertype == 0:
            return 0, at, wrapping
        if ethertype == ET_PPP_GRE:
            version, at = after_ppp(buf, at, stop)
            return max(version, 0), at, push_encapsulation(wrapping, code)
        ethernet = ethertype == ET_TEB
        if not ethernet:
            version, at, wrapping = after_ethertype(
                buf, at, stop, ethertype, push_encapsulation(wrapping, code)
            )
            return max(version, 0), at, wrapping
    elif p.proto == P_UDP and at + 8 <= stop:
        if p.dst_port == 4789 and byte(buf, at) == 0x08:  # VXLAN, RFC 7348 section 5
            at, code, ethernet = at + 8, E_VXLAN, True
        elif p.dst_port == 6081 and byte(buf, at) >> 6 == 0:  # GENEVE, RFC 8926 section 3.4
            ethertype = be16(buf, at + 2)
            at, code = at + 8 + (byte(buf, at) & 63) * 4, E_GENEVE
            ethernet = ethertype == ET_TEB
            if not ethernet:
                version, at, wrapping = after_ethertype(
                    buf, at, stop, ethertype, push_encapsulation(wrapping, code)
                )
                return max(version, 0), at, wrapping
        elif (p.dst_port == 2152 or p.src_port == 2152) and byte(buf, at + 1) == 0xFF:
            flags = byte(buf, at)  # GTP-U, 3GPP TS 29.281 section 5.1
            if flags >> 4 == 3:
                at += 8
                if flags & 7:
                    at += 4
                    while (
                        at - 1 < stop and flags & 4 and byte(buf, at - 1) != 0
                    ):  # extension headers
                        if at >= stop or byte(buf, at) == 0:
                            return 0, at, wrapping
                        at += byte(buf, at) * 4
                if at < stop:
                    version = byte(buf, at) >> 4
                    if version == 4 or version == 6:
                        return version, at, push_encapsulation(wrapping, E_GTPU)
            return 0, at, wrapping
        elif p.dst_port == 3544 or p.src_port == 3544:  # Teredo, RFC 4380 section 5.1.1
            if byte(buf, at) == 0 and byte(buf, at + 1) == 1 and at + 4 <= stop:
                at += 13 + byte(buf, at + 2) + byte(buf, at + 3)
            if at + 8 <= stop and byte(buf, at) == 0 and byte(buf, at + 1) == 0:
                at += 8
            if at < stop and byte(buf, at) >> 4 == 6:
                return 6, at, push_encapsulation(wrapping, E_TEREDO)
            return 0, at, wrapping
        elif p.dst_port == 1701 and byte(buf, at) & 0x80 == 0 and byte(buf, at + 1) & 15 == 2:
            flags = be16(buf, at)  # L2TP data message, RFC 2661 section 3.1
            at += 6 + (2 if flags & 0x4000 else 0) + (4 if flags & 0x0800 else 0)
            if flags & 0x0200:
                if at + 2 > stop:
                    return 0, at, wrapping
                at += 2 + be16(buf, at)
            version, at = after_ppp(buf, at, stop)
            return max(version, 0), at, push_encapsulation(wrapping, E_L2TP)
    if ethernet and at + 14 <= stop:
        version, at, wrapping = find_ip(
            buf, at, stop, np.int64(ETHERNET), push_encapsulation(wrapping, code)
        )
        return max(version, 0), at, wrapping
    return 0, at, wrapping


@inline
def clear(p):
    """Set to zero what the network and transport layers write."""
    p.src_hi = p.src_lo = p.dst_hi = p.dst_lo = 0
    p.ip_bytes = p.payload_start = p.payload_stop = p.payload_bytes = 0
    p.seq = p.fragment_id = 0
    p.src_port = p.dst_port = p.checksum = p.icmp = 0
    p.proto = p.ip_version = p.tcp_flags = p.fragment = p.truncated = 0


@inline
def open_layers(buf, packets, row):
    """Replace ``packets[row]`` by what it carries; ``packets[-1]`` is scratch."""
    p = packets[np.uint64(row)]
    for _ in range(MOST_LAYERS):
        version, at, wrapping = find_inner(buf, p, p.wrapping)
        if version == 0:
            return
        inner_stop = np.int64(p.payload_stop)
        inner_wire_stop = np.int64(p.payload_start) + np.int64(p.payload_bytes)
        packets[packets.size - 1] = packets[row]  # the outer packet, should the inner be no good
        clear(p)
        if version == 4:
            reason = read_ipv4(buf, at, inner_stop, inner_wire_stop, p)
        else:
            reason = read_ipv6(buf, at, inner_stop, inner_wire_stop, p)
        if reason != 0:
            packets[row] = packets[packets.size - 1]
            return
        p.wrapping = wrapping


@inline
def dissect(buf, start, stop, wire_bytes, link, decapsulate, packets, row):
    """Read one captured packet into ``packets[row]``; ``packets[-1]`` is scratch."""
    p = packets[np.uint64(row)]
    clear(p)
    version, at, wrapping = find_ip(buf, start, stop, link, _NONE)
    p.wrapping = wrapping
    if version < 0:
        p.reason = -version
        return
    wire_stop = start + max(wire_bytes, stop - start)
    if version == 4:
        p.reason = read_ipv4(buf, at, stop, wire_stop, p)
    else:
        p.reason = read_ipv6(buf, at, stop, wire_stop, p)
    if decapsulate and p.reason == 0:
        open_layers(buf, packets, row)
