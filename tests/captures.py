"""Finds what tests need from outside: shared captures and programs.

Where something is missing a test is skipped, and says so; with ``CI=true`` it fails instead, so that
a machine which should have it cannot lose it unseen.
"""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it where ``CI`` is ``true``."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing")


def folder() -> Path | None:
    """Return the folder of shared captures: ``CLASSIFIER_CAPTURES``, or beside the repository."""
    named = os.environ.get("CLASSIFIER_CAPTURES")
    path = Path(named) if named else REPOSITORY.parent / "shared" / "captures"
    return path if path.is_dir() else None


def shared(kind: str = "*") -> list[Path]:
    """Return the captures of a kind (``malformed``, ``ordinary``, ``vpn``); skip where missing."""
    root = folder()
    found = sorted(root.glob(f"{kind}/*")) if root else []
    if not found:
        missing("the folder of shared captures (CLASSIFIER_CAPTURES)")
    return [path for path in found if path.is_file()]


def program(name: str) -> str:
    """Return the path of a program; skip where it is missing."""
    path = shutil.which(name)
    if path is None:
        missing(f"the program {name}")
    return path
