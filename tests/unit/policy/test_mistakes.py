"""What people get wrong in policies, and the one line that each is told: place, problem, remedy."""

import pytest

from classifier.errors import PolicyError
from classifier.policy import Policy, builtin_names, check, contradictions

HEAD = 'name = "test"\ndefault = "allow"\n'
RULE = '[[rule]]\nname = "a"\nwhen = "is_vpn"\nverdict = "flag"\n'
JOIN = "join conditions by and, or"
WHOLE = "text is compared whole, by ==, != or in [...]"
RANGE = "this is no number; write a range as two comparisons, a time of day by hour"
SUMS = "compare with literals; packets and bytes are sums, shares are written as 0.5"
NO_NUMBER = "this is no number; write it like 443, 1_000_000 or 0.5, without a unit"
PLAIN = "means nothing here; write plain spaces, and columns in ASCII letters as listed"
DAYS = "'monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday'"

#: Condition, column of the file, and what is said of it. The condition begins in column 9.
CONDITIONS = [
    # other languages
    ("is_vpn && registered", 16, "'&' means nothing here; write and"),
    ("is_vpn || registered", 16, "'|' means nothing here; write or"),
    ("!is_vpn", 9, "'!' means nothing here; write not, or != to compare"),
    ("is_vpn AND registered", 16, "'AND' cannot stand here; write and in small letters"),
    ("is_vpn is not registered", 16, "'is' cannot stand here; write == or !="),
    ("kind is 'vpn'", 14, "'is' cannot stand here; write == or !="),
    ("strength = 'proof'", 18, "'=' means nothing here; write == to compare"),
    ("resp_port <> 443", 19, "'<>' means nothing here; write !="),
    ("is_vpn ? true : false", 16, "'?' means nothing here; write one rule for each case"),
    ("is_vpn if registered else true", 16,
     "'if' cannot stand here; leave it out, and write one rule for each case"),
    ("is_vpn xor registered", 16,
     "'xor' cannot stand here; compare two columns that are true or false by !="),
    ("server_name contains 'x'", 21, f"'contains' cannot stand here; {WHOLE}"),
    ("server_name like '%.example'", 21, f"'like' cannot stand here; {WHOLE}"),
    ("resp_port between 1 and 1024", 19,
     "'between' cannot stand here; write two comparisons joined by and"),
    ("is_vpn; registered", 15, f"';' means nothing here; {JOIN}"),
    ("is_vpn # all", 16, "'#' means nothing here; a comment stands outside of the quotes"),
    # calls, attributes, arithmetic
    ("len(server_name) > 5", 9,
     "'len' is no column, and nothing can be called or indexed; write columns by their names alone"),
    ("row['kind'] == 'vpn'", 9,
     "'row' is no column, and nothing can be called or indexed; write columns by their names alone"),
    ("strength.lower() == 'proof'", 17,
     ("'.' means nothing here; columns have no parts and no methods; numbers begin with a digit, "
     "as 0.5")),
    ("orig_bytes + resp_bytes > 5", 20, f"'+' means nothing here; {SUMS}"),
    ("orig_bytes - 5 > 1", 20, f"this is no number; {SUMS}"),
    ("vpn_probability > 50%", 29, f"'%' means nothing here; {SUMS}"),
    # columns
    ("is_vpn and strenght == 'proof'", 20,
     "there is no column 'strenght'; did you mean strength?"),
    ("IS_VPN", 9, "there is no column 'IS_VPN'; did you mean is_vpn?"),
    ("country == 'x'", 9, "there is no column 'country'; see the reference of flow columns"),
    ("sni == 'x'", 9, "there is no column 'sni'; did you mean server_name?"),
    ("is_vpn and src_ip == '10.0.0.1'", 20,
     "there is no column 'src_ip'; did you mean orig_ip?"),
    ("category == bank", 21, "there is no column 'bank'; text stands in quotes: 'bank'"),
    ("verdict == 'flag'", 9,
     ("verdict is what the policy decides; ask what is known of a flow, and put exceptions before "
     "this rule")),
    ("near_miss == None", 22,
     "there is no column 'None'; what is missing counts as false, '' or 0"),
    ("strength == proof", 21, "there is no column 'proof'; text stands in quotes: 'proof'"),
    ("vlan == 5", 9, "vlan is a list, which conditions cannot test; leave it out"),
    ("evidence == 'tls'", 9,
     "evidence is a list, which conditions cannot test; test strength, kind or family"),
    # types
    ("kind", 9, "kind is text, not true or false; write kind != ''"),
    ("resp_port", 9, "resp_port is a whole number, not true or false; write resp_port != 0"),
    ("orig_bytes > '1000'", 22,
     ("orig_bytes is a whole number and cannot be compared with '1000'; write a number without "
     "quotes")),
    ("is_vpn == 'true'", 19,
     "is_vpn is true or false and cannot be compared with 'true'; write is_vpn or not is_vpn"),
    ("proto == 6", 18, "proto is text and cannot be compared with 6; write 'tcp'"),
    ("weekday == 0", 20, f"weekday is text and cannot be compared with 0; it is one of {DAYS}"),
    ("orig_port == kind", 9,
     "orig_port is a whole number, but kind is text; compare columns of the same type"),
    ("resp_port == resp_port", 9, "resp_port is compared with itself; name another column"),
    ("kind > 'vpn'", 16, "kind is text and has no order; compare with ==, != or in [...]"),
    ("443 == 443", 9, "two literals are compared; name a column"),
    ("1 < resp_port < 5", 23,
     "comparisons cannot be chained; write two comparisons joined by and"),
    ("(is_vpn) == true", 18,
     ("a condition in parentheses cannot be compared; compare columns with literals, and join "
     "conditions by and, or")),
    ("kind == 'vpn' or 'proxy'", 26,
     ("'proxy' alone is no condition; compare it with a column, or write column in [...] for "
     "several")),
    ("first_ns > 1.5", 20, "first_ns is a whole number, never 1.5; write 1 or 2"),
    # values that a column never holds
    ("strength == 'sure'", 21,
     "this can never apply: strength is never 'sure'; it is one of '', 'weak', 'strong', 'proof'"),
    ("strength == 'Proof'", 21,
     "this can never apply: strength is never 'Proof'; did you mean 'proof'?"),
    ("service == 'voip'", 20,
     "this can never apply: service is never 'voip'; did you mean 'voice'?"),
    ("family == 'wiregaurd'", 19,
     "this can never apply: family is never 'wiregaurd'; did you mean 'wireguard'?"),
    ("resp_ip == '10.0.0.0/8'", 20,
     ("this can never apply: resp_ip holds single addresses, never '10.0.0.0/8'; write one address; "
     "a register holds prefixes")),
    # numbers, times and addresses
    ("orig_bytes > 1MB", 22, NO_NUMBER),
    ("resp_port == 0x1bb", 22, NO_NUMBER),
    ("bytes > 10 MB", 20, ("'MB' cannot stand here; write numbers without a unit; "
     f"{JOIN}; compare a column with a literal")),
    ("orig_bytes > 1,000", 23, f"',' cannot stand here; {JOIN}; write numbers like 1_000 or 0.5"),
    ("resp_port in [1-1024]", 23, RANGE),
    ("hour >= 8:00", 17, RANGE),
    ("hour >= '08:00'", 17,
     ("hour is a whole number and cannot be compared with '08:00'; write a whole number from 0 to "
     "23, without quotes")),
    ("first_ns > '2026-01-01'", 20,
     ("first_ns is a whole number and cannot be compared with '2026-01-01'; write nanoseconds since "
     "1970, or ask for hour and weekday")),
    ("first_ns > 2026-01-01", 20,
     "this is no number; write nanoseconds since 1970 for first_ns, or ask for hour and weekday"),
    ("resp_ip == 10.0.0.1", 20, "this is no number; an address stands in quotes: '10.0.0.1'"),
    ("orig_bytes > " + "9" * 41, 22, "this number is too long; use at most 40 characters"),
    ("vpn_probability > 1e999", 27, "1e999 is out of range; write a smaller number"),
    # lists
    ("kind in []", 17, "kind is never in an empty list; name at least one literal"),
    ("kind in ('vpn', 'proxy')", 17, "a list must follow in; write it in square brackets"),
    ("kind in ['vpn' 'proxy']", 24, "this list is not closed; add a comma or ]"),
    ("resp_port in [443, '80']", 28,
     "resp_port is a whole number and cannot be compared with '80'; write a number without quotes"),
    ("kind not == 'vpn'", 18, "only in can follow not here; write not in [...]"),
    # brackets, quotes, ends
    ("", 9, "the condition is empty; write true to apply to every flow"),
    ("()", 9, "these parentheses are empty; write a condition"),
    ("(is_vpn", 9, "this parenthesis is not closed; add )"),
    ("is_vpn)", 15, "this parenthesis was never opened; remove it"),
    ("is_vpn and", 19, "the condition ends too early; complete it"),
    ("is_vpn registered", 16,
     f"'registered' cannot stand here; {JOIN}; compare a column with a literal"),
    ("kind == 'vpn", 17, "this text does not end; close it with the same quote on its line"),
    ("(" * 33 + "is_vpn" + ")" * 33, 41,
     "nested more than 32 deep; split the rule into several"),
    # letters that look like others
    ("\u0456s_vpn", 9, f"'\u0456' (U+0456) {PLAIN}"),
    ("is_vpn\u00a0and registered", 15, rf"'\xa0' (U+00A0) {PLAIN}"),
    ("\u200bis_vpn", 9, rf"'\u200b' (U+200B) {PLAIN}"),
    ("kind == \u2018vpn\u2019", 17, "'\u2018' means nothing here; write ' or \""),
    ("is_vpn \u2260 registered", 16, "'\u2260' means nothing here; write !="),
]  # fmt: skip

