"""Kernels of the prefix table: finding the rows around addresses, choosing one that applies.

How this works: nested prefixes are flattened into disjoint ranges, each with the row of its longest
prefix (`_index` builds all of this). The top table, by the leading bits of an address, says for a
block of addresses where its *record* is: at most ``slots`` first addresses of ranges that begin
inside the block, then the rows of these ranges. One vector comparison of the address with all first
addresses and a count of its bits give the range: no branch, no search, mostly one cache line. A
block with more ranges points to a *node* instead, which splits it by the next bits, and so on: a
trie whose leaves are sorted blocks, after Poptrie (Asai, Ohara, SIGCOMM 2015) and DXR (Zec, Rizzo,
Mikuc, ACM SIGCOMM CCR 42(5), 2012).

IPv4 compares the last 16 bits of addresses. IPv6 drops the leading bits that all prefixes share and
does the same with the upper 64 bits; where ranges begin within one value of these, the record holds
a *link* to another trie, over the lower 64.

A *place* is 32 bits: bits 27 to 30 how many bits a node splits by (0: it is a record), the others where
it begins. Rows with bit 31 are links, but for all ones: none. First addresses are stored less 1,
unused ones as all ones, so that "less than the address" counts what begins at or before it.

Each row knows the next one in order of preference: the same prefix's with a scope as narrow or wider,
then those of the next shorter prefix.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier._jit import count_below, inline, kernel, prefetch

__all__ = [
    "ENTRY",
    "NOT_FOUND",
    "Ranges",
    "find_small_v4",
    "find_v4",
    "find_v6",
    "nearest_miss",
    "resolve",
]

NOT_FOUND = -1
_BLOCK = 512

_AT = np.uint64((1 << 27) - 1)
_SPLIT = np.uint64(27)

#: A registration as the kernels read it, by row.
ENTRY = np.dtype(
    [
        ("from_ns", "i8"),
        ("to_ns", "i8"),
        ("next", "i4"),  # row of the next in order of preference, -1 none
        ("port", "i4"),  # -1 any
        ("proto", "i2"),  # -1 any
        ("side", "u1"),  # 1 client, 2 server, 3 either
        ("active", "u1"),
        ("length", "u1"),  # of the prefix
    ],
    align=True,
)


class Ranges(NamedTuple):
    """Which row an address leads to. All arrays are read-only.

    Attributes
    ----------
    v4_top : uint32 (2**bits,)
        Places by leading bits.
    v4_words : uint32 (m,)
        Records and nodes; places count words. A record has ``slots`` (even) halves, then rows.
    v4_halves : uint16 (2 m,)
        The same memory.
    v6_top : uint32 (2**bits,)
    v6_longs : uint64 (k,)
        Records and nodes; places count longs. A record has ``slots`` longs, then rows as words.
    v6_words : uint32 (2 k,)
        The same memory.
    shape : uint64 (8,)
        IPv4: bits that the top table leaves, slots. IPv6: leading bits that all prefixes share, those
        bits in place, their mask, bits of the top table, slots. The last is 0.
    """

    v4_top: NDArray[np.uint32]
    v4_words: NDArray[np.uint32]
    v4_halves: NDArray[np.uint16]
    v6_top: NDArray[np.uint32]
    v6_longs: NDArray[np.uint64]
    v6_words: NDArray[np.uint32]
    shape: NDArray[np.uint64]


@inline
def _descend(
    place: np.uint64,
    address: np.uint64,
    left: np.uint64,
    unit: np.uint64,
    words: NDArray[np.uint32],
) -> np.uint64:
    """Return where the record is that a place leads to; ``left`` bits of the address do not tell."""
    while place >> _SPLIT != np.uint64(0):
        split = place >> _SPLIT
        left -= split
        child = (address >> left) & ((np.uint64(1) << split) - np.uint64(1))
        place = np.uint64(words[(place & _AT) * unit + child])
    return place


@inline
def _row_v4(address: np.uint64, ranges: Ranges) -> np.uint64:
    """Return the row of one IPv4 address, 32 bits."""
    place = np.uint64(ranges.v4_top[address >> ranges.shape[0]])
    place = _descend(place, address, ranges.shape[0], np.uint64(1), ranges.v4_words)
    slots = ranges.shape[1]
    low = address & np.uint64(0xFFFF)
    rank = count_below(ranges.v4_halves, place << np.uint64(1), low, slots)
    return np.uint64(ranges.v4_words[place + (slots >> np.uint64(1)) + np.uint64(rank)])


@kernel
def find_v4(addresses: NDArray[np.uint32], ranges: Ranges, out: NDArray[np.int32]) -> None:
    """Find the rows of IPv4 addresses, uint32 (n,), read; ``out`` int32 (n,) is written.

    For tables that a second-level cache does not hold.
    """
    # In blocks, asking for the records of one before the first of them is read: up to 3 times as
    # fast at a million prefixes (benchmarks/prefix_table.py) as one address after the other.
    place = np.zeros(_BLOCK, np.uint32)
    top, words, halves = ranges.v4_top, ranges.v4_words, ranges.v4_halves
    shift, slots = ranges.shape[0], ranges.shape[1]
    rows = slots >> np.uint64(1)
    for first in range(0, addresses.size, _BLOCK):
        n = min(_BLOCK, addresses.size - first)
        nodes = np.uint64(0)
        for i in range(n):
            at = np.uint64(top[np.uint64(addresses[first + i]) >> shift])
            place[i] = at
            nodes |= at
            prefetch(words, at & _AT, 0)
        if nodes >> _SPLIT != np.uint64(0):
            for i in range(n):
                at = np.uint64(place[i])
                if at >> _SPLIT != np.uint64(0):
                    address = np.uint64(addresses[first + i])
                    place[i] = _descend(at, address, shift, np.uint64(1), words)
                    prefetch(words, place[i], 0)
        for i in range(n):
            low = np.uint64(addresses[first + i]) & np.uint64(0xFFFF)
            at = np.uint64(place[i])
            rank = count_below(halves, at << np.uint64(1), low, slots)
            out[first + i] = words[at + rows + np.uint64(rank)]


@kernel
def find_small_v4(addresses: NDArray[np.uint32], ranges: Ranges, out: NDArray[np.int32]) -> None:
    """Find the rows of IPv4 addresses in a table of two slots; arguments as in `find_v4`."""
    # In blocks, one step for all of them at a time, in loops without a branch: 1.5 times as fast
    # at 20,000 prefixes as find_v4. Nodes are left to those that meet one, all at the same depth.
    place = np.zeros(_BLOCK, np.uint32)
    word = np.zeros(_BLOCK, np.uint32)
    index = np.zeros(_BLOCK, np.uint32)
    left = np.zeros(_BLOCK, np.uint32)
    top, words = ranges.v4_top, ranges.v4_words
    bits = np.uint32(ranges.shape[0])
    one, low, half = np.uint32(1), np.uint32(0xFFFF), np.uint32(16)
    split, place_bits = np.uint32(27), np.uint32((1 << 27) - 1)
    for first in range(0, addresses.size, _BLOCK):
        asked = addresses[first : first + _BLOCK]
        found = out[first : first + _BLOCK]
        n = asked.size
        for i in range(n):
            place[i] = top[asked[i] >> bits]
        nodes = 0
        for i in range(n):
            index[nodes] = i
            left[nodes] = bits
            nodes += 1 if place[i] >> split else 0
        while nodes > 0:
            todo = nodes
            nodes = 0
            for k in range(todo):
                i = index[k]
                node = place[i]
                rest = left[k] - (node >> split)
                child = (asked[i] >> rest) & ((one << (node >> split)) - one)
                node = words[(node & place_bits) + child]
                place[i] = node
                index[nodes] = i
                left[nodes] = rest
                nodes += 1 if node >> split else 0
        for i in range(n):
            word[i] = words[place[i]]
        for i in range(n):
            key = asked[i] & low
            rank = np.uint32((word[i] & low) < key) + np.uint32((word[i] >> half) < key)
            word[i] = place[i] + one + rank
        for i in range(n):
            found[i] = words[word[i]]


@kernel
def find_v6(addresses: NDArray[np.uint64], ranges: Ranges, out: NDArray[np.int32]) -> None:
    """Find the rows of IPv6 addresses, uint64 (n, 2), read; ``out`` int32 (n,) is written.

    A mapped one is looked up as IPv4.
    """
    # As in find_small_v4; then again with the lower halves, for those whose row is a link.
    place = np.zeros(_BLOCK, np.uint32)
    index = np.zeros(_BLOCK, np.uint32)
    top, words, longs = ranges.v6_top, ranges.v6_words, ranges.v6_longs
    lead, base, mask = ranges.shape[2], ranges.shape[3], ranges.shape[4]
    shift = np.uint64(64) - ranges.shape[5]
    left = shift - lead
    one, two = np.uint64(1), np.uint64(2)
    for first in range(0, addresses.shape[0], _BLOCK):
        n = min(_BLOCK, addresses.shape[0] - first)
        mapped = np.uint64(0)
        for i in range(n):
            hi = addresses[first + i, 0]
            at = np.uint64(top[(hi << lead) >> shift])
            at = at if hi & mask == base else np.uint64(0)  # the first record has no row
            place[i] = at
            mapped |= np.uint64(hi == np.uint64(0))
            prefetch(longs, at & _AT, 0)
        nodes = 0
        for i in range(n):
            index[nodes] = i
            nodes += 1 if np.uint64(place[i]) >> _SPLIT != np.uint64(0) else 0
        for k in range(nodes):
            i = index[k]
            place[i] = _descend(np.uint64(place[i]), addresses[first + i, 0], left, two, words)
            prefetch(longs, place[i], 0)
        for i in range(n):
            at = np.uint64(place[i])
            key = addresses[first + i, 0]
            rank = np.uint64(longs[at] < key) + np.uint64(longs[at + one] < key)
            out[first + i] = words[((at + two) << one) + rank]
        links = 0
        for i in range(n):
            index[links] = i
            links += 1 if out[first + i] < NOT_FOUND else 0
        for k in range(links):
            i = first + index[k]
            at = np.uint64(np.int64(out[i]) & 0x7FFFFFFF)
            place[k] = _descend(at, addresses[i, 1], np.uint64(64), two, words)
            prefetch(longs, place[k], 0)
        for k in range(links):
            i = first + index[k]
            at = np.uint64(place[k])
            key = addresses[i, 1]
            rank = np.uint64(longs[at] < key) + np.uint64(longs[at + one] < key)
            out[i] = words[((at + two) << one) + rank]
        if mapped != np.uint64(0):
            for i in range(first, first + n):
                lo = addresses[i, 1]
                if addresses[i, 0] == np.uint64(0) and lo >> np.uint64(32) == np.uint64(0xFFFF):
                    out[i] = _row_v4(lo & np.uint64(0xFFFFFFFF), ranges)


@kernel
def resolve(
    timed: bool,
    at_ns: NDArray[np.int64],
    side: NDArray[np.int8],
    proto: NDArray[np.int32],
    port: NDArray[np.int32],
    entries: NDArray[np.void],
    out: NDArray[np.int32],
) -> None:
    """Follow rows to the first one that applies.

    ``out`` int32 (n,) holds where to begin, -1 for none, and is written: a row, or -1. ``at_ns``
    int64 (UTC ns; only if ``timed``), ``side`` int8 (bits of `ENTRY`, 3 any), ``proto`` and ``port``
    int32 (-1 any) have one item for all or (n,) and are read. ``entries`` `ENTRY` (n_rows,) is read.
    """
    at_step = 1 if at_ns.size > 1 else 0
    side_step = 1 if side.size > 1 else 0
    proto_step = 1 if proto.size > 1 else 0
    port_step = 1 if port.size > 1 else 0
    scoped = proto.size != 1 or port.size != 1 or proto[0] >= 0 or port[0] >= 0
    index = np.zeros(_BLOCK, np.int64)
    # Loops without a branch, as in find_small_v4: first those with a row, then again and again those
    # whose row does not apply, with the next one.
    for first in range(0, out.size, _BLOCK):
        todo = 0
        for i in range(first, min(first + _BLOCK, out.size)):
            index[todo] = i
            prefetch(entries, max(out[i], 0), 0)
            todo += 1 if out[i] >= 0 else 0
        while todo > 0:
            asked = todo
            todo = 0
            for k in range(asked):
                i = index[k]
                entry = entries[out[i]]
                applies = (entry.active != 0) & (
                    np.int64(entry.side) & np.int64(side[i * side_step]) != 0
                )
                if timed:
                    at = at_ns[i * at_step]
                    applies &= (entry.from_ns <= at) & (at < entry.to_ns)
                if scoped:
                    wanted_proto = proto[i * proto_step]
                    wanted_port = port[i * port_step]
                    applies &= (
                        (entry.proto < 0) | (wanted_proto < 0) | (entry.proto == wanted_proto)
                    ) & ((entry.port < 0) | (wanted_port < 0) | (entry.port == wanted_port))
                following = out[i] if applies else entry.next
                out[i] = following
                index[todo] = i
                todo += 0 if applies | (following < 0) else 1


@kernel
def nearest_miss(
    rows: NDArray[np.int32],
    at_ns: NDArray[np.int64],
    side: NDArray[np.int8],
    proto: NDArray[np.int32],
    port: NDArray[np.int32],
    entries: NDArray[np.void],
    score: NDArray[np.int32],
    nearest: NDArray[np.int32],
) -> None:
    """Score, for addresses that no row matches, the row around them that fails least.

    ``rows`` int32 (n,): where to begin, -1 for none; other arguments as in `resolve`. ``score`` int32
    (n,) is lowered to ``failures << 16 | (255 - length) << 8 | reason``, reasons as in
    ``matching.NEAR_MISSES``; ``nearest`` int32 (n,) is set to the row that lowered it.
    """
    for i in range(rows.size):
        row = np.int64(rows[i])
        at = at_ns[i if at_ns.size > 1 else 0]
        wanted_side = np.int64(side[i if side.size > 1 else 0])
        wanted_proto = proto[i if proto.size > 1 else 0]
        wanted_port = port[i if port.size > 1 else 0]
        while row >= 0:
            entry = entries[row]
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
            this = failures << 16 | (255 - np.int64(entry.length)) << 8 | reason
            if this < score[i]:
                score[i] = this
                nearest[i] = row
            row = np.int64(entry.next)
