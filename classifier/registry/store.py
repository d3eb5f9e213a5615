"""The register: opened from a file or a database, checked, saved, merged and compiled."""

import html
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from classifier.errors import RegistryError
from classifier.registry import _database, _files
from classifier.registry._fields import ALWAYS_KNOWN, COLUMN_NAMES, BadField, parse_time, shown
from classifier.registry._parse import Raw, Registrations, parse

if TYPE_CHECKING:
    from classifier.registry.stats import RegistryStats
    from classifier.registry.table import Table

__all__ = ["Imported", "Registry", "import_rows", "time_ns"]

_READERS: dict[str, Callable[[Path], Raw]] = {".csv": _files.read_csv, ".json": _files.read_json}
_SUFFIXES = "use a .csv, .json or .db file or an SQLAlchemy URL"
# Rows with the same of these are versions of one entry. What is left can change.
_KEY = ("hi", "lo", "from_ns", "port", "proto", "version", "length", "side")
_PREVIEW_ROWS = 10


def _read(source: str) -> Raw:
    """Read a source by its suffix."""
    if _database.is_url(source):
        return _database.read_database(source)
    suffix = Path(source).suffix.lower()
    if suffix == ".db":
        return _database.read_database(source)
    if suffix not in _READERS:
        raise RegistryError("is no register", path=Path(source).name, remedy=_SUFFIXES)
    return _READERS[suffix](Path(source))


class Registry:
    """Registrations of VPN addresses, as a file or a database holds them.

    Made by `Registry.open`; does not change. `compile` makes the table that looks addresses up.

    Attributes
    ----------
    name : str
        File name, or URL without its password.
    problems : tuple of RegistryError
        Rows that were left out (with ``skip_bad_rows``).
    """

    def __init__(self, name: str, registrations: Registrations) -> None:
        self.name = name
        self.problems = registrations.problems
        self._all = registrations
        self._current = registrations.take(_known(registrations.rows, None))

    @classmethod
    def open(
        cls, path_or_url: str | os.PathLike[str], *, skip_bad_rows: bool = False
    ) -> "Registry":
        """Open a register.

        Parameters
        ----------
        path_or_url : str or path
            A ``.csv``, ``.json`` or ``.db`` (SQLite) file, or an SQLAlchemy URL.
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
        source = os.fspath(path_or_url)
        return cls(_database.name_of(source), parse(_read(source), skip_bad_rows=skip_bad_rows))

    @property
    def rows(self) -> pa.Table:
        """The registrations as they stand now, a column of strings per field."""
        return self._current.text

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

    def save(
        self, path_or_url: str | os.PathLike[str], *, known_at: str | int | None = None
    ) -> None:
        """Write the register as ``.csv``, ``.json`` or ``.db``, by suffix.

        A file takes the place of one that is there, all at once. CSV and JSON hold the state at
        ``known_at`` (default: now); a ``.db`` holds every version, up to ``known_at`` if given.

        Parameters
        ----------
        path_or_url : str or path
        known_at : str or int, optional
            ISO 8601, or UTC nanoseconds since 1970.

        Raises
        ------
        RegistryError
            If it cannot be written.
        """
        path = Path(path_or_url)
        suffix = "" if _database.is_url(os.fspath(path_or_url)) else path.suffix.lower()
        if suffix == ".csv":
            _files.write_csv(self._state(known_at).text, path)
        elif suffix == ".json":
            _files.write_json(self._state(known_at).text, path)
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

    def _state(self, known_at: str | int | None) -> Registrations:
        if known_at is None:
            return self._current
        return self._all.take(_known(self._all.rows, time_ns(known_at, "known_at")))

    def _save_versions(self, path: Path, known_at: str | int | None) -> None:
        kept = self._all
        if known_at is not None:
            limit = time_ns(known_at, "known_at")
            kept = kept.take(np.flatnonzero(kept.rows["recorded_ns"] <= limit))
        recorded = [_time_text(int(ns)) for ns in kept.rows["recorded_ns"]]
        with (
            _files.replacing(path) as temporary,
            _database.open_for_writing(str(temporary)) as connection,
        ):
            _database.append(connection, kept.rows["entry"].tolist(), _texts(kept), recorded)

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


def time_ns(time: str | int, what: str) -> int:
    """Return a time given as ISO 8601 or as nanoseconds; a wrong one is a RegistryError."""
    if not isinstance(time, str):
        return int(time)
    try:
        return parse_time(time)
    except BadField as error:
        raise RegistryError(error.problem, path=what, remedy=error.remedy) from None


def _time_text(ns: int) -> str:
    if ns == ALWAYS_KNOWN:
        return "0001-01-01"
    return f"{np.datetime64(ns // 1000, 'us')}+00:00"


def _known(rows: NDArray[np.void], known_at: int | None) -> NDArray[np.int64]:
    """Return the last version of each entry recorded by then, in order of the first versions."""
    index = np.arange(rows.size)
    if known_at is not None:
        index = index[rows["recorded_ns"] <= known_at]
    entries, last = np.unique(rows["entry"][index][::-1], return_index=True)
    if entries.size == rows.size:  # no versions: keep the file's order
        return index
    _, first = np.unique(rows["entry"], return_index=True)
    order = np.argsort(first[np.isin(np.unique(rows["entry"]), entries)], kind="stable")
    result: NDArray[np.int64] = index[index.size - 1 - last[order]]
    return result


def _texts(registrations: Registrations) -> list[tuple[str, ...]]:
    columns = [registrations.text.column(name).to_pylist() for name in COLUMN_NAMES]
    return list(zip(*columns, strict=True))


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did: rows that were new, changed, and already there; and those left out."""

    added: int
    changed: int
    unchanged: int
    problems: tuple[RegistryError, ...]


