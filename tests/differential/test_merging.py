"""Every shared capture, cut at random packets, gives merged what it gives whole."""

import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from captures import shared
from reading import Outcome, plain, run, run_in_parts

from classifier.datasets import demo
from classifier.errors import CaptureError
from classifier.flows import PartError

MOST_PARTS = 5


def everything(got: Outcome) -> tuple[object, ...]:
    table = got.table
    sums = (table.duplicates, table.gaps, table.missing_bytes, table.fragments, table.flows)
    return plain(got), got.flow_ids, got.counts, sums, table.fragments_alone, got.reassembled


def cut_and_merged(path: Path) -> str:
    """Say what is not as it is in the whole; empty where all is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the end of a damaged capture is missing
        try:
            whole = run(path)
        except CaptureError:
            return ""
    random = np.random.default_rng(zlib.crc32(path.name.encode()))
    n = len(whole.flow_ids)
    cuts = random.integers(0, max(n, 1), random.integers(1, MOST_PARTS)).tolist()
    try:
        merged, _ = run_in_parts(path, cuts)
    except PartError as error:  # told, and so only where it may matter
        return "" if "run back" in str(error) and n >= 8192 else f"{path.name}: {error}"
    return "" if everything(merged) == everything(whole) else f"{path.name} cut at {cuts}"


def test_the_demo_is_the_same() -> None:
    assert not cut_and_merged(demo().capture)


@pytest.mark.parametrize("kind", ["malformed", "ordinary", "vpn"])
def test_shared_captures_are_the_same(kind: str) -> None:
    assert not [problem for path in shared(kind) if (problem := cut_and_merged(path))]
