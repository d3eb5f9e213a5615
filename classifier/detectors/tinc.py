"""tinc: both ends begin a TCP connection with a line of text; data go over UDP between them.

TCP, first line of either side, in ASCII::

    "0 "      request 0: identification
    NAME      letters, digits and underscores; or ``?`` or ``^`` and more, with an invitation
    " 17"     protocol; of tinc 1.1 a point and its minor version follow
    LF

Behind the lines the connection is encrypted as a stream. Where it carries packets too (``TCPOnly``)::

    "17 "     request 17: a packet; its length in digits, LF
              frame, of 66 bytes for an acknowledgement of TCP with time stamps (72 in all), of 74
              for what opens a connection (80), of 1514 where full (1522, over two segments)

UDP of tinc 1.1, between ends that reach each other. Numbers are big-endian::

    0    6   destination   zero: the receiver itself
    6    6   source        identity of the sender, constant
    12   4   sequence      rises by one
    16       ciphertext with a tag of 16 bytes

UDP of tinc 1.0 is ciphertext from the first byte to the last::

    0    n   ciphertext    whole blocks of 16 (AES in CBC): sequence (4), frame, padding (1 to 16)
    n    4   MAC           cut to 4 bytes

So all lengths leave a rest of 4. An ARP (frame of 42) gives 52 bytes, an acknowledgement of TCP with
time stamps (frame of 66) 84. Without a cipher::

    0    4   sequence      from 1, rises by one
    4   14   Ethernet      header of the frame; zeros in a probe of the path's MTU, byte 4 is 1 in
                           its answer
    18       IP packet or ARP, or random bytes of a probe
             MAC           perhaps

Sources
-------
tinc's ``doc/PROTOCOL``, ``src/protocol.h`` (PROT_MAJOR 17), ``src/net_packet.c`` and
``src/sptps.c`` of release 1.1 (https://www.tinc-vpn.org/git/); tinc 1.0 manual, Cipher, MACLength.

Strength
--------
Proof: the line from both sides; or UDP of 1.1 both ways with constant sources and rising sequences.
Strong: the line from one side; UDP of 1.1 from one side, three messages or more; UDP in which every
message looks random, between two hosts of which one listened for tinc at the same port, where the
TCP connection is in the same batch of flows. Strong too, for 1.0 with its default cipher, without
that connection: four messages and more of each side, random from the first byte, no byte of the first
16 the same in all messages of a side, all lengths with that rest, four different ones among them,
one of 84 bytes or of less than 68, which OpenVPN with a static key does not send, and what shows a tunnel:
two lengths of 340 and more that both sides send, as a probe's answer is as long as the probe, and half of
all so long are of these; or a connection opened inside, three messages of 84 from one side, the other and the one, and something of that length. And without a cipher,
where three messages of each side are probes or frames whose IP packet ends with the message, but for a
MAC, behind a sequence that rises, and at most a quarter of all messages are none.

Strong too, in a TCP connection joined under way whose segments are random from the first byte, no byte
of the first 16 the same in all of a side: segments of 80, 80 and 72 bytes one after another that open
a connection inside, and three of 72 together; or one of 72, and twice a long segment that goes on with
one of 1522 bytes less those.

Mistaken for
------------
Other UDP between two hosts that also run tinc, to the same port number. A protocol of whole blocks and
four bytes more without any header (a CRC-32, or a MAC of 20 as clusters of Corosync have), that does all this.

Blind to
--------
A TCP connection in the middle that carries no packets, or none of these; UDP of 1.0 with another cipher or of few sizes, whose TCP connection
was not seen.
"""

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.detectors import _columns
from classifier.detectors._dialogue import SIDES
from classifier.detectors._findings import Meaning, of_rows
from classifier.detectors._headless import (
    HEAD,
    JOINED_LEAST,
    MESSAGES_LEAST,
    has_size,
    headless_blocks,
    read_headless,
)
from classifier.detectors._messages import (
    NO_ROW,
    Case,
    Mask,
    Messages,
    look_random,
    number,
    report,
    scan,
)
from classifier.detectors.heads import Heads
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR"]

