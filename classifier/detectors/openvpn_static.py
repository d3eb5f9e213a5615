"""OpenVPN with a static key: no header at all, but sizes leave a MAC, an IV and whole blocks.

There is no handshake, no opcode and no session id. A message, over UDP a datagram, over TCP behind
its length (2 bytes, big-endian)::

    0        H   HMAC          --auth: MD5 16, SHA1 20 (default), SHA224 28, SHA256 32, SHA384 48,
                               SHA512 64 bytes; none 0
    H        V   IV            --cipher: AES and its like in CBC 16, Blowfish and its like 8 bytes;
                               none 0
    H+V      n   ciphertext    whole blocks of V: packet id (4), time (4), packet, padding (1 to V)

The shortest content is a keepalive of 16 bytes: 24 with packet id and time, padded to 32. It is sent
where a side was silent for seconds, so what is as short and comes sooner is another protocol's, but
for a question for the peer's options (17 bytes), every ten seconds. With blocks of 16 all lengths
leave the same rest: 0 (least 48), 4 (SHA1, least 68) or 12 (SHA224, least 76); with blocks of 8 and
SHA1 the rest of 4, and 60 bytes at least. Without a cipher nothing is hidden, and a keepalive is a
string of 16 bytes that no other program sends.

Sources
-------
OpenVPN's documentation of its source: ``crypto.h`` ("Data packets when NOT using TLS or AEAD",
IV and packet id in long form), ``ping.c`` (keepalive and its string), ``occ.h``; OpenVPN 2.x manual,
``--secret``, ``--auth``, ``--cipher`` (CBC alone with a static key).

Strength
--------
Proof: without a cipher, a keepalive at its place behind packet id and time; or two IP packets and
more of each side that end where the message does, behind a packet id that rises and a time that stays
(both over TCP in segments of their own). Strong over UDP: both
sides send four messages and more (of the first 32 packets); every one looks random
from its first byte, no byte of the first 16 is the same in all messages of a side, and all lengths
leave a rest of 4 or 12, at least four different lengths among them (six with blocks of 8), and not of
blocks twice as long: lengths of chance would do so once in 16**3 flows and less. An eighth of all at
least must be keepalives or bare acknowledgements of TCP; where both are seen, one size fewer will do.
Strong over TCP: eight messages and
more, two of each side at least, from the first byte that was captured, each behind its length,
random, of four sizes, that rest and that eighth (blocks of 8: twelve messages, six sizes). A rest of 0 is left by any
cipher of blocks that sends nothing else: weak, with five sizes of it; but strong, with four, where
the messages show a TCP connection inside. Its acknowledgements (52 or 40 bytes of IP, H + 80 here)
are four and an eighth of all at least, nothing is shorter but keepalives (H + 48), which are there or
else something longer by 256 and more, and one after another come what opens it: SYN and its answer
(60 bytes of IP, H + 96), from one side and the other, and an acknowledgement; beside those two, one
message in six at most has their size. Random sizes in multiples of 16, twenty a second, do so in 1 flow of 10,000
at most, whatever range they are drawn from (in 5 where the sides take turns); of sizes drawn from a few, H + 80 and
H + 96 among them, in 8 (in 51) where keepalives are the shortest, in 2 of 100 (in 10) where nothing is as short
but something much longer: `benchmarks/chance.py`.

Mistaken for
------------
Another protocol of CBC and HMAC that shows neither version, key id nor counter. tinc 1.0 has no IV
and a MAC of 4 bytes: its acknowledgements of TCP with time stamps (frames of 66 bytes) give 84 bytes
(Blowfish: 76), which only IP packets of 24 to 39 bytes (33 to 39) give here.

Blind to
--------
Flows of a few messages or of messages of few sizes; TCP joined inside a message, or in which two
messages of a side do not begin within the bytes that are kept; a rest of 0 where no TCP connection
with time stamps over IPv4 was opened inside; without a cipher, MACs but SHA1; keepalives every second.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier.detectors._findings import Meaning, of_rows
from classifier.detectors._framing import LENGTH_BYTES, Framed, read_framed
from classifier.detectors._headless import (
    HEAD,
    MESSAGES_LEAST,
    TCP,
    headless_blocks,
    headless_streams,
    read_headless,
)
from classifier.detectors._messages import (
    Case,
    Ints,
    Mask,
    Messages,
    look_random,
    number,
    report,
    scan,
)
from classifier.detectors.heads import HEAD_BYTES, Heads, first_bytes
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR"]

UDP = 17
WIDTH = 34
FRAME_LEAST, FRAME_MOST, SIDE_LEAST = 48, 1700, 2  # lengths over TCP; messages of each side
KEEPALIVE = bytes.fromhex("2a187bf3641eb4cb07ed2d0a981fc748")
MACS, REPLAY_BYTES = (0, 20), 8  # none and SHA1: what stands within a head's first bytes
TIME_LEAST = 1_000_000_000  # 2001, the year of the first release
STEP_MOST, RUN_LEAST, IPV6_BYTES = 64, 2, 40
# A cipher's block, the sizes of an acknowledgement of TCP for each MAC, and a keepalive beside them
BLOCK, ACKS, KEEPALIVE_LESS = 16, range(80, 80 + 64 + 1, 16), 32
# A keepalive is sent after seconds in which its side sent nothing, which links shorten or send twice. A question
# for the peer's options has its size (occ.h: 16 bytes and one), once in ten seconds until it is answered
SILENCE_NS, QUESTIONS = 500_000_000, 1
ACKS_LEAST, ACKS_SHARE, LONGER_LEAST = 4, 8, 256
# Messages of an opening's size: SYN and its answer; of others at most one in six: our own captures of pages
# and files have up to 3 in 19 (`benchmarks/chance.py` says what that leaves to chance)
OPENING, SMALL_SHARE = 2, 6
_YEAR_LEAST = np.uint8(TIME_LEAST >> 24)  # of a time's first byte, which is below 0x80
_YEARS = np.uint8(0x80) - _YEAR_LEAST
CLEAR_WIDTH = LENGTH_BYTES + max(MACS) + REPLAY_BYTES + IPV6_BYTES


class Layout(NamedTuple):
    """What all lengths of one choice of MAC and cipher share."""

    block: int
    rest: int
    least: int
    sizes: int  # different lengths that must be seen
    messages: int = 8  # that must be seen over TCP
    usual: tuple[int, ...] = ()  # keepalive and acknowledgements, of IP or in Ethernet
    tinc: int = 0  # over UDP: an acknowledgement in tinc 1.0, which no packet has here

    def fits(self, size: Ints) -> Mask:
        """Tell which lengths this layout leaves."""
        fitting: Mask = (size % self.block == self.rest) & (size >= self.least)
        return fitting

    def is_shown(self, sides: Sequence[int], sizes: Sequence[int], tcp: bool) -> bool:
        """Tell whether messages that all fit are enough to show this layout."""
        seen = set(sizes)
        wanted = self.sizes
        if self.usual and ACKS_SHARE * sum(size in self.usual for size in sizes) < len(sizes):
            return False
        if self.usual and not tcp:
            wanted -= self.usual[0] in seen and not seen.isdisjoint(self.usual[1:])
        side = SIDE_LEAST if tcp else MESSAGES_LEAST
        messages = self.messages if tcp else 2 * MESSAGES_LEAST
        enough = len(sizes) >= messages and min(map(sides.count, (0, 1))) >= side
        # Blocks twice as long are another protocol's, padded to 64 bytes, say
        finest = any((size - self.rest) % (2 * self.block) for size in seen)
        return enough and finest and len(seen) >= wanted


LAYOUTS = (
    Layout(16, 4, 68, 4, usual=(68, 100, 116), tinc=84),
    Layout(16, 12, 76, 4, usual=(76, 108, 124)),
    Layout(8, 4, 60, 6, messages=12, usual=(60, 84, 92, 108), tinc=76),
)
# Any cipher of blocks of 16 bytes leaves it, behind a MAC of 16, 32, 48 or 64 bytes or none
PLAIN_BLOCKS = Layout(16, 0, 48, 4)
PLAIN_SIZES = 5  # where no connection is seen inside

_TEXT = (
    "{value} messages without any header, random from the first byte, of whole blocks behind a "
    "MAC and an IV (static key)"
)
STATIC = Meaning(Strength.STRONG, _TEXT, "openvpn")
BLOCKS = Meaning(Strength.WEAK, _TEXT, "openvpn")
CARRIES = Meaning(
    Strength.STRONG, f"{_TEXT}, in which a TCP connection is opened and acknowledged", "openvpn"
)
CLEAR = Meaning(Strength.PROOF, "OpenVPN's keepalive in clear, no cipher", "openvpn")
CLEAR_BOTH = Meaning(
    Strength.PROOF,
    "{value} IP packets in clear behind a rising packet id and the same time, both ways",
    "openvpn",
)


def _came_soon(sides: list[int], times: list[int]) -> list[bool]:
    """Tell which messages came less than half a second after the one before of their side."""
    last: dict[int, int] = {}
    soon = []
    for side, time in zip(sides, times, strict=True):
        soon.append(side in last and time - last[side] < SILENCE_NS)
        last[side] = time
    return soon


def _may_keep_alive(size: int, sides: list[int], sizes: list[int], soon: list[bool]) -> bool:
    """Tell whether messages of this size may be keepalives, and a question for the peer's options."""
    every = list(zip(sides, sizes, strict=True))
    hasty = list(zip(sides, sizes, soon, strict=True))
    return all(
        hasty.count((side, size, True)) <= max(QUESTIONS, every.count((side, size)) / 2)
        for side in (0, 1)
    )


