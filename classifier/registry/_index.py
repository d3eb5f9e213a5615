"""Building the prefix table's arrays, and checking arrays that come from a file."""

import ipaddress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.errors import RegistryError
from classifier.registry import _table_kernels as kernels
from classifier.registry._fields import ACTIVE, ANY
from classifier.registry._table_kernels import ENTRY, Groups, Ranges

__all__ = [
    "MAX_ROWS_PER_PREFIX",
    "build_index",
    "build_ranges",
    "check_index",
    "find",
    "frozen",
    "last_address",
]

#: A look-up walks the rows of the prefixes around an address, so their number is bounded.
MAX_ROWS_PER_PREFIX = 4096

_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)


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


def build_index(rows: NDArray[np.void], source: str) -> tuple[Ranges, Groups]:
    """Sort registrations by prefix and flatten the prefixes.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n_rows,)
    source : str
        What an error calls the register.

    Raises
    ------
    RegistryError
        If one prefix has more than `MAX_ROWS_PER_PREFIX` rows.
    """
    scope = (rows["proto"] == ANY).astype(np.int8) + (rows["port"] == ANY)
    order = np.lexsort((scope, rows["length"], rows["lo"], rows["hi"], rows["version"]))
    rows = rows[order]
    prefixes = [rows[name] for name in ("version", "hi", "lo", "length")]
    new = np.ones(rows.size, bool)
    if rows.size:
        new[1:] = np.any([column[1:] != column[:-1] for column in prefixes], axis=0)
    first = np.flatnonzero(new)
    start = np.append(first, rows.size).astype(np.int32)
    if first.size and np.diff(start).max() > MAX_ROWS_PER_PREFIX:
        _refuse(rows[start[np.argmax(np.diff(start))]], source)
    version, hi, lo, length = (column[first] for column in prefixes)
    ranges, parent = build_ranges(version, hi, lo, length)
    entries = np.zeros(rows.size, ENTRY)
    for name in ("from_ns", "to_ns", "port", "proto", "side"):
        entries[name] = rows[name]
    entries["row"] = order
    entries["active"] = rows["status"] == ACTIVE
    groups = Groups(
        frozen(start, np.int32),
        frozen(parent, np.int32),
        frozen(length, np.uint8),
        frozen(_first_active(entries, start, parent), np.int32),
        frozen(entries, ENTRY),
    )
    return ranges, groups


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
    entries: NDArray[np.void], start: NDArray[np.int32], parent: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Return each group's best active row where only the address is asked, its parents' else."""
    result = np.full(parent.size, -1, np.int32)
    active = np.flatnonzero(entries["active"])
    group = np.searchsorted(start, active, "right") - 1
    owners, at = np.unique(group, return_index=True)
    result[owners] = entries["row"][active[at]]
    todo = np.flatnonzero((result < 0) & (parent >= 0))
    up = parent[todo]
    while todo.size:  # as many rounds as prefixes nest, 129 at most
        result[todo] = result[up]
        up = parent[up]
        left = (result[todo] < 0) & (up >= 0)
        todo, up = todo[left], up[left]
    return result


def build_ranges(
    version: NDArray[np.uint8],
    hi: NDArray[np.uint64],
    lo: NDArray[np.uint64],
    length: NDArray[np.uint8],
) -> tuple[Ranges, NDArray[np.int32]]:
    """Flatten distinct prefixes sorted by version, address, length; return also their parents."""
    end_hi, end_lo = last_address(version, hi, lo, length)
    n4 = int(np.searchsorted(version, 6))
    parent = np.full(version.size, -1, np.int32)
    flat = []
    for part, offset in ((slice(0, n4), 0), (slice(n4, None), n4)):
        n = version[part].size
        out_hi, out_lo = np.zeros(2 * n + 1, np.uint64), np.zeros(2 * n + 1, np.uint64)
        out_group, up = np.zeros(2 * n + 1, np.int32), np.zeros(n, np.int32)
        first = frozen(hi[part], np.uint64), frozen(lo[part], np.uint64)
        last = frozen(end_hi[part], np.uint64), frozen(end_lo[part], np.uint64)
        count = kernels.flatten(*first, *last, up, out_hi, out_lo, out_group)
        out_group[out_group >= 0] += offset
        parent[part] = np.where(up >= 0, up + offset, -1)
        flat.append((out_hi[:count], out_lo[:count], out_group[:count]))
    (_, lo4, group4), (hi6, lo6, group6) = flat
    if n4:  # the range behind the last IPv4 address is none
        kept = lo4 <= 0xFFFFFFFF
        lo4, group4 = lo4[kept], group4[kept]
    v4_top = np.zeros(65536, np.int32)
    v4_low, v4_group = np.zeros(2 * lo4.size, np.uint16), np.zeros(2 * lo4.size, np.int32)
    used = kernels.make_blocks_v4(
        frozen(lo4, np.uint64), frozen(group4, np.int32), v4_top, v4_low, v4_group
    )
    lead = _lead(hi[n4:], end_hi[n4:])
    v6_top = np.zeros(65537, np.int32)
    kernels.make_top_v6(frozen(hi6, np.uint64), frozen(lo6, np.uint64), lead, v6_top)
    return Ranges(
        frozen(v4_top, np.int32),
        frozen(v4_low[:used].copy(), np.uint16),
        frozen(v4_group[:used].copy(), np.int32),
        lead,
        frozen(v6_top, np.int32),
        frozen(hi6, np.uint64),
        frozen(lo6, np.uint64),
        frozen(group6, np.int32),
    ), parent


def _lead(hi: NDArray[np.uint64], end_hi: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return how many leading bits (48 at most) all prefixes share, those bits, and their mask."""
    bits = 0
    base = 0
    if hi.size:
        base = int(hi.min())
        bits = min(64 - (base ^ int(end_hi.max())).bit_length(), 48)
    mask = (0xFFFFFFFFFFFFFFFF << (64 - bits)) & 0xFFFFFFFFFFFFFFFF
    return frozen(np.array([bits, base & mask, mask], np.uint64), np.uint64)


