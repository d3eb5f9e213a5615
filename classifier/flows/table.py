"""The table of live flows: constant memory per live flow, ended flows come out in batches."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier.errors import ClassifierError
from classifier.flows import _gather_kernels as g
from classifier.flows import _kernels as k
from classifier.flows.memory import Pages, Reused
from classifier.tables import DIR, FLOW, FLOW_RECORD, KEPT, PACKET_LIMIT, SERIES, FlowBatch
from classifier.wire import Capture

if TYPE_CHECKING:
    from classifier.flows.merging import Part

__all__ = ["FlowTable"]

BATCH_FLOWS = 12_288
MOST_FLOWS = 1_000_000  # live ones that room is made for at once
MOST_PACKETS = 8192  # from one place where flows are swept to the next
SLOTS = 1 << 16  # at first
ARENA_BYTES = 2 << 30
LOG_ROWS = 1 << 15  # of the log, between two notes of whose they are: 1.5 MiB
LEAST_GONE = 32 << 20  # bytes of ended flows in the log, before it is worth while to copy the rest
TOMBS = 1 << 20  # ended flows that a later one can name as its parent: 16 MiB at most
FRAGMENTS = 1 << 12
MOST_REASONS = 32


class _Arrays(NamedTuple):
    """What live flows are made of; see ``_kernels.update``."""

    records: NDArray[Any]
    dirs: NDArray[Any]
    slots: NDArray[Any]
    free_records: NDArray[Any]
    free_dirs: NDArray[Any]
    kept: NDArray[Any]
    arena: NDArray[Any]
    ended: NDArray[Any]
    tombs: NDArray[Any]
    marks: NDArray[Any]
    fragments: NDArray[Any]
    counts: NDArray[Any]
    state: NDArray[Any]


class FlowTable:
    """Groups packets into flows.

    Parameters
    ----------
    idle_timeout_s, active_timeout_s : float or None
        A flow ends when it had no packet for longer, or began longer ago; None switches it off.
    max_flows : int
        More live flows than this, and the quarter that was idle longest is ended early: looked at after
        so many packets as a quarter of it, 8,192 at most.

    Notes
    -----
    A live flow costs 128 bytes, 128 for each direction with two packets, 8 to 16 bytes of slot, 48
    for each of its first 32 packets, and the payload bytes kept of those. What ended flows kept is
    freed when it is a third of all.
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
        # Packets from one place where flows may be evicted to the next, and of a kernel's call: at
        # fixed places, as those of sweeps are, rows do not depend on how packets were cut
        self._period = min(1 << max((max_flows // 4).bit_length() - 1, 0), MOST_PACKETS)
        self.evicted = 0
        self.counts = np.zeros(MOST_REASONS, np.int64)
        self._state = np.zeros(k.N_STATE, np.int64)
        self._state[k.NOW_NS] = np.iinfo(np.int64).min
        # Other data than the capture's author can know, so that no capture can make keys collide
        self._state[k.SEED] = int.from_bytes(os.urandom(8), "little", signed=True)
        Pages.retry()
        # Room for the most live flows; the system gives memory for what is touched
        most = min(max_flows, MOST_FLOWS) + MOST_PACKETS
        self._records = _spacious(most, FLOW_RECORD)
        self._dirs = _spacious(2 * self._records.array.size, DIR)
        self._state[k.N_DIRS] = k.SCRATCH_DIRS
        self._free_records = _spacious(self._records.array.size, np.dtype(np.int32))
        self._free_dirs = _spacious(self._dirs.array.size, np.dtype(np.int32))
        self._slots = _all_ready(SLOTS, np.dtype(np.uint32))
        self._kept: Pages
        self._arena: Pages
        self._log: list[tuple[int, int, int]]
        self._new_log(self._records.array.size * PACKET_LIMIT, ARENA_BYTES)
        self._ended: NDArray[Any] = np.zeros(1024, FLOW_RECORD)
        self._tombs = _all_ready(2 * k.TOMB_WAYS, np.dtype(np.uint64)).array.reshape(-1, 2)
        self._marks: NDArray[Any] = np.zeros(1, np.uint64)
        self._n_tombs = 0
        self._fragments = np.zeros((FRAGMENTS, 3), np.uint64)
        self._swept_ns = np.iinfo(np.int64).min
        self._packets = 0
        self._packets_swept = 0
        self._reused = Reused()
        self._merged = False  # parts: sweeps were not where they would have been

    @property
    def live(self) -> int:
        """Flows that have not ended."""
        return int(self._state[k.N_LIVE])

    @property
    def flows(self) -> int:
        """Flows seen so far, live or ended."""
        return int(self._state[k.NEXT_FLOW_ID])

    @property
    def now_ns(self) -> int:
        """Greatest time stamp so far."""
        return int(self._state[k.NOW_NS])

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
        if self._merged and lateness(packets, self.now_ns) > self._idle_ns >= 0:
            raise ClassifierError(
                "time stamps run back by more than the idle timeout, after parts were merged",
                remedy="add all packets to one table",
            )
        batches: list[FlowBatch] = []  # not before all packets know their flows
        first = 0
        while first < packets.size:
            some = packets[first : first + self._period - self._packets % self._period]
            first += some.size
            self._add(some, buffer)
            if self._state[k.N_ENDED] >= BATCH_FLOWS:
                batches += self._flush()
            batches += self._expire()
        yield from batches

    def _add(self, packets: NDArray[np.void], buffer: NDArray[np.uint8]) -> None:
        n = packets.size
        self._reserve(n, n, n, n * k.MOST_KEPT)
        k.update(packets, buffer, *self._arrays(), self._idle_ns, self._active_ns)
        self._packets += packets.size

    def read_on(self, capture: Capture, most_bytes: int) -> Iterator[FlowBatch]:
        """Add packets of a file without asking for each buffer, between two steps of ``batches``.

        Ends where somebody else must look at them: what is left comes out of ``batches``.

        Parameters
        ----------
        capture : Capture
        most_bytes : int
            How much of the file to read, to a buffer more.
        """
        stretch = capture.stretch() if not self._merged else None
        if stretch is None:
            return
        from classifier.flows import _stretch_kernels

        n = stretch.rows.size
        self._reserve(n, n, n, n * k.MOST_KEPT)
        read = _stretch_kernels.read_pcapng if capture.is_pcapng else _stretch_kernels.read_pcap
        added = read(
            *stretch,
            *self._arrays(),
            self._idle_ns,
            self._active_ns,
            most_bytes,
            BATCH_FLOWS,
            self._max_flows,
            self._period,
            MOST_PACKETS,
            self._packets,
            self._packets_swept,
            self._swept_ns,
        )
        self._packets += int(added)
        if self._state[k.N_ENDED] >= BATCH_FLOWS:
            yield from self._flush()
        yield from self._expire()

    def _arrays(self) -> "_Arrays":
        """Return what ``update`` takes behind packets and their buffer."""
        return _Arrays(
            self._records.array,
            self._dirs.array,
            self._slots.array,
            self._free_records.array,
            self._free_dirs.array,
            self._kept.array,
            self._arena.array,
            self._ended,
            self._tombs,
            self._marks,
            self._fragments,
            self.counts,
            self._state,
        )

    def merge(self, part: "Part") -> Iterator[FlowBatch]:
        """Add what a part was made of, as if its packets were added here; yield flows that ended.

        Parameters
        ----------
        part : Part
            Of the packets that follow those that were added or merged so far. ``part.flow_ids`` is
            written: what ``flow_id`` of its packets stands for.

        Raises
        ------
        PartError
            If the outcome would not be exactly that of adding the packets. The table is as it was:
            they can be added, or made a part again with ``again`` of the error, if that is not None.
        """
        from classifier.flows.merging import merge

        merge(self, part)
        return self._ended_by_merging()

    def _ended_by_merging(self) -> Iterator[FlowBatch]:
        yield from self._flush()
        if self._merged and self._idle_ns >= 0:
            yield from self._sweep(self.now_ns - 2 * self._idle_ns)

    def finish(self) -> Iterator[FlowBatch]:
        """End all flows and yield them."""
        yield from self._flush()
        state = self._records.array["state"][: self._state[k.N_RECORDS]]
        rows = np.flatnonzero(state & k.LIVE)
        rows = rows[np.argsort(self._records.array["flow_id"][rows])]
        for first in range(0, rows.size, BATCH_FLOWS):
            batch = self._gather(self._records.array, rows[first : first + BATCH_FLOWS])
            self._release(int(batch.flows["flow_id"][-1]))
            yield batch
        self._state[[k.N_LIVE, k.N_RECORDS, k.N_FREE_RECORDS, k.N_FREE_DIRS]] = 0
        self._state[k.N_DIRS] = k.SCRATCH_DIRS
        self._slots.array[:] = 0
        self._compact()

    def _reserve(self, n: int, n_dirs: int, n_kept: int, n_bytes: int) -> None:
        """Make room for so many more flows, live or ended, directions, kept rows and bytes."""
        state = self._state
        used, live = int(state[k.N_RECORDS]), int(state[k.N_LIVE])
        if used + n > self._records.array.size:
            size = max(used + n, self._records.array.size * 3 // 2)
            self._records = _grown(self._records, used, size)
            self._free_records = _grown(self._free_records, used, size)
        self._records.prepare(used)
        used = int(state[k.N_DIRS])
        if used + n_dirs > self._dirs.array.size:
            size = max(used + n_dirs, self._dirs.array.size * 3 // 2)
            self._dirs = _grown(self._dirs, used, size)
            self._free_dirs = _grown(self._free_dirs, used, size)
        self._dirs.prepare(used)
        if 2 * (live + n) > self._slots.array.size:
            size = self._slots.array.size
            while 2 * (live + n) > size:
                size *= 2
            self._rebuild(size)
        used = int(state[k.N_KEPT])
        if used + n_kept > self._kept.array.size:
            size = max(used + n_kept, self._kept.array.size * 3 // 2)
            self._kept = _grown(self._kept, used, size)
        self._kept.prepare(used)
        used = int(state[k.ARENA_TOP])
        if used + n_bytes > self._arena.array.size:
            size = max(used + n_bytes, self._arena.array.size * 3 // 2)
            self._arena = _grown(self._arena, used, size)
        self._arena.prepare(used)
        used = int(state[k.N_ENDED])
        if used + n > self._ended.size:
            larger = _all_ready(max(used + n, used * 3 // 2) + BATCH_FLOWS, FLOW_RECORD).array
            larger[:used] = self._ended[:used]
            self._ended = larger

        if int(state[k.N_KEPT]) - self._log[-1][1] >= LOG_ROWS:
            top = int(state[k.N_KEPT]), int(state[k.ARENA_TOP])
            self._log.append((int(state[k.NEXT_FLOW_ID]), *top))

    def _release(self, flow_id: int) -> None:
        """Give back the memory of the log up to where flows after this one began."""
        done = 0
        while done + 1 < len(self._log) and self._log[done + 1][0] <= flow_id + 1:
            done += 1
        self._kept.release(self._log[done][1])
        self._arena.release(self._log[done][2])
        del self._log[:done]

    def _new_log(self, n_kept: int, n_bytes: int) -> None:
        # Rows and bytes of the log that are of flows before an id
        self._log = [(0, 0, 0)]
        self._kept = _spacious(n_kept, KEPT)
        self._arena = _spacious(n_bytes, np.dtype(np.uint8))

    def _compact(self) -> None:
        """Leave what ended flows kept behind, if it is much."""
        state = self._state
        gone = int(state[k.GONE_KEPT]) * KEPT.itemsize + int(state[k.GONE_BYTES])
        if gone < LEAST_GONE or 3 * gone < self.kept_bytes:
            return
        kept, arena = self._kept.array, self._arena.array
        self._new_log(kept.size, arena.size)
        if state[k.N_LIVE] == 0:
            state[[k.N_KEPT, k.ARENA_TOP, k.GONE_KEPT, k.GONE_BYTES]] = 0
            return
        k.compact(self._records.array, kept, arena, self._kept.array, self._arena.array, state)

    def _rebuild(self, size: int) -> None:
        if size == self._slots.array.size:
            self._slots.array[:] = 0
        else:
            self._slots = _all_ready(size, np.dtype(np.uint32))
        k.rebuild(self._records.array, self._slots.array, self._state)

    def _expire(self) -> Iterator[FlowBatch]:
        """End flows that are long idle, or too many; each packet pays for O(1) of the work."""
        if self._packets % self._period:
            return
        if self._state[k.N_LIVE] > self._max_flows:
            rows = self._records.array[: self._state[k.N_RECORDS]]
            last = rows["last_ns"][rows["state"] & k.LIVE != 0]
            before = int(np.partition(last, last.size // 4)[last.size // 4]) + 1
            live = self.live
            yield from self._sweep(before)
            self.evicted += live - self.live
            return
        if self._idle_ns < 0 or self._packets % MOST_PACKETS:
            return
        # Half, as each packet may have added a record: else a scan would never be swept
        if 2 * (self._packets - self._packets_swept) < self._state[k.N_RECORDS]:
            return
        now = self.now_ns
        if now - self._swept_ns > self._idle_ns // 2:
            self._packets_swept = self._packets
            self._swept_ns = now
            # Twice the timeout: a packet that comes late by as much still finds its flow
            yield from self._sweep(now - 2 * self._idle_ns)

    def _sweep(self, before_ns: int) -> Iterator[FlowBatch]:
        found = 0
        self._reserve_tombs(before_ns)
        self._state[k.SWEEP_ROW] = 0
        while self._state[k.SWEEP_ROW] >= 0:
            found += k.sweep(
                self._records.array,
                before_ns,
                self._free_records.array,
                self._ended,
                self._tombs,
                self._marks,
                self._state,
            )
            if self._state[k.N_ENDED] >= BATCH_FLOWS or self._state[k.SWEEP_ROW] >= 0:
                yield from self._flush()
        if found:
            self._rebuild(self._slots.array.size)

    def _reserve_tombs(self, before_ns: int) -> None:
        """Make room for flows without a packet since then, so wide that hardly any is lost."""
        rows = self._records.array[: self._state[k.N_RECORDS]]
        swept = (rows["last_ns"] < before_ns) & (rows["state"] & k.LIVE != 0)
        self._n_tombs += int(np.count_nonzero(swept))
        self._grow_tombs(self._n_tombs)

    def _grow_tombs(self, n: int) -> None:
        """Make room for so many tombs."""
        size = min(1 << (32 * n).bit_length(), TOMBS)
        if size > len(self._tombs):
            old = self._tombs
            self._tombs = _all_ready(2 * size, np.dtype(np.uint64)).array.reshape(-1, 2)
            self._marks = np.zeros(max(size // 256, 1), np.uint64)
            k.move_tombs(old, self._tombs, self._marks)

    def bury(self, keys: NDArray[np.uint64]) -> None:
        """Make tombs of these hashes: in a part, each packet with such a key is taken apart."""
        self._grow_tombs(keys.size)
        k.move_tombs(np.stack([keys, np.ones_like(keys)], axis=1), self._tombs, self._marks)

    def _flush(self) -> Iterator[FlowBatch]:
        n = int(self._state[k.N_ENDED])
        for first in range(0, n, BATCH_FLOWS):
            rows = np.arange(first, min(first + BATCH_FLOWS, n))
            yield self._gather(self._ended, rows)
        self._state[k.N_ENDED] = 0
        self._compact()

    def _gather(self, records: NDArray[np.void], rows: NDArray[np.int64]) -> FlowBatch:
        n_packets, n_bytes = g.count(records, rows)
        flows = self._reused.empty(rows.size, FLOW)
        packets = self._reused.empty(n_packets, SERIES)
        payload = self._reused.empty(n_bytes, np.dtype(np.uint8))
        used = g.gather(
            records,
            self._dirs.array,
            self._free_dirs.array,
            rows,
            self._kept.array,
            self._arena.array,
            self._state,
            flows,
            packets,
            payload,
        )
        return FlowBatch(flows, packets, payload[:used])


def lateness(packets: NDArray[np.void], now_ns: int) -> int:
    """Return by how much the packets' time stamps run back at most, also behind ``now_ns``."""
    times = packets["ts_ns"][packets["reason"] == 0]
    if times.size == 0:
        return 0
    greatest = np.maximum(np.maximum.accumulate(times), now_ns)
    return int((greatest - times).max())


def _timeout_ns(name: str, seconds: float | None) -> int:
    if seconds is None:
        return -1
    if not 0 < seconds < 1e9:
        raise ClassifierError(
            f"{name}={seconds} is no timeout", remedy="give seconds above 0, or none"
        )
    return round(seconds * 1e9)


def _grown(pages: Pages, used: int, size: int) -> Pages:
    """Return the same with room for more rows; the first ``used`` are copied."""
    larger = Pages(size, pages.array.dtype)
    larger.prepare(0, used)
    larger.array[:used] = pages.array[:used]
    return larger


def _all_ready(size: int, dtype: np.dtype[Any]) -> Pages:
    """Return zeros that will be used all over from the beginning."""
    pages = Pages(size, dtype)
    pages.prepare(0, size)
    return pages


def _spacious(size: int, dtype: np.dtype[Any]) -> Pages:
    """Return zeros of this size, or of as much of it as the system lets a process ask for."""
    while True:
        try:
            return Pages(size, dtype)
        except (MemoryError, OSError):
            if size <= MOST_PACKETS:
                raise
            size //= 2