def _carries_tcp(sides: list[int], sizes: list[int], soon: list[bool]) -> bool:
    """Tell whether messages, in whole blocks behind some MAC and an IV, show a TCP connection."""
    triples = list(zip(sides, sides[1:], sides[2:], sizes, sizes[1:], sizes[2:], strict=False))
    for ack in ACKS:
        alive = ack - KEEPALIVE_LESS
        shorter = {size for size in sizes if size < ack}
        spread = max(sizes) >= ack + LONGER_LEAST or shorter == {alive}
        if not spread or shorter - {alive} or not _may_keep_alive(alive, sides, sizes, soon):
            continue
        opening = (ack + BLOCK, ack + BLOCK, ack)
        opened = sum(a != b and a == c and tuple(size) == opening for a, b, c, *size in triples)
        # Of what opens there are two; not many else carry 1 to 16 bytes
        rare = sizes.count(ack + BLOCK) <= OPENING * opened + len(sizes) / SMALL_SHARE
        if opened and rare and sizes.count(ack) >= max(ACKS_LEAST, len(sizes) / ACKS_SHARE):
            return True
    return False


def _known_at(
    sides: list[int], sizes: list[int], times: list[int], tcp: bool
) -> tuple[Meaning, int] | None:
    """Return what the sizes of random messages show, and after how many of them they did."""
    every, soon = np.array(sizes, np.int64), _came_soon(sides, times)
    for layout in (*LAYOUTS, PLAIN_BLOCKS):
        if layout.fits(every).all() and (tcp or layout.tinc not in sizes):
            break
    else:
        return None
    plain = layout is PLAIN_BLOCKS
    if not layout.is_shown(sides, sizes, tcp):
        return None
    if not plain and not _may_keep_alive(layout.least, sides, sizes, soon):
        return None
    if plain and not _carries_tcp(sides, sizes, soon):
        return (BLOCKS, len(sizes)) if len(set(sizes)) >= PLAIN_SIZES else None
    n = 1
    while not (
        layout.is_shown(sides[:n], sizes[:n], tcp)
        and (not plain or _carries_tcp(sides[:n], sizes[:n], soon[:n]))
    ):
        n += 1
    return (CARRIES if plain else STATIC), n