TCP, UDP = 6, 17
LINE_BYTES = 64  # no name is longer than what is left here
LINE = re.compile(rb"0 [?^\w]\w{0,52} 17(?:\.[0-9]{1,2})?\n")
HEADER_BYTES, TAG_BYTES, STEP_MOST, RUN_LEAST = 16, 16, 64, 2
PAIRED_LEAST = 2
_PAIRING = ("proto", "orig_hi", "orig_lo", "orig_port", "resp_hi", "resp_lo", "resp_port")
BLOCK_BYTES, MAC_BYTES, LEAST_BYTES, SIZES_LEAST = 16, 4, 52, 4
ACK_BYTES, STATIC_KEY_LEAST = 84, 68  # the former of an opening too
# Of probes of the path's MTU, drawn from 64 to 1518 bytes, most are longer than what others send both ways
PROBE_BYTES, PROBES_LEAST = ACK_BYTES + 256, 2
ETHERNET, TYPE, INNER = 4, 16, 18  # in clear; MACs are cut to ``MACLength``, 64 bytes at most
IPV4, IPV6, ARP, ARP_BYTES, IPV6_BYTES, MAC_MOST, CLEAR_LEAST = (
    0x0800,
    0x86DD,
    0x0806,
    28,
    40,
    64,
    3,
)
STREAM_ACK, STREAM_SYN, STREAM_FULL = 72, 80, 1522
STREAM_ACKS_LEAST, STREAM_LONG_LEAST, SPLIT_LEAST = 3, 1000, 2
CLEAR_KEPT = INNER + IPV6_BYTES // 2
FIRST_OF_TYPE = (IPV4 >> 8, IPV6 >> 8, 0)  # an EtherType's first byte, or nothing
WIDTH = 48

_FAMILY = "tinc"
BOTH = Meaning(Strength.PROOF, "tinc's first line from both sides", _FAMILY)
ONE = Meaning(Strength.STRONG, "tinc's first line from one side", _FAMILY)
RUNS = Meaning(
    Strength.PROOF,
    "tinc 1.1 data both ways, {value} with constant sources and rising sequences",
    _FAMILY,
)
RUN = Meaning(
    Strength.STRONG,
    "tinc 1.1 data of one side, {value} with a constant source and rising sequence",
    _FAMILY,
)
PAIRED = Meaning(
    Strength.STRONG,
    "{value} messages that look random, to where a tinc connection of the same hosts leads",
    _FAMILY,
)

BLOCKS = Meaning(
    Strength.STRONG,
    "{value} messages without any header, random from the first byte, of whole blocks before a MAC "
    "of 4 bytes (tinc 1.0)",
    _FAMILY,
)

CLEAR = Meaning(
    Strength.STRONG,
    "{value} messages both ways that are probes of tinc 1.0, or frames in clear, and count",
    _FAMILY,
)
STREAM = Meaning(
    Strength.STRONG,
    "{value} random segments of a connection under way, of lengths that tinc's packets over TCP have",
    _FAMILY,
)


def _is_data(head: NDArray[np.uint8], kept: NDArray[np.int64]) -> Mask:
    sound: Mask = (head[:, :6] == 0).all(axis=1) & (head[:, 6:12].any(axis=1))
    sound &= look_random(head, kept, 6, 12) & (kept >= HEADER_BYTES)
    return sound & look_random(head, kept, 16, 32)


def _lines(batch: FlowBatch) -> tuple[Mask, Mask]:
    """Tell in which TCP flows originator and responder begin with the line."""
    said: Mask = np.zeros((2, batch.flows.size), np.bool_)
    for flow in np.flatnonzero(batch.flows["proto"] == TCP).tolist():
        for i, side in enumerate(SIDES):
            said[i, flow] = LINE.match(_columns.head(batch, flow, side)[:LINE_BYTES]) is not None
    return said[0], said[1]


