"""Checking a prefix table's arrays that come from a file: no look-up reads outside or runs for ever."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.registry._grow import LINK, NONE, distinct
from classifier.registry._table_kernels import PORT, PROTO, Ranges

__all__ = ["is_sound"]

_AT = (1 << 27) - 1


def is_sound(ranges: Ranges, entries: NDArray[np.void]) -> bool:
    """Return whether all places, links and rows lie inside, and each row's next ones end."""
    if ranges.shape.shape != (8,):
        return False
    left4, slots4, lead, _, _, bits6, slots6, _ = (int(value) for value in ranges.shape)
    fits = (
        slots4 in (2, 10)
        and slots6 == 2
        and 12 <= left4 <= 16
        and ranges.v4_top.size == 1 << (32 - left4)
        and lead <= 40
        and 16 <= bits6 <= 20
        and ranges.v6_top.size == 1 << bits6
    )
    if not fits or not _rows_are_sound(entries):
        return False
    n = entries.size
    if slots4 == 2:
        if not _small_is_sound(ranges.v4_top, left4, ranges.v4_words, n):
            return False
    else:
        v4 = _links(ranges.v4_top, left4, ranges.v4_words, ranges.v4_halves, slots4, n)
        if v4 is None or v4.size:
            return False
    # Addresses that do not share the leading bits of all use the first record.
    first = np.zeros(1, np.uint32)
    top = np.concatenate([first, ranges.v6_top])
    longs, words = ranges.v6_longs, ranges.v6_words
    links = _links(top, 64 - lead - bits6, words, longs, slots6, n)
    if links is None:
        return False
    below = _links(links, 64, words, longs, slots6, n)
    return below is not None and not below.size


def _small_is_sound(
    top: NDArray[np.uint32], left: int, words: NDArray[np.uint32], n_rows: int
) -> bool:
    """Return whether all places and links of a table of two slots lie inside, and links end."""
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


def _links(
    places: NDArray[np.uint32],
    left: int,
    words: NDArray[np.uint32],
    keys: NDArray[Any],
    slots: int,
    n_rows: int,
) -> NDArray[np.uint32] | None:
    """Return the links in all records that places lead to, None if something lies outside."""
    unit = max(keys.itemsize // 4, 1)
    places = distinct(places).astype(np.int64)
    bits = np.full(places.size, left)
    records = [np.zeros(0, np.int64)]
    while places.size:
        at, split = places & _AT, places >> 27
        records.append(at[split == 0])
        node = np.flatnonzero(split)
        at, split, bits = at[node] * unit, split[node], bits[node] - split[node]
        if np.any((split > 8) | (bits < 0) | (at + (1 << split) > words.size)):
            return None
        count = 1 << split
        child = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        # Each place once, with the fewest bits that are left where it is reached: enough to end.
        places, bits = words[np.repeat(at, count) + child].astype(np.int64), np.repeat(bits, count)
        order = np.lexsort((bits, places))
        new = np.ones(order.size, bool)
        new[1:] = places[order][1:] != places[order][:-1]
        places, bits = places[order][new], bits[order][new]
    at = distinct(np.concatenate(records))
    lanes = 32 // keys.itemsize if keys.itemsize == 2 else 8
    per_place = unit * 4 // keys.itemsize  # keys per unit that a place counts
    if np.any(at * per_place + lanes > keys.size):
        return None
    head = slots * keys.itemsize // 4
    if np.any(at * unit + head + slots + 1 > words.size):
        return None
    used = keys[(at * per_place)[:, None] + np.arange(slots)] != np.iinfo(keys.dtype).max
    index = (at * unit + head)[:, None] + np.arange(slots + 1)
    values = words[index][np.arange(slots + 1) <= used.sum(1)[:, None]]
    links = values[(values >= LINK) & (values != NONE)]
    rows = values[values < LINK]
    return None if np.any(rows >= n_rows) else distinct(links & np.uint32(LINK - 1))
