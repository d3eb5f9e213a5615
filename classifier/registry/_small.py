"""Building the IPv4 table that a second-level cache holds; `_table_kernels` says what it is made of."""

import numpy as np
from numpy.typing import NDArray

from classifier.registry._grow import LINK, NONE, aligned_words, counted, ranges_in

__all__ = ["grow_small"]

_SLOTS = 2
_WORDS = 4

#: What splits a block at once, however few ranges are in it: 16 records for each of them at most.
_SPARE_BITS = 4

_MOST_BITS, _MOST_BITS_OF_LINK = 16, 8


def grow_small(
    starts: NDArray[np.uint64], values: NDArray[np.uint32], left: int
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return the top table and the words of records.

    Parameters
    ----------
    starts, values : ndarray, shape (n,)
        First addresses of ranges, from 0 on, and their rows.
    left : int
        Bits that the top table leaves, 16 at most.
    """
    begin = np.arange(1 << (32 - left), dtype=np.uint64) << np.uint64(left)
    bits = np.full(begin.size, left)
    first, last = ranges_in(starts, begin, left)
    top = np.empty(begin.size, np.uint32)
    records = _Records(starts, values)
    whole = np.flatnonzero(first == last)  # one record for all blocks of one row
    rows, which = np.unique(values[first[whole]], return_inverse=True)
    shared = np.full((rows.size, _WORDS), NONE, np.uint32)
    shared[:, 1] = rows
    top[whole] = which.astype(np.uint32) | np.uint32(left << 27)
    records.add(shared)
    rest = np.flatnonzero(first != last)
    split, at = records.nodes(begin[rest], bits[rest], first[rest], last[rest], _MOST_BITS)
    top[rest] = ((left - split) << 27 | at).astype(np.uint32)
    return top, records.words()


def _ranges_in(
    starts: NDArray[np.uint64], begin: NDArray[np.uint64], bits: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first and the last range in blocks of ``2**bits`` addresses."""
    end = begin + (np.uint64(1) << bits.astype(np.uint64)) - np.uint64(1)
    return np.searchsorted(starts, begin, "right") - 1, np.searchsorted(starts, end, "right") - 1


def _bit_length(values: NDArray[np.uint64] | NDArray[np.int64]) -> NDArray[np.int64]:
    return np.frexp(values.astype(np.float64))[1].astype(np.int64)


class _Records:
    """Records of blocks, four words each, that grow at the end."""

    def __init__(self, starts: NDArray[np.uint64], values: NDArray[np.uint32]) -> None:
        self._starts = starts
        self._values = values
        self._parts: list[NDArray[np.uint32]] = []
        self._used = 0

    def add(self, records: NDArray[np.uint32]) -> None:
        """Put records, (n, 4), at the end; they may be changed until `words`."""
        self._parts.append(records)
        self._used += len(records)

    def nodes(
        self,
        begin: NDArray[np.uint64],
        bits: NDArray[np.int64],
        first: NDArray[np.int64],
        last: NDArray[np.int64],
        most: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Split blocks; return by how many bits, and the record of the first part of each."""
        split = self._splits(bits, first, last, most)
        size = 1 << split
        at = self._used + np.cumsum(size) - size
        part_bits = np.repeat(bits - split, size)
        offset = counted(size).astype(np.uint64) << part_bits.astype(np.uint64)
        begin = np.repeat(begin, size) + offset
        first, last = _ranges_in(self._starts, begin, part_bits)
        n = last - first
        records = np.full((n.size, _WORDS), NONE, np.uint32)
        borders = records.view(np.uint16)
        few = n <= _SLOTS
        for k in range(_SLOTS + 1):
            has = np.flatnonzero(few & (n >= k))
            records[has, 1 + k] = self._values[first[has] + k]
            if k:
                inside = self._starts[first[has] + k] - np.uint64(1)
                borders[has, k - 1] = inside.astype(np.uint16)
        self.add(records)
        deep = np.flatnonzero(~few)
        if deep.size:
            below, place = self.nodes(
                begin[deep], part_bits[deep], first[deep], last[deep], _MOST_BITS_OF_LINK
            )
            link = LINK | (below - 1) << 28 | (part_bits[deep] - below) << 24 | place
            records[deep, 1] = link.astype(np.uint32)
        return split, at

    def _splits(
        self, bits: NDArray[np.int64], first: NDArray[np.int64], last: NDArray[np.int64], most: int
    ) -> NDArray[np.int64]:
        """Return by how many bits to split blocks so that no part has too many ranges, mostly."""
        n = last - first
        split = np.zeros(n.size, np.int64)
        many = np.flatnonzero(n > _SLOTS)
        if not many.size:
            return split
        # Of three first addresses in a row, the first must begin a part or the last be in another.
        triples = n[many] - _SLOTS
        index = np.repeat(first[many] + 1, triples) + counted(triples)
        apart = _bit_length((self._starts[index] - np.uint64(1)) ^ self._starts[index + _SLOTS])
        needed = np.repeat(bits[many], triples) - apart + 1
        enough = np.maximum.reduceat(needed, np.cumsum(triples) - triples)
        least = _bit_length(n[many] - 1)
        affordable = np.minimum(least + _SPARE_BITS, most)
        cut = np.minimum(np.minimum(least + 2, bits[many]), most)
        split[many] = np.where(enough <= affordable, enough, cut)
        return split

    def words(self) -> NDArray[np.uint32]:
        """Return all records, beginning at a cache line."""
        result = aligned_words(self._used * _WORDS)
        result[:] = np.concatenate(self._parts).ravel()
        return result