VERDICTS = "it is one of allow, flag, would_throttle, would_block"
NOT_TOML = "this is not valid TOML"

#: Text of a policy, and the place and the words of its first refusal.
POLICIES = [
    ("", "1: the policy has no name; add name = ..."),
    ("name: x\n", (f"1:5: {NOT_TOML}: Expected '=' after a key in a key/value pair; "
     "write key = value on each line")),
    (HEAD + RULE.replace("[[rule]]", "[[rules]]"), "3:1: there is no key 'rules'; did you mean rule?"),
    (HEAD + RULE.replace("[[rule]]", "[rule]"),
     "3:1: rule is not a list of tables; write [[rule]] above each rule"),
    (HEAD + RULE.replace("[[rule]]", "[[rule]"),
     f"3:7: {NOT_TOML}: Expected ']]' at the end of an array declaration; write [[rule]]"),
    (HEAD + RULE.replace("is_vpn", 'kind == "vpn"'),
     (f"5:18: {NOT_TOML}: Expected newline or end of document after a statement; write one "
     "key = value on each line, and ' within texts in double quotes")),
    (HEAD + RULE.replace('is_vpn"', "is_vpn"), (f"5:15: {NOT_TOML}: Illegal character '\\n'; "
     'close the quotes on the line, or put """ around several lines')),
    (HEAD + RULE.replace('"flag"', "flag"),
     f"6:11: {NOT_TOML}: Invalid value; put texts in plain quotes"),
    (HEAD + RULE + 'name = "b"\n', (f"7:11: {NOT_TOML}: Cannot overwrite a value; give each key "
     "once; keys of the policy stand above all [[rule]]")),
    ('name = "test"\n' + RULE + 'default = "allow"\n',
     "1:1: the policy has no default; add default: allow, flag, would_throttle, would_block"),
    (HEAD + RULE + 'default = "allow"\n',
     "7:1: a rule has no key 'default'; write it above the first [[rule]]"),
    (HEAD + RULE.replace("verdict", "action"),
     "3:1: the rule has no verdict; add verdict: allow, flag, would_throttle, would_block"),
    (HEAD + RULE + "note = 1\n",
     "7:1: a rule has no key 'note'; the keys are name, when, verdict"),
    (HEAD + RULE.replace("when", "wehn"), ("3:1: the rule has no when; add a condition, such as "
     'when = "is_vpn"')),
    (HEAD + RULE.replace("flag", "deny"), "6:11: 'deny' is no verdict; did you mean would_block?"),
    (HEAD + RULE.replace("flag", "WOULD-BLOCK"),
     "6:11: 'WOULD-BLOCK' is no verdict; did you mean would_block?"),
    (HEAD + RULE.replace('"flag"', "1"), f"6:11: what stands here is no verdict; {VERDICTS}"),
    (HEAD + RULE.replace('"is_vpn"', '["is_vpn"]'),
     '5:8: when is not text; add a condition, such as when = "is_vpn"'),
    (HEAD + RULE.replace('"a"', '"a\u202eb"'),
     "4:8: name holds U+202E, which does not print; use printable characters on one line"),
    (HEAD + RULE.replace('"a"', '"default"'),
     "4:8: 'default' stands for the flows that no rule applies to; name the rule otherwise"),
    (HEAD + RULE + RULE.replace("is_vpn", "registered"),
     "8:8: the rule on line 3 is named 'a' too; give each rule a name of its own"),
    (HEAD + RULE + RULE.replace('"a"', '"b"').replace("is_vpn", "is_vpn and registered"),
     ("9:8: rule 'b' can never apply: rule 'a' on line 3 takes all of its flows; move it up, narrow "
     "what stands before it, or remove it")),
    (HEAD + RULE + RULE.replace('"a"', '"b"').replace('"flag"', '"allow"'),
     ("9:8: rule 'b' can never apply: rule 'a' on line 3 takes all of its flows, and says flag, not "
     "allow; move it up, narrow what stands before it, or remove it")),
    (HEAD + RULE.replace("is_vpn", "hour == 24"),
     ("5:8: rule 'a' can never apply: hour == 24 holds for no flow, as hour goes from 0 to 23; "
     "correct or remove it")),
    (HEAD + RULE.replace("is_vpn", "is_vpn and resp_port > 70000"),
     ("5:8: rule 'a' can never apply: resp_port > 70000 holds for no flow, as resp_port goes from 0 "
     "to 65535; correct or remove it")),
    (HEAD + RULE.replace("is_vpn", "start_seen and registered and near_miss == 'expired'"),
     ("5:8: rule 'a' can never apply: registered and near_miss == 'expired' exclude each other; "
     "correct or remove it")),
    (HEAD + RULE.replace("is_vpn", "bytes < 0"),
     ("5:8: rule 'a' can never apply: bytes < 0 holds for no flow, as bytes is not negative; "
     "correct or remove it")),
]  # fmt: skip


