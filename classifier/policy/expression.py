"""Boolean expressions over the flow columns: what stands behind ``when``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from classifier.errors import PolicyError
from classifier.policy._columns import DERIVED, INPUT_COLUMNS, Field, fields_of
from classifier.policy._evaluate import Reader
from classifier.policy._parser import parse
from classifier.policy._reach import possible
from classifier.policy._tokens import Fail
from classifier.policy._tree import Node, columns_of, spell
from classifier.tables import Column

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Expression"]


@dataclass(frozen=True, slots=True)
class Expression:
    """A condition that a flow meets or not; made by `Expression.parse`.

    Two expressions are equal where they are spelled alike but for spaces, quotes and brackets.

    Attributes
    ----------
    tree : Node
        The syntax tree.
    text : str
        As it was written. ``str(expression)`` is the canonical spelling.

    Examples
    --------
    >>> when = Expression.parse("is_vpn and ( strength in ['proof','strong'] )")
    >>> str(when)
    "is_vpn and strength in ['proof', 'strong']"
    >>> when.columns
    ('is_vpn', 'strength')
    """

    tree: Node
    text: str = field(compare=False)
    _fields: Mapping[str, Field] = field(compare=False, repr=False)

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        columns: Iterable[Column] = INPUT_COLUMNS,
        path: str = "",
        line: int | None = None,
    ) -> Self:
        """Read an expression and check its columns, types and literals.

        Parameters
        ----------
        text : str
            ``and or not``, ``== != < <= > >=``, ``in [...]``, ``not in [...]``, parentheses,
            columns, and literals: text in quotes, numbers, ``true``, ``false``. A backslash
            escapes a quote or a backslash.
        columns : iterable of Column
            What it may name beside what is derived from flow columns (``hour``, ``inside`` ...).
            Pass ``tables.COLUMNS`` to allow ``verdict`` and ``rule`` too.
        path, line : str, int, optional
            Where the text stands, for error messages.

        Returns
        -------
        Expression

        Raises
        ------
        PolicyError
            If the text is no expression, or compares a column with what it can never hold.
        """

        def fail(position: int, problem: str, remedy: str) -> PolicyError:
            problem = f"condition, character {position + 1}: {problem}"
            return PolicyError(problem, path=path, line=line, remedy=remedy)

        return cls._read(text, columns, fail)

    @classmethod
    def _read(cls, text: str, columns: Iterable[Column], fail: Fail) -> Self:
        fields = fields_of([*DERIVED, *columns])
        return cls(parse(text, fields, fail), text, fields)

    def evaluate(
        self, table: "pa.Table | pa.RecordBatch", local: Sequence[str] | None = None
    ) -> NDArray[np.bool_]:
        """Say for each flow of a table whether it meets the condition.

        Parameters
        ----------
        table : pyarrow.Table or pyarrow.RecordBatch
            With at least the columns that the expression names. A missing value counts as false,
            as empty text, or as 0.
        local : sequence of str, optional
            Prefixes of the inside network, for ``inside``; private, link-local and unique-local
            where left out.

        Returns
        -------
        ndarray of bool, shape (n_rows,)

        Raises
        ------
        PolicyError
            If a column is missing or of another type.
        """
        return self._applies(Reader(table, local)).copy()

    def _applies(self, reader: Reader) -> NDArray[np.bool_]:
        return reader.applies(self.tree)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it names, in order, each once."""
        return tuple(dict.fromkeys(columns_of(self.tree)))

    def can_apply(self) -> bool:
        """Return False if it is certain that no flow can ever meet the condition."""
        return possible([(self.tree, True)], self._fields) is not False

    def __str__(self) -> str:
        """Return the canonical spelling, which parses to an equal expression."""
        return spell(self.tree)
