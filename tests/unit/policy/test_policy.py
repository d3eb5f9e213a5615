"""Policies: how they are read, refused, shown, and how they judge."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from classifier.errors import PolicyError
from classifier.policy import (
    Expression,
    Policy,
    _reach,
    beyond_flag_on_weak,
    builtin_names,
    builtin_policies,
    check,
)
from classifier.policy._reading import FIELDS
from classifier.tables import COLUMNS, Verdict

HEAD = 'name = "test"\ndefault = "allow"\n'  # two lines


def policy(*rules: tuple[str, str], default: str = "allow") -> Policy:
    """Return a policy of rules (when, verdict), named r1, r2 ..."""
    text = f'name = "test"\ndefault = "{default}"\n'
    for number, (when, verdict) in enumerate(rules, start=1):
        text += f'[[rule]]\nname = "r{number}"\nwhen = "{when}"\nverdict = "{verdict}"\n'
    return Policy.from_text(text, path="p.toml")


def refusal(text: str) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        Policy.from_text(text, path="p.toml")
    return caught.value


def flows(**columns: list[Any]) -> pa.Table:
    """Return a table of all input columns, empty where not given."""
    n = len(next(iter(columns.values())))
    blank: dict[str, Any] = {"bool": False, "int64": 0, "float64": 0.0, "string": ""}
    given = {c.name: columns.get(c.name, [blank[c.type]] * n) for c in COLUMNS if c.type in blank}
    return pa.table(given)


CASES = flows(
    is_vpn=[False, True, True, True, True, True, False, False],
    registered=[False, True, False, False, False, False, False, True],
    strength=["", "weak", "proof", "strong", "weak", "", "proof", "weak"],
    kind=["", "vpn", "vpn", "tunnel", "proxy", "vpn", "encapsulation", "vpn"],
)


def test_registered_only_blocks_unregistered_certainty_and_flags_suspicion() -> None:
    verdicts, rules = Policy.open("registered-only").judge(CASES)
    assert list(zip((Verdict(v).label for v in verdicts), rules.to_pylist(), strict=True)) == [
        ("allow", "default"),
        ("allow", "registered VPN"),
        ("would_block", "unregistered, certain"),
        ("would_block", "unregistered, certain"),
        ("flag", "unregistered, suspected"),
        ("flag", "unregistered, suspected"),
        ("allow", "bare encapsulation"),
        ("allow", "default"),
    ]


def test_observe_only_flags_vpns_and_nothing_else() -> None:
    verdicts, rules = Policy.open("observe-only").judge(CASES)
    assert verdicts.tolist() == [0, 1, 1, 1, 1, 1, 0, 0]
    assert verdicts.dtype == np.int8
    assert set(rules.to_pylist()) == {"default", "VPN seen"}
    assert rules.type == pa.string()


def test_no_builtin_goes_beyond_flag_without_proof_or_strong_evidence() -> None:
    assert builtin_names() == (
        "observe-only",
        "registered-only",
        "registered-or-flag",
        "throttle-unregistered",
    )
    for built_in in builtin_policies():
        assert built_in.name in builtin_names()
        assert built_in.description
        assert beyond_flag_on_weak(built_in) == []
        assert check(built_in) == check(built_in.name) == ()


def test_the_first_rule_that_applies_decides() -> None:
    judged = policy(("resp_port == 443", "flag"), ("resp_port >= 443", "would_block"))
    verdicts, rules = judged.judge(flows(resp_port=[443, 444, 1]))
    assert verdicts.tolist() == [Verdict.FLAG, Verdict.WOULD_BLOCK, Verdict.ALLOW]
    assert rules.to_pylist() == ["r1", "r2", "default"]


def test_the_default_judges_what_no_rule_takes() -> None:
    verdicts, rules = policy(("is_vpn", "allow"), default="would_throttle").judge(CASES)
    assert verdicts.tolist() == [2, 0, 0, 0, 0, 0, 2, 2]
    assert rules.to_pylist()[0] == "default"


def test_a_record_batch_and_an_empty_table_can_be_judged() -> None:
    judged = Policy.open("registered-only")
    assert judged.judge(CASES.to_batches()[0])[0].tolist() == judged.judge(CASES)[0].tolist()
    verdicts, rules = judged.judge(CASES.slice(0, 0))
    assert verdicts.size == len(rules) == 0


def test_a_policy_is_opened_by_name_by_path_and_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xef\xbb\xbf" + policy(("is_vpn", "flag")).text.encode())
    opened = Policy.open(path)
    assert opened.path == str(path)
    assert opened.rules == policy(("is_vpn", "flag")).rules
    assert opened.hash == hashlib.sha256(opened.text.encode()).hexdigest()
    assert Policy.open(str(path)) == opened
    assert Policy.open(opened) is opened
    assert Policy.open("observe-only").path == "<built-in observe-only>"


def test_rules_carry_name_condition_verdict_and_line() -> None:
    rule = policy(("is_vpn", "flag"), ("kind == 'vpn'", "would_block")).rules[1]
    assert (rule.name, str(rule.when), rule.verdict, rule.line) == (
        "r2",
        "kind == 'vpn'",
        Verdict.WOULD_BLOCK,
        7,
    )


def test_an_unknown_name_is_refused_with_the_nearest_builtin() -> None:
    with pytest.raises(PolicyError, match=r"registerd-only: there is neither .* registered-only\?"):
        Policy.open("registerd-only")
    with pytest.raises(PolicyError, match="built in: observe-only, registered-only"):
        Policy.open("zzz\0")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be read"):
        Policy.open(tmp_path)


def test_a_file_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "latin1.toml"
    path.write_bytes(b'name = "a"\n# caf\xe9\n')
    with pytest.raises(PolicyError, match=r"latin1.toml:2: this is not UTF-8; save"):
        Policy.open(path)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.toml"
    path.write_bytes(b"#" * 2_000_000)
    with pytest.raises(PolicyError, match="more than 1048576 bytes"):
        Policy.open(path)
    assert "more than 262144 characters" in refusal("#" * 300_000).problem


RULE = '[[rule]]\nname = "a"\nwhen = "is_vpn"\nverdict = "flag"\n'


@pytest.mark.parametrize(
    ("text", "line", "problem", "remedy"),
    [
        ('name = "x"\ndefault = allow\n', 2, "not valid TOML", "plain quotes"),
        ('name = "x"\n\n[[rule', 3, "not valid TOML", "write [[rule]]"),
        ("a = " + "[" * 5000, 1, "nested too deep", "[[rule]]"),
        (HEAD + "a" + ".a" * 100_000 + " = 1", 3, "too many parts", "[[rule]]"),
        (HEAD + '"a"' + "\t. 'a'" * 17 + " = 1", 3, "too many parts", "[[rule]]"),
        ("a = " + "9" * 5000, 1, "not valid TOML", "as toml.io"),
        ('default = "allow"\n' + RULE, 1, "the policy has no name", "add name"),
        ('name = "x"\n' + RULE, 1, "the policy has no default", "would_block"),
        ('name = "x"\ndefault = "alow"\n' + RULE, 2, "'alow' is no verdict", "allow?"),
        ('name = "x"\ndefault = 3\n' + RULE, 2, "is no verdict", "it is one of allow"),
        ("name = 3\n" + 'default = "flag"\n' + RULE, 1, "name is not text", "quotes"),
        ('name = " "\n' + 'default = "flag"\n' + RULE, 1, "name is empty", "printable"),
        (
            'name = "\\u001b[2J"\ndefault = "flag"\n' + RULE,
            1,
            "U+001B, which does not print",
            "printable",
        ),
        (HEAD, 1, "no rules", "[[rule]]"),
        (HEAD + "rule = []", 3, "no rules", "[[rule]]"),
        (HEAD + "rule = 5", 3, "not a list of tables", "[[rule]]"),
        (HEAD + "\n[rule]\nname = 'x'", 4, "not a list of tables", "[[rule]]"),
        (HEAD + "defualt = 1\n" + RULE, 3, "no key 'defualt'", "default?"),
        (HEAD + RULE + "[[rules]]\n", 7, "no key 'rules'", "rule?"),
        (HEAD + RULE + "wen = 1\n", 7, "no key 'wen'", "when?"),
        (HEAD + RULE.replace('name = "a"\n', ""), 3, "the rule has no name", "add name"),
        (HEAD + RULE.replace('when = "is_vpn"\n', ""), 3, "no when", "add a condition"),
        (HEAD + RULE.replace('verdict = "flag"\n', ""), 3, "no verdict", "add verdict"),
        (HEAD + RULE.replace('"is_vpn"', "true"), 5, "when is not text", 'when = "true"'),
        (HEAD + RULE.replace('"is_vpn"', "5"), 5, "when is not text", "condition"),
        (HEAD + RULE.replace("is_vpn", "is_vnp"), 5, "no column 'is_vnp'", "is_vpn?"),
        (HEAD + RULE.replace('"flag"', '"block"'), 6, "'block' is no verdict", "would_block?"),
        (HEAD + RULE.replace('"a"', '"default"'), 4, "'default' stands for", "otherwise"),
        (HEAD + RULE + "\n" + RULE, 9, "rule on line 3 is named 'a' too", "own"),
        (HEAD + 'rule = [{name = "a"}]', 3, "the rule has no verdict", "add verdict"),
    ],
)
def test_a_wrong_policy_is_refused_with_line_problem_and_remedy(
    text: str, line: int, problem: str, remedy: str
) -> None:
    error = refusal(text)
    assert problem in error.problem
    assert (error.path, error.line) == ("p.toml", line)
    assert remedy in error.remedy


def test_the_line_is_right_below_multi_line_strings_that_look_like_rules() -> None:
    text = (
        "name = 'x'\n"  # 1
        "default = 'allow' # [[rule]]\n"
        "[[ rule ]]\n"
        "name = 'a'\n"
        'when = """\n'  # 5
        "is_vpn and \\\n"
        "[[rule]]\n"
        'when = 1"""\n'
        "verdict = 'flag'\n"
    )
    assert (refusal(text).line, refusal(text).column) == (8, 6)
    text = text.replace("[[rule]]\nwhen = 1", "kind == 'vpn'\n\n")
    text += RULE.replace('"a"', '"b"').replace("flag", "flog")
    assert refusal(text).line == text.count("\n")


