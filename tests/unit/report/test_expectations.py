import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from flow_rows import WIREGUARD, rows

from classifier.errors import ClassifierError, PolicyError, ResourceError
from classifier.report.expectations import CheckResult, check_expectations, junit_xml
from classifier.report.writers import write_flows

TABLE = rows(WIREGUARD, {}, WIREGUARD | {"verdict": "flag", "resp_port": 51820})


def checked(tmp_path: Path, text: str) -> list[CheckResult]:
    path = tmp_path / "expected.toml"
    path.write_text(text)
    return check_expectations(TABLE, path)


@pytest.mark.parametrize(
    ("bounds", "passed"),
    [
        ("", True),  # one at least
        ("count = 2", True),
        ("count = 3", False),
        ("at_least = 2", True),
        ("at_least = 3", False),
        ("at_most = 2", True),
        ("at_most = 1", False),
        ("at_least = 1\nat_most = 5", True),
        ('family = "Wire_Guard"', True),
        ('family = "openvpn"', False),
        ('rule = "unregistered, certain"', True),
        ('verdict = "would_block"', False),  # one of the two is flagged
    ],
)
def test_a_check_counts_flows_and_looks_at_all_of_them(
    tmp_path: Path, bounds: str, passed: bool
) -> None:
    (result,) = checked(tmp_path, f'[[check]]\nwhen = "is_vpn"\n{bounds}\n')
    assert result.passed == passed
    assert bool(result.message) != passed


def test_a_check_does_not_pass_because_nothing_was_found(tmp_path: Path) -> None:
    text = '[[check]]\nwhen = "family == \'tor\'"\nverdict = "flag"\n'
    (result,) = checked(tmp_path, text)
    assert result == CheckResult("family == 'tor'", False, "0 flows meet it, expected 1 at least")


def test_a_failure_says_which_flows_differ(tmp_path: Path) -> None:
    text = '[[check]]\nname = "n"\nwhen = "is_vpn"\ncount = 1\nverdict = "would_block"\n'
    (result,) = checked(tmp_path, text)
    assert result.name == "n"
    assert "2 flows meet it, expected 1 (flows 0, 2)" in result.message
    assert "verdict is not 'would_block': flow 2 has 'flag'" in result.message


def test_a_condition_may_name_verdict_and_rule(tmp_path: Path) -> None:
    assert checked(tmp_path, "[[check]]\nwhen = \"verdict == 'flag'\"\ncount = 1\n")[0].passed


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "there are no checks"),
        ("check = 1", "there are no checks"),
        ("check = []", "there are no checks"),
        ("check = [1]", "check 1: is no table"),
        ("[[chek]]\n", "'chek' is not known"),
        ('[[check]]\nwhat = "x"\n', ":1: check 1: 'what' is not known; use name, when, count"),
        ("[[check]]\ncount = 1\n", ":1: check 1: there is no 'when'"),
        ('[[check]]\nwhen="is_vpn"\n\n[[check]]\nwhen = 1\n', ":4: check 2: when is no text"),
        ('[[check]]\nwhen="is_vpn"\ncount = -1\n', "count is no count"),
        ('[[check]]\nwhen="is_vpn"\ncount = true\n', "count is no count"),
        ('[[check]]\nwhen="is_vpn"\ncount = 1\nat_most = 1\n', "count stands beside"),
        ('[[check]]\nwhen="is_vpn"\nat_least = 2\nat_most = 1\n', "at_most is less than at_least"),
        ('[[check]]\nwhen="is_vpn"\nverdict = "block"\n', "'block' is no verdict"),
        ("[[check]\n", ":1: "),
        ("x = " + "[" * 5000, "expected.toml"),
    ],
)
def test_a_file_that_says_nothing_checkable_is_one_line(
    tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(ClassifierError) as caught:
        checked(tmp_path, text)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_condition_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"expected\.toml:3"):
        checked(tmp_path, '\n\n[[check]]\nwhen = "is_vpm"\n')


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="no such file"):
        check_expectations(TABLE, tmp_path / "missing.toml")
    with pytest.raises(ResourceError, match="cannot be read"):
        check_expectations(TABLE, tmp_path)
    (tmp_path / "a.toml").write_bytes(b"\xff")
    with pytest.raises(ResourceError, match="not UTF-8"):
        check_expectations(TABLE, tmp_path / "a.toml")


