"""What cannot be used is refused with place, problem and remedy, never with a traceback."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import classifier
from classifier.cli import main
from classifier.errors import ClassifierError

DEMO = classifier.datasets.demo()
EMPTY_PCAP = bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000")


@pytest.fixture(scope="module")
def run() -> classifier.Run:
    return classifier.classify(DEMO.capture, registry=DEMO.register, model=None, progress=False)


@pytest.mark.parametrize(
    "arguments",
    [
        {"labels": 3},
        {"labels": []},
        {"labels": b"x"},
        {"labels": pd.DataFrame()},
        {"threshold": None},
        {"threshold": True},
        {"threshold": "a"},
        {"detectors": [3]},
        {"detectors": 3},
        {"decapsulate": "yes"},
        {"separate": 1},
        {"at": 1.5},
        {"at": True},
        {"at": "2026-01-01"},  # and no register
        {"policy": ""},
        {"policy": 3},
        {"registry": ""},
        {"registry": 3},
        {"local": [None]},
        {"idle_timeout_s": float("nan")},
        {"model": ""},
    ],
    ids=str,
)
def test_arguments_of_classify_that_cannot_be_used_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ClassifierError) as caught:
        classifier.classify(DEMO.capture, progress=False, **{"model": None} | arguments)
    assert caught.value.remedy


@pytest.mark.parametrize("capture", [3, None, [None], "", "a\0b", "a" * 5000, {}, [], b""], ids=str)
def test_what_is_no_capture_is_refused(capture: Any) -> None:
    with pytest.raises(ClassifierError):
        classifier.classify(capture, model=None, progress=False)


@pytest.mark.parametrize(
    "ask",
    [
        lambda run: run.sequences(-1),
        lambda run: run.sequences(31),
        lambda run: run.sequences("x"),
        lambda run: run.sequences(None),
        lambda run: run.sequences(2.5),
        lambda run: run.compare(None),
        lambda run: run.compare("x"),
        lambda run: run.compare(run, names=("a",)),
        lambda run: run.compare(run, names=3),
        lambda run: run.impact(labels=3),
        lambda run: run.impact(base_rates=["x"]),
        lambda run: run.impact(base_rates=[0]),
        lambda run: run.impact(stale_days=[1e30]),
        lambda run: run.impact(stale_days=[-1]),
        lambda run: run.impact(stale_days="x"),
        lambda run: run.impact(cgnat=[float("nan")]),
        lambda run: run.simulate(cores="x"),
        lambda run: run.simulate(cores=1.5),
        lambda run: run.simulate(service_time=3),
        lambda run: run.simulate(seed=-1),
        lambda run: run.simulate(seed="x"),
        lambda run: run.simulate(link_bps="1G"),
        lambda run: run.simulate(throttle=3),
        lambda run: run.simulate(flow_time=3),
        lambda run: run.simulate(buffer=1.5),
        lambda run: run.simulate(speed_up="x"),
        lambda run: run.write(None),
        lambda run: run.write(3),
        lambda run: run.write("a\0.csv"),
        lambda run: run.write("a" * 3000 + ".csv"),
        lambda run: classifier.open_run(3),
        lambda run: classifier.Policy.open(3),
    ],
)
def test_what_a_run_is_asked_for_wrongly_is_refused(
    run: classifier.Run, ask: Callable[[classifier.Run], Any]
) -> None:
    with pytest.raises(ClassifierError) as caught:
        ask(run)
    assert caught.value.remedy


def test_one_number_is_as_good_as_a_list_of_one(run: classifier.Run) -> None:
    one = run.impact(base_rates=0.1, cgnat=0.1, stale_days=7)  # type: ignore[arg-type]
    assert one.to_json() == run.impact(base_rates=[0.1], cgnat=[0.1], stale_days=[7]).to_json()


@pytest.mark.parametrize(
    "arguments",
    [
        ["replay", "CAPTURE", "--registry", ""],
        ["replay", "CAPTURE", "--registry", "."],
        ["replay", "CAPTURE", "--policy", ""],
        ["simulate", "CAPTURE", "--seed", "-1"],
        ["explain", "EMPTY", "--flow", "0"],
    ],
    ids=" ".join,
)
def test_options_that_cannot_be_used_are_told_on_one_line(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.pcap").write_bytes(EMPTY_PCAP)
    places = {"CAPTURE": str(DEMO.capture), "EMPTY": str(tmp_path / "empty.pcap")}
    assert main([places.get(word, word) for word in arguments]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "fault" not in told
    assert ";" in told


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("verb", [["demo"], ["replay", str(DEMO.capture), "--format", "ndjson"]])
def test_a_full_standard_output_is_told_and_nothing_else(verb: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "classifier", *verb],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(classifier.__file__).parents[1])},
            check=False,
        )
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if "standard output" in line]
    assert lines == [
        "standard output: cannot be written (No space left on device); choose another place"
    ]
    assert "Traceback" not in done.stderr
    assert "fault" not in done.stderr


def test_many_small_writes_to_a_full_disk_leave_nothing_and_name_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import io

    from classifier.report import _files

    class Full(io.FileIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    opened = Path.open

    def open_full(path: Path, mode: str = "r", *rest: Any) -> Any:
        if mode == "xb":
            return io.BufferedWriter(Full(path, "xb"))
        return opened(path, mode, *rest)

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(ClassifierError, match=r"x\.csv: cannot be written .*; make room"):
        _files.write_text("a few bytes", tmp_path / "x.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["replay", "--expect", "{tmp}/bad.toml"], "bad.toml:1: condition, character 1: there is no column"),
        (["replay", "--expect", "{tmp}/gone.toml", "--junit", "{tmp}/j.xml"], "gone.toml: no such file"),
        (["impact", "--labels", "{tmp}/gone.csv"], "gone.csv: no such file"),
        (["evaluate", "--labels", "{tmp}/gone.csv"], "gone.csv: no such file"),
        (["evaluate", "--labels", str(DEMO.labels), "--predictions", "x={tmp}/gone.csv"],
         "gone.csv: no such file"),
        (["policy", "diff", "observe-only", "registered-only", "--other-at", "2026-01-01"],
         "--other-at: there is no register"),
        (["policy", "diff", "observe-only", "registered-only", "--registry", str(DEMO.register),
          "--other-at", "noon"], "--other-at: 'noon' is not a date"),
        (["policy", "diff", "observe-only", "registered-only", "--other-registry", "{tmp}/gone.csv"],
         "gone.csv: no such file"),
        (["simulate", "--service-time", "file:{tmp}/gone.txt"], "gone.txt: cannot be read"),
        (["simulate", "--cores", "0"], "0 cores; give 1 to 1024"),
        (["simulate", "--link", "fast"], "'fast' is no rate"),
        (["simulate", "--throttle", "64k", "--burst", "0"], "a burst of 0 bytes"),
        (["simulate", "--speed-up", "0"], "a speed-up of 0.0; give a factor above 0"),
        (["simulate", "--seed", "-1"], "a seed of -1"),
    ],
)  # fmt: skip
def test_what_stands_beside_the_captures_is_looked_at_before_them(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.toml").write_text('[[check]]\nwhen = "is_vnp"\n')
    missing = str(tmp_path / "missing.pcap")  # would be the complaint if it were opened first
    assert main([a.replace("{tmp}", str(tmp_path)) for a in arguments] + [missing]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert [path.name for path in tmp_path.iterdir()] == ["bad.toml"]


@pytest.mark.parametrize(
    "verb", [["replay"], ["impact"], ["simulate"], ["explain", "--flow", "0"],
             ["policy", "diff", "observe-only", "registered-only"]],
)  # fmt: skip
def test_a_time_without_a_register_is_refused(
    verb: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*verb, str(DEMO.capture), "--at", "2026-01-01"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    said = "at: there is no register to look up as of '2026-01-01'; give a register too"
    assert printed.err.splitlines() == [said]


def test_labels_are_read_before_the_captures(tmp_path: Path) -> None:
    with pytest.raises(ClassifierError, match=r"gone\.csv"):
        classifier.classify(tmp_path / "missing.pcap", labels=tmp_path / "gone.csv")
