"""NDJSON, CSV or Parquet -> flow rows, for files that ``writers`` or another version wrote."""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from classifier.errors import ClassifierError, ResourceError, must_be
from classifier.report._csv import unflat
from classifier.report.columns import SCHEMA
from classifier.tables import Strength, Verdict

__all__ = ["conform", "read_flows"]

# Columns of labels stand beside the flow columns and survive being read.
_LABEL_PREFIX = "label_"

# What a row holds in a column that its file does not have, where that is not 0, "" or [].
_DEFAULTS: dict[str, object] = {
    "parent_flow_id": -1,
    "application": "unknown",
    "service": "unknown",
    "verdict": "allow",
    "rule": "default",
}

# Columns whose values are words of ours.
_WORDS: dict[str, tuple[str, ...]] = {
    "verdict": tuple(verdict.label for verdict in Verdict),
    "strength": tuple(strength.label for strength in Strength),
}

# Bytes that Arrow parses at once; a line must fit.
_BLOCK_BYTES = 1 << 25

_Read = tuple[pa.Table, dict[str, Any], dict[str, int]]


def read_flows(path: str | os.PathLike[str]) -> _Read:
    """Read flow rows that ``write_flows`` wrote.

    Columns that are not known are ignored, except those of labels; columns that are missing are
    filled. CSV brings everything back but the evidence.

    Parameters
    ----------
    path : str or path
        ``.parquet``, ``.ndjson`` (also ``.jsonl``) or ``.csv``.

    Returns
    -------
    table : pyarrow.Table
        The flow columns, then those of labels.
    meta, accounting : dict
        Empty but from Parquet.

    Raises
    ------
    ResourceError
        If there is no such file, or its suffix is not known.
    ClassifierError
        If its content is damaged, or is not flow rows.
    """
    must_be("the place", path, (str, os.PathLike), "the path of a file", "open_run", none=False)
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ResourceError(
            "the suffix names no format of flow rows",
            path=str(path),
            remedy=f"open a file that ends in {', '.join(_READERS)}",
        )
    try:
        table, meta, accounting = reader(path)
        table = conform(table, str(path))
    except FileNotFoundError as error:
        remedy = "check the name"
        raise ResourceError("no such file", path=str(path), remedy=remedy) from error
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ClassifierError(
            f"cannot be read as flow rows ({reason})", path=str(path), remedy="write the run again"
        ) from error
    return table, meta, accounting


def conform(table: pa.Table, path: str = "") -> pa.Table:
    """Return a table with the flow columns, in order and typed, and then those of labels.

    Raises
    ------
    ClassifierError
        If the table does not have the endpoints of flows.
    pyarrow.ArrowException
        If a column cannot be turned into its type.
    ValueError
        If a verdict, strength or probability is none.
    """
    present = table.schema.names
    if "orig_ip" not in present or "resp_ip" not in present:
        remedy = "open what Run.write or replay --out wrote"
        raise ClassifierError("holds no flow rows", path=path, remedy=remedy)
    columns = []
    for field in SCHEMA:
        if field.name in present:
            column = table.column(present.index(field.name)).cast(field.type)
            columns.append(_filled(column, field))
        elif field.name == "flow_id":
            columns.append(pa.array(np.arange(table.num_rows)))
        else:
            value = pa.scalar(_default(field), field.type)
            columns.append(pa.repeat(value, table.num_rows))
    result = pa.Table.from_arrays(columns, schema=SCHEMA)
    for index, name in enumerate(present):
        if name.startswith(_LABEL_PREFIX):
            result = result.append_column(name, table.column(index))
    result.validate(full=True)  # neither JSON nor Parquet readers look whether texts are UTF-8
    _check_values(result)
    return result


