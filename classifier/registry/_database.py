"""Registers in a database: one table, to which versions of rows are only ever added.

``registrations`` has the columns of the CSV as text, plus ``entry``, which versions of one row
share, and ``recorded_at``. What was known at a time is the last version of each entry that was
recorded by then, so an entry can be revoked or renewed without losing what was known before. A
table of one's own without these two columns can be read: each row is then an entry of its own,
known at any time.
"""

import contextlib
import datetime
import sqlite3
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from classifier.errors import RegistryError
from classifier.registry._fields import COLUMN_NAMES
from classifier.registry._parse import FIELD_LIMIT, Raw, binary_column

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Table

__all__ = ["append", "is_url", "name_of", "now", "open_for_writing", "read_database"]

TABLE = "registrations"
# A million short rows; SQLite refuses values beyond, so no expression can fill the memory.
_VALUE_LIMIT = 1 << 20
_ORIGIN = "write it with `registry import`"


def is_url(source: str) -> bool:
    """Return whether a source is an SQLAlchemy URL and not a path."""
    return "://" in source


def name_of(source: str) -> str:
    """Return what messages call a source; never with a password."""
    if not is_url(source):
        return Path(source).name
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(source).render_as_string(hide_password=True)
    except (ArgumentError, ValueError) as error:
        scheme = source.split("://")[0]
        raise RegistryError(
            "is not an SQLAlchemy URL", path=f"{scheme}://...", remedy="see docs/registry.md"
        ) from error


