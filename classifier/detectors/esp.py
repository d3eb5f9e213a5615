"""ESP: an index that stays the same and a sequence number that counts, by itself or inside UDP.

IP protocol 50, or a UDP payload (NAT traversal, port 4500). Numbers are big-endian::

    0    4   SPI        1-255 reserved, 0 never on the wire (inside UDP: the non-ESP marker)
    4    4   sequence   from 1, rises with each packet of an SPI
    8    n   IV, ciphertext and integrity check value; whole multiples of 4 bytes

A NAT keepalive is a UDP payload of one byte, 0xFF.

Sources
-------
RFC 4303 section 2 (ESP; 2.4 alignment), RFC 3948 sections 2 and 4 (inside UDP, keepalives).

Strength
--------
Protocol 50: proof where two packets share an SPI of 256 or more and the sequence rises, or both
sides send valid packets; else strong. Inside UDP, on any port: strong where each direction brings
three packets or more of an SPI of its own with a sequence that rises by 64 at most, content that
looks random, and nothing in the flow that is not ESP, IKE's marker or a keepalive (90 bits and
more that must agree; none among 50,000 UDP flows of other protocols). Else weak on port 4500, and
nothing elsewhere.

Mistaken for
------------
Games (Nintendo's peer-to-peer) and Mosh's server have a constant and a counter in one direction, so
that one direction alone inside UDP is never more than weak, and nothing on other ports: two of some
thousand other UDP flows of public captures would match there, and nobody could tell. WireGuard on port 4500 repeats its second
number, ESP never does.

Blind to
--------
One direction alone inside UDP on another port; NULL encryption there, whose payload is not random.
"""

import numpy as np

from classifier._jit import inline, kernel
from classifier.detectors._findings import FIRST, FLOW_ROW, LAST, MEANING, VALUE, Meaning, collect
from classifier.detectors._reading import be32, looks_random
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR", "probe"]

UDP, ESP = 17, 50
HEADER_BYTES, LEAST_BYTES, ALIGNMENT = 8, 32, 4  # least: header, IV, one block, check value
SPI_LEAST = 256
NAT_PORT, KEEPALIVE = 4500, 0xFF
STEP_MOST, RUN_LEAST = 64, 3

# What ``probe`` tells of a UDP payload
IS_ESP, IS_MARKED, IS_KEEPALIVE = 1, 2, 3
# Kinds of hit
COUNTING, SINGLE, NAT_BOTH, NAT_SOME, NAT_KEEPALIVE, BOTH_WAYS = 1, 2, 3, 4, 5, 6

_FAMILY = "ipsec"
_MEANINGS = {
    COUNTING: Meaning(
        Strength.PROOF, "ESP, two packets of SPI {value:#010x} with rising sequence", _FAMILY
    ),
    BOTH_WAYS: Meaning(Strength.PROOF, "ESP packets from both sides", _FAMILY),
    SINGLE: Meaning(Strength.STRONG, "ESP packet of SPI {value:#010x}", _FAMILY),
    NAT_BOTH: Meaning(
        Strength.STRONG,
        "ESP inside UDP both ways, {value} packets with constant SPIs and rising sequences",
        _FAMILY,
    ),
    NAT_SOME: Meaning(Strength.WEAK, "shaped like ESP inside UDP, on port 4500", _FAMILY),
    NAT_KEEPALIVE: Meaning(Strength.WEAK, "NAT keepalive on port 4500", _FAMILY),
}


@kernel
def probe(buf, start, stop, wire_bytes):
    """Tell what a payload of UDP port 4500, or of IP protocol 50, may be.

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
        0 not ours, -1 cannot tell, 1 ESP, 2 begins with the non-ESP marker, 3 keepalive.
    """
    if stop <= start:
        return -1
    if wire_bytes == 1:
        return IS_KEEPALIVE if buf[start] == KEEPALIVE else 0
    if wire_bytes < LEAST_BYTES:
        return 0
    if stop - start < HEADER_BYTES:
        return -1
    spi = be32(buf, start)
    if spi == 0:
        return IS_MARKED
    if spi < SPI_LEAST or wire_bytes % ALIGNMENT != 0 or be32(buf, start + 4) == 0:
        return 0
    return IS_ESP


