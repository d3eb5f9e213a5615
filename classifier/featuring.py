"""Features of the flows of a run: the captures are read again, and rows put where they belong."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from classifier.errors import CaptureError
from classifier.pipeline import Reading
from classifier.tables import FlowBatch

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["feature_matrix", "sequence_array"]


def feature_matrix(reading: Reading, table: "pa.Table") -> NDArray[np.float32]:
    """Compute the features of all flows of captures.

    Parameters
    ----------
    reading : Reading
        Not yet begun.
    table : pyarrow.Table
        The flow columns that the same reading gave before, by ``flow_id``.

    Returns
    -------
    ndarray of float32, shape (n_flows, n_features)

    Raises
    ------
    CaptureError
        If the captures hold other flows than the table.
    """
    from classifier.model import FEATURES, PairBook, compute_features

    n = table.num_rows
    ja4 = np.array(table.column("ja4").to_pylist(), object)
    server_name = np.array(table.column("server_name").to_pylist(), object)
    matrix = np.full((n, len(FEATURES)), np.nan, np.float32)
    reading.pairs = PairBook()
    for ids, batch in _batches(reading, n):
        pairs = reading.pairs.take(ids)
        matrix[ids] = compute_features(batch, ja4[ids], server_name[ids], pairs=pairs)[1]
    return matrix


def sequence_array(reading: Reading, n_flows: int, n: int) -> NDArray[np.float32]:
    """Return the sequences of all flows of captures, as ``model.compute_sequences`` gives them."""
    from classifier.model import compute_sequences

    sequences = np.full((n_flows, n, 3), np.nan, np.float32)
    for ids, batch in _batches(reading, n_flows):
        sequences[ids] = compute_sequences(batch, n)
    return sequences


def _batches(reading: Reading, n: int) -> Iterator[tuple[NDArray[np.int64], FlowBatch]]:
    """Yield the batches of captures that must have ``n`` flows, and where their rows belong."""
    found = 0
    for batch in reading.batches():
        ids = batch.flows["flow_id"]
        found += ids.size
        if found > n or int(ids.max(initial=-1)) >= n:
            break
        yield ids, batch
    if found != n:
        raise CaptureError(
            "the captures have changed since they were classified", remedy="classify them again"
        )
