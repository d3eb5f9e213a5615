"""Hypothesis strategies: packets, captures and conversations that are mostly right."""

import frames as f
from hypothesis import strategies as st

LINKS = [f.ETHERNET, f.RAW, f.NULL, f.LOOP, f.SLL, f.SLL2, f.PPP, f.PPPOE, f.HDLC]
PORTS = [0, 53, 443, 1194, 51820, 40000, 65535]
V4 = [0x0A000001, 0x0A000002, 0xC0A80101, 0, 0xFFFFFFFF]
V6 = [1, 0x20010DB8 << 96 | 1, 0x20010DB8 << 96 | 2, 2**128 - 1, 0xFE80 << 112]

ports = st.sampled_from(PORTS)
payloads = st.one_of(st.binary(max_size=40), st.integers(0, 1400).map(lambda n: bytes(n)))


@st.composite
def tcp_segments(draw: st.DrawFn) -> bytes:
    return f.tcp(
        draw(ports),
        draw(ports),
        draw(payloads),
        seq=draw(st.integers(0, 2**32 - 1)),
        flags=draw(st.integers(0, 255)),
        options=draw(st.integers(0, 10).map(lambda n: bytes(4 * n))),
        offset=draw(st.one_of(st.none(), st.integers(0, 15))),
        checksum=draw(st.integers(0, 0xFFFF)),
    )


@st.composite
def udp_datagrams(draw: st.DrawFn) -> bytes:
    length = draw(st.one_of(st.none(), st.none(), st.integers(0, 100), st.just(0xFFFF)))
    return f.udp(draw(ports), draw(ports), draw(payloads), length=length, checksum=77)


@st.composite
def transports(draw: st.DrawFn) -> tuple[int, bytes]:
    """(IP protocol, what follows the IP header)."""
    kind = draw(st.sampled_from(["tcp", "udp", "udp", "ports", "icmp", "other"]))
    if kind == "tcp":
        return 6, draw(tcp_segments())
    if kind == "udp":
        return draw(st.sampled_from([17, 17, 136])), draw(udp_datagrams())
    if kind == "ports":
        return draw(st.sampled_from([33, 132])), f.u16(draw(ports), draw(ports)) + draw(payloads)
    if kind == "icmp":
        return draw(st.sampled_from([1, 58])), draw(st.binary(max_size=30))
    return draw(st.sampled_from([2, 47, 50, 51, 89, 59, 255])), draw(st.binary(max_size=60))


@st.composite
def ipv4_packets(draw: st.DrawFn) -> bytes:
    proto, body = draw(transports())
    options = bytes(4 * draw(st.sampled_from([0, 0, 0, 1, 10])))
    right = len(body) + 20 + len(options)
    total = draw(
        st.one_of(st.none(), st.none(), st.sampled_from([0, 19, 20, right + 9, max(right - 3, 0)]))
    )
    return f.ip4(
        body,
        proto,
        draw(st.sampled_from(V4)),
        draw(st.sampled_from(V4)),
        options=options,
        ident=draw(st.integers(0, 3)),
        fragment=draw(st.sampled_from([0, 0, 0, 0, 1, 185])),
        more=draw(st.sampled_from([False, False, True])),
        total=total,
    )


@st.composite
def ipv6_packets(draw: st.DrawFn) -> bytes:
    following, body = draw(transports())
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2, 5, 20]))):
        kind = draw(st.sampled_from([0, 43, 60, 135, 44]))
        if kind == 44:
            offset = draw(st.sampled_from([0, 0, 1, 8191]))
            more = draw(st.booleans())
            body = f.fragment6(following, body, ident=5, offset=offset, more=more)
        else:
            options = draw(st.sampled_from([bytes(6), bytes(14), b"\xc2\x04" + f.u32(70000)]))
            body = f.extension(following, body, body=options)
        following = kind
    length = draw(st.one_of(st.none(), st.none(), st.sampled_from([0, 3, len(body) + 9])))
    src, dst = draw(st.sampled_from(V6)), draw(st.sampled_from(V6))
    return f.ip6(body, following, src, dst, length=length)


ip_packets = st.one_of(ipv4_packets(), ipv6_packets())


