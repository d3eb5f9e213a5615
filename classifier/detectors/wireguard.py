"""WireGuard: four message types, told apart by their first byte, with exact lengths.

A peer announces a random 32-bit index for itself (*sender*) and is addressed by it (*receiver*)
from then on, so that an index which comes back from the other side gives the protocol away.
Numbers are little-endian. Lengths are of the UDP payload.

Handshake initiation, 148 bytes::

    0    1   type          1
    1    3   reserved      zero
    4    4   sender        index of the initiator
    8   32   ephemeral     Curve25519 public key
    40  48   static        encrypted, with tag
    88  28   timestamp     encrypted, with tag
    116 16   mac1
    132 16   mac2          zero unless a cookie was received; not judged

Handshake response, 92 bytes::

    0    1   type          2
    1    3   reserved      zero
    4    4   sender        index of the responder
    8    4   receiver      = sender of the initiation
    12  32   ephemeral
    44  16   empty         tag only
    60  32   mac1, mac2

Cookie reply, 64 bytes::

    0    1   type          3
    1    3   reserved      zero
    4    4   receiver      = sender of the message that is answered
    8   24   nonce
    32  32   cookie        encrypted, with tag

Transport data, 32 bytes and more, a multiple of 16 (a keepalive has 32); a packet that fills the
tunnel's MTU is not padded beyond it, so that full messages have MTU + 32 bytes, whatever that is
(1,452 as wg-quick sets it up)::

    0    1   type          4
    1    3   reserved      zero
    4    4   receiver      = sender of the peer, constant until the next handshake
    8    8   counter       from 0, rises with each packet of a direction
    16   n   packet        encrypted, with a tag of 16 bytes

Sources
-------
J. A. Donenfeld, "WireGuard: Next Generation Kernel Network Tunnel", NDSS 2017, sections 5.4
(messages), 6.1 (rekeying after 120 s, rejection after 180 s); https://www.wireguard.com/protocol/;
Linux, ``drivers/net/wireguard/send.c`` (padding ends at the MTU); RFC 8200 section 5 (least MTU).

Strength
--------
Proof: an index that one side announced is used by the other as receiver (response, cookie reply or
data; 32 random bits beside type, zeros and length). Proof also, in the middle of a conversation,
where both directions bring two or more data messages, each to an index of its own that stays the
same, with a rising counter below 2**48: per direction 32 bits of type, 32 of the repeated index and
16 zero bits of each counter would have to agree by chance (messages of other lengths than multiples
of 16 must be of one length in each direction, that of the MTU). Strong: a handshake message of exact
length whose keys look random; or two data messages and more in a row in one direction, to the same
index (32 bits), with a rising counter. Weak: one data message, or several that repeat neither, or a
cookie reply, and nothing else in the flow.

Mistaken for
------------
Games (LoL Wild Rift), Roughtime and CAPWAP have first packets with type byte and zeros; lengths,
index and counter tell them apart.

Blind to
--------
AmneziaWG with changed headers or padding, TunnelBear's longer handshakes, and Cloudflare WARP where
it uses the reserved bytes. A flow in which Tailscale's discovery messages are seen is left alone:
it is WireGuard inside, and Tailscale by name.
"""

import numpy as np

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
from classifier.detectors._reading import le32, looks_random
from classifier.detectors.interface import Detector
from classifier.tables import PACKET_LIMIT, Evidence, FlowBatch, Strength

__all__ = ["DETECTOR", "probe"]

UDP = 17
INITIATION, RESPONSE, COOKIE, DATA = 1, 2, 3, 4
INITIATION_BYTES, RESPONSE_BYTES, COOKIE_BYTES, DATA_LEAST, DATA_MULTIPLE = 148, 92, 64, 32, 16
FULL_LEAST = 1280 + DATA_LEAST  # of a message that may fill an MTU: no smaller one carries IPv6
HEADER_BYTES = 16  # what must be captured of any message before it is judged
SENDER, RECEIVER, RESPONSE_RECEIVER, COUNTER = 4, 4, 8, 8
# Keys, nonces, ciphertext and mac1 of a message stand together and must look random.
INITIATION_SECRET, INITIATION_SECRET_BYTES = 8, 124
RESPONSE_SECRET, RESPONSE_SECRET_BYTES = 12, 64
COOKIE_SECRET, COOKIE_SECRET_BYTES = 8, 56
DATA_SECRET, DATA_SECRET_BYTES = 16, 16
SECRET_LEAST = 8  # fewer captured bytes than this are not judged
# Keys are rejected after 180 s: a counter of 2**48 would need 1.5e12 packets a second.
COUNTER_HIGH_LIMIT = 1 << 16
# Steps between two captured packets of a direction that are still one run: losses and reordering.
STEP_LIMIT = 1 << 16
# More packets than this that are no WireGuard, before any that is: another protocol.
FOREIGN_LIMIT = 3
DISCO = 0x9FF05354  # little-endian first four bytes of a Tailscale discovery message

