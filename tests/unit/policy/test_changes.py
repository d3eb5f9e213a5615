"""What changes between two policies, registers or times."""

import json
from pathlib import Path

import flow_rows
import pytest
from flow_rows import WIREGUARD

import classifier
from classifier.policy.changes import changed_flows
from classifier.report.changes import compare_tables

DEMO = classifier.datasets.demo()
BEFORE = flow_rows.rows(WIREGUARD, WIREGUARD | {"orig_ip": "10.0.0.2", "community_id": "1:b"}, {})
AFTER = flow_rows.rows(
    WIREGUARD | {"verdict": "would_throttle"},
    WIREGUARD | {"orig_ip": "10.0.0.2", "community_id": "1:b", "verdict": "allow"},
    {"verdict": "flag"},
)


@pytest.fixture(scope="module")
def run() -> classifier.Run:
    return classifier.classify(
        DEMO.capture, registry=DEMO.register, policy="registered-only", progress=False
    )


def test_each_flow_with_another_verdict_is_listed_with_its_direction() -> None:
    found, paired, gone, new = changed_flows(BEFORE, AFTER)
    assert (paired, gone, new) == (3, 0, 0)
    assert found["before"].tolist() == ["would_block", "would_block", "allow"]
    assert found["after"].tolist() == ["would_throttle", "allow", "flag"]
    assert found["direction"].tolist() == ["milder", "milder", "harsher"]


def test_a_capture_of_another_name_holds_the_same_flows() -> None:
    moved = flow_rows.rows(WIREGUARD | {"capture": "moved.pcap.gz", "verdict": "flag"})
    found, paired, gone, new = changed_flows(BEFORE.slice(0, 1), moved)
    assert (len(found), paired, gone, new) == (1, 1, 0, 0)


def test_flows_of_one_run_alone_are_counted_not_compared() -> None:
    found, paired, gone, new = changed_flows(BEFORE, AFTER.slice(1))
    assert (len(found), paired, gone, new) == (2, 2, 1, 0)


def test_the_same_flow_twice_is_paired_in_order() -> None:
    twice = flow_rows.rows(WIREGUARD, WIREGUARD)
    found, paired, *_ = changed_flows(
        twice, flow_rows.rows(WIREGUARD, WIREGUARD | {"verdict": "flag"})
    )
    assert (paired, found["flow_id"].tolist()) == (2, [1])


def test_a_milder_policy_makes_all_changes_milder(run: classifier.Run) -> None:
    found = run.compare(run.judge("throttle-unregistered"))
    blocked = run.flows[run.flows["verdict"] == "would_block"]
    assert found.flows["flow_id"].tolist() == blocked["flow_id"].tolist()
    (row,) = found.summary.to_dict("records")
    assert (row["direction"], row["flows"]) == ("milder", len(blocked))
    assert row["bytes"] == (blocked["orig_bytes"] + blocked["resp_bytes"]).sum()
    assert "registered-only -> throttle-unregistered: 10 of 66 flows change verdict" in str(found)
    assert json.loads(found.json())["changed"] == len(blocked)
    assert "<table>" in found._repr_html_()


def test_the_same_run_changes_nothing(run: classifier.Run) -> None:
    found = run.compare(run)
    assert len(found.flows) == 0
    assert "0 of 66 flows change verdict" in found.text()


def test_two_times_of_the_register_are_compared(run: classifier.Run) -> None:
    found = run.compare(run.judge(at="2001-01-01"))
    assert (found.flows["direction"] == "harsher").all()
    assert found.flows["registered_before"].all()


def test_verdict_files_differ_in_the_lines_of_the_flows_that_change(
    run: classifier.Run, tmp_path: Path
) -> None:
    other = run.judge("throttle-unregistered")
    run.write(tmp_path / "a.ndjson")
    other.write(tmp_path / "b.ndjson")
    one, two = ((tmp_path / f"{n}.ndjson").read_text().splitlines() for n in "ab")
    differing = [i for i, (a, b) in enumerate(zip(one, two, strict=True)) if a != b]
    assert differing == run.compare(other).flows["flow_id"].tolist()
    assert all(one[i].replace("would_block", "would_throttle") == two[i] for i in differing)


def test_the_other_way_round_says_the_opposite_of_the_same_flows(run: classifier.Run) -> None:
    other = run.judge("registered-or-flag", at="2020-01-01")
    there, back = run.compare(other), other.compare(run)
    opposite = {"harsher": "milder", "milder": "harsher"}
    turned = there.flows.assign(direction=there.flows["direction"].map(opposite))
    turned = turned.rename(
        columns=lambda n: n.replace("before", "!").replace("after", "before").replace("!", "after")
    )
    assert set(there.flows["direction"]) == set(opposite)
    assert turned[back.flows.columns].equals(back.flows)
    assert there.flows["near_miss_before"].any()
    assert there.summary["flows"].sum() == len(there.flows)


def test_a_user_of_several_flows_that_change_is_one_user_in_all() -> None:
    found = compare_tables(BEFORE, AFTER, ("a", "b"))
    assert found.headline() == ("a -> b: 3 of 3 flows change verdict (1.5 kB, 2 inside addresses)")
    totals = json.loads(found.json())
    assert (totals["changed"], totals["bytes"], totals["addresses"]) == (3, 1500, 2)
    assert found.summary["addresses"].tolist() == [1, 1, 1]
