"""Memory that is got ready in large pages is zero, aligned, and never touched where it is in use."""

import errno

import numpy as np
import pyarrow as pa
import pytest

from classifier.flows import FlowTable
from classifier.flows.memory import LARGE, MOST_REUSED, PATIENCE_NS, Pages, Reused

ROWS = 4 * LARGE // 8


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let large pages cost whatever they cost on a busy machine."""
    monkeypatch.setattr("classifier.flows.memory.PATIENCE_NS", 10**12)
    monkeypatch.setattr(Pages, "_left_ns", 10**12)


def test_rows_begin_at_a_cache_line_however_many_there_are():
    for size in (0, 1, 1000, ROWS):
        pages = Pages(size, np.dtype(np.uint64))
        assert pages.array.size == size
        assert size == 0 or pages.array.ctypes.data % 64 == 0
        assert not pages.array.any()


def test_getting_memory_ready_leaves_rows_in_use_as_they_are():
    pages = Pages(ROWS, np.dtype(np.uint64))
    for used in range(0, ROWS, 10_000):
        pages.array[used : used + 10_000] = used + 1
        pages.prepare(min(used + 10_000, ROWS))
    pages.prepare(ROWS, ROWS)
    expected = np.repeat(np.arange(0, ROWS, 10_000) + 1, 10_000)[:ROWS]
    assert np.array_equal(pages.array, expected)


def test_large_pages_that_cost_too_much_are_not_asked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Pages, "_left_ns", -1)
    pages = Pages(ROWS, np.dtype(np.uint64))
    pages.prepare(0, ROWS)
    assert pages._next == 0
    assert not pages.array.any()


def test_the_next_table_tries_large_pages_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Pages, "_left_ns", -1)
    FlowTable()
    assert Pages._left_ns == PATIENCE_NS


@pytest.mark.usefixtures("patience")
def test_a_small_array_is_left_to_small_pages():
    pages = Pages(ROWS, np.dtype(np.uint64))
    pages.prepare(1000, 1000)
    assert pages._next == 0


@pytest.mark.usefixtures("patience")
def test_memory_is_got_ready_for_as_much_as_came_before():
    pages = Pages(10 * ROWS, np.dtype(np.uint64))
    if pages._map is None:
        pytest.skip("no large pages on this system")
    pages.prepare(ROWS)
    if Pages._left_ns < 0:
        pytest.skip("the system has no large pages")
    assert pages._next <= ROWS * 8 + 2 * LARGE  # what came before the first time is not known
    pages.prepare(3 * ROWS)
    assert 5 * ROWS * 8 <= pages._next <= 5 * ROWS * 8 + 2 * LARGE


@pytest.mark.usefixtures("patience")
def test_memory_that_was_got_ready_for_a_copy_is_not_got_ready_again():
    pages = Pages(10 * ROWS, np.dtype(np.uint64))
    pages.prepare(0, 4 * ROWS)
    pages.prepare(4 * ROWS)
    assert pages._next <= 4 * ROWS * 8 + 2 * LARGE


def test_memory_that_is_not_there_is_told_as_such(monkeypatch: pytest.MonkeyPatch):
    def none(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr("classifier.flows.memory.mmap.mmap", none)
    with pytest.raises(MemoryError, match="no room"):
        Pages(ROWS, np.dtype(np.uint64))
    with pytest.raises(MemoryError, match="no room"):
        Reused().empty(ROWS, np.dtype(np.uint64))


def test_what_is_given_back_is_zero_and_the_rest_as_it_was():
    pages = Pages(ROWS, np.dtype(np.uint64))
    pages.array[:] = 7
    pages.release(100)
    assert pages.array[0] == 7  # less than a page
    pages.release(ROWS // 2 + 100)
    pages.release(ROWS // 2)
    gone = ROWS // 2 if pages._map is not None else 0
    assert not pages.array[:gone].any()
    assert (pages.array[gone:] == 7).all()


def test_an_array_is_used_again_once_nobody_has_it_or_a_view_of_it():
    reused, dtype = Reused(), np.dtype([("a", "u4"), ("b", "u4")])
    first = reused.empty(100, dtype)
    place = first.ctypes.data
    views = [first["a"], first[10:].view(np.uint8)[3:], memoryview(first), pa.py_buffer(first)]
    del first
    while views:
        assert reused.empty(50, dtype).ctypes.data != place
        views.pop()
    assert reused.empty(100, dtype).ctypes.data == place
    assert reused.empty(100, np.dtype(np.uint64)).ctypes.data != place


def test_what_somebody_has_stays_as_it_is_and_is_not_held():
    reused, dtype = Reused(), np.dtype(np.int64)
    had = []
    for size in np.random.default_rng(5).integers(0, 2000, 200).tolist():
        array = reused.empty(size, dtype)
        assert array.size == size
        array[:] = len(had)
        had.append(array)
        assert len(reused._arrays) <= MOST_REUSED
    assert all((array == i).all() for i, array in enumerate(had))


def test_arrays_that_became_too_small_are_let_go():
    reused, dtype = Reused(), np.dtype(np.int64)
    for size in range(1, 5000, 100):
        reused.empty(size, dtype)
        assert len(reused._arrays) == 2  # and that by which it knows how references count