def test_dots_within_text_and_comments_are_no_parts_of_a_key() -> None:
    condition = f"server_name == '{'a.' * 40}example'"
    text = HEAD + f"# {'.' * 40}\n" + RULE.replace("is_vpn", condition)
    assert Policy.from_text(text).rules[0].line == 4


def test_an_inline_list_of_rules_works_too() -> None:
    text = HEAD + 'rule = [{name = "a", when = "is_vpn", verdict = "flag"}]'
    assert Policy.from_text(text).rules[0].line == 3


@pytest.mark.parametrize(
    ("rules", "line", "problem"),
    [
        ([("is_vpn and not is_vpn", "flag")], 5, "'r1' can never apply: is_vpn and not is_vpn"),
        ([("resp_port > 70000", "flag")], 5, "'r1' can never apply: resp_port > 70000 holds for"),
        ([("false", "flag")], 5, "'r1' can never apply: false holds for no flow"),
        (
            [("(is_vpn or registered) and not is_vpn and not registered", "flag")],
            5,
            "'r1' can never apply: its condition contradicts itself",
        ),
        (
            [("true", "flag"), ("is_vpn", "allow")],
            9,
            "'r2' can never apply: rule 'r1' on line 3 takes all",
        ),
        (
            [("is_vpn", "flag"), ("registered", "allow"), ("registered", "flag")],
            13,
            "'r3' can never apply: rule 'r2' on line 7 takes all",
        ),
        (
            [("is_vpn", "flag"), ("is_vpn and registered", "allow")],
            9,
            "'r2' can never apply: rule 'r1' on line 3 takes all",
        ),
        (
            [("resp_port < 100", "flag"), ("resp_port >= 50", "flag"), ("is_vpn", "flag")],
            13,
            "'r3' can never apply: the rules before it together take all",
        ),
        (
            [("strength in ['proof', 'strong']", "flag"), ("method == 'signature'", "flag")],
            9,
            "'r2' can never apply: rule 'r1' on line 3 takes all",
        ),
        (
            [("family == 'openvpn'", "flag"), ("family in ['OpenVPN']", "allow")],
            9,
            "'r2' can never apply: rule 'r1' on line 3 takes all",
        ),
    ],
)
def test_a_rule_that_can_never_apply_is_refused_with_its_line(
    rules: list[tuple[str, str]], line: int, problem: str
) -> None:
    with pytest.raises(PolicyError) as caught:
        policy(*rules)
    assert problem in caught.value.problem
    assert caught.value.line == line


