"""Verbs on policies."""

import argparse
from typing import TYPE_CHECKING

from classifier.commands.shared import (
    Verbs,
    add_reading,
    add_verb,
    classified,
    complain,
    failed,
    open_registry,
    say,
    width,
)
from classifier.errors import ClassifierError

if TYPE_CHECKING:
    from classifier.policy import Policy

__all__ = ["add"]


def add(verbs: Verbs) -> None:
    """Enter the verbs."""
    parser = add_verb(verbs, "policy", "Check, compare and list policies.")
    inner = parser.add_subparsers(dest="policy_verb", metavar="COMMAND", required=True)
    check = inner.add_parser("check", help="check policies without a capture")
    check.add_argument("policies", nargs="+", metavar="POLICY", help=".toml or built-in name")
    check.set_defaults(run=_policy_check)
    diff = inner.add_parser("diff", help="show which flows two policies judge otherwise")
    diff.add_argument("policies", nargs=2, metavar="POLICY", help=".toml or built-in name")
    diff.add_argument("captures", nargs="+", metavar="CAPTURE", help="capture")
    diff.add_argument(
        "--registry", metavar="R", help="register: .csv, .json, .db or a database URL"
    )
    diff.add_argument(
        "--other-registry", metavar="R", help="register of the second policy (default: the first's)"
    )
    diff.add_argument("--at", metavar="TIME", help="look registrations up as of this time")
    diff.add_argument(
        "--other-at", metavar="TIME", help="the same for the second policy (default: the first's)"
    )
    diff.add_argument(
        "--other-model",
        metavar="M",
        help="model of the second, or none; reads the captures twice (default: the first's)",
    )
    diff.add_argument(
        "--skip-bad-rows", action="store_true", help="load the good rows of a register with bad"
    )
    diff.add_argument(
        "--format", choices=("table", "json"), default="table", help="(default: %(default)s)"
    )
    add_reading(diff)
    diff.set_defaults(run=_policy_diff)
    listed = inner.add_parser("list", help="list the built-in policies")
    listed.set_defaults(run=_policy_list)


def _policy_check(options: argparse.Namespace) -> int:
    from classifier.policy import Policy, check

    code = 0
    for name in options.policies:
        findings = check(name)
        complain(*findings)
        if any(finding.severity == "error" for finding in findings):
            code = 2
            continue
        policy = Policy.open(name)
        say(f"{name}: good, {_size(policy)}")
    return code


def _size(policy: "Policy") -> str:
    n = len(policy.rules)
    return f"{n} rule{'s' * (n != 1)}, else {policy.default.label}"


def _policy_diff(options: argparse.Namespace) -> int:
    from classifier.pipeline import make_options
    from classifier.policy import Policy
    from classifier.registry.store import time_ns

    one, other = map(Policy.open, options.policies)
    options.policy = one
    first, register = options.registry, None
    if options.other_registry:  # refused before the work, not after, as is a wrong time
        options.registry = options.other_registry
        register = open_registry(options)
        options.registry = first
    if options.other_at is not None:
        time_ns(options.other_at, "--other-at")
        if first is None and register is None:
            problem = f"there is no register to look up as of {options.other_at!r}"
            remedy = "give --registry or --other-registry"
            raise ClassifierError(problem, path="--other-at", remedy=remedy)
    if options.other_model is not None:
        make_options(model=options.other_model)  # refuses what is no model
    before = classified(options)
    if options.other_model is None:
        after = before.judge(other, register, options.other_at)
    else:
        options.policy, options.model = other, options.other_model
        options.registry = options.other_registry or options.registry
        options.at = options.other_at or options.at
        after = classified(options)
    named = [options.policies[0], options.policies[1]]
    if named[0] == named[1]:
        others = (options.other_registry, options.other_at, options.other_model)
        named[1] = " ".join([named[1], *filter(None, others)])
    changes = before.compare(after, (named[0], named[1]))
    say(changes.json() if options.format == "json" else changes.text(width()))
    return failed(before)


def _policy_list(options: argparse.Namespace) -> int:
    import textwrap

    from classifier.policy import builtin_policies

    for policy in builtin_policies():
        say(f"{policy.name}: {_size(policy)}")
        indented = {"initial_indent": "  ", "subsequent_indent": "  "}
        say(textwrap.fill(policy.description, 100, **indented))  # type: ignore[arg-type]
        for rule in policy.rules:
            say(f"  {rule.verdict.label:<14} {rule.name}: {rule.when}")
    return 0