def refusal(text: str) -> str:
    with pytest.raises(PolicyError) as caught:
        Policy.from_text(text, path="p.toml")
    return str(caught.value)


@pytest.mark.parametrize(("condition", "column", "said"), CONDITIONS)
def test_a_wrong_condition_says_where_what_and_what_to_do(
    condition: str, column: int, said: str
) -> None:
    text = HEAD + RULE.replace("is_vpn", condition)
    assert refusal(text) == f"p.toml:5:{column}: {said}"


@pytest.mark.parametrize(("text", "said"), POLICIES)
def test_a_wrong_policy_says_where_what_and_what_to_do(text: str, said: str) -> None:
    assert refusal(text) == f"p.toml:{said}"


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("application == 'Tls'",
         "rule 'a': application: no application is named 'Tls'; did you mean 'tls'?"),
        ("server_name in ['example.org', '*.example']",
         ("rule 'a': server_name: '*.example' is compared whole: its * and % stand for themselves; "
         "write whole names, several in [...]")),
    ],
)  # fmt: skip
def test_text_that_hardly_occurs_is_warned_of_and_accepted(condition: str, said: str) -> None:
    policy = Policy.from_text(HEAD + RULE.replace("is_vpn", condition), path="p.toml")
    (finding,) = check(policy)
    assert (finding.severity, str(finding)) == ("warning", f"p.toml:3: {said}")


def test_names_of_applications_and_families_are_not_warned_of() -> None:
    condition = "application in ['tls', 'ssh', 'wireguard', 'unknown']"
    assert check(Policy.from_text(HEAD + RULE.replace("is_vpn", condition))) == ()


def test_a_harsh_default_is_warned_of_as_the_default() -> None:
    text = HEAD.replace("allow", "would_block") + RULE
    (finding,) = check(Policy.from_text(text, path="p.toml"))
    assert str(finding) == (
        "p.toml:2: the default goes to would_block without proof or strong evidence, and will hit "
        "traffic that is no VPN; make it allow or flag, or measure the expected collateral by impact"
    )


def test_blocking_on_no_evidence_is_warned_of() -> None:
    text = HEAD + RULE.replace("flag", "would_block")
    (finding,) = check(Policy.from_text(text, path="p.toml"))
    assert str(finding) == (
        "p.toml:3: rule 'a' goes to would_block without proof or strong evidence, and will hit "
        "traffic that is no VPN; add strength in ['proof', 'strong'], or measure the expected "
        "collateral by impact"
    )


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
