"""Conditions and policies against their row-wise twin, and against hostile text."""

import tomllib
from collections.abc import Callable
from itertools import count, product
from typing import Any, TypeVar

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference import policy as twin

from classifier.errors import PolicyError
from classifier.policy import Expression, Policy, check
from classifier.policy._lines import find_lines
from classifier.policy._reading import read
from classifier.tables import FAMILIES, Verdict

T = TypeVar("T")

TYPES = {
    "is_vpn": pa.bool_(),
    "registered": pa.bool_(),
    "start_seen": pa.bool_(),
    "orig_port": pa.int64(),
    "resp_port": pa.int64(),
    "parent_flow_id": pa.int64(),
    "first_ns": pa.int64(),
    "vpn_probability": pa.float64(),
    "kind": pa.string(),
    "family": pa.string(),
    "strength": pa.string(),
    "method": pa.string(),
    "matched_side": pa.string(),
    "registration_id": pa.string(),
    "organisation": pa.string(),
    "near_miss": pa.string(),
    "orig_bytes": pa.int64(),
    "resp_bytes": pa.int64(),
    "orig_packets": pa.int64(),
    "resp_packets": pa.int64(),
    "last_ns": pa.int64(),
    "orig_ip": pa.string(),
    "resp_ip": pa.string(),
    "category": pa.string(),
    "application": pa.string(),
}
FLAGS = ["is_vpn", "registered", "start_seen"]
ALIASES = ["registration_expired", "registration_wrong_side"]
NUMBERS = {
    "orig_port": [0, 1, 443, 65535],
    "resp_port": [0, 1, 443, 65535],
    "parent_flow_id": [-1, 0, 1],
    "first_ns": [-(2**63), 0, 1_700_000_000_000_000_001, 2**63 - 1],
    "vpn_probability": [0.0, 0.25, 0.5, 1.0],
}
DERIVED_NUMBERS = {
    "hour": [0, 1, 12, 23],
    "packets": [0, 3, 5],
    "bytes": [0, 40, 1500],
    "duration_s": [0.0, 0.5, 60.0],
}
BEYOND = [-(2**70), -2, 2, 444, 70_000, 2**63, 10**25]
FAMILY_NAMES = ["", "openvpn", "ssh-tunnel", "tor", "gre", "socks"]
WORDS = {
    "kind": ["", "vpn", "proxy", "tunnel", "anonymity", "encapsulation"],
    "family": [*FAMILY_NAMES, "OpenVPN", "SSH_Tunnel"],
    "strength": ["", "weak", "strong", "proof"],
    "method": ["", "signature", "behaviour", "model"],
    "matched_side": ["", "client", "server"],
    "registration_id": ["", "R-1", "R-2"],
    "organisation": ["", 'Example\'s "House"', "back\\slash", "Größe"],
    "application": ["tls", "quic", "unknown"],
    "near_miss": ["", "expired", "wrong_side", "not_yet"],
    "weekday": ["monday", "thursday", "sunday"],
    "inside": ["", "orig", "resp", "both"],
}
METHODS = {"proof": ["signature"], "strong": ["signature"], "weak": ["behaviour"]}


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    """A flow that keeps the promises of the column contract."""
    row: dict[str, Any] = {name: draw(st.sampled_from(v)) for name, v in NUMBERS.items()}
    row["family"] = draw(st.sampled_from(FAMILY_NAMES))
    row["kind"] = (
        FAMILIES[row["family"]].value if row["family"] else draw(st.sampled_from(WORDS["kind"]))
    )
    row["is_vpn"] = row["kind"] != "encapsulation" and draw(st.booleans())
    row["start_seen"] = draw(st.booleans())
    row["strength"] = draw(st.sampled_from(WORDS["strength"]))
    row["method"] = draw(st.sampled_from(METHODS.get(row["strength"], ["", "model"])))
    row["registered"] = draw(st.booleans())
    row["matched_side"] = draw(st.sampled_from(["client", "server"])) if row["registered"] else ""
    for name in ("registration_id", "organisation", "category"):
        words = WORDS.get(name, ["", "bank"])
        row[name] = draw(st.sampled_from(words)) if row["registered"] else ""
    row["application"] = draw(st.sampled_from(WORDS["application"]))
    row["near_miss"] = "" if row["registered"] else draw(st.sampled_from(WORDS["near_miss"]))
    for name in ("orig_bytes", "resp_bytes", "orig_packets", "resp_packets"):
        row[name] = draw(st.sampled_from([0, 1, 2, 3, 40, 1460]))
    row["first_ns"] = draw(st.sampled_from([0, 3_599_999_999_999, 1_700_000_000_000_000_001]))
    row["last_ns"] = row["first_ns"] + draw(st.sampled_from([0, 500_000_000, 60_000_000_000]))
    for name in ("orig_ip", "resp_ip"):
        row[name] = draw(st.sampled_from(["10.0.0.1", "8.8.8.8", "fe80::1", "2001:db8::1", ""]))
    return row


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\")
    return f"'{escaped}'" if "'" not in text else '"' + escaped.replace('"', '\\"') + '"'