@st.composite
def ethernet_frames(draw: st.DrawFn) -> bytes:
    """Ethernet with tags, labels, PPPoE, SNAP, or something other than IP inside."""
    packet = draw(ip_packets)
    tpid = st.sampled_from([0x8100, 0x88A8, 0x9100, 0x9200])
    tags = draw(st.lists(st.tuples(tpid, st.integers(0, 0xFFFF)), max_size=10))
    inside = draw(st.sampled_from(["ip", "ip", "ip", "mpls", "pppoe", "snap", "other"]))
    if inside == "mpls":
        labels = draw(st.lists(st.integers(0, 2**20 - 1), min_size=1, max_size=5))
        frame = f.eth(f.mpls(packet, labels), 0x8847, tags)
    elif inside == "pppoe":
        frame = f.eth(f.pppoe(packet), 0x8864, tags)
    elif inside == "snap":
        snap = bytes.fromhex("aaaa03000000") + f.u16(f.ethertype_of(packet))
        frame = f.eth(snap + packet, len(packet) + 8, tags)
    elif inside == "other":
        kinds = [0x0806, 0x8035, 0x88CC, 0x888E, 0x8863, 0x1234, 0x0005]
        frame = f.eth(packet, draw(st.sampled_from(kinds)), tags)
    else:
        frame = f.eth(packet, None, tags)
    return frame + bytes(draw(st.sampled_from([0, 0, 6, 46])))  # trailing padding


@st.composite
def wrapped_packets(draw: st.DrawFn, depth: int = 3) -> bytes:
    """An IP packet in up to six layers of encapsulation."""
    packet = draw(ip_packets)
    for _ in range(draw(st.integers(1, depth))):
        packet = draw(st.sampled_from(sorted(WRAPPERS)).map(WRAPPERS.__getitem__))(packet)
    return packet


def _six(packet: bytes) -> bool:
    return packet[0] >> 4 == 6


def gre(
    packet: bytes, *, key: bool = False, checksum: bool = False, sequence: bool = False
) -> bytes:
    flags = checksum << 15 | key << 13 | sequence << 12
    return f.u16(flags, f.ethertype_of(packet)) + bytes(4 * (key + checksum + sequence)) + packet


def gtp(packet: bytes, *, extended: bool = False) -> bytes:
    if not extended:
        return bytes([0x30, 0xFF]) + f.u16(len(packet)) + f.u32(7) + packet
    head = bytes([0x34, 0xFF]) + f.u16(len(packet) + 8) + f.u32(7)
    return head + bytes([0, 0, 0, 0x85]) + bytes([1, 0, 0, 0]) + packet


def l2tp(packet: bytes, *, full: bool = False) -> bytes:
    if not full:
        return f.u16(0x0002, 5, 6) + f.ppp(packet)
    return f.u16(0x4A02, 99, 5, 6, 1, 2, 3) + b"pad" + f.ppp(packet)


#: What wraps a packet, by name; the names say which encapsulation is to be seen.
WRAPPERS = {
    "gre": lambda p: f.ip4(gre(p), 47),
    "gre, all fields": lambda p: f.ip4(gre(p, key=True, checksum=True, sequence=True), 47),
    "gre, ethernet": lambda p: f.ip4(f.u16(0, 0x6558) + f.eth(p, None, [(0x8100, 7)]), 47),
    "gre in ipv6": lambda p: f.ip6(gre(p), 47),
    "pptp-gre": lambda p: f.ip4(f.u16(0x3081, 0x880B, 0, 9) + bytes(8) + f.ppp(p), 47),
    "erspan": lambda p: f.ip4(f.u16(0x1000, 0x88BE) + bytes(12) + f.eth(p), 47),
    "ipip or 6in4": lambda p: f.ip4(p, 41 if _six(p) else 4),
    "4in6 or 6in6": lambda p: f.ip6(p, 41 if _six(p) else 4),
    "vxlan": lambda p: f.ip4(f.udp(9, 4789, bytes([8, 0, 0, 0, 0, 0, 5, 0]) + f.eth(p))),
    "geneve": lambda p: f.ip4(f.udp(9, 6081, f.u16(0x0100, 0x6558) + bytes(8) + f.eth(p))),
    "geneve, ip": lambda p: f.ip4(f.udp(9, 6081, f.u16(0, f.ethertype_of(p)) + bytes(4) + p)),
    "gtp-u": lambda p: f.ip4(f.udp(2152, 2152, gtp(p))),
    "gtp-u, extended": lambda p: f.ip4(f.udp(2152, 2152, gtp(p, extended=True))),
    "teredo": lambda p: f.ip4(f.udp(3544, 9, p)),
    "teredo, both heads": lambda p: f.ip4(
        f.udp(9, 3544, bytes.fromhex("00010000") + bytes(9) + bytes(8) + p)
    ),
    "l2tp": lambda p: f.ip4(f.udp(1701, 1701, l2tp(p))),
    "l2tp, all fields": lambda p: f.ip4(f.udp(1701, 1701, l2tp(p, full=True))),
    "etherip": lambda p: f.ip4(b"\x30\x00" + f.eth(p), 97),
}


