"""Returned lists into a database: what is new, what has changed, what is refused, row by row."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from classifier.errors import RegistryError
from classifier.registry import _database
from classifier.registry._database import Entry
from classifier.registry._fields import COLUMN_NAMES, DETAIL_NAMES, FILE_DETAILS
from classifier.registry._parse import PROBLEM_LIMIT, Registrations, parse
from classifier.registry._reading import read_database
from classifier.registry.checks import Finding, check_rows
from classifier.registry.store import Registry, known_rows, recorded_text, time_ns

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection

__all__ = ["Imported", "import_rows"]

# Rows with the same of these are versions of one entry. What is left can change.
_KEY = ("hi", "lo", "from_ns", "port", "proto", "version", "length", "side")
_SAID = ("to_ns", "status")
_SAID_TEXT = ("organisation", "category")
_OUTCOMES = ("unchanged", "added", "changed", "refused")
_UNCHANGED, _ADDED, _CHANGED, _REFUSED = range(4)


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did, or with ``dry_run`` would do.

    Attributes
    ----------
    added, changed, unchanged : int
        Rows that were new, said something else, and were there already.
    problems : tuple of RegistryError
        Rows that were left out.
    findings : tuple of Finding
        What looks wrong with the rows that were taken (`checks.check_rows`).
    report : pandas.DataFrame
        Row by row: ``source``, ``line``, ``registration_id``, ``prefix``, ``outcome`` (``added``,
        ``changed``, ``unchanged``, ``refused``) and ``problem``.
    dry_run : bool
        Nothing was written.
    """

    added: int
    changed: int
    unchanged: int
    problems: tuple[RegistryError, ...]
    findings: tuple[Finding, ...] = ()
    report: "pd.DataFrame" = field(default=None, repr=False, compare=False)  # type: ignore[assignment]
    dry_run: bool = False


def import_rows(
    sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    into: str | os.PathLike[str],
    *,
    skip_bad_rows: bool = False,
    recorded_at: str | None = None,
    dry_run: bool = False,
    by: str = "unnamed",
    reason: str = "",
    check: bool = True,
) -> Imported:
    """Merge registers into a database, in one transaction; a second time changes nothing.

    Rows are the same entry where registration_id, prefix, side, proto, port and valid_from are; if
    another field differs, a new version of the entry is recorded. Entries that a source lacks stay.
    A row that differs from one that the window has closed (revoked, or amended since) is a bad row: a
    list does not undo a decision.

    Parameters
    ----------
    sources : str or path, or iterable of them
        What `Registry.open` opens.
    into : str or path
        A ``.db`` file, made where there is none, or an SQLAlchemy URL.
    skip_bad_rows : bool
        Leave bad rows out instead of stopping before anything is written.
    recorded_at : str, optional
        ISO 8601 time of recording, not before that of the last change; default: the clock.
    dry_run : bool
        Write nothing and tell what would be done.
    by, reason : str
        Who imports, and why; default of the reason: the names of the sources.
    check : bool
        Look for duplicates, overlaps, bogons and wide prefixes among the rows that are taken.

    Returns
    -------
    Imported

    Raises
    ------
    RegistryError
        If a source or the database cannot be used.
    """
    if isinstance(sources, str | os.PathLike):
        sources = [sources]
    target = os.fspath(into)
    if not _database.is_url(target) and Path(target).suffix.lower() != ".db":
        remedy = "import into a .db file or an SQLAlchemy URL"
        raise RegistryError("is no database", path=Path(target).name, remedy=remedy)
    time = None if recorded_at is None else recorded_text(time_ns(recorded_at, "recorded_at"))
    opened = [Registry.open(source, skip_bad_rows=skip_bad_rows) for source in sources]
    job = _Job(target, _database.name_of(target), skip_bad_rows, time, by, reason, check)
    if dry_run:
        return job.run(opened, _stored(target), None)
    return _database.write(target, lambda connection: job.run(opened, None, connection))


def _stored(target: str) -> Registrations | None:
    """Return what a database holds, for a dry run; None where there is none yet."""
    if not _database.is_url(target):
        if not Path(target).is_file():
            return None
    else:
        with _database.connected(target) as connection:
            if not _database.columns_of(connection, _database.TABLE):
                return None
    return parse(read_database(target).raw, skip_bad_rows=False)


