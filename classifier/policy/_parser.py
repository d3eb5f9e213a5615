"""Text of an expression -> syntax tree, with the types checked on the way.

How this works
--------------
Recursive descent over this grammar; ``not`` binds as in Python, looser than a comparison::

    either     = both ("or" both)*
    both       = negation ("and" negation)*
    negation   = "not" negation | test
    test       = "(" either ")" | operand [comparison]
    comparison = ("==" | "!=" | "<" | "<=" | ">" | ">=") operand | ["not"] "in" "[" literal, ... "]"
    operand    = column | literal

Parentheses and ``not`` are the only way to nest, and both count against ``DEPTH_LIMIT``; chains of
``and`` and ``or`` are flat. A tree therefore never exhausts Python's stack, here or later.

Comparisons come out as ``column op literal`` with the literal in the column's own type: whole
floats become integers for integer columns, integers become floats for float columns.
"""

from collections.abc import Mapping
from typing import NoReturn, TypeAlias, cast

from classifier.policy._columns import ALIASES, Field, nearest, shown
from classifier.policy._tokens import Fail, Token, tokens
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
    Value,
)

__all__ = ["DEPTH_LIMIT", "parse"]

DEPTH_LIMIT = 32

_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})
_MIRRORED: dict[Op, Op] = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_BOOLEANS = {"true": True, "True": True, "false": False, "False": False}
_RESERVED = frozenset({"and", "or", "not", "in"})
_RELATION = "is compared whole, by ==, != or in [...]"
#: Words of other languages -> what to write. What is known of a column comes first.
_MEANT = {
    "and": "write and in small letters",
    "or": "write or in small letters",
    "not": "write not in small letters",
    "in": "write in in small letters",
    "is": "write == or !=",
    "eq": "write ==",
    "xor": "compare two columns that are true or false by !=",
    "if": "leave it out, and write one rule for each case",
    "else": "write one rule for each case",
    "between": "write two comparisons joined by and",
    **dict.fromkeys(("like", "ilike", "matches", "contains"), f"text {_RELATION}"),
    **dict.fromkeys(("startswith", "endswith", "glob", "regex"), f"text {_RELATION}"),
}
#: What other tools call a column.
_ELSEWHERE = {
    **dict.fromkeys(("src_ip", "src", "source_ip", "saddr"), "orig_ip"),
    **dict.fromkeys(("dst_ip", "dst", "dest_ip", "daddr"), "resp_ip"),
    **dict.fromkeys(("src_port", "sport", "source_port"), "orig_port"),
    **dict.fromkeys(("dst_port", "dport", "dest_port", "port"), "resp_port"),
    **dict.fromkeys(("sni", "host", "hostname", "domain"), "server_name"),
}
_MISSING = frozenset({"none", "null", "nil", "undefined", "nan", "na"})
_CALLED = {"bool": "true or false", "int": "a whole number", "float": "a number", "text": "text"}

_Operand: TypeAlias = Field | bool | str | int | float


def parse(text: str, fields: Mapping[str, Field], fail: Fail) -> Node:
    """Return the tree of an expression.

    Parameters
    ----------
    text : str
    fields : mapping of str to Field
        The columns that it may name.
    fail : callable
        ``fail(position, problem, remedy)`` makes the error; positions count from 0.
    """
    return _Parser(tokens(text, fail), fields, fail).whole()


