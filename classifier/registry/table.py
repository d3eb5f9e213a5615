"""The compiled register: which registration covers an address, at a time, for a side and scope."""

import contextlib
import datetime
import hashlib
import html
import ipaddress
import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from classifier._jit import is_plain
from classifier._translate import builtin, is_at_hand, type_in_head
from classifier.errors import QueryError, RegistryError
from classifier.registry import _table_kernels as kernels
from classifier.registry import _tablefile
from classifier.registry._fields import ANY, COLUMN_NAMES, ROW, BadField, parse_time, shown
from classifier.registry._index import (
    Index,
    as_ranges,
    build_index,
    find_v4,
    find_v6,
    frozen,
)
from classifier.registry._one import ASK_PYTHON, find_match, state_of
from classifier.registry._parse import Registrations
from classifier.registry._single import finder_v4, finder_v6, first_applying
from classifier.registry._table_kernels import ENTRY, Ranges
from classifier.registry._verify import is_sound
from classifier.tables import PROTOCOL_NAMES, protocol_number

__all__ = ["Match", "Table"]

_Address = str | ipaddress.IPv4Address | ipaddress.IPv6Address
_RANGE_TYPES = {"v4_top": "u4", "v4_words": "u4", "v6_top": "u4", "v6_words": "u4", "shape": "u8"}
_ANY_SIDE = 3
_QUERY_SIDES: dict[str | None, int] = {"client": 1, "server": 2, None: _ANY_SIDE}
_LIMITS = {dtype: (np.iinfo(dtype).min, np.iinfo(dtype).max) for dtype in (np.int32, np.int64)}
_NONE = 0xFFFFFFFF
_KEPT_QUESTIONS = 1 << 12

# Single look-ups that a process answers in plain Python before it makes machine code of them: 0.1 s.
# What an earlier process made is loaded at the first one, in 2 ms, unless llvmlite has to be imported.
_PLAIN_LOOKUPS = 2000
_asked = itertools.count(1)


class _Lazy:
    """A row of a table whose fields are read when the first of them is asked for."""

    __slots__ = ("_rows",)

    def __getattr__(self, name: str) -> Any:
        if name not in _MATCH_FIELDS:
            raise AttributeError(name)
        facts = self._rows.slice(self.row, 1).to_pylist()[0]
        for field in _MATCH_FIELDS:
            object.__setattr__(self, field, facts[field])
        return facts[name]


@dataclass(frozen=True, slots=True)
class Match(_Lazy):
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


_MATCH_FIELDS = frozenset(Match.__dataclass_fields__) - {"row"}


_set_rows, _set_row = (
    vars(kind)[name].__set__ for kind, name in ((_Lazy, "_rows"), (Match, "row"))
)


def _match_of(rows: pa.Table, row: int) -> Match:
    """Return the match of a row, whose texts are read later."""
    match = Match.__new__(Match)
    _set_rows(match, rows)
    _set_row(match, row)
    return match


