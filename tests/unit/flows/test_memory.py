"""Memory that is got ready in large pages is zero, aligned, and never touched where it is in use."""

import numpy as np
import pytest

from classifier.flows.memory import LARGE, Pages

ROWS = 4 * LARGE // 8


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