def _evidence(batch: FlowBatch, flow: int, rows: list[int], known: tuple[Meaning, int]) -> Evidence:
    """Return evidence of the first of some messages, which stand in ``rows``."""
    meaning, n = known
    first, last = (int(batch.packets["frame"][row]) for row in (rows[0], rows[n - 1]))
    text = f"{meaning.text.format(value=n)}, packets {first} and {last}"
    return Evidence(
        flow, DETECTOR.name, meaning.strength, text, rows[n - 1], meaning.family, starts=False
    )


def _judge_udp(batch: FlowBatch) -> list[Evidence]:
    read = read_headless(batch)
    if read is None:
        return []
    m, found = read.messages, []
    for flow in np.flatnonzero(read.holds).tolist():
        ours = m.flow == flow
        times = batch.packets["ts_ns"][m.row[ours]].tolist()
        known = _known_at(m.direction[ours].tolist(), m.wire[ours].tolist(), times, tcp=False)
        if known is not None:
            found.append(_evidence(batch, flow, m.row[ours].tolist(), known))
    return found


def _may_be_secret(frames: list[Framed]) -> bool:
    """Tell whether messages look random, and whether no place holds the same byte in all of them."""
    rows = np.array([list(f.head.ljust(WIDTH, b"\0")) for f in frames], np.uint8)
    kept = np.array([len(f.head) for f in frames], np.int64)
    changes = (rows[:, :HEAD].min(axis=0) < rows[:, :HEAD].max(axis=0)).all()
    return bool(changes and look_random(rows, kept, 0, WIDTH).all())


