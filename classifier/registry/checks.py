"""What looks wrong in a register that can be read: duplicates, overlaps, bogons, wide prefixes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.registry._fields import STATUSES, parse_prefix
from classifier.registry._index import last_address
from classifier.registry._parse import Registrations

__all__ = ["BOGONS", "WIDEST", "Finding", "check_rows"]

#: Shortest prefix that is not called too wide, by version: what a provider gets, not an applicant.
WIDEST = {4: 16, 6: 32}

#: Addresses that are no endpoint on the Internet, from IANA's special-purpose address registries
#: (RFC 6890 and its updates), multicast (RFC 5771, RFC 4291) and 240.0.0.0/4 (RFC 1112).
BOGONS = {
    "0.0.0.0/8": "this network (RFC 791)",
    "10.0.0.0/8": "private (RFC 1918)",
    "100.64.0.0/10": "shared by carriers (RFC 6598)",
    "127.0.0.0/8": "loopback (RFC 1122)",
    "169.254.0.0/16": "link-local (RFC 3927)",
    "172.16.0.0/12": "private (RFC 1918)",
    "192.0.0.0/24": "protocol assignments (RFC 6890)",
    "192.0.2.0/24": "documentation (RFC 5737)",
    "192.168.0.0/16": "private (RFC 1918)",
    "198.18.0.0/15": "benchmarks (RFC 2544)",
    "198.51.100.0/24": "documentation (RFC 5737)",
    "203.0.113.0/24": "documentation (RFC 5737)",
    "224.0.0.0/4": "multicast (RFC 5771)",
    "240.0.0.0/4": "reserved (RFC 1112)",
    "::/8": "reserved (RFC 4291)",
    "100::/64": "discarded (RFC 6666)",
    "2001:2::/48": "benchmarks (RFC 5180)",
    "2001:db8::/32": "documentation (RFC 3849)",
    "3fff::/20": "documentation (RFC 9637)",
    "fc00::/7": "unique-local (RFC 4193)",
    "fe80::/10": "link-local (RFC 4291)",
    "ff00::/8": "multicast (RFC 4291)",
}

# Rows around one that are compared with it; more of them say nothing new.
_MOST_AROUND = 64
_LIVE = (STATUSES["active"], STATUSES["pending"])


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that looks wrong; ``str`` is ``place: problem; remedy``.

    Attributes
    ----------
    kind : str
        ``duplicate``, ``overlap``, ``bogon``, ``wide``, ``holder`` (one identifier, several holders);
        of `verify` also ``row`` (one that cannot be used) and ``history`` (an error).
    problem, remedy : str
    path : str
        The register.
    line : int
        Line or row, of the first where several are meant; 0 where none is.
    registration_id : str
    count : int
        Rows that are meant.
    """

    kind: str
    problem: str
    remedy: str
    path: str = ""
    line: int = 0
    registration_id: str = ""
    count: int = 1

    @property
    def severity(self) -> str:
        """``error`` where the history cannot be trusted, else ``warning``."""
        return "error" if self.kind == "history" else "warning"

    def __str__(self) -> str:
        """Return it on one line."""
        place = f"{self.path}:{self.line}" if self.line else self.path
        return f"{place}: {self.problem}; {self.remedy}"


def check_rows(
    registrations: Registrations,
    path: str,
    *,
    wanted: NDArray[np.bool_] | None = None,
    most: int = 1000,
) -> list[Finding]:
    """Look for what can be read but is hardly meant.

    Rows that are active or pending are looked at. Of two that overlap (one prefix within another of
    another registration, at a common time, for a common side and scope) the narrower one is named.

    Parameters
    ----------
    registrations : Registrations
    path : str
        What findings call the register.
    wanted : ndarray of bool, shape (n_rows,), optional
        Rows to report on; of an overlap one of the two. Default: all.
    most : int
        Duplicates and overlaps that are listed one by one, of each kind.

    Returns
    -------
    list of Finding
        Bogons and wide prefixes once for each range and length, with the number of rows.
    """
    rows = registrations.rows
    asked = np.ones(rows.size, bool) if wanted is None else wanted
    live = np.isin(rows["status"], _LIVE)
    findings = [*_bogons(registrations, live & asked, path)]
    findings += _wide(registrations, live & asked, path)
    findings += _holders(registrations, live, asked, path, most)
    return findings + _around(registrations, np.flatnonzero(live), asked, path, most)


def _first(
    registrations: Registrations,
    index: NDArray[np.int64],
    kind: str,
    problem: str,
    remedy: str,
    path: str,
) -> Finding:
    first = int(index[0])
    name = registrations.text.column("registration_id")[first].as_py()
    n = index.size
    counted = f" ({n:,} rows, this is the first)" if n > 1 else ""
    line = int(registrations.lines[first])
    return Finding(kind, problem + counted, remedy, path, line, name, n)


def _bogons(registrations: Registrations, asked: NDArray[np.bool_], path: str) -> Iterable[Finding]:
    rows = registrations.rows
    for text, why in BOGONS.items():
        version, hi, lo, length = parse_prefix(text)
        if version == 4:
            shift = 32 - min(length, 32)
            inside = rows["lo"] >> np.uint64(shift) == np.uint64(lo >> shift)
        else:
            shift = 64 - min(length, 64)
            inside = rows["hi"] >> np.uint64(shift) == np.uint64(hi >> shift)
        index = np.flatnonzero(
            asked & (rows["version"] == version) & (rows["length"] >= length) & inside
        )
        if index.size:
            problem = f"lies in {text}, {why}"
            remedy = "no packet on the Internet comes from there; ask for the public address"
            yield _first(registrations, index, "bogon", problem, remedy, path)


