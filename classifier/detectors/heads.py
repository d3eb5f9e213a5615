"""The first bytes of every flow as columns: where detectors choose what to look at.

A detector's ``select`` compares these columns for all flows at once with numpy; its kernel then
reads the packets of the few flows that are left. A capture without such flows never compiles it.
"""

import weakref
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier._jit import copy_bytes, kernel
from classifier.tables import FlowBatch

__all__ = ["HEAD_BYTES", "Heads", "first_bytes"]

#: Bytes of each direction's head that stand in a row.
HEAD_BYTES = 32
# Most detectors look at one of these or at both: in this order each such part is one stretch.
_FIRST = (17, 6)
_RANK = np.arange(256, dtype=np.uint16) + np.uint16(len(_FIRST))
_RANK[list(_FIRST)] = range(len(_FIRST))


def _nothing() -> None:
    """Stand for what is not there."""


class Heads:
    """The heads of both directions of the flows of a batch.

    Parameters
    ----------
    batch : FlowBatch
    rows : ndarray of int64, shape (n_flows,), optional
        Of these rows, in this order; left out, of all.

    Attributes
    ----------
    rows : ndarray of int64, shape (n_flows,)
        The flows' rows in the batch.

    Notes
    -----
    Everything is made when it is first asked for, and kept: detectors ask for the same.
    """

    def __init__(self, batch: FlowBatch, rows: NDArray[np.int64] | None = None) -> None:
        self.batch = batch
        self.rows: NDArray[np.int64] = np.arange(batch.flows.size) if rows is None else rows
        # Only known: the two would else keep each other, and the batch, until cycles are searched for
        self._whole: Callable[[], Heads | None] = _nothing
        self._place: slice | NDArray[np.int64] = slice(None)  # in the whole
        self._columns: dict[str, NDArray[Any]] = {}
        self._parts: dict[frozenset[int], Heads] = {}
        self._results: dict[Callable[[FlowBatch], NDArray[Any]], NDArray[Any]] = {}

    @classmethod
    def by_transport(cls, batch: FlowBatch) -> "Heads":
        """Return the heads of all flows, those of a transport one after another.

        So the heads of a transport are a stretch of columns, which need not be copied.
        """
        return cls(batch, np.argsort(_RANK[batch.flows["proto"]], kind="stable"))

    @property
    def size(self) -> int:
        """How many flows there are."""
        return self.rows.size

    @cached_property
    def flows(self) -> NDArray[np.void]:
        """The flows, FLOW, shape (n_flows,)."""
        return self.batch.flows[self.rows]

    def column(self, name: str) -> NDArray[Any]:
        """Return a field of the flows, its values one after another in memory."""
        if name not in self._columns:
            whole = self._whole()
            if whole is None:
                self._columns[name] = self.batch.flows[name][self.rows]
            else:
                self._columns[name] = whole.column(name)[self._place]
        return self._columns[name]

    @cached_property
    def present(self) -> frozenset[int]:
        """The IP protocol numbers of the flows."""
        return frozenset(np.flatnonzero(np.bincount(self.column("proto"))).tolist())

    def of(self, transport: tuple[int, ...]) -> "Heads":
        """Return the heads of the flows with one of these IP protocol numbers."""
        wanted = self.present.intersection(transport)
        if wanted == self.present:
            return self
        whole = self._whole()
        if whole is not None:  # which others ask too
            return whole.of(tuple(wanted))
        if wanted not in self._parts:
            self._parts[wanted] = self._part(np.flatnonzero(self.has_proto(*wanted)))
        return self._parts[wanted]

    def _part(self, rows: NDArray[np.int64]) -> "Heads":
        part = Heads(self.batch, self.rows[rows])
        part._whole, part._place, part._results = weakref.ref(self), rows, self._results
        if rows.size and rows[-1] - rows[0] == rows.size - 1:
            part._place = slice(int(rows[0]), int(rows[-1]) + 1)
        return part

    def shared(self, function: Callable[[FlowBatch], NDArray[Any]]) -> NDArray[Any]:
        """Return what a function makes of each flow of the batch; several detectors may ask for it."""
        if function not in self._results:
            self._results[function] = function(self.batch)
        return self._results[function][self.rows]

    @cached_property
    def orig(self) -> NDArray[np.uint8]:
        """First bytes that the originator sent, shape (n_flows, HEAD_BYTES); zeros beyond the end.

        TCP: of its stream in sequence; else: of its first datagram of which something was kept.
        Bytes at one place are one after another in memory, as they are compared for all flows.
        """
        return self._heads("orig")

    @cached_property
    def resp(self) -> NDArray[np.uint8]:
        """First bytes that the responder sent, likewise."""
        return self._heads("resp")

    def _heads(self, side: str) -> NDArray[np.uint8]:
        whole = self._whole()
        if whole is not None:
            of_all: NDArray[np.uint8] = getattr(whole, side)
            return of_all[self._place]
        start, stop = self.column(f"{side}_start"), self.column(f"{side}_stop")
        rows = first_bytes(self.batch.payload, start, stop - start, HEAD_BYTES)
        return np.asfortranarray(rows)

    @cached_property
    def orig_kept(self) -> NDArray[np.int64]:
        """Bytes of the originator's head that were kept, shape (n_flows,); not cut to HEAD_BYTES."""
        kept: NDArray[np.int64] = self.column("orig_stop") - self.column("orig_start")
        return kept

    @cached_property
    def resp_kept(self) -> NDArray[np.int64]:
        """Bytes of the responder's head that were kept."""
        kept: NDArray[np.int64] = self.column("resp_stop") - self.column("resp_start")
        return kept

    def has_proto(self, *numbers: int) -> NDArray[np.bool_]:
        """Return a mask of the flows with one of these IP protocol numbers, shape (n_flows,)."""
        wanted = np.zeros(256, np.bool_)
        wanted[list(numbers)] = True
        mask: NDArray[np.bool_] = wanted[self.column("proto")]
        return mask

    def starts_with(self, text: bytes) -> NDArray[np.bool_]:
        """Return a mask of the flows in which either side began with these bytes (1 to 32)."""
        either = np.zeros(self.size, np.bool_)
        for head, kept in ((self.orig, self.orig_kept), (self.resp, self.resp_kept)):
            rows = np.flatnonzero(head[:, 0] == text[0])
            for place in range(1, len(text)):
                if rows.size == 0:  # as mostly, after few bytes
                    break
                rows = rows[head[rows, place] == text[place]]
            either[rows[kept[rows] >= len(text)]] = True
        return either

    def holds(
        self, chosen: NDArray[np.bool_], words: Sequence[bytes], *sides: str
    ) -> NDArray[np.bool_]:
        """Choose those flows of which the head of one of the sides holds one of the words."""
        rows = np.flatnonzero(chosen)
        view = self.batch.payload.data
        found = np.zeros(self.size, np.bool_)
        for side in sides:
            start, stop = (self.column(f"{side}_{end}")[rows] for end in ("start", "stop"))
            together = bytearray(int((stop - start).sum()) + rows.size)
            join_stretches(self.batch.payload, start, stop, np.frombuffer(together, np.uint8))
            if any(word in together for word in words):  # rare: most batches need no more than this
                heads = zip(start.tolist(), stop.tolist(), strict=True)
                held = [any(word in bytes(view[a:b]) for word in words) for a, b in heads]
                found[rows] |= np.array(held)
        return found


