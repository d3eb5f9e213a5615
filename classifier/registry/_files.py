"""Registers as CSV and JSON files: reading them into columns, and writing them."""

import contextlib
import csv
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from classifier._jit import spend
from classifier.errors import RegistryError
from classifier.registry import _text_kernels
from classifier.registry._fields import COLUMN_NAMES, FILE_DETAILS, FREE_TEXT, shown
from classifier.registry._parse import FIELD_LIMIT, PROBLEM_LIMIT, Raw, binary_column

__all__ = [
    "csv_to",
    "json_to",
    "read_csv",
    "read_json",
    "replacing",
    "write_csv",
    "write_json",
]

# Above this a file is not read, so that its size bounds the memory it takes. A register of a
# million rows has about 100 MB.
_CSV_LIMIT = 256 << 20
_JSON_LIMIT = 64 << 20  # objects take more room than the text they are written in
_HEADER_LIMIT = 64 << 10
_ROWS_OF_WORK = 10  # rows that take as long in plain Python as a packet
_COLUMNS_TEXT = ",".join(COLUMN_NAMES)
_ALL_NAMES = (*COLUMN_NAMES, *FILE_DETAILS)
_GUARDED_COLUMNS = (*FREE_TEXT, *FILE_DETAILS)

# A spreadsheet runs text that begins so as a formula (OWASP, "CSV Injection"). It is written with
# an apostrophe in front, which reading takes away again.
_FORMULA = re.compile(r"'*[=+\-@]")
_GUARDED = rb"^'('*[=+\-@])"


def _read(path: Path, limit: int) -> bytes:
    """Return a file's bytes."""
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(limit + 1)
        else:
            with path.open("rb") as file:
                data = file.read(limit + 1)
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        raise RegistryError(reason, path=path.name, remedy=f"looked for it at {path}") from error
    if len(data) > limit:
        megabytes = limit >> 20
        raise RegistryError(
            f"is larger than {megabytes} MiB",
            path=path.name,
            remedy="import it into a .db in parts",
        )
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise RegistryError("is UTF-16", path=path.name, remedy="save it as UTF-8")
    return data


