"""Flows of messages that show no header at all: both sides, random from the first byte.

OpenVPN with a static key and tinc 1.0 are told by the sizes of such messages alone. That nothing
is clear is half of it: most protocols have a byte that stays the same in all messages of a side.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier.detectors._messages import Ints, Mask, Messages, look_random
from classifier.detectors.heads import Heads
from classifier.tables import FlowBatch

__all__ = ["LENGTH_BYTES", "TCP", "Headless", "may_be_headless", "read_headless"]

TCP = 6
MESSAGES_LEAST = 4  # of each side: 16 bytes agree among four by chance in one flow of a million
HEAD, WIDTH = 16, 34
LENGTH_BYTES = 2  # before each message over TCP
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


def read_headless(batch: FlowBatch, shift: int = 0) -> Headless:
    """Read the messages of flows of one transport.

    Parameters
    ----------
    batch : FlowBatch
    shift : int
        Bytes of a length before each message, which must be that of the rest of its segment.
    """
    m = Messages(batch, WIDTH)
    size = m.wire - shift
    whole = (m.be(0, shift) == size) if shift else np.ones(size.size, np.bool_)
    ours = whole & (m.kept >= HEAD + shift) & m.random(shift, WIDTH)
    n = m.count(ours)
    holds = (n.min(axis=1) >= MESSAGES_LEAST) & (m.count(~ours).sum(axis=1) == 0)
    low = np.full((2 * m.n_flows, HEAD), 255, np.uint8)
    high = np.zeros((2 * m.n_flows, HEAD), np.uint8)
    head, side = m.bytes[:, shift : shift + HEAD], m.flow * 2 + m.direction
    np.minimum.at(low, side, head)
    np.maximum.at(high, side, head)
    holds &= (low < high).all(axis=1).reshape(-1, 2).all(axis=1)
    pairs = np.unique(np.stack([m.flow, size], axis=1), axis=0)
    sizes = np.bincount(pairs[:, 0], minlength=m.n_flows).astype(np.int64)
    return Headless(m, holds, size, sizes, n.sum(axis=1))


def may_be_headless(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows with messages of both sides that begin with random bytes."""
    tcp = heads.flows["proto"] == TCP
    chosen: Mask = np.ones(heads.flows.size, np.bool_)
    for side in ("orig", "resp"):
        chosen &= heads.flows[f"{side}_payload_packets"] >= MESSAGES_LEAST
    for head, kept in ((heads.orig, heads.orig_kept), (heads.resp, heads.resp_kept)):
        chosen &= (kept >= HEAD + LENGTH_BYTES) & ~(tcp & (head[:, 0] > HIGH_BYTE_MOST))
        for over_tcp, shift in ((False, 0), (True, LENGTH_BYTES)):
            rows = np.flatnonzero(chosen & (tcp == over_tcp))
            chosen[rows] = look_random(head[rows], kept[rows], shift, shift + HEAD)
    return chosen
