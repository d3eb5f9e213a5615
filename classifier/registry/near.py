"""Which registrations cover an address, which of them applies, and why the others do not."""

import datetime
import ipaddress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classifier.registry._fields import ACTIVE, SIDES
from classifier.registry._index import last_address
from classifier.registry.table import Match, Table, query_address, query_proto

__all__ = ["Covering", "covering"]

_SIDE_WORDS = {bits: word for word, bits in SIDES.items()}
_DAY_NS = 86_400 * 10**9


@dataclass(frozen=True, slots=True)
class Covering:
    """A registration around an address.

    Attributes
    ----------
    match : Match
        The registration.
    status : str
    scope : str
        ``any``, or protocol and port.
    reasons : tuple of str
        Words of `NEAR_MISSES`, the most telling first; empty where it applies.
    why : tuple of str
        A sentence for each reason.
    chosen : bool
        It is the one that the look-up returns.
    """

    match: Match
    status: str
    scope: str
    reasons: tuple[str, ...]
    why: tuple[str, ...]
    chosen: bool


def covering(
    table: Table,
    addr: str | ipaddress.IPv4Address | ipaddress.IPv6Address,
    at: str | int | datetime.datetime | None = None,
    side: str | None = None,
    proto: str | int | None = None,
    port: int | None = None,
    *,
    most: int = 20,
) -> list[Covering]:
    """Explain a look-up: every registration around an address, and why it does not apply.

    Parameters
    ----------
    table : Table
    addr, at, side, proto, port
        As for `Table.lookup`.
    most : int
        The longest list.

    Returns
    -------
    list of Covering
        The one that `Table.lookup` returns first; then those with the fewest reasons against them, the
        longest prefix and the most telling reason, so that the first is what ``near_miss`` names;
        among those, the one whose validity is nearest in time.

    Raises
    ------
    QueryError
        If an argument cannot be read.

    Notes
    -----
    Looks at every row: 10 ms for a million. A look-up itself does not.
    """
    found = table.lookup(addr, at=at, side=side, proto=proto, port=port)
    rows = table._typed
    address = query_address(addr)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    index = _around(rows, mapped or address)
    asked = _Question(None if at is None else _ns(at), side, query_proto(proto), port)
    listed: list[tuple[tuple[int, ...], int, tuple[tuple[str, str], ...], bool]] = []
    for row in index.tolist():
        reasons = asked.against(rows[row])
        first = found is not None and row == found.row
        rank: tuple[int, ...] = (
            not first,
            len(reasons),
            -int(rows["length"][row]),
            _order(reasons),
        )
        rank += (asked.off(rows[row]), row)
        listed.append((rank, row, reasons, first))
    listed.sort()
    return [_covering(table, row, reasons, first) for _, row, reasons, first in listed[:most]]


def _around(
    rows: NDArray[np.void], address: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> NDArray[np.int64]:
    """Return the rows whose prefix covers an address."""
    value = int(address)
    hi, lo = np.uint64(value >> 64), np.uint64(value & 0xFFFFFFFFFFFFFFFF)
    mine = np.flatnonzero(
        (rows["version"] == address.version)
        & (rows["hi"] <= hi)
        & ((rows["lo"] <= lo) | (rows["hi"] < hi))
    )
    near = rows[mine]
    end_hi, end_lo = last_address(near["version"], near["hi"], near["lo"], near["length"])
    result: NDArray[np.int64] = mine[(hi < end_hi) | ((hi == end_hi) & (lo <= end_lo))]
    return result


_ORDER = ("expired", "not_yet", "wrong_side", "wrong_scope", "not_active")


def _order(reasons: "tuple[tuple[str, str], ...]") -> int:
    return _ORDER.index(reasons[0][0]) if reasons else 0


def _ns(at: str | int | datetime.datetime) -> int:
    from classifier.registry.store import time_ns

    return time_ns(at, "at")


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked of an address."""

    at_ns: int | None
    side: str | None
    proto: int | None
    port: int | None

    def off(self, row: NDArray[np.void]) -> int:
        """Return how far a row's validity is from the time asked, ns."""
        if self.at_ns is None:
            return 0
        return max(self.at_ns - int(row["to_ns"]), int(row["from_ns"]) - self.at_ns, 0)

    def against(self, row: NDArray[np.void]) -> tuple[tuple[str, str], ...]:
        """Return why a row does not apply: words and sentences."""
        found: list[tuple[str, str]] = []
        if self.at_ns is not None:
            if self.at_ns >= row["to_ns"]:
                found.append(("expired", f"it ended {_ago(self.at_ns - int(row['to_ns']))} before"))
            elif self.at_ns < row["from_ns"]:
                found.append(
                    ("not_yet", f"it begins {_ago(int(row['from_ns']) - self.at_ns)} later")
                )
        if self.side is not None and not int(row["side"]) & SIDES[self.side]:
            found.append(("wrong_side", f"it is for a {_SIDE_WORDS[int(row['side'])]}"))
        wrong = [
            name
            for name, mine in (("proto", self.proto), ("port", self.port))
            if mine is not None and mine >= 0 and row[name] >= 0 and int(row[name]) != mine
        ]
        if wrong:
            found.append(
                ("wrong_scope", "it is for another " + " and ".join(_WORDS[w] for w in wrong))
            )
        if row["status"] != ACTIVE:
            found.append(("not_active", "it is not active"))
        return tuple(found)


_WORDS = {"proto": "protocol", "port": "port"}


def _ago(ns: int) -> str:
    """Return a span of time in words."""
    for size, word in ((_DAY_NS, "day"), (3600 * 10**9, "hour"), (10**9, "second")):
        if ns >= size:
            n = ns // size
            return f"{n:,} {word}{'s' if n != 1 else ''}"
    return "less than a second"


def _covering(
    table: Table, row: int, reasons: tuple[tuple[str, str], ...], chosen: bool
) -> Covering:
    facts = table.rows.slice(row, 1).to_pylist()[0]
    names = Match.__dataclass_fields__
    match = Match(row=row, **{name: facts[name] for name in names if name != "row"})
    scope = (
        facts["proto"]
        if facts["port"].strip().lower() == "any"
        else f"{facts['proto']} port {facts['port']}"
    )
    words = tuple(word for word, _ in reasons)
    why = tuple(
        sentence.replace("it is not active", f"it is {facts['status'].strip()}")
        for _, sentence in reasons
    )
    return Covering(match, facts["status"].strip(), scope, words, why, chosen)