def test_rules_that_overlap_without_covering_are_accepted() -> None:
    made = policy(("is_vpn and registered", "allow"), ("is_vpn", "flag"), ("registered", "flag"))
    assert len(made.rules) == 3


def test_a_policy_too_hard_to_search_is_accepted_with_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_reach, "BRANCH_LIMIT", 0)
    made = policy(("is_vpn", "flag"), ("is_vpn and registered", "flag"))
    assert [f.problem for f in check(made)] == [
        "whether rule 'r1' can apply is too hard to tell",
        "whether rule 'r2' can apply is too hard to tell",
    ]


def test_the_search_gives_up_when_its_budget_is_spent() -> None:
    when = Expression.parse("is_vpn and not is_vpn")
    demands = [(when.tree, True)]
    assert _reach.possible(demands, FIELDS, _reach.Budget(steps=0)) is None
    assert _reach.possible(demands, FIELDS) is False


def test_going_beyond_flag_on_weak_evidence_is_found() -> None:
    harsh = policy(
        ("is_vpn and strength == 'proof'", "would_block"),
        ("is_vpn and strength != ''", "would_throttle"),
        ("is_vpn", "flag"),
        ("application == 'quic'", "would_block"),
    )
    assert [rule.name for rule in beyond_flag_on_weak(harsh)] == ["r2", "r4"]