def read_csv(path: Path) -> Raw:
    """Split a CSV register into columns.

    Raises
    ------
    RegistryError
        If there is no such file or its header cannot be used.
    """
    data = _read(path, _CSV_LIMIT)
    first = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    names, first, line = _header(data, first, path.name)
    content = np.frombuffer(data, np.uint8)
    present = [name for name in _ALL_NAMES if name in names]
    slots = [present.index(name) if name in present else -1 for name in names]
    slot_of = np.array(slots, np.int64)
    slot_of.flags.writeable = False
    fields = _split_unquoted(content, first, line, slot_of) or _split(content, first, line, slot_of)
    out, starts, stops, lines, n_bad, bad = fields
    spend(lines.size // _ROWS_OF_WORK)
    columns = {name: _column(out, starts[:, k], stops[:, k]) for k, name in enumerate(present)}
    for name in _GUARDED_COLUMNS:
        if name in columns:
            columns[name] = _unguarded(columns[name])
    details = {name: columns.pop(name) for name in FILE_DETAILS if name in columns}
    kept = min(n_bad, PROBLEM_LIMIT)
    problems = [
        (int(at), _row_problem(int(kind), int(fields), len(names), path.name, int(at)))
        for at, kind, fields in zip(*(part[:kept] for part in bad), strict=True)
    ]
    return Raw(path.name, columns, lines.astype(np.int64), problems, n_bad - kept, details=details)


class _Fields(NamedTuple):
    """``out[starts:stops]`` are the fields, shape (rows, columns); ``lines`` of the rows."""

    out: NDArray[np.uint8]
    starts: NDArray[np.integer[Any]]
    stops: NDArray[np.integer[Any]]
    lines: NDArray[np.integer[Any]]
    n_bad: int
    bad: list[NDArray[np.int32]]  # line, kind and fields of the first bad rows


def _split(
    content: NDArray[np.uint8], first: int, line: int, slot_of: NDArray[np.int64]
) -> _Fields:
    """Split any rows: quoted fields, any line ends, wrong rows."""
    capacity = int(np.count_nonzero(content == ord(","))) // (slot_of.size - 1) + 1
    spend(capacity // _ROWS_OF_WORK)
    out = np.empty(content.size, np.uint8)
    n_slots = int(slot_of.max()) + 1
    starts, stops = (np.zeros((capacity, n_slots), np.int32) for _ in range(2))
    lines = np.zeros(capacity, np.int32)
    bad = [np.zeros(PROBLEM_LIMIT, np.int32) for _ in range(3)]
    n, n_bad = _text_kernels.split_rows(
        content, first, line, slot_of, out, starts, stops, lines, *bad
    )
    return _Fields(out, starts[:n], stops[:n], lines[:n], n_bad, bad)


def _split_unquoted(
    content: NDArray[np.uint8], first: int, line: int, slot_of: NDArray[np.int64]
) -> _Fields | None:
    """Split rows that hold no quote and no CR and all have their fields; None for any others.

    A register of 20,000 rows takes 20 ms, and compiles nothing.
    """
    body = content[first:]
    if (body == ord('"')).any() or (body == ord("\r")).any():
        return None
    ends = np.append(np.flatnonzero(body == ord("\n")), body.size)
    begins = np.append(0, ends[:-1] + 1)
    lines = line + np.arange(ends.size)
    filled = ends > begins
    begins, ends, lines = begins[filled], ends[filled], lines[filled]
    commas = np.flatnonzero(body == ord(","))
    n_commas = np.searchsorted(commas, ends) - np.searchsorted(commas, begins)
    if not begins.size or (n_commas != slot_of.size - 1).any():
        return None
    between = commas.reshape(begins.size, slot_of.size - 1)
    starts = np.column_stack([begins, between + 1])
    stops = np.column_stack([between, ends])
    wanted = np.argsort(slot_of, kind="stable")[np.count_nonzero(slot_of < 0) :]
    return _Fields(body, starts[:, wanted], stops[:, wanted], lines, 0, [])


def _header(data: bytes, first: int, path: str) -> tuple[list[str], int, int]:
    """Return the column names, where the rows begin, and on which line."""
    line = 1
    while first < len(data) and data[first] in b"\r\n":
        line += data[first] == 10
        first += 1
    head = data[first : first + _HEADER_LIMIT]
    stop = min((at for at in (head.find(b"\n"), head.find(b"\r")) if at >= 0), default=len(head))
    if not head:
        raise RegistryError("is empty", path=path, remedy=f"the first line is {_COLUMNS_TEXT}")
    try:
        text = head[:stop].decode()
        names = [name.strip().lower() for name in next(csv.reader([text], strict=True))]
    except (UnicodeDecodeError, csv.Error) as error:
        problem, remedy = "the header cannot be read", f"the first line is {_COLUMNS_TEXT}"
        raise RegistryError(problem, path=path, line=line, remedy=remedy) from error
    twice = next((name for name in names if names.count(name) > 1 and name), None)
    missing = [name for name in COLUMN_NAMES if name not in names]
    if missing:
        problem = f"the header lacks {', '.join(missing)}"
        remedy = f"the first line is {_COLUMNS_TEXT}"
        if len(names) == 1 and (";" in text or "\t" in text):
            remedy = "separate the columns by commas"
        raise RegistryError(problem, path=path, line=line, remedy=remedy)
    if twice is not None:
        problem = f"the header names {shown(twice)} twice"
        raise RegistryError(problem, path=path, line=line, remedy="name each column once")
    return names, first + stop, line


def _row_problem(kind: int, fields: int, wanted: int, path: str, line: int) -> RegistryError:
    """Say why a row could not be split."""
    if kind == _text_kernels.UNCLOSED:
        problem, remedy = (
            "a quoted field is never closed",
            'end it with "; nothing after it is read',
        )
    elif kind in (_text_kernels.TOO_FEW, _text_kernels.TOO_MANY):
        problem = f"the row has {fields:,} fields and the header {wanted}"
        remedy = 'put a text with commas between "'
        if kind == _text_kernels.TOO_FEW:
            remedy = "write an empty field where there is nothing to say"
    else:
        problem, remedy = "text follows a closing quote", 'write a quote inside a text as ""'
    return RegistryError(problem, path=path, line=line, remedy=remedy)


def _column(
    out: NDArray[np.uint8], starts: NDArray[np.integer[Any]], stops: NDArray[np.integer[Any]]
) -> pa.BinaryArray:
    """Return the fields ``out[start:stop]`` as a column."""
    sizes = (stops - starts).astype(np.int64)
    offsets = np.append(0, np.cumsum(sizes))
    content = out[np.repeat(starts - offsets[:-1], sizes) + np.arange(offsets[-1])]
    offsets = offsets.astype(np.int32)
    buffers = [None, pa.py_buffer(offsets.data), pa.py_buffer(content.data)]
    column: Any = pa.Array.from_buffers(pa.binary(), starts.size, buffers)
    return cast("pa.BinaryArray", column)


def _unguarded(column: pa.BinaryArray) -> pa.BinaryArray:
    """Take the apostrophe from guarded formulas."""
    if not pc.any(pc.starts_with(column, "'")).as_py():
        return column
    texts: list[Any] = column.to_pylist()
    guarded = re.compile(_GUARDED)
    return binary_column([guarded.sub(rb"\1", text, count=1) for text in texts])


def read_json(path: Path) -> Raw:
    """Split a JSON register, a list of objects, into columns.

    Raises
    ------
    RegistryError
        If there is no such file or it is no list.
    """
    data = _read(path, _JSON_LIMIT)
    text = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    texts: dict[str, list[bytes]] = {name: [] for name in _ALL_NAMES}
    lines: list[int] = []
    problems: list[tuple[int, RegistryError]] = []
    uncounted = 0
    for line, item in _items(text, path.name):
        fields, problem, remedy = _fields_of(item)
        if not problem:
            lines.append(line)
            for name, field in zip(_ALL_NAMES, fields, strict=True):
                texts[name].append(field)
        elif len(problems) < PROBLEM_LIMIT:
            error = RegistryError(problem, path=path.name, line=line, remedy=remedy)
            problems.append((line, error))
        else:
            uncounted += 1
    columns, details = (
        {name: binary_column(texts[name]) for name in names}
        for names in (COLUMN_NAMES, FILE_DETAILS)
    )
    line_numbers = np.array(lines, np.int64)
    return Raw(path.name, columns, line_numbers, problems, uncounted, details=details)


def _items(text: str, path: str) -> Iterator[tuple[int, object]]:
    """Yield the items of a JSON list with the lines on which they begin."""
    space = re.compile(r"[ \t\r\n]*")
    decoder = json.JSONDecoder()

    def skip(position: int) -> int:
        match = space.match(text, position)
        return match.end() if match else position

    position = skip(0)
    if text[position : position + 1] != "[":
        problem = "is empty" if position == len(text) else "is not a JSON list"
        raise RegistryError(problem, path=path, remedy="write [{...}, ...], one object per row")
    line, counted = 1, 0
    position = skip(position + 1)
    closed = text[position : position + 1] == "]"
    if closed:
        position = skip(position + 1)
    while not closed:
        line += text.count("\n", counted, position)
        counted = position
        try:
            item, position = decoder.raw_decode(text, position)
            position = skip(position)
            if text[position : position + 1] not in (",", "]"):
                raise ValueError("neither comma nor bracket")
        except (ValueError, RecursionError) as error:
            line += text.count("\n", counted, position)
            remedy = "write objects like those of the export, with commas between"
            raise RegistryError("is not JSON", path=path, line=line, remedy=remedy) from error
        yield line, item
        closed = text[position] == "]"
        position = skip(position + 1)
    if position < len(text):
        line += text.count("\n", counted, position)
        raise RegistryError(
            "text follows the list", path=path, line=line, remedy="write one list per file"
        )


def _fields_of(item: object) -> tuple[list[bytes], str, str]:
    """Return an object's fields as bytes, or a problem and its remedy."""
    if not isinstance(item, dict):
        return [], "the item is not an object", f"give it the keys {_COLUMNS_TEXT}"
    missing = [name for name in COLUMN_NAMES if name not in item]
    if missing:
        return [], f"the object lacks {', '.join(missing)}", f"its keys are {_COLUMNS_TEXT}"
    fields: list[bytes] = []
    for name in _ALL_NAMES:
        value = item.get(name, "")
        if value is None and (name == "valid_to" or name in FILE_DETAILS):
            value = ""
        if isinstance(value, int) and not isinstance(value, bool) and name in ("port", "proto"):
            value = str(value) if abs(value) < 10**9 else "?"
        if not isinstance(value, str):
            return [], f"{name} is not a text", 'write it between "'
        # A lone surrogate, written as an escape, is left for the check of the bytes.
        fields.append(value.encode("utf-8", "surrogatepass")[: FIELD_LIMIT + 1])
    return fields, "", ""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to; when all went well it takes the place of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        reason = (error.strerror or "cannot be written").lower()
        raise RegistryError(reason, path=str(path), remedy="choose another place") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_csv(text: pa.Table, path: Path) -> None:
    """Write rows as a CSV register, all at once."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv_to(text, file)


def csv_to(text: pa.Table, file: IO[str]) -> None:
    """Write rows as a CSV register, so that no spreadsheet runs a holder's text."""
    writer = csv.writer(file, lineterminator="\n")
    names = text.column_names
    writer.writerow(names)
    for batch in text.to_batches(max_chunksize=50_000):
        columns: list[list[Any]] = [batch.column(name).to_pylist() for name in names]
        for k in (k for k, name in enumerate(names) if name in _GUARDED_COLUMNS):
            columns[k] = [f"'{t}" if _FORMULA.match(t) else t for t in columns[k]]
        writer.writerows(zip(*columns, strict=True))


def write_json(text: pa.Table, path: Path) -> None:
    """Write rows as a JSON register, one object per line, all at once."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        json_to(text, file)


def json_to(text: pa.Table, file: IO[str]) -> None:
    """Write rows as a JSON register."""
    separator = "[\n"
    for batch in text.to_batches(max_chunksize=50_000):
        for row in batch.to_pylist():
            file.write(separator + json.dumps(row, ensure_ascii=False))
            separator = ",\n"
    file.write("\n]\n" if separator == ",\n" else "[]\n")
