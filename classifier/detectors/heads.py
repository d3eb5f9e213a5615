"""The first bytes of every flow as columns: where detectors choose what to look at.

A detector's ``select`` compares these columns for all flows at once with numpy; its kernel then
reads the packets of the few flows that are left. A capture without such flows never compiles it.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from classifier.tables import FlowBatch

__all__ = ["HEAD_BYTES", "Heads"]

#: Bytes of each direction's head that stand in a row.
HEAD_BYTES = 32


class Heads:
    """The heads of both directions of the flows of a batch.

    Parameters
    ----------
    batch : FlowBatch

    Attributes
    ----------
    flows : ndarray of FLOW, shape (n_flows,)
    """

    def __init__(self, batch: FlowBatch) -> None:
        self.batch = batch
        self.flows = batch.flows

    @cached_property
    def orig(self) -> NDArray[np.uint8]:
        """First bytes that the originator sent, shape (n_flows, HEAD_BYTES); zeros beyond the end.

        TCP: of its stream in sequence; else: of its first datagram of which something was kept.
        """
        return self._first("orig")

    @cached_property
    def resp(self) -> NDArray[np.uint8]:
        """First bytes that the responder sent, likewise."""
        return self._first("resp")

    @cached_property
    def orig_kept(self) -> NDArray[np.int64]:
        """Bytes of the originator's head that were kept, shape (n_flows,); not cut to HEAD_BYTES."""
        kept: NDArray[np.int64] = self.flows["orig_stop"] - self.flows["orig_start"]
        return kept

    @cached_property
    def resp_kept(self) -> NDArray[np.int64]:
        """Bytes of the responder's head that were kept."""
        kept: NDArray[np.int64] = self.flows["resp_stop"] - self.flows["resp_start"]
        return kept

    def has_proto(self, *numbers: int) -> NDArray[np.bool_]:
        """Return a mask of the flows with one of these IP protocol numbers, shape (n_flows,)."""
        wanted = np.zeros(256, np.bool_)
        wanted[list(numbers)] = True
        mask: NDArray[np.bool_] = wanted[self.flows["proto"]]
        return mask

    def starts_with(self, text: bytes) -> NDArray[np.bool_]:
        """Return a mask of the flows in which either side began with these bytes (1 to 32)."""
        masks = []
        for words, kept in self._sides:
            mask = kept >= len(text)
            for place in range(0, len(text), 8):
                part = text[place : place + 8]
                word, value = words[place // 8], np.frombuffer(part.ljust(8, b"\0"), np.uint64)
                if len(part) < 8:
                    word = word & np.frombuffer((b"\xff" * len(part)).ljust(8, b"\0"), np.uint64)
                mask &= word == value
            masks.append(mask)
        either: NDArray[np.bool_] = masks[0] | masks[1]
        return either

    @cached_property
    def _sides(self) -> list[tuple[NDArray[np.uint64], NDArray[np.int64]]]:
        """Heads by words, (HEAD_BYTES // 8, n_flows), and the bytes that were kept."""
        return [
            (np.ascontiguousarray(head.view(np.uint64).T), kept)
            for head, kept in ((self.orig, self.orig_kept), (self.resp, self.resp_kept))
        ]

    def _first(self, side: str) -> NDArray[np.uint8]:
        start = self.flows[f"{side}_start"]
        kept = np.minimum(self.flows[f"{side}_stop"] - start, HEAD_BYTES)
        rows = np.zeros((start.size, HEAD_BYTES), np.uint8)
        if self.batch.payload.size:
            place = np.arange(HEAD_BYTES)
            inside = place < kept[:, None]
            at = np.where(inside, start[:, None] + place, 0)
            rows = np.where(inside, self.batch.payload[at], np.uint8(0))
        return rows
