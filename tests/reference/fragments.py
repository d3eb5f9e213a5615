"""Fragmented datagrams put together, plainly and slowly: all packets of all captures are at hand.

Written from RFC 791, 815, 5722 and 8200. What those leave open is decided so (and the library decides
the same): a datagram is given up 4,096 packets or 4 MiB of captured payload after its first piece,
and no piece joins it more than 30 s apart from that; pieces that overlap spoil it for as long; a
piece that is there already is left out; more than 128 pieces, or more than 65,535 bytes, spoil it.
"""

from dataclasses import dataclass, field, replace

from reference.packets import EXTENSIONS, Packet, Piece, Refused, View, by_transport, open_all

MOST_PACKETS, MOST_BYTES, MOST_NS, MOST_PIECES, MOST_SIZE = 4096, 4 << 20, 30 * 10**9, 128, 65535


@dataclass
class Datagram:
    began: int  # index of the packet
    members: list[int] = field(default_factory=list)  # every packet, spare ones too
    pieces: dict[int, Piece] = field(default_factory=dict)  # by offset
    spoilt: bool = False

    def add(self, index: int, new: Piece) -> None:
        self.members.append(index)
        if self.spoilt:
            return
        old = self.pieces.get(new.offset)
        if old is not None and (old.end, old.more) == (new.end, new.more):
            return
        self.spoilt = self.conflicts(new)
        if not self.spoilt:
            self.pieces[new.offset] = new

    def conflicts(self, new: Piece) -> bool:
        if new.offset == new.end or new.end > MOST_SIZE or (new.more and new.view.wire % 8):
            return True
        if len(self.pieces) == MOST_PIECES:
            return True
        for old in self.pieces.values():
            if old.offset < new.end and new.offset < old.end:
                return True
            if not old.more and (new.end > old.end or not new.more):
                return True
            if not new.more and old.end > new.end:
                return True
        return False

    @property
    def whole(self) -> list[Piece]:
        """The pieces in order, if nothing is missing."""
        order = sorted(self.pieces.values(), key=lambda piece: piece.offset)
        at = 0
        for piece in order:
            if piece.offset != at:
                return []
            at = piece.end
        return [] if self.spoilt or not order or order[-1].more else order


def reassemble(
    packets: list[Packet], times: list[int], *, decapsulate: bool = False
) -> tuple[list[Packet], int]:
    """Return the packets as they go into flows, and how many fragments were put together."""
    rows = [replace(p) for p in packets]
    position, total = [], 0
    for p in rows:
        total += len(p.payload)
        position.append(total)
    waiting: dict[tuple[object, ...], Datagram] = {}
    made = 0
    for i in range(len(rows)):
        for _ in range(4):
            piece = rows[i].piece
            if rows[i].reason or piece is None:
                break
            key = key_of(rows[i])
            datagram = waiting.get(key)
            if datagram is not None and (
                i - datagram.began >= MOST_PACKETS
                or position[i] - position[datagram.began] > MOST_BYTES
                or abs(times[i] - times[datagram.began]) > MOST_NS
            ):
                give_up(waiting.pop(key), rows)
                datagram = None
            if datagram is None:
                datagram = waiting[key] = Datagram(i)
            datagram.add(i, piece)
            if not datagram.whole:
                break
            made += len(datagram.members)
            complete(waiting.pop(key), rows, i, decapsulate)
    for datagram in waiting.values():
        give_up(datagram, rows)
    return rows, made


def key_of(p: Packet) -> tuple[object, ...]:
    by_protocol = p.proto if p.ip_version == 4 else None
    return p.ip_version, p.src, p.dst, p.fragment_id, by_protocol, p.wrapping


def first_of(datagram: Datagram, rows: list[Packet]) -> Packet | None:
    return next((rows[i] for i in datagram.members if rows[i].fragment == 1), None)


def give_up(datagram: Datagram, rows: list[Packet]) -> None:
    """Leave the packets as they are, later fragments with the ports of the first."""
    first = first_of(datagram, rows)
    if first is None:
        return
    for i in datagram.members:
        if rows[i].fragment == 2:
            rows[i] = replace(
                rows[i],
                fragment=3,
                proto=first.proto,
                src_port=first.src_port,
                dst_port=first.dst_port,
            )


def complete(datagram: Datagram, rows: list[Packet], last: int, decapsulate: bool) -> None:
    first = first_of(datagram, rows)
    assert first is not None
    order = datagram.whole
    size = order[-1].end
    captured = b""
    for piece in order:
        captured += piece.view.data
        if len(captured) < piece.end:
            break
    following = first.proto
    for piece in order:
        following = piece.following if piece.offset else following
    for i in datagram.members:
        rows[i] = replace(
            rows[i],
            fragment=3,
            proto=first.proto,
            src_port=first.src_port,
            dst_port=first.dst_port,
            icmp=first.icmp,
            seq=0,
            checksum=0,
            tcp_flags=0,
            payload=b"",
            payload_bytes=0,
            piece=None,
        )
    rows[last] = transport_of(rows[last], View(captured, size), following)
    if decapsulate:
        rows[last] = open_all(rows[last])
    if rows[last].fragment == 0:
        rows[last].fragment = 4


def transport_of(row: Packet, view: View, following: int) -> Packet:
    """Read what a whole datagram carries, as if it had come in one packet."""
    truncated = int(len(view) < view.wire)
    for _ in range(16):
        if row.ip_version == 4 or following not in EXTENSIONS or following == 44:
            break
        if len(view) < 8:
            view = View(b"", view.wire - len(view))
            break
        following, size = view.data[0], 8 * (view.data[1] + 1)
        view = view.after(size) if size <= len(view) else View(b"", view.wire - len(view))
    p = replace(row, fragment=0, proto=following, src_port=0, dst_port=0, icmp=0)
    p.truncated = truncated
    try:
        by_transport(view, p)
    except Refused:
        p.payload, p.payload_bytes = b"", view.wire
    return p