def test_what_earlier_rules_take_does_not_count_as_beyond_flag() -> None:
    mild = policy(("strength in ['weak', '']", "flag"), ("is_vpn", "would_block"))
    assert beyond_flag_on_weak(mild) == []
    by_method = policy(("method == 'signature' and is_vpn", "would_block"))
    assert beyond_flag_on_weak(by_method) == []


def test_a_harsh_default_is_beyond_flag_unless_rules_take_all_weak_flows() -> None:
    found = beyond_flag_on_weak(policy(("is_vpn", "flag"), default="would_block"))
    assert [(rule.name, rule.line) for rule in found] == [("default", 2)]
    taken = policy(("strength in ['weak', '']", "flag"), default="would_block")
    assert beyond_flag_on_weak(taken) == []


def test_check_gives_every_error_by_line(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(HEAD + RULE.replace("flag", "flog") + RULE.replace("is_vpn", "vpn ==") + "x=1")
    findings = check(path)
    assert [(f.line, f.severity) for f in findings] == [
        (6, "error"),
        (8, "error"),
        (9, "error"),
        (11, "error"),
    ]
    assert str(findings[0]) == f"{path}:6:11: 'flog' is no verdict; did you mean flag?"


def test_check_warns_of_collateral_with_the_line_of_the_rule() -> None:
    finding, note = check(policy(("is_vpn", "flag"), ("kind == 'vpn'", "would_block")))
    assert note.severity == "note"
    assert (finding.severity, finding.line) == ("warning", 7)
    assert "rule 'r2' goes to would_block without proof or strong evidence" in finding.problem


def test_check_of_a_missing_file_is_an_error_and_does_not_raise() -> None:
    (finding,) = check("no-such.toml")
    assert finding.severity == "error"
    assert "neither" in finding.problem


def test_notebooks_get_escaped_html() -> None:
    text = HEAD.replace("test", "<script>") + RULE.replace('"a"', '"<b>"').replace(
        '"is_vpn"', "\"organisation == '<i>'\""
    )
    shown = Policy.from_text(text)._repr_html_()
    assert "&lt;script&gt;" in shown
    assert "&lt;b&gt;" in shown
    assert "&lt;i&gt;" in shown
    assert "<script>" not in shown


def test_repr_names_policy_rules_and_default() -> None:
    assert repr(policy(("is_vpn", "flag"))) == "Policy('test', 1 rule, default allow)"


def test_five_rules_over_many_flows_prepare_each_column_once() -> None:
    n = 120_000
    table = flows(is_vpn=[True, False] * (n // 2), resp_port=list(range(n)))
    judged = policy(
        ("is_vpn and registered", "allow"),
        ("family == 'openvpn'", "flag"),
        ("resp_port in [443, 444]", "flag"),
        ("not is_vpn and vpn_probability > 0.9", "flag"),
        ("resp_port < 1024", "flag"),
    )
    verdicts, rules = judged.judge(table)
    assert int((verdicts == Verdict.FLAG).sum()) == 1024
    assert rules.to_pylist().count("r3") == 2


def test_expressions_are_shared_with_expectation_files() -> None:
    when = Expression.parse("verdict in ['flag', 'would_block']", columns=COLUMNS)
    assert when.evaluate(pa.table({"verdict": ["flag", "allow"]})).tolist() == [True, False]