def _paired(column: Callable[[str], NDArray[Any]], lines: Mask) -> Mask:
    """Tell which UDP flows join hosts that a TCP flow of ``lines`` joins, at its server's port.

    ``column`` gives a field of all flows.
    """
    ports = np.unique(column("resp_port")[lines])
    same_port = np.isin(column("orig_port"), ports) | np.isin(column("resp_port"), ports)
    chosen = np.flatnonzero(lines | (same_port & (column("proto") == UDP)))
    f = {name: column(name)[chosen] for name in _PAIRING}
    ends = [np.stack([f[f"{s}_hi"], f[f"{s}_lo"]], axis=1) for s in ("orig", "resp")]
    tcp = f["proto"] == TCP
    # One row for each flow and way to read it: this host is reached by that one at this port
    keys = np.concatenate(
        [
            np.column_stack([ends[1], ends[0], f["resp_port"].astype(np.uint64)]),
            np.column_stack([ends[0], ends[1], f["orig_port"].astype(np.uint64)]),
        ]
    )
    _, key = np.unique(keys, axis=0, return_inverse=True)
    key = key.reshape(2, -1)
    known = np.zeros(key.max(initial=0) + 1, np.bool_)
    known[key[0][tcp]] = True  # the server's side of a TCP connection alone
    # Either of two ends that listen at the same port may have opened the connection
    found = np.zeros(lines.size, np.bool_)
    found[chosen] = known[key].any(axis=0) & ~tcp
    return found


def _judge_tcp(batch: FlowBatch) -> list[Evidence]:
    m = Messages(batch, 0)
    first = [m.first(m.direction == d) for d in (0, 1)]
    orig, resp = _lines(batch)
    lone = np.where(orig, first[0], first[1])
    cases = [Case(orig & resp, BOTH, first[0], first[1]), Case(orig | resp, ONE, lone, lone)]
    return report(batch, DETECTOR.name, cases, orig)


def _carries_packets(sides: list[int], sizes: list[int]) -> bool:
    """Tell whether segments of a stream have the lengths of tinc's packets over TCP."""
    opening, n_acks, n_split = (STREAM_SYN, STREAM_SYN, STREAM_ACK), sizes.count(STREAM_ACK), 0
    for i in range(len(sizes) - 2 if n_acks >= STREAM_ACKS_LEAST else 0):
        turns = sides[i] == sides[i + 2] != sides[i + 1]
        if turns and tuple(sizes[i : i + 3]) == opening:
            return True
    for side in (0, 1):
        mine = [size for size, d in zip(sizes, sides, strict=True) if d == side]
        splits = [a >= STREAM_LONG_LEAST and a + b == STREAM_FULL for a, b in pairwise(mine)]
        n_split += sum(splits)
    return n_split >= SPLIT_LEAST and n_acks > 0


def _judge_joined(batch: FlowBatch) -> list[Evidence]:
    read = read_headless(batch, streams=True)
    if read is None:
        return []
    m = read.messages
    holds = read.holds.copy()
    last, n = np.zeros((2, holds.size), np.int64)
    for flow in np.flatnonzero(holds).tolist():
        ours = m.flow == flow
        sides, sizes = m.direction[ours].tolist(), m.wire[ours].tolist()
        enough = (i for i in range(3, len(sizes) + 1) if _carries_packets(sides[:i], sizes[:i]))
        n[flow] = next(enough, 0)
        holds[flow] = n[flow] > 0
        last[flow] = m.row[ours][n[flow] - 1]
    return report(batch, DETECTOR.name, [Case(holds, STREAM, m.first(m.wire > 0), last, n)])


def _may_be_joined(heads: Heads) -> Mask:
    """Choose TCP flows without their beginning of which both sides begin with random bytes."""
    chosen: Mask = heads.has_proto(TCP) & (heads.column("start_seen") == 0)
    for head, side in ((heads.orig, "orig"), (heads.resp, "resp")):
        chosen &= heads.column(f"{side}_payload_packets") >= JOINED_LEAST
        chosen &= heads.column(f"{side}_bytes_max") >= STREAM_ACK
        rows = np.flatnonzero(chosen)
        kept = heads.column(f"{side}_stop")[rows] - heads.column(f"{side}_start")[rows]
        chosen[rows] = (kept >= HEAD) & look_random(head[rows], kept, 0, HEAD)
    return has_size(heads, chosen, STREAM_ACK)


