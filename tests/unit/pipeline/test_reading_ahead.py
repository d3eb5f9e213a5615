"""Reading in a thread gives what reading in turn gives, and leaves nothing behind."""

import threading
from pathlib import Path
from typing import Any

import pytest

import classifier
from classifier import pipeline
from classifier.datasets import demo
from classifier.errors import CaptureError, PolicyError

Told = list[tuple[int, int, threading.Thread]]


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_MUCH", 1)


def result(told: Told | None = None, **more: Any) -> tuple[Any, ...]:
    def progress(done: int, total: int) -> None:
        if told is not None:
            told.append((done, total, threading.current_thread()))

    run = classifier.classify(
        [demo().capture, demo().capture], registry=demo().register, progress=progress, **more
    )
    return run.table, run.accounting


@pytest.mark.parametrize("separate", [False, True])
def test_rows_accounting_and_progress_are_the_same(
    monkeypatch: pytest.MonkeyPatch, separate: bool
) -> None:
    expected = result(separate=separate)
    monkeypatch.setattr(pipeline, "_MUCH", 1)
    told: Told = []
    before = threading.active_count()
    found = result(told, separate=separate)
    assert found[0].equals(expected[0])
    assert found[1] == expected[1]
    assert threading.active_count() == before
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert told[-1][0] == told[-1][1] == 2 * demo().capture.stat().st_size
    assert {thread for _, _, thread in told} == {threading.current_thread()}


@pytest.mark.usefixtures("ahead")
def test_a_reader_who_stops_early_leaves_no_thread() -> None:
    before = threading.active_count()
    batches = classifier.iter_flows(demo().capture)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


@pytest.mark.usefixtures("ahead")
def test_errors_of_either_side_come_through(tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(PolicyError):
        classifier.classify(demo().capture, policy=tmp_path / "missing.toml")
    wrong = tmp_path / "wrong.pcap"
    wrong.write_bytes(b"no capture at all" * 10)
    with pytest.raises(CaptureError, match=r"wrong\.pcap"):
        classifier.classify(wrong)

    def interrupted(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        classifier.classify(demo().capture, progress=interrupted)
    assert threading.active_count() == before
