"""Puts fragmented IP datagrams together, between reading and flows.

How this works: rows without fragments pass through untouched, also those between distant ones. From
the first fragment on whose datagram is neither whole nor given up, rows are kept and handed out
later, in their order, with the rows after them; so a datagram may end in another buffer, or in another file, than it began. What
is kept is bounded (4,096 rows, 4 MiB), whatever the input is.

Every fragment stays a row with its true size. Where a datagram came whole, the row that completes it
holds the payload of all of it, and the other rows hold none: the sum over rows is what was sent. Where
it did not, its rows stay as they were read, later ones with the ports of the first where that is known.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classifier.tables import PACKET

__all__ = ["MOST_ROWS", "Held", "Reassembly"]

#: Packets after a fragment within which the rest of its datagram must come.
MOST_ROWS = 4096
MOST_BETWEEN = 256  # rows, which take as long to copy as one look at what is kept


@dataclass(frozen=True, slots=True)
class Held:
    """Packets that cannot be handed out before others came: what ``Reassembly`` may go on with.

    Attributes
    ----------
    packets : ndarray of PACKET, shape (n,)
    buffer : ndarray of uint8
    positions : ndarray of int64, shape (n,)
        Captured bytes up to each packet.
    """

    packets: NDArray[np.void]
    buffer: NDArray[np.uint8]
    positions: NDArray[np.int64]


class _Store:
    """Rows with their payload, in memory that is used again."""

    def __init__(self) -> None:
        self.rows: NDArray[np.void] = np.zeros(0, PACKET)
        self.position: NDArray[np.int64] = np.zeros(0, np.int64)  # captured bytes up to each row
        self.buffer: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self.n = self.top = 0  # rows and bytes in use
        self.pieces = self.piece_bytes = 0  # rows that wait for others, and what they hold

    def reserve(self, n: int, n_bytes: int) -> None:
        """Make room for so many rows more, a scratch row, and so many bytes more."""
        if self.n + n + 1 > self.rows.size:
            size = 2 * (self.n + n + 1)
            rows, position = np.zeros(size, PACKET), np.zeros(size, np.int64)
            rows[: self.n], position[: self.n] = self.rows[: self.n], self.position[: self.n]
            self.rows, self.position = rows, position
        if self.top + n_bytes > self.buffer.size:
            buffer = np.zeros(2 * (self.top + n_bytes), np.uint8)
            buffer[: self.top] = self.buffer[: self.top]
            self.buffer = buffer

    def append(self, packets: NDArray[np.void], buffer: NDArray[np.uint8]) -> None:
        """Take rows with their part of the buffer."""
        from classifier.wire import _fragment_kernels as k

        first, stop = int(packets["payload_start"][0]), int(packets["payload_stop"].max())
        if packets["flow_id"][0] >= 0:  # where a fragment's own bytes begin
            first = int(packets["flow_id"][0]) >> 30
        self.reserve(packets.size, max(stop - first, 0))
        at = self.rows, self.position, self.n, self.buffer, self.top
        self.top, pieces, n_bytes = map(int, k.hold(packets, buffer, first, *at))
        self.n += packets.size
        self.pieces += pieces
        self.piece_bytes += n_bytes


def _stretches(at: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield ``(first, stop)`` of stretches of rows with fragments at ``at``, and few others between."""
    if at.size:
        ends = np.flatnonzero(np.diff(at) > MOST_BETWEEN)
        first, stop = np.append(at[0], at[ends + 1]), np.append(at[ends], at[-1]) + 1
        yield from zip(first.tolist(), stop.tolist(), strict=True)