def number_tests() -> st.SearchStrategy[str]:
    def test(name: str) -> st.SearchStrategy[str]:
        values = st.sampled_from([*(NUMBERS | DERIVED_NUMBERS)[name], *BEYOND])
        compared = st.tuples(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), values)
        listed = st.tuples(st.sampled_from(["in", "not in"]), st.lists(values, min_size=1))
        return compared.map(lambda t: f"{name} {t[0]} {t[1]!r}") | listed.map(
            lambda t: f"{name} {t[0]} [{', '.join(map(repr, t[1]))}]"
        )

    return st.sampled_from([*NUMBERS, *DERIVED_NUMBERS]).flatmap(test)


def text_tests() -> st.SearchStrategy[str]:
    def test(name: str) -> st.SearchStrategy[str]:
        values = st.sampled_from(WORDS[name]).map(quoted)
        compared = st.tuples(st.sampled_from(["==", "!="]), values)
        listed = st.tuples(st.sampled_from(["in", "not in"]), st.lists(values, min_size=1))
        return (
            compared.map(lambda t: f"{name} {t[0]} {t[1]}")
            | compared.map(lambda t: f"{t[1]} {t[0]} {name}")
            | listed.map(lambda t: f"{name} {t[0]} [{', '.join(t[1])}]")
        )

    return st.sampled_from(list(WORDS)).flatmap(test)


PAIRS = [
    "orig_port < resp_port",
    "resp_port >= orig_port",
    "orig_port == resp_port",
    "resp_port != orig_port",
    "is_vpn == registered",
    "organisation != registration_id",
    "bytes > orig_bytes",
    "registration_expired == is_vpn",
]

tests = (
    st.sampled_from(
        [*FLAGS, *ALIASES, *PAIRS, "true", "False", "is_vpn == false", "registered != false"]
    )
    | number_tests()
    | text_tests()
)
conditions = st.recursive(
    tests,
    lambda inner: (
        inner.map(lambda c: f"not {c}")
        | inner.map(lambda c: f"({c})")
        | st.lists(inner, min_size=2, max_size=4).map(" and ".join)
        | st.lists(inner, min_size=2, max_size=4).map(" or ".join)
    ),
    max_leaves=12,
)


def table_of(some: list[dict[str, Any]]) -> pa.Table:
    schema = pa.schema(list(TYPES.items()))
    return pa.Table.from_pylist(some, schema=schema)


@given(conditions, st.lists(rows(), max_size=8))
def test_a_condition_applies_where_its_row_wise_twin_says(
    text: str, some: list[dict[str, Any]]
) -> None:
    expected = [twin.applies(text, row) for row in some]
    assert Expression.parse(text).evaluate(table_of(some)).tolist() == expected


@given(conditions)
def test_the_canonical_spelling_parses_to_an_equal_expression(text: str) -> None:
    parsed = Expression.parse(text)
    again = Expression.parse(str(parsed))
    assert again == parsed
    assert str(again) == str(parsed)


@given(conditions, st.lists(rows(), min_size=1, max_size=20))
def test_a_condition_said_to_be_impossible_applies_to_no_flow(
    text: str, some: list[dict[str, Any]]
) -> None:
    if any(twin.applies(text, row) for row in some):
        assert Expression.parse(text).can_apply()


SMALL_TESTS = st.sampled_from(
    [*FLAGS, "strength == 'proof'", "strength in ['weak', '']", "strength != 'weak'"]
    + ["method == 'signature'", "method != 'model'", "method in ['behaviour', 'model']"]
    + [f"orig_port {op} {n}" for op in ("==", "!=", "<", ">") for n in (0, 1, 2)]
)
SMALL_FLOWS = [
    {**dict(zip(FLAGS, flags, strict=True)), "strength": s, "method": m, "orig_port": port}
    for flags in product([False, True], repeat=3)
    for s in WORDS["strength"]
    for m in METHODS.get(s, ["", "model"])
    for port in range(4)
]


@given(
    st.recursive(
        SMALL_TESTS,
        lambda inner: (
            inner.map(lambda c: f"not ({c})")
            | st.lists(inner, min_size=2, max_size=3).map(lambda c: f"({' and '.join(c)})")
            | st.lists(inner, min_size=2, max_size=3).map(lambda c: f"({' or '.join(c)})")
        ),
        max_leaves=16,
    )
)
def test_a_condition_can_apply_exactly_if_one_of_all_flows_meets_it(text: str) -> None:
    expected = any(twin.applies(text, flow) for flow in SMALL_FLOWS)
    assert Expression.parse(text).can_apply() == expected


