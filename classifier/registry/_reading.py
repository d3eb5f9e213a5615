"""Reading registers from a database: versions of rows as columns of bytes, and the changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
        columns[key] = pa.array(_numbers(name, columns[key]))
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
        numbers: NDArray[np.int64] = pc.cast(texts, pa.int64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid as error:
        raise RegistryError(
            "a row or entry number is no number", path=name, remedy=ORIGIN
        ) from error
    return numbers
