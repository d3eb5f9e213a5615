"""Packets -> flows, plainly and slowly.

Written from the contract: both directions of one five-tuple between timeouts; the originator sent
the first packet, or for TCP the SYN where it is among the first four; a flow ends after ``idle``
nanoseconds without a packet, ``active`` after its first, or at a SYN after RST or two FINs; what
goes on after a timeout without a SYN names its parent and keeps its direction; a later fragment
takes the ports of its first one. Of the first 32 packets of a flow payload is kept: of a TCP
direction the first 2048 bytes, up to 1536 of a packet, and 32 of each that comes after them; of
other directions up to 1536 bytes of each packet until two had payload, then 128.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from reference.packets import Packet

FIN, SYN, RST, ACK = 1, 2, 4, 16
TCP = 6
SERIES = 32

Key = tuple[int, int, int, int, int, int]
Endpoint = tuple[int, int]


@dataclass
class Shown:
    """One of a flow's first packets."""

    ts_ns: int
    frame: int
    ip_bytes: int
    payload_bytes: int
    seq: int
    tcp_flags: int
    source: Endpoint
    kept: bytes


@dataclass
class Side:
    packets: int = 0
    bytes: int = 0
    payload_bytes: int = 0
    times: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    payload_packets: int = 0
    kept: int = 0
    next_seq: int | None = None
    retransmissions: int = 0
    gaps: int = 0
    missing_bytes: int = 0
    flags: list[int] = field(default_factory=lambda: [0] * 8)
    digest: tuple[int, ...] | None = None
    finished: bool = False


@dataclass
class Flow:
    flow_id: int
    parent: int
    proto: int
    ip_version: int
    orig: Endpoint
    resp: Endpoint
    wrapping: int
    icmp: int
    frame: int
    times: list[int] = field(default_factory=list)
    series: list[Shown] = field(default_factory=list)
    sides: dict[bool, Side] = field(default_factory=lambda: {False: Side(), True: Side()})
    start_seen: bool = False
    reset: bool = False
    duplicates: int = 0

    def side(self, p: Packet) -> Side:
        """Sides are told apart by which endpoint is the smaller one, as who began may change."""
        return self.sides[(p.src, p.src_port) > (p.dst, p.dst_port)]

    def of(self, endpoint: Endpoint, other: Endpoint) -> Side:
        return self.sides[endpoint > other]

    @property
    def closed(self) -> bool:
        return self.reset or (self.sides[False].finished and self.sides[True].finished)


def gaps_between(times: list[int]) -> list[int]:
    """Inter-arrival times; a packet that comes with an earlier stamp counts as at once."""
    found, latest = [], times[0]
    for time in times[1:]:
        found.append(max(time - latest, 0))
        latest = max(latest, time)
    return found


def signed32(n: int) -> int:
    return (n + 2**31) % 2**32 - 2**31


