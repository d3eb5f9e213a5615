"""Checking a prefix table's arrays that come from a file: no look-up reads outside or runs for ever."""

import numpy as np
from numpy.typing import NDArray

from classifier.registry._grow import LINK, NONE, counted, distinct
from classifier.registry._table_kernels import (
    PORT,
    PROTO,
    SLOTS_SMALL,
    SLOTS_V4,
    SLOTS_V6,
    Ranges,
)

__all__ = ["is_sound"]

_AT = (1 << 27) - 1
_COMPARED_WORDS = 8  # that `count_below` reads


def is_sound(ranges: Ranges, entries: NDArray[np.void]) -> bool:
    """Return whether all places, links and rows lie inside, and each row's next ones end."""
    if ranges.shape.shape != (8,):
        return False
    left4, slots4, lead, _, _, bits6, slots6, _ = (int(value) for value in ranges.shape)
    fits = (
        slots4 in (SLOTS_SMALL, SLOTS_V4)
        and slots6 == SLOTS_V6
        and 12 <= left4 <= 16
        and ranges.v4_top.size == 1 << (32 - left4)
        and lead <= 40
        and 16 <= bits6 <= 20
        and ranges.v6_top.size == 1 << bits6
    )
    if not fits or not _rows_are_sound(entries):
        return False
    n = entries.size
    v4_is_sound = _small_is_sound if slots4 == SLOTS_SMALL else _large_is_sound
    if not v4_is_sound(ranges.v4_top, left4, ranges.v4_words, n):
        return False
    # Addresses that do not share the leading bits of all use the first record.
    first = np.zeros(1, np.uint32)
    top = np.concatenate([first, ranges.v6_top])
    words = ranges.v6_words
    links = _links(top, 64 - lead - bits6, words, n)
    if links is None:
        return False
    below = _links(links, 64, words, n)
    return below is not None and not below.size


def _small_is_sound(
    top: NDArray[np.uint32], left: int, words: NDArray[np.uint32], n_rows: int
) -> bool:
    """Return whether all places and links of a small table lie inside, and links end."""
    if words.size % 4:
        return False
    records = words.reshape(-1, 4)
    has_link = np.any((records[:, 1:] >= LINK) & (records[:, 1:] != NONE), axis=1)
    rows = records[:, 1:]
    if np.any((rows < LINK) & (rows >= n_rows)):
        return False
    places = distinct(top).astype(np.int64)
    at, bits = places & _AT, places >> 27
    if np.any(bits > left):
        return False
    split = left - bits
    for remaining in range(left, -1, -1):  # bits of an address that parts of a block leave
        if np.any(at + (1 << split) > len(records)):
            return False
        mine = bits == remaining
        edges = np.zeros(len(records) + 1, np.int64)
        np.add.at(edges, at[mine], 1)
        np.add.at(edges, (at + (1 << split))[mine], -1)
        below = rows[has_link & (np.cumsum(edges)[:-1] > 0)]
        links = distinct(below[(below >= LINK) & (below != NONE)]).astype(np.int64)
        more_split, more_bits = (links >> 28 & 7) + 1, links >> 24 & 15
        if np.any(more_split + more_bits != remaining):
            return False
        at = np.concatenate([at[~mine], links & (1 << 24) - 1])
        split = np.concatenate([split[~mine], more_split])
        bits = np.concatenate([bits[~mine], more_bits])
    return True


def _rows_are_sound(entries: NDArray[np.void]) -> bool:
    """Return whether following ``next`` ends: at each row of a prefix no shorter and no wider.

    Rows of one prefix come in the order of scope, then row, and the next prefix is shorter.
    """
    following = entries["next"]
    if np.any((following < -1) | (following >= entries.size)):
        return False
    rows = np.flatnonzero(following >= 0)
    after = following[rows]
    limited = entries["scope"] >> np.uint64(32)
    width = (limited & np.uint64(PROTO) == 0).astype(np.int64) + (limited & np.uint64(PORT) == 0)
    shorter = entries["length"][after] < entries["length"][rows]
    same = entries["length"][after] == entries["length"][rows]
    later = (width[after] > width[rows]) | ((width[after] == width[rows]) & (after > rows))
    return bool(np.all(shorter | (same & later)))


def _large_is_sound(
    top: NDArray[np.uint32], left: int, words: NDArray[np.uint32], n_rows: int
) -> bool:
    """Return whether all places of a large IPv4 table lie inside, and all rows are there."""
    values = _values(top, left, words, 1, SLOTS_V4)
    return values is not None and not np.any((values >= n_rows) & (values != NONE))


def _links(
    places: NDArray[np.uint32], left: int, words: NDArray[np.uint32], n_rows: int
) -> NDArray[np.uint32] | None:
    """Return the links in all records that places of IPv6 lead to, None if something lies outside."""
    values = _values(places, left, words, 2, SLOTS_V6)
    if values is None or np.any((values < LINK) & (values >= n_rows)):
        return None
    return distinct(values[(values >= LINK) & (values != NONE)] & np.uint32(LINK - 1))


def _values(
    places: NDArray[np.uint32], left: int, words: NDArray[np.uint32], unit: int, slots: int
) -> NDArray[np.uint32] | None:
    """Return the rows and links in all records that places lead to, None if something lies outside.

    ``unit`` is the words that a place counts, ``slots`` the most first addresses in a record.
    """
    todo = distinct(places).astype(np.int64)
    bits = np.full(todo.size, left)
    records = [np.zeros(0, np.int64)]
    while todo.size:
        is_node = todo >> 27 > slots
        records.append(todo[~is_node])
        node = todo[is_node]
        split = (node >> 27) - slots
        at, bits = (node & _AT) * unit, bits[is_node] - split
        if np.any((split > 8) | (bits < 0) | (at + (1 << split) > words.size)):
            return None
        # Each place once, with the fewest bits that are left where it is reached: enough to end.
        count = 1 << split
        todo, bits = (
            words[np.repeat(at, count) + counted(count)].astype(np.int64),
            bits.repeat(count),
        )
        order = np.lexsort((bits, todo))
        new = np.ones(order.size, bool)
        new[1:] = todo[order][1:] != todo[order][:-1]
        todo, bits = todo[order][new], bits[order][new]
    record = distinct(np.concatenate(records))
    n, at = record >> 27, (record & _AT) * unit
    first = at + (n * 2 if unit == 2 else (n + 1) // 2)
    if np.any((at + _COMPARED_WORDS > words.size) | (first + n >= words.size)):
        return None
    return words[np.repeat(first, n + 1) + counted(n + 1)]
