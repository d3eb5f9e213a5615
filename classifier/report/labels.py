"""Ground truth, or another tool's predictions, for flows: CSV keyed by capture and five-tuple."""

import csv
import io
import ipaddress
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from classifier.errors import ClassifierError, ResourceError
from classifier.report._escape import visible
from classifier.report.columns import string_column
from classifier.tables import canonical_family, protocol_number

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Key",
    "Labels",
    "flow_keys",
    "label_columns",
    "match_labels",
    "read_labels",
]

#: Base name of the capture, IP protocol number, and both endpoints in a fixed order.
Key = tuple[str, int, tuple[str, int], tuple[str, int]]

_KEY_COLUMNS = ("path", "proto", "src", "sport", "dst", "dport")
_KNOWN = (*_KEY_COLUMNS, "is_vpn", "family", "vpn_probability")
_TRUTH = {"1": True, "true": True, "0": False, "false": False}

# TCP, UDP, DCCP, SCTP and UDP-Lite; in other protocols tools fill the port fields as they like.
_WITH_PORTS = frozenset({6, 17, 33, 132, 136})


@dataclass(frozen=True, slots=True)
class Labels:
    """Rows of a label file, one for each key.

    Attributes
    ----------
    place : str
        Where they come from, for messages.
    rows : dict of Key to int
        Position of each key's row in the lists below.
    is_vpn : list of bool
    family : list of str
        In the spelling of the ``family`` column.
    probability : list of float or None
    further : dict of str to list of str
        Columns that pass through.
    """

    place: str
    rows: dict[Key, int]
    is_vpn: list[bool]
    family: list[str]
    probability: list[float | None]
    further: dict[str, list[str]]


def _key(capture: str, proto: int, one: tuple[str, int], other: tuple[str, int]) -> Key:
    if proto not in _WITH_PORTS:
        one, other = (one[0], 0), (other[0], 0)
    return (capture, proto, one, other) if one <= other else (capture, proto, other, one)


def _base_name(path: str) -> str:
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def flow_keys(table: pa.Table) -> Iterator[Key]:
    """Yield the key of each flow row."""
    names = ("capture", "proto", "orig_ip", "orig_port", "resp_ip", "resp_port")
    numbers: dict[str, int] = {}
    columns = [table.column(name).to_pylist() for name in names]
    for capture, proto, orig_ip, orig_port, resp_ip, resp_port in zip(*columns, strict=True):
        if proto not in numbers:
            numbers[proto] = protocol_number(proto)
        one, other = (orig_ip, orig_port), (resp_ip, resp_port)
        yield _key(_base_name(capture), numbers[proto], one, other)


def _address(text: str) -> str:
    """Return an address in the spelling of the ``orig_ip`` and ``resp_ip`` columns."""
    address = ipaddress.ip_address(text.strip())
    mapped = address.ipv4_mapped if address.version == 6 else None
    return f"::ffff:{mapped}" if mapped else str(address)


def _port(text: str) -> int:
    digits = text.strip() or "0"
    port = int(digits) if digits.isdecimal() and len(digits) <= 5 else -1
    if not 0 <= port <= 65535:
        raise ValueError(f"{text[:40]!r} is not a port")
    return port


def _truth(text: str) -> bool:
    word = text.strip().lower()
    if word not in _TRUTH:
        raise ValueError(f"is_vpn is {text[:40]!r}, not 0, 1, true or false")
    return _TRUTH[word]


def _probability(text: str) -> float | None:
    if not text.strip():
        return None
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(f"{value} is no probability")
    return value


def read_labels(source: "str | os.PathLike[str] | pd.DataFrame") -> Labels:
    """Read labels, or predictions, which have the same form.

    Columns ``path,proto,src,sport,dst,dport,is_vpn`` are required, ``family`` and
    ``vpn_probability`` are not; others pass through. ``path`` counts by its base name, ``proto`` is
    a name or a number, and the two directions of a flow are the same key. Ports count for TCP, UDP,
    DCCP, SCTP and UDP-Lite alone. Equal keys must agree.

    Parameters
    ----------
    source : path of a CSV file, or pandas.DataFrame

    Raises
    ------
    ResourceError
        If the file cannot be read.
    ClassifierError
        If a row cannot be used; the error names its line.
    """
    if isinstance(source, str | os.PathLike):
        place = os.fspath(source)
        return _collected(place, _csv_rows(Path(source)))
    if not hasattr(source, "itertuples"):
        problem = f"labels are of type {type(source).__name__}"
        raise ClassifierError(problem, remedy="give the path of a CSV file, or a DataFrame")
    return _collected("<labels>", _frame_rows(source))


_Numbered = tuple[int, Sequence[str]]


