"""Columns of text, from whatever file -> registrations as numbers, and what is wrong with the rest.

How this works: a reader hands over one binary column per field and the line of each row. Prefixes
go through a kernel, all other fields through a dictionary of their distinct texts, so that Python
judges each text once. Both only mark rows as bad; what is wrong with a bad row is worked out for
that row alone, field by field, by the same functions.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from classifier.errors import RegistryError
from classifier.registry._fields import (
    ALWAYS_KNOWN,
    COLUMN_NAMES,
    DETAIL_NAMES,
    OPEN_END,
    ROW,
    BadField,
    check_row,
    has_ports,
    parse_flags,
    parse_port,
    parse_prefix,
    parse_proto,
    parse_side,
    parse_status,
    parse_time,
)
from classifier.registry._text_kernels import read_prefixes

__all__ = ["FIELD_LIMIT", "PROBLEM_LIMIT", "Raw", "Registrations", "binary_column", "parse"]

#: Most bytes of one field.
FIELD_LIMIT = 4096

#: Most problems that are kept; the last one then says how many more there are.
PROBLEM_LIMIT = 10_000

_PARSERS: dict[str, Callable[[str], int]] = {
    "side": parse_side,
    "proto": parse_proto,
    "port": parse_port,
    "valid_from": parse_time,
    "valid_to": lambda text: OPEN_END if not text.strip() else parse_time(text),
    "status": parse_status,
}
_TARGETS = {"valid_from": "from_ns", "valid_to": "to_ns"}


@dataclass(frozen=True, slots=True)
class Raw:
    """A register as a reader found it.

    Attributes
    ----------
    path : str
        What messages call it.
    columns : dict of str to pyarrow.BinaryArray
        One per name in ``COLUMN_NAMES``, without nulls, offset 0.
    lines : ndarray of int64, shape (n_rows,)
        Where each row is: line of a text file, row of a database.
    problems : list of (line, RegistryError)
        Rows that the reader could not split; they are in no column.
    uncounted : int
        How many more of those there are.
    recorded : pyarrow.BinaryArray, optional
        When each row was recorded.
    entry : ndarray of int64, shape (n_rows,), optional
        Which rows are versions of the same one.
    details : dict of str to pyarrow.BinaryArray
        Those of ``DETAIL_NAMES`` that the source has.
    """

    path: str
    columns: dict[str, pa.BinaryArray]
    lines: NDArray[np.int64]
    problems: list[tuple[int, RegistryError]]
    uncounted: int = 0
    recorded: pa.BinaryArray | None = None
    entry: NDArray[np.int64] | None = None
    details: dict[str, pa.BinaryArray] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Registrations:
    """Rows of a register, as numbers and as they were written.

    Attributes
    ----------
    rows : ndarray of ROW, shape (n_rows,)
    text : pyarrow.Table
        The columns ``COLUMN_NAMES`` as strings.
    problems : tuple of RegistryError
        Rows that were left out.
    details : pyarrow.Table
        The columns ``DETAIL_NAMES`` as strings; those that the source lacks are empty.
    lines : ndarray of int64, shape (n_rows,)
        Where each row stood in its source.
    """

    rows: NDArray[np.void]
    text: pa.Table
    problems: tuple[RegistryError, ...] = ()
    details: pa.Table = None
    lines: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        """Fill what a maker of rows alone leaves out."""
        n = self.rows.size
        if self.details is None:
            blank = _blank(n).cast(pa.string())
            names = list(DETAIL_NAMES)
            object.__setattr__(self, "details", pa.table([blank for _ in names], names=names))
        if self.lines.size != n:
            object.__setattr__(self, "lines", np.arange(1, n + 1))

    def take(self, index: NDArray[np.int64]) -> "Registrations":
        """Return some of the rows."""
        if np.array_equal(index, np.arange(self.rows.size)):
            return Registrations(self.rows, self.text, (), self.details, self.lines)
        return Registrations(
            self.rows[index],
            self.text.take(index).combine_chunks(),
            (),
            self.details.take(index).combine_chunks(),
            self.lines[index],
        )


def binary_column(texts: list[bytes]) -> pa.BinaryArray:
    """Return texts as a column whose offsets begin at 0."""
    return pa.array(texts, pa.binary())


def _blank(n: int) -> pa.BinaryArray:
    """Return a column of empty texts."""
    column: Any = pa.Array.from_buffers(
        pa.binary(), n, [None, pa.py_buffer(bytes(4 * (n + 1))), pa.py_buffer(b"")]
    )
    return cast("pa.BinaryArray", column)


def _bytes_of(column: pa.BinaryArray) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Return a column's bytes and offsets, read-only."""
    buffers: list[Any] = column.buffers()
    _, offsets, data = buffers
    size = len(column) + 1
    bounds = np.frombuffer(offsets, np.int32, size) if len(column) else np.zeros(1, np.int32)
    content = np.frombuffer(data, np.uint8) if data and data.size else np.zeros(1, np.uint8)
    bounds.flags.writeable = False
    content.flags.writeable = False
    return content, bounds


