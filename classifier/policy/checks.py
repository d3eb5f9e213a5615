"""What can be said about a policy without any traffic."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from classifier.errors import PolicyError
from classifier.policy._columns import nearest, shown
from classifier.policy._lines import find_lines
from classifier.policy._reach import Budget, Demand, possible
from classifier.policy._reading import FIELDS, Rule, read
from classifier.policy._tree import Member, texts_of
from classifier.policy.expression import Expression
from classifier.policy.policy import Policy, source_of
from classifier.tables import FAMILIES, Verdict

__all__ = ["Finding", "beyond_flag_on_weak", "check", "contradictions"]

_WEAK = Member("strength", ("weak", ""), negated=False)


@dataclass(frozen=True, slots=True)
class Finding:
    """One remark about a policy, for people to read.

    Attributes
    ----------
    severity : str
        ``error``: the policy cannot be used; ``warning``: it can, at a cost; ``note``: it can, and
        something in it is easily overlooked.
    path : str
    line, column : int or None
    problem, remedy : str
    """

    severity: Literal["error", "warning", "note"]
    path: str
    line: int | None
    problem: str
    remedy: str
    column: int | None = None

    def __str__(self) -> str:
        """Return ``place: problem; remedy``, a note as such."""
        problem = f"note: {self.problem}" if self.severity == "note" else self.problem
        place = {"path": self.path, "line": self.line, "column": self.column}
        return str(PolicyError(problem, remedy=self.remedy, **place))  # type: ignore[arg-type]


def beyond_flag_on_weak(policy: Policy) -> list[Rule]:
    """Return the rules that may go beyond ``flag`` without proof or strong evidence.

    Parameters
    ----------
    policy : Policy

    Returns
    -------
    list of Rule
        Those with a verdict harsher than ``flag`` that can decide about a flow with weak evidence
        or none, be it on the model's word or on none at all. A harsh default comes last, as a rule
        named ``default``. Where the search gives up, the rule is listed.
    """
    always = Expression.parse("true")
    default = Rule("default", always, policy.default, _default_line(policy))
    budget = Budget()
    found = []
    passed: list[Demand] = []  # earlier rules that did not apply
    for rule in (*policy.rules, default):
        harsh = rule.verdict > Verdict.FLAG
        demands: list[Demand] = [(rule.when.tree, True), (_WEAK, True), *passed]
        if harsh and possible(demands, FIELDS, budget) is not False:
            found.append(rule)
        passed.append((rule.when.tree, False))
    return found


def check(source: str | os.PathLike[str] | Policy) -> tuple[Finding, ...]:
    """Find everything that is wrong or noteworthy in a policy: ``classifier policy check``.

    Parameters
    ----------
    source : str, path or Policy
        As for `Policy.open`.

    Returns
    -------
    tuple of Finding
        By line; empty where there is nothing to say. Warnings and notes are looked for only in
        policies without errors.
    """
    if isinstance(source, Policy):
        text, path = source.text, source.path
    else:
        try:
            text, path = source_of(source)
        except PolicyError as error:
            return (_error(error),)
    parts = read(text, path)
    if parts.errors:
        return tuple(_error(error) for error in parts.errors)
    unsure = [
        Finding(
            "warning",
            path,
            rule.line,
            f"whether rule {shown(rule.name)} can apply is too hard to tell",
            "split its condition or those before it",
        )
        for rule in parts.unsure
    ]
    harsh = [_harsh(path, rule) for rule in beyond_flag_on_weak(Policy.from_text(text, path=path))]
    odd = [finding for rule in parts.rules for finding in _odd_texts(path, rule)]
    notes = [
        Finding(
            "note",
            path,
            later.line,
            f"rules {shown(earlier.name)} on line {earlier.line} and {shown(later.name)} contradict "
            f"each other where both apply ({earlier.verdict.label}, {later.verdict.label}); the "
            "first decides",
            "make sure that this order is meant",
        )
        for earlier, later in contradictions(parts.rules)
    ]
    return tuple(sorted([*unsure, *harsh, *odd, *notes], key=lambda finding: finding.line or 0))


def _harsh(path: str, rule: Rule) -> Finding:
    owner, remedy = f"rule {shown(rule.name)}", "add strength in ['proof', 'strong']"
    if rule.name == "default":
        owner, remedy = "the default", "make it allow or flag"
    problem = (
        f"{owner} goes to {rule.verdict.label} without proof or strong evidence, and will hit "
        "traffic that is no VPN"
    )
    remedy += ", or measure the expected collateral by impact"
    return Finding("warning", path, rule.line, problem, remedy)


def _odd_texts(path: str, rule: Rule) -> Iterator[Finding]:
    """Yield warnings of texts that a column may hold, but hardly does."""
    for column, text in texts_of(rule.when.tree):
        if column == "application" and text not in _applications():
            guess = nearest(text, _applications())
            remedy = f"did you mean '{guess}'?" if guess else "see replay for the names there are"
            problem = f"no application is named {shown(text)}"
        elif "*" in text or "%" in text:
            problem = f"{shown(text)} is compared whole: its * and % stand for themselves"
            remedy = "write whole names, several in [...]"
        else:
            continue
        problem = f"rule {shown(rule.name)}: {column}: {problem}"
        yield Finding("warning", path, rule.line, problem, remedy)


@lru_cache(maxsize=1)
def _applications() -> frozenset[str]:
    from classifier.detectors.applications.catalogue import APPLICATIONS

    return frozenset({*APPLICATIONS, *FAMILIES})


def contradictions(rules: Sequence[Rule]) -> list[tuple[Rule, Rule]]:
    """Return pairs of rules with different verdicts of which neither contains the other.

    Parameters
    ----------
    rules : sequence of Rule
        In the order of the policy.

    Returns
    -------
    list of (Rule, Rule)
        Earlier and later rule: some flow meets both, and no rule before the earlier one; some flow
        meets the earlier alone, and some the later alone. A rule that contains an earlier one is
        the usual way to write an exception, and is not listed. Only what is certain is.

    References
    ----------
    Al-Shaer and Hamed, "Modeling and management of firewall policies", IEEE eTNSM 2004: such pairs
    are its *correlated* rules.
    """
    budget = Budget()
    found: list[tuple[Rule, Rule]] = []
    for at, earlier in enumerate(rules):
        before: list[Demand] = [(rule.when.tree, False) for rule in rules[:at]]
        for later in rules[at + 1 :]:
            if budget.steps < 0:
                return found
            one, other = earlier.when.tree, later.when.tree
            questions: tuple[list[Demand], ...] = (
                [(one, True), (other, True), *before],
                [(one, True), (other, False)],
                [(one, False), (other, True)],
            )
            differ = earlier.verdict != later.verdict
            if differ and all(possible(asked, FIELDS, budget) for asked in questions):
                found.append((earlier, later))
    return found


def _error(error: PolicyError) -> Finding:
    return Finding("error", error.path, error.line, error.problem, error.remedy, error.column)


def _default_line(policy: Policy) -> int:
    return find_lines(policy.text).top.get("default", 1)
