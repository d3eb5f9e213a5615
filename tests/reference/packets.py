"""One captured packet -> the fields of a packet row, plainly and slowly.

Written from RFC 791, 8200, 2675, 9293, 768, 1661, 1662, 2516, 3032, 2784, 2890, 2637, 7348, 8926,
4380, 2661, 3378, 3GPP TS 29.281, IEEE 802.1Q and the list of link types of tcpdump.org. A ``View``
is what was captured of something, with its size on the wire; every layer makes a smaller one.
"""

from dataclasses import dataclass, field, replace

from classifier.tables import ENCAPSULATIONS
from classifier.wire import Reason

PORTS = {6: 20, 17: 8, 33: 12, 132: 12, 136: 8}  # protocols with ports: bytes of their header
TAGS = (0x8100, 0x88A8, 0x9100, 0x9200)
EXTENSIONS = (0, 43, 44, 60, 135, 139, 140)
RAW_LINKS = (12, 14, 101, 228, 229)


class Refused(Exception):
    def __init__(self, reason: Reason) -> None:
        self.reason = reason


@dataclass(frozen=True)
class View:
    """Captured bytes of something that had ``wire`` bytes."""

    data: bytes
    wire: int

    def __len__(self) -> int:
        return len(self.data)

    def after(self, n: int) -> "View":
        return View(self.data[n:], max(self.wire - n, 0))

    def first(self, n: int) -> "View":
        """What was captured of the first n bytes, which may be more than the frame had."""
        return View(self.data[:n], n)

    def number(self, start: int, stop: int) -> int:
        assert stop <= len(self.data)
        return int.from_bytes(self.data[start:stop], "big")


@dataclass(frozen=True)
class Piece:
    """The part of a datagram that a fragment carries."""

    view: View
    offset: int
    more: bool
    following: int  # the protocol that its IP header names

    @property
    def end(self) -> int:
        return self.offset + self.view.wire


@dataclass
class Packet:
    reason: int = 0
    src: int = 0
    dst: int = 0
    ip_version: int = 0
    proto: int = 0
    ip_bytes: int = 0
    src_port: int = 0
    dst_port: int = 0
    payload: bytes = b""
    payload_bytes: int = 0
    seq: int = 0
    tcp_flags: int = 0
    checksum: int = 0
    icmp: int = 0
    fragment: int = 0
    fragment_id: int = 0
    truncated: int = 0
    vlans: list[int] = field(default_factory=list)
    wraps: list[str] = field(default_factory=list)
    piece: Piece | None = None

    @property
    def wrapping(self) -> int:
        """The packed form: four VLAN ids of 12 bits, four encapsulations of 4 bits."""
        vlans = [v for v in self.vlans if v != 0xFFF][:4]
        vlans += [0xFFF] * (4 - len(vlans))
        packed = sum(v << 12 * i for i, v in enumerate(vlans))
        for i, name in enumerate(self.wraps[:4]):
            packed |= ENCAPSULATIONS.index(name) << 48 + 4 * i
        return packed


# --- links: each returns (IP version, what begins with the IP header) ---------------------------


def need(view: View, n: int, reason: Reason = Reason.TRUNCATED_LINK) -> None:
    if len(view) < n:
        raise Refused(reason)


def by_link(view: View, link: int, vlans: list[int]) -> tuple[int, View]:
    if link == 192:
        need(view, 8)
        size = int.from_bytes(view.data[2:4], "little")
        inner = int.from_bytes(view.data[4:8], "little") % 2**16
        if inner == 192:
            raise Refused(Reason.UNSUPPORTED_LINK)
        return by_link(view.after(size), inner, vlans)
    if link in RAW_LINKS:
        need(view, 1, Reason.TRUNCATED_NETWORK)
        return by_nibble(view, Reason.MALFORMED_IP_VERSION)
    if link in (0, 108):
        need(view, 4)
        families = {int.from_bytes(view.data[:4], "little"), int.from_bytes(view.data[:4], "big")}
        family = min(families)
        if family == 2:
            return 4, view.after(4)
        if family in (10, 24, 28, 30):
            return 6, view.after(4)
        raise Refused(Reason.NON_IP_OTHER)
    if link in (9, 50):
        return by_ppp(view)
    if link == 51:
        return by_ppp(view.after(6))
    at_type, size = {1: (12, 14), 104: (2, 4), 113: (14, 16), 276: (0, 20)}.get(link, (0, 0))
    if size == 0:
        raise Refused(Reason.UNSUPPORTED_LINK)
    need(view, size)
    return by_ethertype(view.after(size), view.number(at_type, at_type + 2), vlans)


