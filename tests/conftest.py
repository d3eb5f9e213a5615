"""Settings of the whole suite.

Kernels run compiled in all tests but those of plain Python. They are cached by ``classifier._jit`` in a folder named by a digest of all sources and
the bounds-check switch, so nothing needs to be set here for them. Hypothesis runs the same examples
each time; ``HYPOTHESIS_PROFILE=long`` runs many more, also always the same.
"""

import os

import pytest
from hypothesis import HealthCheck, settings

from classifier import _jit

_jit.spend(_jit.PLAIN_WORK)  # kernels are tested compiled; test_plain.py compares the two ways

_ALWAYS = {
    "deadline": None,  # the first example of a kernel compiles it
    "derandomize": True,
    "print_blob": True,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("default", max_examples=60, **_ALWAYS)
settings.register_profile("long", max_examples=2000, **_ALWAYS)
_PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "default")
settings.load_profile(_PROFILE)


def pytest_report_header() -> str:
    profile = settings.get_profile(_PROFILE)
    return f"hypothesis: profile {_PROFILE}, {profile.max_examples} examples, derandomized"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-expected",
        action="store_true",
        help="write the expected files of the conformance cases anew",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the contract about compiled signatures see what the whole suite compiled."""
    items.sort(key=lambda item: item.path.name == "test_kernels.py")