class Grouping:
    """Feeds on packets one by one."""

    def __init__(self, idle: int | None = 600 * 10**9, active: int | None = None) -> None:
        self.idle, self.active = idle, active
        self.live: dict[Key, Flow] = {}
        self.flows: list[Flow] = []
        self.firsts: dict[tuple[int, int, int, int], tuple[int, int]] = {}
        self.fragments = self.fragments_alone = 0

    def add(self, p: Packet, ts_ns: int, frame: int) -> int:
        """Add a packet; return the number of its flow, -1 where it is in none."""
        if p.reason:
            return -1
        if p.fragment:
            self.adopt(p)
        a, b = sorted([(p.src, p.src_port), (p.dst, p.dst_port)])
        key = (*a, *b, p.proto, p.ip_version)
        old = self.live.get(key)
        syn = p.proto == TCP and p.tcp_flags & (SYN | ACK) == SYN
        if old is None or self.ends(old, ts_ns) or (syn and old.closed):
            parent = None if old is None or syn else old
            self.live[key] = self.begin(p, frame, parent)
        flow = self.live[key]
        self.update(flow, p, ts_ns, frame)
        return flow.flow_id

    def adopt(self, p: Packet) -> None:
        self.fragments += 1
        key = (p.src, p.dst, p.proto, p.fragment_id)
        if p.fragment != 2:
            self.firsts[key] = (p.src_port, p.dst_port)
        elif key in self.firsts:
            p.src_port, p.dst_port = self.firsts[key]
        else:
            self.fragments_alone += 1

    def ends(self, flow: Flow, ts_ns: int) -> bool:
        return (self.idle is not None and ts_ns - max(flow.times) > self.idle) or (
            self.active is not None and ts_ns - min(flow.times) > self.active
        )

    def begin(self, p: Packet, frame: int, parent: Flow | None) -> Flow:
        orig, resp = (p.src, p.src_port), (p.dst, p.dst_port)
        syn = p.proto == TCP and p.tcp_flags & SYN
        if syn and p.tcp_flags & ACK:
            orig, resp = resp, orig
        elif parent and not syn:
            orig, resp = parent.orig, parent.resp
        flow = Flow(
            flow_id=len(self.flows),
            parent=parent.flow_id if parent else -1,
            proto=p.proto,
            ip_version=p.ip_version,
            orig=orig,
            resp=resp,
            wrapping=p.wrapping,
            icmp=p.icmp,
            frame=frame,
        )
        self.flows.append(flow)
        return flow

    def update(self, flow: Flow, p: Packet, ts_ns: int, frame: int) -> None:
        side = flow.side(p)
        self.see_twice(flow, side, p)
        if p.proto == TCP:
            self.orient(flow, p)
            self.follow(flow, side, p)
        if len(flow.series) < SERIES:
            self.show(flow, side, p, ts_ns, frame)
        flow.times.append(ts_ns)
        side.times.append(ts_ns)
        side.sizes.append(p.ip_bytes)
        side.packets += 1
        side.bytes += p.ip_bytes
        side.payload_bytes += p.payload_bytes
        side.payload_packets += p.payload_bytes > 0

    def see_twice(self, flow: Flow, side: Side, p: Packet) -> None:
        """Count an IPv4 packet that is captured twice in a row."""
        digest = None
        if p.ip_version == 4 and p.fragment_id and p.fragment not in (2, 3):
            digest = (p.fragment_id, p.seq, p.checksum, p.ip_bytes, p.tcp_flags)
        flow.duplicates += digest is not None and digest == side.digest
        side.digest = digest

    def orient(self, flow: Flow, p: Packet) -> None:
        syn = p.tcp_flags & (SYN | ACK) == SYN
        if syn and not flow.start_seen and flow.parent < 0 and len(flow.times) < 4:
            flow.orig, flow.resp = (p.src, p.src_port), (p.dst, p.dst_port)
            flow.start_seen = True

    def follow(self, flow: Flow, side: Side, p: Packet) -> None:
        """Follow flags and sequence numbers."""
        for bit in range(8):
            side.flags[bit] = min(side.flags[bit] + (p.tcp_flags >> bit & 1), 65535)
        flow.reset = flow.reset or bool(p.tcp_flags & RST)
        side.finished = side.finished or bool(p.tcp_flags & FIN)
        if p.fragment in (2, 3):
            if side.next_seq is not None:
                side.next_seq += p.payload_bytes
            return
        if p.tcp_flags & RST:
            return
        length = p.payload_bytes + (p.tcp_flags & SYN > 0) + (p.tcp_flags & FIN > 0)
        after = p.seq + length
        if side.next_seq is None:
            side.next_seq = after
            return
        ahead = signed32(p.seq - side.next_seq)
        if ahead > 0 and not p.tcp_flags & SYN:
            side.gaps += 1
            side.missing_bytes += ahead
        if length and ahead + length <= 0:
            side.retransmissions += 1
        elif length or ahead > 0:
            side.next_seq = after

    def show(self, flow: Flow, side: Side, p: Packet, ts_ns: int, frame: int) -> None:
        if p.proto == TCP:
            most = max(2048 - side.kept, 32)
        else:
            most = 1536 if side.payload_packets < 2 else 128
        kept = b"" if p.fragment in (2, 3) else p.payload[: min(most, 1536)]
        side.kept += len(kept)
        flow.series.append(
            Shown(
                ts_ns,
                frame,
                p.ip_bytes,
                p.payload_bytes,
                p.seq,
                p.tcp_flags,
                (p.src, p.src_port),
                kept,
            )
        )


def head(flow: Flow, source: Endpoint) -> bytes | None:
    """Return the head of what an endpoint sent: for TCP in sequence order up to the first hole.

    None where segments overlap and differ: which one the receiver believed cannot be known.
    """
    same = flow.orig == flow.resp
    mine = [s for s in flow.series if s.source == source] if not same else list(flow.series)
    if flow.proto != TCP:
        return next((s.kept for s in mine if s.kept), b"")
    syns = [s for s in mine if s.tcp_flags & SYN]
    carrying = [s for s in mine if s.payload_bytes]
    if not syns and not carrying:
        return b""
    base = syns[0].seq + 1 if syns else carrying[0].seq
    known: dict[int, int] = {}  # offset from the base -> byte
    for s in mine:
        begin = signed32(s.seq + (1 if s.tcp_flags & SYN else 0) - base)
        for i, byte in enumerate(s.kept):
            if known.setdefault(begin + i, byte) != byte:
                return None
    out = bytearray()
    while len(out) in known:
        out.append(known[len(out)])
    return bytes(out)


def group(
    packets: Iterable[tuple[Packet, int, int]], idle: int | None, active: int | None
) -> Grouping:
    """Group (packet, time, frame) in the order of the capture."""
    grouping = Grouping(idle, active)
    for p, ts_ns, frame in packets:
        grouping.add(p, ts_ns, frame)
    return grouping