def _judge_udp(batch: FlowBatch) -> list[Evidence]:
    m = Messages(batch, WIDTH)
    data = _is_data(m.bytes, m.kept) & (m.wire >= HEADER_BYTES + TAG_BYTES)
    source = m.be(6, 6)
    counts = m.run(data, source, m.be(12, 4), STEP_MOST)
    sources = m.value(data, source)
    runs = (counts.min(axis=1) >= RUN_LEAST) & (sources[:, 0] != sources[:, 1])
    first = m.first(data)
    cases = [
        Case(runs, RUNS, first, *m.enough(data, RUN_LEAST)),
        Case(counts.max(axis=1) > RUN_LEAST, RUN, first, *m.enough(data, RUN_LEAST + 1, sides=1)),
        *_blocks(batch),
        *_clear(m),
    ]
    return report(batch, DETECTOR.name, cases, np.zeros(batch.flows.size, np.bool_))


def _clear(m: Messages) -> list[Case]:
    """Return which flows are probes and frames behind a sequence, as 1.0 sends them in clear."""
    kind, probe = m.be(TYPE, 2), _is_probe(m.bytes, m.kept)
    if m.count(probe | np.isin(kind, (IPV4, IPV6, ARP))).min(axis=1).max(initial=0) < CLEAR_LEAST:
        return []
    size, version = m.wire - INNER, m.be(INNER, 1) >> 4
    length = np.select(
        [(kind == IPV4) & (version == 4), (kind == IPV6) & (version == 6), kind == ARP],
        [m.be(INNER + 2, 2), m.be(INNER + 4, 2) + IPV6_BYTES, np.full(size.size, ARP_BYTES)],
        1 << 16,
    )
    ours = (size >= length) & (size <= length + MAC_MOST)
    ours |= probe & m.random(INNER, WIDTH)
    ours &= (m.kept >= CLEAR_KEPT) & (m.be(0, 4) > 0)
    counts = m.run(ours, np.zeros_like(size), m.be(0, 4), STEP_MOST)
    few = 4 * m.count(~ours).sum(axis=1) <= m.count(ours).sum(axis=1)
    holds = few & (counts.min(axis=1) >= CLEAR_LEAST)
    return [Case(holds, CLEAR, m.first(ours), *m.enough(ours, CLEAR_LEAST))]


def _is_probe(head: NDArray[np.uint8], kept: NDArray[np.int64]) -> Mask:
    """Tell which messages have nothing in the place of their Ethernet header but perhaps a 1."""
    probe: Mask = (head[:, ETHERNET] <= 1) & ~head[:, ETHERNET + 1 : INNER].any(axis=1)
    return probe & (kept >= INNER)


def _begins_in_clear(head: NDArray[np.uint8], kept: NDArray[np.int64]) -> Mask:
    kind = number(head, TYPE, 2)
    known = ((kind == IPV4) & (head[:, INNER] >> 4 == 4)) | (kind == ARP)
    known |= (kind == IPV6) & (head[:, INNER] >> 4 == 6)
    known |= _is_probe(head, kept) & look_random(head, kept, INNER, 32)
    return known & (kept >= CLEAR_KEPT) & (number(head, 0, 4) > 0)


def _probes_or_opens(sides: list[int], sizes: list[int]) -> bool:
    """Tell whether probes are answered by their like, or a TCP connection is opened inside."""
    long = [(d, s) for d, s in zip(sides, sizes, strict=True) if s >= PROBE_BYTES]
    probes = {s for d, s in long if d == 0} & {s for d, s in long if d == 1}
    if len(probes) >= PROBES_LEAST and 2 * sum(s in probes for _, s in long) >= len(long):
        return True
    triples = zip(sides, sides[1:], sides[2:], sizes, sizes[1:], sizes[2:], strict=False)
    opened = any(a == c != b and {*three} == {ACK_BYTES} for a, b, c, *three in triples)
    return opened and max(sizes) >= PROBE_BYTES


