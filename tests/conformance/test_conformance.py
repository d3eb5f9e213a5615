"""Each case is a capture of our own making and what is said of it, beside it.

``pytest --update-expected`` writes ``expected.ndjson`` anew; its diff is reviewed like code. The
labels come from what the recipe started, so they judge the expected files too.
"""

import csv
from pathlib import Path

import pytest

import classifier
from classifier.tables import protocol_number

HERE = Path(__file__).parent
CASES = sorted(path.parent for path in HERE.glob("*/*/labels.csv"))
NAMED = {"openvpn", "wireguard", "ipsec"}  # families with a detector


def capture_of(case: Path) -> Path:
    (path,) = [p for p in case.iterdir() if p.suffix in (".pcap", ".pcapng")]
    return path


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}/{case.name}")
def test_case_gives_the_expected_rows(
    case: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    expected = case / "expected.ndjson"
    run = classifier.classify(capture_of(case), progress=False)
    assert run.accounting.balanced
    written = tmp_path / "rows.ndjson"
    run.write(written)
    if request.config.getoption("--update-expected"):
        expected.write_bytes(written.read_bytes())
    assert written.read_text() == expected.read_text()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}/{case.name}")
def test_case_agrees_with_its_labels(case: Path) -> None:
    with (case / "labels.csv").open(newline="") as file:
        labels = list(csv.DictReader(file))
    truth = {}
    for row in labels:
        ends = [(row["src"], int(row["sport"])), (row["dst"], int(row["dport"]))]
        truth[protocol_number(row["proto"]), frozenset(ends)] = row
    run = classifier.classify(capture_of(case), progress=False)
    assert run.flows.shape[0] > 0
    for flow in run.flows.itertuples():
        ends = frozenset([(flow.orig_ip, flow.orig_port), (flow.resp_ip, flow.resp_port)])
        row = truth[protocol_number(flow.proto), ends]
        if row["is_vpn"] != "1":
            assert not flow.is_vpn, flow
        elif row["family"] in NAMED:
            assert flow.is_vpn, flow
            assert flow.family == row["family"]