@st.composite
def captured(draw: st.DrawFn, packet: bytes) -> f.Record:
    """A packet as captured: whole, cut by a snaplen, or with a size that is not true."""
    keep = draw(st.one_of(st.none(), st.none(), st.integers(0, len(packet))))
    data = packet if keep is None else packet[:keep]
    wire = draw(st.sampled_from([len(packet), len(packet), len(packet), 0, 9000, 2**32 - 1]))
    return f.Record(f.START + draw(st.integers(0, 10**12)) // 1000 * 1000, data, wire)


@st.composite
def captures(draw: st.DrawFn, *, wrapped: bool = False) -> bytes:
    """A pcap or pcapng file of packets on one link."""
    kind = draw(st.sampled_from(LINKS))
    some = wrapped_packets() if wrapped else ip_packets
    one = (
        ethernet_frames()
        if kind == f.ETHERNET and not wrapped
        else some.map(lambda packet: f.link(packet, kind))
    )
    records = [draw(captured(p)) for p in draw(st.lists(one, min_size=1, max_size=6))]
    order = draw(st.sampled_from("<>"))
    if draw(st.booleans()):
        return f.pcapng(records, link=kind, order=order, nano=draw(st.booleans()))
    nano, modified = draw(st.sampled_from([(False, False), (True, False), (False, True)]))
    return f.pcap(records, link=kind, order=order, nano=nano, modified=modified)


@st.composite
def sections(draw: st.DrawFn) -> bytes:
    """A pcapng file of several sections, byte orders, interfaces and kinds of blocks."""
    out = b""
    for _ in range(draw(st.integers(1, 3))):
        order = draw(st.sampled_from("<>"))
        out += f.shb(order=order)
        for _ in range(draw(st.integers(1, 6))):
            data = f.eth(draw(ip_packets))
            ticks = draw(st.integers(0, 2**64 - 1) | st.just(f.START // 1000))
            which = draw(st.sampled_from([0, 0, 1, 9]))
            match draw(st.sampled_from(["idb", "epb", "epb", "spb", "pb", "unknown", "odd"])):
                case "idb":
                    resolution = draw(st.none() | st.integers(0, 255))
                    offset = draw(st.none() | st.integers(-(2**63), 2**63 - 1))
                    snaplen = draw(st.sampled_from([0, 60]))
                    link = draw(st.sampled_from([1, 1, 101, 147]))
                    out += f.idb(
                        link=link, snaplen=snaplen, tsresol=resolution, tsoffset=offset, order=order
                    )
                case "epb":
                    out += f.epb(data, ticks, interface=which, order=order)
                case "pb":
                    out += f.pb(data, ticks, interface=which, order=order)
                case "spb":
                    out += f.spb(data, wire=draw(st.none() | st.integers(0, 2000)), order=order)
                case "unknown":
                    out += f.block(draw(st.sampled_from([4, 5, 10, 0xBAD])), data, order=order)
                case "odd":
                    size = draw(st.sampled_from([13, 28, 31]))
                    out += f.block(
                        draw(st.sampled_from([1, 6])),
                        bytes(size - 12 + -size % 4),
                        order=order,
                        length=size,
                    )
    return out


# --- conversations: what flows are made of --------------------------------------------------------


def content(seq: int, n: int) -> bytes:
    """The bytes of a TCP stream at a place, always the same ones, so that overlaps agree."""
    return bytes((seq + i) * 37 % 251 for i in range(n))


@st.composite
def conversations(draw: st.DrawFn, *, most: int = 60) -> list[f.Record]:
    """Raw IP packets of few endpoints over some minutes, mostly in order of time."""
    base = draw(st.sampled_from([0, 1000, 2**32 - 900]))
    ends = [(V4[0], 1000), (V4[1], 1000), (V4[1], 53)]
    now, out = f.START, []
    for _ in range(draw(st.integers(1, most))):
        step = draw(st.sampled_from([0, 0, 1, 10, 10**6, 10**9, 400 * 10**9, 601 * 10**9, -5000]))
        now += step
        a, b = draw(st.sampled_from([(0, 1), (1, 0), (0, 2), (2, 0), (2, 2)]))
        (src, sport), (dst, dport) = ends[a], ends[b]
        ident = draw(st.integers(0, 2))
        kind = draw(st.sampled_from(["tcp", "tcp", "tcp", "udp", "fragment", "later", "icmp"]))
        if kind == "tcp":
            seq = (base + draw(st.integers(0, 4000))) % 2**32
            flags = draw(st.sampled_from([2, 18, 16, 16, 24, 17, 4, 20, 1, 3]))
            size = draw(st.sampled_from([0, 0, 1, 30, 500, 1400]))
            first = (seq + 1 if flags & 2 else seq) % 2**32
            body = f.tcp(sport, dport, content(first, size), seq=seq, flags=flags, checksum=ident)
            packet = f.ip4(body, 6, src, dst, ident=ident)
        elif kind == "icmp":
            packet = f.ip4(bytes([8, ident, 0, 0, 0, 0, 0, 0]), 1, src, dst, ident=ident)
        else:
            size = draw(st.sampled_from([0, 1, 40, 1500]))
            body = f.udp(sport, dport, bytes(size)) if kind != "later" else bytes(size + 8)
            packet = f.ip4(
                body,
                17,
                src,
                dst,
                ident=ident,
                more=kind == "fragment",
                fragment=9 if kind == "later" else 0,
            )
        out.append(f.Record(now, packet))
    return out


@st.composite
def bursts(draw: st.DrawFn, *, most: int = 10) -> list[f.Record]:
    """Long flows of few endpoints: runs of packets of one direction that go on, lag behind or leap."""
    out: list[f.Record] = []
    now, next_seq = f.START, {}
    gaps = [0, 1, 10**6, 10**9, 10**9, 400 * 10**9, 601 * 10**9, -5000, -3 * 10**9, -700 * 10**9]
    for _ in range(draw(st.integers(1, most))):
        now += draw(st.sampled_from(gaps))
        kind = draw(st.sampled_from(["tcp", "tcp", "tcp", "tcp", "udp", "first", "later"]))
        back, port = draw(st.booleans()), draw(st.sampled_from([53, 53, 54]))
        sport, dport = (port, 1000) if back else (1000, port)
        src, dst = (V4[1], V4[0]) if back else (V4[0], V4[1])
        size = draw(st.sampled_from([0, 0, 1, 30, 500, 1400]))
        step = draw(st.sampled_from([0, 1, 1000, 10**6, 10**6, 10**9, 70 * 10**9]))
        ident = draw(st.sampled_from([0, 7]))
        flags = draw(st.sampled_from([16, 16, 16, 24, 2, 18, 17, 4]))
        seq = next_seq.get((port, back), 2**32 - 900)
        seq += draw(st.sampled_from([0, 0, 0, 0, -1, -3000, -(10**6), 5000, 2**31 + 5, 12345678]))
        for i in range(draw(st.sampled_from([1, 1, 2, 5, 31, 32, 33, 40, 70]))):
            now += step if i else 0
            if kind == "tcp":
                body = f.tcp(sport, dport, content(seq % 2**32, size), seq=seq, flags=flags)
                seq += size + (1 if flags & 3 else 0)
                flags = 16 if flags != 24 else 24
            else:
                body = f.udp(sport, dport, bytes(size))
            later = kind == "later"
            proto = draw(st.sampled_from([6, 17])) if later else 6 if kind == "tcp" else 17
            packet = f.ip4(
                body, proto, src, dst, ident=ident, more=kind == "first", fragment=9 * later
            )
            out.append(f.Record(now, packet))
        if kind == "tcp":
            next_seq[port, back] = seq
    return out


@st.composite
def fragmented(draw: st.DrawFn, *, opened: bool = False) -> list[f.Record]:
    """Pieces of a few datagrams, mostly fitting ones, some lost, doubled, late or out of order."""
    packets: list[bytes] = []
    for ident in range(draw(st.integers(1, 4))):
        proto, datagram = draw(transports())
        if opened:
            proto, datagram = 47, gre(f.ip4(datagram, proto, 0x0B000001, 0x0B000002))
        size = draw(st.sampled_from([8, 16, 24, 480, 1480]))
        for at in range(0, min(len(datagram), 30 * size), size):
            body, more = datagram[at : at + size], at + size < len(datagram)
            kind = draw(st.sampled_from(["good"] * 8 + ["lost", "twice", "odd", "shifted"]))
            place = at // 8 + (kind == "shifted")
            body = body[: draw(st.integers(0, 20))] if kind == "odd" else body
            if draw(st.booleans()) or proto == 1:
                packet = f.ip4(body, proto, ident=ident % 3, fragment=place, more=more)
            else:
                part = f.fragment6(proto, body, ident=ident % 3, offset=place, more=more)
                packet = f.ip6(part, 44)
            packets += [packet] * {"lost": 0, "twice": 2}.get(kind, 1)
    order = draw(st.permutations(packets)) if draw(st.booleans()) else packets
    now, records = f.START, []
    for packet in order:
        now += draw(st.sampled_from([0, 1, 10**6, 10**9, 16 * 10**9, -(10**9)]))
        keep = draw(st.sampled_from([len(packet)] * 4 + [60]))
        records.append(f.Record(now, packet[:keep], len(packet)))
    return records