def _ask_python(*_: Any) -> int:
    return ASK_PYTHON


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

    __slots__ = (
        "_ask",
        "_first",
        "_index",
        "_matches",
        "_row",
        "_typed",
        "hash",
        "rows",
    )

    def __init__(self, typed: NDArray[np.void], rows: pa.Table, index: Index, digest: str) -> None:
        self._typed = typed
        self._index = index
        self._row = _row_finder(index.active)
        self._first = first_applying(index.entries)
        self._matches = np.full(typed.size, None)
        self._ask: Callable[..., Match | int | None] = self._begin
        self.rows = rows
        self.hash = digest

    @classmethod
    def build(cls, registrations: Registrations, *, source: str = "") -> "Table":
        """Compile checked registrations, for errors named by ``source``; see `Registry.compile`."""
        index = build_index(registrations.rows, source)
        text = registrations.text.combine_chunks()
        return cls(frozen(registrations.rows, ROW), text, index, _content_hash(text))

    def __reduce__(self) -> tuple[Any, ...]:
        """Go to other processes without the answers that are kept."""
        ranges = (self._index.active, self._index.every)
        arrays = [[getattr(kind, name) for name in _RANGE_TYPES] for kind in ranges]
        return _again, (self._typed, self.rows, *arrays, self._index.entries, self.hash)

    def __len__(self) -> int:
        """Return the number of registrations."""
        return int(self._typed.size)

    def lookup(
        self,
        addr: _Address,
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
        found = self._ask(addr, at, side, proto, port)
        if not isinstance(found, int):
            return found
        return self._match(self._find(addr, at, side, proto, port) if found < 0 else found)

    def _begin(self, *_: Any) -> int:
        """Answer nothing; change to machine code for later look-ups if it is there already."""
        self._ask = self._count
        if not is_plain() and is_at_hand(find_match):
            self._translate()
            return ASK_PYTHON
        return self._count()

    def _count(self, *_: Any) -> int:
        """Answer nothing; after many look-ups, change to machine code for those that follow."""
        if next(_asked) >= _PLAIN_LOOKUPS and not is_plain():
            self._translate()
        return ASK_PYTHON

    def _translate(self) -> None:
        """Let machine code answer look-ups from now on, if it can be made."""
        self._ask = _ask_python
        if not type_in_head():
            return
        state = state_of(
            self._index.active,
            self._index.entries,
            self._matches,
            _SIDE_SCOPES,
            _PROTO_SCOPES,
            _times,
        )
        with contextlib.suppress(OSError):  # installed without sources, or with others
            self._ask = builtin(find_match, state)

    def _find(self, addr: Any, at: Any, side: Any, proto: Any, port: Any) -> int:
        """Return the row of a look-up, in plain Python; 2**32 - 1 for none."""
        row = self._row(addr)
        if at is None and side is None and proto is None and port is None:
            return row
        try:
            asked = _asked_scope(side, proto, port)
        except TypeError:  # not even a key
            asked = _asked_scope.__wrapped__(side, proto, port)
        at_ns = at if type(at) is int and abs(at) < 1 << 63 else _asked_ns(at)
        return self._first(row, at_ns, asked)

    def _match(self, row: int) -> Match | None:
        """Return the match of a row, made when it is first asked for: 100 bytes, kept."""
        if row == _NONE:
            return None
        match: Match | None = self._matches[row]
        if match is None:
            self._matches[row] = match = _match_of(self.rows, row)
        return match

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
            Or an array of integers: 1 client, 2 server, 3 any.
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
        out = np.empty(addresses.shape[0] if addresses.ndim else 0, np.int32)
        if addresses.dtype == np.uint32 and addresses.ndim == 1:
            find_v4(self._index.active, addresses, out)
        elif addresses.dtype == np.uint64 and addresses.ndim == 2 and addresses.shape[1] == 2:
            find_v6(self._index.active, addresses, out)
        else:
            kind = f"{addresses.dtype} {addresses.shape}"
            remedy = "give uint32 (n,) for IPv4 or uint64 (n, 2) for IPv6"
            raise QueryError(f"addresses are {kind}, not such", path="match", remedy=remedy)
        if at_ns is None and side is None and proto is None and port is None:
            return out
        n = out.size
        asked = (
            per_query("at_ns", at_ns, n, np.int64, 0),
            _side_codes(side, n),
            per_query("proto", proto, n, np.int32, ANY),
            per_query("port", port, n, np.int32, ANY),
        )
        timed, entries = at_ns is not None, self._index.entries
        if max(array.size for array in asked) == 1 and entries.size <= n:
            # Asked the same of all, a row always has the same answer: found once for each.
            answer = np.arange(entries.size, dtype=np.int32)
            kernels.resolve(timed, *asked, entries, answer)
            kernels.replace_rows(answer, out)
        else:
            kernels.resolve(timed, *asked, entries, out)
        return out

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table as one file, which `load` maps into memory.

        Raises
        ------
        RegistryError
            If it cannot be written.
        """
        arrays: dict[str, NDArray[Any]] = {"typed": self._typed, "entries": self._index.entries}
        for kind in ("active", "every"):
            if kind == "active" or self._index.every is not self._index.active:
                ranges = getattr(self._index, kind)._asdict()
                arrays |= {f"{kind}.{name}": ranges[name] for name in _RANGE_TYPES}
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
        types: dict[str, np.dtype[Any]] = {"typed": ROW, "entries": ENTRY}
        for kind in ("active", "every"):
            types |= {f"{kind}.{name}": np.dtype(code) for name, code in _RANGE_TYPES.items()}
        for name in COLUMN_NAMES:
            types |= {f"{name}.data": np.dtype("u1"), f"{name}.offsets": np.dtype("i4")}
        optional = frozenset(name for name in types if name.startswith("every."))
        _, arrays = _tablefile.read_arrays(place, types, optional)
        typed, entries = arrays["typed"], arrays["entries"]
        rows = _text_table(arrays, typed.size)
        active = _ranges_of(arrays, "active")
        every = _ranges_of(arrays, "every") if "every.shape" in arrays else active
        if (
            rows is None
            or active is None
            or every is None
            or entries.shape != typed.shape
            or not is_sound(active, entries)
            or not (every is active or is_sound(every, entries))
        ):
            raise RegistryError("is damaged", path=place.name, remedy="compile the register again")
        index = Index(active, every, frozen(entries, ENTRY))
        return cls(frozen(typed, ROW), rows, index, _content_hash(rows))

    def __repr__(self) -> str:
        """Return size and hash."""
        return f"<Table: {len(self):,} registrations, hash {self.hash[:12]}>"

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


def _one_of(what: str, value: Any, dtype: Any) -> int:
    """Return one argument as a plain number, without the cost of an array where it is one."""
    if value is None:
        return ANY
    if type(value) is int and _LIMITS[dtype][0] <= value <= _LIMITS[dtype][1]:
        return value
    return int(per_query(what, value, 1, dtype, ANY)[0])


def _side_codes(side: Any, n: int) -> NDArray[np.int8]:
    """Return sides as bits, one for all or ``n``."""
    if isinstance(side, np.ndarray) and side.dtype.kind in "iu":
        if side.size and not (side.min() >= 1 and side.max() <= _ANY_SIDE):
            remedy = "write 1 for client, 2 for server, 3 for any"
            raise QueryError("is not 1, 2 or 3", path="side", remedy=remedy)
        return per_query("side", side, n, np.int8, _ANY_SIDE)
    try:
        sides = [side] if side is None or isinstance(side, str) else list(side)
        codes = np.array([_QUERY_SIDES[one] for one in sides], np.int8)
    except (KeyError, TypeError):
        remedy = "write client or server, or leave it out"
        raise QueryError(
            "is neither client nor server nor None", path="side", remedy=remedy
        ) from None
    return per_query("side", codes, n, np.int8, _ANY_SIDE)


@lru_cache(_KEPT_QUESTIONS, typed=True)
def _asked_scope(side: Any, proto: Any, port: Any) -> int:
    """Return what is asked but for the time, as entries say what they are for."""
    asked = kernels.side_scope(int(_side_codes(side, 1)[0]))
    asked |= kernels.proto_scope(_one_of("proto", query_proto(proto), np.int32))
    return int(asked | kernels.port_scope(_one_of("port", port, np.int32))) | kernels.ACTIVE_ONLY


_SIDE_SCOPES: dict[Any, int] = {
    side: int(kernels.side_scope(code)) for side, code in _QUERY_SIDES.items() if side
}
_PROTO_SCOPES: dict[Any, int] = {
    name: int(kernels.proto_scope(number)) for number, name in PROTOCOL_NAMES.items()
}


def _asked_ns(at: Any) -> int | None:
    """Return the time that is asked for, None for any."""
    return None if at is None else _one_of("at", _time_ns(at), np.int64)


def _row_finder(ranges: Ranges) -> Callable[[_Address], int]:
    """Return a function from an address to the row to begin with, 2**32 - 1 for none."""
    find_v4 = finder_v4(ranges)
    find_v6 = finder_v6(ranges, find_v4)

    def row_of(addr: _Address) -> int:
        try:  # as ipaddress does, ten times as fast
            if ":" in addr:  # type: ignore[operator]
                return find_v6(int.from_bytes(inet_pton(AF_INET6, addr)))  # type: ignore[arg-type]
            return find_v4(int.from_bytes(inet_pton(AF_INET, addr)))  # type: ignore[arg-type]
        except (OSError, TypeError, ValueError):  # what ip_address raises says more
            address = query_address(addr)
        return (find_v4 if address.version == 4 else find_v6)(int(address))

    return row_of


def _again(
    typed: NDArray[np.void],
    rows: pa.Table,
    active: list[NDArray[Any]],
    every: list[NDArray[Any]],
    entries: NDArray[np.void],
    digest: str,
) -> Table:
    """Return a table from what `Table.__reduce__` gives; arrays come writable from a pickle."""
    known = as_ranges(*active)
    same = all(one is other for one, other in zip(active, every, strict=True))
    index = Index(known, known if same else as_ranges(*every), frozen(entries, ENTRY))
    return Table(frozen(typed, ROW), rows, index, digest)


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


_times: dict[str, int] = {}  # texts that were asked, as nanoseconds


def _time_ns(at: str | int | datetime.datetime) -> int:
    """Return a time in UTC nanoseconds."""
    if isinstance(at, datetime.datetime):
        at = at.isoformat()
    if isinstance(at, int | np.integer):
        return int(at)
    try:
        if not isinstance(at, str):
            raise BadField(f"{at!r} is not a time", "write ISO 8601 or nanoseconds since 1970")
        known = _times.get(at)
        if known is None:
            if len(_times) >= _KEPT_QUESTIONS:
                _times.clear()
            known = _times[at] = parse_time(at)
        return known
    except BadField as error:
        raise QueryError(error.problem, path="at", remedy=error.remedy) from None


def _ranges_of(arrays: dict[str, NDArray[Any]], kind: str) -> Ranges | None:
    """Return one set of arrays of a table file, None if one has another shape."""
    mine = [arrays[f"{kind}.{name}"] for name in _RANGE_TYPES]
    if any(array.ndim != 1 or array.size % 2 for array in mine):
        return None
    return as_ranges(*mine)


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
