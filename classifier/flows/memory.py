"""Memory for arrays that only grow, in pages as large as pay.

How this works: room for the most is asked of the system at once, which gives memory only for what is
touched. A first touch costs the same for a page of 4 KiB as for a few more, so that 150 MiB of live flows
took 100 ms of 240; pages of 2 MiB take a tenth of that. But where memory is in pieces, the system
first moves other pages, and where a virtual machine's host took them back, it gives them anew: either
takes milliseconds. So large pages are asked for one by one, just before they are needed, and no more
once the last ones have cost 2 ms more than small ones would have; the next table tries again. An array's
first 2 MiB are left to small pages: small captures need no more. (Asking for small
pages many at a time, with MADV_POPULATE_WRITE, was tried: it gains nothing.) For the same reason what
goes out is written where an earlier batch was, once nobody has that any more.
"""

import mmap
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pages", "Reused"]

LARGE = 2 << 20
LEAST_BYTES = 4 << 20  # of an array, to have pages of its own; of such NumPy asks for large ones
# What touching LARGE bytes costs in pages of 4 KiB, by benchmarks/first_touches.py
SMALL_NS = 750_000
PATIENCE_NS = 2_000_000  # lost before all is left to small pages
MOST_AHEAD = 32 << 20  # bytes that are got ready because as much was added before
MOST_REUSED = 12  # arrays that are remembered: of four batches


class Pages:
    """An array of zeros that begins at a cache line.

    Parameters
    ----------
    size : int
        Rows.
    dtype : numpy.dtype

    Attributes
    ----------
    array : ndarray, shape (size,)
    """

    __slots__ = ("_map", "_next", "_released", "_skip", "_used", "array")

    _left_ns = PATIENCE_NS  # of the process: what large pages may still cost

    def __init__(self, size: int, dtype: np.dtype[Any]) -> None:
        n_bytes = size * dtype.itemsize
        self._map: mmap.mmap | None = None
        self._next = self._skip = self._released = 0
        self._used = -1  # not known
        self.array: NDArray[Any]
        if n_bytes < LEAST_BYTES:
            raw = np.zeros(n_bytes + 64, np.uint8)
            skip = -raw.ctypes.data % 64
            self.array = raw[skip : skip + n_bytes].view(dtype)
        elif not hasattr(mmap, "MADV_HUGEPAGE"):
            self.array = np.frombuffer(_small_pages(n_bytes), dtype)
        else:
            self._map = _small_pages(n_bytes + LARGE)
            self._skip = -np.frombuffer(self._map, np.uint8).ctypes.data % LARGE
            self.array = np.frombuffer(self._map, dtype, size, self._skip)

    @classmethod
    def retry(cls) -> None:
        """Try large pages again: by now some may be at hand that others gave back."""
        cls._left_ns = PATIENCE_NS

    def prepare(self, used: int, more: int = 1) -> None:
        """Have the memory behind the first ``used`` rows ready for so many more, if it is cheap."""
        item = self.array.dtype.itemsize
        if self._map is None or Pages._left_ns < 0 or (used + more) * item < LARGE:
            return
        # What the next call adds is not known: as much as the last one did
        added = used - self._used if self._used >= 0 else 0
        self._used = used + more - 1
        more = max(more, min(added, MOST_AHEAD // item))
        wanted = (used + more) * item + LARGE
        if self._next >= wanted:
            return
        at = max(self._next, -(-used * item // LARGE) * LARGE)  # the first that nobody touched
        stop = min(wanted, self.array.nbytes - LARGE + 1)
        while at < stop and Pages._left_ns >= 0:
            begun = time.thread_time_ns()
            try:
                self._map.madvise(mmap.MADV_HUGEPAGE, self._skip + at, LARGE)
            except OSError:  # a system without large pages
                Pages._left_ns = -1
                return
            self._map[self._skip + at] = 0
            gained = SMALL_NS - (time.thread_time_ns() - begun)
            Pages._left_ns = min(Pages._left_ns + gained, PATIENCE_NS)
            at += LARGE
        self._next = at

    def release(self, used: int) -> None:
        """Give back the memory behind the first ``used`` rows, which are zeros from then on."""
        if self._map is None:
            return
        stop = used * self.array.dtype.itemsize // LARGE * LARGE
        if stop > self._released:
            self._map.madvise(
                mmap.MADV_DONTNEED, self._skip + self._released, stop - self._released
            )
            self._released = stop


def _small_pages(n_bytes: int) -> mmap.mmap:
    """Return memory for which nobody asks for large pages, as NumPy does, however dear they are."""
    # Private: a first touch of what could be shared costs 1.6 times as much
    private = hasattr(mmap, "MAP_PRIVATE")
    kind = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if private else {}
    try:
        return mmap.mmap(-1, n_bytes, **kind)
    except OSError as error:
        raise MemoryError(f"no room for {n_bytes} bytes") from error


class Reused:
    """Arrays that are used again once whoever got them, and every view of them, is gone."""

    __slots__ = ("_alone", "_arrays", "_is_counted")

    def __init__(self) -> None:
        self._arrays: list[NDArray[Any]] = [np.empty(1, np.uint8)]
        self._alone = self._references(0)  # to an array that nobody has
        _view = self._arrays[0][:]  # a view refers to the array, not to other views
        self._is_counted = self._references(0) > self._alone

    def empty(self, size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an array with any content."""
        unused = [i for i in range(len(self._arrays)) if self._is_unused(i, dtype)]
        for i in unused:
            if self._arrays[i].size >= size:
                return self._arrays[i][:size]
        for i in reversed(unused):
            del self._arrays[i]
        room = size + size // 8  # as the next may be larger
        if room * dtype.itemsize < LEAST_BYTES:
            array = np.empty(room, dtype)
        else:
            array = np.frombuffer(_small_pages(room * dtype.itemsize), dtype)
        self._arrays = [*self._arrays[1 - MOST_REUSED :], array]
        return array[:size]

    def _is_unused(self, i: int, dtype: np.dtype[Any]) -> bool:
        same = self._arrays[i].dtype == dtype
        return same and self._is_counted and self._references(i) == self._alone

    def _references(self, i: int) -> int:
        return sys.getrefcount(self._arrays[i])
