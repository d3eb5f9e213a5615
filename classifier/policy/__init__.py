"""Evidence and registration -> verdicts; the only room that judges."""

from classifier.policy._columns import DERIVED
from classifier.policy._inside import inside_column, inside_ends
from classifier.policy._reading import Rule
from classifier.policy.checks import Finding, beyond_flag_on_weak, check, contradictions
from classifier.policy.expression import Expression
from classifier.policy.policy import Policy, builtin_names, builtin_policies

__all__ = [
    "DERIVED",
    "Expression",
    "Finding",
    "Policy",
    "Rule",
    "beyond_flag_on_weak",
    "builtin_names",
    "builtin_policies",
    "check",
    "contradictions",
    "inside_column",
    "inside_ends",
]
