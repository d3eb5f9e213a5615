"""A few seconds of ``mutate.py``; run that by itself for longer."""

import importlib.util
from pathlib import Path

import pytest

SECONDS = 4.0
SEED = 20260101


@pytest.mark.slow
def test_mutated_captures_are_read_as_the_twins_read_them() -> None:
    spec = importlib.util.spec_from_file_location("mutate", Path(__file__).with_name("mutate.py"))
    assert spec is not None
    assert spec.loader is not None
    mutate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mutate)
    tried, opened, failures = mutate.hunt(SECONDS, SEED)
    assert not failures, f"seed {SEED}: {failures}"
    assert opened > tried // 4, "most mutants must get past the file header"
