"""Scoring: trees over columns of features, and the distance to what a model has seen."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier._jit import kernel

__all__ = ["LANES", "add_leaves", "nearest_distance"]

#: Rows that go down a tree side by side: their loads from memory overlap.
LANES = 16
#: Rows whose features stay in the cache while a tree is used.
BLOCK = 1024


@kernel
def add_leaves(
    features: NDArray[Any],
    threshold: NDArray[Any],
    left: NDArray[Any],
    column: NDArray[Any],
    values: NDArray[Any],
    roots: NDArray[Any],
    depths: NDArray[Any],
    sums: NDArray[Any],
) -> None:
    """Add the value of the leaf that each row reaches in each tree.

    One tree after another, a block of rows at a time, 16 rows side by side and without branches:
    each takes as many steps as the tree is deep, and stays where it is in a leaf. Stopping as soon as
    all 16 stay cost more than it saved (`benchmarks/score_model.py`).

    Parameters
    ----------
    features : float32, shape (n_rows, n_columns)
        Read; NaN where missing.
    threshold : float32; left, column : int32; values : float64; all of shape (n_nodes,)
        Read. A row goes to ``left + 1`` where its ``column`` is above ``threshold``, else to ``left``,
        as it does where it is missing. A leaf is its own ``left`` with an infinite threshold, and
        ``values`` is what it adds. Checked by the caller.
    roots, depths : int32, shape (n_trees,)
        Read.
    sums : float64, shape (n_rows,)
        Written: added to.
    """
    lanes, begins = np.zeros(LANES, np.int32), np.zeros(LANES, np.int32)
    width = features.shape[1]
    for block in range(0, features.shape[0], BLOCK):
        stop = min(block + BLOCK, features.shape[0])
        cells = features[block:stop].reshape(-1)
        for tree in range(roots.size):
            row = block
            while row + LANES <= stop:
                for i in range(LANES):
                    lanes[i] = roots[tree]
                    begins[i] = (row - block + i) * width
                for _ in range(depths[tree]):
                    for i in range(LANES):
                        at = lanes[i]
                        above = cells[begins[i] + column[at]] > threshold[at]
                        lanes[i] = left[at] + np.int32(above)
                for i in range(LANES):
                    sums[row + i] += values[lanes[i]]
                row += LANES
            while row < stop:
                at = roots[tree]
                for _ in range(depths[tree]):
                    above = features[row, column[at]] > threshold[at]
                    at = left[at] + np.int32(above)
                sums[row] += values[at]
                row += 1


@kernel
def nearest_distance(
    ranks: NDArray[Any], seen: NDArray[Any], spacing: float, out: NDArray[Any]
) -> None:
    """Return the mean absolute difference to the nearest of the rows seen in training.

    Parameters
    ----------
    ranks : int16, shape (n_rows, n_features)
        Read.
    seen : int16, shape (n_seen, n_features)
        Read; at least one row.
    spacing : float
        Difference of two neighbouring ranks.
    out : float64, shape (n_rows,)
        Written.
    """
    n = ranks.shape[1]
    for row in range(ranks.shape[0]):
        best = np.int64(1) << 40
        for other in range(seen.shape[0]):
            total = np.int64(0)
            for j in range(n):
                total += abs(np.int64(ranks[row, j]) - np.int64(seen[other, j]))
            best = min(best, total)
        out[row] = best * spacing / n
