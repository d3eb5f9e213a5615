"""All features of four flows, as they were: a change of any is a change of the schema's meaning."""

import csv
from pathlib import Path

import numpy as np
import pytest

import classifier
from classifier.model import FEATURE_NAMES
from classifier.model.schema import BLOCKS

PLACE = Path(__file__).with_name("golden_features.csv")
CASES = Path(__file__).parents[2] / "conformance" / "default"
NAMES = ("https-tls12", "openvpn-udp-plain", "ssh-interactive", "quic")


def longest_flow(name: str) -> list[str]:
    """Return the features of a capture's longest flow, as text that float32 reads back exactly."""
    (capture,) = (CASES / name).glob("capture.*")
    run = classifier.classify(capture, model=None, progress=False)
    row = run.features.to_numpy(np.float32)[int(run.features["packets"].argmax())]
    return [np.format_float_positional(value, unique=True, trim="-") for value in row]


@pytest.fixture(scope="module")
def made() -> dict[str, list[str]]:
    return {name: longest_flow(name) for name in NAMES}


def test_features_are_what_they_were(
    made: dict[str, list[str]], request: pytest.FixtureRequest
) -> None:
    if request.config.getoption("--update-expected"):
        with PLACE.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["feature", *NAMES])
            rows.writerows(zip(FEATURE_NAMES, *made.values(), strict=True))
    with PLACE.open(encoding="utf-8", newline="") as file:
        golden = list(csv.reader(file))
    assert golden[0] == ["feature", *NAMES]
    assert [row[0] for row in golden[1:]] == list(FEATURE_NAMES)
    now = np.array(list(made.values()), np.float32).T
    then = np.array([row[1:] for row in golden[1:]], np.float32)
    wrong = ~np.isclose(now, then, rtol=1e-5, atol=1e-6, equal_nan=True)
    assert not wrong.any(), [FEATURE_NAMES[i] for i in np.flatnonzero(wrong.any(axis=1))]


def test_golden_flows_have_values_in_each_block() -> None:
    with PLACE.open(encoding="utf-8", newline="") as file:
        rows = {row[0]: row[1:] for row in list(csv.reader(file))[1:]}
    for block, features in BLOCKS.items():
        known = [set(rows[feature.name]) - {"nan"} for feature in features]
        assert sum(map(bool, known)) > 0.9 * len(features), block
