"""Puts fragmented IP datagrams together, between reading and flows.

How this works: rows without fragments pass through untouched. From the first fragment on whose
datagram is neither whole nor given up, rows are kept and handed out later, in their order, with the
rows after them; so a datagram may end in another buffer, or in another file, than it began. What
is kept is bounded (4,096 rows, 4 MiB), whatever the input is.

Every fragment stays a row with its true size. Where a datagram came whole, the row that completes it
holds the payload of all of it, and the other rows hold none: the sum over rows is what was sent. Where
it did not, its rows stay as they were read, later ones with the ports of the first where that is known.
"""

import os
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from classifier.tables import PACKET

__all__ = ["Reassembly"]


class _Store:
    """Rows with their payload, in memory that is used again."""

    def __init__(self) -> None:
        self.rows: NDArray[np.void] = np.zeros(0, PACKET)
        self.buffer: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self.n = self.top = 0  # rows and bytes in use

    def reserve(self, n: int, n_bytes: int) -> None:
        """Make room for so many rows more, a scratch row, and so many bytes more."""
        if self.n + n + 1 > self.rows.size:
            rows = np.zeros(2 * (self.n + n + 1), PACKET)
            rows[: self.n] = self.rows[: self.n]
            self.rows = rows
        if self.top + n_bytes > self.buffer.size:
            buffer = np.zeros(2 * (self.top + n_bytes), np.uint8)
            buffer[: self.top] = self.buffer[: self.top]
            self.buffer = buffer

    def append(self, packets: NDArray[np.void], buffer: NDArray[np.uint8], first: int = 0) -> None:
        """Take rows whose payload is in ``buffer`` from ``first`` on."""
        used = max(int(packets["payload_stop"].max(initial=0)) - first, 0)
        self.reserve(packets.size, used)
        new = self.rows[self.n : self.n + packets.size]
        new[:] = packets
        for name in ("payload_start", "payload_stop"):  # 0 where a row has none
            new[name] = np.maximum(packets[name], first) - first + self.top
        new["flow_id"][new["flow_id"] >= 0] += (self.top - first) << 30
        self.buffer[self.top : self.top + used] = buffer[first : first + used]
        self.n += packets.size
        self.top += used


class Reassembly:
    """Fragments that are waiting for the rest of their datagrams.

    Parameters
    ----------
    decapsulate : bool
        Make rows of what whole datagrams carry, as ``open_capture`` does of whole packets.

    Attributes
    ----------
    reassembled : int
        Fragments whose datagram was put together.
    waiting : bool
        Whether there are rows to be handed out before any are read.
    """

    def __init__(self, *, decapsulate: bool = False) -> None:
        self.reassembled = 0
        self.waiting = False
        self._decapsulate = decapsulate
        self._store, self._other = _Store(), _Store()
        self._positions = np.zeros(0, np.int64)  # captured bytes up to each row
        self._looked_at = (0, 0)  # rows and bytes that were kept when last looked at
        # Other data than the capture's author can know, so that no capture can make keys collide
        self._seed = int.from_bytes(os.urandom(8), "little") >> 1

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
        store, first = self._store, 0
        if store.n == 0:
            is_fragment = packets["fragment"] != 0
            before = int(is_fragment.argmax()) if is_fragment.any() else packets.size
            self.waiting = before < packets.size
            if before:
                yield packets[:before], buffer
            if not self.waiting:
                return
            packets = packets[before:]
            if packets["flow_id"][0] >= 0:  # where the fragment's own bytes begin
                first = int(packets["flow_id"][0]) >> 30
        store.append(packets, buffer, first)
        sizes = packets["payload_stop"].astype(np.int64) - packets["payload_start"]
        start = self._positions[-1] if self._positions.size else 0
        self._positions = np.concatenate([self._positions, start + np.cumsum(sizes)])
        # As many new ones as kept ones, so that each row is looked at twice at most on average
        rows, n_bytes = self._looked_at
        if store.n >= 2 * rows or store.top >= 2 * n_bytes:
            yield from self._assemble(final=False)

    def finish(self) -> Iterator[tuple[NDArray[np.void], NDArray[np.uint8]]]:
        """Yield what is left; no more packets come."""
        if self._store.n:
            yield from self._assemble(final=True)

    def _assemble(self, *, final: bool) -> Iterator[tuple[NDArray[np.void], NDArray[np.uint8]]]:
        from classifier.wire import _fragment_kernels as k

        store, other = self._store, self._other
        rows = store.rows[: store.n]
        levels = k.MOST_NESTING if self._decapsulate else 1
        waiting = rows[rows["flow_id"] >= 0]
        starts = waiting["flow_id"] >> 30
        store.reserve(0, levels * int((waiting["payload_stop"] - starts).clip(0).sum()))
        n_groups = levels * waiting.size + 1
        settled, store.top, made = k.assemble(
            store.rows[: store.n + 1],
            store.buffer,
            store.top,
            self._positions,
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
        other.n = other.top = 0
        other.reserve(store.n - settled, store.top)
        other.n = store.n - settled
        if other.n:
            other.top = k.keep(
                store.rows[settled : store.n], store.buffer, other.rows[: other.n], other.buffer
            )
        self._positions = self._positions[settled:]
        self._looked_at = (other.n, other.top)
        self._store, self._other = other, store
        self.waiting = other.n > 0
