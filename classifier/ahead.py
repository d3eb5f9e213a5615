"""What a thread does meanwhile: takes items ahead, or calls a function.

Reading, hashing and kernels release the GIL.
"""

import threading
from collections.abc import Callable, Generator, Iterator
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

__all__ = ["Ahead", "Later"]

T = TypeVar("T")


class Ahead(Generic[T]):
    """An iterator whose items a thread takes ahead, from now on.

    What the thread raises is raised where the item would have come. Whoever does not take all items
    calls ``close``, or closes what ``iter`` gave: the thread is then at its end.

    Parameters
    ----------
    items : generator
        Runs in the thread, to its end or until this is closed.
    most : int
        How many items wait at most.
    meanwhile : callable, optional
        Called between items, and ten times a second while one is waited for.
    idle : callable, optional
        Called before an item is waited for.
    """

    def __init__(
        self,
        items: Generator[T, None, None],
        most: int,
        meanwhile: Callable[[], None] | None = None,
        idle: Callable[[], None] | None = None,
    ) -> None:
        self._items = items
        self._meanwhile = meanwhile
        self._idle = idle
        self._found: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()
        self._room = threading.Semaphore(most)
        self._closed = False
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        """Yield the items, once."""
        try:
            while (found := self._next()) is not None:
                if isinstance(found, BaseException):
                    raise found
                self._room.release()
                yield found[0]
        finally:
            self.close()

    def _next(self) -> tuple[T] | BaseException | None:
        if self._idle is not None and self._found.empty():
            self._idle()
        if self._meanwhile is None:
            return self._found.get()
        while True:
            self._meanwhile()
            try:
                found = self._found.get(timeout=0.1)
            except Empty:
                continue
            self._meanwhile()
            return found

    def close(self) -> None:
        """Take no more items, and wait until the one at hand is done."""
        self._closed = True
        self._room.release()
        self._thread.join()

    def _take(self) -> None:
        end: BaseException | None = None
        try:
            for item in self._items:
                self._found.put((item,))
                self._room.acquire()
                if self._closed:
                    break
            self._items.close()
        except BaseException as error:  # noqa: BLE001 - raised where the item is wanted
            end = error
        self._found.put(end)


class Later(Generic[T]):
    """What a function returns, called from now on in a thread that does not keep a process alive.

    Not a Future of the standard library, whose import takes 16 ms.
    """

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._found: list[T | BaseException] = []
        self._thread = threading.Thread(target=self._call, daemon=True)
        self._thread.start()

    def _call(self) -> None:
        try:
            self._found.append(self._function())
        except BaseException as error:  # noqa: BLE001 - raised where the result is wanted
            self._found.append(error)

    def result(self) -> T:
        """Wait for it; raise what the function raised."""
        self._thread.join()
        if isinstance(self._found[0], BaseException):
            raise self._found[0]
        return self._found[0]
