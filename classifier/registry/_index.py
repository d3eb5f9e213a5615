"""Building the prefix table's arrays, and checking arrays that come from a file.

Everything here is NumPy over whole columns: a million prefixes take about two seconds and no kernel
needs to be compiled.
"""

import ipaddress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier._jit import spend
from classifier.errors import RegistryError
from classifier.registry import _table_kernels as kernels
from classifier.registry._fields import ACTIVE, ANY
from classifier.registry._grow import LINK, Trie, aligned_words, distinct, grow, merged
from classifier.registry._small import grow_small
from classifier.registry._table_kernels import ENTRY, Ranges

__all__ = [
    "LOOKUPS_OF_WORK",
    "MAX_ROWS_PER_PREFIX",
    "Index",
    "build_index",
    "build_ranges",
    "find",
    "find_v4",
    "find_v6",
    "frozen",
    "last_address",
]

#: A look-up walks the rows of the prefixes around an address, so their number is bounded.
MAX_ROWS_PER_PREFIX = 4096

#: Look-ups that take as long, in plain Python, as a packet does.
LOOKUPS_OF_WORK = 16

_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)


class Index(NamedTuple):
    """What a table is compiled to.

    Attributes
    ----------
    active : Ranges
        To the first row, in order of preference, that is active.
    every : Ranges
        To the first row of the longest prefix; the same object where all rows are active.
    entries : ENTRY (n_rows,)
    """

    active: Ranges
    every: Ranges
    entries: NDArray[np.void]


