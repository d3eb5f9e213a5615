import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from flow_rows import rows

from classifier.evaluation import Evaluation, evaluate
from classifier.report.scores import Counts, paired, wilson

VPN = {"is_vpn": True, "vpn_probability": 0.999}


def case(
    *flows: tuple[bool | None, str, dict[str, Any]],
    tools: dict[str, list[bool | None]] | None = None,
) -> Evaluation:
    """Evaluate flows given as (label, its family, what the row says)."""
    table = rows(*({"resp_port": 1000 + i} | row for i, (_, _, row) in enumerate(flows)))

    def frame(answers: list[bool | None], families: list[str]) -> pd.DataFrame:
        return pd.DataFrame(
            [
                ("office.pcap", "tcp", "10.0.0.1", 40000, "198.51.100.1", 1000 + i, a, f)
                for i, (a, f) in enumerate(zip(answers, families, strict=True))
                if a is not None
            ],
            columns=["path", "proto", "src", "sport", "dst", "dport", "is_vpn", "family"],
        )

    labels = frame([label for label, _, _ in flows], [family for _, family, _ in flows])
    predictions = {n: frame(a, [""] * len(a)) for n, a in (tools or {}).items()}
    return evaluate(table, labels, predictions)


def test_counts_are_of_labelled_flows() -> None:
    result = case(
        (True, "openvpn", VPN | {"family": "openvpn"}),
        (True, "openvpn", {}),
        (False, "", VPN | {"family": "wireguard"}),
        (False, "", {}),
        (False, "", {}),
        (None, "", VPN),
    )
    assert result.counts == Counts(tp=1, fp=1, fn=1, tn=2)
    assert (result.flows, result.matched, result.unmatched_flows) == (6, 5, 1)
    figures = result.to_json()
    assert (figures["precision"], figures["recall"], figures["f1"]) == (0.5, 0.5, 0.5)
    assert figures["fpr"] == pytest.approx(1 / 3)
    assert figures["recall_interval"] == pytest.approx(wilson(1, 2))
    json.dumps(figures, allow_nan=False)


def test_every_part_of_a_split_flow_counts() -> None:
    table = rows(VPN, VPN | {"parent_flow_id": 0}, {"capture": "b.pcap"})
    labels = pd.DataFrame(
        [("office.pcap", "tcp", "10.0.0.1", 40000, "198.51.100.1", 443, 1),
         ("gone.pcap", "tcp", "10.0.0.1", 40000, "198.51.100.1", 443, 1)],
        columns=["path", "proto", "src", "sport", "dst", "dport", "is_vpn"],
    )  # fmt: skip
    result = evaluate(table, labels)
    assert result.counts.tp == 2
    assert (result.unmatched_flows, result.unmatched_labels) == (1, 1)


def test_bare_encapsulation_and_circumvention_are_scored_apart() -> None:
    result = case(
        (False, "encapsulation", {"family": "vxlan", "kind": "encapsulation"}),
        (False, "gre", VPN),
        (True, "tor", VPN | {"family": "tor"}),
        (True, "shadowsocks", {}),
        (True, "wireguard", VPN | {"family": "wireguard"}),
    )
    assert result.counts == Counts(1, 0, 0, 0)
    bare, tools = result.apart["encapsulation"], result.apart["circumvention"]
    assert (bare["flows"], bare["recognised"], bare["called_vpn"]) == (2, 1, 1)
    assert (tools["flows"], tools["detected"], tools["named"], tools["recall"]) == (2, 1, 1, 0.5)
    assert result.macro_f1 == 1.0
    assert result.per_family["tor"]["group"] == "circumvention"
    assert result.per_family["encapsulation"]["named"] == 1


