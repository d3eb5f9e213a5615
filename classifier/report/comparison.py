"""Flow rows against the rows of an earlier run.

How this works: rows of both sides get a key. Which columns make it depends on what the earlier
rows have: first the flow itself and its beginning (so that rows may stand in any order), else its
number, else its place. Rows of the same key are paired in order. Every column that both sides have,
but the name of the capture, is then compared over all pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from classifier.report._layout import safe_text

__all__ = ["PROBABILITY_TOLERANCE", "CheckResult", "compare_rows"]

#: How far a probability may be from that of the earlier run.
PROBABILITY_TOLERANCE = 0.05

#: Names of files tell nothing of flows: a capture that was moved or compressed is the same.
_NOT_COMPARED = frozenset({"capture"})

_ENDPOINTS = ("proto", "orig_ip", "orig_port", "resp_ip", "resp_port")
_KEYS = (
    ("community_id", "first_ns", *_ENDPOINTS),
    ("first_ns", *_ENDPOINTS),
    ("community_id", "first_ns"),
    ("flow_id",),
    ("community_id",),
)

# Differences that a message shows, and characters of each value.
_SHOWN = 5
_VALUE_CHARS = 80


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What came of one check.

    Attributes
    ----------
    name : str
    passed : bool
    message : str
        What differs, shortened; empty where it passed.
    """

    name: str
    passed: bool
    message: str


def compare_rows(table: pa.Table, expected: Sequence[Mapping[str, Any]]) -> list[CheckResult]:
    """Compare flow rows with those of an earlier run.

    Parameters
    ----------
    table : pyarrow.Table
        Flow rows.
    expected : sequence of mappings
        Rows by column. Columns that are missing, in a row or in all, are not compared there.

    Returns
    -------
    list of CheckResult
        ``rows`` (are they the same flows?), then ``column NAME`` for each column that both have, but
        ``capture``.
        Probabilities may differ by 0.05; everything else must be equal.
    """
    present = set(table.schema.names)
    compared = [name for name in table.schema.names if name not in _NOT_COMPARED]
    named = [name for name in compared if any(name in row for row in expected)]
    key = next(
        (
            k
            for k in _KEYS
            if present.issuperset(k) and all(set(k) <= row.keys() for row in expected)
        ),
        (),
    )
    columns = {name: table.column(name).to_pylist() for name in {*named, *key}}
    pairs, missing, unexpected = _paired(columns, table.num_rows, expected, key)
    results = [_rows_result(table, expected, missing, unexpected, key)]
    results += [_column_result(name, columns[name], expected, pairs) for name in named]
    return results


def _paired(
    columns: Mapping[str, list[Any]],
    n_rows: int,
    expected: Sequence[Mapping[str, Any]],
    key: Sequence[str],
) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Return pairs of (row, expected row), expected rows without one, and rows without one."""
    if not key:
        shared = min(n_rows, len(expected))
        return (
            [(row, row) for row in range(shared)],
            list(range(shared, len(expected))),
            list(range(shared, n_rows)),
        )
    waiting: dict[str, list[int]] = {}
    for row in range(n_rows - 1, -1, -1):
        waiting.setdefault(repr([columns[name][row] for name in key]), []).append(row)
    pairs, missing = [], []
    for index, given in enumerate(expected):
        rows = waiting.get(repr([given[name] for name in key]))
        if rows:
            pairs.append((rows.pop(), index))
        else:
            missing.append(index)
    return pairs, missing, sorted(row for rows in waiting.values() for row in rows)


def _rows_result(
    table: pa.Table,
    expected: Sequence[Mapping[str, Any]],
    missing: Sequence[int],
    unexpected: Sequence[int],
    key: Sequence[str],
) -> CheckResult:
    problems = []
    if missing:
        shown = [_described(expected[index], key) for index in missing[:_SHOWN]]
        problems.append(f"{len(missing)} of {len(expected)} expected flows are missing: ")
        problems[-1] += _listed(shown, len(missing))
    if unexpected:
        names = [n for n in ("flow_id", *_ENDPOINTS) if n in table.schema.names]
        rows = table.select(names).take(pa.array(unexpected[:_SHOWN])).to_pylist()
        shown = [_described(row, names) for row in rows]
        problems.append(f"{len(unexpected)} flows were not expected: ")
        problems[-1] += _listed(shown, len(unexpected))
    return CheckResult("rows", not problems, "; ".join(problems))


def _described(row: Mapping[str, Any], names: Sequence[str]) -> str:
    return " ".join(safe_text(row[name], _VALUE_CHARS) for name in names) or "by order"


def _listed(shown: Sequence[str], total: int) -> str:
    more = f" and {total - len(shown)} more" if total > len(shown) else ""
    return ", ".join(shown) + more


def _column_result(
    name: str,
    values: Sequence[Any],
    expected: Sequence[Mapping[str, Any]],
    pairs: Sequence[tuple[int, int]],
) -> CheckResult:
    met = [(row, index) for row, index in pairs if name in expected[index]]
    have = [values[row] for row, _ in met]
    want = [expected[index][name] for _, index in met]
    if have == want and set(map(type, have)) == set(
        map(type, want)
    ):  # most columns; 5 times faster
        return CheckResult(f"column {name}", True, "")
    different = [
        (row, value, wanted)
        for (row, _), value, wanted in zip(met, have, want, strict=True)
        if not _agree(value, wanted)
    ]
    if not different:
        return CheckResult(f"column {name}", True, "")
    shown = [
        f"row {row} has {safe_text(repr(value), _VALUE_CHARS)}, "
        f"expected {safe_text(repr(wanted), _VALUE_CHARS)}"
        for row, value, wanted in different[:_SHOWN]
    ]
    message = f"{len(different)} of {len(met)} rows differ: {_listed(shown, len(different))}"
    return CheckResult(f"column {name}", False, message)


def _agree(value: Any, wanted: Any) -> bool:
    if value is None:  # as NDJSON writes it
        return wanted in ("", [], None)
    if isinstance(value, float):
        if isinstance(wanted, bool) or not isinstance(wanted, int | float):
            return False
        return abs(value - wanted) <= PROBABILITY_TOLERANCE + 1e-9
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    return bool(value == wanted)
