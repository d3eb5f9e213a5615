"""Syntax tree x Arrow table -> one boolean per row, a column at a time.

Missing values count as false, as empty text, as 0; so does a probability that is not a number.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from classifier.errors import PolicyError
from classifier.policy._columns import ALIASES, FOLDED, WEEKDAYS
from classifier.policy._inside import inside_column, inside_ends
from classifier.policy._tree import (
    All,
    AnyOf,
    Compare,
    Constant,
    Flag,
    Member,
    Node,
    Not,
    Op,
    Pair,
)
from classifier.tables import canonical_family

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Reader"]

_OPERATORS: dict[Op, Callable[[Any, Any], Any]] = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


_HOUR_NS = 3_600_000_000_000
_DAY_NS = 24 * _HOUR_NS


class Reader:
    """Evaluates trees over one table; each column is prepared once for all of them.

    Parameters
    ----------
    table : pyarrow.Table or pyarrow.RecordBatch
    local : sequence of str, optional
        Prefixes of the inside network.
    """

    def __init__(
        self, table: "pa.Table | pa.RecordBatch", local: Sequence[str] | None = None
    ) -> None:
        self._table = table
        self._local = local
        self._flags: dict[str, NDArray[np.bool_]] = {}
        self._numbers: dict[str, NDArray[Any]] = {}
        self._texts: dict[str, Any] = {}

    def applies(self, node: Node) -> NDArray[np.bool_]:
        """Return where a tree is true; bool, shape (n_rows,); the caller may not write to it."""
        match node:
            case Constant(value):
                return np.full(self._table.num_rows, value, bool)
            case Flag(column):
                return self._flag(column)
            case Compare(column, op, str(value)):
                return self._same(column, (value,), op == "!=")
            case Compare(column, op, value):
                return self._number(op, self._numeric(column, type(value)), value)
            case Member(column, values, negated) if isinstance(values[0], str):
                return self._same(column, values, negated)
            case Member(column, values, negated):
                return self._listed(column, values, negated)
            case Pair():
                return self._pair(node)
            case Not(part):
                return ~self.applies(part)
            case All(parts) | AnyOf(parts):
                join = np.logical_and if isinstance(node, All) else np.logical_or
                result = self.applies(parts[0])
                for part in parts[1:]:
                    result = join(result, self.applies(part))
                return result

    def _number(self, op: Op, values: NDArray[Any], literal: Any) -> NDArray[np.bool_]:
        # An integer literal beyond int64 is refused by some NumPy versions and rounded by others.
        if isinstance(literal, int) and not -(2**63) <= literal < 2**63:
            truth = bool(_OPERATORS[op](0, 1 if literal > 0 else -1))
            return np.full(values.shape, truth, bool)
        return np.asarray(_OPERATORS[op](values, literal), bool)

    def _listed(
        self, column: str, values: tuple[str | int | float, ...], negated: bool
    ) -> NDArray[np.bool_]:
        kind = type(values[0])
        known = [v for v in values if isinstance(v, float) or -(2**63) <= int(v) < 2**63]
        found = np.isin(self._numeric(column, kind), np.array(known, kind))
        return ~found if negated else found

    def _same(
        self, column: str, values: tuple[str | int | float, ...], negated: bool
    ) -> NDArray[np.bool_]:
        import pyarrow as pa
        import pyarrow.compute as pc

        texts = self._text(column)
        if len(values) == 1:
            found = pc.equal(texts, pa.scalar(values[0], pa.string()))
        else:
            found = pc.is_in(texts, value_set=pa.array(values, pa.string()))
        mask: NDArray[np.bool_] = np.asarray(found, bool)
        return ~mask if negated else mask

    def _pair(self, node: Pair) -> NDArray[np.bool_]:
        import pyarrow.compute as pc

        if node.kind == "text":
            same = np.asarray(pc.equal(self._text(node.left), self._text(node.right)), bool)
            return ~same if node.op == "!=" else same
        if node.kind == "bool":
            left, right = self._flag(node.left), self._flag(node.right)
        else:
            kind = int if node.kind == "int" else float
            left, right = self._numeric(node.left, kind), self._numeric(node.right, kind)
        return np.asarray(_OPERATORS[node.op](left, right), bool)

    def _flag(self, name: str) -> NDArray[np.bool_]:
        if name not in self._flags:
            if name in ALIASES:
                self._flags[name] = self._same("near_miss", (ALIASES[name],), negated=False)
            else:
                self._flags[name] = np.asarray(self._column(name, "bool", False), bool)
        return self._flags[name]

    def _numeric(self, name: str, kind: type) -> NDArray[Any]:
        if name not in self._numbers:
            if name in _DERIVED_NUMBERS:
                values = _DERIVED_NUMBERS[name](self)
            elif kind is int:
                values = np.asarray(self._column(name, "int64", 0), np.int64)
            else:
                values = np.asarray(self._column(name, "float64", 0.0), np.float64)
                values = np.where(np.isnan(values), 0.0, values)
            self._numbers[name] = values
        return self._numbers[name]

    def _text(self, name: str) -> Any:
        if name not in self._texts:
            if name == "weekday":
                self._texts[name] = self._weekday()
            elif name == "inside":
                self._texts[name] = self._inside()
            else:
                texts = self._column(name, "string", "")
                self._texts[name] = _folded(texts) if name in FOLDED else texts
        return self._texts[name]

    def _weekday(self) -> Any:
        import pyarrow as pa

        days = self._numeric("first_ns", int) // _DAY_NS
        return pa.array(WEEKDAYS).take(pa.array((days + 3) % 7))  # 1970 began on a Thursday

    def _inside(self) -> Any:
        if "inside" in self._table.schema.names:  # made from binary addresses, five times faster
            return self._column("inside", "string", "")
        return inside_column(
            *inside_ends(self._text("orig_ip"), self._text("resp_ip"), self._local)
        )

    def _column(self, name: str, wanted: str, missing: object) -> Any:
        """Return a column as Arrow, of the wanted type and without nulls."""
        import pyarrow as pa
        import pyarrow.compute as pc

        places = self._table.schema.get_all_field_indices(name)
        if len(places) != 1:
            problem = "has no column" if not places else "has more than one column"
            remedy = "judge a table of flows, with all the columns that the rules name"
            raise PolicyError(f"the table {problem} {name!r}", remedy=remedy)
        column = self._table.column(places[0])
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        plain = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if not _suits(plain, wanted):
            problem = f"column {name!r} of the table holds {str(plain)[:80]}, not {wanted}"
            raise PolicyError(problem, remedy="cast it to the type of the column reference")
        target = pa.type_for_alias(wanted)
        try:
            return pc.fill_null(column.cast(target), pa.scalar(missing, target))
        except pa.ArrowInvalid as error:
            problem = f"column {name!r} of the table does not fit {wanted}"
            raise PolicyError(problem, remedy="judge the table as it was written") from error


def _sum(ending: str) -> "Callable[[Reader], NDArray[Any]]":
    return lambda r: r._numeric(f"orig_{ending}", int) + r._numeric(f"resp_{ending}", int)


_DERIVED_NUMBERS: dict[str, Callable[[Reader], NDArray[Any]]] = {
    "hour": lambda r: r._numeric("first_ns", int) // _HOUR_NS % 24,
    "duration_s": lambda r: (r._numeric("last_ns", int) - r._numeric("first_ns", int)) / 1e9,
    "packets": _sum("packets"),
    "bytes": _sum("bytes"),
}


def _suits(type_: "pa.DataType", wanted: str) -> bool:
    import pyarrow.types as kinds

    tests = {
        "bool": (kinds.is_boolean,),
        "int64": (kinds.is_integer,),
        "float64": (kinds.is_floating, kinds.is_integer),
        "string": (kinds.is_string, kinds.is_large_string, kinds.is_string_view),
    }
    return any(test(type_) for test in (kinds.is_null, *tests[wanted]))


def _folded(texts: Any) -> Any:
    """Return family names in the column's spelling, whoever wrote them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    encoded = pc.dictionary_encode(texts)
    # As bytes: Arrow does not check that text read from a file is UTF-8.
    raw = encoded.dictionary.cast(pa.binary()).to_pylist()
    names = [canonical_family(name.decode("utf-8", "replace")) for name in raw]
    return pc.take(pa.array(names, pa.string()), encoded.indices)
