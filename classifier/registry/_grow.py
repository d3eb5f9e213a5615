"""Growing the tries of the prefix table; `_table_kernels` says what records, nodes and places are."""

from bisect import bisect_left
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LINK",
    "NONE",
    "Trie",
    "aligned_words",
    "counted",
    "distinct",
    "grow",
    "merged",
    "ranges_in",
]

NONE = 0xFFFFFFFF
LINK = 0x80000000
_PLACES = 1 << 27
_CACHE_LINE = 64
_LINE_WORDS = _CACHE_LINE // 4


def aligned_words(size: int) -> NDArray[np.uint32]:
    """Return zeros that begin at a cache line."""
    # np.empty, as NumPy asks for huge pages only there: a quarter faster look-ups in 30 MB.
    raw = np.empty(size + _CACHE_LINE // 4, np.uint32)
    raw[:] = 0
    skip = -raw.ctypes.data % _CACHE_LINE // 4
    return raw[skip : skip + size]


def merged(
    starts: tuple[NDArray[np.uint64], ...], values: NDArray[np.int64]
) -> tuple[tuple[NDArray[np.uint64], ...], NDArray[np.uint32]]:
    """Return ranges with neighbours of equal values made one, and values as 32 bits."""
    new = np.ones(values.size, bool)
    new[1:] = values[1:] != values[:-1]
    return tuple(start[new] for start in starts), (values[new] & NONE).astype(np.uint32)


class Trie:
    """Words of records and nodes that grow at the end.

    Attributes
    ----------
    slots : int
        First addresses in a record, at most.
    unit : int
        Words that a place counts.
    """

    def __init__(self, kind: Any, *, slots: int) -> None:
        self.slots = slots
        self._kind = np.dtype(kind)
        self.unit = max(self._kind.itemsize // 4, 1)
        self._parts: list[tuple[NDArray[np.int64], NDArray[np.uint32]]] = []
        self._used = 0
        self.add_records(np.zeros(1, np.int64), np.full(1, NONE, np.uint32), None)

    @property
    def is_full(self) -> bool:
        """Whether places no longer reach the end."""
        return bool(self._used // self.unit >= _PLACES)

    def reserve(self, sizes: NDArray[np.int64], line: int) -> NDArray[np.int64]:
        """Return where blocks of so many words begin, each at a multiple of ``line``."""
        sizes = -(-sizes // line) * line
        begin = -(-self._used // line) * line
        self._used = begin + int(sizes.sum())
        return begin + np.cumsum(sizes) - sizes

    def write(self, at: NDArray[np.int64], words: NDArray[np.uint32]) -> None:
        """Put words at places that were reserved."""
        self._parts.append((at, words))

    def add_records(
        self, n: NDArray[np.int64], rows: NDArray[np.uint32], starts: NDArray[np.uint64] | None
    ) -> NDArray[np.uint32]:
        """Write records of ``n`` first addresses and ``n + 1`` rows, one after the other.

        Returns their places. ``starts`` are all the first addresses.
        """
        head = -(-n * self._kind.itemsize // 4)
        at = self._in_lines(head + n + 1) if n.any() else self.reserve(n + 1, self.unit)
        if starts is not None:
            room = head * 4 // self._kind.itemsize
            keys = np.zeros(int(room.sum()), self._kind)
            keys[np.repeat(np.cumsum(room) - room, n) + counted(n)] = starts - np.uint64(1)
            self.write(np.repeat(at, head) + counted(head), keys.view(np.uint32))
        self.write(np.repeat(at + head, n + 1) + counted(n + 1), rows)
        return self._places(n, at)

    def add_nodes(self, split: NDArray[np.int64]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Return places of nodes that split by so many bits, and where their words are to be."""
        at = self.reserve(1 << split, self.unit)
        return self._places(split + self.slots, at), at

    def _places(self, kind: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.uint32]:
        places: NDArray[np.uint32] = (kind << 27 | at // self.unit).astype(np.uint32)
        return places

    def _in_lines(self, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where records of so many words begin, in as few cache lines as pairs allow.

        The smaller of two comes first, so that the 32 bytes from where either begins are in the line.
        """
        sizes = -(-sizes // self.unit) * self.unit
        order = np.argsort(sizes, kind="stable")
        ordered = sizes[order]

        def too_many(pairs: int) -> bool:  # the smallest ones, the least with the largest ...
            both = ordered[:pairs] + ordered[pairs : 2 * pairs][::-1]
            return bool(both.max() > _LINE_WORDS)

        pairs = bisect_left(range(1, sizes.size // 2 + 1), True, key=too_many)
        lines = self.reserve(np.full(sizes.size - pairs, _LINE_WORDS), _LINE_WORDS)
        at = np.empty(sizes.size, np.int64)
        at[order[:pairs]] = lines[:pairs]
        at[order[pairs : 2 * pairs][::-1]] = lines[:pairs] + ordered[:pairs]
        at[order[2 * pairs :]] = lines[pairs:]
        return at

    def words(self) -> NDArray[np.uint32]:
        """Return everything, and behind it what a vector comparison reads too much."""
        result = aligned_words(-(-self._used // 16) * 16 + 32)
        for at, words in self._parts:
            result[at] = words
        return result


def distinct(values: NDArray[Any]) -> NDArray[Any]:
    """Return distinct numbers in order, as np.unique does from NumPy 2.3 on by hash, in 100 times the time."""
    ordered = np.sort(values, axis=None)
    new = np.ones(ordered.size, bool)
    new[1:] = ordered[1:] != ordered[:-1]
    return ordered[new]


def counted(n: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 0, 1 ... n - 1 for each n."""
    return np.arange(int(n.sum())) - np.repeat(np.cumsum(n) - n, n)


def ranges_in(
    starts: NDArray[np.uint64], begin: NDArray[np.uint64], left_bits: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first and the last range in blocks of ``2**left_bits`` addresses, one behind another."""
    # By counting: twice as fast as a search for each block.
    size, end = np.uint64(1 << left_bits), begin[-1] + np.uint64((1 << left_bits) - 1)
    before = int(np.searchsorted(starts, begin[0]))
    inside = starts[before : int(np.searchsorted(starts, end, "right"))] - begin[0]
    block = (inside >> np.uint64(left_bits)).astype(np.int64)
    n = np.bincount(block, minlength=begin.size)
    last = before + np.cumsum(n) - 1
    first = last - n
    first[block[inside & (size - np.uint64(1)) == 0]] += 1
    return first, last


def _last_before(
    starts: NDArray[np.uint64],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    key: NDArray[np.uint64],
) -> NDArray[np.int64]:
    """Return for each key the last of ``starts[left:right + 1]`` that is not greater."""
    left, right = left.copy(), right.copy()
    while True:
        todo = left < right
        if not todo.any():
            return left
        middle = (left + right + 1) >> 1
        below = starts[middle] <= key
        left = np.where(todo & below, middle, left)
        right = np.where(todo & ~below, middle - 1, right)


def grow(
    trie: Trie,
    starts: NDArray[np.uint64],
    values: NDArray[np.uint32],
    begin: NDArray[np.uint64],
    left_bits: int | NDArray[np.int64],
    left: NDArray[np.int64] | None = None,
    right: NDArray[np.int64] | None = None,
) -> NDArray[np.uint32]:
    """Return places for blocks of addresses.

    Parameters
    ----------
    starts, values : ndarray, shape (n,)
        First addresses of ranges and their rows.
    begin : ndarray of uint64, shape (n_blocks,)
        First addresses of blocks.
    left_bits : int or ndarray
        Blocks have ``2**left_bits`` addresses; where it is an int, they are one behind another.
    left, right : ndarray of int, shape (n_blocks,), optional
        First and last range of each block's part of ``starts``; all of them where left out.
    """
    bits = np.broadcast_to(np.asarray(left_bits, np.int64), begin.shape)
    end = begin + _ones(bits)
    if left is None or right is None:
        first, last = ranges_in(starts, begin, int(bits[0]))
    else:
        first = _last_before(starts, left, right, begin)
        last = _last_before(starts, first, right, end)
    n = last - first
    place = np.empty(begin.size, np.uint32)
    whole = np.flatnonzero(n == 0)
    if whole.size:  # one record for all blocks of one row
        rows, which = np.unique(values[first[whole]], return_inverse=True)
        place[whole] = trie.add_records(np.zeros(rows.size, np.int64), rows, None)[which]
    few = np.flatnonzero((n > 0) & (n <= trie.slots))
    if few.size:
        rows = values[np.repeat(first[few], n[few] + 1) + counted(n[few] + 1)]
        inner = starts[np.repeat(first[few] + 1, n[few]) + counted(n[few])]
        place[few] = trie.add_records(n[few], rows, inner)
    many = np.flatnonzero(n > trie.slots)
    if many.size:
        wanted = np.ceil(np.log2(n[many] / trie.slots * 2)).astype(np.int64)
        split = np.minimum(np.clip(wanted, 2, 8), bits[many])
        n_children = 1 << split
        place[many], at = trie.add_nodes(split)
        child = counted(n_children)
        child_bits = np.repeat(bits[many] - split, n_children)
        child_begin = np.repeat(begin[many], n_children) + (
            child.astype(np.uint64) << child_bits.astype(np.uint64)
        )
        places = grow(
            trie,
            starts,
            values,
            child_begin,
            child_bits,
            np.repeat(first[many], n_children),
            np.repeat(last[many], n_children),
        )
        trie.write(np.repeat(at, n_children) + child, places)
    return place


def _ones(bits: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return so many low bits, 0 to 64."""
    shift = np.clip(64 - bits, 0, 63).astype(np.uint64)
    return np.where(bits > 0, np.uint64(0xFFFFFFFFFFFFFFFF) >> shift, np.uint64(0))
