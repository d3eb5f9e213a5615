"""What each flow column may hold, as far as the column contract fixes it.

The parser refuses literals that a column can never hold, and the search for rules that can never
apply starts from these domains.
"""

import difflib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from classifier.tables import (
    COLUMNS,
    FAMILIES,
    PROTOCOL_NAMES,
    Column,
    Kind,
    Strength,
    Verdict,
    canonical_family,
)

__all__ = [
    "ALIASES",
    "DERIVED",
    "FOLDED",
    "INPUT_COLUMNS",
    "WEEKDAYS",
    "Field",
    "FieldKind",
    "field_of",
    "fields_of",
    "nearest",
    "shortened",
    "shown",
]

FieldKind = Literal["bool", "int", "float", "text", "list"]

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

#: What conditions may name beside the flow columns; made from these where a condition asks.
DERIVED: tuple[Column, ...] = (
    Column("hour", "int64", "hour of the first packet, UTC, 0 to 23"),
    Column("weekday", "string", "its day of the week, UTC, monday to sunday"),
    Column("duration_s", "float64", "seconds from the first packet to the last"),
    Column("packets", "int64", "packets of both directions"),
    Column("bytes", "int64", "bytes of both directions, IP total lengths on the wire"),
    Column("inside", "string", "which end is in the inside network: orig resp both, or empty"),
    Column("registration_expired", "bool", "the same as near_miss == 'expired'"),
    Column("registration_wrong_side", "bool", "the same as near_miss == 'wrong_side'"),
)

#: Derived flags -> the value of ``near_miss`` that they stand for.
ALIASES = {"registration_expired": "expired", "registration_wrong_side": "wrong_side"}

#: What a policy may ask about: every column but the two that it decides.
INPUT_COLUMNS: tuple[Column, ...] = (
    *(c for c in COLUMNS if c.name not in {"verdict", "rule"}),
    *DERIVED,
)

#: Columns compared ignoring case, ``-`` and ``_``.
FOLDED = frozenset({"family", "label_family"})

_INT64 = (-(2**63), 2**63 - 1)
_COUNT = (0, 2**63 - 1)
_PORT = (0, 65535)

_RANGES: dict[str, tuple[float, float]] = {
    "flow_id": _COUNT,
    "orig_port": _PORT,
    "resp_port": _PORT,
    "orig_packets": _COUNT,
    "resp_packets": _COUNT,
    "orig_bytes": _COUNT,
    "resp_bytes": _COUNT,
    "parent_flow_id": (-1, 2**63 - 1),
    "vpn_probability": (0.0, 1.0),
    "hour": (0, 23),
    "duration_s": (0.0, float("inf")),
    "packets": _COUNT,
    "bytes": _COUNT,
    "decided_packet": _COUNT,
    "bytes_before": _COUNT,
}

_CHOICES: dict[str, tuple[str, ...]] = {
    "proto": (
        *PROTOCOL_NAMES.values(),
        *(f"ip-{n}" for n in range(256) if n not in PROTOCOL_NAMES),
    ),
    "service": (
        *("web", "mail", "voice", "messaging", "game", "remote", "file", "stream"),
        *("infrastructure", "vpn", "unknown"),
    ),
    "kind": tuple(k.value for k in Kind),
    "family": ("", *FAMILIES),
    "strength": tuple(s.label for s in Strength),
    "method": ("", "signature", "behaviour", "model"),
    "matched_side": ("", "client", "server"),
    "near_miss": ("", "expired", "not_yet", "wrong_side", "wrong_scope", "not_active"),
    "verdict": tuple(v.label for v in Verdict),
    "weekday": WEEKDAYS,
    "inside": ("", "orig", "resp", "both"),
}

_ADDRESSES = frozenset({"orig_ip", "resp_ip"})

_KINDS: dict[str, FieldKind] = {
    "bool": "bool",
    "int64": "int",
    "float64": "float",
    "string": "text",
}


@dataclass(frozen=True, slots=True)
class Field:
    """A column as expressions see it.

    Attributes
    ----------
    name : str
    kind : str
        ``bool``, ``int``, ``float``, ``text`` or ``list``.
    choices : tuple of str
        All values of an enumerated column; empty where text is free.
    low, high : int or float
        Bounds of a number, both possible.
    """

    name: str
    kind: FieldKind
    choices: tuple[str, ...] = ()
    low: float = 0
    high: float = 0

    def spelled(self, text: str) -> str:
        """Return a literal in the column's own spelling."""
        return canonical_family(text) if self.name in FOLDED else text

    def objection(self, text: str) -> tuple[str, str] | None:
        """Return why the column can never hold a text, and a remedy; None where it can."""
        if self.choices and text not in self.choices:
            return f"{self.name} is never {shown(text)}", self.remedy(text)
        if self.name in _ADDRESSES and text:
            try:
                ipaddress.ip_address(text)
            except ValueError:
                problem = f"{self.name} holds single addresses, never {shown(text)}"
                return problem, "write one address; a register holds prefixes"
        return None

    def remedy(self, text: str) -> str:
        """Return what to write for a word that the column does not hold, or that lacks quotes."""
        if not self.choices or text in self.choices:
            return f"write it in quotes: '{text}'"
        if self.name == "proto" and text.isdecimal() and int(text) in PROTOCOL_NAMES:
            return f"write '{PROTOCOL_NAMES[int(text)]}'"
        guess = nearest(text, self.choices)
        if guess:
            return f"did you mean '{guess}'?"
        if len(self.choices) > 12:
            return "see the reference of flow columns for its values"
        return "it is one of " + ", ".join(f"'{c}'" for c in self.choices)


def shown(text: str) -> str:
    """Return a text fit for a message: quoted, escaped and short."""
    return repr(text if len(text) <= 40 else text[:39] + "…")


def shortened(text: str) -> str:
    """Return the beginning of a condition that has been read, fit for a message."""
    return text if len(text) <= 60 else text[:59] + "…"


def nearest(word: str, options: Iterable[str]) -> str:
    """Return the option that is spelled most like a word, or an empty string."""
    lowered = {option.lower(): option for option in options if option}
    # The comparison takes quadratic time, and the word may be hostile.
    found = difflib.get_close_matches(word[:64].lower(), lowered, n=1, cutoff=0.65)
    return lowered[found[0]] if found else ""


def field_of(column: Column) -> Field:
    """Return the domain of one column."""
    kind = _KINDS.get(column.type, "list")
    low, high = _RANGES.get(column.name, _INT64 if kind == "int" else (float("-inf"), float("inf")))
    return Field(column.name, kind, _CHOICES.get(column.name, ()), low, high)


def fields_of(columns: Iterable[Column]) -> dict[str, Field]:
    """Return the domains of columns by name."""
    return {column.name: field_of(column) for column in columns}