@dataclass(frozen=True, slots=True)
class _Job:
    """What holds for all sources of one import."""

    target: str
    name: str
    skip_bad_rows: bool
    time: str | None
    by: str
    reason: str
    check: bool

    def run(
        self,
        opened: Sequence[Registry],
        stored: Registrations | None,
        connection: "Connection | None",
    ) -> Imported:
        """Merge the sources one after the other; without a connection nothing is written."""
        if connection is not None:
            stored = parse(read_database(self.target, connection).raw, skip_bad_rows=False)
        state = None if stored is None else stored.take(known_rows(stored.rows, None))
        next_entry = 1
        if stored is not None and stored.rows.size:
            next_entry = int(max(stored.rows["entry"].max(), stored.lines.max())) + 1
        counts = np.zeros(len(_OUTCOMES), np.int64)
        problems: list[RegistryError] = []
        findings: list[Finding] = []
        reports: list[dict[str, Any]] = []
        for registry in opened:
            new = registry.state
            problems += registry.problems
            reports += [_refusal(registry.name, problem) for problem in registry.problems]
            before = _paired(state, new)
            new = _filled(state, new, before)
            outcome, entries = _compare(state, new, before)
            refused = self._refuse(registry, outcome, entries, state, problems)
            counts += np.bincount(outcome, minlength=len(_OUTCOMES))
            reports.append(_report(registry.name, new, outcome, refused))
            index = np.flatnonzero((outcome == _ADDED) | (outcome == _CHANGED))
            fresh = entries[index] < 0
            numbers = entries[index]
            numbers[fresh] = np.arange(next_entry, next_entry + np.count_nonzero(fresh))
            next_entry += int(np.count_nonzero(fresh))
            taken = new.take(index)
            if connection is not None and index.size:
                self._append(connection, registry.name, taken, numbers)
            state = _merged(state, taken, numbers)
            if self.check and index.size:
                findings += self._check(registry.name, state, taken, numbers)
        added, changed, unchanged = (int(counts[k]) for k in (_ADDED, _CHANGED, _UNCHANGED))
        return Imported(
            added,
            changed,
            unchanged,
            tuple(problems),
            tuple(findings),
            _frame(reports),
            connection is None,
        )

    def _refuse(
        self,
        registry: Registry,
        outcome: NDArray[np.int8],
        entries: NDArray[np.int64],
        state: Registrations | None,
        problems: list[RegistryError],
    ) -> dict[int, RegistryError]:
        """Refuse rows that would undo what the window has decided."""
        refused: dict[int, RegistryError] = {}
        if state is None:
            return refused
        closed = np.asarray(state.details.column("state").to_numpy() != "")
        if not closed.any():
            return refused
        place = {int(entry): row for row, entry in enumerate(state.rows["entry"]) if closed[row]}
        for row in np.flatnonzero(outcome == _CHANGED).tolist():
            there = place.get(int(entries[row]))
            if there is None:
                continue
            outcome[row] = _REFUSED
            name = state.text.column("registration_id")[there].as_py()
            what = state.details.column("state")[there].as_py()
            error = RegistryError(
                f"{name} was {what} since; a list does not undo that",
                path=registry.name,
                line=int(registry.state.lines[row]),
                remedy="take the row out, or apply again with `registry add`",
            )
            if not self.skip_bad_rows:
                raise error
            refused[row] = error
            if len(problems) < PROBLEM_LIMIT:
                problems.append(error)
        return refused

    def _append(
        self,
        connection: "Connection",
        source: str,
        taken: Registrations,
        entries: NDArray[np.int64],
    ) -> None:
        columns = [*taken.text.columns, *taken.details.columns]
        texts = pa.Table.from_arrays(columns, names=[*COLUMN_NAMES, *DETAIL_NAMES])
        entry = Entry(
            "import",
            actor=self.by,
            reason=self.reason or f"import of {source}",
            details=json.dumps({"source": source}),
        )
        _database.append(connection, entry, texts, entries, self.time, self.name)

    def _check(
        self,
        source: str,
        state: Registrations,
        taken: Registrations,
        entries: NDArray[np.int64],
    ) -> list[Finding]:
        wanted = np.isin(state.rows["entry"], entries)
        return check_rows(state, f"{source} -> {self.name}", wanted=wanted)


