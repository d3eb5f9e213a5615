"""Flows of messages that show no header at all: both sides, random from the first byte.

OpenVPN with a static key and tinc 1.0 are told by the sizes of such messages alone. That nothing
is clear is half of it: most protocols have a byte that stays the same in all messages of a side.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier.detectors._framing import LENGTH_BYTES
from classifier.detectors._messages import Ints, Mask, Messages, look_random
from classifier.detectors.heads import Heads
from classifier.tables import FlowBatch

__all__ = [
    "HEAD",
    "JOINED_LEAST",
    "MESSAGES_LEAST",
    "TCP",
    "Headless",
    "has_size",
    "in_blocks",
    "may_be_headless",
    "read_headless",
]

TCP = 6
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


def may_be_headless(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows with messages of both sides that begin with random bytes."""
    return heads.once(_may_be_headless)


def _may_be_headless(heads: Heads) -> NDArray[np.bool_]:
    chosen: Mask = np.ones(heads.size, np.bool_)
    least = np.where(heads.has_proto(TCP), SEGMENTS_LEAST, MESSAGES_LEAST)
    for side in ("orig", "resp"):
        chosen &= heads.column(f"{side}_payload_packets") >= least
    rows = np.flatnonzero(chosen)
    tcp = heads.column("proto")[rows] == TCP
    sides = ((heads.orig, heads.orig_kept), (heads.resp, heads.resp_kept))
    for head, kept in sides:
        high = head[rows, 0] > HIGH_BYTE_MOST
        sound = (kept[rows] >= HEAD + LENGTH_BYTES) & ~(tcp & high)
        rows, tcp = rows[sound], tcp[sound]
    for head, kept in sides:
        sound = np.zeros(rows.size, np.bool_)
        for over_tcp, shift in ((False, 0), (True, LENGTH_BYTES)):
            part = np.flatnonzero(tcp == over_tcp)
            some = rows[part]
            sound[part] = look_random(head[some], kept[some], shift, shift + HEAD)
        rows, tcp = rows[sound], tcp[sound]
    chosen[:] = False
    chosen[rows] = True
    return chosen


def _sizes(heads: Heads, chosen: Mask) -> tuple[Ints, Ints, Ints]:
    """Return flows with packets, the payload bytes of all these, and where each flow's begin."""
    rows = np.flatnonzero(chosen)
    first = heads.column("packets_start")[rows].astype(np.int64)
    n = heads.column("packets_stop")[rows] - first
    rows, first, n = rows[n > 0], first[n > 0], n[n > 0]
    begins = np.cumsum(n) - n
    at = np.arange(n.sum()) + np.repeat(first - begins, n)
    return rows, heads.batch.packets["payload_bytes"][at], begins


def has_size(heads: Heads, chosen: Mask, size: int) -> Mask:
    """Choose those flows of which a packet has a payload of this size."""
    rows, sizes, begins = _sizes(heads, chosen)
    found: Mask = np.zeros(heads.size, np.bool_)
    if rows.size:
        found[rows] = np.logical_or.reduceat(sizes == size, begins)
    return found


def in_blocks(heads: Heads, chosen: Mask, block: int) -> Mask:
    """Choose those flows whose messages have sizes that all leave one rest.

    Parameters
    ----------
    heads : Heads
    chosen : ndarray of bool, shape (n_flows,)
    block : int
        A power of two.
    """
    rows, size, begins = _sizes(heads, chosen)
    rest, empty = size & (block - 1), size == 0
    any_bit = np.bitwise_or.reduceat(np.where(empty, 0, rest), begins)
    every_bit = np.bitwise_and.reduceat(np.where(empty, block - 1, rest), begins)
    alike: Mask = np.zeros(heads.size, np.bool_)
    alike[rows] = any_bit == every_bit
    return alike
