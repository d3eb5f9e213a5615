"""Whether a register's history is whole, and what looks wrong in its rows."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from classifier.registry import _database
from classifier.registry._chain import CHANGE_COLUMNS, Chain
from classifier.registry._fields import COLUMN_NAMES, DETAIL_NAMES
from classifier.registry._parse import binary_column, parse
from classifier.registry._reading import Stored, read_database
from classifier.registry.checks import Finding
from classifier.registry.store import Registry

__all__ = ["Verified", "verify"]

_RESTORE = "go back to a copy from before, and compare"


@dataclass(frozen=True, slots=True)
class Verified:
    """What `verify` found.

    Attributes
    ----------
    rows, changes : int
        Versions of rows, and changes that made them (0 for a CSV or JSON register).
    digest : str
        Of the last change: it stands for the whole history. Empty where there is none.
    findings : tuple of Finding
        Errors (the history is not whole) first.
    """

    rows: int
    changes: int
    digest: str
    findings: tuple[Finding, ...]

    @property
    def whole(self) -> bool:
        """Nothing in the history contradicts its digests."""
        return not any(finding.severity == "error" for finding in self.findings)


def verify(path_or_url: str | os.PathLike[str], *, digest: str | None = None) -> Verified:
    """Recompute a register's chain of digests, and look its rows through.

    Parameters
    ----------
    path_or_url : str or path
    digest : str, optional
        What an earlier `verify` returned: the history then must be the beginning of the history now.
        Without it, whoever can write to the file and recomputes all digests is not found.

    Returns
    -------
    Verified

    Raises
    ------
    RegistryError
        If the register cannot be read at all. Rows that cannot be used are findings.
    """
    source = os.fspath(path_or_url)
    name = _database.name_of(source)
    findings: list[Finding] = []
    n_changes, last = 0, ""
    stored = None
    if _database.is_url(source) or Path(source).suffix.lower() == ".db":
        stored = read_database(source)
        if stored.changes is None or stored.change is None:
            findings.append(
                _error(name, "has no history", "import it into another .db, which keeps one")
            )
        else:
            n_changes = stored.changes.num_rows
            last = _follow(name, stored, digest, findings)
            for trigger in _database.triggers_missing(source):
                problem = f"the trigger {trigger}, which refuses changes of history, is missing"
                findings.append(_error(name, problem, _RESTORE))
    elif digest is not None:
        findings.append(_error(name, "is a file without a history", "verify the .db"))
    if stored is None:
        registry = Registry.open(source, skip_bad_rows=True)
    else:
        registry = Registry(name, parse(stored.raw, skip_bad_rows=True), stored)
    for error in registry.problems:
        line = error.line or 0
        findings.append(Finding("row", error.problem, error.remedy, name, line))
    findings += registry.check()
    return Verified(len(registry._all.lines), n_changes, last, tuple(findings))


def _error(name: str, problem: str, remedy: str, line: int = 0) -> Finding:
    return Finding("history", problem, remedy, name, line)


def _follow(name: str, stored: Stored, digest: str | None, findings: list[Finding]) -> str:
    """Follow the chain; return the last digest. The first break is told: all after it differ."""
    changes, change = stored.changes, stored.change
    assert changes is not None
    assert change is not None
    problem = _order(stored, change, changes)
    if problem:
        findings.append(_error(name, problem, _RESTORE))
        return ""
    n = change.size
    blank = binary_column([b""] * n)
    columns: list[pa.BinaryArray] = [stored.raw.columns[key] for key in COLUMN_NAMES]
    columns += [stored.raw.details.get(key, blank) for key in DETAIL_NAMES]
    entries = stored.raw.entry if stored.raw.entry is not None else np.arange(1, n + 1)
    chain, known, start = Chain(), digest in (None, ""), 0
    facts = {key: changes.column(key).to_pylist() for key in CHANGE_COLUMNS}
    digests = changes.column("digest").to_pylist()
    for k, number in enumerate(changes.column("change").to_pylist()):
        said = {key: facts[key][k] for key in CHANGE_COLUMNS}
        stop = start + said["n_rows"]
        found = chain.add(number, said, entries[start:stop], columns, start)
        if found != digests[k]:
            who = f"{said['action']} by {said['actor']}, {said['recorded_at']}"
            problem = f"change {number} ({who}) or one of its rows is not what was recorded"
            findings.append(_error(name, problem, _RESTORE, number))
            return ""
        known = known or found == digest
        start = stop
    if not known:
        problem = f"no change has the digest {str(digest)[:16]}...: the history is another one"
        findings.append(_error(name, problem, _RESTORE))
    return chain.digest


def _order(stored: Stored, change: NDArray[np.int64], changes: pa.Table) -> str:
    """Return what is wrong with numbers and times, before digests are looked at."""
    numbers: NDArray[np.int64] = changes.column("change").to_numpy()
    n_rows: NDArray[np.int64] = changes.column("n_rows").to_numpy()
    if not np.array_equal(numbers, np.arange(1, numbers.size + 1)):
        return "changes are missing: their numbers have gaps"
    possible = ((n_rows >= 0) & (n_rows <= change.size)).all() and n_rows.sum() == change.size
    if not possible or not np.array_equal(change, np.repeat(numbers, n_rows)):
        return "rows are missing, or stand in another order than that of their changes"
    lines = stored.raw.lines
    if lines.size and not np.array_equal(lines, np.arange(1, lines.size + 1)):
        return "rows are missing: their numbers have gaps"
    recorded: Any = stored.raw.recorded
    if recorded is not None:
        times = changes.column("recorded_at").take(pa.array(change - 1))
        if not times.combine_chunks().cast(pa.binary()).equals(recorded):
            return "rows have other times than the changes that made them"
    return ""
