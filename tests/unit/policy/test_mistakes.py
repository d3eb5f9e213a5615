"""Kinds of mistakes in a policy file: each is told with its place and what to do about it."""

import pytest

from classifier.policy import Policy, builtin_names, check, contradictions

RULES = """\
name = "mine"
default = "allow"

[[rule]]
name = "registered VPN"
when = "is_vpn and registered"
verdict = "allow"

[[rule]]
name = "unregistered"
when = "is_vpn and strength == 'proof'"
verdict = "would_block"
"""


def told(old: str, new: str) -> list[str]:
    """Return what ``check`` says once part of the good policy is replaced."""
    text = RULES.replace(old, new)
    assert text != RULES
    parts = Policy.from_text(RULES)
    broken = object.__new__(Policy)
    for name in Policy.__slots__:
        object.__setattr__(broken, name, getattr(parts, name))
    object.__setattr__(broken, "text", text)
    object.__setattr__(broken, "path", "mine.toml")
    return [str(finding) for finding in check(broken)]


MISTAKES = {
    "a column misspelled": (
        'registered"',
        'regsitered"',
        "mine.toml:6:20: there is no column 'regsitered'; did you mean registered?",
    ),
    "a value misspelled": (
        "'proof'",
        "'prof'",
        "mine.toml:11:32: this can never apply: strength is never 'prof'; did you mean 'proof'?",
    ),
    "a value without quotes": (
        "'proof'",
        "proof",
        "mine.toml:11:32: there is no column 'proof'; text stands in quotes: 'proof'",
    ),
    "one equals sign": ("==", "=", "mine.toml:11:29: '=' means nothing here; write == to compare"),
    "the and of C": (
        "and registered",
        "&& registered",
        "mine.toml:6:16: '&' means nothing here; write and",
    ),
    "text compared with a number": (
        "strength == 'proof'",
        "strength == 3",
        "mine.toml:11:32: strength is text and cannot be compared with 3; write it in quotes: '3'",
    ),
    "a number in quotes": (
        "strength == 'proof'",
        "resp_port == '443'",
        (
            "mine.toml:11:33: resp_port is a whole number and cannot be compared with '443'; "
            "write a number without quotes"
        ),
    ),
    "an order of texts": (
        "strength == 'proof'",
        "strength >= 'strong'",
        "mine.toml:11:32: strength is text and has no order; compare with ==, != or in [...]",
    ),
    "text as a condition": (
        "is_vpn and registered",
        "is_vpn and organisation",
        "mine.toml:6:20: organisation is text, not true or false; write organisation != ''",
    ),
    "a prefix for an address": (
        "strength == 'proof'",
        "resp_ip == '10.0.0.0/8'",
        (
            "mine.toml:11:31: this can never apply: resp_ip holds single addresses, never "
            "'10.0.0.0/8'; write one address; a register holds prefixes"
        ),
    ),
    "a parenthesis left open": (
        "is_vpn and registered",
        "is_vpn and (registered",
        "mine.toml:6:20: this parenthesis is not closed; add )",
    ),
    "comparisons in a chain": (
        "strength == 'proof'",
        "1 < resp_port < 1024",
        "mine.toml:11:34: comparisons cannot be chained; write two comparisons joined by and",
    ),
    "a list without brackets": (
        "strength == 'proof'",
        "strength in 'proof'",
        "mine.toml:11:32: a list must follow in; write it in square brackets",
    ),
    "a list column": (
        "strength == 'proof'",
        "5 in vlan",
        (
            "mine.toml:11:25: vlan is a list, which conditions cannot test; "
            "test strength, kind, family or encapsulation"
        ),
    ),
    "a condition that breaks off": (
        "and registered",
        "and",
        "mine.toml:6:19: the condition ends too early; complete it",
    ),
    "an unknown verdict": (
        '"would_block"',
        '"block"',
        "mine.toml:12:11: 'block' is no verdict; did you mean would_block?",
    ),
    "an unknown key": (
        'when = "is_vpn and r',
        'wehn = "is_vpn and r',
        "mine.toml:6:1: a rule has no key 'wehn'; did you mean when?",
    ),
    "a rule without a name": (
        'name = "unregistered"\n',
        "",
        "mine.toml:9:1: the rule has no name; add name = ...",
    ),
    "a name given twice": (
        '"unregistered"',
        '"registered VPN"',
        (
            "mine.toml:10:8: the rule on line 4 is named 'registered VPN' too; "
            "give each rule a name of its own"
        ),
    ),
    "no TOML": (
        '"mine"',
        "mine",
        (
            "mine.toml:1:8: this is not valid TOML: Invalid value; put texts in quotes and each key on "
            "a line of its own, as toml.io describes"
        ),
    ),
    "a condition that contradicts itself": (
        "is_vpn and registered",
        "is_vpn and kind == 'encapsulation'",
        (
            "mine.toml:6:8: rule 'registered VPN' can never apply: its condition contradicts itself; "
            "correct or remove it"
        ),
    ),
    "a promise of the columns overlooked": (
        "is_vpn and registered",
        "registered and registration_expired",
        (
            "mine.toml:6:8: rule 'registered VPN' can never apply: its condition contradicts itself; "
            "correct or remove it"
        ),
    ),
    "a rule in the shadow of another": (
        "is_vpn and registered",
        "is_vpn",
        (
            "mine.toml:11:8: rule 'unregistered' can never apply: rule 'registered VPN' on line 4 takes "
            "all of its flows, and says allow, not would_block; move it up, narrow what stands before "
            "it, or remove it"
        ),
    ),
    "an hour that no day has": (
        "is_vpn and registered",
        "hour == 24",
        (
            "mine.toml:6:8: rule 'registered VPN' can never apply: its condition contradicts itself; "
            "correct or remove it"
        ),
    ),
    "blocking on no evidence": (
        " and strength == 'proof'",
        " and not registered",
        (
            "mine.toml:9: rule 'unregistered' goes to would_block without proof or strong evidence, and "
            "will hit traffic that is no VPN; add strength in ['proof', 'strong'], or measure the "
            "expected collateral by impact"
        ),
    ),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_is_told_with_its_place_and_remedy(kind: str) -> None:
    old, new, message = MISTAKES[kind]
    assert message in told(old, new)


def test_rules_that_contradict_each_other_are_noted() -> None:
    (note,) = told('default = "allow"', 'default = "flag"')
    assert note == (
        "mine.toml:9: note: rules 'registered VPN' on line 4 and 'unregistered' contradict each "
        "other where both apply (allow, would_block); the first decides; make sure that this order "
        "is meant"
    )


def test_an_exception_before_the_rule_is_no_contradiction() -> None:
    assert (
        told(" and strength == 'proof'", " and strength in ['proof', 'strong'] and not registered")
        == []
    )
    text = RULES.replace("and registered", "and strength == 'strong'").replace(
        "and strength == 'proof'", "and strength in ['proof', 'strong']"
    )
    assert contradictions(Policy.from_text(text).rules) == []


@pytest.mark.parametrize("name", builtin_names())
def test_there_is_nothing_to_say_about_a_built_in_policy(name: str) -> None:
    assert check(name) == ()
    assert "Hits" in Policy.open(name).description


@pytest.mark.parametrize(
    ("written", "line", "column"),
    [
        ('when = "is_vpn and \\"a\\" == nothing"', 6, 29),
        ("when = 'nothing'", 6, 9),
        ("'when'   =   'nothing'", 6, 15),
        ('when = """nothing"""', 6, 11),
        ('when = """\nis_vpn\n  and nothing"""', 8, 7),
        ('when = """\\\n   is_vpn and \\\n\n   nothing"""', 9, 4),
        ("when = '''\r\n nothing'''", 7, 2),
        ("when = \"organisation == '\\u00e4' and nothing\"", 6, 38),
    ],
)
def test_the_column_is_that_of_the_file_however_the_text_is_quoted(
    written: str, line: int, column: int
) -> None:
    (said,) = told('when = "is_vpn and registered"', written)
    assert f"mine.toml:{line}:{column}: " in said