class _Parser:
    """Reads tokens from left to right; each method consumes what its grammar line says."""

    def __init__(self, found: list[Token], fields: Mapping[str, Field], fail: Fail) -> None:
        self.tokens = found
        self.at = 0
        self.depth = 0
        self.fields = fields
        self.fail = fail

    def peek(self) -> Token:
        return self.tokens[self.at]

    def next(self) -> Token:
        token = self.peek()
        self.at += 1
        return token

    def took(self, text: str) -> bool:
        """Consume a keyword or sign if it comes next."""
        token = self.peek()
        if token.kind in ("name", "sign") and token.text == text:
            self.at += 1
            return True
        return False

    def whole(self) -> Node:
        if self.peek().kind == "end":
            raise self.fail(0, "the condition is empty", "write true to apply to every flow")
        node = self.either()
        if self.peek().kind != "end":
            self.stray(self.peek())
        return node

    def either(self) -> Node:
        parts = [self.both()]
        while self.took("or"):
            parts.append(self.both())
        if len(parts) == 1:
            return parts[0]
        return AnyOf(tuple(q for p in parts for q in (p.parts if isinstance(p, AnyOf) else (p,))))

    def both(self) -> Node:
        parts = [self.negation()]
        while self.took("and"):
            parts.append(self.negation())
        if len(parts) == 1:
            return parts[0]
        return All(tuple(q for p in parts for q in (p.parts if isinstance(p, All) else (p,))))

    def negation(self) -> Node:
        start = self.peek()
        if not self.took("not"):
            return self.test()
        self.deeper(start)
        node = self.negation()
        self.depth -= 1
        return Not(node)

    def test(self) -> Node:
        start = self.peek()
        if not self.took("("):
            return self.comparison()
        self.deeper(start)
        if self.peek().text == ")" and self.peek().kind == "sign":
            raise self.fail(start.position, "these parentheses are empty", "write a condition")
        node = self.either()
        if not self.took(")"):
            if self.peek().kind != "end":
                self.stray(self.peek())
            raise self.fail(start.position, "this parenthesis is not closed", "add )")
        self.depth -= 1
        if self.peek().text in _COMPARISONS and self.peek().kind == "sign":
            raise self.fail(
                self.peek().position,
                "a condition in parentheses cannot be compared",
                "compare columns with literals, and join conditions by and, or",
            )
        return node

    def deeper(self, token: Token) -> None:
        self.depth += 1
        if self.depth > DEPTH_LIMIT:
            problem = f"nested more than {DEPTH_LIMIT} deep"
            raise self.fail(token.position, problem, "split the rule into several")

    def comparison(self) -> Node:
        start = self.peek()
        left = self.operand()
        token = self.peek()
        if token.kind == "sign" and token.text in _COMPARISONS:
            self.at += 1
            second = self.peek()
            node = self.compared(start, left, cast(Op, token.text), second, self.operand())
            if self.peek().kind == "sign" and self.peek().text in _COMPARISONS:
                remedy = "write two comparisons joined by and"
                raise self.fail(self.peek().position, "comparisons cannot be chained", remedy)
            return node
        if token.kind == "name" and token.text in ("in", "not"):
            return self.membership(start, left)
        return self.bare(start, left)

    def operand(self) -> _Operand:
        token = self.next()
        if token.kind in ("number", "string"):
            return token.value
        if token.kind != "name" or token.text in _RESERVED:
            self.at -= 1
            self.stray(token)
        if token.text in _BOOLEANS:
            return _BOOLEANS[token.text]
        field = self.fields.get(token.text)
        if field is None:
            self.unknown(token)
        if field.kind == "list":
            problem = f"{field.name} is a list, which conditions cannot test"
            remedy = "test strength, kind or family" if field.name == "evidence" else "leave it out"
            raise self.fail(token.position, problem, remedy)
        return field

    def bare(self, start: Token, operand: _Operand) -> Node:
        if isinstance(operand, bool):
            return Constant(operand)
        if not isinstance(operand, Field):
            problem = f"{start.text[:40]} alone is no condition"
            remedy = "compare it with a column, or write column in [...] for several"
            raise self.fail(start.position, problem, remedy)
        if self.peek().kind == "name" and self.peek().text not in _RESERVED:
            self.stray(self.peek())
        if operand.kind != "bool":
            empty = "''" if operand.kind == "text" else "0"
            problem = f"{operand.name} is {_CALLED[operand.kind]}, not true or false"
            raise self.fail(start.position, problem, f"write {operand.name} != {empty}")
        return _flag(operand)

    def compared(
        self, start: Token, left: _Operand, op: Op, second: Token, right: _Operand
    ) -> Node:
        if isinstance(left, Field) and isinstance(right, Field):
            return self.paired(start, left, op, right)
        if isinstance(left, Field):
            return self.against(left, op, second, right)
        if isinstance(right, Field):
            return self.against(right, _MIRRORED[op], start, left)
        raise self.fail(start.position, "two literals are compared", "name a column")

    def paired(self, start: Token, left: Field, op: Op, right: Field) -> Node:
        if left.name == right.name:
            problem = f"{left.name} is compared with itself"
            raise self.fail(start.position, problem, "name another column")
        if left.kind != right.kind or left.kind == "list":
            problem = (
                f"{left.name} is {_CALLED[left.kind]}, but {right.name} is {_CALLED[right.kind]}"
            )
            raise self.fail(start.position, problem, "compare columns of the same type")
        self.orderable(start, left, op)
        return Pair(left.name, op, right.name, left.kind)

    def against(self, field: Field, op: Op, token: Token, operand: _Operand) -> Node:
        """Return the comparison of a column with the literal that stands at ``token``."""
        if field.kind == "bool" and isinstance(operand, bool):
            self.orderable(token, field, op)
            flag = _flag(field)
            return flag if operand == (op == "==") else Not(flag)
        value = self.literal(field, token, operand)
        self.orderable(token, field, op)
        return Compare(field.name, op, value)

    def orderable(self, token: Token, field: Field, op: Op) -> None:
        if op not in ("==", "!=") and field.kind in ("text", "bool"):
            problem = f"{field.name} is {_CALLED[field.kind]} and has no order"
            raise self.fail(token.position, problem, "compare with ==, != or in [...]")

    def membership(self, start: Token, left: _Operand) -> Node:
        negated = self.took("not")
        word = self.peek()
        if not self.took("in"):
            raise self.fail(word.position, "only in can follow not here", "write not in [...]")
        if self.peek().text in self.fields and self.peek().kind == "name":
            self.operand()  # says so where it is a list
            self.at -= 1
        if not isinstance(left, Field):
            remedy = "write a column, then in, then literals in square brackets"
            raise self.fail(start.position, "only a column can be in a list", remedy)
        if left.kind == "bool":
            remedy = f"write {left.name} or not {left.name}"
            raise self.fail(start.position, f"{left.name} is true or false", remedy)
        bracket = self.peek()
        if not self.took("["):
            raise self.fail(
                bracket.position, "a list must follow in", "write it in square brackets"
            )
        values: list[Value] = []
        while not self.took("]"):
            token = self.next()
            if token.kind == "end":
                raise self.fail(bracket.position, "this list is not closed", "add ]")
            if token.kind not in ("number", "string"):
                problem = f"{shown(token.text)} is no literal"
                raise self.fail(token.position, problem, "write text in quotes or numbers")
            values.append(self.literal(left, token, token.value))
            if not self.took(",") and self.peek().text != "]":
                raise self.fail(self.peek().position, "this list is not closed", "add a comma or ]")
        if not values:
            problem = f"{left.name} is never in an empty list"
            raise self.fail(bracket.position, problem, "name at least one literal")
        return Member(left.name, tuple(dict.fromkeys(values)), negated)

    def literal(self, field: Field, token: Token, operand: _Operand) -> Value:
        """Return a literal in the column's own type and spelling."""
        number = isinstance(operand, int | float) and not isinstance(operand, bool)
        if field.kind == "text" and isinstance(operand, str):
            value = field.spelled(operand)
            objection = field.objection(value)
            if objection:
                problem, remedy = objection
                raise self.fail(token.position, f"this can never apply: {problem}", remedy)
            return value
        if field.kind == "float" and number:
            return float(cast(float, operand))
        if field.kind == "int" and number:
            whole = int(cast(float, operand))
            if whole == operand:
                return whole
            problem = f"{field.name} is a whole number, never {token.text}"
            raise self.fail(token.position, problem, f"write {whole} or {whole + 1}")
        problem = f"{field.name} is {_CALLED[field.kind]} and cannot be compared with {token.text}"
        raise self.fail(token.position, _short(problem), _meant_by(field, token))

    def unknown(self, token: Token) -> NoReturn:
        after = self.peek().text
        problem = f"there is no column {shown(token.text)}"
        guess = _ELSEWHERE.get(token.text.lower()) or nearest(
            token.text, [*self.fields, "true", "false"]
        )
        remedy = f"did you mean {guess}?" if guess else "see the reference of flow columns"
        if token.text in ("verdict", "rule"):
            problem = f"{token.text} is what the policy decides"
            remedy = "ask what is known of a flow, and put exceptions before this rule"
        elif any(token.text in f.choices for f in self.fields.values()):
            remedy = f"text stands in quotes: '{token.text}'"
        elif after in ("(", "["):
            problem = f"{shown(token.text)} is no column, and nothing can be called or indexed"
            remedy = "write columns by their names alone"
        elif token.text.lower() in _MISSING:
            remedy = "what is missing counts as false, '' or 0"
        elif token.text.lower() in _MEANT:
            remedy = _MEANT[token.text.lower()]
        elif not guess and self.before(token).text in ("==", "!="):
            remedy = f"text stands in quotes: '{token.text[:40]}'"
        raise self.fail(token.position, problem, remedy)

    def before(self, token: Token) -> Token:
        return self.tokens[max(self.tokens.index(token) - 1, 0)]

    def stray(self, token: Token) -> NoReturn:
        if token.kind == "end":
            raise self.fail(token.position, "the condition ends too early", "complete it")
        if token.text == ")":
            raise self.fail(token.position, "this parenthesis was never opened", "remove it")
        remedy = "join conditions by and, or; compare a column with a literal"
        if token.kind == "name":
            if self.before(token).kind == "number":
                remedy = "write numbers without a unit; " + remedy
            remedy = _MEANT.get(token.text.lower() * (token.text not in _RESERVED), remedy)
        elif token.text == ",":
            remedy = "join conditions by and, or; write numbers like 1_000 or 0.5"
        elif token.text == "(":
            remedy = "write literals without parentheses, lists in square brackets"
        raise self.fail(token.position, f"{shown(token.text)} cannot stand here", remedy)


def _flag(field: Field) -> Node:
    """Return the test of a column of booleans; of a derived one, that of what it is made from."""
    if field.name in ALIASES:
        return Compare("near_miss", "==", ALIASES[field.name])
    return Flag(field.name)


def _short(text: str) -> str:
    return text if len(text) <= 160 else text[:159] + "…"


def _meant_by(field: Field, token: Token) -> str:
    """Return a remedy for a literal of another type than the column's."""
    if field.kind == "text":
        return field.remedy(token.text[:40])
    if field.kind == "bool":
        return f"write {field.name} or not {field.name}"
    if field.name.endswith("_ns") and isinstance(token.value, str):
        return "write nanoseconds since 1970, or ask for hour and weekday"
    if field.name == "hour":
        return "write a whole number from 0 to 23, without quotes"
    return "write a number without quotes"
