"""What conditions can name beside the flow columns."""

import re
from pathlib import Path
from typing import Any

import flow_rows
import pytest

from classifier.errors import PolicyError
from classifier.policy import DERIVED, Expression, Policy
from classifier.tables import COLUMNS

GUIDE = (Path(__file__).parents[3] / "docs" / "policy.md").read_text("utf-8")
THURSDAY_NS = 1_700_179_200 * 10**9  # 2023-11-17, a Friday, 00:00 UTC, less a day
THURSDAY_NS -= 86_400 * 10**9


def met(condition: str, *changes: dict[str, Any], local: list[str] | None = None) -> list[bool]:
    return Expression.parse(condition).evaluate(flow_rows.rows(*changes), local).tolist()


def test_derived_names_are_no_flow_columns_and_stand_in_the_guide() -> None:
    assert not {c.name for c in DERIVED} & {c.name for c in COLUMNS}
    table = GUIDE.split("can name what is derived from them:")[1].split("\n\n")[1]
    assert set(re.findall(r"`(\w+)`", table)) >= {c.name for c in DERIVED}


def test_the_hour_changes_at_the_full_hour_of_utc() -> None:
    before = {"first_ns": THURSDAY_NS + 9 * 3600 * 10**9 - 1}
    after = {"first_ns": THURSDAY_NS + 9 * 3600 * 10**9}
    assert met("hour == 8", before, after) == [True, False]
    assert met("hour == 9", before, after) == [False, True]


def test_the_weekday_changes_at_midnight_of_utc() -> None:
    days = [{"first_ns": THURSDAY_NS + day * 86_400 * 10**9 + shift} for day, shift in
            ((0, 0), (0, 86_400 * 10**9 - 1), (1, 0), (3, 5), (4, 0))]  # fmt: skip
    assert met("weekday == 'thursday'", *days) == [True, True, False, False, False]
    assert met("weekday in ['sunday', 'monday']", *days) == [False, False, False, True, True]


def test_packets_and_bytes_are_those_of_both_directions() -> None:
    flow = {"orig_packets": 3, "resp_packets": 4, "orig_bytes": 100, "resp_bytes": 900}
    assert met("packets == 7 and bytes == 1000 and bytes > orig_bytes", flow) == [True]


def test_the_duration_is_in_seconds() -> None:
    flow = {"first_ns": 10**18, "last_ns": 10**18 + 1_500_000_000}
    assert met("duration_s == 1.5", flow) == [True]


def test_the_inside_end_follows_the_prefixes_of_the_inside_network() -> None:
    flows = [
        {"orig_ip": "10.0.0.1", "resp_ip": "198.51.100.1"},
        {"orig_ip": "198.51.100.1", "resp_ip": "fd00::1"},
        {"orig_ip": "192.168.0.1", "resp_ip": "172.16.0.1"},
        {"orig_ip": "198.51.100.1", "resp_ip": "not an address"},
    ]
    for row, side in enumerate(["orig", "resp", "both", ""]):
        assert met(f"inside == '{side}'", *flows) == [i == row for i in range(4)]
    assert met("inside == 'resp'", flows[0], local=["198.51.100.0/24"]) == [True]


def test_flags_of_near_misses_are_the_near_miss_itself() -> None:
    when = Expression.parse("registration_expired or not registration_wrong_side")
    assert str(when) == "near_miss == 'expired' or not near_miss == 'wrong_side'"
    misses = [{"near_miss": word} for word in ("expired", "wrong_side", "")]
    assert met("registration_expired", *misses) == [True, False, False]
    assert met("registration_wrong_side", *misses) == [False, True, False]


@pytest.mark.parametrize(
    "condition",
    [
        "hour > 23",
        "registered and registration_expired",
        "registration_expired and registration_wrong_side",
        "packets < 0",
        "duration_s < 0",
    ],
)
def test_what_a_derived_column_never_holds_can_never_apply(condition: str) -> None:
    assert not Expression.parse(condition).can_apply()


def test_a_misspelled_day_is_refused_with_the_nearest() -> None:
    with pytest.raises(PolicyError, match=r"never 'thrusday'.*did you mean 'thursday'"):
        Expression.parse("weekday == 'thrusday'")


def test_a_policy_can_ask_for_office_hours_and_for_the_inside_network() -> None:
    policy = Policy.from_text(
        'name = "office"\ndefault = "allow"\n[[rule]]\nname = "at night"\n'
        "when = \"is_vpn and inside == 'orig' and (hour < 8 or hour >= 18)\"\nverdict = 'flag'\n"
    )
    night = flow_rows.WIREGUARD | {"first_ns": THURSDAY_NS}
    day = flow_rows.WIREGUARD | {"first_ns": THURSDAY_NS + 10 * 3600 * 10**9}
    assert policy.judge(flow_rows.rows(night, day))[0].tolist() == [1, 0]
    assert policy.judge(flow_rows.rows(night), local=["203.0.113.0/24"])[0].tolist() == [0]
