"""Each scenario of the laboratory says what it is, and labels with names of the contract."""

import ast
import re
from pathlib import Path

import pytest

from classifier.lab import scenarios
from classifier.lab.network import PROBES
from classifier.lab.stage import NAME, load
from classifier.tables import FAMILIES

KNOWN = load()
FILES = sorted(Path(scenarios.__path__[0]).glob("*.py"))


@pytest.mark.parametrize("name", KNOWN)
def test_scenario_has_a_name_by_the_rule_and_a_description(name: str) -> None:
    one = KNOWN[name]
    assert NAME.fullmatch(name)
    assert one.name == name == name.lower()
    assert 10 <= len(one.shows) <= 100
    assert not one.shows.endswith(".")
    assert "\n" not in one.shows


@pytest.mark.parametrize("name", KNOWN)
def test_scenario_names_programs_packages_and_known_kernel_features(name: str) -> None:
    one = KNOWN[name]
    for program, package in zip(one.programs, one.packages, strict=True):
        assert re.fullmatch(r"[\w.+-]+(:[\w.+-]*)?", program)
        assert not package or re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", package)
    assert set(one.kernel) <= set(PROBES)
    assert 1 <= one.allowed.clients <= 8
    assert 30 <= one.seconds <= 300


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_families_in_scenario_files_are_those_of_the_contract(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".claim"):
            at = 3 if ast.unparse(node.func) == "stage.claim" else 4
            named = node.args[at : at + 1]
            named += [word.value for word in node.keywords if word.arg == "family"]
            for value in named:
                if isinstance(value, ast.Constant):
                    assert value.value == "" or value.value in FAMILIES
