"""Reads ARFF, the table format of Weka, column by column.

How this works: lines that begin with ``@`` declare the columns, ``@data`` begins the rows, one on
a line with commas between values, ``%`` begins a comment and ``?`` stands for a missing value. Files
that went through a spreadsheet carry commas at the end of every line; these are taken off where
more values are there than columns.

References
----------
Weka wiki, "ARFF (stable version)", https://waikato.github.io/weka-wiki/formats_and_processing/arff_stable/
"""

import csv
import gzip
import lzma
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from classifier.errors import ResourceError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Column", "parse", "unpack"]

#: name, quoted or not, and all that follows it
_DECLARED = re.compile(
    r"""@attribute\s+('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\S+)\s+(.+)""", re.IGNORECASE
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_NUMERIC = {"numeric", "real", "integer"}
_TEXT = {"string", "date"}
#: A compressed table may not unpack to more than this: the largest published one has 4 MB.
_MOST_BYTES = 1 << 30
_REMEDY = "fetch the file again from its source"


@dataclass(frozen=True, slots=True)
class Column:
    """One declared column."""

    name: str
    """As declared, without quotes."""
    values: tuple[str, ...] | None
    """The values of a nominal column, ``()`` for text, None for numbers."""


def unpack(path: Path) -> bytes:
    """Return the content of a file, unpacked if it is xz or gzip.

    Raises
    ------
    ResourceError
        If it cannot be read or unpacked, or unpacks to more than 1 GiB.
    """
    try:
        with path.open("rb") as raw:
            magic = raw.read(6)
        if magic == b"\xfd7zXZ\x00":
            with lzma.open(path) as packed:
                content = packed.read(_MOST_BYTES + 1)
        elif magic[:2] == b"\x1f\x8b":
            with gzip.open(path) as packed:
                content = packed.read(_MOST_BYTES + 1)
        else:
            with path.open("rb") as raw:
                content = raw.read(_MOST_BYTES + 1)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        problem = f"the file cannot be read ({error})"
        raise ResourceError(problem, path=str(path), remedy=_REMEDY) from error
    if len(content) > _MOST_BYTES:
        raise ResourceError("more than 1 GiB of table", path=str(path), remedy=_REMEDY)
    return content


def parse(content: bytes, place: str) -> "pd.DataFrame":
    """Return the rows of an ARFF file as columns.

    Parameters
    ----------
    content : bytes
        The file, unpacked; UTF-8, or Latin-1 where it is not.
    place : str
        Its name in messages.

    Returns
    -------
    pandas.DataFrame
        Columns in order of declaration: float64 for numbers (NaN where ``?`` stood), categorical
        for nominal values, text else. The index counts rows from 0.

    Raises
    ------
    ResourceError
        With the line of what is wrong: a declaration or a row that cannot be understood, a value
        that is no number, or not one of its column's.
    """
    import pandas as pd

    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    lines = text.split("\n")
    columns, begin = _header(lines, place)
    rows, numbers = [], []
    for number, values in _rows(lines, begin, len(columns), place):
        rows.append(values)
        numbers.append(number)
    table = {}
    for index, column in enumerate(columns):
        table[column.name] = _column(column, [row[index] for row in rows], numbers, place)
    return pd.DataFrame(table)


def _header(lines: list[str], place: str) -> tuple[list[Column], int]:
    """Return the columns, and the index of the first line after ``@data``."""
    columns: list[Column] = []
    for index, line in enumerate(lines):
        text = line.strip().rstrip(",").rstrip()
        if not text or text.startswith("%"):
            continue
        word = text.split(None, 1)[0].lower()
        if word == "@data":
            if not columns:
                raise _error("no column was declared before @data", place, index)
            return columns, index + 1
        if word == "@attribute":
            column = _declared(text, place, index)
            if column.name in {other.name for other in columns}:
                raise _error(f"the column {column.name!r} is declared twice", place, index)
            columns.append(column)
        elif word != "@relation":
            raise _error(f"{text[:40]!r} is no declaration", place, index)
    raise ResourceError("there is no @data line", path=place, remedy=_REMEDY)


def _declared(text: str, place: str, index: int) -> Column:
    match = _DECLARED.fullmatch(text)
    if match is None:
        raise _error(f"{text[:40]!r} lacks a name or a type", place, index)
    name, kind = _bare(match[1]), match[2].strip()
    if kind.startswith("{") and kind.endswith("}"):
        return Column(name, tuple(_split(kind[1:-1])))
    word = kind.split(None, 1)[0].lower()
    if word in _NUMERIC:
        return Column(name, None)
    if word in _TEXT:
        return Column(name, ())
    raise _error(f"the type {kind[:40]!r} is not known", place, index)


def _rows(lines: list[str], begin: int, width: int, place: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the index of each row's line, and its values."""
    for index in range(begin, len(lines)):
        text = lines[index].strip()
        if not text.strip(",") or text.startswith("%"):
            continue
        if text.startswith("{"):
            raise _error("sparse rows cannot be read", place, index)
        values = _split(text)
        while len(values) > width and not values[-1]:
            values.pop()
        if len(values) != width:
            problem = f"{len(values)} values, but {width} columns are declared"
            raise _error(problem, place, index)
        yield index, values


def _split(text: str) -> list[str]:
    if "'" not in text and '"' not in text:
        return [value.strip() for value in text.split(",")]
    quote = "'" if "'" in text else '"'
    try:
        row = next(csv.reader([text], quotechar=quote, escapechar="\\", skipinitialspace=True))
    except csv.Error:  # such as a field beyond the limit of 128 KiB: then the count will not fit
        return []
    return [value.strip() for value in row]


def _bare(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name[1:-1]) if name[0] in "'\"" else name


def _column(
    column: Column, values: list[str], numbers: list[int], place: str
) -> "pd.Series[float] | pd.Series[str]":
    import numpy as np
    import pandas as pd

    if column.values is None:
        for number, value in zip(numbers, values, strict=True):
            if value != "?" and not _NUMBER.fullmatch(value):
                raise _error(f"{column.name}: {value[:40]!r} is not a number", place, number)
        floats = [np.nan if value == "?" else float(value) for value in values]
        return pd.Series(np.array(floats, np.float64))
    cells = [None if value == "?" else value for value in values]
    if not column.values:
        return pd.Series(cells, dtype="str")
    known = set(column.values)
    for number, cell in zip(numbers, cells, strict=True):
        if cell is not None and cell not in known:
            raise _error(f"{column.name}: {cell[:40]!r} is not a declared value", place, number)
    return pd.Series(pd.Categorical(cells, categories=list(column.values)))


def _error(problem: str, place: str, index: int) -> ResourceError:
    return ResourceError(problem, path=place, line=index + 1, remedy=_REMEDY)
