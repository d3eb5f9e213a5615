"""The compiled register: which registration covers an address, at a time, for a side and scope."""

import datetime
import hashlib
import html
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from classifier.errors import QueryError, RegistryError
from classifier.registry import _table_kernels as kernels
from classifier.registry import _tablefile
from classifier.registry._fields import ANY, COLUMN_NAMES, ROW, BadField, parse_time, shown
from classifier.registry._index import build_index, check_index, find, frozen
from classifier.registry._parse import Registrations
from classifier.registry._table_kernels import ENTRY, Groups, Ranges
from classifier.tables import protocol_number

__all__ = ["Match", "Table"]

_RANGE_TYPES = {
    "v4_top": "i4",
    "v4_low": "u2",
    "v4_group": "i4",
    "v6_lead": "u8",
    "v6_top": "i4",
    "v6_hi": "u8",
    "v6_lo": "u8",
    "v6_group": "i4",
}
_GROUP_TYPES: dict[str, Any] = {
    "start": "i4",
    "parent": "i4",
    "length": "u1",
    "first_active": "i4",
    "entries": ENTRY,
}
_ANY_SIDE = 3
_QUERY_SIDES: dict[str | None, int] = {"client": 1, "server": 2, None: _ANY_SIDE}


@dataclass(frozen=True, slots=True)
class Match:
    """The registration that covers an address.

    Attributes
    ----------
    registration_id, organisation, category, prefix, side : str
        As the register writes them; holders' texts are not to be trusted.
    row : int
        Row in ``Table.rows``.
    valid_from, valid_to : str
        ISO 8601; ``valid_to`` is exclusive, or empty.
    """

    registration_id: str
    organisation: str
    category: str
    prefix: str
    side: str
    row: int
    valid_from: str
    valid_to: str


