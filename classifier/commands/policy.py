"""Verbs on policies."""

import argparse

from classifier.commands.shared import Verbs, add_verb, complain, say

__all__ = ["add"]


def add(verbs: Verbs) -> None:
    """Enter the verbs."""
    parser = add_verb(verbs, "policy", "Check and list policies.")
    inner = parser.add_subparsers(dest="policy_verb", metavar="COMMAND", required=True)
    check = inner.add_parser("check", help="check policies without a capture")
    check.add_argument("policies", nargs="+", metavar="POLICY", help=".toml or built-in name")
    check.set_defaults(run=_policy_check)
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
        say(f"{name}: good, {len(policy.rules)} rules, else {policy.default.label}")
    return code


def _policy_list(options: argparse.Namespace) -> int:
    import textwrap

    from classifier.policy import builtin_policies

    for policy in builtin_policies():
        say(f"{policy.name}: {len(policy.rules)} rules, else {policy.default.label}")
        indented = {"initial_indent": "  ", "subsequent_indent": "  "}
        say(textwrap.fill(policy.description, 100, **indented))  # type: ignore[arg-type]
        for rule in policy.rules:
            say(f"  {rule.verdict.label:<14} {rule.name}: {rule.when}")
    return 0