@given(
    st.lists(st.tuples(conditions, st.sampled_from([v.label for v in Verdict])), max_size=4),
    st.lists(rows(), min_size=1, max_size=12),
)
def test_a_policy_judges_as_its_row_wise_twin_and_refuses_only_rules_without_flows(
    drawn: list[tuple[str, str]], some: list[dict[str, Any]]
) -> None:
    number = count(1)
    rules = [(f"rule {next(number)}", when, verdict) for when, verdict in drawn]
    expected = twin.judge(rules, "flag", some)
    text = 'name = "drawn"\ndefault = "flag"\n' + "".join(
        f"[[rule]]\nname = '{name}'\nwhen = '''{when} '''\nverdict = '{verdict}'\n"
        for name, when, verdict in rules
    )
    refused = [error.problem for error in read(text, "drawn.toml").errors]
    if refused:
        assert all("can never apply" in problem for problem in refused) or not rules
        assert not {p.split("'")[1] for p in refused if rules} & {rule for _, rule in expected}
        return
    verdicts, names = Policy.from_text(text).judge(table_of(some))
    labels = [Verdict(v).label for v in verdicts.tolist()]
    assert list(zip(labels, names.to_pylist(), strict=True)) == expected


def outcome(call: Callable[[Any], T], argument: object) -> T | PolicyError:
    """Return the result, or the one error that is allowed."""
    try:
        return call(argument)
    except PolicyError as error:
        return error


WORDS_OF_THE_LANGUAGE = st.sampled_from(
    [
        "and",
        "or",
        "not",
        "in",
        "(",
        ")",
        "[",
        "]",
        ",",
        "==",
        "<",
        "is_vpn",
        "orig_port",
        "kind",
        "'vpn'",
        "443",
        "0.5",
        "true",
        "vlan",
        "-1",
    ]
) | st.sampled_from(["'", '"', "\\", "\n", "=", "é", "\ud800"])


@given(st.text() | st.lists(WORDS_OF_THE_LANGUAGE).map(" ".join))
@example("(" * 10_000)
@example("not " * 5_000 + "is_vpn")
@example("is_vpn" + " and is_vpn" * 1_800)
@example("orig_port == " + "9" * 5_000)
def test_no_text_makes_the_parser_fail_in_any_other_way_than_a_policy_error(text: str) -> None:
    parsed = outcome(Expression.parse, text)
    if isinstance(parsed, PolicyError):
        assert parsed.remedy
        assert str(parsed).isprintable()
    else:
        assert Expression.parse(str(parsed)) == parsed


TOML_PIECES = (
    st.sampled_from(
        ["[[rule]]\n", 'name = "a"\n', "name = 'b'\n", 'default = "allow"\n', 'when = "is_vpn"\n']
    )
    | st.sampled_from(
        ['verdict = "flag"\n', "when = '''\nis_vpn'''\n", "rule = [1]\n", "rule = [{name = 1}]\n"]
    )
    | st.sampled_from(
        ["[rule]\n", "[rule.x]\n", "# [[rule]]\n", 'note = """\n[[rule]]\n"""\n', "x = [\n1,\n]\n"]
    )
)


@given(st.binary() | st.lists(TOML_PIECES, max_size=12).map(lambda p: "".join(p).encode()))
@example(b"a = " + b"[" * 100_000)
@example(b"a = " + b"9" * 5_000)
@example(b"a" + b".a" * 100_000 + b" = 1")
@settings(max_examples=200)
def test_no_bytes_make_a_policy_file_fail_in_any_other_way_than_a_policy_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.toml"
    path.write_bytes(data)
    opened = outcome(Policy.open, path)
    if isinstance(opened, PolicyError):
        assert opened.path == str(path)
        findings = check(path)
        assert str(findings[0]) == str(opened)
        assert all(str(f).isprintable() for f in findings)
        assert all(f.line and f.line <= data.count(b"\n") + 1 for f in findings)


VALUES = st.sampled_from(
    ['"x"', "'x'", '"a # b"', '"\\"[[rule]]"', '"""\n[[rule]]\nname = 1\n"""', "'''\nx\n'''"]
) | st.sampled_from(
    ['"""a\\""""""', "''''x'''''", "[\n 1, # [\n 2\n]", "{a = 1}", '"""""a"""', "1 # '''"]
)


@given(
    st.lists(st.lists(VALUES, min_size=1, max_size=3), max_size=4), st.sampled_from(["\n", "\r\n"])
)
def test_the_line_of_each_key_is_found_whatever_stands_between(
    values: list[list[str]], newline: str
) -> None:
    text, expected = "top = 1\n", []
    for rule in values:
        text += "\n# a comment\n"
        keys = {"": text.count("\n") + 1}
        text += " [[ rule ]] # [[rule]]\n"
        for number, value in enumerate(rule):
            keys[f"k{number}"] = text.count("\n") + 1
            text += f"\tk{number} = {value}\n"
        expected.append(keys)
    tomllib.loads(text)
    assert find_lines(text.replace("\n", newline)).tables.get("rule", []) == expected