def import_rows(
    sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    into: str | os.PathLike[str],
    *,
    skip_bad_rows: bool = False,
    recorded_at: str | None = None,
) -> Imported:
    """Merge registers into a database, in one transaction; a second time changes nothing.

    Rows are the same entry where registration_id, prefix, side, proto, port and valid_from are; if
    another field differs, a new version of the entry is recorded. Entries that a source lacks stay.

    Parameters
    ----------
    sources : str or path, or iterable of them
        What `Registry.open` opens.
    into : str or path
        A ``.db`` file, made where there is none, or an SQLAlchemy URL.
    skip_bad_rows : bool
        Leave bad rows out instead of stopping before anything is written.
    recorded_at : str, optional
        ISO 8601 time of recording; default: the clock.

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
    time = (
        _database.now() if recorded_at is None else _time_text(time_ns(recorded_at, "recorded_at"))
    )
    opened = [Registry.open(source, skip_bad_rows=skip_bad_rows) for source in sources]
    counts: Counter[str] = Counter()
    with _database.open_for_writing(target) as connection:
        stored = parse(_database.read_database(target, connection), skip_bad_rows=False)
        known, next_entry = _entries(stored)
        for registry in opened:
            next_entry = _merge(connection, registry, known, next_entry, time, counts)
    problems = tuple(problem for registry in opened for problem in registry.problems)
    return Imported(counts["added"], counts["changed"], counts["unchanged"], problems)


_Known = dict[tuple[Any, ...], tuple[int, tuple[Any, ...]]]


def _keyed(rows: Registrations) -> Iterable[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """Yield each row's key, with a number where a key comes twice, and what else it says."""
    seen: Counter[tuple[Any, ...]] = Counter()
    numbers = [rows.rows[name].tolist() for name in _KEY]
    ids, holders, categories = (
        rows.text.column(name).to_pylist()
        for name in ("registration_id", "organisation", "category")
    )
    rest = zip(
        holders, categories, rows.rows["to_ns"].tolist(), rows.rows["status"].tolist(), strict=True
    )
    for key, said in zip(zip(ids, *numbers, strict=True), rest, strict=True):
        yield (*key, seen[key]), said
        seen[key] += 1


def _entries(stored: Registrations) -> tuple[_Known, int]:
    """Return the entries of a database by key, and the next free number."""
    current = stored.take(_known(stored.rows, None))
    entries = current.rows["entry"].tolist()
    known = {
        key: (entry, said) for (key, said), entry in zip(_keyed(current), entries, strict=True)
    }
    return known, int(stored.rows["entry"].max(initial=0)) + 1


def _merge(
    connection: Any,
    registry: Registry,
    known: _Known,
    next_entry: int,
    time: str,
    counts: "Counter[str]",
) -> int:
    """Record what a register has that the database has not; return the next free entry number."""
    state = registry._current
    index: list[int] = []
    entries: list[int] = []
    for row, (key, said) in enumerate(_keyed(state)):
        entry, before = known.get(key, (next_entry, None))
        if before == said:
            counts["unchanged"] += 1
            continue
        counts["added" if before is None else "changed"] += 1
        next_entry += before is None
        known[key] = entry, said
        index.append(row)
        entries.append(entry)
    changed = state.take(np.array(index, np.int64))
    _database.append(connection, entries, _texts(changed), [time] * len(entries))
    return next_entry