class Table:
    """Registrations compiled for look-up. Made by `Registry.compile`; does not change.

    Attributes
    ----------
    hash : str
        SHA-256 of the registrations, in hexadecimal: the same for the same rows.
    rows : pyarrow.Table
        The registrations behind the row numbers.

    Notes
    -----
    An IPv4-mapped IPv6 address (``::ffff:203.0.113.70``), in a register or a look-up, is the IPv4
    address that it maps; ``::/0`` covers no IPv4 address.
    """

    __slots__ = ("_groups", "_ranges", "_typed", "hash", "rows")

    def __init__(
        self, typed: NDArray[np.void], rows: pa.Table, ranges: Ranges, groups: Groups, digest: str
    ) -> None:
        self._typed = typed
        self._ranges = ranges
        self._groups = groups
        self.rows = rows
        self.hash = digest

    @classmethod
    def build(cls, registrations: Registrations, *, source: str = "") -> "Table":
        """Compile checked registrations, for errors named by ``source``; see `Registry.compile`."""
        rows = registrations.rows
        ranges, groups = build_index(rows, source)
        typed = frozen(rows, ROW)
        text = registrations.text.combine_chunks()
        return cls(typed, text, ranges, groups, _content_hash(text))

    def __len__(self) -> int:
        """Return the number of registrations."""
        return int(self._typed.size)

    def lookup(
        self,
        addr: str | ipaddress.IPv4Address | ipaddress.IPv6Address,
        at: str | int | datetime.datetime | None = None,
        side: str | None = None,
        proto: str | int | None = None,
        port: int | None = None,
    ) -> Match | None:
        """Return the registration that covers an address.

        Parameters
        ----------
        addr : str or ipaddress address
        at : str, int or datetime, optional
            ISO 8601 (UTC unless it says otherwise), UTC nanoseconds since 1970, or a datetime.
            Without it validity in time is ignored.
        side : {"client", "server"}, optional
            Which endpoint of the flow the address is.
        proto : str or int, optional
            Transport, by name or IP protocol number.
        port : int, optional
            The server's port.

        Returns
        -------
        Match or None

        Raises
        ------
        QueryError
            If an argument cannot be read (a RegistryError and a ValueError).

        Examples
        --------
        >>> import classifier
        >>> table = classifier.Registry.open(classifier.datasets.demo().register).compile()
        >>> table.lookup("203.0.113.10", at="2026-11-23", side="server").registration_id
        'R-016693'
        """
        address = query_address(addr)
        value = int(address)
        version = np.array([address.version], np.uint8)
        hi = np.array([value >> 64], np.uint64)
        lo = np.array([value & 0xFFFFFFFFFFFFFFFF], np.uint64)
        group = find(self._ranges, version, hi, lo)
        number = query_proto(proto)
        at_ns = None if at is None else _time_ns(at)
        row = int(self._resolve(group, at_ns, side, number, port)[0])
        if row < 0:
            return None
        facts = self.rows.slice(row, 1).to_pylist()[0]
        names = Match.__dataclass_fields__
        return Match(row=row, **{name: facts[name] for name in names if name != "row"})

    def match(
        self,
        addresses: NDArray[Any],
        at_ns: int | NDArray[np.int64] | None = None,
        side: str | Sequence[str | None] | NDArray[Any] | None = None,
        proto: int | NDArray[Any] | None = None,
        port: int | NDArray[Any] | None = None,
    ) -> NDArray[np.int32]:
        """Return the row of the registration that covers each address.

        Parameters
        ----------
        addresses : ndarray, uint32 (n,) or uint64 (n, 2)
            IPv4 in host order, or IPv6 as upper and lower 64 bits.
        at_ns : int or ndarray of int64, shape (n,), optional
            UTC nanoseconds since 1970; without it validity in time is ignored.
        side : {"client", "server"} or a sequence of n of them or None, optional
        proto, port : int or ndarray of int, shape (n,), optional
            IP protocol number and the server's port; -1 in an array asks for any.

        Returns
        -------
        ndarray of int32, shape (n,)
            -1 where nothing covers the address.

        Raises
        ------
        QueryError
            If an argument has another shape or type (a RegistryError and a ValueError).
        """
        addresses = np.asarray(addresses)
        group = np.empty(addresses.shape[0] if addresses.ndim else 0, np.int32)
        if addresses.dtype == np.uint32 and addresses.ndim == 1:
            kernels.find_v4(frozen(addresses, np.uint32), self._ranges, group)
        elif addresses.dtype == np.uint64 and addresses.ndim == 2 and addresses.shape[1] == 2:
            kernels.find_v6(frozen(addresses, np.uint64), self._ranges, group)
        else:
            kind = f"{addresses.dtype} {addresses.shape}"
            remedy = "give uint32 (n,) for IPv4 or uint64 (n, 2) for IPv6"
            raise QueryError(f"addresses are {kind}, not such", path="match", remedy=remedy)
        return self._resolve(group, at_ns, side, proto, port)

    def _resolve(
        self, group: NDArray[np.int32], at_ns: Any, side: Any, proto: Any, port: Any
    ) -> NDArray[np.int32]:
        """Choose the row of each group that applies."""
        n = group.size
        out = np.empty(n, np.int32)
        group = frozen(group, np.int32)
        if at_ns is None and side is None and proto is None and port is None:
            kernels.resolve_any(group, self._groups, out)
            return out
        kernels.resolve(
            group,
            at_ns is not None,
            per_query("at_ns", at_ns, n, np.int64, 0),
            _side_codes(side, n),
            per_query("proto", proto, n, np.int32, ANY),
            per_query("port", port, n, np.int32, ANY),
            self._groups,
            out,
        )
        return out

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table as one file, which `load` maps into memory.

        Raises
        ------
        RegistryError
            If it cannot be written.
        """
        arrays: dict[str, NDArray[Any]] = {**self._ranges._asdict(), **self._groups._asdict()}
        arrays["typed"] = self._typed
        for name in COLUMN_NAMES:
            data, offsets = _text_arrays(self.rows.column(name).combine_chunks())
            arrays[f"{name}.data"], arrays[f"{name}.offsets"] = data, offsets
        _tablefile.write_arrays(Path(path), {"hash": self.hash}, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Table":
        """Map a table that `save` wrote.

        Raises
        ------
        RegistryError
            If it is missing, of another kind, or damaged.
        """
        place = Path(path)
        kinds = (_RANGE_TYPES | _GROUP_TYPES).items()
        types: dict[str, np.dtype[Any]] = {name: np.dtype(kind) for name, kind in kinds}
        types["typed"] = ROW
        for name in COLUMN_NAMES:
            types |= {f"{name}.data": np.dtype("u1"), f"{name}.offsets": np.dtype("i4")}
        _, arrays = _tablefile.read_arrays(place, types)
        typed = arrays["typed"]
        ranges = Ranges(**{name: frozen(arrays[name], _RANGE_TYPES[name]) for name in _RANGE_TYPES})
        groups = Groups(**{name: frozen(arrays[name], _GROUP_TYPES[name]) for name in _GROUP_TYPES})
        rows = _text_table(arrays, typed.size)
        if typed.ndim != 1 or rows is None or not check_index(ranges, groups, typed.size):
            raise RegistryError("is damaged", path=place.name, remedy="compile the register again")
        return cls(typed, rows, ranges, groups, _content_hash(rows))

    def __repr__(self) -> str:
        """Return size and hash."""
        n = self._groups.parent.size
        return f"<Table: {len(self):,} registrations, {n:,} prefixes, hash {self.hash[:12]}>"

    def _repr_html_(self) -> str:
        """Return the same as HTML."""
        return f"<p>{html.escape(repr(self))}</p>"


def per_query(what: str, value: Any, n: int, dtype: Any, default: int) -> NDArray[Any]:
    """Return an argument as an array of one item for all queries, or of ``n``."""
    array = np.asarray(default if value is None else value)
    if array.shape not in ((), (1,), (n,)) or array.dtype.kind not in "iu":
        problem = f"{what} is {array.dtype} {array.shape}, not an integer or {n} of them"
        raise QueryError(problem, path="match", remedy="give one for all or one for each address")
    limits = np.iinfo(dtype)
    if array.size == 1 and not limits.min <= int(array.reshape(-1)[0]) <= limits.max:
        raise QueryError(f"{what}={array} is too large", path="match", remedy="give what there is")
    return frozen(array.reshape(-1) if array.size else np.full(1, default), dtype)


def _side_codes(side: Any, n: int) -> NDArray[np.int8]:
    """Return sides as bits, one for all or ``n``."""
    try:
        sides = [side] if side is None or isinstance(side, str) else list(side)
        codes = np.array([_QUERY_SIDES[one] for one in sides], np.int8)
    except (KeyError, TypeError):
        remedy = "write client or server, or leave it out"
        raise QueryError(
            "is neither client nor server nor None", path="side", remedy=remedy
        ) from None
    return per_query("side", codes, n, np.int8, _ANY_SIDE)


def query_address(
    address: str | ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an address that is asked for; QueryError where it is none."""
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        problem = f"{shown(str(address))} is not an address"
        raise QueryError(
            problem, path=str(address)[:60], remedy="write it like 203.0.113.70"
        ) from None