def find(
    ranges: Ranges, version: NDArray[Any], hi: NDArray[Any], lo: NDArray[Any]
) -> NDArray[np.int32]:
    """Return the groups of addresses of either version, all (n,); -1 where none."""
    out = np.empty(version.size, np.int32)
    kernels.find_mixed(
        frozen(version, np.uint8), frozen(hi, np.uint64), frozen(lo, np.uint64), ranges, out
    )
    return out


def check_index(ranges: Ranges, groups: Groups, n_rows: int) -> bool:
    """Return whether no look-up in these arrays can read outside them or run for ever."""
    n = groups.parent.size
    shapes = (
        ranges.v4_top.shape == (65536,)
        and ranges.v6_top.shape == (65537,)
        and ranges.v6_lead.shape == (3,)
        and ranges.v4_low.shape == ranges.v4_group.shape
        and ranges.v6_hi.shape == ranges.v6_lo.shape == ranges.v6_group.shape
        and ranges.v6_hi.size > 0
        and groups.start.shape == (n + 1,)
        and groups.length.shape == groups.first_active.shape == (n,)
    )
    if not shapes:
        return False
    blocks = ranges.v4_top[ranges.v4_top >= 0]
    leaves = -2 - ranges.v4_top[ranges.v4_top < 0]
    named = np.concatenate([leaves, ranges.v4_group, ranges.v6_group])
    rows = np.concatenate([groups.entries["row"], groups.first_active])
    size = ranges.v4_low.size
    if np.any(blocks >= size) or np.any(blocks + ranges.v4_low[blocks].astype(np.int64) >= size):
        return False
    return bool(
        np.all((named >= -1) & (named < n))
        and np.all((rows >= -1) & (rows < n_rows))
        and ranges.v6_lead[0] <= 48
        and np.all((ranges.v6_top >= 0) & (ranges.v6_top < ranges.v6_hi.size))
        and np.all(np.diff(ranges.v6_top) >= 0)
        and groups.start[0] == 0
        and groups.start[-1] == groups.entries.size
        and np.all(np.diff(groups.start) >= 0)
        and np.all((groups.parent >= -1) & (groups.parent < np.arange(n)))
    )