def test_families_are_scored_by_name() -> None:
    result = case(
        (True, "Open_VPN", VPN | {"family": "openvpn"}),
        (True, "openvpn", VPN | {"family": "wireguard"}),
        (True, "openvpn", {"family": "openvpn"}),  # named, but too unsure to be called
        (True, "ipsec", VPN),
        (True, "", VPN | {"family": "openvpn"}),
        (False, "", {}),
    )
    openvpn = result.per_family["openvpn"]
    assert (openvpn["labels"], openvpn["detected"], openvpn["named"]) == (3, 2, 2)
    assert (openvpn["tp"], openvpn["fp"], openvpn["fn"]) == (1, 1, 2)
    assert result.per_family["ipsec"]["f1"] == 0
    assert result.macro_f1 == pytest.approx((openvpn["f1"] + 0) / 2)
    assert result.matrix == {
        "ipsec": {"unnamed": 1},
        "openvpn": {"none": 1, "openvpn": 1, "wireguard": 1},
        "unnamed": {"openvpn": 1},
        "ordinary": {"none": 1},
    }
    lines = [line.split() for line in result.text_matrix().splitlines()]
    assert lines[0] == ["label", "openvpn", "wireguard", "unnamed", "none"]
    assert lines[3] == ["openvpn", "1", "1", ".", "1"]


def test_another_tool_is_scored_on_the_same_flows() -> None:
    result = case(
        (True, "", VPN),
        (True, "", VPN),
        (False, "", {}),
        (False, "", VPN),
        (None, "", {}),
        tools={"other": [True, False, True, None, True]},
    )
    other = result.predictions["other"]
    assert other.counts == Counts(tp=1, fp=1, fn=1, tn=1)
    assert (other.missing, other.unmatched) == (1, 0)
    assert other.differences["all"]["only_ours"] == 2
    assert other.differences["all"]["only_theirs"] == 1
    assert other.differences["vpn"] == {
        "only_ours": 1, "only_theirs": 0, "difference": 0.5, "p": 1.0
    }  # fmt: skip
    assert other.differences["ordinary"]["difference"] == 0
    assert "against other" in result.text()


def test_probabilities_of_both_are_scored_by_brier() -> None:
    frame = pd.DataFrame(
        [("office.pcap", "tcp", "10.0.0.1", 40000, "198.51.100.1", 443, 1, 0.75)],
        columns=["path", "proto", "src", "sport", "dst", "dport", "is_vpn", "vpn_probability"],
    )
    result = evaluate(rows(VPN), frame, {"other": frame})
    assert result.brier == pytest.approx(1e-6)
    assert result.predictions["other"].brier == pytest.approx(0.0625)


def test_nothing_to_score_gives_no_rates_and_no_warnings(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("path,proto,src,sport,dst,dport,is_vpn,family\n")
    result = evaluate(rows(VPN), path, {"other": path})
    figures = result.to_json()
    assert figures["recall"] is figures["recall_interval"] is figures["macro_f1"] is None
    assert json.loads(json.dumps(figures, allow_nan=False))["matched"] == 0
    assert "1 flows, 0 with a label" in result.text()


def test_text_shows_counts_rates_and_hostile_names_harmlessly() -> None:
    result = case((True, "\x1b[2Jfamily", VPN), (False, "", {}), tools={"\x1b": [True, False]})
    assert "\x1b" not in result.text()
    assert "1.0000 (0.207-1.000)" in str(result)


# Wilson's interval by hand for 8 of 10; Agresti & Coull 1998 use the same formula.
def test_wilson_interval_is_that_of_the_formula() -> None:
    interval = wilson(8, 10)
    assert interval is not None
    assert interval == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson(0, 0) is None
    assert wilson(0, 5) is not None
    assert wilson(0, 5)[0] == 0.0  # type: ignore[index]
    assert wilson(5, 5)[1] == 1.0  # type: ignore[index]


def test_f1_lies_in_its_interval() -> None:
    counts = Counts(8, 3, 2, 90)
    interval = counts.f1_interval
    assert interval is not None
    assert counts.f1 is not None
    assert interval[0] < counts.f1 < interval[1]


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (5, 0), (3, 9), (10, 10), (40, 61)])
def test_mcnemar_p_is_the_exact_binomial(b: int, c: int) -> None:
    first = np.array([True] * b + [False] * c + [True, False])
    second = np.array([False] * b + [True] * c + [True, False])
    tail = sum(Fraction(math.comb(b + c, k), 2 ** (b + c)) for k in range(min(b, c) + 1))
    result = paired(first, second)
    assert (result.only_first, result.only_second) == (b, c)
    assert result.p == pytest.approx(float(min(Fraction(1), 2 * tail)))


def test_mcnemar_p_survives_many_cases() -> None:
    first = np.arange(20_000) < 10_400
    assert 0 < paired(first, ~first).p < 1e-7