# Kinds of hit, the surest first
ECHO_RESPONSE, ECHO_COOKIE, ECHO_DATA, BOTH_RUNS = 1, 2, 3, 4
LONE_INITIATION, LONE_RESPONSE, ONE_RUN, LONE_DATA, LONE_COOKIE = 5, 6, 7, 8, 9

_FAMILY = "wireguard"
_MEANINGS = {
    ECHO_RESPONSE: Meaning(
        Strength.PROOF, "handshake initiation then response with the same index", _FAMILY
    ),
    ECHO_COOKIE: Meaning(
        Strength.PROOF, "handshake message then cookie reply with the same index", _FAMILY
    ),
    ECHO_DATA: Meaning(
        Strength.PROOF, "handshake message then data to the index it announced", _FAMILY
    ),
    BOTH_RUNS: Meaning(
        Strength.PROOF, "data both ways, index constant and counter rising in each", _FAMILY
    ),
    LONE_INITIATION: Meaning(
        Strength.STRONG, "handshake initiation of 148 bytes, no answer seen", _FAMILY
    ),
    LONE_RESPONSE: Meaning(
        Strength.STRONG, "handshake response of 92 bytes, its initiation not seen", _FAMILY
    ),
    ONE_RUN: Meaning(
        Strength.STRONG,
        "{value} data messages one way, index constant and counter rising",
        _FAMILY,
    ),
    LONE_DATA: Meaning(Strength.WEAK, "shaped like a data message", _FAMILY),
    LONE_COOKIE: Meaning(Strength.WEAK, "shaped like a cookie reply", _FAMILY),
}


@kernel
def probe(buf, start, stop, wire_bytes):
    """Tell which WireGuard message a UDP payload is.

    Parameters
    ----------
    buf : ndarray of uint8, read
    start, stop : int
        ``0 <= start <= stop <= buf.size``: what was captured of the payload.
    wire_bytes : int
        The payload's length on the wire.

    Returns
    -------
    int
        0 not ours, -1 cannot tell, else the message type.
    """
    data_sized = wire_bytes >= DATA_LEAST and wire_bytes % DATA_MULTIPLE == 0
    data_sized = data_sized or wire_bytes >= FULL_LEAST
    if not data_sized and wire_bytes != INITIATION_BYTES and wire_bytes != RESPONSE_BYTES:
        return 0
    kept = stop - start
    for i in range(1, min(kept, 4)):
        if buf[start + i] != 0:
            return 0
    if kept < HEADER_BYTES:
        return -1
    kind = np.int64(buf[start])
    if le32(buf, start + SENDER) == 0:  # the first index of every message
        return 0
    if kind == DATA and data_sized:
        if le32(buf, start + COUNTER + 4) >= COUNTER_HIGH_LIMIT:
            return 0
        secret, secret_bytes = DATA_SECRET, DATA_SECRET_BYTES
    elif kind == INITIATION and wire_bytes == INITIATION_BYTES:
        secret, secret_bytes = INITIATION_SECRET, INITIATION_SECRET_BYTES
    elif kind == RESPONSE and wire_bytes == RESPONSE_BYTES:
        secret, secret_bytes = RESPONSE_SECRET, RESPONSE_SECRET_BYTES
    elif kind == COOKIE and wire_bytes == COOKIE_BYTES:
        secret, secret_bytes = COOKIE_SECRET, COOKIE_SECRET_BYTES
    else:
        return 0
    secret_stop = min(start + secret + secret_bytes, stop)
    if secret_stop - (start + secret) < SECRET_LEAST:
        return kind
    return kind if looks_random(buf, start + secret, secret_stop) else 0


# Columns of ``runs``, one row per direction
INDEX, LAST_COUNTER, RUN, BEST, BEST_ROW, BEST_INDEX, FULL_BYTES = 0, 1, 2, 3, 4, 5, 6


