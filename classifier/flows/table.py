"""The table of live flows: constant memory per live flow, ended flows come out in batches."""

import mmap
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.errors import ClassifierError
from classifier.flows import _gather_kernels as g
from classifier.flows import _kernels as k
from classifier.tables import DIR, FLOW, FLOW_RECORD, KEPT, PACKET_LIMIT, SERIES, FlowBatch

__all__ = ["FlowTable"]

BATCH_FLOWS = 2048
MOST_FLOWS = 1_000_000  # live ones that room is made for at once
MOST_PACKETS = 8192  # of a call of ``add``, before arrays must grow
SLOTS = 1 << 19  # at first
HUGE_BYTES = 4 << 20  # from which on NumPy asks for huge pages
ARENA_BYTES = 2 << 30
LEAST_GONE = 32 << 20  # bytes of ended flows in the log, before it is worth while to copy the rest
TOMBS = 1 << 20  # ended flows that a later one can name as its parent: 16 MiB at most
FRAGMENTS = 1 << 12
MOST_REASONS = 32


class FlowTable:
    """Groups packets into flows.

    Parameters
    ----------
    idle_timeout_s, active_timeout_s : float or None
        A flow ends when it had no packet for longer, or began longer ago; None switches it off.
    max_flows : int
        More live flows than this, and the quarter that was idle longest is ended early.

    Notes
    -----
    A live flow costs 384 bytes, 16 to 32 bytes of slot, 48 bytes for each of its first 32 packets,
    and the payload bytes kept of those. What ended flows kept is freed when it is a third of all.
    """

    def __init__(
        self,
        *,
        idle_timeout_s: float | None = 600,
        active_timeout_s: float | None = None,
        max_flows: int = 1_000_000,
    ) -> None:
        self._idle_ns = _timeout_ns("idle_timeout_s", idle_timeout_s)
        self._active_ns = _timeout_ns("active_timeout_s", active_timeout_s)
        self._max_flows = max_flows
        self.evicted = 0
        self.counts = np.zeros(MOST_REASONS, np.int64)
        self._state = np.zeros(k.N_STATE, np.int64)
        self._state[k.NOW_NS] = np.iinfo(np.int64).min
        # Other data than the capture's author can know, so that no capture can make keys collide
        self._state[k.SEED] = int.from_bytes(os.urandom(8), "little", signed=True)
        # Room for the most live flows; the system gives memory for what is touched
        most = min(max_flows, MOST_FLOWS) + MOST_PACKETS
        self._records: NDArray[Any] = _spacious(most, FLOW_RECORD)
        self._dirs: NDArray[Any] = _spacious(2 * self._records.size, DIR)
        self._free_records: NDArray[Any] = _spacious(self._records.size, np.dtype(np.int32))
        self._slots: NDArray[Any] = _aligned(SLOTS, np.dtype(np.uint64))
        self._kept: NDArray[Any]
        self._arena: NDArray[Any]
        self._new_log(self._records.size * PACKET_LIMIT, ARENA_BYTES)
        self._ended: NDArray[Any] = np.zeros(1024, FLOW_RECORD)
        self._ended_dirs: NDArray[Any] = np.zeros(2048, DIR)
        self._tombs = _aligned(2 * k.TOMB_WAYS, np.dtype(np.uint64)).reshape(-1, 2)
        self._n_tombs = 0
        self._fragments = np.zeros((FRAGMENTS, 2), np.uint64)
        self._sweep_after = 0
        self._swept_ns = np.iinfo(np.int64).min
        self._packets_since_sweep = 0

    @property
    def live(self) -> int:
        """Flows that have not ended."""
        return int(self._state[k.N_LIVE])

    @property
    def flows(self) -> int:
        """Flows seen so far, live or ended."""
        return int(self._state[k.NEXT_FLOW_ID])

    @property
    def duplicates(self) -> int:
        """Packets of ended flows that were captured twice."""
        return int(self._state[k.DUPLICATES])

    @property
    def gaps(self) -> int:
        """Holes in the TCP streams of ended flows."""
        return int(self._state[k.GAPS])

    @property
    def missing_bytes(self) -> int:
        """Bytes in those holes."""
        return int(self._state[k.MISSING_BYTES])

    @property
    def fragments(self) -> int:
        """IP fragments seen."""
        return int(self._state[k.FRAGMENTS])

    @property
    def fragments_alone(self) -> int:
        """Later fragments whose first one was not seen; they are flows without ports."""
        return int(self._state[k.LATER_FRAGMENTS_ALONE])

    @property
    def kept_bytes(self) -> int:
        """Bytes of first packets and their payload that are held, those of ended flows included."""
        return int(self._state[k.N_KEPT]) * KEPT.itemsize + int(self._state[k.ARENA_TOP])

    def add(self, packets: NDArray[np.void], buffer: NDArray[np.uint8]) -> Iterator[FlowBatch]:
        """Add packets; yield flows that ended, when enough have.

        Parameters
        ----------
        packets : ndarray of PACKET, shape (n,)
            Their ``flow_id`` is written: -1 where a packet is in no flow.
        buffer : ndarray of uint8
            What their payload fields index.
        """
        self._reserve(packets.size)
        k.update(
            packets,
            buffer,
            self._records,
            self._dirs,
            self._slots,
            self._free_records,
            self._kept,
            self._arena,
            self._ended,
            self._ended_dirs,
            self._tombs,
            self._fragments,
            self.counts,
            self._state,
            self._idle_ns,
            self._active_ns,
        )
        self._packets_since_sweep += packets.size
        if self._state[k.N_ENDED] >= BATCH_FLOWS:
            yield from self._flush()
        yield from self._expire()

    def finish(self) -> Iterator[FlowBatch]:
        """End all flows and yield them."""
        yield from self._flush()
        state = self._records["state"][: self._state[k.N_RECORDS]]
        rows = np.flatnonzero(state & k.LIVE)
        rows = rows[np.argsort(self._records["flow_id"][rows])]
        for first in range(0, rows.size, BATCH_FLOWS):
            yield self._gather(self._records, self._dirs, rows[first : first + BATCH_FLOWS])
        self._records["state"][: self._state[k.N_RECORDS]] = 0
        self._state[[k.N_LIVE, k.N_RECORDS, k.N_FREE_RECORDS]] = 0
        self._slots[:] = 0
        self._compact()

    def _reserve(self, n: int) -> None:
        """Make room for what ``n`` packets may add."""
        state = self._state
        needed = int(state[k.N_RECORDS]) + n
        if needed > self._records.size:
            size = max(needed, self._records.size * 3 // 2)
            self._records = _grow(self._records, size)
            self._dirs = _grow(self._dirs, 2 * size)
            self._free_records = _grow(self._free_records, size)
        if 2 * (int(state[k.N_LIVE]) + n) > self._slots.size:
            size = self._slots.size
            while 2 * (int(state[k.N_LIVE]) + n) > size:
                size *= 2
            self._rebuild(size)
        needed = int(state[k.N_KEPT]) + n
        if needed > self._kept.size:
            self._kept = _grow(self._kept, max(needed, self._kept.size * 3 // 2))
        self._reserve_bytes(n * k.MOST_KEPT)
        needed = int(state[k.N_ENDED]) + n
        if needed > self._ended.size:
            self._ended = _grow(self._ended, needed + BATCH_FLOWS)
            self._ended_dirs = _grow(self._ended_dirs, 2 * (needed + BATCH_FLOWS))

    def _reserve_bytes(self, n: int) -> None:
        needed = int(self._state[k.ARENA_TOP]) + n
        if needed > self._arena.size:
            self._arena = _grow(self._arena, max(needed, self._arena.size * 3 // 2))

    def _new_log(self, n_kept: int, n_bytes: int) -> None:
        self._kept = _spacious(n_kept, KEPT)
        self._arena = _spacious(n_bytes, np.dtype(np.uint8))

    def _compact(self) -> None:
        """Leave what ended flows kept behind, if it is much."""
        state = self._state
        gone = int(state[k.GONE_KEPT]) * KEPT.itemsize + int(state[k.GONE_BYTES])
        if gone < LEAST_GONE or 3 * gone < self.kept_bytes:
            return
        kept, arena = self._kept, self._arena
        self._new_log(kept.size, arena.size)
        if state[k.N_LIVE] == 0:
            state[[k.N_KEPT, k.ARENA_TOP, k.GONE_KEPT, k.GONE_BYTES]] = 0
            return
        k.compact(self._records, kept, arena, self._kept, self._arena, state)

    def _rebuild(self, size: int) -> None:
        if size == self._slots.size:
            self._slots[:] = 0
        else:
            self._slots = _aligned(size, np.dtype(np.uint64))
        k.rebuild(self._records, int(self._state[k.N_RECORDS]), self._slots)

    def _expire(self) -> Iterator[FlowBatch]:
        """End flows that are long idle, or too many; each packet pays for O(1) of the work."""
        if self._state[k.N_LIVE] > self._max_flows:
            rows = self._records[: self._state[k.N_RECORDS]]
            last = rows["last_ns"][rows["state"] & k.LIVE != 0]
            before = int(np.partition(last, last.size // 4)[last.size // 4]) + 1
            live = self.live
            yield from self._sweep(before)
            self.evicted += live - self.live
            return
        # Half, as each packet may have added a record: else a scan would never be swept
        if self._idle_ns < 0 or 2 * self._packets_since_sweep < self._state[k.N_RECORDS]:
            return
        now = int(self._state[k.NOW_NS])
        if now - self._swept_ns > self._idle_ns // 2:
            self._packets_since_sweep = 0
            self._swept_ns = now
            # Twice the timeout: a packet that comes late by as much still finds its flow
            yield from self._sweep(now - 2 * self._idle_ns)

    def _sweep(self, before_ns: int) -> Iterator[FlowBatch]:
        found = 0
        self._reserve_tombs(before_ns)
        self._state[k.SWEEP_ROW] = 0
        while self._state[k.SWEEP_ROW] >= 0:
            found += k.sweep(
                self._records,
                self._dirs,
                before_ns,
                self._free_records,
                self._ended,
                self._ended_dirs,
                self._tombs,
                self._state,
            )
            if self._state[k.N_ENDED] >= BATCH_FLOWS or self._state[k.SWEEP_ROW] >= 0:
                yield from self._flush()
        if found:
            self._rebuild(self._slots.size)

    def _reserve_tombs(self, before_ns: int) -> None:
        """Make room for flows without a packet since then, so wide that hardly any is lost."""
        rows = self._records[: self._state[k.N_RECORDS]]
        swept = (rows["last_ns"] < before_ns) & (rows["state"] & k.LIVE != 0)
        self._n_tombs += int(np.count_nonzero(swept))
        size = min(1 << (32 * self._n_tombs).bit_length(), TOMBS)
        if size > len(self._tombs):
            old = self._tombs
            self._tombs = _aligned(2 * size, np.dtype(np.uint64)).reshape(-1, 2)
            k.move_tombs(old, self._tombs)

    def _flush(self) -> Iterator[FlowBatch]:
        n = int(self._state[k.N_ENDED])
        for first in range(0, n, BATCH_FLOWS):
            rows = np.arange(first, min(first + BATCH_FLOWS, n))
            yield self._gather(self._ended, self._ended_dirs, rows)
        self._state[k.N_ENDED] = 0
        self._compact()

    def _gather(
        self, records: NDArray[np.void], dirs: NDArray[np.void], rows: NDArray[np.int64]
    ) -> FlowBatch:
        n_packets, n_bytes = g.count(records, dirs, rows)
        flows = np.empty(rows.size, FLOW)
        packets = np.empty(n_packets, SERIES)
        payload = np.empty(n_bytes, np.uint8)
        used = g.gather(
            records, dirs, rows, self._kept, self._arena, self._state, flows, packets, payload
        )
        return FlowBatch(flows, packets, payload[:used])


def _timeout_ns(name: str, seconds: float | None) -> int:
    if seconds is None:
        return -1
    if not 0 < seconds < 1e9:
        raise ClassifierError(
            f"{name}={seconds} is no timeout", remedy="give seconds above 0, or none"
        )
    return round(seconds * 1e9)


def _grow(array: NDArray[Any], size: int) -> NDArray[Any]:
    larger = _aligned(size, array.dtype)
    larger[: array.size] = array
    return larger


def _spacious(size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return zeros of this size, or of as much of it as the system lets a process ask for."""
    while True:
        try:
            return _aligned(size, dtype)
        except (MemoryError, OSError):
            if size <= MOST_PACKETS:
                raise
            size //= 2


def _aligned(size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return zeros that begin at a cache line, so that a row touches as few lines as it can."""
    n_bytes = size * dtype.itemsize
    if n_bytes >= HUGE_BYTES:
        # NumPy would ask for huge pages, which the system may first have to make by moving others:
        # 0.25 instead of 0.29 to 0.53 s for a mix of 2.0 M packets, after other programs ran
        if sys.platform == "win32":
            return np.frombuffer(mmap.mmap(-1, n_bytes), dtype)
        # Private: a first touch of memory that could be shared costs 1.6 times as much
        return np.frombuffer(
            mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), dtype
        )
    raw = np.zeros(n_bytes + 64, np.uint8)
    skip = -raw.ctypes.data % 64
    return raw[skip : skip + n_bytes].view(dtype)
