"""The register: opened from a file or a database, as of any time, checked, saved and compiled."""

import datetime
import html
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from classifier.errors import RegistryError
from classifier.registry import _database, _files
from classifier.registry._fields import (
    ACTIVE,
    ALWAYS_KNOWN,
    COLUMN_NAMES,
    FILE_DETAILS,
    BadField,
    parse_time,
    shown,
)
from classifier.registry._parse import Raw, Registrations, parse
from classifier.registry._reading import Stored, read_database

if TYPE_CHECKING:
    import pandas as pd

    from classifier.registry.checks import Finding
    from classifier.registry.stats import RegistryStats
    from classifier.registry.table import Table

__all__ = ["Registry", "known_rows", "recorded_text", "time_ns"]

_READERS: dict[str, Callable[[Path], Raw]] = {".csv": _files.read_csv, ".json": _files.read_json}
_SUFFIXES = "use a .csv, .json or .db file or an SQLAlchemy URL"
_PREVIEW_ROWS = 10


def _read(source: str) -> Stored:
    """Read a source by its suffix."""
    suffix = Path(source).suffix.lower()
    if _database.is_url(source) or suffix == ".db":
        return read_database(source)
    if source == "-":
        return Stored(_files.read_csv(Path(source)))
    if suffix not in _READERS:
        raise RegistryError("is no register", path=Path(source).name, remedy=_SUFFIXES)
    return Stored(_READERS[suffix](Path(source)))


