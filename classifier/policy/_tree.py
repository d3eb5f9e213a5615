"""The syntax tree of an expression, and its canonical spelling.

Every node is frozen and compares by value. ``All`` and ``Any`` hold two or more parts, none of
which is a node of the same class, so that a chain of a thousand ``or`` is one level deep.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = [
    "All",
    "AnyOf",
    "Compare",
    "Constant",
    "Flag",
    "Member",
    "Node",
    "Not",
    "Op",
    "Pair",
    "Value",
    "columns_of",
    "spell",
    "texts_of",
]

Op: TypeAlias = Literal["==", "!=", "<", "<=", ">", ">="]
Value: TypeAlias = str | int | float


@dataclass(frozen=True, slots=True)
class Constant:
    """``true`` or ``false``."""

    value: bool


@dataclass(frozen=True, slots=True)
class Flag:
    """A column of booleans."""

    column: str


@dataclass(frozen=True, slots=True)
class Compare:
    """A column of numbers or text against a literal of the column's own type."""

    column: str
    op: Op
    value: Value


@dataclass(frozen=True, slots=True)
class Member:
    """A column in, or not in, a list of literals of the column's own type."""

    column: str
    values: tuple[Value, ...]
    negated: bool


@dataclass(frozen=True, slots=True)
class Pair:
    """A column against another column of the same type."""

    left: str
    op: Op
    right: str
    kind: Literal["bool", "int", "float", "text"]


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    part: "Node"


@dataclass(frozen=True, slots=True)
class All:
    """Parts joined by ``and``."""

    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Parts joined by ``or``."""

    parts: tuple["Node", ...]


Node: TypeAlias = Constant | Flag | Compare | Member | Pair | Not | All | AnyOf


def columns_of(node: Node) -> Iterator[str]:
    """Yield the columns that a tree reads, some more than once."""
    match node:
        case Flag(column) | Compare(column) | Member(column):
            yield column
        case Pair(left, _, right):
            yield left
            yield right
        case Not(part):
            yield from columns_of(part)
        case All(parts) | AnyOf(parts):
            for part in parts:
                yield from columns_of(part)
        case Constant():
            pass


def texts_of(node: Node) -> Iterator[tuple[str, str]]:
    """Yield each column that a tree compares with text, and the text."""
    match node:
        case Compare(column, _, str(value)):
            yield column, value
        case Member(column, values):
            yield from ((column, value) for value in values if isinstance(value, str))
        case Not(part):
            yield from texts_of(part)
        case All(parts) | AnyOf(parts):
            for part in parts:
                yield from texts_of(part)
        case _:
            pass


def spell(node: Node) -> str:
    """Return the canonical text of a tree; parsing it gives the same tree."""
    match node:
        case Constant(value):
            return "true" if value else "false"
        case Flag(column):
            return column
        case Compare(column, op, value):
            return f"{column} {op} {_literal(value)}"
        case Member(column, values, negated):
            word = "not in" if negated else "in"
            return f"{column} {word} [{', '.join(map(_literal, values))}]"
        case Pair(left, op, right):
            return f"{left} {op} {right}"
        case Not(part):
            return f"not {_grouped(part)}"
        case All(parts):
            return " and ".join(map(_grouped, parts))
        case AnyOf(parts):
            return " or ".join(map(spell, parts))


def _grouped(node: Node) -> str:
    return f"({spell(node)})" if isinstance(node, All | AnyOf) else spell(node)


def _literal(value: Value) -> str:
    if not isinstance(value, str):
        return repr(value)
    quote = '"' if "'" in value and '"' not in value else "'"
    return quote + value.replace("\\", "\\\\").replace(quote, "\\" + quote) + quote
