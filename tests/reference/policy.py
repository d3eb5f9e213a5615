"""The slow twin of the policy room: one row at a time, in plain Python.

The grammar of conditions is a subset of Python's, so Python's own parser is the second opinion on
precedence and literals. Nothing is compiled or run: the tree is walked.
"""

import ast
import datetime
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

_OPERATORS = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def _inside(row: Row) -> str:
    def is_inside(text: str) -> bool:
        return text.startswith(("10.", "192.168.", "169.254.", "fe80:", "fc", "fd"))

    ends = [end for end in ("orig", "resp") if is_inside(row[f"{end}_ip"])]
    return "both" if len(ends) == 2 else "".join(ends)


def _time(row: Row) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(row["first_ns"] // 10**9, datetime.UTC)


_DERIVED: dict[str, Callable[[Row], Any]] = {
    "hour": lambda row: _time(row).hour,
    "weekday": lambda row: _time(row).strftime("%A").lower(),
    "duration_s": lambda row: (row["last_ns"] - row["first_ns"]) / 10**9,
    "packets": lambda row: row["orig_packets"] + row["resp_packets"],
    "bytes": lambda row: row["orig_bytes"] + row["resp_bytes"],
    "inside": _inside,
    "registration_expired": lambda row: row["near_miss"] == "expired",
    "registration_wrong_side": lambda row: row["near_miss"] == "wrong_side",
}


def applies(condition: str, row: Row) -> bool:
    """Say whether a row meets a condition."""
    result = _value(ast.parse(condition.strip(), mode="eval").body, row)
    assert isinstance(result, bool)
    return result


def judge(
    rules: Sequence[tuple[str, str, str]], default: str, rows: Sequence[Row]
) -> list[tuple[str, str]]:
    """Return verdict and rule name per row; rules are (name, when, verdict)."""
    return [
        next(((v, name) for name, when, v in rules if applies(when, row)), (default, "default"))
        for row in rows
    ]


def _value(node: ast.expr, row: Row) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)):
            return -value
        case ast.Name(id="true" | "True"):
            return True
        case ast.Name(id="false" | "False"):
            return False
        case ast.Name(id=name) if name in _DERIVED:
            return _DERIVED[name](row)
        case ast.Name(id=name):
            return row[name]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, row)
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_value(v, row) for v in values)
        case ast.BoolOp(op=ast.Or(), values=values):
            return any(_value(v, row) for v in values)
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            folded = any(isinstance(x, ast.Name) and x.id == "family" for x in (left, right))
            return _compared(_value(left, row), op, right, row, folded)
    raise AssertionError(ast.dump(node))


def _compared(left: Any, op: ast.cmpop, right: ast.expr, row: Row, folded: bool) -> bool:
    def plain(value: Any) -> Any:
        return value.lower().replace("-", "").replace("_", "") if folded else value

    if isinstance(right, ast.List):
        inside = any(plain(left) == plain(_value(v, row)) for v in right.elts)
        return inside == isinstance(op, ast.In)
    return bool(_OPERATORS[type(op)](plain(left), plain(_value(right, row))))