@inline
def _extend(runs, direction, index, counter, row):
    """Add a data message to the run of its direction, or begin another."""
    run = runs[direction]
    step = counter - run[LAST_COUNTER]
    same = run[RUN] > 0 and run[INDEX] == index
    if same and -STEP_LIMIT < step <= 0:
        return  # a duplicate, or overtaken on the way
    run[RUN] = run[RUN] + 1 if same and 0 < step <= STEP_LIMIT else 1
    run[INDEX], run[LAST_COUNTER] = index, counter
    if run[RUN] > run[BEST]:
        run[BEST], run[BEST_INDEX] = run[RUN], index
        if run[RUN] <= 2:  # what follows says no more
            run[BEST_ROW] = row


@inline
def _judge(packets, payload, start, stop, runs, announced, hit):
    """Fill ``hit`` for the packets of one flow; return whether there was anything.

    ``runs`` (2, 7) and ``announced`` (PACKET_LIMIT, 3: direction, index, row) are scratch.
    """
    runs[:] = 0
    n_ours = n_foreign = n_announced = kinds = 0  # kinds: a bit per message type
    first_row = np.int64(-1)
    hit[STARTS] = 0
    for row in range(start, stop):
        p = packets[row]
        if p.payload_bytes == 0:
            continue
        kind = probe(payload, p.start, p.stop, np.int64(p.payload_bytes))
        if kind < 0:
            continue
        if kind == DATA and p.payload_bytes % DATA_MULTIPLE != 0:
            full = runs[p.direction, FULL_BYTES]
            if full != 0 and full != p.payload_bytes:
                kind = np.int64(0)
            runs[p.direction, FULL_BYTES] = p.payload_bytes
        if kind == 0:
            if p.stop - p.start >= 4 and le32(payload, p.start) == DISCO:
                return False
            n_foreign += 1
            if n_foreign > n_ours + FOREIGN_LIMIT:
                break
            continue
        if n_ours == 0:
            first_row = np.int64(row)
            hit[STARTS] = kind == INITIATION and n_foreign == 0
        n_ours += 1
        kinds |= 1 << kind
        at = p.start + (RESPONSE_RECEIVER if kind == RESPONSE else RECEIVER)
        receiver = le32(payload, at)
        if kind != INITIATION:
            for k in range(n_announced - 1, -1, -1):
                if announced[k, 0] != p.direction and announced[k, 1] == receiver:
                    hit[MEANING] = kind - RESPONSE + ECHO_RESPONSE
                    hit[FIRST], hit[LAST] = announced[k, 2], row
                    return True
        if kind <= RESPONSE and n_announced < announced.shape[0]:
            announced[n_announced, 0] = p.direction
            announced[n_announced, 1] = le32(payload, p.start + SENDER)
            announced[n_announced, 2] = row
            n_announced += 1
        if kind == DATA:
            counter = le32(payload, p.start + COUNTER)
            counter |= le32(payload, p.start + COUNTER + 4) << 32
            _extend(runs, np.int64(p.direction), receiver, counter, row)
    better = 1 if runs[1, BEST] > runs[0, BEST] else 0
    hit[FIRST], hit[LAST] = first_row, max(runs[0, BEST_ROW], runs[1, BEST_ROW])
    hit[VALUE] = runs[better, BEST]
    if min(runs[0, BEST], runs[1, BEST]) >= 2 and runs[0, BEST_INDEX] != runs[1, BEST_INDEX]:
        hit[MEANING] = BOTH_RUNS
    elif n_announced > 0:
        hit[MEANING] = LONE_INITIATION if kinds & (1 << INITIATION) else LONE_RESPONSE
        hit[FIRST] = hit[LAST] = announced[0, 2]
    elif runs[better, BEST] >= 2:
        hit[MEANING], hit[LAST] = ONE_RUN, runs[better, BEST_ROW]
    elif n_ours > 0 and n_foreign == 0:
        hit[MEANING] = LONE_DATA if kinds & (1 << DATA) else LONE_COOKIE
        hit[LAST] = first_row
    else:
        return False
    return True


@kernel
def scan(flows, packets, payload, hits):
    """Look at the UDP flows of a batch.

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
    announced = np.zeros((PACKET_LIMIT, 3), np.int64)
    for f in range(flows.size):
        flow = flows[f]
        if flow.proto != UDP:
            continue
        hit = hits[n_hits]
        hit[FLOW_ROW], hit[VALUE] = f, 0
        start, stop = flow.packets_start, flow.packets_stop
        if _judge(packets, payload, start, stop, runs, announced, hit):
            n_hits += 1
    return n_hits


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find WireGuard among the UDP flows of a batch."""
    return collect(batch, DETECTOR.name, scan, _MEANINGS)


DETECTOR = Detector("wireguard", _FAMILY, (UDP,), INITIATION_BYTES, detect)
