"""Counts over a register: what it holds, what address space it covers, what is valid when."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from classifier.errors import RegistryError
from classifier.registry._fields import ACTIVE, OPEN_END, SIDES, STATUSES
from classifier.registry._index import last_address

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RegistryStats", "registry_stats", "timeline"]

_PERIODS = {"month": "M", "quarter": "M", "year": "Y"}
_MOST_PERIODS = 10_000


@dataclass(frozen=True, slots=True)
class RegistryStats:
    """Counts over a register.

    Attributes
    ----------
    rows, registrations, organisations, prefixes : int
        Rows, and how many different ones of each they name.
    by_category, by_status, by_side, by_family : dict of str to int
        Rows each; categories by falling count, families ``ipv4`` and ``ipv6``.
    ipv4_addresses, ipv6_addresses : int
        Addresses that active rows cover, each counted once; at ``at_ns`` if given.
    ipv6_networks : int
        /64 networks that they touch.
    at_ns : int or None
        The time asked, UTC nanoseconds since 1970.
    valid, expired, not_yet : int
        Active rows valid at that time, ended before, and beginning after; all 0 without a time.
    open_ended : int
        Active rows without an end.
    """

    rows: int
    registrations: int
    organisations: int
    prefixes: int
    by_category: dict[str, int]
    by_status: dict[str, int]
    by_side: dict[str, int]
    by_family: dict[str, int]
    ipv4_addresses: int
    ipv6_addresses: int
    ipv6_networks: int
    at_ns: int | None
    valid: int
    expired: int
    not_yet: int
    open_ended: int


def registry_stats(
    rows: NDArray[np.void], text: pa.Table, *, at: str | int | None = None
) -> RegistryStats:
    """Count registrations; `Registry.stats` calls this.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n_rows,)
    text : pyarrow.Table
        The same rows as text.
    at : str or int, optional
        A time, ISO 8601 or UTC nanoseconds since 1970.

    Raises
    ------
    RegistryError
        If ``at`` is no time.
    """
    from classifier.registry.store import time_ns

    at_ns = None if at is None else time_ns(at, "at")
    active = rows[rows["status"] == ACTIVE]
    started = np.ones(active.size, bool) if at_ns is None else active["from_ns"] <= at_ns
    ended = np.zeros(active.size, bool) if at_ns is None else active["to_ns"] <= at_ns
    covering = active[started & ~ended]
    v4, v6 = covering[covering["version"] == 4], covering[covering["version"] == 6]
    counted: Any = text.column("category").value_counts()
    categories = counted.to_pylist()
    by_count = sorted(categories, key=lambda item: (-item["counts"], item["values"]))
    families = np.bincount(rows["version"], minlength=7)
    return RegistryStats(
        rows=int(rows.size),
        registrations=len(text.column("registration_id").unique()),
        organisations=len(text.column("organisation").unique()),
        prefixes=int(np.unique(rows[["version", "hi", "lo", "length"]]).size),
        by_category={item["values"]: item["counts"] for item in by_count},
        by_status=_named(rows["status"], STATUSES),
        by_side=_named(rows["side"], SIDES),
        by_family={"ipv4": int(families[4]), "ipv6": int(families[6])},
        ipv4_addresses=_covered(v4, 0),
        ipv6_addresses=_covered(v6, 0),
        ipv6_networks=_covered(v6, 64),
        at_ns=at_ns,
        valid=int(covering.size) if at_ns is not None else 0,
        expired=int(ended.sum()),
        not_yet=int((~started).sum()),
        open_ended=int((active["to_ns"] == OPEN_END).sum()),
    )


def _named(codes: NDArray[np.uint8], words: dict[str, int]) -> dict[str, int]:
    """Return how often each word comes, in the order of the words."""
    counts = np.bincount(codes, minlength=max(words.values()) + 1)
    return {word: int(counts[code]) for word, code in words.items()}


def _covered(rows: NDArray[np.void], shift: int) -> int:
    """Return how many addresses (without their low ``shift`` bits) prefixes cover, each once."""
    end_hi, end_lo = last_address(rows["version"], rows["hi"], rows["lo"], rows["length"])
    order = np.lexsort((rows["length"], rows["lo"], rows["hi"]))
    columns = (rows["hi"], rows["lo"], end_hi, end_lo)
    total = 0
    reached = -1
    for hi, lo, to_hi, to_lo in zip(*(column[order].tolist() for column in columns), strict=True):
        first, last = (hi << 64 | lo) >> shift, (to_hi << 64 | to_lo) >> shift
        if last > reached:
            total += last - max(first, reached + 1) + 1
            reached = last
    return total


def timeline(
    rows: NDArray[np.void],
    text: pa.Table,
    every: str = "month",
    *,
    start: str | int | None = None,
    stop: str | int | None = None,
) -> "pd.DataFrame":
    """Count rows by category over time; `Registry.timeline` calls this.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n_rows,)
    text : pyarrow.Table
        The same rows as text.
    every : {"month", "quarter", "year"}
    start, stop : str or int, optional
        Default: from the first beginning to the last beginning or end there is.

    Returns
    -------
    pandas.DataFrame
        ``time`` (the first moment of a period), ``category``, ``valid`` (active rows valid then),
        ``began`` and ``ended`` (active rows, in the period that begins then). Categories by name, then
        all of them as ``*``.

    Raises
    ------
    RegistryError
        If an argument is not one of those.
    """
    import pandas as pd

    from classifier.registry.store import time_ns

    if every not in _PERIODS:
        raise RegistryError(
            f"{every!r} is no period", path="every", remedy="give month, quarter or year"
        )
    active = np.flatnonzero(rows["status"] == ACTIVE)
    begins, ends = rows["from_ns"][active], rows["to_ns"][active]
    closed = ends[ends < OPEN_END]
    moments = np.concatenate([begins, closed])
    first = time_ns(start, "start") if start is not None else int(moments.min(initial=OPEN_END))
    last = time_ns(stop, "stop") if stop is not None else int(moments.max(initial=-OPEN_END))
    encoded: Any = text.column("category").combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    codes = encoded.indices.to_numpy()[active]
    times = _period_starts(first, last, every)
    parts = []
    for name, mask in [
        *((names[k], codes == k) for k in sorted(range(len(names)), key=names.__getitem__)),
        ("*", np.ones(active.size, bool)),
    ]:
        began, ended = np.sort(begins[mask]), np.sort(ends[mask])
        by, over = (np.searchsorted(moments, times, "right") for moments in (began, ended))
        next_by, next_over = (
            np.searchsorted(moments, times, "left")[1:] for moments in (began, ended)
        )
        at_by, at_over = (
            np.searchsorted(moments, times, "left")[:-1] for moments in (began, ended)
        )
        parts.append(
            pd.DataFrame(
                {
                    "time": pd.to_datetime(times[:-1], utc=True),
                    "category": name,
                    "valid": (by - over)[:-1],
                    "began": next_by - at_by,
                    "ended": next_over - at_over,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _period_starts(first: int, last: int, every: str) -> NDArray[np.int64]:
    """Return the first moments of periods, and of the one after them."""
    if first > last:
        return np.zeros(1, np.int64)
    step = 3 if every == "quarter" else 1
    unit = _PERIODS[every]
    begin = np.datetime64(first, "ns").astype(f"M8[{unit}]")
    if step == 3:
        begin -= int(begin.astype(np.int64)) % 3
    end = np.datetime64(last, "ns").astype(f"M8[{unit}]") + step
    starts = np.arange(begin, end + step, step, dtype=f"M8[{unit}]")
    if starts.size > _MOST_PERIODS:
        raise RegistryError(
            f"{starts.size:,} periods are more than {_MOST_PERIODS:,}",
            path="every",
            remedy="give a start and a stop, or a longer period",
        )
    result: NDArray[np.int64] = starts.astype("M8[ns]").astype(np.int64)
    return result
