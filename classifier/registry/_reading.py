"""Reading registers from a database: versions of rows as columns of bytes, and the changes.

How this works: SQLite joins the texts of a column itself, hundreds of rows at a time, with a separator
that no field may hold; Python then makes one object of hundreds of fields instead of one of each, and
a million rows are opened in less than half the time. Whatever is unusual (other databases, a separator in a
field, fields that are too long, rows in another order) is read row by row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from classifier.errors import RegistryError
from classifier.registry._chain import CHANGE_COLUMNS
from classifier.registry._database import (
    BATCH,
    CHANGES,
    ORIGIN,
    TABLE,
    columns_of,
    connected,
    name_of,
)
from classifier.registry._fields import COLUMN_NAMES, DETAIL_NAMES
from classifier.registry._parse import FIELD_LIMIT, Raw, binary_column

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Stored", "read_database"]

#: Rows whose texts SQLite joins, so few that the longest ones are less than it lets a value be (1 MiB),
#: and what it puts between them: a control character.
_JOINED, _SEPARATOR = 250, 0x1F
_ROWIDS = np.iinfo(np.int64)
_NO_NUMBERS = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Stored:
    """A register as a database holds it.

    Attributes
    ----------
    raw : Raw
        All versions of all rows, the oldest first; ``lines`` are the row numbers.
    change : ndarray of int64, shape (n_rows,), optional
        The change that wrote each row; None in a table of one's own.
    changes : pyarrow.Table, optional
        The columns of ``changes`` in order of their numbers.
    """

    raw: Raw
    change: NDArray[np.int64] | None = None
    changes: pa.Table | None = None


def read_database(
    source: str, connection: "Connection | None" = None, *, registration_id: str | None = None
) -> Stored:
    """Read all versions of all rows, the oldest first; of one registration without the changes.

    Raises
    ------
    RegistryError
        If the database or its table cannot be used.
    """
    if connection is not None:
        return _read(name_of(source), connection, registration_id)
    with connected(source) as fresh:
        # Rows and changes of one moment.
        if fresh.dialect.name == "sqlite":
            fresh.exec_driver_sql("BEGIN")
        elif fresh.dialect.name in ("postgresql", "mysql", "mariadb"):
            fresh.execution_options(isolation_level="REPEATABLE READ")
        return _read(name_of(source), fresh, registration_id)


def _read(name: str, connection: "Connection", registration_id: str | None) -> Stored:

    if connection.dialect.name == "sqlite":
        _refuse_computed(name, connection)
    present = columns_of(connection, TABLE)
    if not present:
        raise RegistryError(f"has no table {TABLE}", path=name, remedy=ORIGIN)
    missing = [column for column in COLUMN_NAMES if column not in present]
    if missing:
        problem = f"the table {TABLE} lacks {', '.join(missing)}"
        raise RegistryError(problem, path=name, remedy=ORIGIN)
    extra = [
        column
        for column in ("row", "entry", "change", "recorded_at", *DETAIL_NAMES)
        if column in present
    ]
    names = [*COLUMN_NAMES, *extra]
    order = "row" if "row" in present else None
    columns = _columns(connection, TABLE, names, order, registration_id)
    n = len(columns[COLUMN_NAMES[0]])
    numbers = {
        key: _numbers(name, columns[key]) for key in ("row", "entry", "change") if key in columns
    }
    lines = numbers.get("row", np.arange(1, n + 1))
    raw = Raw(
        name,
        {key: columns[key] for key in COLUMN_NAMES},
        lines,
        [],
        recorded=columns.get("recorded_at"),
        entry=numbers.get("entry"),
        details={key: columns[key] for key in DETAIL_NAMES if key in columns},
    )
    written = columns_of(connection, CHANGES) if registration_id is None else []
    if "change" not in numbers or not written:
        return Stored(raw)
    return Stored(raw, numbers["change"], _read_changes(name, connection, written))


def _read_changes(name: str, connection: "Connection", present: Sequence[str]) -> pa.Table:
    names = ["change", *CHANGE_COLUMNS, "digest"]
    missing = [column for column in names if column not in present]
    if missing:
        problem = f"the table {CHANGES} lacks {', '.join(missing)}"
        raise RegistryError(problem, path=name, remedy=ORIGIN)
    columns: dict[str, Any] = dict(_columns(connection, CHANGES, names, "change", None))
    for key in ("change", "n_rows"):
        numbers = _numbers(name, columns[key])
        columns[key] = pa.Array.from_buffers(
            pa.int64(), numbers.size, [None, pa.py_buffer(numbers)]
        )
    try:
        texts = {
            key: column if pa.types.is_integer(column.type) else column.cast(pa.string())
            for key, column in columns.items()
        }
    except pa.ArrowInvalid as error:
        problem = f"the table {CHANGES} holds what is not UTF-8"
        raise RegistryError(problem, path=name, remedy=ORIGIN) from error
    return pa.table(texts)


def _columns(
    connection: "Connection",
    table: str,
    names: Sequence[str],
    order: str | None,
    registration_id: str | None,
) -> dict[str, pa.BinaryArray]:
    """Read columns as bytes."""
    joined = None
    if registration_id is None and connection.dialect.name == "sqlite":
        joined = _joined_columns(connection, table, names, order)
    return joined or _columns_by_row(connection, table, names, order, registration_id)


def _joined_columns(
    connection: "Connection", table: str, names: Sequence[str], order: str | None
) -> dict[str, pa.BinaryArray] | None:
    """Read columns of a SQLite table in order of its rows; None if that has to be done row by row.

    ``order`` names the column that is to number the rows.
    """
    from sqlalchemy.exc import DatabaseError

    joined = f"CAST(group_concat(coalesce({{}}, ''), x'{_SEPARATOR:02X}') AS BLOB)".format
    fields = ", ".join(joined(f'"{column}"') for column in names)
    group = f"SELECT {joined('rowid')}, {fields} FROM {table} WHERE rowid BETWEEN ? AND ?"
    last = f"SELECT rowid FROM {table} WHERE rowid >= ? ORDER BY rowid LIMIT 1 OFFSET {_JOINED - 1}"
    parts: list[list[bytes]] = [[] for _ in ("rowid", *names)]
    begin, end = _ROWIDS.min, None
    try:
        encoding = connection.exec_driver_sql("PRAGMA encoding").scalar()
        if encoding != "UTF-8" or "rowid" in map(str.lower, columns_of(connection, table)):
            return None
        while end != _ROWIDS.max:
            end = connection.exec_driver_sql(last, (begin,)).scalar()
            end = _ROWIDS.max if end is None else end
            found = connection.exec_driver_sql(group, (begin, end)).one()
            for part, texts in zip(parts, found if found[0] is not None else (), strict=False):
                part.append(texts)
            begin = end + 1
    except DatabaseError:  # a table without row numbers, or more than a value can hold
        return None
    columns: list[pa.BinaryArray] = []
    for _ in range(len(parts)):
        column = _separated(parts.pop(0))  # what is no longer needed takes no memory
        if column is None or (columns and len(column) != len(columns[0])):
            return None
        columns.append(column)
    rows, result = columns[0], dict(zip(names, columns[1:], strict=True))
    numbers = _numbers(table, rows)
    in_order = bool(np.all(numbers[1:] > numbers[:-1]))
    return result if in_order and (order is None or result[order].equals(rows)) else None


def _separated(parts: list[bytes]) -> pa.BinaryArray | None:
    """Return the fields of joined texts, None if one is too long, or all are."""
    if not parts:
        return binary_column([])
    data = np.frombuffer(bytes([_SEPARATOR]).join(parts), np.uint8)
    between = data == _SEPARATOR
    ends = np.flatnonzero(between)
    if data.size > np.iinfo(np.int32).max:
        return None
    offsets = np.zeros(ends.size + 2, np.int32)
    offsets[1:-1] = ends - np.arange(ends.size)
    offsets[-1] = data.size - ends.size
    if np.diff(offsets).max() > FIELD_LIMIT:
        return None
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data[~between])]
    column: Any = pa.Array.from_buffers(pa.binary(), offsets.size - 1, buffers)
    return cast("pa.BinaryArray", column)


def _columns_by_row(
    connection: "Connection",
    table: str,
    names: Sequence[str],
    order: str | None,
    registration_id: str | None,
) -> dict[str, pa.BinaryArray]:
    """Read columns as bytes, cut behind the longest field that may be."""
    import sqlalchemy

    home = sqlalchemy.table(table, *(sqlalchemy.column(column) for column in names))
    fields: list[Any] = [home.c[column] for column in names]
    if connection.dialect.name == "sqlite":  # cut before they are read, and no text made of them
        blobs = [sqlalchemy.cast(field, sqlalchemy.LargeBinary) for field in fields]
        fields = [sqlalchemy.func.substr(blob, 1, FIELD_LIMIT + 1) for blob in blobs]
    query = sqlalchemy.select(*fields)
    if registration_id is not None:
        query = query.where(home.c["registration_id"] == registration_id)
    if order is not None:
        query = query.order_by(home.c[order])
    parts: list[list[pa.BinaryArray]] = [[] for _ in names]
    for batch in connection.execute(query).partitions(BATCH):
        for part, values in zip(parts, zip(*batch, strict=True), strict=True):
            part.append(_binary(values))
    return {
        column: pa.concat_arrays(part) if part else binary_column([])
        for column, part in zip(names, parts, strict=True)
    }


def _binary(values: tuple[Any, ...]) -> pa.BinaryArray:
    try:
        return pc.fill_null(pa.array(values, pa.binary()), b"")  # SQLite cuts nothing to NULL
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return binary_column([_as_bytes(value) for value in values])


def _refuse_computed(name: str, connection: "Connection") -> None:
    """Refuse views, virtual tables and computed columns: they run what the file's author wrote."""
    for table in (TABLE, CHANGES):
        kind = f"SELECT type, sql FROM sqlite_master WHERE lower(name) = '{table}'"
        found = connection.exec_driver_sql(kind).fetchall()
        columns = connection.exec_driver_sql(f"PRAGMA table_xinfo({table})").fetchall()
        plain = all(
            row[0] == "table" and not str(row[1]).upper().startswith("CREATE VIRTUAL")
            for row in found
        )
        if not plain or any(column[6] for column in columns):
            raise RegistryError(f"{table} is not a plain table", path=name, remedy=ORIGIN)


def _as_bytes(value: Any) -> bytes:
    """Return a database value as the text that a CSV would hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")[: FIELD_LIMIT + 1]
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value[: FIELD_LIMIT + 1]
    return str(value).encode()


def _numbers(name: str, column: pa.BinaryArray) -> NDArray[np.int64]:
    """Return a column of row, entry or change numbers."""
    try:
        texts: Any = column.cast(pa.string())
        numbers: Any = pc.cast(texts, pa.int64())
    except pa.ArrowInvalid as error:
        raise RegistryError(
            "a row or entry number is no number", path=name, remedy=ORIGIN
        ) from error
    # Not Arrow's to_numpy, which imports pandas: 0.15 s.
    data = numbers.buffers()[1]
    return np.frombuffer(data, np.int64, len(numbers), 8 * numbers.offset) if data else _NO_NUMBERS
