"""Tunnels in ICMP echoes: known headers, packets of IP inside, or replies unlike their requests.

Offsets are from the end of the ICMP header (8 bytes). ptunnel and ptunnel-ng, big-endian::

    0    4   magic        0xD5200880, of ptunnel-ng 0xDEADC0DE or what the user says
    4    8   destination  address and port, from the client
    12   4   state        0 to 5; with 0x40000000 from the client, 0x80000000 from the proxy
    16   4   ack          number of the packet received last
    20   4   data         how many bytes follow the header of 28, one less where padded to be even

hans::

    0    4   magic        "hanc" from the client, "hans" from the server
    4    1   type         1 to 9

icmptunnel (J. Barlow-Bignell)::

    0    4   magic        "LNUT" from the client, "TUNL" from the server
    4    1   flags        0 or 1
    5    1   type         0 to 5

icmptunnel (D. Kapil) and its kind: an IPv4 packet as long as the payload.

Sources
-------
RFC 792, page 14: the data received in the echo message must be returned in the echo reply message.
D. Stødle, "Ping Tunnel", https://www.cs.uit.no/~daniels/PingTunnel/ (packet format), utoni/ptunnel-ng
``src/pkt.h``; friedrich/hans ``src/worker.h``, ``client.cpp``, ``server.cpp``; jamesbarlow/icmptunnel
``src/protocol.h``; DhavalKapil/icmptunnel ``README.md``.

Strength
--------
Proof: the client's header one way and the server's the other (ptunnel: state and length agree,
27 and 31 bits, with any magic); or IP packets both ways, two and more each, between other addresses
than those of the flow. Strong: headers of one side, which a host that is no server only echoes; or
IPv4 echoes, of which both sides sent four and more payloads that nothing of the other side equals,
four of five of all that they sent: no host that keeps RFC 792 answers so.

Mistaken for
------------
ICMP errors, which carry the packet they complain of: its source is the one they are sent to, and
flows that begin with an error are not looked at.
Pings both ways at a time; replies cut short by the host, as some name servers do: the shorter is
then the longer's beginning.

Blind to
--------
Tunnels of less than four packets each way without a known header; all such in ICMPv6, where
neighbour discovery shares the flow; tunnels in errors, redirects and time stamps.
"""

import numpy as np
from numpy.typing import NDArray

from classifier._jit import inline, kernel
from classifier.detectors._findings import (
    FIRST,
    FLOW_ROW,
    LAST,
    MEANING,
    STARTS,
    VALUE,
    Meaning,
    collect,
)
from classifier.detectors._inner import inner_ip
from classifier.detectors._reading import be32
from classifier.detectors.heads import Heads
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR", "probe"]

ICMP, ICMP6 = 1, 58
ECHO, ECHO_REPLY, ECHO6, ECHO_REPLY6 = 8, 0, 128, 129
PTUNNEL_MAGIC, PTUNNEL_NG_MAGIC = 0xD5200880, 0xDEADC0DE
PTUNNEL_STATE, PTUNNEL_DATA, PTUNNEL_BYTES = 12, 20, 28
PTUNNEL_STATE_MOST, FROM_CLIENT, FROM_PROXY = 5, 0x40000000, 0x80000000
HANS_CLIENT, HANS_SERVER = 0x68616E63, 0x68616E73  # "hanc", "hans"
HANS_BYTES, HANS_TYPE_LEAST, HANS_TYPE_MOST = 5, 1, 9
BARLOW_CLIENT, BARLOW_SERVER = 0x4C4E5554, 0x54554E4C  # "LNUT", "TUNL"
BARLOW_BYTES, BARLOW_FLAGS_MOST, BARLOW_TYPE_MOST = 6, 1, 5
IPV4_BYTES, IPV4_SOURCE, IPV4_DESTINATION = 20, 12, 16
UNLIKE_LEAST, IP_LEAST = 4, 2

# What ``probe`` tells: of a client, + SERVER of a server
PTUNNEL, HANS, BARLOW, IP_INSIDE, SERVER = 1, 2, 3, 4, 8
# Kinds of hit: the above, + ALONE where one side only
UNLIKE, ALONE = 5, 8

