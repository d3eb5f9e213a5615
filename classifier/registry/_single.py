"""One address at a time, in plain Python: what the kernels do, without their cost of a call.

A kernel's call costs 10 microseconds in wrapping its arrays; a whole look-up here is under one. It
reads the same arrays through memoryviews, which give plain numbers, and searches a record by
``bisect``.
"""

from bisect import bisect_left
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from classifier.registry._table_kernels import SLOTS_SMALL, Ranges

__all__ = ["finder_v4", "finder_v6", "first_applying"]

_AT = (1 << 27) - 1
_NONE = 0xFFFFFFFF
_LOW = 0xFFFFFFFFFFFFFFFF


def finder_v4(ranges: Ranges) -> Callable[[int], int]:
    """Return a function from an IPv4 address to its row, 2**32 - 1 for none."""
    top, words, halves = ranges.v4_top.data, ranges.v4_words.data, ranges.v4_halves.data
    left_bits, slots = (int(value) for value in ranges.shape[:2])
    inside = (1 << left_bits) - 1

    def find_small(address: int) -> int:
        place = top[address >> left_bits]
        low = address & 0xFFFF
        at = (place & _AT) + ((address & inside) >> (place >> 27)) << 2
        borders = words[at]
        row = words[at + 1 + ((borders & 0xFFFF) < low) + (borders >> 16 < low)]
        while row >> 31 and row != _NONE:
            part = low >> (row >> 24 & 15) & (2 << (row >> 28 & 7)) - 1
            at = (row & (1 << 24) - 1) + part << 2
            borders = words[at]
            row = words[at + 1 + ((borders & 0xFFFF) < low) + (borders >> 16 < low)]
        return row

    if slots == SLOTS_SMALL:
        return find_small

    def find(address: int) -> int:
        place = _descend(top[address >> left_bits], address, left_bits, 1, slots, words)
        n, at = place >> 27, place & _AT
        rank = bisect_left(halves, address & 0xFFFF, at * 2, at * 2 + n) - at * 2
        return words[at + (n + 1 >> 1) + rank]

    return find


def finder_v6(ranges: Ranges, find_v4: Callable[[int], int]) -> Callable[[int], int]:
    """Return a function from an IPv6 address to its row, 2**32 - 1 for none."""
    top, words, longs = ranges.v6_top.data, ranges.v6_words.data, ranges.v6_longs.data
    lead, base, mask, bits, slots = (int(value) for value in ranges.shape[2:7])
    shift = 64 - bits

    def row_at(place: int, half: int) -> int:
        n, at = place >> 27, place & _AT
        return words[(at + n) * 2 + bisect_left(longs, half, at, at + n) - at]

    def find(address: int) -> int:
        hi = address >> 64
        place = top[(hi << lead & _LOW) >> shift] if hi & mask == base else 0
        row = row_at(_descend(place, hi, shift - lead, 2, slots, words), hi)
        if hi == 0 and address >> 32 == 0xFFFF:
            return find_v4(address & 0xFFFFFFFF)
        if row >> 31 and row != _NONE:
            lo = address & _LOW
            row = row_at(_descend(row & 0x7FFFFFFF, lo, 64, 2, slots, words), lo)
        return row

    return find


def first_applying(entries: NDArray[Any]) -> Callable[[int, int | None, int], int]:
    """Return a function from a row, a time and a scope to the first row from it on that applies.

    The time is in ns, None for any; row 2**32 - 1 is none.
    """
    times, scopes = entries.view("i8").data, entries.view("u8")[2:].data
    following = entries.view("u4")[6:].data

    def first(row: int, at_ns: int | None, asked: int) -> int:
        while row != _NONE:
            at = row * 4
            scope = scopes[at]
            if not (scope ^ asked) & (scope & asked) >> 32 and (
                at_ns is None or times[at] <= at_ns < times[at + 1]
            ):
                break
            row = following[at * 2]
        return row

    return first


def _descend(
    place: int, address: int, left: int, unit: int, slots: int, words: "memoryview[int]"
) -> int:
    """Return the place of the record that a place leads to."""
    while place >> 27 > slots:
        split = (place >> 27) - slots
        left -= split
        place = words[(place & _AT) * unit + (address >> left & (1 << split) - 1)]
    return place