def _judge_tcp(batch: FlowBatch) -> list[Evidence]:
    found = []
    for flow in range(batch.flows.size):
        sides: list[list[Framed]] = []
        for direction in (0, 1):
            side = read_framed(batch, flow, direction, FRAME_LEAST, FRAME_MOST, WIDTH)
            if side is None:
                break
            sides.append(side)
        begun = [[f for f in side if len(f.head) >= HEAD] for side in sides]
        if len(begun) < 2 or min(map(len, begun)) < SIDE_LEAST:
            continue
        marked = [(frame, d) for d, side in enumerate(sides) for frame in side]
        marked.sort(key=lambda frame: frame[0].row)
        sizes = [frame.size for frame, _ in marked]
        times = [int(batch.packets["ts_ns"][frame.row]) for frame, _ in marked]
        known = _known_at([d for _, d in marked], sizes, times, tcp=True)
        groups = [begun[0] + begun[1], *(side for side in begun if len(side) >= MESSAGES_LEAST)]
        if known is not None and all(map(_may_be_secret, groups)):
            found.append(_evidence(batch, flow, [frame.row for frame, _ in marked], known))
    return found


def _judge_clear(batch: FlowBatch) -> list[Evidence]:
    m = Messages(batch, CLEAR_WIDTH)
    tcp = (batch.flows["proto"] == TCP)[m.flow]
    want = np.frombuffer(KEEPALIVE, np.uint8)
    said, carried = np.zeros((2, m.wire.size), np.bool_)
    clock, packet_id = np.zeros((2, m.wire.size), np.int64)
    for mac in MACS:
        for over_tcp, shift in ((False, 0), (True, LENGTH_BYTES)):
            at = shift + mac + REPLAY_BYTES
            time, size = m.be(at - 4, 4), m.wire - at
            ours = (tcp == over_tcp) & (time >= TIME_LEAST) & (m.kept > at + IPV6_BYTES)
            if over_tcp:
                ours &= m.be(0, LENGTH_BYTES) == m.wire - LENGTH_BYTES
            alive = (m.bytes[:, at : at + want.size] == want).all(axis=1)
            said |= (tcp == over_tcp) & (size == want.size) & (m.kept == m.wire) & alive
            version = m.be(at, 1) >> 4
            packet = ours & (version == 4) & (m.be(at + 2, 2) == size)
            packet |= ours & (version == 6) & (m.be(at + 4, 2) == size - IPV6_BYTES)
            carried |= packet
            clock = np.where(packet, time, clock)
            packet_id = np.where(packet, m.be(at - 8, 4), packet_id)
    first, runs = m.first(said), m.run(carried, clock, packet_id, STEP_MOST)
    cases = [
        Case(m.last(said) >= 0, CLEAR, first, first),
        Case(
            runs.min(axis=1) >= RUN_LEAST,
            CLEAR_BOTH,
            m.first(carried),
            *m.enough(carried, RUN_LEAST),
        ),
    ]
    return report(batch, DETECTOR.name, cases)