def by_nibble(view: View, otherwise: Reason) -> tuple[int, View]:
    version = view.data[0] >> 4
    if version not in (4, 6):
        raise Refused(otherwise)
    return version, view


def by_labels(view: View) -> tuple[int, View]:
    for _ in range(16):
        need(view, 4)
        bottom = view.data[2] % 2
        view = view.after(4)
        if bottom:
            break
    need(view, 1)
    return by_nibble(view, Reason.NON_IP_MPLS)


def by_ppp(view: View) -> tuple[int, View]:
    need(view, 2)
    if view.data[:2] == b"\xff\x03":
        view = view.after(2)
    need(view, 2)
    size = 1 if view.data[0] % 2 else 2
    kind = view.number(0, size)
    if kind in (0x0281, 0x0283):
        return by_labels(view.after(size))
    version = {0x21: 4, 0x57: 6}.get(kind)
    if version is None:
        raise Refused(Reason.NON_IP_PPP)
    return version, view.after(size)


def by_ethertype(view: View, kind: int, vlans: list[int]) -> tuple[int, View]:
    for _ in range(8):
        if kind in TAGS:
            need(view, 4)
            vlans.append(view.number(0, 2) % 4096)
            kind, view = view.number(2, 4), view.after(4)
    if kind < 0x600:
        if len(view) < 8 or view.data[:6] != bytes.fromhex("aaaa03000000"):
            raise Refused(Reason.NON_IP_LLC)
        kind, view = view.number(6, 8), view.after(8)
    if kind in (0x0800, 0x86DD):
        return (4 if kind == 0x0800 else 6), view
    if kind in (0x8847, 0x8848):
        return by_labels(view)
    if kind == 0x8864:
        return by_ppp(view.after(6))
    raise Refused(
        {
            0x0806: Reason.NON_IP_ARP,
            0x8035: Reason.NON_IP_ARP,
            0x8863: Reason.NON_IP_PPP,
            0x88CC: Reason.NON_IP_LLDP,
            0x888E: Reason.NON_IP_EAPOL,
        }.get(kind, Reason.NON_IP_OTHER)
    )


# --- network and transport ----------------------------------------------------------------------


def by_ipv4(view: View, p: Packet) -> View:
    if len(view) < 20:
        raise Refused(Reason.TRUNCATED_NETWORK if view.wire >= 20 else Reason.MALFORMED_IP_HEADER)
    if view.data[0] >> 4 != 4:
        raise Refused(Reason.MALFORMED_IP_VERSION)
    header = view.data[0] % 16 * 4
    total = view.number(2, 4) or view.wire
    if header < 20 or total < header:
        raise Refused(Reason.MALFORMED_IP_HEADER)
    p.ip_version, p.ip_bytes, p.proto = 4, total, view.data[9]
    p.src, p.dst = view.number(12, 16), view.number(16, 20)
    p.fragment_id = view.number(4, 6)
    offset, more = view.number(6, 8) % 2**13, view.number(6, 8) >> 13 & 1
    p.fragment = 2 if offset else more
    packet = view.first(total)
    p.truncated = int(len(packet) < total)
    need(packet, header, Reason.TRUNCATED_NETWORK)
    if p.fragment:
        p.piece = Piece(packet.after(header), 8 * offset, bool(more), p.proto)
    return packet.after(header)


def jumbo(view: View) -> int:
    """The jumbo payload option of a hop-by-hop header, else 0."""
    if len(view) < 8:
        return 0
    options = view.data[2 : 8 * (view.data[1] + 1)]
    while len(options) >= 6:
        if options[:2] == b"\xc2\x04":
            return int.from_bytes(options[2:6], "big")
        options = options[1:] if options[0] == 0 else options[2 + options[1] :]
    return 0


