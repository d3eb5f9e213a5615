"""Each scenario of the laboratory says what it is, and labels with names of the contract."""

import ast
import csv
import re
from pathlib import Path

import pytest

import classifier
from classifier import datasets, resources
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


def test_standing_set_is_large_and_names_scenarios_that_exist() -> None:
    from classifier.lab.make import jobs_of_set

    jobs = jobs_of_set(resources.locate("datasets/lab/manifest.toml"))
    assert len(jobs) == len({job.name for job in jobs}) >= 250


def test_labels_of_the_small_cut_name_every_flow_and_no_other() -> None:
    files = datasets.load("lab").files
    captures = [path for path in files.values() if path.suffix == ".pcapng"]
    assert sum(path.stat().st_size for path in captures) < 5_000_000
    run = classifier.classify(captures, separate=True, labels=files["labels.csv"])
    labelled = run.flows.dropna(subset="label_is_vpn")
    assert len(labelled) == len(run.flows)
    with files["labels.csv"].open(encoding="utf-8") as file:
        assert {row["path"] for row in csv.DictReader(file)} == {path.name for path in captures}
    assert 0.75 < (labelled["label_family"] == "").mean() < 1