def _wide(registrations: Registrations, asked: NDArray[np.bool_], path: str) -> Iterable[Finding]:
    rows = registrations.rows
    for version, least in WIDEST.items():
        wide = asked & (rows["version"] == version) & (rows["length"] < least)
        for length in np.unique(rows["length"][wide]).tolist():
            index = np.flatnonzero(wide & (rows["length"] == length))
            problem = f"a /{length} is wider than /{least}"
            remedy = "register the addresses that are used"
            yield _first(registrations, index, "wide", problem, remedy, path)


def _holders(
    registrations: Registrations,
    live: NDArray[np.bool_],
    asked: NDArray[np.bool_],
    path: str,
    most: int,
) -> Iterable[Finding]:
    """Find identifiers that rows of several holders share, but for rows that the window closed."""
    closed = np.asarray(registrations.details.column("state").to_numpy() != "", bool)
    index = np.flatnonzero(live & ~closed)
    columns: list[Any] = [
        registrations.text.column(name).combine_chunks().dictionary_encode()
        for name in ("registration_id", "organisation")
    ]
    owner, holder = (column.indices.to_numpy()[index] for column in columns)
    order = np.lexsort((index, owner))
    owner, holder, index = owner[order], holder[order], index[order]
    first = np.append(True, owner[1:] != owner[:-1])[: owner.size]
    begins = np.flatnonzero(first)
    sizes = np.diff(np.append(begins, owner.size))
    other = holder != np.repeat(holder[begins], sizes)
    concerned = (
        np.repeat(np.add.reduceat(asked[index], begins) > 0, sizes) if begins.size else other
    )
    places = np.flatnonzero(other & concerned)
    places = places[np.unique(owner[places], return_index=True)[1]]
    begin_of = np.repeat(begins, sizes)
    names = [column.dictionary for column in columns]
    for place in places[:most].tolist():
        name = names[0][int(owner[place])].as_py()
        one, two = (names[1][int(holder[at])].as_py() for at in (begin_of[place], place))
        line = int(registrations.lines[index[place]])
        problem = f"{name} is of {one} and of {two}"
        remedy = "give each holder identifiers of its own"
        yield Finding("holder", problem, remedy, path, line, name)
    if places.size > most:
        problem = f"{places.size - most:,} more identifiers are of several holders"
        yield Finding("holder", problem, "mend those above first", path, count=places.size - most)


def _around(
    registrations: Registrations,
    live: NDArray[np.int64],
    asked: NDArray[np.bool_],
    path: str,
    most: int,
) -> list[Finding]:
    """Find duplicates and overlaps: a walk over prefixes in order, with those around on a stack."""
    rows = registrations.rows[live]
    end_hi, end_lo = last_address(rows["version"], rows["hi"], rows["lo"], rows["length"])
    order = np.lexsort((live, rows["length"], rows["lo"], rows["hi"], rows["version"]))
    codes: Any = registrations.text.column("registration_id").combine_chunks().dictionary_encode()
    owner = codes.indices.to_numpy()[live]
    columns = [rows[name][order].tolist() for name in ("version", "hi", "lo", "length")]
    columns += [end_hi[order].tolist(), end_lo[order].tolist(), owner[order].tolist()]
    columns += [
        rows[name][order].tolist() for name in ("from_ns", "to_ns", "side", "proto", "port")
    ]
    columns += [asked[live][order].tolist(), live[order].tolist()]
    stack: list[tuple[Any, ...]] = []
    found: dict[str, list[tuple[int, int]]] = {"duplicate": [], "overlap": []}
    for row in zip(*columns, strict=True):
        version, hi, lo = row[0], row[1], row[2]
        while stack and (stack[-1][0] != version or (stack[-1][4], stack[-1][5]) < (hi, lo)):
            stack.pop()
        for around in stack[: -_MOST_AROUND - 1 : -1]:
            if not (row[12] or around[12]) or not _meet(row, around):
                continue
            if row[6] != around[6]:
                found["overlap"].append((row[13], around[13]))
                break
            if row[1:4] == around[1:4] and row[9:12] == around[9:12]:
                found["duplicate"].append((row[13], around[13]))
                break
        stack.append(row)
    return [
        finding
        for kind, pairs in found.items()
        for finding in _pairs(registrations, sorted(pairs), kind, path, most)
    ]


def _meet(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Return whether two rows apply to a common time, side and scope."""
    in_time = one[7] < other[8] and other[7] < one[8]
    proto = one[10] < 0 or other[10] < 0 or one[10] == other[10]
    port = one[11] < 0 or other[11] < 0 or one[11] == other[11]
    return bool(in_time and one[9] & other[9] and proto and port)


def _pairs(
    registrations: Registrations,
    pairs: list[tuple[int, int]],
    kind: str,
    path: str,
    most: int,
) -> Iterable[Finding]:
    texts = registrations.text
    for row, other in pairs[:most]:
        name, its = (texts.column("registration_id")[i].as_py() for i in (row, other))
        prefix, around = (texts.column("prefix")[i].as_py() for i in (row, other))
        line = int(registrations.lines[row])
        if kind == "duplicate":
            problem = f"{prefix} of {name} is written twice for one time, side and scope"
            remedy = "take one of them out"
        else:
            problem = f"{prefix} of {name} overlaps {around} of {its}"
            remedy = "the longer prefix is the one that counts; ask both holders"
        yield Finding(kind, problem, remedy, path, line, name)
    if len(pairs) > most:
        problem = f"{len(pairs) - most:,} more rows are {kind}s"
        yield Finding(kind, problem, "mend those above first", path, 0, "", len(pairs) - most)
