"""A file that is begun while flows are judged is the one that is written afterwards, or none."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from classifier import cli
from classifier.datasets import demo
from classifier.pipeline import Reading
from classifier.report import writers
from classifier.report.sorting import Sorter
from classifier.run import open_run

CAPTURE = str(demo().capture)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make windows so small that files are begun; return which are."""
    monkeypatch.setitem(Sorter.__init__.__kwdefaults__, "window_rows", 16)
    paths = []
    begin = writers.Writing.__init__

    def noted(self: Any, target: Any, accounting: Any) -> None:
        paths.append(str(target))
        begin(self, target, accounting)

    monkeypatch.setattr(writers.Writing, "__init__", noted)
    return paths


def replayed(*arguments: object) -> int:
    return cli.main(["replay", CAPTURE, CAPTURE, *map(str, arguments)])


def test_the_same_bytes(begun: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead, twice, after = (tmp_path / f"{name}.parquet" for name in ("ahead", "twice", "after"))
    assert replayed("--out", ahead, "--out", twice, "--out", ahead) == 0
    assert begun == [str(ahead), str(twice)]
    with monkeypatch.context() as patch:
        patch.setattr(Sorter, "windows", lambda self: iter(()))
        assert replayed("--out", after) == 0
    assert ahead.read_bytes() == twice.read_bytes() == after.read_bytes()
    assert open_run(ahead).meta["captures"][0]["sha256"]
    assert {path.name for path in tmp_path.iterdir()} == {p.name for p in (ahead, twice, after)}


def test_rows_that_shall_be_anonymised_are_not_written_before(
    begun: list[str], tmp_path: Path
) -> None:
    key, out = tmp_path / "key", tmp_path / "rows.parquet"
    key.write_bytes(bytes(range(32)))
    assert replayed("--out", out, "--anonymize", key) == 0
    assert begun == []
    known = set(open_run(out).flows["orig_ip"])
    assert replayed("--out", out) == 0
    assert not known & set(open_run(out).flows["orig_ip"])


def test_what_cannot_be_written_is_one_line(
    begun: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.parquet").mkdir()
    assert replayed("--out", tmp_path / "rows.parquet") == 2
    assert begun
    assert capsys.readouterr().err.count("\n") == 1


def test_a_reading_that_fails_leaves_no_file(
    begun: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = Reading.rows

    def broken(self: Reading) -> Iterator[Any]:
        yield from rows(self)
        raise MemoryError

    monkeypatch.setattr(Reading, "rows", broken)
    out = tmp_path / "rows.parquet"
    out.write_bytes(b"as before")
    assert replayed("--out", out) == 2
    assert begun
    assert out.read_bytes() == b"as before"
    assert list(tmp_path.iterdir()) == [out]
