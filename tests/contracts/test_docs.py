"""The documents are true: commands, columns, counts, outputs and examples are those of the code."""

import argparse
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import build
import pytest

import classifier
from classifier import cli, datasets
from classifier.detectors.applications import SERVICES
from classifier.evaluation import evaluate
from classifier.identify import PROBABILITY
from classifier.pipeline import Reading, make_options

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*ROOT.glob("*.md"), *DOCS.glob("*.md"), *ROOT.glob("models/*.md")]
PAGES += [*ROOT.glob("benchmarks/*.md"), ROOT / "datasets" / "README.md"]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(name), re.MULTILINE | re.DOTALL)


def executed(path: Path) -> dict[str, Any]:
    """Run a Python file; return what it defines."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)


def verbs(parser: argparse.ArgumentParser, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each command that does something, with its parser."""
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not groups:
        yield path.strip(), parser
    for group in groups:
        for name, child in group.choices.items():
            yield from verbs(child, f"{path} {name}")


VERBS = dict(verbs(cli._build()))


def section(verb: str) -> str:
    found = re.search(
        rf"^## classifier {verb}\n(.*?)(?=^##? |\Z)",
        text_of("docs/commands.md"),
        re.MULTILINE | re.DOTALL,
    )
    assert found, f"docs/commands.md has no section '## classifier {verb}'"
    return found[1]


@pytest.mark.parametrize("verb", VERBS)
def test_command_and_its_options_are_documented(verb: str) -> None:
    text = section(verb)
    for action in VERBS[verb]._actions:
        for option in action.option_strings:
            if option.startswith("--") and option != "--help":
                assert re.search(rf"`{option}[` ]", text), f"{verb} {option} is not documented"


@pytest.mark.parametrize("verb", VERBS)
def test_documented_options_exist(verb: str) -> None:
    known = {o for p in VERBS.values() for a in p._actions for o in a.option_strings}
    own = {o for a in VERBS[verb]._actions for o in a.option_strings}
    for option in re.findall(r"^\| `(--[a-z-]+)", section(verb), re.MULTILINE):
        assert option in own, f"{verb} has no {option}"
    for option in re.findall(r"`(--[a-z-]+)", section(verb)):
        assert option in known, f"there is no {option}"