_FAMILY = "icmp-tunnel"
_NAMES = {PTUNNEL: "ptunnel", HANS: "hans", BARLOW: "icmptunnel"}
_MEANINGS = {
    kind: Meaning(Strength.PROOF, f"headers of {name}'s client and server", _FAMILY)
    for kind, name in _NAMES.items()
} | {
    kind + ALONE: Meaning(Strength.STRONG, f"header of {name}, one side alone", _FAMILY)
    for kind, name in _NAMES.items()
}
_MEANINGS[IP_INSIDE] = Meaning(Strength.PROOF, "IP packets of other hosts both ways", _FAMILY)
_MEANINGS[UNLIKE] = Meaning(
    Strength.STRONG, "{value} echoes that the other side never sent, so both ways", _FAMILY
)


@kernel
def probe(buf, start, stop, wire_bytes):
    """Tell whose header an ICMP payload has.

    Parameters
    ----------
    buf : ndarray of uint8, read
    start, stop : int
        ``0 <= start <= stop <= buf.size``: what was captured behind the ICMP header.
    wire_bytes : int
        Its length on the wire.

    Returns
    -------
    int
        0 not ours, -1 cannot tell, 1 ptunnel, 2 hans, 3 icmptunnel, 4 an IPv4 packet; 8 more for a
        server's.
    """
    if wire_bytes < HANS_BYTES:
        return 0
    if stop - start < HANS_BYTES:
        return -1
    if stop - start >= PTUNNEL_BYTES:
        state = be32(buf, start + PTUNNEL_STATE)
        sides = state & (FROM_CLIENT | FROM_PROXY)
        padding = wire_bytes - PTUNNEL_BYTES - be32(buf, start + PTUNNEL_DATA)
        if state - sides <= PTUNNEL_STATE_MOST and 0 <= padding <= 1:
            if sides == FROM_CLIENT:
                return PTUNNEL
            if sides == FROM_PROXY:
                return PTUNNEL + SERVER
    magic = be32(buf, start)
    if magic == HANS_CLIENT or magic == HANS_SERVER:
        if buf[start + 4] < HANS_TYPE_LEAST or buf[start + 4] > HANS_TYPE_MOST:
            return 0
        return HANS if magic == HANS_CLIENT else HANS + SERVER
    if magic == BARLOW_CLIENT or magic == BARLOW_SERVER:
        if wire_bytes < BARLOW_BYTES or buf[start + 4] > BARLOW_FLAGS_MOST:
            return 0
        if stop - start < BARLOW_BYTES:
            return -1
        if buf[start + 5] > BARLOW_TYPE_MOST:
            return 0
        return BARLOW if magic == BARLOW_CLIENT else BARLOW + SERVER
    if buf[start] >> 4 != 4 or wire_bytes < IPV4_BYTES:
        return 0
    total = inner_ip(buf, start, stop, wire_bytes)
    return min(total, 0) if total <= 0 else IP_INSIDE if total == wire_bytes else 0


@inline
def _alike(buf, p, q):
    """Tell whether one payload is the other, or its beginning, as far as both were kept."""
    n = min(p.stop - p.start, q.stop - q.start)
    for i in range(n):
        if buf[p.start + i] != buf[q.start + i]:
            return False
    return n > 0 or p.payload_bytes == q.payload_bytes


@inline
def _count_unlike(packets, payload, start, stop, direction):
    """Count packets of a direction with payload, and those that equal none of the other's."""
    n = unlike = 0
    for row in range(start, stop):
        p = packets[row]
        if p.direction != direction or p.stop == p.start:
            continue
        n += 1
        found = False
        for other in range(start, stop):
            q = packets[other]
            if q.direction != direction and q.stop > q.start and _alike(payload, p, q):
                found = True
                break
        unlike += not found
    # Of five four: one may be an error, or an echo whose other half was lost
    return unlike if 5 * unlike >= 4 * n else 0


@inline
def _is_ptunnel(packets, payload, row):
    """Tell whether a packet has a magic that is ptunnel's by default."""
    if packets[row].stop - packets[row].start < PTUNNEL_BYTES:
        return False
    magic = be32(payload, packets[row].start)
    return magic == PTUNNEL_MAGIC or magic == PTUNNEL_NG_MAGIC