def _codes(columns: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    """Return a number for each row: the same where all columns are the same."""
    code = np.zeros(columns[0].size, np.int64)
    for column in columns:
        encoded: Any = pa.array(column).dictionary_encode()
        pair = code * max(len(encoded.dictionary), 1) + encoded.indices.to_numpy()
        again: Any = pa.array(pair).dictionary_encode()
        code = again.indices.to_numpy().astype(np.int64)
    return code


def _nth(code: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many earlier rows have the code of a row."""
    order = np.argsort(code, kind="stable")
    ordered = code[order]
    begins = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    sizes = np.diff(np.append(begins, code.size))
    nth = np.empty(code.size, np.int64)
    nth[order] = np.arange(code.size) - np.repeat(begins, sizes)
    return nth


def _text_codes(first: Registrations | None, second: Registrations, name: str) -> Any:
    """Return a number for each text of a column, over both registers."""
    tables = [
        r.text if name in COLUMN_NAMES else r.details for r in (first, second) if r is not None
    ]
    chunks = [chunk for table in tables for chunk in table.column(name).chunks]
    encoded: Any = pa.chunked_array(chunks, pa.string()).combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy()


def _paired(state: Registrations | None, new: Registrations) -> NDArray[np.int64]:
    """Return which row of the state each new row is a version of, -1 where none."""
    n = 0 if state is None else state.rows.size
    if not new.rows.size:
        return np.zeros(0, np.int64)
    rows = new.rows if state is None else np.concatenate([state.rows, new.rows])
    names = _text_codes(state, new, "registration_id")
    key = _codes([names, *(rows[name] for name in _KEY)])
    key = _codes([key, np.concatenate([_nth(key[:n]), _nth(key[n:])])])
    there = np.full(int(key.max()) + 1, -1, np.int64)
    there[key[:n]] = np.arange(n)
    return there[key[n:]]


def _filled(
    state: Registrations | None, new: Registrations, before: NDArray[np.int64]
) -> Registrations:
    """Take over details that a list leaves empty from what is known."""
    if state is None or not (before >= 0).any():
        return new
    places = pa.array(before, mask=before < 0)
    columns = [
        pc.if_else(
            pc.equal(new.details.column(name), ""),
            pc.fill_null(state.details.column(name).combine_chunks().take(places), ""),
            new.details.column(name),
        )
        for name in FILE_DETAILS
    ]
    columns.append(new.details.column("state"))
    details = pa.Table.from_arrays(columns, names=list(DETAIL_NAMES))
    return Registrations(new.rows, new.text, (), details, new.lines)


def _compare(
    state: Registrations | None, new: Registrations, before: NDArray[np.int64]
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Return the outcome of each new row, and the entry it is a version of (-1: none)."""
    entries = np.full(before.size, -1, np.int64)
    outcome = np.full(before.size, _ADDED, np.int8)
    known = np.flatnonzero(before >= 0)
    if state is None or not known.size:
        return outcome, entries
    n = state.rows.size
    rows = np.concatenate([state.rows, new.rows])
    texts = [_text_codes(state, new, name) for name in (*_SAID_TEXT, *FILE_DETAILS)]
    said = _codes([*texts, *(rows[name] for name in _SAID)])
    entries[known] = state.rows["entry"][before[known]]
    same = said[n:][known] == said[before[known]]
    outcome[known] = np.where(same, _UNCHANGED, _CHANGED)
    return outcome, entries


def _merged(
    state: Registrations | None, taken: Registrations, entries: NDArray[np.int64]
) -> Registrations:
    """Return the state after rows were taken."""
    rows = taken.rows.copy()
    rows["entry"] = entries
    made = Registrations(rows, taken.text, (), taken.details, taken.lines)
    if state is None or not state.rows.size:
        return made
    kept = np.flatnonzero(~np.isin(state.rows["entry"], entries))
    old = state.take(kept)
    return Registrations(
        np.concatenate([old.rows, rows]),
        pa.concat_tables([old.text, made.text]).combine_chunks(),
        (),
        pa.concat_tables([old.details, made.details]).combine_chunks(),
        np.concatenate([old.lines, made.lines]),
    )


def _report(
    source: str, new: Registrations, outcome: NDArray[np.int8], refused: dict[int, RegistryError]
) -> dict[str, Any]:
    problem = np.full(outcome.size, "", object)
    for row, error in refused.items():
        problem[row] = f"{error.problem}; {error.remedy}"
    return {
        "source": np.full(outcome.size, source, object),
        "line": new.lines,
        "registration_id": new.text.column("registration_id").to_numpy(),
        "prefix": new.text.column("prefix").to_numpy(),
        "outcome": np.array(_OUTCOMES, object)[outcome],
        "problem": problem,
    }


def _refusal(source: str, problem: RegistryError) -> dict[str, Any]:
    return {
        "source": [source],
        "line": [problem.line or 0],
        "registration_id": [""],
        "prefix": [""],
        "outcome": ["refused"],
        "problem": [f"{problem.problem}; {problem.remedy}"],
    }


def _frame(reports: Sequence[dict[str, Any]]) -> "pd.DataFrame":
    import pandas as pd

    names = ("source", "line", "registration_id", "prefix", "outcome", "problem")
    columns = {
        name: np.concatenate([np.asarray(report[name], object) for report in reports])
        if reports
        else np.zeros(0, object)
        for name in names
    }
    frame = pd.DataFrame(columns).astype({"line": "int64"})
    return frame.sort_values(["source", "line"], kind="stable", ignore_index=True)
