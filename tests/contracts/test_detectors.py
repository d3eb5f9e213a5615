"""Each shipped detector has its five things: docstring, entry, unit test, case and README row."""

import json
import re
import sys
from pathlib import Path

import pytest

from classifier.detectors import DETECTORS, Detector
from classifier.tables import FAMILIES

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "conformance" / "default"
SECTIONS = ("Sources", "Strength", "Mistaken for", "Blind to")

each_detector = pytest.mark.parametrize("detector", DETECTORS, ids=lambda d: d.name)


def module_of(detector: Detector) -> str:
    return detector.detect.__module__


def detectors_in_cases() -> set[str]:
    names = set()
    for path in CASES.glob("*/expected.ndjson"):
        for line in path.read_text(encoding="utf-8").splitlines():
            names.update(item["detector"] for item in json.loads(line)["evidence"])
    return names


@each_detector
def test_docstring_has_all_sections(detector: Detector) -> None:
    text = sys.modules[module_of(detector)].__doc__ or ""
    positions = [text.find(f"\n{title}\n---") for title in SECTIONS]
    assert -1 not in positions
    assert positions == sorted(positions), "the sections stand in another order"
    for title in SECTIONS:
        assert detector.section(title), f"the section {title} is empty"


@each_detector
def test_docstring_has_a_wire_table(detector: Detector) -> None:
    text = (sys.modules[module_of(detector)].__doc__ or "").partition("\nSources\n")[0]
    assert "::\n" in text or "=====" in text


@each_detector
def test_entry_is_sound(detector: Detector) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", detector.name)
    assert detector.family in {"", *FAMILIES}
    assert detector.transport
    assert all(0 <= number <= 255 for number in detector.transport)
    assert detector.payloads > 0


def test_names_are_unique() -> None:
    assert len({detector.name for detector in DETECTORS}) == len(DETECTORS)


def test_every_detector_file_is_entered() -> None:
    folder = ROOT / "classifier" / "detectors"
    files = {p.stem for p in folder.glob("*.py") if "\nDETECTOR = " in p.read_text("utf-8")}
    assert files == {module_of(d).rpartition(".")[2] for d in DETECTORS}


@each_detector
def test_unit_test_file_is_there(detector: Detector) -> None:
    name = module_of(detector).rpartition(".")[2]
    path = ROOT / "tests" / "unit" / "detectors" / f"test_{name}.py"
    assert path.is_file()
    assert re.search(r"def test_|\(ExchangeTests\):", path.read_text(encoding="utf-8"))


@each_detector
def test_a_conformance_case_shows_it(detector: Detector) -> None:
    assert detector.name in detectors_in_cases()


@each_detector
def test_readme_has_its_row(detector: Detector) -> None:
    rows = re.findall(r"^\| `([^`]+)` \| .+ \| .+ \| .+ \|$", readme_table(), re.MULTILINE)
    assert rows.count(detector.name) == 1


def test_readme_table_names_no_detector_that_is_not_there() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", readme_table(), re.MULTILINE)
    assert set(rows) == {detector.name for detector in DETECTORS}


def readme_table() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text.partition("## What is recognised")[2].partition("\n## ")[0]