@kernel
def join_stretches(payload, start, stop, joined):
    """Copy stretches of a buffer, one behind the other with a byte left between them.

    Parameters
    ----------
    payload : ndarray of uint8, read
    start, stop : ndarray of int64, shape (n,), read
    joined : ndarray of uint8, written
    """
    at = np.int64(0)
    for i in range(start.size):
        copy_bytes(payload, start[i], stop[i] - start[i], joined, at)
        at += stop[i] - start[i] + 1


@kernel
def fill_rows(payload, start, kept, width, rows):
    """Write the first bytes of many stretches of a buffer, stretch after stretch.

    Parameters
    ----------
    payload : ndarray of uint8, read
    start, kept : ndarray of int64, shape (n,), read
    width : int
    rows : ndarray of uint8, shape (n * width,), written
        Zeros beyond the end of a stretch.
    """
    for i in range(start.size):
        size = min(kept[i], width)
        copy_bytes(payload, start[i], size, rows, i * width)
        for k in range(size, width):
            rows[i * width + k] = 0


def first_bytes(
    payload: NDArray[np.uint8], start: NDArray[np.int64], kept: NDArray[np.int64], width: int
) -> NDArray[np.uint8]:
    """Return the first bytes of many stretches of a buffer, zeros beyond their ends.

    Parameters
    ----------
    payload : ndarray of uint8
    start, kept : ndarray of int64, shape (n,)
        Stretch ``i`` is ``payload[start[i] : start[i] + kept[i]]``.
    width : int

    Returns
    -------
    ndarray of uint8, shape (n, width)
    """
    rows = np.empty((start.size, width), np.uint8)
    start, kept = np.ascontiguousarray(start), np.ascontiguousarray(kept)
    fill_rows(payload, start, kept, width, rows.reshape(-1))
    return rows