def codes_of(encoded: pa.DictionaryArray) -> NDArray[np.int32]:
    """Return which word of a dictionary each row has; Arrow's ``to_numpy`` imports pandas, 0.15 s."""
    codes: Any = encoded.indices
    if not len(codes):
        return np.zeros(0, np.int32)
    return np.frombuffer(codes.buffers()[1], np.int32, len(codes), 4 * codes.offset)


def parse(raw: Raw, *, skip_bad_rows: bool) -> Registrations:
    """Check and convert all rows.

    Raises
    ------
    RegistryError
        For the first bad row, unless ``skip_bad_rows``.
    """
    n = raw.lines.size
    rows = np.zeros(n, ROW)
    bad = np.zeros(n, bool)
    for column in (*raw.columns.values(), *raw.details.values()):
        _check_bytes(column, bad)
    if "flags" in raw.details:
        _distinct(raw.details["flags"], parse_flags, bad)
    _prefixes(raw.columns["prefix"], rows, bad)
    for name, parser in _PARSERS.items():
        rows[_TARGETS.get(name, name)] = _distinct(raw.columns[name], parser, bad)
    rows["recorded_ns"] = ALWAYS_KNOWN
    if raw.recorded is not None:
        rows["recorded_ns"] = _distinct(raw.recorded, parse_time, bad)
    rows["entry"] = np.arange(n) if raw.entry is None else raw.entry
    sizes = np.diff(_bytes_of(raw.columns["registration_id"])[1])
    bad |= (sizes == 0) | (rows["to_ns"] <= rows["from_ns"])
    bad |= (rows["port"] > 0) & ~has_ports(rows["proto"])
    problems = _collect(raw, np.flatnonzero(bad), skip_bad_rows)
    columns: list[Any] = [raw.columns[name] for name in COLUMN_NAMES]
    blank = _blank(n)
    columns += [raw.details.get(name, blank) for name in DETAIL_NAMES]
    lines = raw.lines
    if bad.any():
        good = np.flatnonzero(~bad)
        rows, lines = rows[good], lines[good]
        columns = [column.take(good) for column in columns]
    names = [*COLUMN_NAMES, *DETAIL_NAMES]
    both = pa.table([column.cast(pa.string()) for column in columns], names=names)
    text, details = both.select(list(COLUMN_NAMES)), both.select(list(DETAIL_NAMES))
    return Registrations(rows, text, problems, details, lines)


def _collect(raw: Raw, bad: NDArray[np.int64], skip: bool) -> tuple[RegistryError, ...]:
    """Explain the bad rows in file order; raise for the first unless they are skipped."""
    total = bad.size + len(raw.problems) + raw.uncounted
    if not total:
        return ()
    kept = bad[: PROBLEM_LIMIT if skip else 1]
    found = [(int(raw.lines[row]), _explain(raw, int(row))) for row in kept]
    found = sorted([*raw.problems, *found], key=lambda item: item[0])[:PROBLEM_LIMIT]
    errors = [error for _, error in found]
    if not skip:
        first = errors[0]
        if total > 1:
            rows = "row is" if total == 2 else "rows are"
            more = f"({total - 1} more {rows} bad; skip_bad_rows=True, as a command --skip-bad-rows, loads the rest)"
            first.remedy = f"{first.remedy} {more}"
        raise first
    if total > len(errors):
        left = f"{total - len(errors)} more rows are bad"
        errors.append(RegistryError(left, path=raw.path, remedy="mend those above first"))
    return tuple(errors)


