"""The first bytes of every flow as columns: where detectors choose what to look at.

A detector's ``select`` compares these columns for all flows at once with numpy; its kernel then
reads the packets of the few flows that are left. A capture without such flows never compiles it.
"""

import functools
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from classifier.tables import FlowBatch

__all__ = ["HEAD_BYTES", "Heads", "first_bytes"]

T = TypeVar("T")

#: Bytes of each direction's head that stand in a row.
HEAD_BYTES = 32


class Heads:
    """The heads of both directions of the flows of a batch.

    Parameters
    ----------
    batch : FlowBatch
    whole : Heads, optional
        Heads of which these are a part.
    mask : ndarray of bool, optional
        Which part.

    Attributes
    ----------
    rows : ndarray of int64, shape (n_flows,)
        The flows' rows in the batch.

    Notes
    -----
    Everything is made when it is first asked for, and kept: detectors ask for the same.
    """

    def __init__(
        self, batch: FlowBatch, whole: "Heads | None" = None, mask: NDArray[np.bool_] | None = None
    ) -> None:
        self.batch = batch
        self._whole = whole
        self._rows_of_whole = np.flatnonzero(mask) if mask is not None else None
        self.rows: NDArray[np.int64] = np.arange(batch.flows.size)
        if whole is not None:
            self.rows = whole.rows[self._rows_of_whole]
        self._columns: dict[str, NDArray[Any]] = {}
        self._parts: dict[frozenset[int], Heads] = {}
        self._results: dict[Callable[[Heads], Any], Any] = {}

    @property
    def size(self) -> int:
        """How many flows there are."""
        return self.rows.size

    @cached_property
    def flows(self) -> NDArray[np.void]:
        """The flows, FLOW, shape (n_flows,)."""
        flows = self.batch.flows
        return flows if self._whole is None else flows[self.rows]

    def column(self, name: str) -> NDArray[Any]:
        """Return a field of the flows, its values one after another in memory."""
        if name not in self._columns:
            if self._whole is None:
                self._columns[name] = self.batch.flows[name].copy()
            else:
                self._columns[name] = self._whole.column(name)[self._rows_of_whole]
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
        if wanted not in self._parts:
            self._parts[wanted] = Heads(self.batch, self, self.has_proto(*wanted))
        return self._parts[wanted]

    def once(self, function: "Callable[[Heads], T]") -> T:
        """Return what a function makes of these heads; several detectors may ask for it."""
        if function not in self._results:
            self._results[function] = function(self)
        result: T = self._results[function]
        return result

    @cached_property
    def orig(self) -> NDArray[np.uint8]:
        """First bytes that the originator sent, shape (n_flows, HEAD_BYTES); zeros beyond the end.

        TCP: of its stream in sequence; else: of its first datagram of which something was kept.
        Bytes at one place are one after another in memory, as they are compared for all flows.
        """
        return np.ascontiguousarray(self._first[0].T).T

    @cached_property
    def resp(self) -> NDArray[np.uint8]:
        """First bytes that the responder sent, likewise."""
        return np.ascontiguousarray(self._first[1].T).T

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
        (start, mask), *more = _words(text)
        for words, kept in self._sides:
            first = words[0] if len(text) >= 8 else words[0] & mask
            (rows,) = (first == start).nonzero()
            if rows.size == 0:  # as mostly, after the first word
                continue
            for place, (value, mask_here) in enumerate(more, start=1):
                rows = rows[words[place][rows] & mask_here == value]
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
            ends = (self.column(f"{side}_{end}")[rows].tolist() for end in ("start", "stop"))
            heads = [view[start:stop] for start, stop in zip(*ends, strict=True)]
            together = b"\0".join(heads)  # words are rare: most batches need no more than this
            if any(word in together for word in words):
                held = [any(word in bytes(head) for word in words) for head in heads]
                found[rows] |= np.array(held)
        return found

    @cached_property
    def _sides(self) -> list[tuple[NDArray[np.uint64], NDArray[np.int64]]]:
        """Heads by words, (HEAD_BYTES // 8, n_flows), and the bytes that were kept."""
        return [
            (np.ascontiguousarray(head.view(np.uint64).T), kept)
            for head, kept in zip(self._first, (self.orig_kept, self.resp_kept), strict=True)
        ]

    @cached_property
    def _first(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """First bytes of either side, each flow's one after another in memory."""
        if self._whole is not None:
            first, answer = self._whole._first
            return first[self._rows_of_whole], answer[self._rows_of_whole]
        one, other = (
            first_bytes(self.batch.payload, self.column(f"{side}_start"), kept, HEAD_BYTES)
            for side, kept in (("orig", self.orig_kept), ("resp", self.resp_kept))
        )
        return one, other


@functools.cache
def _words(text: bytes) -> list[tuple[np.uint64, np.uint64]]:
    """Return a text as words of eight bytes, and a mask of those that count for each."""
    parts = [text[at : at + 8] for at in range(0, len(text), 8)]
    padded = [(part.ljust(8, b"\0"), (b"\xff" * len(part)).ljust(8, b"\0")) for part in parts]
    return [(_word(part), _word(mask)) for part, mask in padded]


def _word(part: bytes) -> np.uint64:
    word: np.uint64 = np.frombuffer(part, np.uint64)[0]
    return word


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
    if width == 0:
        return np.zeros((start.size, 0), np.uint8)
    if payload.size < width:
        payload = np.concatenate([payload, np.zeros(width, np.uint8)])
    room = payload.size - width
    # Rows are copied whole; an index for each byte takes eight times as long
    windows = np.ndarray((room + 1,), np.dtype((np.void, width)), payload, strides=(1,))
    rows = windows[np.minimum(start, room)].view(np.uint8).reshape(-1, width)
    for i in np.flatnonzero(start > room).tolist():  # near the end of the buffer
        rows[i, : payload.size - start[i]] = payload[start[i] :]
    short = np.flatnonzero(kept < width)
    rows[short] *= np.arange(width) < kept[short, None]
    return rows