class Registry:
    """Registrations of VPN addresses, as a file or a database holds them.

    Made by `Registry.open`; does not change. `compile` makes the table that looks addresses up,
    `as_of` the register as it was.

    Attributes
    ----------
    name : str
        File name, or URL without its password.
    problems : tuple of RegistryError
        Rows that were left out (with ``skip_bad_rows``).
    """

    def __init__(
        self, name: str, registrations: Registrations, stored: Stored | None = None
    ) -> None:
        self.name = name
        self.problems = registrations.problems
        self._all = registrations
        self._current = registrations.take(known_rows(registrations.rows, None))
        self._changes = None if stored is None else stored.changes
        self._change: NDArray[np.int64] | None = None
        if stored is not None and stored.change is not None:
            lines = stored.raw.lines
            if registrations.rows.size == lines.size:
                self._change = stored.change
            elif (np.diff(lines) > 0).all():  # bad rows were left out
                self._change = stored.change[np.searchsorted(lines, registrations.lines)]

    @classmethod
    def open(
        cls, path_or_url: str | os.PathLike[str], *, skip_bad_rows: bool = False
    ) -> "Registry":
        """Open a register.

        Parameters
        ----------
        path_or_url : str or path
            A ``.csv``, ``.json`` or ``.db`` (SQLite) file, an SQLAlchemy URL, or ``-`` for CSV from
            standard input.
        skip_bad_rows : bool
            Leave rows out that cannot be used and list them in ``problems``.

        Returns
        -------
        Registry

        Raises
        ------
        RegistryError
            If the register, or one of its rows, cannot be used.
        """
        given: object = path_or_url
        if not isinstance(given, str | os.PathLike):
            problem = f"{type(path_or_url).__name__} is no register"
            raise RegistryError(problem, path="registry", remedy=_SUFFIXES)
        source = os.fspath(path_or_url)
        name = _database.name_of(source)
        stored = _read(source)
        return cls(name, parse(stored.raw, skip_bad_rows=skip_bad_rows), stored)

    @property
    def rows(self) -> pa.Table:
        """The registrations as they stand now, a column of strings per field."""
        return self._current.text

    @property
    def details(self) -> pa.Table:
        """What else is known of ``rows``: contact, purpose, flags, documents, and why closed."""
        return self._current.details

    @property
    def state(self) -> Registrations:
        """The registrations as they stand now, for other parts of this room."""
        return self._current

    def __len__(self) -> int:
        """Return how many registrations there are now."""
        return int(self._current.rows.size)

    def compile(self, known_at: str | int | None = None) -> "Table":
        """Make the table that looks addresses up.

        Parameters
        ----------
        known_at : str or int, optional
            Use what was recorded by then: ISO 8601, or UTC nanoseconds since 1970. Rows of CSV and
            JSON files carry no recorded time and are always known.

        Returns
        -------
        Table

        Raises
        ------
        RegistryError
            If ``known_at`` is no time, or one prefix has more rows than a table takes.
        """
        from classifier.registry.table import Table

        return Table.build(self._state(known_at), source=self.name)

    def as_of(
        self, valid_at: str | int | None = None, known_at: str | int | None = None
    ) -> "Registry":
        """Return the register as it was: rebuilt from its history.

        Parameters
        ----------
        valid_at : str or int, optional
            Keep the rows that are active and valid then: ISO 8601, or UTC nanoseconds since 1970.
        known_at : str or int, optional
            Use what was recorded by then. What is known now about then, and what was known then about
            now, are two questions: the two times are independent.

        Returns
        -------
        Registry

        Raises
        ------
        RegistryError
            If one of them is no time.
        """
        kept = self._all
        index = np.arange(kept.rows.size)
        if known_at is not None:
            index = np.flatnonzero(kept.rows["recorded_ns"] <= time_ns(known_at, "known_at"))
        if valid_at is not None:
            at = time_ns(valid_at, "valid_at")
            index = index[known_rows(kept.rows[index], None)]
            rows = kept.rows[index]
            valid = (rows["status"] == ACTIVE) & (rows["from_ns"] <= at) & (at < rows["to_ns"])
            index = index[valid]
        past = Registry(self.name, kept.take(index))
        past._changes = self._changes
        past._change = None if self._change is None else self._change[index]
        return past

    def history(self, registration_id: str | None = None) -> "pd.DataFrame":
        """Return the changes that made the register, the oldest first.

        Parameters
        ----------
        registration_id : str, optional
            Only those that touch this registration, each with what it changed.

        Returns
        -------
        pandas.DataFrame
            ``change``, ``recorded_at``, ``effective``, ``action``, ``registration_id``, ``by``,
            ``reason``, ``rows``, ``what``.

        Raises
        ------
        RegistryError
            If there is no such registration.
        """
        from classifier.registry.history import history

        return history(self._all, self._change, self._changes, registration_id, self.name)

    def why_closed(self, row: int) -> str:
        """Return why the window closed a row of ``rows`` (when, by whom, why), else an empty text.

        Parameters
        ----------
        row : int
        """
        from classifier.registry.history import closing

        entry = int(self._current.rows["entry"][row])
        return closing(self._all, self._change, self._changes, entry)

    def write(
        self,
        file: IO[str],
        form: str = "csv",
        *,
        known_at: str | int | None = None,
        details: bool = False,
    ) -> None:
        """Write the register to a file object that is open for text, as `save` does to a path.

        Parameters
        ----------
        file : file object
        form : {"csv", "json"}
        known_at : str or int, optional
        details : bool

        Raises
        ------
        RegistryError
            If ``form`` is neither.
        """
        writers = {"csv": _files.csv_to, "json": _files.json_to}
        if form not in writers:
            remedy = "give csv or json"
            raise RegistryError(f"{form!r} is no form of a register", path="form", remedy=remedy)
        writers[form](self._written(known_at, details), file)

    def check(self) -> "list[Finding]":
        """Look for duplicates, overlaps, bogons and wide prefixes; see `checks.check_rows`."""
        from classifier.registry.checks import check_rows

        return check_rows(self._current, self.name)

    def save(
        self,
        path_or_url: str | os.PathLike[str],
        *,
        known_at: str | int | None = None,
        details: bool = False,
    ) -> None:
        """Write the register as ``.csv``, ``.json`` or ``.db``, by suffix.

        A file takes the place of one that is there, all at once. CSV and JSON hold the state at
        ``known_at`` (default: now); a ``.db`` holds every version, up to ``known_at`` if given.

        Parameters
        ----------
        path_or_url : str or path
        known_at : str or int, optional
            ISO 8601, or UTC nanoseconds since 1970.
        details : bool
            Write contact, purpose, flags and documents to CSV and JSON too; a ``.db`` has them.

        Raises
        ------
        RegistryError
            If it cannot be written.
        """
        path = Path(path_or_url)
        suffix = "" if _database.is_url(os.fspath(path_or_url)) else path.suffix.lower()
        if suffix == ".csv":
            _files.write_csv(self._written(known_at, details), path)
        elif suffix == ".json":
            _files.write_json(self._written(known_at, details), path)
        elif suffix == ".db":
            self._save_versions(path, known_at)
        else:
            remedy = "save as .csv, .json or .db; import_rows writes to an SQLAlchemy URL"
            raise RegistryError("is no register", path=path.name, remedy=remedy)

    export = save

    def stats(self, at: str | int | None = None) -> "RegistryStats":
        """Count the registrations; see `classifier.registry.stats.registry_stats`."""
        from classifier.registry.stats import registry_stats

        return registry_stats(self._current.rows, self.rows, at=at)

    def timeline(
        self,
        every: str = "month",
        *,
        start: str | int | None = None,
        stop: str | int | None = None,
    ) -> "pd.DataFrame":
        """Count registrations by category over time; see `classifier.registry.stats.timeline`.

        Parameters
        ----------
        every : {"month", "quarter", "year"}
        start, stop : str or int, optional

        Returns
        -------
        pandas.DataFrame
        """
        from classifier.registry.stats import timeline

        return timeline(self._current.rows, self.rows, every, start=start, stop=stop)

    def _state(self, known_at: str | int | None) -> Registrations:
        if known_at is None:
            return self._current
        return self._all.take(known_rows(self._all.rows, time_ns(known_at, "known_at")))

    def _written(self, known_at: str | int | None, details: bool) -> pa.Table:
        state = self._state(known_at)
        if not details:
            return state.text
        columns = [*state.text.columns, *state.details.select(list(FILE_DETAILS)).columns]
        return pa.Table.from_arrays(columns, names=[*COLUMN_NAMES, *FILE_DETAILS])

    def _save_versions(self, path: Path, known_at: str | int | None) -> None:
        limit = np.iinfo(np.int64).max if known_at is None else time_ns(known_at, "known_at")
        index = np.flatnonzero(self._all.rows["recorded_ns"] <= limit)
        kept = self._all.take(index)
        with _files.replacing(path) as temporary:
            if self._changes is not None and self._change is not None:
                times = self._changes.column("recorded_at").to_pylist()
                n_changes = sum(time_ns(time, "recorded_at") <= limit for time in times)
                changes, change = self._changes.slice(0, n_changes), self._change[index]
                _database.copy(str(temporary), kept, change, changes)
            else:
                _database.copy_rows(str(temporary), kept, self.name)

    def __repr__(self) -> str:
        """Return name, size and what was left out."""
        left = f", {len(self.problems)} problems" if self.problems else ""
        return f"<Registry {shown(self.name)}: {len(self):,} registrations{left}>"

    def _repr_html_(self) -> str:
        """Return the first rows as HTML; holders' texts are escaped."""
        cell = "<td>{}</td>".format
        names = "".join(f"<th>{name}</th>" for name in COLUMN_NAMES)
        rows = [
            "<tr>" + "".join(cell(html.escape(row[name])) for name in COLUMN_NAMES) + "</tr>"
            for row in self.rows.slice(0, _PREVIEW_ROWS).to_pylist()
        ]
        left = len(self) - len(rows)
        more = f"<p>{left:,} more</p>" if left > 0 else ""
        title = html.escape(repr(self))
        return f"<p>{title}</p><table><tr>{names}</tr>{''.join(rows)}</table>{more}"