@inline
def _judge(packets, payload, flow, seen, hit):
    """Fill ``hit`` for the packets of a flow; return whether there was anything.

    ``seen`` (2, 16), scratch: per direction and what ``probe`` told, how many; 0: first source.
    """
    seen[:] = 0
    start, stop = flow.packets_start, flow.packets_stop
    hit[FIRST], hit[LAST], hit[VALUE], hit[STARTS] = -1, stop - 1, 0, 0
    errors = 0
    for row in range(start, stop):
        p = packets[row]
        kind = probe(payload, p.start, p.stop, np.int64(p.payload_bytes))
        if kind <= 0:
            continue
        here, there = np.int64(p.direction), 1 - np.int64(p.direction)
        if kind == IP_INSIDE:
            sent_to = np.int64(flow.orig_lo if here == 1 else flow.resp_lo)
            source = be32(payload, p.start + IPV4_SOURCE)
            if source == sent_to or be32(payload, p.start + IPV4_DESTINATION) == sent_to:
                errors += 1
                continue
            seen[here, 0] = source
        if hit[FIRST] < 0:
            hit[FIRST], hit[STARTS] = row, row == start
        seen[here, kind] += 1
        both = seen[there, kind ^ SERVER] > 0
        if kind == IP_INSIDE:
            both = min(seen[here, kind], seen[there, kind]) >= IP_LEAST
            both = both and seen[here, 0] != seen[there, 0]  # an echo has the same
        if both:
            hit[MEANING], hit[LAST] = kind & ~SERVER, row
            return True
    for kind in range(PTUNNEL, IP_INSIDE):
        mine = seen[0, kind] + seen[1, kind] + seen[0, kind + SERVER] + seen[1, kind + SERVER]
        if mine > 0 and (kind != PTUNNEL or _is_ptunnel(packets, payload, hit[FIRST])):
            hit[MEANING], hit[LAST] = kind + ALONE, hit[FIRST]
            return True
    if flow.proto != ICMP or errors > 0:
        return False
    one = _count_unlike(packets, payload, start, stop, 0)
    other = _count_unlike(packets, payload, start, stop, 1)
    hit[MEANING], hit[VALUE], hit[FIRST], hit[STARTS] = UNLIKE, one + other, start, 0
    return min(one, other) >= UNLIKE_LEAST


@kernel
def scan(flows, packets, payload, hits):
    """Look at the ICMP flows of a batch.

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
    seen = np.zeros((2, 16), np.int64)
    for f in range(flows.size):
        flow = flows[f]
        kind = np.int64(flow.icmp) >> 8
        if flow.proto == ICMP:
            if kind != ECHO and kind != ECHO_REPLY:
                continue
        elif flow.proto != ICMP6 or (kind != ECHO6 and kind != ECHO_REPLY6):
            continue
        hit = hits[n_hits]
        hit[FLOW_ROW] = f
        if _judge(packets, payload, flow, seen, hit):
            n_hits += 1
    return n_hits


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose echoes, of which an ordinary ping has one payload and its like in either direction."""
    first, answer = heads.orig, heads.resp
    kept = np.minimum(np.minimum(heads.orig_kept, heads.resp_kept), first.shape[1])
    shared = np.arange(first.shape[1]) < kept[:, None]
    same = ((first == answer) | ~shared).all(axis=1) & (kept > 0)
    several = heads.column("orig_packets") + heads.column("resp_packets") > 2 * UNLIKE_LEAST
    known = np.zeros(first.shape[0], np.bool_)
    kind = heads.column("icmp") >> 8
    echo = np.where(
        heads.has_proto(ICMP),
        (kind == ECHO) | (kind == ECHO_REPLY),
        (kind == ECHO6) | (kind == ECHO_REPLY6),
    )
    for magic in (HANS_CLIENT, HANS_SERVER, BARLOW_CLIENT, BARLOW_SERVER):
        known |= heads.starts_with(magic.to_bytes(4, "big"))
    for one in (first, answer):
        state = one[:, PTUNNEL_STATE : PTUNNEL_STATE + 4]
        side = (state[:, 0] == FROM_CLIENT >> 24) | (state[:, 0] == FROM_PROXY >> 24)
        known |= side & (state[:, 1] == 0) & (state[:, 2] == 0) & (state[:, 3] <= 5)
    ip_inside = (first[:, 0] >> 4 == 4) | (answer[:, 0] >> 4 == 4)
    chosen: NDArray[np.bool_] = echo & (known | ip_inside | (several & ~same))
    return chosen


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find tunnels among the ICMP flows of a batch."""
    return collect(batch, DETECTOR.name, scan, _MEANINGS)


DETECTOR = Detector("icmp-tunnel", _FAMILY, (ICMP, ICMP6), 1536, detect, select)
