"""Rows in the order of ``flow_id``, however many there are.

How this works: flows end in another order than they begin. Batches are kept until there are too
many rows or bytes; then they are sorted and written as a *run* to a temporary file. In the end the
runs are merged by windows: as ids are dense, the rows with ``flow_id`` below a bound are a prefix
of what is left of each run, and sorting these prefixes together gives the next window. Memory
holds one window, and one batch of each run.

As ids are dense, a window is also known to be complete when it has as many rows as ids: ``windows``
gives those to whoever can use rows before the last ones are there, and who puts them in order.
"""

import contextlib
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.ipc
from numpy.typing import NDArray

from classifier.errors import ResourceError

__all__ = ["Sorter", "Window"]

# Rows of a batch in a run's file: a merge holds one of them for each run.
_RUN_BATCH_ROWS = 8192


class Window:
    """Rows of a range of ids, put in order by the thread that first asks for them."""

    def __init__(self, parts: list[pa.RecordBatch]) -> None:
        self._parts = parts
        self._one_at_a_time = threading.Lock()

    def rows(self) -> pa.RecordBatch:
        """Return the rows in order."""
        with self._one_at_a_time:
            if len(self._parts) > 1:
                self._parts = _in_order(self._parts).to_batches()
            return self._parts[0]


class Sorter:
    """Takes batches in any order and gives their rows back in the order of ``flow_id``.

    Use as a context manager, which removes the temporary files whatever happens.

    Parameters
    ----------
    limit_rows, limit_bytes : int
        What is kept in memory before a run is written to disk.
    window_rows : int
        The most rows of a batch that comes back.
    folder : str or path, optional
        Where temporary files go; default: the system's place for them.

    Examples
    --------
    >>> with Sorter() as sorter:
    ...     for i in (1, 0):
    ...         sorter.add(pa.record_batch({"flow_id": [i]}))
    ...     [batch.column("flow_id").to_pylist() for batch in sorter.batches()]
    [[0, 1]]
    """

    def __init__(
        self,
        limit_rows: int = 500_000,
        *,
        limit_bytes: int = 1 << 29,
        window_rows: int = 65_536,
        folder: str | Path | None = None,
    ) -> None:
        self._limit_rows = limit_rows
        self._limit_bytes = limit_bytes
        self._window_rows = window_rows
        self._parent = folder
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._windows: list[Window] = []  # those that are complete
        self._given = 0
        self._sizes: Counter[int] = Counter()  # rows of each window so far
        self._kept: list[pa.RecordBatch] = []  # the others, each in order
        self._is_sorted = True
        self._rows = 0
        self._bytes = 0
        self._runs: list[Path] = []

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove all temporary files."""
        self._windows.clear()
        self._kept.clear()
        self._runs.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def add(self, batch: pa.RecordBatch) -> None:
        """Take a batch; all have the same schema, and no ``flow_id`` comes twice.

        Raises
        ------
        ResourceError
            If the temporary folder cannot be written.
        """
        if not batch.num_rows:
            return
        (batch,) = _in_order([batch]).to_batches()
        self._kept.append(batch)
        self._is_sorted = False
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= self._limit_rows or self._bytes >= self._limit_bytes:
            self._spill()
        if not self._runs:
            places, sizes = np.unique(_ids(batch) // self._window_rows, return_counts=True)
            self._sizes.update(dict(zip(places.tolist(), sizes.tolist(), strict=True)))

    def windows(self) -> Iterator[Window]:
        """Yield the first windows that are complete, each once; none once rows are on disk.

        They are the first of ``batches``.
        """
        while not self._runs and self._sizes[len(self._windows)] == self._window_rows:
            bound = (len(self._windows) + 1) * self._window_rows
            parts = [_divided(batch, bound) for batch in self._kept]
            self._windows.append(Window([first for first, _ in parts if first.num_rows]))
            self._kept = [rest for _, rest in parts if rest.num_rows]
        yield from self._windows[self._given :]
        self._given = len(self._windows)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield all rows in order.

        Raises
        ------
        ResourceError
            If a temporary file cannot be read.
        """
        if not self._runs:
            if not self._is_sorted and self._kept:  # they may be asked for again
                self._kept = _in_order(self._kept).to_batches(max_chunksize=self._window_rows)
            self._is_sorted = True
            yield from (window.rows() for window in self._windows)
            yield from self._kept
            return
        if self._windows or self._kept:
            self._spill()
        with contextlib.ExitStack() as stack:
            runs = [_Run(stack.enter_context(pa.OSFile(str(path)))) for path in self._runs]
            yield from self._merged(runs)

    def _merged(self, runs: "list[_Run]") -> Iterator[pa.RecordBatch]:
        while runs := [run for run in runs if run.head() is not None]:
            # The smallest id left starts the window: several inputs may leave gaps in the ids.
            bound = min(run.first_id() for run in runs) + self._window_rows
            pieces = [piece for run in runs for piece in run.below(bound)]
            yield from _in_order(pieces).to_batches(max_chunksize=self._window_rows)

    def _spill(self) -> None:
        try:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(
                    prefix="classifier-", dir=self._parent, ignore_cleanup_errors=True
                )
            path = Path(self._folder.name) / f"{len(self._runs)}.arrow"
            table = _in_order([*(window.rows() for window in self._windows), *self._kept])
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            with pa.ipc.new_stream(str(path), table.schema, options=options) as writer:
                writer.write_table(table, max_chunksize=_RUN_BATCH_ROWS)
        except OSError as error:
            raise ResourceError(
                f"rows cannot be sorted on disk ({error.strerror or error})",
                path=str(self._parent or tempfile.gettempdir()),
                remedy="make room there, or set TMPDIR to another folder",
            ) from error
        self._runs.append(path)
        self._windows, self._kept = [], []
        self._rows = self._bytes = 0


class _Run:
    """What is left of one sorted run."""

    def __init__(self, file: pa.NativeFile) -> None:
        self._reader = pa.ipc.open_stream(file)
        self._batch: pa.RecordBatch | None = None

    def head(self) -> pa.RecordBatch | None:
        """Return the batch at hand, the next one if it is used up, None at the end."""
        while self._batch is None or not self._batch.num_rows:
            try:
                self._batch = self._reader.read_next_batch()
            except StopIteration:
                return None
        return self._batch

    def first_id(self) -> int:
        batch = self.head()
        assert batch is not None
        return int(batch.column("flow_id")[0].as_py())

    def below(self, bound: int) -> list[pa.RecordBatch]:
        """Take all rows with a ``flow_id`` below a bound."""
        taken = []
        while (batch := self.head()) is not None:
            first, self._batch = _divided(batch, bound)
            if first.num_rows:
                taken.append(first)
            if self._batch.num_rows:
                break
        return taken


def _ids(rows: pa.RecordBatch | pa.Table) -> NDArray[np.int64]:
    ids: NDArray[np.int64] = rows.column("flow_id").to_numpy()
    return ids


def _divided(batch: pa.RecordBatch, bound: int) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Return the rows of a batch in order with a ``flow_id`` below a bound, and the others."""
    stop = int(np.searchsorted(_ids(batch), bound))
    return batch.slice(0, stop), batch.slice(stop)


def _in_order(batches: list[pa.RecordBatch]) -> pa.Table:
    table = pa.Table.from_batches(batches)
    ids = _ids(table)
    if not np.all(ids[1:] >= ids[:-1]):
        table = table.take(pa.array(np.argsort(ids, kind="stable")))
    return table.combine_chunks()
