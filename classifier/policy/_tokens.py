"""Cuts the text of an expression into tokens."""

import re
from collections.abc import Callable
from typing import Literal, NamedTuple, NoReturn, TypeAlias

from classifier.errors import PolicyError
from classifier.policy._columns import shown

__all__ = ["TEXT_LIMIT", "Fail", "Token", "tokens"]

#: Characters of an expression; a longer one is a mistake or an attack.
TEXT_LIMIT = 20_000

#: Characters of a number; int64 needs 20, and long ones take quadratic time to convert.
_NUMBER_LIMIT = 40

#: ``fail(position, problem, remedy)`` makes the error, for the caller to raise.
Fail: TypeAlias = Callable[[int, str, str], PolicyError]

_PATTERN = re.compile(
    r"""(?P<space>\s+)
    | (?P<name>[^\W\d]\w*)
    | (?P<number>-?(?:\d+(?:_\d+)*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.:]|-\d))
    | (?P<string>'(?:[^'\\\n]|\\['"\\])*'|"(?:[^"\\\n]|\\['"\\])*")
    | (?P<sign>==|!=|<=|>=|<(?!>)|>|[()\[\],])
    """,
    re.VERBOSE | re.ASCII,
)

_CALCULATED = "compare with literals; packets and bytes are sums, shares are written as 0.5"
_QUOTES = "write ' or \""
_REMEDIES = {
    "=": "write == to compare",
    "&": "write and",
    "|": "write or",
    "!": "write not, or != to compare",
    "~": "write not; text is compared whole, without patterns",
    "<>": "write !=",
    "{": "lists stand in square brackets",
    **dict.fromkeys("+*/%^", _CALCULATED),
    ".": "columns have no parts and no methods; numbers begin with a digit, as 0.5",
    "?": "write one rule for each case",
    ";": "join conditions by and, or",
    ":": "write a range as two comparisons, a time of day by hour",
    "#": "a comment stands outside of the quotes",
    **dict.fromkeys("\u2018\u2019\u201c\u201d\u00b4`", _QUOTES),
    "\u2260": "write !=",
    "\u2264": "write <=",
    "\u2265": "write >=",
    "\u00ac": "write not",
    "\u2227": "write and",
    "\u2228": "write or",
}


class Token(NamedTuple):
    """A word of an expression; ``position`` counts characters from 0."""

    kind: Literal["name", "number", "string", "sign", "end"]
    text: str
    value: str | int | float
    position: int


def tokens(text: str, fail: Fail) -> list[Token]:
    """Return the tokens of an expression, closed by one of kind ``end``."""
    if len(text) > TEXT_LIMIT:
        raise fail(TEXT_LIMIT, f"more than {TEXT_LIMIT} characters", "split the rule into several")
    found: list[Token] = []
    position = 0
    while position < len(text):
        match = _PATTERN.match(text, position)
        if match is None:
            _refuse(text, position, fail)
        piece = match.group()
        if match.lastgroup == "name":
            found.append(Token("name", piece, piece, position))
        elif match.lastgroup == "number":
            found.append(Token("number", piece, _number(piece, position, fail), position))
        elif match.lastgroup == "string":
            value = re.sub(r"\\(.)", r"\1", piece[1:-1])
            if any("\ud800" <= c <= "\udfff" for c in value):
                raise fail(
                    position, "this text is not valid Unicode", "write it without surrogates"
                )
            found.append(Token("string", piece, value, position))
        elif match.lastgroup == "sign":
            found.append(Token("sign", piece, piece, position))
        position = match.end()
    found.append(Token("end", "", "", len(text)))
    return found


def _number(piece: str, position: int, fail: Fail) -> int | float:
    if len(piece) > _NUMBER_LIMIT:
        raise fail(position, "this number is too long", f"use at most {_NUMBER_LIMIT} characters")
    if not any(c in piece for c in ".eE"):
        return int(piece)
    value = float(piece)
    if value in (float("inf"), float("-inf")):
        raise fail(position, f"{piece} is out of range", "write a smaller number")
    return value


def _refuse(text: str, position: int, fail: Fail) -> NoReturn:
    start = text[position]
    if start in "'\"":
        line = text[position + 1 :].partition("\n")[0]
        if start in line:
            problem = "a backslash escapes nothing here"
            raise fail(position, problem, "write \\\\ for a backslash, \\' for a quote")
        raise fail(position, "this text does not end", "close it with the same quote on its line")
    if start.isascii() and (start.isdigit() or start == "-"):
        raise fail(position, "this is no number", _number_remedy(text, position))
    sign = "<>" if text.startswith("<>", position) else start
    means = f"{shown(sign)} means nothing here"
    if sign not in _REMEDIES and not sign.isascii():
        means = f"{shown(sign)} (U+{ord(sign):04X}) means nothing here"
        raise fail(position, means, "write plain spaces, and columns in ASCII letters as listed")
    remedy = "write columns, literals, and, or, not, in, comparisons, parentheses"
    raise fail(position, means, _REMEDIES.get(sign, remedy))


def _number_remedy(text: str, position: int) -> str:
    """Return what was probably meant by something that begins like a number."""
    found = re.compile(r"[\w.:+-]*", re.ASCII).match(text, position)
    piece = found.group()[:64] if found else ""
    if re.fullmatch(r"\d+\.\d+\.\d+\.\d+|[\da-fA-F]*:[\da-fA-F]*:[\da-fA-F:.]*", piece):
        return f"an address stands in quotes: '{piece}'"
    if re.match(r"\d{4}-\d\d?-\d", piece):
        return "write nanoseconds since 1970 for first_ns, or ask for hour and weekday"
    if re.fullmatch(r"\d+(?:-|\.\.|:)\d+", piece):
        return "write a range as two comparisons, a time of day by hour"
    if piece == "-":
        return _CALCULATED
    return "write it like 443, 1_000_000 or 0.5, without a unit"
