"""What evidence says of packets is what tshark reads there."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

from classifier import datasets

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

pytestmark = [
    pytest.mark.tshark,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location(
        "check_evidence", BENCHMARKS / "check_evidence.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def examined(script):
    return list(script.examine(str(datasets.demo().capture)))


def test_evidence_on_the_demo_is_what_tshark_reads(examined):
    assert len(examined) > 5
    assert [(claim.detail, wrong) for claim, _, wrong in examined if wrong] == []
    assert sum(check is not None for _, check, _ in examined) > len(examined) / 2


def test_another_packet_number_or_spi_is_found_wrong(script, examined):
    claim, check, _ = next(e for e in examined if e[0].detector == "wireguard")
    other = next(e[0] for e in examined if e[0].flow["flow_id"] != claim.flow["flow_id"])
    capture = str(datasets.demo().capture)
    seen = script.ask(capture, sorted({*claim.frames, *other.frames}), [])
    assert "another flow" in script.problem(claim._replace(frames=other.frames), seen, check)
    assert "no packet" in script.problem(claim._replace(frames=[10**9]), seen, check)
    same = [claim.frames[0]] * 2
    assert script.problem(claim._replace(frames=same), seen, check)