class Reassembly:
    """Fragments that are waiting for the rest of their datagrams.

    Parameters
    ----------
    decapsulate : bool
        Make rows of what whole datagrams carry, as ``open_capture`` does of whole packets.
    held : Held, optional
        What another one held in the end.

    Attributes
    ----------
    reassembled : int
        Fragments whose datagram was put together.
    waiting : bool
        Whether there are rows to be handed out before any are read.
    """

    def __init__(self, *, decapsulate: bool = False, held: Held | None = None) -> None:
        self.reassembled = 0
        self.waiting = False
        self._decapsulate = decapsulate
        self._store, self._other = _Store(), _Store()
        self._looked_at = (0, 0)  # rows and bytes that were kept when last looked at
        # Other data than the capture's author can know, so that no capture can make keys collide
        self._seed = int.from_bytes(os.urandom(8), "little") >> 1
        if held is not None:
            self._store.append(held.packets, held.buffer)
            self._store.position[: self._store.n] = held.positions
            self.waiting = True

    def settle(
        self, packets: NDArray[np.void], buffer: NDArray[np.uint8]
    ) -> Iterator[tuple[NDArray[np.void], NDArray[np.uint8]]]:
        """Yield ``(packets, buffer)`` of what needs no further packets; both last for one step.

        Parameters
        ----------
        packets : ndarray of PACKET, shape (n,)
            As ``Capture.batches`` hands them out, in the order of all captures of the run.
        buffer : ndarray of uint8
            What their payload fields index.
        """
        at = np.flatnonzero(packets["flow_id"] >= 0)  # fragments that wait
        self.waiting = at.size > 0 or self._store.n > 0
        done = 0
        for first, stop in _stretches(at):
            yield from self._pass_on(packets[done:first], buffer)
            yield from self._hold(packets[first:stop], buffer)
            done = stop
        self.waiting = self._store.n > 0
        yield from self._pass_on(packets[done:], buffer)

    def _pass_on(
        self, packets: NDArray[np.void], buffer: NDArray[np.uint8]
    ) -> Iterator[tuple[NDArray[np.void], NDArray[np.uint8]]]:
        """Yield rows without fragments, if none are kept that come before them."""
        if packets.size and self._store.n:
            yield from self._hold(packets, buffer)
        elif packets.size:
            yield packets, buffer

    def _hold(
        self, packets: NDArray[np.void], buffer: NDArray[np.uint8]
    ) -> Iterator[tuple[NDArray[np.void], NDArray[np.uint8]]]:
        """Keep rows, and yield what is settled, if it is time to look."""
        store = self._store
        store.append(packets, buffer)
        # As many new ones as kept ones, so that each row is looked at twice at most on average
        rows, n_bytes = self._looked_at
        if store.n >= 2 * rows or store.top >= 2 * n_bytes:
            yield from self._assemble(final=False)

    def finish(self) -> Iterator[tuple[NDArray[np.void], NDArray[np.uint8]]]:
        """Yield what is left; no more packets come."""
        if self._store.n:
            yield from self._assemble(final=True)

    def hold(self) -> Iterator[tuple[NDArray[np.void], NDArray[np.uint8]]]:
        """Yield what needs no packets but those that came; ``held`` is then the rest."""
        if self._store.n:
            yield from self._assemble(final=False)

    @property
    def held(self) -> Held | None:
        """Packets that were not handed out; None where there are none."""
        store = self._store
        if store.n == 0:
            return None
        packets, buffer = store.rows[: store.n].copy(), store.buffer[: store.top].copy()
        return Held(packets, buffer, store.position[: store.n].copy())

    def _assemble(self, *, final: bool) -> Iterator[tuple[NDArray[np.void], NDArray[np.uint8]]]:
        from classifier.wire import _fragment_kernels as k

        store, other = self._store, self._other
        levels = k.MOST_NESTING if self._decapsulate else 1
        store.reserve(0, levels * store.piece_bytes)
        n_groups = levels * store.pieces + 1
        settled, store.top, made = k.assemble(
            store.rows,
            0,
            store.n,
            store.buffer,
            store.top,
            store.position[: store.n],
            np.empty(store.n, np.int32),
            np.empty((n_groups, k.G_COLUMNS), np.int64),
            np.zeros(1 << (2 * n_groups).bit_length(), np.int32),
            self._seed,
            self._decapsulate,
            final,
        )
        self.reassembled += made
        if settled:
            yield store.rows[:settled], store.buffer
        other.n = other.top = other.pieces = other.piece_bytes = 0
        other.reserve(store.n - settled, store.top)
        other.n = store.n - settled
        if other.n:
            rest = slice(settled, store.n)
            other.position[: other.n] = store.position[rest]
            kept = k.keep(store.rows[rest], store.buffer, other.rows[: other.n], other.buffer)
            other.top, other.pieces, other.piece_bytes = map(int, kept)
        self._looked_at = (other.n, other.top)
        self._store, self._other = other, store