def by_ipv6(view: View, p: Packet) -> View:
    if len(view) < 40:
        raise Refused(Reason.TRUNCATED_NETWORK if view.wire >= 40 else Reason.MALFORMED_IP_HEADER)
    if view.data[0] >> 4 != 6:
        raise Refused(Reason.MALFORMED_IP_VERSION)
    length, following = view.number(4, 6), view.data[6]
    total = 40 + length
    if length == 0 and following != 59:
        large = jumbo(view.after(40)) if following == 0 else 0
        total = 40 + large if large else max(view.wire, 40)
    p.ip_version, p.ip_bytes = 6, min(total, 2**32 - 1)
    p.src, p.dst = view.number(8, 24), view.number(24, 40)
    packet = view.first(p.ip_bytes)
    p.truncated = int(len(packet) < p.ip_bytes)
    rest = packet.after(40)
    for _ in range(16):
        if following not in EXTENSIONS:
            break
        if len(rest) < 8:
            raise Refused(
                Reason.TRUNCATED_NETWORK if rest.wire >= 8 else Reason.MALFORMED_IPV6_EXTENSION
            )
        size = 8 if following == 44 else 8 * (rest.data[1] + 1)
        if size > rest.wire:
            raise Refused(Reason.MALFORMED_IPV6_EXTENSION)
        if following == 44:
            p.fragment_id = rest.number(4, 8)
            p.fragment = 2 if rest.number(2, 4) >> 3 else rest.data[3] % 2
            place = rest.number(2, 4)
        later = following == 44 and p.fragment == 2
        header = following
        following = rest.data[0]
        need(rest, size, Reason.TRUNCATED_NETWORK)
        rest = rest.after(size)
        if header == 44:
            p.piece = (
                Piece(rest, place & 0xFFF8, bool(place & 1), following) if p.fragment else None
            )
        if later:
            break
    p.proto = following
    return rest


