"""Says whether a condition can apply to any flow at all.

How this works
--------------
A question is a list of demands: trees that must come out true or false together. What flow columns
promise one another (``CONTRACT``) is demanded too. Demands are taken apart until only tests of
single columns are left; these narrow one domain per column (allowed values, excluded values,
interval), and an empty domain is a contradiction. Alternatives are first tried for being the last
one left (unit propagation), then branched on. That is disjunctive normal form made one term at a
time, so the first possible term ends the search.

Propositional questions are hard in general: after ``BRANCH_LIMIT`` terms, or when the budget shared
by the questions of one policy is spent, the answer is *unknown* (None) and callers refuse nothing.
Answers ``False`` are certain. A test of one column against another is an opaque yes or no.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple, TypeAlias

from classifier.errors import PolicyError
from classifier.policy._columns import INPUT_COLUMNS, Field, fields_of, shortened
from classifier.policy._parser import parse
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
    columns_of,
    spell,
)
from classifier.tables import FAMILIES, Kind

__all__ = ["BRANCH_LIMIT", "CONTRACT", "Budget", "Demand", "contradiction", "possible"]

BRANCH_LIMIT = 4096

#: What the columns of one flow promise about one another, and nothing that a setting can change.
CONTRACT: tuple[str, ...] = (
    "not is_vpn or kind != 'encapsulation'",
    "registered or registration_id == ''",
    "registered or organisation == ''",
    "registered or category == ''",
    "registered or matched_side == ''",
    "not registered or matched_side != ''",
    "not registered or near_miss == ''",
    "method != 'signature' or strength in ['strong', 'proof']",
    "method == 'signature' or strength not in ['strong', 'proof']",
    "method != 'behaviour' or strength == 'weak'",
    "method == 'behaviour' or strength != 'weak'",
    *(
        f"family not in {[f for f, k in FAMILIES.items() if k == kind]} or kind == '{kind.value}'"
        for kind in Kind
        if kind
    ),
)

Demand: TypeAlias = tuple[Node, bool]


@dataclass(slots=True)
class Budget:
    """Steps (tests of one column) that the questions of one policy may still take."""

    steps: int = 200_000


class _Domain(NamedTuple):
    """What one column may still hold; None for ``allowed`` means anything in the interval.

    A tuple, as `dataclasses.replace` took half the time of reading a policy of 200 rules.
    """

    allowed: frozenset[object] | None = None
    excluded: frozenset[object] = frozenset()
    low: float = 0
    high: float = 0
    low_open: bool = False
    high_open: bool = False
    numeric: bool = False
    whole: bool = False

    def holds(self, value: object) -> bool:
        if value in self.excluded:
            return False
        if not self.numeric:
            return True
        assert isinstance(value, int | float)
        above = value > self.low if self.low_open else value >= self.low
        return above and (value < self.high if self.high_open else value <= self.high)

    def settled(self) -> "_Domain | None":
        """Return the domain without what its own parts rule out; None where nothing is left."""
        if self.allowed is not None:
            left = frozenset(v for v in self.allowed if self.holds(v))
            if not left:
                return None
            return self if len(left) == len(self.allowed) else self._replace(allowed=left)
        if not self.numeric:
            return self
        width = self.high - self.low
        if width < 0 or (width == 0 and not self.holds(self.low)):
            return None
        if self.whole and width < len(self.excluded):
            inside = range(int(self.low), int(self.high) + 1)
            return self if any(self.holds(v) for v in inside) else None
        return self

    def narrowed(self, op: str, operand: object) -> "_Domain | None":
        if op == "in":
            assert isinstance(operand, frozenset)
            both = operand if self.allowed is None else self.allowed & operand
            return self._replace(allowed=both).settled()
        if op == "not in":
            assert isinstance(operand, frozenset)
            return self._replace(excluded=self.excluded | operand).settled()
        assert isinstance(operand, int | float)
        strict = op in ("<", ">")
        if self.whole and strict:
            operand, strict = (operand - 1 if op == "<" else operand + 1), False
        if op in ("<", "<="):
            if (operand, not strict) < (self.high, not self.high_open):
                return self._replace(high=operand, high_open=strict).settled()
        elif (operand, strict) > (self.low, self.low_open):
            return self._replace(low=operand, low_open=strict).settled()
        return self


_Key: TypeAlias = str | tuple[str, str, str]
_State: TypeAlias = dict[_Key, _Domain]
_TRUE: frozenset[object] = frozenset({True})
_FALSE: frozenset[object] = frozenset({False})
_OPPOSITE: dict[Op, Op] = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}


def possible(
    demands: Sequence[Demand], fields: Mapping[str, Field], budget: Budget | None = None
) -> bool | None:
    """Say whether one flow can meet all demands.

    Parameters
    ----------
    demands : sequence of (Node, bool)
        A tree and what it must come out as.
    fields : mapping of str to Field
        Domains of the columns.
    budget : Budget, optional
        Shared by several questions; its own otherwise.

    Returns
    -------
    bool or None
        None where the limits did not suffice for an answer.
    """
    search = _Search(fields, budget or Budget())
    if search.budget.steps < 0:
        return None
    stack: list[tuple[_State, list[Demand]]] = [({}, [*_promises(demands, fields), *demands])]
    for _ in range(BRANCH_LIMIT):
        if not stack:
            return False
        state, pending = stack.pop()
        alternatives = search.reduced(state, pending)
        if search.budget.steps < 0:
            return None
        if alternatives is None:
            continue
        if not alternatives:
            return True
        narrowest = min(range(len(alternatives)), key=lambda i: len(alternatives[i]))
        rest = [_rejoined(a) for i, a in enumerate(alternatives) if i != narrowest]
        # Pushed in reverse, so that the first alternative is tried first.
        stack.extend((dict(state), [*rest, d]) for d in reversed(alternatives[narrowest]))
    return False if not stack else None


def contradiction(tree: Node, fields: Mapping[str, Field], budget: Budget) -> str:
    """Return why a condition that is not `possible` is not, by its smallest part that is found."""
    parts = tree.parts if isinstance(tree, All) else (tree,)
    for part in parts:
        if possible([(part, True)], fields, budget) is False:
            return f"{shortened(spell(part))} holds for no flow{_range(part, fields)}"
    for one, other in combinations(parts, 2):
        if possible([(one, True), (other, True)], fields, budget) is False:
            return f"{shortened(spell(one))} and {shortened(spell(other))} exclude each other"
    return "its condition contradicts itself"


def _range(part: Node, fields: Mapping[str, Field]) -> str:
    if not isinstance(part, Compare | Member) or fields[part.column].kind not in ("int", "float"):
        return ""
    field = fields[part.column]
    upwards = (
        f"goes from {field.low:g} to {field.high:g}" if field.high < 2**62 else "is not negative"
    )
    return f", as {field.name} {upwards}" if field.low >= 0 else ""


class _Search:
    """Narrows domains by demands, and counts the steps."""

    def __init__(self, fields: Mapping[str, Field], budget: Budget) -> None:
        self.fields = fields
        self.budget = budget

    def reduced(self, state: _State, pending: list[Demand]) -> list[list[Demand]] | None:
        """Narrow ``state`` in place; return the open alternatives, None on a contradiction."""
        waiting: list[list[Demand]] = []
        while pending:
            if not self._taken_apart(state, pending, waiting) or self.budget.steps < 0:
                return None
            still_open: list[list[Demand]] = []
            for choices in waiting:
                left = self._left(state, choices)
                if left is None:
                    continue
                if not left:
                    return None
                if len(left) == 1:
                    pending.append(left[0])
                else:
                    still_open.append(left)
            waiting = still_open
        return waiting

    def _taken_apart(
        self, state: _State, pending: list[Demand], waiting: list[list[Demand]]
    ) -> bool:
        while pending:
            node, wanted = pending.pop()
            match node:
                case Not(part):
                    pending.append((part, not wanted))
                case All(parts) | AnyOf(parts):
                    if isinstance(node, All) == wanted:
                        pending.extend((part, wanted) for part in parts)
                    else:
                        waiting.append([(part, wanted) for part in parts])
                case Constant(value):
                    if value != wanted:
                        return False
                case _:
                    key, domain = self._tested(state, node, wanted)
                    if domain is None:
                        return False
                    state[key] = domain
        return True

    def _left(self, state: _State, choices: list[Demand]) -> list[Demand] | None:
        """Return the alternatives not yet ruled out; None where one holds already."""
        left: list[Demand] = []
        for node, wanted in choices:
            if isinstance(node, Not | All | AnyOf):
                left.append((node, wanted))
            elif isinstance(node, Constant):
                if node.value == wanted:
                    return None
            elif self._tested(state, node, wanted)[1] is not None:
                if self._tested(state, node, not wanted)[1] is None:
                    return None
                left.append((node, wanted))
        return left

    def _tested(self, state: _State, node: Node, wanted: bool) -> tuple[_Key, _Domain | None]:
        """Return what a test of one column leaves of its domain."""
        self.budget.steps -= 1
        key, op, operand = _test_of(node, wanted)
        domain = state.get(key)
        if domain is None:
            domain = _domain_of(key, self.fields)
        return key, domain.narrowed(op, operand)


def _test_of(node: Node, wanted: bool) -> tuple[_Key, str, object]:
    match node:
        case Flag(column):
            return column, "in", _TRUE if wanted else _FALSE
        case Compare(column, op, value):
            op = op if wanted else _OPPOSITE[op]
            if op in ("==", "!="):
                return column, "in" if op == "==" else "not in", frozenset({value})
            return column, op, value
        case Member(column, values, negated):
            return column, "in" if wanted != negated else "not in", frozenset(values)
        case Pair(left, op, right):
            if op in ("!=", ">=", "<="):
                op, wanted = _OPPOSITE[op], not wanted
            if op == ">" or (op == "==" and right < left):
                left, right, op = right, left, "<" if op == ">" else op
            return (left, op, right), "in", _TRUE if wanted else _FALSE
    raise AssertionError(f"{node} is no test")


def _domain_of(key: _Key, fields: Mapping[str, Field]) -> _Domain:
    field = fields[key] if isinstance(key, str) else None
    if field is None or field.kind == "bool":
        return _Domain(allowed=_TRUE | _FALSE)
    if field.kind == "text":
        return _Domain(allowed=frozenset(field.choices) if field.choices else None)
    return _Domain(low=field.low, high=field.high, numeric=True, whole=field.kind == "int")


def _rejoined(choices: list[Demand]) -> Demand:
    wanted = choices[0][1]
    parts = tuple(node for node, _ in choices)
    return (AnyOf(parts) if wanted else All(parts)), wanted


@lru_cache(maxsize=1)
def _contract() -> tuple[Node, ...]:
    fields = fields_of(INPUT_COLUMNS)
    return tuple(parse(text, fields, _broken) for text in CONTRACT)


def _promises(demands: Sequence[Demand], fields: Mapping[str, Field]) -> list[Demand]:
    """Return the parts of the contract that bear on the columns of some demands."""
    known = {column for node, _ in demands for column in columns_of(node)}
    waiting = [(tree, set(columns_of(tree))) for tree in _contract()]
    found: list[Demand] = []
    while True:
        near = [
            (t, columns) for t, columns in waiting if columns & known and columns <= fields.keys()
        ]
        if not near:
            return found
        found += [(tree, True) for tree, _ in near]
        known.update(*(columns for _, columns in near))
        waiting = [pair for pair in waiting if pair not in near]


def _broken(position: int, problem: str, remedy: str) -> PolicyError:
    return PolicyError(f"contract, character {position + 1}: {problem}", remedy=remedy)