def _check_values(table: pa.Table) -> None:
    """Raise ValueError where a column holds what no run writes."""
    for name, words in _WORDS.items():
        column = table.column(name)
        known = pc.is_in(column, value_set=pa.array(words))
        if not pc.all(known, min_count=0).as_py():
            wrong = column.filter(pc.invert(known))[0].as_py()
            raise ValueError(
                f"{name} is {wrong[:40]!r}, not one of {', '.join(filter(None, words))}"
            )
    probability = table.column("vpn_probability")
    within = pc.and_(pc.greater_equal(probability, 0.0), pc.less_equal(probability, 1.0))
    if not pc.all(within, min_count=0).as_py():
        wrong = probability.filter(pc.invert(within))[0].as_py()
        raise ValueError(f"vpn_probability is {wrong}, not 0 to 1")


def _default(field: pa.Field) -> object:
    if field.name in _DEFAULTS:
        return _DEFAULTS[field.name]
    if pa.types.is_list(field.type):
        return []
    if pa.types.is_string(field.type):
        return ""
    return False if pa.types.is_boolean(field.type) else 0


def _filled(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    return pc.fill_null(column, pa.scalar(_default(field), field.type))


def _read_parquet(path: Path) -> _Read:
    with path.open("rb") as stream, pyarrow.parquet.ParquetFile(stream) as file:
        stored = file.metadata.metadata or {}
        names = file.schema_arrow.names
        wanted = [n for n in names if n in SCHEMA.names or n.startswith(_LABEL_PREFIX)]
        table = file.read(columns=wanted, use_threads=False)
    accounting = _mapping(stored, b"classifier.accounting")
    counts = {k: n for k, n in accounting.items() if isinstance(n, int)}
    return table, _mapping(stored, b"classifier.meta"), counts


def _mapping(stored: dict[bytes, bytes], key: bytes) -> dict[str, Any]:
    try:
        value = json.loads(stored.get(key, b"{}"))
    except RecursionError as error:
        raise ValueError(f"{key.decode()} is nested too deeply") from error
    return value if isinstance(value, dict) else {}


def _read_ndjson(path: Path) -> _Read:
    data = path.read_bytes()
    if not data.strip():
        return SCHEMA.empty_table(), {}, {}
    table = pyarrow.json.read_json(
        io.BytesIO(data),
        read_options=pyarrow.json.ReadOptions(block_size=_BLOCK_BYTES),
        parse_options=pyarrow.json.ParseOptions(
            explicit_schema=SCHEMA, unexpected_field_behavior="ignore"
        ),
    )
    first = data[: data.find(b"\n") + 1 or None]
    if f'"{_LABEL_PREFIX}'.encode() in first:
        table = _with_labels(table, data)
    return _without_unnamed(table, first), {}, {}


def _without_unnamed(table: pa.Table, first: bytes) -> pa.Table:
    """Drop columns that Arrow adds as nulls because the schema names them."""
    absent = [n for n in table.schema.names if table.column(n).null_count == table.num_rows]
    return table.drop_columns([n for n in absent if f'"{n}"'.encode() not in first])


def _with_labels(table: pa.Table, data: bytes) -> pa.Table:
    """Append the columns of labels, whose types only the lines themselves tell."""
    try:
        rows = [json.loads(line) for line in data.splitlines() if line.strip()]
    except RecursionError as error:
        raise ValueError("a line is nested too deeply") from error
    for name in rows[0]:
        if not name.startswith(_LABEL_PREFIX):
            continue
        values = [row.get(name) for row in rows]
        if any(isinstance(value, bool) for value in values):
            column = pa.array([value if isinstance(value, bool) else None for value in values])
        else:
            column = pa.array(["" if value is None else str(value) for value in values])
        table = table.append_column(name, column)
    return table


def _read_csv(path: Path) -> _Read:
    types = {
        f.name: pa.string() if pa.types.is_list(f.type) or pa.types.is_string(f.type) else f.type
        for f in SCHEMA
    }
    with path.open("rb") as stream:
        table = pyarrow.csv.read_csv(
            stream,
            read_options=pyarrow.csv.ReadOptions(block_size=_BLOCK_BYTES),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(column_types=types, null_values=[""]),
        )
    return unflat(table, SCHEMA), {}, {}


_READERS = {
    ".parquet": _read_parquet,
    ".ndjson": _read_ndjson,
    ".jsonl": _read_ndjson,
    ".csv": _read_csv,
}