def _frame_rows(frame: "pd.DataFrame") -> Iterator[_Numbered]:
    yield 1, [str(name) for name in frame.columns]
    cells: Iterable[tuple[Any, ...]] = frame.itertuples(index=False, name=None)
    for number, row in enumerate(cells, start=2):
        yield number, [_cell_text(value) for value in row]


def _cell_text(value: Any) -> str:
    import pandas as pd

    if pd.isna(value):
        return ""
    # a column of whole numbers with a gap is one of floats in pandas
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _csv_rows(path: Path) -> Iterator[_Numbered]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        remedy = "check the name"
        raise ResourceError("no such file", path=str(path), remedy=remedy) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        remedy = "give a CSV file of labels"
        raise ResourceError(f"cannot be read ({reason})", path=str(path), remedy=remedy) from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        remedy = "correct the CSV"
        raise ClassifierError(
            str(error), path=str(path), line=reader.line_num, remedy=remedy
        ) from error


def _collected(place: str, rows: Iterator[_Numbered]) -> Labels:
    _, header = next(rows, (1, ()))
    names = [name.strip().lower() for name in header]
    missing = [name for name in (*_KEY_COLUMNS, "is_vpn") if name not in names]
    if missing or len(set(names)) < len(names):
        problem = f"there is no column {missing[0]}" if missing else "a column comes twice"
        remedy = f"the header is {','.join((*_KEY_COLUMNS, 'is_vpn', 'family'))}"
        raise ClassifierError(problem, path=place, line=1, remedy=remedy)
    further: dict[str, list[str]] = {name: [] for name in names if name not in _KNOWN}
    labels = Labels(place, {}, [], [], [], further)
    lines: list[int] = []
    for line, row in rows:
        if len(row) != len(names):
            problem = f"{len(row)} fields, but the header has {len(names)}"
            raise ClassifierError(problem, path=place, line=line, remedy="complete the row")
        try:
            before = _add(labels, dict(zip(names, row, strict=True)))
        except ValueError as error:
            remedy = "correct the row or leave it out"
            problem = visible(str(error))[:120]
            raise ClassifierError(problem, path=place, line=line, remedy=remedy) from error
        if before is None:
            lines.append(line)
        elif before >= 0:
            problem = f"contradicts line {lines[before]} about the same flow"
            raise ClassifierError(problem, path=place, line=line, remedy="keep one of them")
    return labels


def _add(labels: Labels, row: dict[str, str]) -> int | None:
    """Add a row. Return None; for a key that was there, -1, or its position if they differ."""
    one = (_address(row["src"]), _port(row["sport"]))
    other = (_address(row["dst"]), _port(row["dport"]))
    key = _key(_base_name(row["path"]), protocol_number(row["proto"]), one, other)
    is_vpn, family = _truth(row["is_vpn"]), canonical_family(row.get("family", ""))
    probability = _probability(row.get("vpn_probability", ""))
    position = labels.rows.setdefault(key, len(labels.is_vpn))
    if position < len(labels.is_vpn):
        same = (labels.is_vpn[position], labels.family[position]) == (is_vpn, family)
        return -1 if same else position
    labels.is_vpn.append(is_vpn)
    labels.family.append(family)
    labels.probability.append(probability)
    for name, values in labels.further.items():
        values.append(row[name])
    return None


def match_labels(table: pa.Table, labels: Labels) -> NDArray[np.int64]:
    """Return for each flow row the position of its label, -1 where there is none."""
    find = labels.rows.get
    return np.fromiter((find(key, -1) for key in flow_keys(table)), np.int64, table.num_rows)


def label_columns(
    table: pa.Table, labels: "Labels | str | os.PathLike[str] | pd.DataFrame"
) -> pa.Table:
    """Return the flow rows with their labels joined.

    Parameters
    ----------
    table : pyarrow.Table
        Flow rows.
    labels : Labels, path or DataFrame

    Returns
    -------
    pyarrow.Table
        With ``label_is_vpn`` (bool, null where there is no label), ``label_family`` and, for each
        further column of the labels, ``label_<name>`` (text).

    Raises
    ------
    ClassifierError
        If the labels cannot be used.
    """
    known = labels if isinstance(labels, Labels) else read_labels(labels)
    rows = match_labels(table, known)
    index = pa.array(rows, mask=rows < 0)
    added = {"label_is_vpn": pa.array(known.is_vpn, pa.bool_()).take(index)}
    for name, texts in {"family": known.family, **known.further}.items():
        column = string_column(texts).take(index)
        added.setdefault(f"label_{visible(name[:60])}", column.fill_null(""))
    for name, column in added.items():
        if name in table.schema.names:
            table = table.drop_columns([name])
        table = table.append_column(name, column)
    return table