def time_ns(time: str | int | datetime.datetime, what: str) -> int:
    """Return a time given as ISO 8601 or as nanoseconds; a wrong one is a RegistryError."""
    if isinstance(time, int | np.integer):
        return min(max(int(time), ALWAYS_KNOWN), -ALWAYS_KNOWN)
    try:
        if isinstance(time, datetime.datetime):
            time = time.isoformat()
        if not isinstance(time, str):
            raise BadField(f"{time!r} is not a time", "give ISO 8601, nanoseconds or a datetime")
        return parse_time(time)
    except BadField as error:
        raise RegistryError(error.problem, path=what, remedy=error.remedy) from None


def recorded_text(ns: int) -> str:
    """Return a time of recording as it is stored."""
    if ns == ALWAYS_KNOWN:
        return _database.FIRST_TIME
    return f"{np.datetime64(ns // 1000, 'us')}+00:00"


def known_rows(rows: NDArray[np.void], known_at: int | None) -> NDArray[np.int64]:
    """Return the last version of each entry recorded by then, in order of the first versions."""
    index = np.arange(rows.size)
    if known_at is not None:
        index = index[rows["recorded_ns"] <= known_at]
    entries, last = np.unique(rows["entry"][index][::-1], return_index=True)
    if entries.size == rows.size:  # no versions: keep the file's order
        return index
    known, first = np.unique(rows["entry"], return_index=True)
    order = np.argsort(first[np.isin(known, entries)], kind="stable")
    result: NDArray[np.int64] = index[index.size - 1 - last[order]]
    return result
