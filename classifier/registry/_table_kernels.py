"""Kernels of the prefix table: finding the rows around addresses, choosing one that applies.

How this works: nested prefixes are flattened into disjoint ranges, each with the row of its longest
prefix (`_index` builds all of this). The top table, by the leading bits of an address, says for a
block of addresses where its *record* is: the few first addresses of ranges that begin
inside the block, then the rows of these ranges. One vector comparison of the address with all first
addresses and a count of its bits give the range: no branch, no search, mostly one cache line. A
block with more ranges points to a *node* instead, which splits it by the next bits, and so on: a
trie whose leaves are sorted blocks, after Poptrie (Asai, Ohara, SIGCOMM 2015) and DXR (Zec, Rizzo,
Mikuc, ACM SIGCOMM CCR 42(5), 2012).

IPv4 compares the last 16 bits of addresses. IPv6 drops the leading bits that all prefixes share and
does the same with the upper 64 bits; where ranges begin within one value of these, the record holds
a *link* to another trie, over the lower 64.

A *place* is 32 bits: the lower 27 where a record or node begins, the others how many first addresses the
record has, or, beyond the most that records have, by how many bits the node splits. A record takes no
more room than it needs, and two are in a cache line where they fit. Rows with bit 31 are links, but for
all ones: none. First addresses are stored less 1, so that "less than the address" counts what begins at or
before it. IPv4 tables that a second-level cache holds are made otherwise: `_small`.

Each row knows the next one in order of preference: the same prefix's with a scope as narrow or wider,
then those of the next shorter prefix.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier._jit import count_below, inline, kernel, prefetch

__all__ = [
    "ACTIVE_ONLY",
    "ENTRY",
    "NOT_FOUND",
    "PORT",
    "PROTO",
    "SLOTS_SMALL",
    "SLOTS_V4",
    "SLOTS_V6",
    "Ranges",
    "entry_scope",
    "find_small_v4",
    "find_v4",
    "find_v6",
    "nearest_miss",
    "port_scope",
    "proto_scope",
    "replace_rows",
    "resolve",
    "side_scope",
]

NOT_FOUND = -1
_BLOCK = 256
_SMALL_BLOCK = 128
_CACHED_ENTRIES = 1 << 15  # that a second-level cache holds
_NONE = 0xFFFFFFFF

_AT = np.uint64((1 << 27) - 1)
_KIND = np.uint64(27)
_SHIFTS = np.uint64(63)

#: First addresses in a record, at most: as many as a vector comparison and a cache line hold.
SLOTS_V4, SLOTS_V6, SLOTS_SMALL = 10, 4, 2

#: A registration as the kernels read it, by row.
ENTRY = np.dtype(
    [
        ("from_ns", "i8"),
        ("to_ns", "i8"),
        ("scope", "u8"),  # what it is for, as `entry_scope` writes it
        ("next", "i4"),  # row of the next in order of preference, -1 none
        ("length", "u1"),  # of the prefix
    ],
    align=True,
)

# A scope: port, protocol, side and whether it is not active in the lower half, in the upper which
# bits of these are limited, or asked for. An entry is for what is asked if they agree in all bits
# that both name. Ports and protocols have a bit more than they need: what is asked beyond equals none.
PORT, PROTO, _SIDE, _INACTIVE = (1 << 17) - 1, 0x1FF << 17, 1 << 26, 1 << 27
_PROTO_SHIFT, _SIDE_SHIFT = 17, 26
_ANY_SIDE = 3

#: Asks for active entries.
ACTIVE_ONLY = _INACTIVE << 32


def entry_scope(side: Any, proto: Any, port: Any, active: Any) -> NDArray[np.uint64]:
    """Return scopes of entries; arguments are columns of ``ROW``, ``active`` a bool."""
    side, proto, port = (np.asarray(column).astype(np.int64) for column in (side, proto, port))
    code = (
        np.where(port < 0, 0, port)
        | np.where(proto < 0, 0, proto) << _PROTO_SHIFT
        | (side >> 1 & 1) << _SIDE_SHIFT
        | np.where(active, 0, _INACTIVE)
    )
    named = (
        np.where(port < 0, 0, PORT)
        | np.where(proto < 0, 0, PROTO)
        | np.where(side == _ANY_SIDE, 0, _SIDE)
        | _INACTIVE
    )
    scope: NDArray[np.uint64] = (named << 32 | code).astype(np.uint64)
    return scope


class Ranges(NamedTuple):
    """Which row an address leads to. All arrays are read-only.

    Attributes
    ----------
    v4_top : uint32 (2**bits,)
        Places by leading bits.
    v4_words : uint32 (m,)
        Records and nodes; places count words. A record has halves, an even number, then rows.
    v4_halves : uint16 (2 m,)
        The same memory.
    v6_top : uint32 (2**bits,)
    v6_longs : uint64 (k,)
        Records and nodes; places count longs. A record has longs, then rows as words.
    v6_words : uint32 (2 k,)
        The same memory.
    shape : uint64 (8,)
        IPv4: bits that the top table leaves, the most first addresses in a record. IPv6: leading bits that
        all prefixes share, those bits in place, their mask, bits of the top table, the most first addresses
        in a record. The last is 0.
    """

    v4_top: NDArray[np.uint32]
    v4_words: NDArray[np.uint32]
    v4_halves: NDArray[np.uint16]
    v6_top: NDArray[np.uint32]
    v6_longs: NDArray[np.uint64]
    v6_words: NDArray[np.uint32]
    shape: NDArray[np.uint64]


@inline
def _read_first(
    place: np.uint64, address: np.uint64, left: np.uint64, unit: np.uint64, slots: np.uint64
) -> np.uint64:
    """Return the word at a place that is read first; ``left`` bits of the address do not tell yet."""
    kind = place >> _KIND
    split = kind - slots if kind > slots else np.uint64(0)
    child = (address >> ((left - split) & _SHIFTS)) & ((np.uint64(1) << split) - np.uint64(1))
    return (place & _AT) * unit + child


@inline
def _descend(
    place: np.uint64,
    address: np.uint64,
    left: np.uint64,
    unit: np.uint64,
    slots: np.uint64,
    words: NDArray[np.uint32],
) -> np.uint64:
    """Return the place of the record that a place leads to; ``left`` bits of the address do not tell."""
    while place >> _KIND > slots:
        at = _read_first(place, address, left, unit, slots)
        left -= (place >> _KIND) - slots
        place = np.uint64(words[at])
    return place


@inline
def _row_v4(address: np.uint64, ranges: Ranges) -> np.uint64:
    """Return the row of one IPv4 address, 32 bits."""
    left = ranges.shape[0]
    place = np.uint64(ranges.v4_top[address >> left])
    low = address & np.uint64(0xFFFF)
    if ranges.shape[1] == np.uint64(SLOTS_SMALL):
        inside = address & ((np.uint64(1) << left) - np.uint64(1))
        at = ((place & _AT) + (inside >> (place >> _KIND))) << np.uint64(2)
        return _follow(_in_record(at, low, ranges.v4_words), address, ranges.v4_words)
    slots = np.uint64(SLOTS_V4)
    place = _descend(place, address, left, np.uint64(1), slots, ranges.v4_words)
    return _row_at_v4(place, low, ranges)


@inline
def _row_at_v4(place: np.uint64, low: np.uint64, ranges: Ranges) -> np.uint64:
    """Return the row that a record has for the low bits of an address."""
    n, at = place >> _KIND, place & _AT
    rank = np.uint64(count_below(ranges.v4_halves, at << np.uint64(1), low, n))
    return np.uint64(ranges.v4_words[at + ((n + np.uint64(1)) >> np.uint64(1)) + rank])


@inline
def _row_at_v6(place: np.uint64, half: np.uint64, ranges: Ranges) -> np.uint64:
    """Return the row that a record has for a half of an address."""
    n, at = place >> _KIND, place & _AT
    rank = np.uint64(count_below(ranges.v6_longs, at, half, n))
    return np.uint64(ranges.v6_words[((at + n) << np.uint64(1)) + rank])


@inline
def _follow(row: np.uint64, address: np.uint64, words: NDArray[np.uint32]) -> np.uint64:
    """Return the row that a link in a small table leads to, or the row itself."""
    low = address & np.uint64(0xFFFF)
    row &= np.uint64(_NONE)
    while row >= np.uint64(1 << 31) and row != np.uint64(_NONE):
        mask = (np.uint64(2) << ((row >> np.uint64(28)) & np.uint64(7))) - np.uint64(1)
        part = (low >> ((row >> np.uint64(24)) & np.uint64(15))) & mask
        at = ((row & np.uint64((1 << 24) - 1)) + part) << np.uint64(2)
        row = _in_record(at, low, words)
    return row


@inline
def _in_record(at: np.uint64, low: np.uint64, words: NDArray[np.uint32]) -> np.uint64:
    """Return the row that a record of a small table has for the low bits of an address."""
    borders = np.uint64(words[at])
    rank = np.uint64((borders & np.uint64(0xFFFF)) < low) + np.uint64(
        borders >> np.uint64(16) < low
    )
    return np.uint64(words[at + np.uint64(1) + rank])


@kernel
def find_v4(addresses: NDArray[np.uint32], ranges: Ranges, out: NDArray[np.int32]) -> None:
    """Find the rows of IPv4 addresses, uint32 (n,), read; ``out`` int32 (n,) is written.

    For tables that a second-level cache does not hold.
    """
    # In blocks, asking for the records of one before the first of them is read: up to 3 times as
    # fast at a million prefixes (benchmarks/prefix_table.py) as one address after the other. Blocks
    # of 128 or 512 are slower by a tenth; so are loops of one step each, as in find_small_v4.
    place = np.zeros(_BLOCK, np.uint32)
    top, words = ranges.v4_top, ranges.v4_words
    left = ranges.shape[0]
    one, slots = np.uint64(1), np.uint64(SLOTS_V4)
    bits, place_bits = np.uint32(left), np.uint32(_AT)
    for first in range(0, addresses.size, _BLOCK):
        asked = addresses[first : first + _BLOCK]
        found = out[first : first + _BLOCK]
        n = asked.size
        last = np.uint32(0)
        for i in range(n):
            at = top[asked[i] >> bits]
            place[i] = at
            last = max(last, at)
            prefetch(words, np.int64(at & place_bits), 0)
        if np.uint64(last) >> _KIND > slots:
            for i in range(n):
                at = place[i]
                if np.uint64(at) >> _KIND > slots:
                    address = np.uint64(asked[i])
                    place[i] = _descend(np.uint64(at), address, left, one, slots, words)
                    prefetch(words, np.int64(place[i] & place_bits), 0)
        for i in range(n):
            low = np.uint64(asked[i] & np.uint32(0xFFFF))
            found[i] = _row_at_v4(np.uint64(place[i]), low, ranges)


@kernel
def find_small_v4(addresses: NDArray[np.uint32], ranges: Ranges, out: NDArray[np.int32]) -> None:
    """Find the rows of IPv4 addresses in a small table; arguments as in `find_v4`."""
    # One step for a block of addresses at a time, each a loop without a branch that reads memory once
    # and stores once, and small enough that the records are still near when their rows are read:
    # 1.5 times as fast at 20,000 prefixes as blocks of 512, 1.9 times as one address after the other.
    place = np.zeros(_SMALL_BLOCK, np.uint32)
    word = np.zeros(_SMALL_BLOCK, np.uint32)
    index = np.zeros(_SMALL_BLOCK, np.uint32)
    top, words = ranges.v4_top, ranges.v4_words
    bits = np.uint32(ranges.shape[0])
    inside = np.uint32((1 << ranges.shape[0]) - 1)
    one, two, low, half = np.uint32(1), np.uint32(2), np.uint32(0xFFFF), np.uint32(16)
    split, place_bits = np.uint32(27), np.uint32((1 << 27) - 1)
    for first in range(0, addresses.size, _SMALL_BLOCK):
        asked = addresses[first : first + _SMALL_BLOCK]
        found = out[first : first + _SMALL_BLOCK]
        n = asked.size
        for i in range(n):
            place[i] = top[asked[i] >> bits]
        for i in range(n):
            part = (asked[i] & inside) >> (place[i] >> split)
            place[i] = ((place[i] & place_bits) + part) << two
        for i in range(n):
            word[i] = words[place[i]]
        for i in range(n):
            key = asked[i] & low
            rank = np.uint32((word[i] & low) < key) + np.uint32((word[i] >> half) < key)
            place[i] = place[i] + one + rank
        links = np.uint32(0)
        for i in range(n):
            found[i] = words[place[i]]
        for i in range(n):
            links |= np.uint32(found[i] < NOT_FOUND)
        if links != np.uint32(0):
            todo = 0
            for i in range(n):
                index[todo] = i
                todo += 1 if found[i] < NOT_FOUND else 0
            for k in range(todo):
                i = index[k]
                found[i] = _follow(np.uint64(found[i] & _NONE), np.uint64(asked[i]), words)


@kernel
def find_v6(addresses: NDArray[np.uint64], ranges: Ranges, out: NDArray[np.int32]) -> None:
    """Find the rows of IPv6 addresses, uint64 (n, 2), read; ``out`` int32 (n,) is written.

    A mapped one is looked up as IPv4.
    """
    # As in find_v4; then again with the lower halves, for those whose row is a link.
    place = np.zeros(_BLOCK, np.uint32)
    index = np.zeros(_BLOCK, np.uint32)
    top, words, longs = ranges.v6_top, ranges.v6_words, ranges.v6_longs
    lead, base, mask = ranges.shape[2], ranges.shape[3], ranges.shape[4]
    shift = np.uint64(64) - ranges.shape[5]
    left, whole = shift - lead, np.uint64(64)
    two, slots = np.uint64(2), np.uint64(SLOTS_V6)
    for first in range(0, addresses.shape[0], _BLOCK):
        asked = addresses[first : first + _BLOCK]
        found = out[first : first + _BLOCK]
        n = found.size
        mapped = np.uint64(0)
        for i in range(n):
            hi = asked[i, 0]
            at = top[(hi << lead) >> shift]
            at = at if hi & mask == base else np.uint32(0)  # the first record has no row
            place[i] = at
            mapped |= np.uint64(hi == np.uint64(0))
            prefetch(words, np.int64(_read_first(np.uint64(at), hi, left, two, slots)), 0)
        nodes = 0
        for i in range(n):
            index[nodes] = i
            nodes += 1 if np.uint64(place[i]) >> _KIND > slots else 0
        for k in range(nodes):
            i = index[k]
            place[i] = _descend(np.uint64(place[i]), asked[i, 0], left, two, slots, words)
            prefetch(longs, np.int64(place[i] & np.uint32(_AT)), 0)
        for i in range(n):
            found[i] = _row_at_v6(np.uint64(place[i]), asked[i, 0], ranges)
        links = 0
        for i in range(n):
            index[links] = i
            links += 1 if found[i] < NOT_FOUND else 0
        for k in range(links):
            i = index[k]
            at = np.uint64(np.int64(found[i]) & 0x7FFFFFFF)
            place[k] = at
            prefetch(words, np.int64(_read_first(at, asked[i, 1], whole, two, slots)), 0)
        for k in range(links):
            lo = asked[index[k], 1]
            place[k] = _descend(np.uint64(place[k]), lo, whole, two, slots, words)
            prefetch(longs, np.int64(place[k] & np.uint32(_AT)), 0)
        for k in range(links):
            i = index[k]
            found[i] = _row_at_v6(np.uint64(place[k]), asked[i, 1], ranges)
        if mapped != np.uint64(0):
            for i in range(n):
                lo = asked[i, 1]
                if asked[i, 0] == np.uint64(0) and lo >> np.uint64(32) == np.uint64(0xFFFF):
                    found[i] = _row_v4(lo & np.uint64(0xFFFFFFFF), ranges)


@inline
def side_scope(side: int) -> np.uint64:
    """Return the part of a scope that asks for a side: 1 client, 2 server, 3 any."""
    code = np.uint64((side >> 1 & 1) << _SIDE_SHIFT)
    return code | np.uint64(0 if side == _ANY_SIDE else _SIDE << 32)


@inline
def proto_scope(proto: int) -> np.uint64:
    """Return the part of a scope that asks for a protocol, any if negative."""
    code = np.uint64(min(proto, 1 << 8) << _PROTO_SHIFT if proto > 0 else 0)
    return code | np.uint64(0 if proto < 0 else PROTO << 32)


@inline
def port_scope(port: int) -> np.uint64:
    """Return the part of a scope that asks for a port, any if negative."""
    return np.uint64(min(port, 1 << 16) if port > 0 else 0) | np.uint64(
        0 if port < 0 else PORT << 32
    )


@inline
def differs(scope: np.uint64, asked: np.uint64) -> np.uint64:
    """Return the bits in which what an entry is for differs from what is asked."""
    return (scope ^ asked) & ((scope & asked) >> np.uint64(32))


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
    int64 (UTC ns; only if ``timed``), ``side`` int8 (1 client, 2 server, 3 any), ``proto`` and ``port``
    int32 (-1 any) have one item for all or (n,) and are read. ``entries`` `ENTRY` (n_rows,) is read.
    """
    far = entries.size > _CACHED_ENTRIES
    row = np.zeros(_SMALL_BLOCK, np.uint32)
    asked = np.zeros(_SMALL_BLOCK, np.uint64)
    at = np.zeros(_SMALL_BLOCK, np.int64)
    at[:] = at_ns[0]
    bad = np.zeros(_SMALL_BLOCK, np.uint32)
    index = np.zeros(_SMALL_BLOCK, np.int64)
    scope = np.zeros(_SMALL_BLOCK, np.uint64)
    since = np.zeros(_SMALL_BLOCK, np.int64)
    until = np.zeros(_SMALL_BLOCK, np.int64)
    same = np.uint64(ACTIVE_ONLY)
    same |= side_scope(int(side[0])) if side.size == 1 else np.uint64(0)
    same |= proto_scope(int(proto[0])) if proto.size == 1 else np.uint64(0)
    same |= port_scope(int(port[0])) if port.size == 1 else np.uint64(0)
    # Loops without a branch, as in find_small_v4: first all of them, then again and again those whose
    # row does not apply, with the next one.
    for first in range(0, out.size if entries.size else 0, _SMALL_BLOCK):
        found = out[first : first + _SMALL_BLOCK]
        n = found.size
        for i in range(n):
            row[i] = max(found[i], 0)
            asked[i] = same
        if far:  # of the block after this one: 1.2 times as fast as of this one
            later = out[first + _SMALL_BLOCK : first + 2 * _SMALL_BLOCK]
            for i in range(later.size):
                prefetch(entries, np.int64(max(later[i], 0)), 0)
        if side.size > 1:
            sides = side[first : first + n]
            for i in range(n):
                asked[i] |= side_scope(int(sides[i]))
        if proto.size > 1:
            protos = proto[first : first + n]
            for i in range(n):
                asked[i] |= proto_scope(int(protos[i]))
        if port.size > 1:
            ports = port[first : first + n]
            for i in range(n):
                asked[i] |= port_scope(int(ports[i]))
        for i in range(n):
            scope[i] = entries[row[i]].scope
        for i in range(n):
            misses = differs(scope[i], asked[i]) != np.uint64(0)
            bad[i] = np.uint32(misses) & np.uint32(found[i] >= 0)
        if timed:
            for i in range(n):
                since[i] = entries[row[i]].from_ns
            for i in range(n):
                until[i] = entries[row[i]].to_ns
            if at_ns.size > 1:  # copied here, not before: 1.2 times as fast
                times = at_ns[first : first + n]
                for i in range(n):
                    at[i] = times[i]
            for i in range(n):
                misses = (at[i] < since[i]) | (until[i] <= at[i])
                bad[i] |= np.uint32(misses) & np.uint32(found[i] >= 0)
        fails = np.uint32(0)
        for i in range(n):
            fails |= bad[i]
        todo = 0
        if fails != np.uint32(0):
            for i in range(n):
                index[todo] = i
                todo += 1 if bad[i] != np.uint32(0) else 0
        while todo > 0:
            still = todo
            todo = 0
            for k in range(still):
                i = index[k]
                following = int(entries[np.uint64(found[i])].next)
                found[i] = following
                entry = entries[np.uint64(max(following, 0))]
                misses = differs(entry.scope, asked[i]) != np.uint64(0)
                if timed:
                    misses |= (at[i] < entry.from_ns) | (entry.to_ns <= at[i])
                index[todo] = i
                todo += 1 if misses & (following >= 0) else 0


@kernel
def replace_rows(answer: NDArray[np.int32], out: NDArray[np.int32]) -> None:
    """Replace each row in ``out`` int32 (n,), -1 for none, by ``answer`` int32 (n_rows,) of it."""
    for i in range(out.size if answer.size else 0):
        row = answer[np.uint64(max(out[i], 0))]
        out[i] = row if out[i] >= 0 else NOT_FOUND


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
        wanted_side = int(side[i if side.size > 1 else 0])
        wanted_proto = int(proto[i if proto.size > 1 else 0])
        wanted_port = int(port[i if port.size > 1 else 0])
        asked = side_scope(wanted_side) | proto_scope(wanted_proto) | port_scope(wanted_port)
        asked |= np.uint64(ACTIVE_ONLY)
        while row >= 0:
            entry = entries[row]
            against = np.int64(differs(np.uint64(entry.scope), asked))
            failures = 0
            reason = 0
            if against & _INACTIVE:
                failures += 1
                reason = 5
            if against & (PORT | PROTO):
                failures += 1
                reason = 4
            if against & _SIDE:
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
