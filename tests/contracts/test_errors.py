"""The error tree is as its module draws it, and each message names place, problem and remedy."""

import pickle
import re

import pytest

from classifier import errors
from classifier.errors import ClassifierError

KINDS = [getattr(errors, name) for name in errors.__all__]


def drawn() -> dict[str, str]:
    """Return child -> parent as the docstring of ``errors`` draws them."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    ([│├└─ ]*)(\w+Error)\b", line)
        if found:
            depth = len(found[1]) // 4
            path = [*path[:depth], found[2]]
            parents[found[2]] = path[-2] if depth else "Exception"
    return parents


def test_tree_is_as_drawn() -> None:
    assert drawn() == {kind.__name__: kind.__base__.__name__ for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_message_is_place_problem_and_remedy(kind: type[ClassifierError]) -> None:
    error = kind("is broken", path="a.pcap", offset=24, remedy="mend it")
    assert str(error) == "a.pcap:24: is broken; mend it"
    assert str(kind("is broken", path="a.csv", line=3)) == "a.csv:3: is broken"
    assert str(kind("is broken", path="a.csv", line=0)) == "a.csv:0: is broken"
    assert str(kind("is broken", remedy="mend it")) == "is broken; mend it"
    assert str(kind("is broken")) == "is broken"


def test_message_is_one_line_whatever_went_in() -> None:
    assert str(ClassifierError("two\nlines", path="a\nb", remedy="x\r\ny")) == "a b: two lines; x y"


@pytest.mark.parametrize("kind", KINDS)
def test_error_survives_pickling(kind: type[ClassifierError]) -> None:
    error = kind("is broken", path="a.pcap", offset=24, remedy="mend it")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    for name in ("problem", "path", "line", "offset", "remedy"):
        assert getattr(again, name) == getattr(error, name)