def now() -> str:
    """Return the time of recording as it is stored."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")


def _sqlite_path(source: str) -> Path | None:
    """Return the file behind a source, None where another server holds it."""
    if not is_url(source):
        return Path(source)
    from sqlalchemy.engine import make_url

    url = make_url(source)
    if url.get_backend_name() == "sqlite" and url.database and not url.query:
        return Path(url.database)
    return None


def _engine(source: str, *, write: bool) -> "Engine":
    """Return an engine; a SQLite file is opened so that its own schema can do no harm."""
    import sqlalchemy
    from sqlalchemy.pool import NullPool

    name = name_of(source)
    path = _sqlite_path(source)
    if path is None:
        try:
            return sqlalchemy.create_engine(source, poolclass=NullPool)
        except (sqlalchemy.exc.ArgumentError, ImportError) as error:
            remedy = "check the URL and install the driver that it names"
            raise RegistryError(str(error), path=name, remedy=remedy) from error
    if not write and not path.is_file():
        raise RegistryError("no such file", path=name, remedy=f"looked for it at {path}")

    def connect() -> sqlite3.Connection:
        mode = "rwc" if write else "ro"
        uri = f"file:{urllib.parse.quote(str(path.absolute()))}?mode={mode}"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _VALUE_LIMIT)
        connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
        connection.execute("PRAGMA trusted_schema=OFF")
        return connection

    return sqlalchemy.create_engine("sqlite://", creator=connect, poolclass=NullPool)


@contextlib.contextmanager
def _connected(source: str, *, write: bool) -> Iterator["Connection"]:
    """Connect; what the database says against it becomes a RegistryError."""
    from sqlalchemy.exc import SQLAlchemyError

    name = name_of(source)
    engine = _engine(source, write=write)
    try:
        with engine.connect() as connection:
            if write and engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")  # two imports at once take turns
            yield connection
            if write:
                connection.commit()
    except (SQLAlchemyError, sqlite3.Error, ImportError) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise RegistryError(f"the database says: {reason}", path=name, remedy=_ORIGIN) from error
    finally:
        engine.dispose()


@contextlib.contextmanager
def open_for_writing(source: str) -> Iterator["Connection"]:
    """Connect for one transaction, with the table in place."""
    with _connected(source, write=True) as connection:
        table = _table()
        table.metadata.create_all(connection)
        yield connection


def _table() -> "Table":
    """Return the table as this library creates it."""
    import sqlalchemy
    from sqlalchemy import Column, Integer, MetaData, Text

    return sqlalchemy.Table(
        TABLE,
        MetaData(),
        Column("row", Integer, primary_key=True),
        Column("entry", Integer, nullable=False),
        *(Column(name, Text, nullable=False) for name in COLUMN_NAMES),
        Column("recorded_at", Text, nullable=False),
    )


def append(
    connection: "Connection",
    entries: Sequence[int],
    rows: Sequence[Sequence[str]],
    recorded: Sequence[str],
) -> None:
    """Add versions of rows; ``rows`` hold the texts of ``COLUMN_NAMES``."""
    insert = _table().insert()
    for start in range(0, len(rows), 10_000):
        part = slice(start, start + 10_000)
        values = [
            {"entry": entry, "recorded_at": time, **dict(zip(COLUMN_NAMES, row, strict=True))}
            for entry, row, time in zip(entries[part], rows[part], recorded[part], strict=True)
        ]
        connection.execute(insert, values)


def read_database(source: str, connection: "Connection | None" = None) -> Raw:
    """Read all versions of all rows, the oldest first.

    Raises
    ------
    RegistryError
        If the database or its table cannot be used.
    """
    if connection is not None:
        return _read(name_of(source), connection)
    with _connected(source, write=False) as fresh:
        return _read(name_of(source), fresh)


def _read(name: str, connection: "Connection") -> Raw:
    import sqlalchemy

    if connection.dialect.name == "sqlite":
        _refuse_computed(name, connection)
    inspector = sqlalchemy.inspect(connection)
    if not inspector.has_table(TABLE):
        raise RegistryError(f"has no table {TABLE}", path=name, remedy=_ORIGIN)
    present = {column["name"] for column in inspector.get_columns(TABLE)}
    missing = [column for column in COLUMN_NAMES if column not in present]
    if missing:
        problem = f"the table {TABLE} lacks {', '.join(missing)}"
        raise RegistryError(problem, path=name, remedy=_ORIGIN)
    extra = [column for column in ("row", "entry", "recorded_at") if column in present]
    names = [*COLUMN_NAMES, *extra]
    table = sqlalchemy.table(TABLE, *(sqlalchemy.column(column) for column in names))
    query = sqlalchemy.select(*(table.c[column] for column in names))
    if "row" in present:
        query = query.order_by(table.c["row"])
    texts: list[list[bytes]] = [[] for _ in names]
    for batch in connection.execute(query).partitions(50_000):
        for column, values in zip(texts, zip(*batch, strict=True), strict=True):
            column.extend(map(_as_bytes, values))
    columns = dict(zip(names, map(binary_column, texts), strict=True))
    n = len(texts[0])
    entry = _numbers(name, texts[names.index("entry")]) if "entry" in extra else None
    lines = _numbers(name, texts[names.index("row")]) if "row" in extra else np.arange(1, n + 1)
    fields = {column: columns[column] for column in COLUMN_NAMES}
    return Raw(name, fields, lines, [], recorded=columns.get("recorded_at"), entry=entry)


def _refuse_computed(name: str, connection: "Connection") -> None:
    """Refuse views, virtual tables and computed columns: they run what the file's author wrote."""
    kind = f"SELECT type, sql FROM sqlite_master WHERE lower(name) = '{TABLE}'"
    found = connection.exec_driver_sql(kind).fetchall()
    columns = connection.exec_driver_sql(f"PRAGMA table_xinfo({TABLE})").fetchall()
    plain = all(
        row[0] == "table" and not str(row[1]).upper().startswith("CREATE VIRTUAL") for row in found
    )
    if not plain or any(column[6] for column in columns):
        raise RegistryError(f"{TABLE} is not a plain table", path=name, remedy=_ORIGIN)


def _as_bytes(value: Any) -> bytes:
    """Return a database value as the text that a CSV would hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")[: FIELD_LIMIT + 1]
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value[: FIELD_LIMIT + 1]
    return str(value).encode()


def _numbers(name: str, texts: list[bytes]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return a column of row or entry numbers."""
    try:
        return np.array([int(text) for text in texts], np.int64)
    except (ValueError, OverflowError) as error:
        raise RegistryError(
            "a row or entry number is no number", path=name, remedy=_ORIGIN
        ) from error
