"""The messages of some flows as columns: detectors that need no kernel compare them with numpy.

A kernel costs a second or more to compile, whatever it finds; comparing columns costs nothing at
first and some 100 ns a packet. So a detector whose ``select`` leaves few flows reads them here.
``Messages`` has one row for each packet with payload of the flows it was given, in the order of
the capture; rules are masks over its rows, which ``count``, ``first`` and ``run`` sum up by flow
and direction. ``report`` turns masks over flows into evidence. Memory is bounded by working on
``CHUNK_FLOWS`` flows at a time.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier._jit import kernel
from classifier.detectors._findings import Meaning, of_rows
from classifier.detectors._reading import looks_random
from classifier.detectors.heads import first_bytes
from classifier.tables import Evidence, FlowBatch

__all__ = ["CHUNK_FLOWS", "Case", "Messages", "head_of", "look_random", "number", "report", "scan"]

CHUNK_FLOWS = 2048
NO_ROW = np.iinfo(np.int64).max  # stands for "no such packet", after all others

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]


def number(rows: NDArray[np.uint8], at: int, size: int, *, little: bool = False) -> Ints:
    """Read a number of ``size`` bytes (up to 8) at ``at`` of each row.

    Eight bytes give int64: good for comparing, not for size.
    """
    if size in (2, 4, 8):
        cells = np.ascontiguousarray(rows[:, at : at + size])
        return cells.view(f"{'<' if little else '>'}u{size}")[:, 0].astype(np.int64)
    order = range(at + size - 1, at - 1, -1) if little else range(at, at + size)
    value = rows[:, order[0]].astype(np.int64)
    for place in order[1:]:
        value = (value << 8) | rows[:, place]
    return value


@kernel
def mark_random(cells, width, kept, start, stop, random):
    """Tell which rows look random; see ``look_random``.

    Parameters
    ----------
    cells : ndarray of uint8, shape (n * width,), read
        Row after row.
    width : int
    kept : ndarray of int64, shape (n,), read
    start, stop : int
        Within the width.
    random : ndarray of bool, shape (n,), written
    """
    for i in range(kept.size):
        size = min(kept[i] - start, stop - start)
        first = i * width + start
        random[i] = size < 8 or looks_random(cells, first, first + size)


def look_random(rows: NDArray[np.uint8], kept: Ints, start: int, stop: int) -> Mask:
    """Tell which rows may be key, nonce or ciphertext from ``start`` to ``stop``, where kept.

    The rule of ``_reading.looks_random``. Fewer than eight kept bytes are not judged: true.
    """
    random = np.empty(kept.size, np.bool_)
    cells = np.ascontiguousarray(rows).reshape(-1)
    mark_random(cells, rows.shape[1], np.ascontiguousarray(kept), start, stop, random)
    return random


def head_of(batch: FlowBatch, side: str, width: int) -> tuple[NDArray[np.uint8], Ints]:
    """Return the first bytes of a side's stream or first datagram, and how many were kept.

    Parameters
    ----------
    batch : FlowBatch
    side : str
        ``orig`` or ``resp``.
    width : int

    Returns
    -------
    tuple of ndarray
        uint8, shape (n_flows, width), zeros beyond the end; int64, shape (n_flows,), not cut.
    """
    start, stop = batch.flows[f"{side}_start"], batch.flows[f"{side}_stop"]
    return first_bytes(batch.payload, start, stop - start, width), stop - start


_COLUMNS = 7


@kernel
def list_messages(flows, packets, columns):
    """Write a column for each packet with payload of some flows; return how many there are.

    Parameters
    ----------
    flows, packets : ndarray of FLOW, SERIES, read
    columns : ndarray of int64, shape (7, n_packets or more), written
        Row of the flow and of the packet, direction, bytes on the wire, bytes that were kept, the
        first of them, flow and direction as one number.
    """
    n = 0
    for f in range(flows.size):
        for row in range(flows[f].packets_start, flows[f].packets_stop):
            p = packets[row]
            if p.payload_bytes == 0:
                continue
            columns[0, n], columns[1, n], columns[2, n] = f, row, p.direction
            columns[3, n], columns[4, n] = p.payload_bytes, p.stop - p.start
            columns[5, n], columns[6, n] = p.start, 2 * f + np.int64(p.direction)
            n += 1
    return n


class Messages:
    """Packets with payload of the flows of a batch, as columns.

    Parameters
    ----------
    batch : FlowBatch
    width : int
        Bytes of each payload that stand in ``bytes``.

    Attributes
    ----------
    bytes : ndarray of uint8, shape (n_messages, width)
        Zeros beyond what was kept.
    kept, wire : ndarray of int64, shape (n_messages,)
        Bytes of the payload that were kept, and that were on the wire.
    flow, row, direction : ndarray of int64, shape (n_messages,)
        Row of ``batch.flows``, row of ``batch.packets``, 0 from the originator.
    """

    def __init__(self, batch: FlowBatch, width: int) -> None:
        self.n_flows = batch.flows.size
        most = int((batch.flows["packets_stop"] - batch.flows["packets_start"]).sum())
        columns = np.empty((_COLUMNS, most), np.int64)
        n = list_messages(batch.flows, batch.packets, columns)
        self.flow, self.row, self.direction, self.wire, self.kept, self._start, self._side = (
            columns[:, :n]
        )
        self._payload, self._width = batch.payload, width

    @cached_property
    def bytes(self) -> NDArray[np.uint8]:
        """First bytes of the payloads; only rules that are not about sizes alone ask for them."""
        return first_bytes(self._payload, self._start, self.kept, self._width)

    def be(self, at: int, size: int) -> Ints:
        """Read a number, most significant byte first."""
        return number(self.bytes, at, size)

    def le(self, at: int, size: int) -> Ints:
        """Read a number, least significant byte first."""
        return number(self.bytes, at, size, little=True)

    def random(self, start: int, stop: int) -> Mask:
        """Tell which messages look random from ``start`` to ``stop``, see ``look_random``."""
        return look_random(self.bytes, self.kept, start, stop)

    def count(self, mask: Mask) -> Ints:
        """Count messages by flow and direction, shape (n_flows, 2)."""
        return np.bincount(self._side[mask], minlength=2 * self.n_flows).reshape(-1, 2)

    def first(self, mask: Mask) -> Ints:
        """Return the packet row of each flow's first such message, ``NO_ROW`` where none."""
        found = np.full(self.n_flows, NO_ROW)
        chosen = mask.nonzero()[0][::-1]  # of several assignments the last one stays
        found[self.flow[chosen]] = self.row[chosen]
        return found

    def last(self, mask: Mask) -> Ints:
        """Return the packet row of each flow's last such message, -1 where none."""
        found = np.full(self.n_flows, -1)
        found[self.flow[mask]] = self.row[mask]
        return found

    def both(self, mask: Mask) -> Ints:
        """Return the packet row at which both directions have brought such a message."""
        return np.maximum(
            self.first(mask & (self.direction == 0)), self.first(mask & (self.direction == 1))
        )

    def enough(self, mask: Mask, n: int, sides: int = 2) -> tuple[Ints, Ints]:
        """Return when both directions, or with ``sides`` 1 either, have brought ``n`` such messages.

        The packet row of each flow, ``NO_ROW`` where never, and how many there were by then.
        """
        (chosen,) = mask.nonzero()
        chosen = chosen[np.argsort(self._side[chosen], kind="stable")]
        side = self._side[chosen]
        rank = np.arange(side.size) - np.searchsorted(side, side)
        found = np.full(2 * self.n_flows, NO_ROW)
        found[side[rank == n - 1]] = self.row[chosen[rank == n - 1]]
        row = found.reshape(-1, 2).max(axis=1) if sides == 2 else found.reshape(-1, 2).min(axis=1)
        return row, self.count(mask & (self.row <= row[self.flow])).sum(axis=1)

    def value(self, mask: Mask, values: Ints) -> Ints:
        """Return, by flow and direction, the value of the first such message; 0 where none.

        Shape (n_flows, 2).
        """
        found = np.zeros(2 * self.n_flows, np.int64)
        chosen = mask.nonzero()[0][::-1]
        found[self._side[chosen]] = values[chosen]
        return found.reshape(-1, 2)

    def run(self, mask: Mask, key: Ints, counter: Ints, most: int) -> Ints:
        """Count, by flow and direction, messages in order: shape (n_flows, 2).

        The first message of a direction counts, and each whose key is that of the one before and
        whose counter exceeds all of that key so far, by ``most`` at most. One that was sent twice
        or overtaken (falls back by ``most`` at most) does not count; any other takes one away.
        """
        (chosen,) = mask.nonzero()
        if not chosen.size:
            return np.zeros((self.n_flows, 2), np.int64)
        chosen = chosen[np.argsort(self._side[chosen], kind="stable")]
        side, key, counter = self._side[chosen], key[chosen], counter[chosen]
        new = np.ones(chosen.size, np.bool_)
        new[1:] = side[1:] != side[:-1]
        same = np.zeros(chosen.size, np.bool_)
        same[1:] = ~new[1:] & (key[1:] == key[:-1])
        step = np.zeros(chosen.size, np.int64)
        step[1:] = counter[1:] - _greatest(counter, np.cumsum(~same))[:-1]
        worth = np.where(same & (step > 0) & (step <= most), 1, -1)
        worth[same & (step <= 0) & (step >= -most)] = 0
        worth[new] = 1
        total = np.bincount(side, weights=worth, minlength=2 * self.n_flows)
        return total.astype(np.int64).reshape(-1, 2)


