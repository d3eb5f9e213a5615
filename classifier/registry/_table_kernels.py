"""Kernels of the prefix table: flattening prefixes, finding an address, choosing a registration.

How this works: prefixes in the order of a walk through their nesting (by first address, then
length) are swept once with a stack into disjoint ranges, each named by its longest prefix, the
*group*. IPv4 ranges are cut at the borders of the 65,536 /16 blocks (DXR; Zec, Rizzo, Mikuc, ACM
SIGCOMM CCR 42(5), 2012): a block of one range holds its group in the top table, any other points at
its ranges, kept as 16-bit offsets. IPv6 drops the leading bits that all prefixes share, takes the
next 16 for the top table, and then searches the ranges that begin in that block. A group holds the
rows of one prefix, the narrower scope and then the earlier row first, and knows the next shorter
prefix around it: walking group, parent, grandparent visits the rows in order of preference, and
takes room in proportion to the number of rows however deep they nest.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier._jit import inline, kernel

__all__ = [
    "ENTRY",
    "NOT_FOUND",
    "Groups",
    "Ranges",
    "find_mixed",
    "find_v4",
    "find_v6",
    "flatten",
    "make_blocks_v4",
    "make_top_v6",
    "nearest_miss",
    "resolve",
    "resolve_any",
]

NOT_FOUND = -1
_BLOCK = 256

#: A registration as the kernels read it.
ENTRY = np.dtype(
    [
        ("from_ns", "i8"),
        ("to_ns", "i8"),
        ("row", "i4"),
        ("port", "i4"),  # -1 any
        ("proto", "i2"),  # -1 any
        ("side", "u1"),  # 1 client, 2 server, 3 either
        ("active", "u1"),
    ],
    align=True,
)


class Ranges(NamedTuple):
    """Disjoint address ranges. All arrays are read-only.

    Attributes
    ----------
    v4_top : int32 (65536,)
        Per /16 block: ``-2 - group`` where it is one range, else where its ranges begin.
    v4_low : uint16 (n,)
        First address of a range within its block; at a block's first range (whose first address is
        0) how many more ranges the block has.
    v4_group : int32 (n,)
    v6_lead : uint64 (3,)
        Number of leading bits that all prefixes share, those bits in place, and their mask.
    v6_top : int32 (65537,)
        Last range that begins at or before a block.
    v6_hi, v6_lo : uint64 (m,)
        First addresses of ranges.
    v6_group : int32 (m,)
    """

    v4_top: NDArray[np.int32]
    v4_low: NDArray[np.uint16]
    v4_group: NDArray[np.int32]
    v6_lead: NDArray[np.uint64]
    v6_top: NDArray[np.int32]
    v6_hi: NDArray[np.uint64]
    v6_lo: NDArray[np.uint64]
    v6_group: NDArray[np.int32]


class Groups(NamedTuple):
    """Rows by prefix. All arrays are read-only.

    Attributes
    ----------
    start : int32 (n_groups + 1,)
        ``entries[start[g]:start[g + 1]]`` are the rows of group ``g``.
    parent : int32 (n_groups,)
        Next shorter prefix around it, less than ``g``; -1 where there is none.
    length : uint8 (n_groups,)
    first_active : int32 (n_groups,)
        Row that matches where nothing is asked but the address, -1 where none.
    entries : ENTRY (n_rows,)
    """

    start: NDArray[np.int32]
    parent: NDArray[np.int32]
    length: NDArray[np.uint8]
    first_active: NDArray[np.int32]
    entries: NDArray[np.void]


@kernel
def flatten(
    hi: NDArray[np.uint64],
    lo: NDArray[np.uint64],
    end_hi: NDArray[np.uint64],
    end_lo: NDArray[np.uint64],
    parent: NDArray[np.int32],
    out_hi: NDArray[np.uint64],
    out_lo: NDArray[np.uint64],
    out_group: NDArray[np.int32],
) -> int:
    """Sweep nested prefixes into disjoint ranges from address 0 on.

    First and last addresses, uint64 (n,), distinct and sorted by (first, length), are read.
    ``parent`` int32 (n,) and the ranges, (2 n + 1,), are written. Returns the number of ranges.
    """
    stack = np.empty(130, np.int32)  # prefixes nest at most 129 deep
    depth = 0
    count = 1
    out_hi[0] = 0
    out_lo[0] = 0
    out_group[0] = NOT_FOUND
    for g in range(hi.size + 1):
        last = g == hi.size
        while depth > 0:
            top = stack[depth - 1]
            if not last and (
                end_hi[top] > hi[g] or (end_hi[top] == hi[g] and end_lo[top] >= lo[g])
            ):
                break
            depth -= 1
            next_lo = end_lo[top] + np.uint64(1)
            next_hi = end_hi[top] + np.uint64(1) if next_lo == 0 else end_hi[top]
            if next_lo == 0 and next_hi == 0:
                continue  # ends with the last address, as all around it do
            if out_hi[count - 1] != next_hi or out_lo[count - 1] != next_lo:
                count += 1
            out_hi[count - 1] = next_hi
            out_lo[count - 1] = next_lo
            out_group[count - 1] = stack[depth - 1] if depth > 0 else NOT_FOUND
        if last:
            break
        if out_hi[count - 1] != hi[g] or out_lo[count - 1] != lo[g]:
            count += 1
        out_hi[count - 1] = hi[g]
        out_lo[count - 1] = lo[g]
        out_group[count - 1] = g
        parent[g] = stack[depth - 1] if depth > 0 else NOT_FOUND
        stack[depth] = g
        depth += 1
    return count


@kernel
def make_blocks_v4(
    starts: NDArray[np.uint64],
    groups: NDArray[np.int32],
    top: NDArray[np.int32],
    low: NDArray[np.uint16],
    out_group: NDArray[np.int32],
) -> int:
    """Cut ranges at the borders of /16 blocks.

    ``starts`` uint64 (n,), ascending from 0, and ``groups`` int32 (n,) are read; ``top`` int32
    (65536,), ``low`` and ``out_group`` (2 n,) are written. Returns how many of the latter are used.
    """
    r = 0
    used = 0
    for block in range(65536):
        first = np.uint64(block) << np.uint64(16)
        while r + 1 < starts.size and starts[r + 1] <= first:
            r += 1
        stop = r + 1
        while stop < starts.size and starts[stop] >> np.uint64(16) == np.uint64(block):
            stop += 1
        if stop == r + 1:
            top[block] = -2 - groups[r]
            continue
        top[block] = used
        low[used] = stop - r - 1
        out_group[used] = groups[r]
        for k in range(r + 1, stop):
            low[used + k - r] = starts[k] & np.uint64(0xFFFF)
            out_group[used + k - r] = groups[k]
        used += stop - r
        r = stop - 1
    return used


@kernel
def make_top_v6(
    hi: NDArray[np.uint64], lo: NDArray[np.uint64], lead: NDArray[np.uint64], top: NDArray[np.int32]
) -> None:
    """Note the last range that begins at or before each block.

    ``hi``, ``lo`` uint64 (n,), ascending from 0, and ``lead`` uint64 (3,) are read; ``top`` int32
    (65537,) is written, its last item is the last range.
    """
    r = 0
    shift = np.uint64(48) - lead[0]
    for block in range(65536):
        first = lead[1] | np.uint64(block) << shift
        while r + 1 < hi.size and (
            hi[r + 1] < first or (hi[r + 1] == first and lo[r + 1] == np.uint64(0))
        ):
            r += 1
        top[block] = r
    top[65536] = hi.size - 1


@inline
def _group_v4(address: np.uint64, ranges: Ranges) -> np.int64:
    """Return the group of an IPv4 address, -1 for none."""
    position = np.int64(ranges.v4_top[np.int64(address >> np.uint64(16))])
    if position < 0:
        return -2 - position
    key = np.int64(address & np.uint64(0xFFFF))
    span = np.int64(ranges.v4_low[position])
    while span > 0:
        half = (span + 1) >> 1
        position += half if np.int64(ranges.v4_low[position + half]) <= key else 0
        span -= half
    return np.int64(ranges.v4_group[position])


@inline
def _group_v6(hi: np.uint64, lo: np.uint64, ranges: Ranges) -> np.int64:
    """Return the group of an IPv6 address, -1 for none; a mapped one is looked up as IPv4."""
    if hi == np.uint64(0) and lo >> np.uint64(32) == np.uint64(0xFFFF):
        return _group_v4(lo & np.uint64(0xFFFFFFFF), ranges)
    if hi & ranges.v6_lead[2] != ranges.v6_lead[1]:
        return np.int64(NOT_FOUND)
    block = np.int64((hi << ranges.v6_lead[0]) >> np.uint64(48))
    position = np.int64(ranges.v6_top[block])
    span = np.int64(ranges.v6_top[block + 1]) - position
    while span > 0:
        half = (span + 1) >> 1
        there = ranges.v6_hi[position + half]
        below = there < hi or (there == hi and ranges.v6_lo[position + half] <= lo)
        position += half if below else 0
        span -= half
    return np.int64(ranges.v6_group[position])


@kernel
def find_v4(addresses: NDArray[np.uint32], ranges: Ranges, out: NDArray[np.int32]) -> None:
    """Find the groups of IPv4 addresses, uint32 (n,), read; ``out`` int32 (n,) is written."""
    # A block of addresses at a time: the top table for all, then only those whose search is not
    # over, all of them one step at a time and without a branch on what is compared. Measured with
    # benchmarks/prefix_table.py at 20,000 prefixes: 3.2 (uniform) and 1.3 (skewed) times as fast
    # as one search after the other; eight in lockstep without leaving any out gained half of it.
    position = np.zeros(_BLOCK, np.uint64)
    span = np.zeros(_BLOCK, np.uint64)
    key = np.zeros(_BLOCK, np.uint64)
    index = np.zeros(_BLOCK, np.uint64)
    one = np.uint64(1)  # unsigned throughout: numba tests signed indices for less than 0
    low = ranges.v4_low
    for first in range(0, addresses.size, _BLOCK):
        n = 0
        for i in range(first, min(first + _BLOCK, addresses.size)):
            address = np.uint64(addresses[i])
            top = ranges.v4_top[address >> np.uint64(16)]
            out[i] = np.int32(-2) - top
            index[n] = i
            position[n] = np.uint64(max(top, 0))
            key[n] = address & np.uint64(0xFFFF)
            n += 1 if top >= 0 else 0
        longest = np.uint64(0)
        for k in range(n):
            span[k] = low[position[k]]
            longest |= span[k]
        while longest > np.uint64(0):
            for k in range(n):
                half = (span[k] + one) >> one
                there = position[k] + half
                position[k] += half * np.uint64(np.uint64(low[there]) <= key[k])
                span[k] -= half
            longest >>= one
        for k in range(n):
            out[index[k]] = ranges.v4_group[position[k]]


@kernel
def find_v6(addresses: NDArray[np.uint64], ranges: Ranges, out: NDArray[np.int32]) -> None:
    """Find the groups of IPv6 addresses, uint64 (n, 2), read; ``out`` int32 (n,) is written."""
    # In blocks as in find_v4.
    position = np.zeros(_BLOCK, np.uint64)
    span = np.zeros(_BLOCK, np.uint64)
    index = np.zeros(_BLOCK, np.uint64)
    one = np.uint64(1)
    shift, base, mask = ranges.v6_lead[0], ranges.v6_lead[1], ranges.v6_lead[2]
    for first in range(0, addresses.shape[0], _BLOCK):
        n = 0
        longest = np.uint64(0)
        for i in range(first, min(first + _BLOCK, addresses.shape[0])):
            hi = addresses[i, 0]
            lo = addresses[i, 1]
            if hi & mask != base or hi == np.uint64(0):
                out[i] = _group_v6(hi, lo, ranges)
                continue
            block = (hi << shift) >> np.uint64(48)
            begin = np.uint64(ranges.v6_top[block])
            index[n] = i
            position[n] = begin
            span[n] = np.uint64(ranges.v6_top[block + one]) - begin
            out[i] = ranges.v6_group[begin]
            longest |= span[n]
            n += 1 if span[n] > np.uint64(0) else 0
        while longest > np.uint64(0):
            for k in range(n):
                half = (span[k] + one) >> one
                there = position[k] + half
                hi = addresses[index[k], 0]
                less = np.uint64(ranges.v6_hi[there] < hi)
                same = np.uint64(ranges.v6_hi[there] == hi)
                below = less | same & np.uint64(ranges.v6_lo[there] <= addresses[index[k], 1])
                position[k] += half * below
                span[k] -= half
            longest >>= one
        for k in range(n):
            out[index[k]] = ranges.v6_group[position[k]]


@kernel
def find_mixed(
    version: NDArray[np.uint8],
    hi: NDArray[np.uint64],
    lo: NDArray[np.uint64],
    ranges: Ranges,
    out: NDArray[np.int32],
) -> None:
    """Find the groups of addresses of either version, (n,), read; ``out`` int32 (n,) is written."""
    for i in range(version.size):
        if version[i] == 4:
            out[i] = _group_v4(lo[i] & np.uint64(0xFFFFFFFF), ranges)
        elif version[i] == 6:
            out[i] = _group_v6(hi[i], lo[i], ranges)
        else:
            out[i] = NOT_FOUND


@kernel
def resolve_any(group: NDArray[np.int32], groups: Groups, out: NDArray[np.int32]) -> None:
    """Turn groups, int32 (n,), read, into their best active rows in ``out`` int32 (n,)."""
    if groups.first_active.size == 0:
        out[:] = NOT_FOUND
        return
    for i in range(group.size):
        row = groups.first_active[max(group[i], 0)]
        out[i] = row if group[i] >= 0 else NOT_FOUND


@kernel
def resolve(
    group: NDArray[np.int32],
    timed: bool,
    at_ns: NDArray[np.int64],
    side: NDArray[np.int8],
    proto: NDArray[np.int32],
    port: NDArray[np.int32],
    groups: Groups,
    out: NDArray[np.int32],
) -> None:
    """Choose the row of each group, or of a group around it, that applies.

    ``group`` int32 (n,) is read. ``at_ns`` int64 (UTC ns; only if ``timed``), ``side`` int8 (bits of
    `ENTRY`, 3 any), ``proto`` and ``port`` int32 (-1 any) have one item for all or (n,) and are
    read. ``out`` int32 (n,) is written: a row, or -1.
    """
    entries = groups.entries
    for i in range(group.size):
        g = np.int64(group[i])
        out[i] = NOT_FOUND
        if g < 0:
            continue
        at = at_ns[i if at_ns.size > 1 else 0]
        wanted_side = np.int64(side[i if side.size > 1 else 0])
        wanted_proto = proto[i if proto.size > 1 else 0]
        wanted_port = port[i if port.size > 1 else 0]
        found = NOT_FOUND
        while g >= 0 and found < 0:
            for e in range(groups.start[g], groups.start[g + 1]):
                entry = entries[e]
                if (
                    entry.active
                    and np.int64(entry.side) & wanted_side
                    and (not timed or entry.from_ns <= at < entry.to_ns)
                    and (entry.proto < 0 or wanted_proto < 0 or entry.proto == wanted_proto)
                    and (entry.port < 0 or wanted_port < 0 or entry.port == wanted_port)
                ):
                    found = entry.row
                    break
            g = np.int64(groups.parent[g])
        out[i] = found


@kernel
def nearest_miss(
    group: NDArray[np.int32],
    at_ns: NDArray[np.int64],
    side: NDArray[np.int8],
    proto: NDArray[np.int32],
    port: NDArray[np.int32],
    groups: Groups,
    score: NDArray[np.int32],
) -> None:
    """Score, for addresses that no row matches, the row around them that fails least.

    Arguments as in `resolve`; ``score`` int32 (n,) is lowered to
    ``failures << 16 | (255 - length) << 8 | reason``, reasons as in ``matching.NEAR_MISSES``.
    """
    entries = groups.entries
    for i in range(group.size):
        g = np.int64(group[i])
        if g < 0:
            continue
        at = at_ns[i if at_ns.size > 1 else 0]
        wanted_side = np.int64(side[i if side.size > 1 else 0])
        wanted_proto = proto[i if proto.size > 1 else 0]
        wanted_port = port[i if port.size > 1 else 0]
        best = np.int64(score[i])
        while g >= 0:
            for e in range(groups.start[g], groups.start[g + 1]):
                entry = entries[e]
                failures = 0
                reason = 0
                if not entry.active:
                    failures += 1
                    reason = 5
                if (entry.proto >= 0 and wanted_proto >= 0 and entry.proto != wanted_proto) or (
                    entry.port >= 0 and wanted_port >= 0 and entry.port != wanted_port
                ):
                    failures += 1
                    reason = 4
                if not np.int64(entry.side) & wanted_side:
                    failures += 1
                    reason = 3
                if at < entry.from_ns:
                    failures += 1
                    reason = 2
                elif at >= entry.to_ns:
                    failures += 1
                    reason = 1
                this = failures << 16 | (255 - np.int64(groups.length[g])) << 8 | reason
                best = min(best, this)
            g = np.int64(groups.parent[g])
        score[i] = best