def _judge(batch: FlowBatch) -> list[Evidence]:
    found: dict[int, Evidence] = {}
    tcp = batch.flows["proto"] == TCP
    clear = _begins_in_clear(Heads(batch))
    for part, judge in ((clear, _judge_clear), (~tcp, _judge_udp), (tcp, _judge_tcp)):
        rows = np.flatnonzero(part)
        if rows.size:
            some = FlowBatch(batch.flows[rows], batch.packets, batch.payload)
            for e in of_rows(judge(some), rows):
                found.setdefault(e.flow, e)
    return [found[flow] for flow in sorted(found)]


def _begins_in_clear(heads: Heads) -> Mask:
    """Choose flows in which a side begins with a keepalive or IP, behind no MAC or that of SHA1."""
    chosen = np.zeros(heads.size, np.bool_)
    for proto, shift in ((UDP, 0), (TCP, LENGTH_BYTES)):
        chosen[heads.has_proto(proto)] = _clear_behind(heads.of((proto,)), shift)
    return chosen


def _clear_behind(heads: Heads, shift: int) -> Mask:
    """Choose flows of one transport in which messages begin ``shift`` bytes from a head's first."""
    chosen = np.zeros(heads.size, np.bool_)
    for side, head, every in (
        ("orig", heads.orig, heads.orig_kept),
        ("resp", heads.resp, heads.resp_kept),
    ):
        for mac in MACS:
            at = shift + mac + REPLAY_BYTES
            kind = head[:, at]
            timed = head[:, at - 4] - _YEAR_LEAST < _YEARS  # below the least it wraps to more
            four, six = kind == 0x45, kind >> 4 == 6
            if at + 4 < HEAD_BYTES:  # the length's upper byte, where text has a letter
                four &= head[:, at + 2] <= FRAME_MOST >> 8
                six &= head[:, at + 4] <= FRAME_MOST >> 8
            rows = np.flatnonzero(timed & (four | six | (kind == KEEPALIVE[0])) & (every > at + 1))
            if shift and rows.size:
                rows = rows[number(head[rows], 0, shift) <= FRAME_MOST]
            if rows.size:
                start, kept, kind = heads.column(f"{side}_start")[rows], every[rows], kind[rows]
                first = first_bytes(heads.batch.payload, start, kept, at + 6)
                length = np.where(kind == 0x45, number(first, at + 2, 2), number(first, at + 4, 2))
                length += np.where(kind == 0x45, 0, IPV6_BYTES)
                carries = (kind != KEEPALIVE[0]) & (length <= FRAME_MOST)
                carries &= (kept > at + IPV6_BYTES) & ((shift > 0) | (length >= kept - at))
                alive = (kind == KEEPALIVE[0]) & (first[:, at + 1] == KEEPALIVE[1])
                chosen[rows] |= carries | alive
    return chosen


def _may_be_blocks(heads: Heads) -> Mask:
    """Choose flows that look random, and whose sizes (TCP: the first lengths) fit a layout."""
    layouts = (*LAYOUTS, PLAIN_BLOCKS)
    blocks = headless_blocks(heads, min(layout.block for layout in layouts))
    rows = np.flatnonzero(headless_streams(heads))
    if rows.size:
        lengths = [number(head[rows], 0, LENGTH_BYTES) for head in (heads.orig, heads.resp)]
        fits = [np.logical_and(*map(layout.fits, lengths)) for layout in layouts]
        blocks[rows] = np.logical_or.reduce(fits)
    return blocks


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows of both directions whose messages are random blocks, and keepalives."""
    return _may_be_blocks(heads) | _begins_in_clear(heads)


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find OpenVPN with a static key among the UDP and TCP flows of a batch."""
    return scan(batch, _judge)


DETECTOR = Detector("openvpn-static-key", "openvpn", (UDP, TCP), CLEAR_WIDTH, detect, select)