def test_documented_commands_exist() -> None:
    named = re.findall(r"^## classifier (.+)$", text_of("docs/commands.md"), re.MULTILINE)
    assert sorted(named) == sorted(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_and_argument_has_help(verb: str) -> None:
    for action in VERBS[verb]._actions:
        assert action.help or action.metavar, f"{verb} {action.dest} has no help"


def test_columns_page_is_made_from_the_columns() -> None:
    page = executed(DOCS / "make_columns.py")["page"]
    assert text_of("docs/columns.md") == page(), "run: python docs/make_columns.py"


def test_features_page_is_made_from_the_schema() -> None:
    page = executed(DOCS / "make_features.py")["page"]
    assert text_of("docs/features.md") == page(), "run: python docs/make_features.py"


def test_accounting_page_has_every_key_and_no_other() -> None:
    reading = Reading([datasets.demo().capture], make_options())
    keys = re.findall(r"^\| `(\w+)` \|", text_of("docs/accounting.md"), re.MULTILINE)
    assert sorted(keys) == sorted(reading.accounting)


def test_probabilities_in_the_detector_guide_are_those_of_the_code() -> None:
    text = text_of("docs/detectors.md")
    for strength, probability in PROBABILITY.items():
        word = f"`{strength.label}`" if strength.label else "none"
        assert re.search(rf"^\| {word} \|.*\| {probability} \|$", text, re.MULTILINE)


def test_readme_names_every_application_in_its_class() -> None:
    rows = re.findall(r"^\| ([\w ]+) \| (.+) \|$", text_of("README.md"), re.MULTILINE)
    named = {name: service for service, names in rows for name in names.split()}
    for name, service in SERVICES.items():
        if name != "unknown":
            assert named.get(name) == ("no class" if service == "unknown" else service), name


def test_readme_output_is_what_demo_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (shown,) = blocks("README.md", "text")
    at = 0
    for line in shown.splitlines():
        if line != "...":
            assert line in lines[at:], f"demo does not print, in this order: {line}"
            at = lines.index(line, at) + 1


def test_readme_figures_on_the_demo_are_true() -> None:
    demo = datasets.demo()
    run = classifier.classify(demo.capture, separate=True)
    counts = evaluate(run.table, demo.labels).counts
    said = re.search(
        r"all (\d+) VPN flows are found and none of the (\d+) others", text_of("README.md")
    )
    assert said is not None
    assert (counts.tp, counts.tn) == (int(said[1]), int(said[2]))
    assert counts.fp == counts.fn == 0


def test_readme_has_both_commands_each_in_a_block_of_its_own() -> None:
    shell = blocks("README.md", "sh")
    assert "python -m pip install . && classifier demo\n" in shell
    assert 'python -m pip install -e ".[test]" && python -m pytest\n' in shell


def test_readme_python_is_five_lines_that_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = blocks("README.md", "python")
    assert sum(bool(line.strip()) for line in code.splitlines()) == 5
    (tmp_path / "readme.py").write_text(code, encoding="utf-8")
    executed(tmp_path / "readme.py")
    out = capsys.readouterr().out
    assert "would_block" in out
    assert "would_throttle, by rule" in out


def test_python_page_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "python_page.py"
    path.write_text("\n".join(blocks("docs/python.md", "python")), encoding="utf-8")
    names = executed(path)
    assert names["n_vpn"] == names["run"].table.column("is_vpn").to_pylist().count(True)
    hello = build.P(0, bytes.fromhex("5453f09f92ac") + bytes(56))
    seen = names["detect"](
        build.batch(
            build.F(build.UDP, [build.P(1, b"other"), hello]),
            build.F(build.UDP, [build.P(0, hello.payload[:61])]),
            build.F(build.TCP, [hello]),
        )
    )
    assert [(e.flow, e.packet, e.detail) for e in seen] == [(0, 1, "discovery message, packet 2")]


def test_model_and_feature_pages_run(tmp_path: Path) -> None:
    path = tmp_path / "pages.py"
    code = blocks("docs/model.md", "python") + blocks("docs/features.md", "python")
    path.write_text("\n".join(code), encoding="utf-8")
    names = executed(path)
    assert names["again"].flows["vpn_probability"].max() > 0.9


def test_python_page_names_every_parameter_and_member() -> None:
    import inspect

    text = text_of("docs/python.md")
    for name in inspect.signature(classifier.classify).parameters:
        assert re.search(rf"^\| `{name}` \|", text, re.MULTILINE), name
    public = [name for name in vars(classifier.Run) if not name.startswith("_")]
    for name in [*public, "table", "accounting", "problems"]:
        assert re.search(rf"^\| `run\.{name}\b", text, re.MULTILINE), name


def test_expectation_example_is_one_that_can_be_read() -> None:
    from classifier.report.expectations import read_checks

    (check,) = read_checks(blocks("docs/commands.md", "toml")[0], "docs/commands.md")
    assert check.name == "the tunnel is found"
    assert (check.least, check.most) == (1, 1)


def anchors(path: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name} links {link}"
        assert not anchor or anchor in anchors(target), f"{page.name} links {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_named_in_pages_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(
        r"`(?:python )?((?:classifier|tests|docs|benchmarks|datasets)/[\w/.]+\.\w+)", text
    ):
        assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_design_notes_are_numbered_and_short() -> None:
    parts = re.split(r"^## ", text_of("DESIGN.md"), flags=re.MULTILINE)[1:]
    assert [int(part.partition(".")[0]) for part in parts] == list(range(1, len(parts) + 1))
    for part in parts:
        assert len(part.strip().splitlines()) <= 25


def test_numbers_in_the_design_note_on_flows_are_those_of_the_tables() -> None:
    from classifier.tables import DIR, FLOW_RECORD, KEPT, PACKET_LIMIT

    note = text_of("DESIGN.md").partition("## 2. ")[2].partition("## 3. ")[0]
    assert f"A {FLOW_RECORD.itemsize}-byte record" in note
    assert f"two {DIR.itemsize}-byte rows" in note
    assert f"first {PACKET_LIMIT} packets of all flows" in note
    assert f"({KEPT.itemsize} bytes each" in note
