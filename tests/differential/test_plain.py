"""Kernels as plain Python give what they give compiled, on every small capture there is."""

import warnings
from pathlib import Path

import pytest
from captures import shared

import classifier
from classifier import _jit
from classifier.datasets import demo
from classifier.errors import ClassifierError

SMALL = 200_000  # bytes


def rows(capture: Path, *, plain: bool, decapsulate: bool) -> object:
    with _jit.plain(plain), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the end of a damaged capture is missing
        try:
            batches = classifier.iter_flows(capture, decapsulate=decapsulate)
            return [batch.to_pylist() for batch in batches]
        except ClassifierError as error:
            return str(error)


def differing(captures: list[Path]) -> list[str]:
    return [
        f"{path.name}, decapsulate={decapsulate}"
        for path in captures
        for decapsulate in (False, True)
        if rows(path, plain=True, decapsulate=decapsulate)
        != rows(path, plain=False, decapsulate=decapsulate)
    ]


def test_the_demo_is_the_same() -> None:
    assert not differing([demo().capture])


@pytest.mark.parametrize("kind", ["malformed", "ordinary", "vpn"])
def test_small_captures_are_the_same(kind: str) -> None:
    small = [path for path in shared(kind) if path.stat().st_size < SMALL]
    assert small
    assert not differing(small)