def compared(tmp_path: Path, expected: list[dict[str, Any]], table: Any = TABLE) -> dict[str, str]:
    path = tmp_path / "earlier.ndjson"
    path.write_text("".join(json.dumps(row) + "\n" for row in expected))
    return {r.name: r.message for r in check_expectations(table, path) if not r.passed}


def earlier(tmp_path: Path) -> list[dict[str, Any]]:
    write_flows(TABLE, tmp_path / "a.ndjson")
    return [json.loads(line) for line in (tmp_path / "a.ndjson").read_text().splitlines()]


def test_a_run_agrees_with_its_own_ndjson_in_any_order(tmp_path: Path) -> None:
    assert compared(tmp_path, earlier(tmp_path)[::-1]) == {}


def test_a_changed_value_is_shown_by_column(tmp_path: Path) -> None:
    rows_before = earlier(tmp_path)
    rows_before[1]["verdict"] = "flag"
    failed = compared(tmp_path, rows_before)
    assert failed == {
        "column verdict": "1 of 3 rows differ: row 1 has 'allow', expected 'flag'",
    }


def test_probabilities_may_differ_a_little(tmp_path: Path) -> None:
    rows_before = earlier(tmp_path)
    rows_before[1]["vpn_probability"] += 0.05
    assert compared(tmp_path, rows_before) == {}
    rows_before[1]["vpn_probability"] += 0.001
    assert list(compared(tmp_path, rows_before)) == ["column vpn_probability"]


def test_flows_that_are_missing_or_new_are_named(tmp_path: Path) -> None:
    rows_before = earlier(tmp_path)
    rows_before[2]["first_ns"] += 1
    message = compared(tmp_path, rows_before)["rows"]
    assert "1 of 3 expected flows are missing" in message
    assert "1 flows were not expected: 2 udp 10.0.0.1 40000 198.51.100.1 51820" in message


@pytest.mark.parametrize(
    "kept", [["verdict"], ["flow_id", "verdict"], ["first_ns", "community_id", "verdict"]]
)
def test_columns_that_were_left_out_are_not_compared(tmp_path: Path, kept: list[str]) -> None:
    rows_before = [{name: row[name] for name in kept} for row in earlier(tmp_path)]
    assert compared(tmp_path, rows_before) == {}
    rows_before[0]["verdict"] = "allow"
    assert "column verdict" in compared(tmp_path, rows_before)
    assert "rows" in compared(tmp_path, rows_before[:2])


def test_the_name_of_the_capture_is_not_compared(tmp_path: Path) -> None:
    moved = [row | {"capture": "moved.pcap.gz"} for row in earlier(tmp_path)]
    assert compared(tmp_path, moved) == {}
    names = [result.name for result in check_expectations(TABLE, tmp_path / "earlier.ndjson")]
    assert "column verdict" in names
    assert "column capture" not in names


def test_true_is_not_one(tmp_path: Path) -> None:
    rows_before = earlier(tmp_path)
    rows_before[0]["is_vpn"] = 1
    assert list(compared(tmp_path, rows_before)) == ["column is_vpn"]


def test_messages_are_bounded_and_harmless(tmp_path: Path) -> None:
    table = rows(*({"server_name": "\x1b[2J" * 500} for _ in range(50)))
    failed = compared(tmp_path, [{"server_name": "x" * 10_000}] * 50, table)
    assert len(failed["column server_name"]) < 1500
    assert "\x1b" not in failed["column server_name"]
    assert failed["column server_name"].endswith("and 45 more")


@pytest.mark.parametrize("line", ["{", "[]", "1", "[" * 100_000])
def test_ndjson_that_is_no_object_names_its_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.ndjson").write_text('{"flow_id":0}\n' + line + "\n")
    with pytest.raises(ClassifierError, match=r"a\.ndjson:2: is no JSON object"):
        check_expectations(TABLE, tmp_path / "a.ndjson")


def test_junit_is_valid_xml_whatever_the_texts_hold(tmp_path: Path) -> None:
    bad = "<&>\"'\x00\x0b\x1b]]>\ufffe\U0001f600"
    results = [CheckResult("good", True, ""), CheckResult(bad, False, bad + "\ud800")]
    junit_xml(results, tmp_path / "junit.xml")
    suite = ElementTree.fromstring((tmp_path / "junit.xml").read_bytes())
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    good, failed = suite.findall("testcase")
    assert good.find("failure") is None
    assert failed.get("name") == "<&>\"'\ufffd\ufffd\ufffd]]>\ufffd\U0001f600"
    failure = failed.find("failure")
    assert failure is not None
    assert failure.text is not None
    assert failure.text.startswith("<&>")
