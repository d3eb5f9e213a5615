from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from classifier.errors import ResourceError
from classifier.report.sorting import Sorter


def shuffled(n: int, size: int, seed: int = 1) -> list[pa.RecordBatch]:
    ids = np.random.default_rng(seed).permutation(n)
    texts = [f"flow {i}" for i in ids]
    lists = [[int(i)] * (i % 3) for i in ids]
    batch = pa.record_batch({"flow_id": ids, "text": texts, "list": lists})
    return [batch.slice(start, size) for start in range(0, n, size)]


def sorted_rows(sorter: Sorter, batches: list[pa.RecordBatch]) -> list[dict[str, object]]:
    for batch in batches:
        sorter.add(batch)
    return [row for batch in sorter.batches() for row in batch.to_pylist()]


@pytest.mark.parametrize("limit", [10, 100, 999, 1000, 5000])
def test_rows_come_back_in_order_from_memory_or_disk(tmp_path: Path, limit: int) -> None:
    with Sorter(limit, window_rows=64, folder=tmp_path) as sorter:
        found = sorted_rows(sorter, shuffled(1000, 7))
        assert any(tmp_path.iterdir()) == (limit <= 1000)
    assert [row["flow_id"] for row in found] == list(range(1000))
    assert found[5] == {"flow_id": 5, "text": "flow 5", "list": [5, 5]}
    assert list(tmp_path.iterdir()) == []


def test_ids_may_have_gaps_wider_than_a_window(tmp_path: Path) -> None:
    ids = [10**12, 5, 10**6, 0]
    with Sorter(1, window_rows=2, folder=tmp_path) as sorter:
        found = sorted_rows(sorter, [pa.record_batch({"flow_id": [i]}) for i in ids])
    assert [row["flow_id"] for row in found] == sorted(ids)


def test_no_batch_is_larger_than_a_window(tmp_path: Path) -> None:
    with Sorter(100, window_rows=32, folder=tmp_path) as sorter:
        for batch in shuffled(500, 50):
            sorter.add(batch)
        assert max(batch.num_rows for batch in sorter.batches()) <= 32


@pytest.mark.parametrize("limit", [100, 600, 5000])
def test_windows_come_as_soon_as_they_are_complete(tmp_path: Path, limit: int) -> None:
    batches = shuffled(1000, 37)
    late = batches[3].column("flow_id").to_numpy().min()  # all windows from this id on wait for it
    order = [*batches[:3], *batches[4:], batches[3]]
    with Sorter(limit, window_rows=64, folder=tmp_path) as sorter:
        early: list[pa.RecordBatch] = []
        for batch in order[:-1]:
            sorter.add(batch)
            early += [window.rows() for window in sorter.windows()]
        assert len(early) <= late // 64
        sorter.add(order[-1])
        early += [window.rows() for window in sorter.windows()]
        assert len(early) == (1000 // 64 if limit == 5000 else 0)
        assert list(sorter.windows()) == []
        every = list(sorter.batches())
        assert every[: len(early)] == early
        assert [i for b in every for i in b.column("flow_id").to_pylist()] == list(range(1000))
        assert list(sorter.batches()) == every


def test_windows_given_before_rows_go_to_disk_come_back_from_there(tmp_path: Path) -> None:
    ordered = pa.concat_batches(shuffled(1000, 1000))
    ordered = ordered.take(pa.array(np.argsort(ordered.column("flow_id").to_numpy())))
    with Sorter(600, window_rows=64, folder=tmp_path) as sorter:
        early: list[pa.RecordBatch] = []
        for start in range(0, 1000, 50):
            sorter.add(ordered.slice(start, 50))
            early += [window.rows() for window in sorter.windows()]
        assert len(early) == 550 // 64
        assert list(sorter.batches())[: len(early)] == early


def test_a_bound_on_bytes_spills_too(tmp_path: Path) -> None:
    with Sorter(limit_bytes=1000, folder=tmp_path) as sorter:
        sorter.add(shuffled(1000, 1000)[0])
        assert any(tmp_path.iterdir())


def test_nothing_in_gives_nothing_out() -> None:
    with Sorter() as sorter:
        assert list(sorter.batches()) == []


def test_temporary_files_go_when_the_reader_stops(tmp_path: Path) -> None:
    with Sorter(10, window_rows=4, folder=tmp_path) as sorter:
        for batch in shuffled(100, 5):
            sorter.add(batch)
        next(sorter.batches())
    assert list(tmp_path.iterdir()) == []


def test_temporary_files_go_when_the_user_interrupts(tmp_path: Path) -> None:
    def interrupted() -> None:
        with Sorter(10, folder=tmp_path) as sorter:
            sorter.add(shuffled(100, 100)[0])
            assert any(tmp_path.iterdir())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with (
        Sorter(1, folder=tmp_path / "missing") as sorter,
        pytest.raises(ResourceError, match="rows cannot be sorted on disk"),
    ):
        sorter.add(shuffled(10, 10)[0])
