"""A written policy: rules over the flow columns, of which the first that applies decides."""

import hashlib
import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from classifier.errors import PolicyError, must_be
from classifier.policy._columns import nearest
from classifier.policy._evaluate import Reader
from classifier.policy._reading import SIZE_LIMIT, Rule, read
from classifier.tables import Verdict

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Policy", "builtin_names", "builtin_policies", "source_of"]

_BUILTIN = Path(__file__).with_name("builtin")


def builtin_names() -> tuple[str, ...]:
    """Return the names of the built-in policies, sorted.

    Examples
    --------
    >>> builtin_names()
    ('observe-only', 'registered-only', 'registered-or-flag', 'throttle-unregistered')
    """
    return tuple(sorted(path.stem for path in _BUILTIN.glob("*.toml")))


def builtin_policies() -> "tuple[Policy, ...]":
    """Return the built-in policies, sorted by name: what ``classifier policy list`` shows."""
    return tuple(Policy.open(name) for name in builtin_names())


def source_of(name_or_path: str | os.PathLike[str]) -> tuple[str, str]:
    """Return text and place of a policy: a built-in name, else the path of a file.

    Raises
    ------
    PolicyError
        If it is neither, cannot be read, is too large or not UTF-8.
    """
    wanted = "a name, or the path of a file"
    must_be("a policy", name_or_path, (str, os.PathLike), wanted, "Policy.open", none=False)
    name = os.fspath(name_or_path)
    if not name:
        remedy = "built in: " + ", ".join(builtin_names())
        raise PolicyError("the name of a policy is empty", path="policy", remedy=remedy)
    if name in builtin_names():
        text = (_BUILTIN / f"{name}.toml").read_text("utf-8")
        return text, f"<built-in {name}>"
    try:
        with Path(name).open("rb") as file:
            data = file.read(4 * SIZE_LIMIT + 1)
    except (FileNotFoundError, ValueError) as error:  # ValueError: a null byte in the path
        guess = nearest(name, builtin_names())
        remedy = f"did you mean {guess}?" if guess else "built in: " + ", ".join(builtin_names())
        problem = "there is neither such a file nor such a built-in policy"
        raise PolicyError(problem, path=name, remedy=remedy) from error
    except OSError as error:
        problem = f"the policy cannot be read: {error.strerror}"
        raise PolicyError(problem, path=name, remedy="name a readable TOML file") from error
    if len(data) > 4 * SIZE_LIMIT:
        problem = f"the policy has more than {4 * SIZE_LIMIT} bytes"
        remedy = "keep addresses in a register, and rules few"
        raise PolicyError(problem, path=name, line=1, remedy=remedy)
    try:
        return data.decode("utf-8-sig"), name
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        remedy = "save the file as UTF-8"
        raise PolicyError("this is not UTF-8", path=name, line=line, remedy=remedy) from error


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules that turn what is known of a flow into a verdict.

    Made by `Policy.open` or `Policy.from_text`, which check it.

    Attributes
    ----------
    name : str
    default : Verdict
        For flows that no rule applies to.
    rules : tuple of Rule
        In order; the first that applies decides.
    path : str
        Where it was read.
    text : str
        The TOML text.
    hash : str
        SHA-256 of the text in UTF-8, hexadecimal.
    description : str
        One sentence, or empty.

    Examples
    --------
    >>> Policy.open("observe-only")
    Policy('observe-only', 1 rule, default allow)
    """

    name: str
    default: Verdict
    rules: tuple[Rule, ...]
    path: str
    text: str
    hash: str
    description: str = ""

    @classmethod
    def open(cls, name_or_path: "str | os.PathLike[str] | Policy") -> "Policy":
        """Read a policy.

        Parameters
        ----------
        name_or_path : str, path or Policy
            A built-in name (see `builtin_names`), or the path of a TOML file. A policy is
            returned as it is.

        Returns
        -------
        Policy

        Raises
        ------
        PolicyError
            With path and line, if it cannot be read or a rule cannot be used.
        """
        if isinstance(name_or_path, Policy):
            return name_or_path
        text, path = source_of(name_or_path)
        return cls.from_text(text, path=path)

    @classmethod
    def from_text(cls, text: str, *, path: str = "<policy>") -> Self:
        """Read a policy from TOML text.

        Parameters
        ----------
        text : str
            Keys ``name``, ``default``, optionally ``description``, and ``[[rule]]`` tables with
            ``name``, ``when`` and ``verdict``.
        path : str
            Stands in error messages.

        Returns
        -------
        Policy

        Raises
        ------
        PolicyError
            If the text cannot be used: the first problem, with its line. `check` gives all.
        """
        parts = read(text, path)
        if parts.errors:
            raise parts.errors[0]
        return cls(
            name=parts.name,
            default=parts.default,
            rules=tuple(parts.rules),
            path=path,
            text=text,
            hash=hashlib.sha256(text.encode()).hexdigest(),
            description=parts.description,
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that its rules name, each once."""
        return tuple(dict.fromkeys(name for rule in self.rules for name in rule.when.columns))

    def judge(
        self, table: "pa.Table | pa.RecordBatch", local: Sequence[str] | None = None
    ) -> "tuple[NDArray[np.int8], pa.StringArray]":
        """Decide about each flow: the first rule that applies, else the default.

        Parameters
        ----------
        table : pyarrow.Table or pyarrow.RecordBatch
            Flows, with at least the columns that the rules name, and optionally a derived one
            (``inside``) that was made already. A missing value counts as
            false, as empty text, or as 0.
        local : sequence of str, optional
            Prefixes of the inside network, for ``inside``; private, link-local and unique-local
            where left out.

        Returns
        -------
        verdicts : ndarray of int8, shape (n_flows,)
            Values of `tables.Verdict`.
        rules : pyarrow.StringArray, length n_flows
            Name of the rule that decided, ``default`` where none did.

        Raises
        ------
        PolicyError
            If a column is missing or of another type.

        Notes
        -----
        Time is linear in flows times rules; each column is prepared once for all rules.
        """
        import pyarrow as pa

        reader = Reader(table, local)
        decided = np.zeros(table.num_rows, np.int16)  # 0 = default, else 1 + row in rules
        for number, rule in enumerate(self.rules, start=1):
            applies = rule.when._applies(reader)
            decided[applies & (decided == 0)] = number
        verdicts = np.array([self.default, *(r.verdict for r in self.rules)], np.int8)
        names = pa.array(["default", *(r.name for r in self.rules)], pa.string())
        return verdicts[decided], names.take(pa.array(decided, pa.int16()))

    def __repr__(self) -> str:
        """Return name, number of rules and default."""
        count = f"{len(self.rules)} rule{'s' if len(self.rules) != 1 else ''}"
        return f"Policy({self.name!r}, {count}, default {self.default.label})"

    def _repr_html_(self) -> str:
        """Return the rules as a table for notebooks, everything escaped."""
        rows = "".join(
            f"<tr><td>{html.escape(rule.name)}</td><td><code>{html.escape(str(rule.when))}</code>"
            f"</td><td>{rule.verdict.label}</td></tr>"
            for rule in self.rules
        )
        return (
            f"<p><b>{html.escape(self.name)}</b> {html.escape(self.description)}</p>"
            "<table><thead><tr><th>rule</th><th>when</th><th>verdict</th></tr></thead><tbody>"
            f"{rows}<tr><td>default</td><td></td><td>{self.default.label}</td></tr>"
            "</tbody></table>"
        )