# Columns of ``runs``, one row per direction
SPI, SEQUENCE, RUN, BEST, BEST_SPI, BEST_ROW, FIRST_ROW = 0, 1, 2, 3, 4, 5, 6


@inline
def _judge(packets, payload, flow, runs, hit):
    """Fill ``hit`` for a flow; return whether there was anything. ``runs`` (2, 7) is scratch."""
    outer = flow.proto == ESP
    nat = flow.orig_port == NAT_PORT or flow.resp_port == NAT_PORT
    n_esp = n_keepalives = n_plain = 0
    first_row = np.int64(-1)
    for row in range(flow.packets_start, flow.packets_stop):
        p = packets[row]
        if p.payload_bytes == 0:
            continue
        kind = probe(payload, p.start, p.stop, np.int64(p.payload_bytes))
        if kind == 0 and not outer:
            return False
        if kind == IS_KEEPALIVE:
            n_keepalives += 1
            hit[LAST] = row
        if kind != IS_ESP:
            continue
        secret = p.start + HEADER_BYTES
        if not outer:
            end = min(secret + 16, p.stop)
            if end - secret >= 8 and not looks_random(payload, secret, end):
                n_plain += 1
        n_esp += 1
        if first_row < 0:
            first_row = np.int64(row)
        run = runs[p.direction]
        spi, sequence = be32(payload, p.start), be32(payload, p.start + 4)
        step = sequence - run[SEQUENCE]
        same = run[RUN] > 0 and run[SPI] == spi
        if same and step == 0 and not outer:
            return False
        if same and -STEP_MOST <= step <= 0:
            continue  # overtaken on the way, or captured twice
        rises = same and step > 0 and (outer or step <= STEP_MOST)
        run[RUN] = run[RUN] + 1 if rises else 1
        if run[RUN] == 1:
            run[FIRST_ROW] = row
        run[SPI], run[SEQUENCE] = spi, sequence
        if run[RUN] > run[BEST]:
            run[BEST], run[BEST_SPI] = run[RUN], spi
            if run[RUN] <= RUN_LEAST:  # what follows says no more
                run[BEST_ROW] = row
        if outer and rises:
            hit[MEANING], hit[VALUE] = COUNTING, spi
            hit[FIRST], hit[LAST] = run[FIRST_ROW], row
            return True
        if outer and runs[1 - p.direction, RUN] > 0:
            hit[MEANING], hit[FIRST], hit[LAST] = BOTH_WAYS, runs[1 - p.direction, FIRST_ROW], row
            return True
    if n_esp == 0:
        hit[MEANING], hit[FIRST] = NAT_KEEPALIVE, hit[LAST]
        return nat and not outer and n_keepalives > 0
    least = min(runs[0, BEST], runs[1, BEST])
    differ = runs[0, BEST_SPI] != runs[1, BEST_SPI]
    hit[FIRST], hit[LAST] = first_row, max(runs[0, BEST_ROW], runs[1, BEST_ROW])
    hit[VALUE] = 2 * RUN_LEAST
    if outer:
        hit[MEANING], hit[LAST], hit[VALUE] = (
            SINGLE,
            first_row,
            be32(payload, packets[first_row].start),
        )
        return True
    both = least >= RUN_LEAST and differ and n_plain == 0
    hit[MEANING] = NAT_BOTH if both else NAT_SOME
    return both or nat


@kernel
def scan(flows, packets, payload, hits):
    """Look at the ESP and UDP flows of a batch.

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
    runs = np.zeros((2, 7), np.int64)
    for f in range(flows.size):
        flow, hit = flows[f], hits[n_hits]
        if flow.proto == ESP or flow.proto == UDP:
            hit[:] = 0
            runs[:] = 0
            hit[FLOW_ROW] = f
            n_hits += _judge(packets, payload, flow, runs, hit)
    return n_hits


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find ESP among the ESP and UDP flows of a batch."""
    return collect(batch, DETECTOR.name, scan, _MEANINGS)


DETECTOR = Detector("ipsec-esp", _FAMILY, (UDP, ESP), 24, detect)
