"""What conditions mean, and how they are refused."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from classifier.detectors.applications import SERVICES
from classifier.errors import PolicyError
from classifier.policy import Expression
from classifier.policy._reading import FIELDS
from classifier.tables import COLUMNS


def applies(text: str, **columns: Any) -> list[bool]:
    return Expression.parse(text, columns=COLUMNS).evaluate(pa.table(columns)).tolist()


def refusal(text: str) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        Expression.parse(text, path="p.toml", line=7)
    return caught.value


def test_and_binds_closer_than_or_and_not_closer_than_both() -> None:
    text = "not is_vpn and registered or start_seen"
    rows = {"is_vpn": [True, False, True], "registered": [True, True, False]}
    assert applies(text, **rows, start_seen=[False, False, True]) == [False, True, True]


def test_not_takes_the_whole_comparison() -> None:
    assert applies("not kind == 'vpn'", kind=["vpn", "proxy"]) == [False, True]


def test_a_literal_may_stand_on_the_left() -> None:
    assert str(Expression.parse("1024 > orig_port")) == "orig_port < 1024"


def test_columns_of_one_type_can_be_compared_with_each_other() -> None:
    assert applies("orig_bytes > resp_bytes", orig_bytes=[2, 1], resp_bytes=[1, 2]) == [True, False]
    assert applies("orig_ip != resp_ip", orig_ip=["::1", "::1"], resp_ip=["::1", "::2"]) == [
        False,
        True,
    ]


def test_family_names_are_compared_ignoring_case_hyphen_and_underscore() -> None:
    family = ["ssh-tunnel", "SSH_Tunnel", "tor", None]
    assert applies("family == 'SshTunnel'", family=family) == [True, True, False, False]
    assert applies("family in ['TOR', 'gtp_u']", family=family) == [False, False, True, False]


def test_time_stamps_are_compared_exactly_beyond_what_a_float_holds() -> None:
    first_ns = [1_700_000_000_000_000_001, 1_700_000_000_000_000_000]
    assert applies("first_ns > 1_700_000_000_000_000_000", first_ns=first_ns) == [True, False]
    assert applies("first_ns > 1.7e18", first_ns=first_ns) == [True, False]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("orig_bytes < 99999999999999999999", True),
        ("orig_bytes >= 99999999999999999999", False),
        ("orig_bytes != -99999999999999999999", True),
        ("orig_bytes in [99999999999999999999]", False),
    ],
)
def test_a_number_beyond_64_bits_is_compared_by_its_value(text: str, expected: bool) -> None:
    assert applies(text, orig_bytes=[5]) == [expected]


def test_missing_values_count_as_false_empty_or_zero() -> None:
    assert applies("not is_vpn", is_vpn=pa.array([None, True])) == [True, False]
    assert applies("kind == ''", kind=pa.array([None, "vpn"])) == [True, False]
    assert applies("orig_port == 0", orig_port=pa.array([None, 1], pa.int64())) == [True, False]
    probability = pa.array([None, float("nan"), 0.9])
    assert applies("vpn_probability < 0.5", vpn_probability=probability) == [True, True, False]
    assert applies("is_vpn or kind != ''", is_vpn=pa.nulls(1), kind=pa.nulls(1)) == [False]


@pytest.mark.parametrize(
    "kind",
    [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())],
    ids=str,
)
def test_text_may_come_in_any_arrow_layout(kind: pa.DataType) -> None:
    column = pa.array(["vpn", None, "proxy"], pa.string()).cast(kind)
    assert applies("kind in ['vpn', 'tunnel']", kind=column) == [True, False, False]


def test_chunked_sliced_and_empty_tables_are_read_alike() -> None:
    column = pa.chunked_array([[True, False], [], [True]])
    table = pa.table({"is_vpn": column})
    when = Expression.parse("is_vpn")
    assert when.evaluate(table).tolist() == [True, False, True]
    assert when.evaluate(table.slice(1)).tolist() == [False, True]
    assert when.evaluate(table.slice(0, 0)).tolist() == []
    assert when.evaluate(table.to_batches()[0]).tolist() == [True, False]


def test_the_result_can_be_written_to_without_harm_to_the_table() -> None:
    table = pa.table({"is_vpn": [True, False]})
    when = Expression.parse("is_vpn")
    when.evaluate(table)[:] = False
    assert when.evaluate(table).tolist() == [True, False]


def test_a_family_that_is_no_utf8_matches_nothing_and_breaks_nothing() -> None:
    broken = pa.StringArray.from_buffers(
        1, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\xfe")
    )
    assert applies("family == 'tor'", family=broken) == [False]


def test_verdict_and_rule_can_be_asked_about_only_where_allowed() -> None:
    with pytest.raises(PolicyError, match="verdict is what the policy decides"):
        Expression.parse("verdict == 'flag'")
    assert applies("verdict != 'flag' and rule == 'x'", verdict=["allow"], rule=["x"]) == [True]


def test_a_table_without_the_column_is_refused_by_name() -> None:
    with pytest.raises(PolicyError, match="has no column 'is_vpn'"):
        Expression.parse("is_vpn").evaluate(pa.table({"kind": ["vpn"]}))


def test_a_table_with_a_column_of_another_type_is_refused() -> None:
    with pytest.raises(PolicyError, match="'orig_port' of the table holds string, not int64"):
        Expression.parse("orig_port == 1").evaluate(pa.table({"orig_port": ["1"]}))
    huge = pa.table({"orig_bytes": pa.array([2**63], pa.uint64())})
    with pytest.raises(PolicyError, match="does not fit int64"):
        Expression.parse("orig_bytes == 1").evaluate(huge)


def test_a_refusal_names_file_line_character_and_remedy() -> None:
    assert str(refusal("is_vpn and strenght == 'proof'")) == (
        "p.toml:7: condition, character 12: there is no column 'strenght'; did you mean strength?"
    )


@pytest.mark.parametrize(
    ("text", "problem", "remedy"),
    [
        ("", "empty", "true"),
        ("is_vpn and", "ends too early", "complete"),
        ("is_vpn registered", "'registered' cannot stand here", "and"),
        ("(is_vpn", "not closed", ")"),
        ("is_vpn)", "never opened", "remove"),
        ("(is_vpn) == true", "parentheses cannot be compared", "columns"),
        ("is_vpn = true", "'=' means nothing", "=="),
        ("is_vpn && registered", "'&' means nothing", "and"),
        ("orig_port <> 5", "'<>' means nothing", "!="),
        ("kind", "kind is text", "kind != ''"),
        ("orig_port", "orig_port is a whole number", "orig_port != 0"),
        ("5", "alone is no condition", "column"),
        ("strength == proof", "no column 'proof'", "quotes: 'proof'"),
        ("kind == 5", "cannot be compared with 5", "it is one of '', 'vpn'"),
        ("organisation == 5", "cannot be compared with 5", "quotes: '5'"),
        ("orig_port == '5'", "cannot be compared with '5'", "without quotes"),
        ("is_vpn == 1", "cannot be compared with 1", "not is_vpn"),
        ("orig_port == true", "cannot be compared with true", "number"),
        ("orig_port == 0.5", "never 0.5", "0 or 1"),
        ("kind < 'vpn'", "has no order", "=="),
        ("is_vpn < registered", "has no order", "=="),
        ("1 < orig_port < 5", "cannot be chained", "and"),
        ("1 == 1", "two literals", "column"),
        ("orig_port == orig_port", "with itself", "another"),
        ("orig_port == kind", "but kind is text", "same type"),
        ("'a' in kind", "only a column", "square brackets"),
        ("is_vpn in [true]", "true or false", "not is_vpn"),
        ("kind in 'vpn'", "a list must follow", "square brackets"),
        ("kind in []", "empty list", "literal"),
        ("kind in ['vpn'", "not closed", "]"),
        ("kind in ['vpn' 'proxy']", "not closed", "comma"),
        ("kind in [kind]", "no literal", "quotes"),
        ("kind not 'vpn'", "only in can follow not", "not in"),
        ("5 in vlan", "vlan is a list", "leave it out"),
        ("evidence == 'x'", "evidence is a list", "strength"),
        ("organisation == 'x", "does not end", "quote"),
        (r"organisation == 'a\n'", "escapes nothing", "backslash"),
        ("orig_port == 0x10", "no number", "443"),
        ("orig_port == 1e999", "out of range", "smaller"),
        ("orig_port == " + "1" * 41, "too long", "40"),
        ("organisation == '\ud800'", "not valid Unicode", "surrogates"),
        ("is_vpn or " * 3000 + "is_vpn", "more than 20000 characters", "split"),
        ("(" * 33 + "is_vpn" + ")" * 33, "nested more than 32 deep", "split"),
        ("not " * 33 + "is_vpn", "nested more than 32 deep", "split"),
    ],
)
def test_a_wrong_condition_is_refused_with_problem_and_remedy(
    text: str, problem: str, remedy: str
) -> None:
    error = refusal(text)
    assert problem in error.problem
    assert remedy in error.remedy
    assert error.line == 7


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("strength == 'certain'", "it is one of '', 'weak', 'strong', 'proof'"),
        ("strength != 'Proof'", "did you mean 'proof'?"),
        ("kind in ['vpn', 'tunel']", "did you mean 'tunnel'?"),
        ("method == 'signatures'", "did you mean 'signature'?"),
        ("near_miss == 'expird'", "did you mean 'expired'?"),
        ("matched_side == 'clent'", "did you mean 'client'?"),
        ("family == 'wiregaurd'", "did you mean 'wireguard'?"),
        ("proto == 'icmpv6'", "did you mean 'icmp6'?"),
        ("proto == 'ip-6'", ""),
        ("resp_ip == '10.0.0.0/8'", "write one address; a register holds prefixes"),
    ],
)
def test_a_literal_that_a_column_never_holds_is_refused(text: str, remedy: str) -> None:
    error = refusal(text)
    assert "this can never apply" in error.problem
    assert remedy in error.remedy


@pytest.mark.parametrize(
    "text",
    [
        "proto == 'ip-200'",
        "resp_ip == '2001:db8::1' or resp_ip == ''",
        "organisation == 'Anything'",
        "orig_port == 1_024",
        "vpn_probability == 1",
        "orig_bytes > 1e6",
        "kind in ['vpn', 'proxy',]",
        "True and not False",
        "parent_flow_id == -1",
        "(" * 32 + "is_vpn" + ")" * 32,
        "is_vpn" + " or is_vpn" * 1900,
    ],
)
def test_a_right_condition_is_accepted(text: str) -> None:
    assert Expression.parse(text).can_apply()


@pytest.mark.parametrize(
    "text",
    [
        "is_vpn and not is_vpn",
        "false",
        "orig_port > 70000",
        "orig_port > 65535",
        "orig_port < 0",
        "orig_port > 5 and orig_port < 6",
        "orig_port >= 5 and orig_port <= 6 and orig_port not in [5, 6]",
        "vpn_probability > 1",
        "vpn_probability > 0.5 and vpn_probability < 0.5",
        "vpn_probability >= 0.5 and vpn_probability <= 0.5 and vpn_probability != 0.5",
        "orig_bytes == 99999999999999999999",
        "strength == 'proof' and strength == 'weak'",
        "strength not in ['', 'weak', 'strong', 'proof']",
        "organisation == 'a' and organisation != 'a'",
        "(is_vpn or registered) and not is_vpn and not registered",
        "is_vpn and kind == 'encapsulation'",
        "is_vpn and family == 'GRE'",
        "family == 'wireguard' and kind == 'proxy'",
        "not registered and organisation == 'Example'",
        "registered and matched_side == ''",
        "strength == 'weak' and method == 'signature'",
        "method == 'model' and strength != ''",
        "orig_port < resp_port and not resp_port > orig_port",
        "orig_port == resp_port and resp_port != orig_port",
    ],
)
def test_a_condition_that_contradicts_itself_or_the_columns_can_never_apply(text: str) -> None:
    assert not Expression.parse(text).can_apply()


@pytest.mark.parametrize(
    "text",
    [
        "vpn_probability > 0.5 and vpn_probability < 0.6",
        "orig_port > 5 and orig_port < 7",
        "not registered and near_miss == 'expired'",
        "not is_vpn and strength == 'weak'",
        "kind == 'encapsulation' and strength == 'proof'",
        "orig_port <= resp_port and resp_port <= orig_port",
    ],
)
def test_a_condition_that_some_flow_meets_can_apply(text: str) -> None:
    assert Expression.parse(text).can_apply()


def test_expressions_compare_by_meaning_not_by_spelling() -> None:
    one = Expression.parse("is_vpn and ((kind=='vpn'))")
    assert one == Expression.parse('is_vpn and kind == "vpn"')
    assert hash(one) == hash(Expression.parse('is_vpn and kind == "vpn"'))
    assert one.text == "is_vpn and ((kind=='vpn'))"


def test_classes_of_use_are_those_that_applications_have() -> None:
    assert set(FIELDS["service"].choices) == {*SERVICES.values(), "vpn"}
