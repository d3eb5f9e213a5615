"""The verbs about data sets."""

import json
import shutil
from pathlib import Path

import pytest

from classifier import cli, datasets


@pytest.fixture
def brought(tmp_path: Path) -> Path:
    """A folder with the demo's capture twice under two names, and labels of both."""
    demo = datasets.load("demo", verify=False)
    lines = demo.files["labels.csv"].read_text().splitlines()
    for name in ("one.pcapng", "two.pcapng"):
        shutil.copy(demo.files["demo.pcapng"], tmp_path / name)
    rows = [
        line.replace("demo.pcapng", name)
        for name in ("one.pcapng", "two.pcapng")
        for line in lines[1:]
    ]
    (tmp_path / "labels.csv").write_text("\n".join([lines[0], *rows]) + "\n")
    return tmp_path


def test_list_names_all_sets_and_whose_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["datasets", "list", "--citations"]) == 0
    said = capsys.readouterr().out
    lines = {line.split()[0]: line.split()[1] for line in said.splitlines() if line[0] != " "}
    assert lines["demo"] == "here"
    assert lines["iscxvpn2016"] == lines["vnat"] == "yours"
    assert "ICISSP 2016" in said


def test_verify_records_digests_and_finds_a_changed_file(
    brought: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"captures={brought}"
    assert cli.main(["datasets", "verify", name]) == 0
    assert "no digests are published" in capsys.readouterr().err
    assert cli.main(["datasets", "verify", name, "--record"]) == 0
    assert "SHA256SUMS: written" in capsys.readouterr().out
    with (brought / "two.pcapng").open("ab") as file:
        file.write(b"\0")
    assert cli.main(["datasets", "verify", name]) == 2
    assert "not what SHA256SUMS says" in capsys.readouterr().err


def test_split_writes_groups_of_each_side(
    brought: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "split.json"
    argv = ["datasets", "split", f"captures={brought}", "--out", str(out)]
    assert cli.main([*argv, "--share", "a=0.5", "--share", "b=0.5"]) == 0
    sides = json.loads(out.read_text())["sides"]
    assert sorted(sides["a"] + sides["b"]) == ["one.pcapng", "two.pcapng"]
    assert "a: 1 groups" in capsys.readouterr().out
    assert cli.main([*argv, "--share", "a"]) == 2
    assert "'a' is no share" in capsys.readouterr().err


def test_flows_of_a_copied_capture_are_duplicates(
    brought: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["datasets", "duplicates", f"captures={brought}", "--most", "1"]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    rows, copies = int(first.split()[0]), int(first.split()[2])
    assert rows > 100
    assert copies >= rows / 2
    assert len(rest) == 1


def test_leaks_between_a_set_and_its_copy_end_with_1(
    brought: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["datasets", "leaks", "demo", f"captures={brought}"]) == 1
    said = capsys.readouterr().out
    assert "(100.0%) are in both" in said
    assert "same content: demo.pcapng and one.pcapng" in said
    assert cli.main(["datasets", "leaks", "demo", "demo"]) == 1


def test_set_that_is_not_there_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["datasets", "verify", "vnat"]) == 2
    assert "is not shipped" in capsys.readouterr().err
    assert cli.main(["datasets", "verify", "nothing"]) == 2
    assert "known names" in capsys.readouterr().err
