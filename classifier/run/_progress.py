"""What is shown while captures are read: a bar, and the kernels that are compiled."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from classifier.pipeline import Progress

__all__ = ["ProgressBar", "compiling_shown"]


@contextmanager
def compiling_shown(progress: bool | Progress | None) -> Iterator[None]:
    """Name the kernels that are compiled, where somebody watches; the line goes again."""
    from classifier._jit import notify

    if progress is False or not _is_watched():
        yield
        return
    erase = "\r\033[2K" if sys.stderr.isatty() else ""

    def show(name: str) -> None:
        sys.stderr.write(f"{erase}compiling {name}, once on this machine" + ("" if erase else "\n"))
        sys.stderr.flush()

    notify(show)
    try:
        yield
    finally:
        notify(None)
        sys.stderr.write(erase)


class ProgressBar:
    """A progress callback that draws with tqdm, in a terminal or a notebook, after a second."""

    def __init__(self, wanted: bool | Progress | None) -> None:
        self._wanted = wanted
        self._bar: Any = None

    def __enter__(self) -> Progress | None:
        """Return the function to call with bytes done and bytes in all."""
        if callable(self._wanted):
            return self._wanted
        if self._wanted is False or (self._wanted is None and not _is_watched()):
            return None
        return self._step

    def __exit__(self, *_: object) -> None:
        """Finish the bar."""
        if self._bar is not None:
            self._bar.close()

    def _step(self, done: int, total: int) -> None:
        if self._bar is None:
            from tqdm.auto import tqdm

            self._bar = tqdm(
                total=total or None,
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
                desc="reading",
                delay=1,
                leave=False,
                file=sys.stderr,
            )
        self._bar.update(done - self._bar.n)


def _is_watched() -> bool:
    return sys.stderr.isatty() or "ipykernel" in sys.modules