def _check_bytes(column: pa.BinaryArray, bad: NDArray[np.bool_]) -> None:
    """Mark fields that are too long, hold control characters or are no UTF-8."""
    data, offsets = _bytes_of(column)
    bad |= np.diff(offsets) > FIELD_LIMIT
    control = (data < 0x20) | (data == 0x7F)  # C0 and DEL
    high = data >= 0x80
    if data.size and high.any():
        control[:-1] |= (data[:-1] == 0xC2) & (data[1:] >= 0x80) & (data[1:] < 0xA0)  # C1
    places = np.flatnonzero(control)
    bad[np.searchsorted(offsets, places[places < offsets[-1]], "right") - 1] = True
    if not high.any():
        return
    try:
        column.cast(pa.string())
    except pa.ArrowInvalid:
        for row in range(len(column)):
            try:
                column[row].as_py().decode()
            except UnicodeDecodeError:
                bad[row] = True


def _prefixes(column: pa.BinaryArray, rows: NDArray[np.void], bad: NDArray[np.bool_]) -> None:
    """Fill version, hi, lo and length."""
    n = rows.size
    version, length = np.zeros(n, np.uint8), np.zeros(n, np.uint8)
    hi, lo = np.zeros(n, np.uint64), np.zeros(n, np.uint64)
    read_prefixes(*_bytes_of(column), version, hi, lo, length)
    for row in np.flatnonzero((version == 0) & ~bad):
        try:
            prefix = parse_prefix(column[int(row)].as_py().decode())
            version[row], hi[row], lo[row], length[row] = prefix
        except BadField:
            bad[row] = True
    rows["version"], rows["hi"], rows["lo"], rows["length"] = version, hi, lo, length


def _distinct(
    column: pa.BinaryArray, parser: Callable[[str], int], bad: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return the value of each row's text, each distinct text parsed once; mark the bad."""
    encoded: Any = column.dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    values = np.zeros(max(len(texts), 1), np.int64)
    wrong = np.zeros(values.size, bool)
    for i, text in enumerate(texts):
        try:
            values[i] = parser(text.decode("utf-8", "replace"))
        except BadField:
            wrong[i] = True
    index = codes_of(encoded)
    bad |= wrong[index]
    result: NDArray[np.int64] = values[index]
    return result


def _explain(raw: Raw, row: int) -> RegistryError:
    """Say what is wrong with a bad row: its first bad field."""
    try:
        _judge(raw, row)
    except BadField as error:
        line = int(raw.lines[row])
        return RegistryError(error.problem, path=raw.path, line=line, remedy=error.remedy)
    raise AssertionError(f"row {row} was marked as bad for no reason")


def _judge(raw: Raw, row: int) -> None:
    """Raise `BadField` for what is wrong with a row."""
    texts: dict[str, str] = {}
    for name, column in (raw.columns | raw.details).items():
        content: bytes = column[row].as_py()
        if len(content) > FIELD_LIMIT:
            raise BadField(f"{name} has {len(content):,} bytes", f"fields end at {FIELD_LIMIT:,}")
        try:
            texts[name] = content.decode()
        except UnicodeDecodeError:
            raise BadField(f"{name} is not UTF-8", "save the file as UTF-8") from None
        controls = [c for c in texts[name] if ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0]
        if controls:
            raise BadField(f"{name} holds the control character {controls[0]!r}", "remove it")
    if not texts["registration_id"]:
        raise BadField("registration_id is empty", "give each registration a name")
    parse_flags(texts.get("flags", ""))
    parse_prefix(texts["prefix"])
    values = {name: _named(name, parser, texts[name]) for name, parser in _PARSERS.items()}
    if raw.recorded is not None:
        _named("recorded_at", parse_time, raw.recorded[row].as_py().decode("utf-8", "replace"))
    times = texts["valid_from"], texts["valid_to"]
    check_row(values["port"], values["proto"], values["valid_from"], values["valid_to"], times)


def _named(name: str, parser: Callable[[str], int], text: str) -> int:
    """Parse a field; an empty one is called by its column."""
    if not text.strip() and name != "valid_to":
        try:
            parser("")
        except BadField as error:
            raise BadField(f"{name} is empty", error.remedy) from None
    try:
        return parser(text)
    except BadField as error:
        if name.startswith(("valid", "recorded")):
            raise BadField(f"{name} {error.problem}", error.remedy) from None
        raise
