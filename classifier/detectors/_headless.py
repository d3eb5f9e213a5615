"""Flows of messages that show no header at all: both sides, random from the first byte.

OpenVPN with a static key and tinc 1.0 are told by the sizes of such messages alone. That nothing
is clear is half of it: most protocols have a byte that stays the same in all messages of a side.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier._jit import inline, kernel
from classifier.detectors._framing import LENGTH_BYTES
from classifier.detectors._messages import Ints, Mask, Messages
from classifier.detectors._reading import looks_random
from classifier.detectors.heads import Heads
from classifier.tables import FlowBatch

__all__ = [
    "HEAD",
    "JOINED_LEAST",
    "MESSAGES_LEAST",
    "TCP",
    "Headless",
    "has_size",
    "headless_blocks",
    "headless_streams",
    "mark_headless",
    "read_headless",
]

TCP, UDP = 6, 17
MESSAGES_LEAST = 4  # of each side: 16 bytes agree among four by chance in one flow of a million
JOINED_LEAST = 3  # segments of either side, where other lengths must be seen besides
SEGMENTS_LEAST = 2  # over TCP, where one may hold several
HEAD, WIDTH = 16, 34
HIGH_BYTE_MOST = 5  # of that length: no message of a tunnel fills two segments


class Headless(NamedTuple):
    """What was read of some flows.

    Attributes
    ----------
    messages : Messages
    holds : ndarray of bool, shape (n_flows,)
        All messages are of this kind, and there are enough of either side.
    size : ndarray of int64, shape (n_messages,)
        Bytes of each message on the wire.
    sizes, n : ndarray of int64, shape (n_flows,)
        Different sizes, and messages.
    """

    messages: Messages
    holds: Mask
    size: Ints
    sizes: Ints
    n: Ints

    def none(self, wrong: Mask) -> Mask:
        """Tell which flows have no such message."""
        clean: Mask = self.messages.count(wrong).sum(axis=1) == 0
        return clean


def read_headless(batch: FlowBatch, *, streams: bool = False) -> Headless | None:
    """Read the messages of UDP flows, or (``streams``) the segments of TCP; None where no flow holds.

    Segments may hold a message's last few bytes, which say nothing.
    """
    if not streams and not _marks(batch).any():
        return None
    m = Messages(batch, WIDTH)
    ours = (m.kept >= HEAD) & m.random(0, WIDTH)
    n = m.count(ours)
    wrong = ~ours & (m.wire >= HEAD) if streams else ~ours
    least = JOINED_LEAST if streams else MESSAGES_LEAST
    holds = (n.min(axis=1) >= least) & (m.count(wrong).sum(axis=1) == 0)
    if not holds.any():
        return None
    low = np.full((2 * m.n_flows, HEAD), 255, np.uint8)
    high = np.zeros((2 * m.n_flows, HEAD), np.uint8)
    head, side = m.bytes[ours, :HEAD], (m.flow * 2 + m.direction)[ours]
    np.minimum.at(low, side, head)
    np.maximum.at(high, side, head)
    holds &= (low < high).all(axis=1).reshape(-1, 2).all(axis=1)
    if not holds.any():
        return None
    pairs = np.unique(np.stack([m.flow, m.wire], axis=1), axis=0)
    sizes = np.bincount(pairs[:, 0], minlength=m.n_flows).astype(np.int64)
    return Headless(m, holds, m.wire, sizes, n.sum(axis=1))


@inline
def _begins_random(buf, start, stop, shift):
    """Tell whether a head is long enough and random, from ``shift`` on."""
    if stop - start < HEAD + LENGTH_BYTES:
        return False
    return looks_random(buf, start + shift, start + shift + HEAD)


@kernel
def mark_headless(flows, packets, payload, found):
    """Tell which flows show no header: of UDP all messages, of TCP both streams behind a length.

    Parameters
    ----------
    flows, packets, payload : ndarray of FLOW, SERIES, uint8, read
    found : ndarray of uint8, shape (n_flows,), written
        0 where they do, else 1; of UDP, with the bits 8 and 16 where all sizes leave one rest of
        blocks of as many bytes.
    """
    low = np.zeros(2 * HEAD, np.uint8)
    high = np.zeros(2 * HEAD, np.uint8)
    n = np.zeros(2, np.int64)
    for f in range(flows.size):
        flow = flows[f]
        found[f] = 0
        fewest = min(flow.orig_payload_packets, flow.resp_payload_packets)
        orig, resp = flow.orig_start, flow.resp_start
        if flow.proto == TCP:
            if fewest >= SEGMENTS_LEAST and orig < flow.orig_stop and resp < flow.resp_stop:
                short = payload[orig] <= HIGH_BYTE_MOST and payload[resp] <= HIGH_BYTE_MOST
                if short and _begins_random(payload, orig, flow.orig_stop, LENGTH_BYTES):
                    found[f] = _begins_random(payload, resp, flow.resp_stop, LENGTH_BYTES)
            continue
        if flow.proto != UDP or fewest < MESSAGES_LEAST:
            continue
        if not _begins_random(payload, orig, flow.orig_stop, 0):
            continue
        if not _begins_random(payload, resp, flow.resp_stop, 0):
            continue
        low[:], high[:], n[:] = 255, 0, 0
        any_bit, every_bit = np.int64(0), np.int64(-1)
        clear = False
        for row in range(flow.packets_start, flow.packets_stop):
            p = packets[row]
            if p.payload_bytes == 0:
                continue
            stop = min(p.stop, p.start + WIDTH)
            if stop - p.start < HEAD or not looks_random(payload, p.start, stop):
                clear = True
                break
            side = np.int64(p.direction)
            n[side] += 1
            any_bit |= np.int64(p.payload_bytes)
            every_bit &= np.int64(p.payload_bytes)
            for i in range(HEAD):
                byte = payload[p.start + i]
                at = side * HEAD + i
                low[at] = min(low[at], byte)
                high[at] = max(high[at], byte)
        if clear or min(n[0], n[1]) < MESSAGES_LEAST:
            continue
        changes = True
        for i in range(2 * HEAD):
            changes &= low[i] < high[i]
        if changes:
            differ = any_bit ^ every_bit
            found[f] = 1 + 8 * (differ & 7 == 0) + 16 * (differ & 15 == 0)


def has_size(heads: Heads, chosen: Mask, size: int) -> Mask:
    """Choose those flows of which a packet has a payload of this size."""
    rows = np.flatnonzero(chosen)
    first = heads.column("packets_start")[rows].astype(np.int64)
    n = heads.column("packets_stop")[rows] - first
    rows, first, n = rows[n > 0], first[n > 0], n[n > 0]
    begins = np.cumsum(n) - n
    sizes = heads.batch.packets["payload_bytes"][np.arange(n.sum()) + np.repeat(first - begins, n)]
    found: Mask = np.zeros(heads.size, np.bool_)
    if rows.size:
        found[rows] = np.logical_or.reduceat(sizes == size, begins)
    return found


def _marks(batch: FlowBatch) -> NDArray[np.uint8]:
    found = np.empty(batch.flows.size, np.uint8)
    mark_headless(batch.flows, batch.packets, batch.payload, found)
    return found


def headless_blocks(heads: Heads, block: int) -> Mask:
    """Choose flows of UDP without headers, whose messages have sizes that all leave one rest.

    Parameters
    ----------
    heads : Heads
    block : int
        8 or 16.
    """
    blocks: Mask = heads.shared(_marks) & block > 0
    return blocks


def headless_streams(heads: Heads) -> Mask:
    """Choose flows of TCP of which both sides begin with a length and random bytes."""
    streams: Mask = heads.has_proto(TCP) & (heads.shared(_marks) > 0)
    return streams