def _greatest(values: Ints, part: Ints) -> Ints:
    """Return the greatest value so far within each part; parts are numbered in rising order."""
    ordered, rank = np.unique(values, return_inverse=True)
    best = np.maximum.accumulate(part * ordered.size + rank) - part * ordered.size
    greatest: Ints = ordered[best]
    return greatest


class Case(NamedTuple):
    """What holds for some flows: shapes (n_flows,); rows are of ``FlowBatch.packets``."""

    holds: Mask
    meaning: Meaning
    first: Ints
    last: Ints
    value: Ints | int = 0


def report(
    batch: FlowBatch, detector: str, cases: Sequence[Case], starts: Mask | None = None
) -> list[Evidence]:
    """Turn the first case that holds for a flow into evidence."""
    left = np.ones(batch.flows.size, np.bool_)
    found = []
    for holds, meaning, first, last, value in cases:
        if not holds.any():
            continue
        values = np.broadcast_to(value, left.shape)
        for flow in np.flatnonzero(holds & left).tolist():
            rows = sorted((int(first[flow]), int(last[flow])))
            frames = batch.packets["frame"][rows].tolist()
            place = f"packet {frames[1]}"
            if rows[0] != rows[1]:
                place = f"packets {frames[0]} and {frames[1]}"
            found.append(
                Evidence(
                    flow=flow,
                    detector=detector,
                    strength=meaning.strength,
                    detail=f"{meaning.text.format(value=int(values[flow]))}, {place}",
                    packet=rows[1],
                    family=meaning.family,
                    starts=starts is not None and bool(starts[flow]),
                )
            )
        left &= ~holds
    return sorted(found, key=lambda evidence: evidence.flow)


def scan(batch: FlowBatch, judge: Callable[[FlowBatch], Iterable[Evidence]]) -> list[Evidence]:
    """Judge a batch ``CHUNK_FLOWS`` flows at a time."""
    found: list[Evidence] = []
    for start in range(0, batch.flows.size, CHUNK_FLOWS):
        part = FlowBatch(batch.flows[start : start + CHUNK_FLOWS], batch.packets, batch.payload)
        found += of_rows(judge(part), np.arange(start, start + part.flows.size))
    return found