def query_proto(proto: str | int | None) -> int | None:
    """Return the number of a protocol that is asked for; QueryError where it is none."""
    if not isinstance(proto, str):
        return proto
    try:
        return protocol_number(proto)
    except ValueError:
        problem = f"{shown(proto)} is not a protocol"
        remedy = "write tcp, udp, esp ... or a number up to 255"
        raise QueryError(problem, path="proto", remedy=remedy) from None


def _time_ns(at: str | int | datetime.datetime) -> int:
    """Return a time in UTC nanoseconds."""
    if isinstance(at, datetime.datetime):
        at = at.isoformat()
    if isinstance(at, int | np.integer):
        return int(at)
    try:
        if not isinstance(at, str):
            raise BadField(f"{at!r} is not a time", "write ISO 8601 or nanoseconds since 1970")
        return parse_time(at)
    except BadField as error:
        raise QueryError(error.problem, path="at", remedy=error.remedy) from None


def _text_arrays(column: Any) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Return a string column's bytes and its offsets from 0."""
    n = len(column)
    _, bounds, data = column.buffers()
    if not n:
        return np.zeros(0, np.uint8), np.zeros(1, np.int32)
    offsets = np.frombuffer(bounds, np.int32, n + 1, column.offset * 4)
    content = np.frombuffer(data, np.uint8) if data and data.size else np.zeros(0, np.uint8)
    return content[offsets[0] : offsets[-1]], offsets - offsets[0]


def _text_table(arrays: dict[str, NDArray[Any]], n: int) -> pa.Table | None:
    """Return the string columns of a table file, None if they are damaged."""
    columns = []
    for name in COLUMN_NAMES:
        data, offsets = arrays[f"{name}.data"], arrays[f"{name}.offsets"]
        if offsets.shape != (n + 1,) or offsets[-1] > data.size:
            return None
        buffers = [None, pa.py_buffer(offsets.data), pa.py_buffer(data.data)]
        column = pa.Array.from_buffers(pa.string(), n, buffers)
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            return None
        columns.append(column)
    return pa.table(columns, names=list(COLUMN_NAMES))


def _content_hash(text: pa.Table) -> str:
    """Return a digest of the registrations as they are written."""
    digest = hashlib.sha256()
    for name in COLUMN_NAMES:
        for array in _text_arrays(text.column(name).combine_chunks()):
            digest.update(array.size.to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