def _blocks(batch: FlowBatch) -> list[Case]:
    """Return which flows are whole blocks and a MAC, as 1.0 sends them, if any may be."""
    read = read_headless(batch)
    if read is None:
        return []
    m, size = read.messages, read.size
    wrong = (size % BLOCK_BYTES != MAC_BYTES) | (size < LEAST_BYTES)
    small = (size == ACK_BYTES) | (size < STATIC_KEY_LEAST)
    holds = read.holds & read.none(wrong) & (read.sizes >= SIZES_LEAST) & ~read.none(small)
    every = m.wire > 0
    last, n = m.last(every), read.n.copy()
    for flow in np.flatnonzero(holds).tolist():
        ours = m.flow == flow
        sides, sizes, few = m.direction[ours].tolist(), size[ours].tolist(), small[ours].tolist()
        enough = (
            i
            for i in range(2 * MESSAGES_LEAST, len(sizes) + 1)
            if min(map(sides[:i].count, (0, 1))) >= MESSAGES_LEAST
            and len(set(sizes[:i])) >= SIZES_LEAST
            and any(few[:i])
            and _probes_or_opens(sides[:i], sizes[:i])
        )
        n[flow] = next(enough, 0)
        holds[flow] = n[flow] > 0
        last[flow] = m.row[ours][n[flow] - 1]
    return [Case(holds, BLOCKS, m.first(every), last, n)]


def _judge_paired(batch: FlowBatch) -> list[Evidence]:
    m = Messages(batch, WIDTH)
    every = m.wire > 0
    random = m.random(0, 32) & (m.kept >= 8)
    n = m.count(every).sum(axis=1)
    same = (m.count(random).sum(axis=1) == n) & (n >= PAIRED_LEAST)
    first = m.first(every)
    second = m.first(every & (m.row > first[m.flow]))
    cases = [Case(same & (first < NO_ROW), PAIRED, first, second, PAIRED_LEAST)]
    return report(batch, DETECTOR.name, cases)


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows that begin with the line or with data of 1.1, and UDP beside such lines."""
    lines = heads.starts_with(b"0 ") & heads.has_proto(TCP)
    if lines.any():
        rows = np.flatnonzero(lines)
        batch = heads.batch
        some = FlowBatch(batch.flows[heads.rows[rows]], batch.packets, batch.payload)
        lines[rows] = np.logical_or(*_lines(some))
    udp = heads.has_proto(UDP)
    chosen = lines | _may_be_joined(heads) | headless_blocks(heads, BLOCK_BYTES)
    sides = ((heads.orig, heads.orig_kept), (heads.resp, heads.resp_kept))
    for head, kept in sides:
        rows = np.flatnonzero(udp & (head[:, 0] == 0) & (head[:, 5] == 0) & (kept >= HEADER_BYTES))
        chosen[rows] |= _is_data(head[rows], kept[rows])
    clear = np.flatnonzero(udp & (heads.orig_kept >= CLEAR_KEPT) & (heads.resp_kept >= CLEAR_KEPT))
    clear = clear[np.isin(heads.orig[clear, TYPE], FIRST_OF_TYPE)]
    for head, kept in sides:
        clear = clear[_begins_in_clear(head[clear], kept[clear])]
    chosen[clear] = True
    return chosen | _paired(heads.column, lines) if lines.any() else chosen


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find tinc among the TCP and UDP flows of a batch."""
    found: dict[int, Evidence] = {}
    tcp = batch.flows["proto"] == TCP
    orig, resp = _lines(batch)
    paired = _paired(batch.flows.__getitem__, orig | resp)
    joined = tcp & ~(orig | resp) & (batch.flows["start_seen"] == 0)
    for rows, judge in (
        *((tcp, _judge_tcp), (joined, _judge_joined)),
        *((~tcp, _judge_udp), (paired, _judge_paired)),
    ):
        chosen = np.flatnonzero(rows)
        part = FlowBatch(batch.flows[chosen], batch.packets, batch.payload)
        for e in of_rows(scan(part, judge), chosen):
            found.setdefault(e.flow, e)
    return [found[flow] for flow in sorted(found)]


DETECTOR = Detector("tinc", _FAMILY, (TCP, UDP), LINE_BYTES, detect, select)
