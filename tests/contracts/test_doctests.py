"""Examples in docstrings run."""

import doctest
import importlib
from pathlib import Path

import pytest

import classifier

PACKAGE = Path(classifier.__file__).parent
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_of_module_run(module: str) -> None:
    home = importlib.import_module(module)
    result = doctest.testmod(home, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("name", ["run._classify", "datasets", "registry.table", "report.sorting"])
def test_main_modules_have_examples(name: str) -> None:
    assert f"classifier.{name}" in WITH_EXAMPLES