def frozen(array: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """Return an array as contiguous, of a type and read-only: what kernels are compiled for."""
    result = np.ascontiguousarray(array, dtype)
    if result.flags.writeable:
        result = result.view()
        result.flags.writeable = False
    return result


def _low_bits(count: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return masks of so many low bits, 0 to 64."""
    shift = np.clip(64 - count, 0, 63).astype(np.uint64)
    return np.where(count > 0, _ONES >> shift, np.uint64(0))


def last_address(
    version: NDArray[np.uint8],
    hi: NDArray[np.uint64],
    lo: NDArray[np.uint64],
    length: NDArray[np.uint8],
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the last addresses of prefixes; all arrays have shape (n,)."""
    free = np.where(version == 4, 32, 128) - length.astype(np.int64)
    return hi | _low_bits(np.clip(free - 64, 0, 64)), lo | _low_bits(np.clip(free, 0, 64))


def build_index(rows: NDArray[np.void], source: str) -> Index:
    """Sort registrations by prefix and flatten the prefixes.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n_rows,)
    source : str
        What an error calls the register.

    Raises
    ------
    RegistryError
        If one prefix has more than `MAX_ROWS_PER_PREFIX` rows, or there are too many prefixes.
    """
    scope = (rows["proto"] == ANY).astype(np.int8) + (rows["port"] == ANY)
    order = np.lexsort((scope, rows["length"], rows["lo"], rows["hi"], rows["version"]))
    prefixes = [rows[name][order] for name in ("version", "hi", "lo", "length")]
    new = np.ones(rows.size, bool)
    if rows.size:
        new[1:] = np.any([column[1:] != column[:-1] for column in prefixes], axis=0)
    head = np.flatnonzero(new)
    count = np.diff(np.append(head, rows.size))
    if head.size and count.max() > MAX_ROWS_PER_PREFIX:
        _refuse(rows[order[head[np.argmax(count)]]], source)
    version, hi, lo, length = (column[head] for column in prefixes)
    owners = _flatten(version, hi, lo, length)
    first = order[head].astype(np.int64)
    entries = aligned_words(rows.size * ENTRY.itemsize // 4).view(ENTRY)
    for name in ("from_ns", "to_ns", "length"):
        entries[name] = rows[name]
    is_active = rows["status"] == ACTIVE
    entries["scope"] = kernels.entry_scope(rows["side"], rows["proto"], rows["port"], is_active)
    following = np.append(order[1:], -1)
    up = owners.parent
    following[head + count - 1] = np.where(up >= 0, first[up], -1)
    entries["next"][order] = following
    every = _pack(owners, first, source)
    if is_active.all():
        return Index(every, every, frozen(entries, ENTRY))
    active = _first_active(is_active[order], order, count, up)
    return Index(_pack(owners, active, source), every, frozen(entries, ENTRY))


def _refuse(row: np.void, source: str) -> None:
    """Raise for a prefix with too many rows."""
    kind = ipaddress.IPv4Address if row["version"] == 4 else ipaddress.IPv6Address
    prefix = f"{kind(int(row['hi']) << 64 | int(row['lo']))}/{row['length']}"
    raise RegistryError(
        f"'{prefix}' has more than {MAX_ROWS_PER_PREFIX:,} rows",
        path=source,
        remedy="merge rows of the same prefix",
    )


def _first_active(
    active: NDArray[np.bool_],
    order: NDArray[np.int64],
    count: NDArray[np.int64],
    parent: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return each prefix's first active row, the next active one around it where it has none."""
    result = np.full(parent.size, -1)
    group = np.repeat(np.arange(count.size), count)
    owners, at = np.unique(group[active], return_index=True)
    result[owners] = order[active][at]
    todo = np.flatnonzero((result < 0) & (parent >= 0))
    up = parent[todo]
    while todo.size:  # as many rounds as prefixes nest, 129 at most
        result[todo] = result[up]
        up = parent[up]
        left = (result[todo] < 0) & (up >= 0)
        todo, up = todo[left], up[left]
    return result


class _Owners(NamedTuple):
    """Disjoint ranges from address 0 on, by the longest prefix around each; -1 for none.

    ``parent`` is the next shorter prefix around each prefix.
    """

    start_v4: NDArray[np.uint64]
    owner_v4: NDArray[np.int64]
    start_v6: tuple[NDArray[np.uint64], NDArray[np.uint64]]
    owner_v6: NDArray[np.int64]
    lead: tuple[int, int]
    parent: NDArray[np.int64]


def _flatten(
    version: NDArray[np.uint8],
    hi: NDArray[np.uint64],
    lo: NDArray[np.uint64],
    length: NDArray[np.uint8],
) -> _Owners:
    """Flatten distinct prefixes into ranges."""
    is_v4 = version == 4
    end_hi, end_lo = last_address(version, hi, lo, length)
    parent = np.full(version.size, -1)
    flat = []
    for which in (np.flatnonzero(is_v4), np.flatnonzero(~is_v4)):
        top = np.uint64(0xFFFFFFFF) if is_v4[which].any() else _ONES
        after_lo = end_lo[which] + np.uint64(1)
        after_hi = end_hi[which] + (after_lo == 0)
        no_end = (end_lo[which] == top) & ((top != _ONES) | (end_hi[which] == _ONES))
        points_hi = np.concatenate([hi[which], after_hi[~no_end], np.zeros(1, np.uint64)])
        points_lo = np.concatenate([lo[which], after_lo[~no_end], np.zeros(1, np.uint64)])
        start_hi, start_lo, index = _distinct(points_hi, points_lo)
        first = index[: which.size]
        after = np.full(which.size, start_lo.size)
        after[~no_end] = index[which.size : -1]
        owner = np.full(start_lo.size, -1)
        sizes = length[which]
        for size in np.flatnonzero(np.bincount(sizes)):  # prefixes of one length do not overlap
            chosen = np.flatnonzero(sizes == size)
            parent[which[chosen]] = owner[first[chosen]]
            spans = after[chosen] - first[chosen]
            shift = first[chosen] - (np.cumsum(spans) - spans)
            owner[np.arange(spans.sum()) + np.repeat(shift, spans)] = np.repeat(
                which[chosen], spans
            )
        flat.append((start_hi, start_lo, owner))
    (_, lo4, owner4), (hi6, lo6, owner6) = flat
    lead = _lead(hi[~is_v4], end_hi[~is_v4])
    return _Owners(lo4, owner4, (hi6, lo6), owner6, lead, parent)


def _distinct(
    hi: NDArray[np.uint64], lo: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int64]]:
    """Return distinct pairs in order, and where each given one is among them."""
    order = np.lexsort((lo, hi)) if hi.any() else np.argsort(lo, kind="stable")
    hi, lo = hi[order], lo[order]
    new = np.ones(hi.size, bool)
    new[1:] = (hi[1:] != hi[:-1]) | (lo[1:] != lo[:-1])
    index = np.empty(hi.size, np.int64)
    index[order] = np.cumsum(new) - 1
    return hi[new], lo[new], index


def _lead(hi: NDArray[np.uint64], end_hi: NDArray[np.uint64]) -> tuple[int, int]:
    """Return how many leading bits, 40 at most, all prefixes share, and one with these bits."""
    if not hi.size:
        return 0, 0
    base = int(hi.min())
    return min(64 - (base ^ int(end_hi.max())).bit_length(), 40), base


def _pack(owners: _Owners, row: NDArray[np.int64], source: str) -> Ranges:
    """Make the arrays of kernels out of ranges, each with the row of its prefix."""
    rows = np.append(row, -1)  # the last is of no prefix
    start4, value4 = merged((owners.start_v4,), rows[owners.owner_v4])
    start6, value6 = merged(owners.start_v6, rows[owners.owner_v6])
    is_large = start4[0].size > _LARGE
    bits4 = _top_bits(start4[0].size // 2) if is_large else _FEWEST_BITS
    left4 = 32 - bits4
    if is_large:
        v4 = Trie(np.uint16, slots=kernels.SLOTS_V4)
        blocks = np.arange(1 << bits4, dtype=np.uint64) << np.uint64(left4)
        top4, words4, slots4 = grow(v4, start4[0], value4, blocks, left4), v4.words(), v4.slots
        full = v4.is_full
    else:
        top4, words4 = grow_small(start4[0], value4, left4)
        slots4, full = kernels.SLOTS_SMALL, False
    bits6 = _top_bits(start6[0].size // 2)
    v6 = Trie(np.uint64, slots=kernels.SLOTS_V6)
    uppers, values = _with_links(v6, start6[0], start6[1], value6)
    lead, base = owners.lead
    left6 = 64 - lead - bits6
    mask = (0xFFFFFFFFFFFFFFFF << (64 - lead)) & 0xFFFFFFFFFFFFFFFF
    blocks = np.uint64(base & mask) | np.arange(1 << bits6, dtype=np.uint64) << np.uint64(left6)
    top6 = grow(v6, uppers, values, blocks, left6)
    shape = [left4, slots4, lead, base & mask, mask, bits6, v6.slots, 0]
    if full or v6.is_full:
        raise RegistryError(
            "has more prefixes than a table can hold", path=source, remedy="split the register"
        )
    return as_ranges(top4, words4, top6, v6.words(), np.array(shape, np.uint64))


#: IPv4 ranges from which on a second-level cache does not hold records of equal size.
_LARGE = 1 << 17

_FEWEST_BITS, _MOST_BITS = 16, 20


def _top_bits(blocks: int) -> int:
    """Return how many bits the top table is for, so that blocks have few ranges."""
    return min(max(int(blocks).bit_length(), _FEWEST_BITS), _MOST_BITS)


def _with_links(
    trie: Trie, hi: NDArray[np.uint64], lo: NDArray[np.uint64], values: NDArray[np.uint32]
) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    """Return ranges of upper halves; where some begin within one, grow a trie of the lower."""
    inside = lo != 0
    split = distinct(hi[inside])
    if not split.size:
        return hi, values
    # The slice of ranges of each such half, from the one that holds its first address, as a trie.
    right = np.searchsorted(hi, split, "right") - 1
    left = np.searchsorted(hi, split, "left")
    left -= (lo[left] != 0).astype(np.int64)
    size = right - left + 1
    begin = np.cumsum(size) - size
    index = np.arange(size.sum()) + np.repeat(left - begin, size)
    starts = lo[index]
    starts[begin] = 0
    zero = np.zeros(split.size, np.uint64)
    places = grow(trie, starts, values[index], zero, 64, begin, begin + size - 1)
    # The range behind it, where none begins there.
    whole = ~inside & ~_among(hi, split)
    after = split + np.uint64(1)
    followed = (after != 0) & ~_among(after, hi[whole]) & ~_among(after, split)
    uppers = np.concatenate([hi[whole], split, after[followed]])
    rows = np.concatenate([values[whole], places | np.uint32(LINK), values[right[followed]]])
    order = np.argsort(uppers, kind="stable")
    return uppers[order], rows[order]


def _among(values: NDArray[np.uint64], known: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return which values are among others, which are sorted."""
    if not known.size:
        return np.zeros(values.size, bool)
    at = np.searchsorted(known, values)
    found: NDArray[np.bool_] = known[np.minimum(at, known.size - 1)] == values
    return found


def as_ranges(
    top4: NDArray[np.uint32],
    words4: NDArray[np.uint32],
    top6: NDArray[np.uint32],
    words6: NDArray[np.uint32],
    shape: NDArray[np.uint64],
) -> Ranges:
    """Return arrays with the views that kernels read them by."""
    words4, words6 = frozen(words4, np.uint32), frozen(words6, np.uint32)
    return Ranges(
        frozen(top4, np.uint32),
        words4,
        words4.view(np.uint16),
        frozen(top6, np.uint32),
        words6.view(np.uint64),
        words6,
        frozen(shape, np.uint64),
    )


def build_ranges(
    version: NDArray[np.uint8],
    hi: NDArray[np.uint64],
    lo: NDArray[np.uint64],
    length: NDArray[np.uint8],
) -> Ranges:
    """Flatten distinct prefixes; the row that an address leads to is the index of its longest."""
    owners = _flatten(version, hi, lo, length)
    return _pack(owners, np.arange(version.size), "prefixes")


def find_v4(ranges: Ranges, addresses: NDArray[Any], out: NDArray[np.int32]) -> None:
    """Write the rows of IPv4 addresses, (n,), to ``out``."""
    spend(out.size // LOOKUPS_OF_WORK)
    kernel = kernels.find_small_v4 if ranges.shape[1] == kernels.SLOTS_SMALL else kernels.find_v4
    kernel(frozen(addresses, np.uint32), ranges, out)


def find_v6(ranges: Ranges, addresses: NDArray[Any], out: NDArray[np.int32]) -> None:
    """Write the rows of IPv6 addresses, (n, 2), to ``out``."""
    spend(out.size // LOOKUPS_OF_WORK)
    kernels.find_v6(frozen(addresses, np.uint64), ranges, out)


def find(
    ranges: Ranges, version: NDArray[Any], hi: NDArray[Any], lo: NDArray[Any]
) -> NDArray[np.int32]:
    """Return the rows of addresses of either version, all (n,); -1 where none."""
    out = np.full(version.size, kernels.NOT_FOUND, np.int32)
    for number in (4, 6):
        which = np.flatnonzero(np.asarray(version) == number)
        if which.size:
            rows = np.empty(which.size, np.int32)
            if number == 4:
                find_v4(ranges, lo[which], rows)
            else:
                find_v6(ranges, np.stack([hi[which], lo[which]], 1), rows)
            out[which] = rows
    return out