def by_transport(view: View, p: Packet) -> None:
    """Fill in ports, payload and what else the transport header holds."""
    header = PORTS.get(p.proto, 8 if p.proto in (1, 58) else 0)
    if p.fragment == 2:
        header = 0
    elif p.proto in PORTS:
        if view.wire < 4:
            raise Refused(Reason.MALFORMED_TRANSPORT)
        need(view, 4, Reason.TRUNCATED_TRANSPORT)
        p.src_port, p.dst_port = view.number(0, 2), view.number(2, 4)
        if p.proto == 6 and len(view) >= 14:
            p.seq, p.tcp_flags = view.number(4, 8), view.data[13]
            header = max(20, view.data[12] // 16 * 4)
        if p.proto == 6 and len(view) >= 18:
            p.checksum = view.number(16, 18)
        if p.proto in (17, 136) and len(view) >= 8:
            p.checksum = view.number(6, 8)
            length = view.number(4, 6)
            if p.proto == 17 and 8 <= length < view.wire:
                view = view.first(length)
    elif p.proto in (1, 58) and len(view) >= 2:
        p.icmp = view.number(0, 2)
    payload = view.after(header)
    p.payload, p.payload_bytes = payload.data, payload.wire


# --- encapsulation ------------------------------------------------------------------------------


def inner(p: Packet) -> tuple[int, View, str, list[int]] | None:
    """Return (IP version, packet, name, VLAN ids) of what the packet carries, if anything."""
    view = View(p.payload, p.payload_bytes)
    vlans: list[int] = []
    if p.fragment or not p.payload:
        return None
    if p.proto == 4:
        return 4, view, "ipip" if p.ip_version == 4 else "4in6", vlans
    if p.proto == 41:
        return 6, view, "6in4", vlans
    try:
        found = by_wrapper(view, p, vlans)
    except Refused:
        return None
    return (*found, vlans) if found else None


def ethernet(view: View, vlans: list[int]) -> tuple[int, View]:
    return by_link(view, 1, vlans)


def by_wrapper(view: View, p: Packet, vlans: list[int]) -> tuple[int, View, str] | None:
    if p.proto == 97 and len(view) >= 2 and view.data[0] >> 4 == 3:
        return (*ethernet(view.after(2), vlans), "etherip")
    if p.proto == 47:
        return by_gre(view, vlans)
    if p.proto != 17 or len(view) < 8:
        return None
    either = {p.src_port, p.dst_port}
    if p.dst_port == 4789:
        return (*ethernet(view.after(8), vlans), "vxlan") if view.data[0] == 8 else None
    if p.dst_port == 6081:
        if view.data[0] >> 6:
            return None
        body = view.after(8 + view.data[0] % 64 * 4)
        return (*by_gre_type(body, view.number(2, 4), vlans), "geneve")
    if 2152 in either and view.data[1] == 0xFF:
        body_ = gtp_user(view)
        return (*by_nibble(body_, Reason.NON_IP_OTHER), "gtp-u") if body_ else None
    if 3544 in either:
        return teredo(view)
    if p.dst_port == 1701 and view.data[0] < 128 and view.data[1] % 16 == 2:
        return (*by_ppp(l2tp(view)), "l2tp")
    return None


def by_gre_type(view: View, kind: int, vlans: list[int]) -> tuple[int, View]:
    return ethernet(view, vlans) if kind == 0x6558 else by_ethertype(view, kind, vlans)


def by_gre(view: View, vlans: list[int]) -> tuple[int, View, str] | None:
    need(view, 4)
    checksum, routing, key, sequence = (view.data[0] >> bit & 1 for bit in (7, 6, 5, 4))
    version, kind = view.data[1] % 8, view.number(2, 4)
    if version == 1:
        if kind != 0x880B:
            return None
        acknowledged = view.data[1] >> 7
        return (*by_ppp(view.after(8 + 4 * sequence + 4 * acknowledged)), "pptp-gre")
    if version or routing:
        return None
    body = view.after(4 + 4 * (checksum + key + sequence))
    if kind == 0x88BE:
        return (*ethernet(body.after(8 * sequence), vlans), "erspan")
    if kind == 0:
        return None
    return (*by_gre_type(body, kind, vlans), "gre")


def gtp_user(view: View) -> View | None:
    flags = view.data[0]
    if flags >> 4 != 3:
        return None
    rest = view.after(8)
    if flags % 8:
        following = rest.data[3] if len(rest) >= 4 and flags & 4 else 0
        rest = rest.after(4)
        while following:
            if not rest.data or rest.data[0] == 0:
                return None
            size = 4 * rest.data[0]
            following = rest.data[size - 1] if size <= len(rest) else 0
            rest = rest.after(size)
    return rest if rest.data else None


def teredo(view: View) -> tuple[int, View, str] | None:
    if view.data[:2] == b"\x00\x01":
        view = view.after(13 + view.data[2] + view.data[3])
    if view.data[:2] == b"\x00\x00" and len(view) >= 8:
        view = view.after(8)
    return (6, view, "teredo") if view.data and view.data[0] >> 4 == 6 else None


def l2tp(view: View) -> View:
    flags = view.number(0, 2)
    rest = view.after(6 + (2 if flags & 0x4000 else 0) + (4 if flags & 0x0800 else 0))
    if flags & 0x0200:
        need(rest, 2)
        rest = rest.after(2 + rest.number(0, 2))
    return rest


# --- the whole ----------------------------------------------------------------------------------


def by_ip(version: int, view: View) -> Packet:
    p = Packet()
    by_transport(by_ipv4(view, p) if version == 4 else by_ipv6(view, p), p)
    return p


def dissect(data: bytes, wire_bytes: int, link: int, *, decapsulate: bool = False) -> Packet:
    """Read one captured packet; ``reason`` says why where it cannot be read."""
    vlans: list[int] = []
    try:
        version, view = by_link(View(data, max(wire_bytes, len(data))), link, vlans)
        p = by_ip(version, view)
    except Refused as refused:
        return Packet(reason=refused.reason)
    p.vlans = vlans
    return open_all(p) if decapsulate else p


def open_all(p: Packet) -> Packet:
    """Open what a packet carries, and what that carries, four times at most."""
    for _ in range(4):
        found = inner(p)
        if found is None:
            break
        version, view, name, more_vlans = found
        try:
            deeper = by_ip(version, view)
        except Refused:
            break
        p = replace(deeper, vlans=p.vlans + more_vlans, wraps=[*p.wraps, name])
    return p
