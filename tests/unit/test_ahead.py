"""Items that a thread takes ahead."""

import threading
import time
from collections.abc import Generator

import pytest

from classifier.ahead import Ahead, Later


def numbers(taken: list[int], n: int = 100, fail_at: int = -1) -> Generator[int, None, None]:
    try:
        for i in range(n):
            if i == fail_at:
                raise ValueError(i)
            taken.append(i)
            yield i
    finally:
        taken.append(-1)


def test_items_come_in_order_and_the_thread_ends() -> None:
    before = threading.active_count()
    assert list(Ahead(numbers([]), 3)) == list(range(100))
    assert threading.active_count() == before


def test_no_more_than_asked_for_wait() -> None:
    taken: list[int] = []
    ahead = Ahead(numbers(taken), 3)
    items = iter(ahead)
    for i in range(20):
        assert next(items) == i
        time.sleep(0.002)
        assert len(taken) <= i + 1 + 3 + 1
    ahead.close()


def test_an_error_comes_where_the_item_would_have_come() -> None:
    items = iter(Ahead(numbers([], fail_at=7), 3))
    assert [next(items) for _ in range(7)] == list(range(7))
    with pytest.raises(ValueError, match="7"):
        next(items)


@pytest.mark.parametrize("stop_at", [0, 5])
def test_whoever_stops_early_leaves_no_thread_and_what_was_open_is_closed(stop_at: int) -> None:
    before = threading.active_count()
    taken: list[int] = []
    ahead = Ahead(numbers(taken), 3)
    items = iter(ahead)
    for _ in range(stop_at):
        next(items)
    ahead.close()
    assert threading.active_count() == before
    assert taken[-1] == -1
    ahead.close()


def test_a_closed_iteration_ends_the_thread() -> None:
    before = threading.active_count()
    items = iter(Ahead(numbers([]), 3))
    assert next(items) == 0
    items.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_the_caller_is_called_meanwhile_in_its_own_thread() -> None:
    def slow() -> Generator[int, None, None]:
        time.sleep(0.3)
        yield 1

    where: list[threading.Thread] = []
    assert list(Ahead(slow(), 1, lambda: where.append(threading.current_thread()))) == [1]
    assert len(where) >= 3
    assert set(where) == {threading.current_thread()}


def test_it_is_told_before_an_item_is_waited_for() -> None:
    told: list[int] = []
    go = threading.Event()

    def items() -> Generator[int, None, None]:
        go.wait()
        yield 1

    def idle() -> None:
        told.append(1)
        go.set()

    assert list(Ahead(items(), 1, idle=idle)) == [1]
    assert told


def test_what_a_thread_returns_or_raises_is_there_later() -> None:
    later = Later(lambda: threading.current_thread())
    assert later.result() is later.result() is not threading.current_thread()
    failing = Later(lambda: 1 // 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            failing.result()
