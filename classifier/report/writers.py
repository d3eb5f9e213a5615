"""Flow rows -> NDJSON, CSV or Parquet; reading them back is in ``readers``."""

import contextlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from queue import SimpleQueue
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from classifier.ahead import Later
from classifier.errors import ResourceError
from classifier.report._csv import flat, flat_schema
from classifier.report._files import Sink, output
from classifier.report._ndjson import ndjson
from classifier.report.columns import SCHEMA
from classifier.report.formats import FORMATS, Format, output_format
from classifier.report.readers import read_flows
from classifier.report.sorting import Window
from classifier.tables import SCHEMA_VERSION

__all__ = ["FORMATS", "Format", "Writing", "output_format", "read_flows", "write_flows"]

# Rows that become text at once; 65,536 rows were 8 % faster than 8,192 and 1,000,000 slower.
_CHUNK_ROWS = 65_536


def write_flows(
    batches: "pa.Table | Iterable[pa.RecordBatch]",
    target: "str | os.PathLike[str] | BinaryIO",
    format: str | None = None,
    *,
    meta: Mapping[str, Any] | None = None,
    accounting: Mapping[str, int] | None = None,
) -> None:
    r"""Write flow rows.

    Parameters
    ----------
    batches : pyarrow.Table or iterable of pyarrow.RecordBatch
        Written in the order in which they come, all with the schema of the first.
    target : path, ``-`` for standard output, or binary file object
        A file appears when it is complete; one that was there before stays until then.
    format : str, optional
        ``ndjson``, ``csv`` or ``parquet``; by the suffix where left out.
    meta, accounting : mapping, optional
        Kept in Parquet files alone. Read after the last batch, so they may be filled meanwhile.

    Raises
    ------
    ResourceError
        If the place cannot be written, or the format is not known.

    Notes
    -----
    NDJSON: keys in the order of the columns, empty text and empty list for null, exact integers,
    floats with six decimals, no hidden character unescaped. CSV: a text that a spreadsheet would
    take for a formula begins with an apostrophe, and hidden characters are spelled ``\xNN``.
    The same rows give the same bytes.
    """
    if isinstance(target, str | os.PathLike):
        chosen = output_format(target, format)
    else:
        chosen = output_format("-", format)
    if isinstance(batches, pa.Table):
        rows: Iterable[pa.RecordBatch] = batches.to_batches(max_chunksize=_CHUNK_ROWS)
        schema = batches.schema
    else:
        iterator = iter(batches)
        first = next(iterator, None)
        schema = SCHEMA if first is None else first.schema
        rows = itertools.chain([] if first is None else [first], iterator)
    if chosen not in _WRITERS:
        remedy = "write a whole run, by Run.write or replay --out"
        raise ResourceError(f"{chosen} needs more than rows", path=str(target), remedy=remedy)
    with output(target) as sink:
        books = {} if meta is None else meta, {} if accounting is None else accounting
        _WRITERS[chosen](rows, schema, sink, *books)


class Writing:
    """A file of flow rows that a thread writes while they come: as ``write_flows``, once it is finished.

    Whoever begins one calls ``leave`` in the end: without ``finish`` before, there is no file.

    Parameters
    ----------
    target : path
    accounting : mapping
        As for ``write_flows``; it may be filled meanwhile.

    Attributes
    ----------
    batches : int
        How many were added.
    """

    def __init__(self, target: "str | os.PathLike[str]", accounting: Mapping[str, int]) -> None:
        self.batches = 0
        self._meta: dict[str, Any] = {}
        self._queue: SimpleQueue[pa.RecordBatch | Window | type[_Left] | None] = SimpleQueue()
        self._written = Later(
            lambda: write_flows(self._taken(), target, meta=self._meta, accounting=accounting)
        )

    def leave(self) -> None:
        """Stop writing, if it is not finished."""
        self._queue.put(_Left)
        with contextlib.suppress(Exception):  # told by ``finish``
            self._written.result()

    def add(self, batch: "pa.RecordBatch | Window") -> None:
        """Have rows written; of the schema of the first. The thread puts a window in order."""
        self.batches += 1
        self._queue.put(batch)

    def finish(self, meta: Mapping[str, Any]) -> None:
        """Wait until all is written.

        Raises
        ------
        ResourceError
            If the place cannot be written.
        """
        self._meta.update(meta)
        self._queue.put(None)
        self._written.result()

    def _taken(self) -> Iterator[pa.RecordBatch]:
        while (batch := self._queue.get()) is not None:
            if batch is _Left:
                raise _Left
            yield batch.rows() if isinstance(batch, Window) else batch


class _Left(Exception):
    """A file was not finished."""


def _write_ndjson(
    rows: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    sink: Sink,
    meta: Mapping[str, Any],
    accounting: Mapping[str, int],
) -> None:
    for batch in rows:
        for start in range(0, batch.num_rows, _CHUNK_ROWS):
            sink.write(ndjson(batch.slice(start, _CHUNK_ROWS)))


def _write_csv(
    rows: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    sink: Sink,
    meta: Mapping[str, Any],
    accounting: Mapping[str, int],
) -> None:
    with pyarrow.csv.CSVWriter(sink, flat_schema(schema)) as writer:
        for batch in rows:
            writer.write_batch(flat(batch))


def _write_parquet(
    rows: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    sink: Sink,
    meta: Mapping[str, Any],
    accounting: Mapping[str, int],
) -> None:
    schema = schema.with_metadata({"schema_version": str(SCHEMA_VERSION)})
    with pyarrow.parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        for batch in rows:
            writer.write_batch(batch.cast(schema))
        writer.add_key_value_metadata(
            {
                "classifier.meta": json.dumps(dict(meta), default=str),
                "classifier.accounting": json.dumps({k: int(n) for k, n in accounting.items()}),
            }
        )


_WRITERS: dict[str, Callable[..., None]] = {
    "ndjson": _write_ndjson,
    "csv": _write_csv,
    "parquet": _write_parquet,
}
