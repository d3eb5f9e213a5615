"""Scoring: trees over columns of features, and the distance to what a model has seen."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier._jit import instead_of, kernel

__all__ = [
    "LANES",
    "LEAVES",
    "WIDTH",
    "add_leaves",
    "add_small_trees",
    "nearest_distance",
    "rank_values",
]

#: Rows that go down a tree side by side: their loads from memory overlap.
LANES = 16
#: Rows whose features stay in the cache while a tree is used.
BLOCK = 1024
#: Leaves that a tree of `add_small_trees` may have: one bit each.
LEAVES = 32
#: Rows whose bits are held together; the rows that it takes are a multiple.
WIDTH = 512


@kernel
def add_leaves(
    cells: NDArray[Any],
    width: int,
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
    cells : float32, shape (n_rows * width,)
        Read: one row after another; NaN where missing.
    width : int
        Columns.
    threshold : float32; left, column : int32; values : float64; all of shape (n_nodes,)
        Read. A row goes to ``left + 1`` where its ``column`` is above ``threshold``, else to ``left``,
        as it does where it is missing. A leaf is its own ``left`` with an infinite threshold, and
        ``values`` is what it adds. Checked by the caller.
    roots, depths : int32, shape (n_trees,)
        Read.
    sums : float64, shape (n_rows,)
        Written: added to.
    """
    lanes, begins = np.zeros(LANES, np.int32), np.zeros(LANES, np.int64)
    for block in range(0, sums.size, BLOCK):
        stop = min(block + BLOCK, sums.size)
        for tree in range(roots.size):
            row = block
            while row + LANES <= stop:
                for i in range(LANES):
                    lanes[i] = roots[tree]
                    begins[i] = (row + i) * width
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
                    above = cells[row * width + column[at]] > threshold[at]
                    at = left[at] + np.int32(above)
                sums[row] += values[at]
                row += 1


@kernel
def add_small_trees(
    features: NDArray[Any],
    threshold: NDArray[Any],
    column: NDArray[Any],
    keeps: NDArray[Any],
    starts: NDArray[Any],
    values: NDArray[Any],
    sums: NDArray[Any],
) -> None:
    """Add the value of the leaf that each row reaches in each tree of 32 leaves at most.

    Every question of a tree is asked of 512 rows at a time. Each row has a bit for each leaf, and an
    answer of yes clears those of the leaves to the left; the lowest bit left is the leaf
    (QuickScorer: Lucchese et al., SIGIR 2015). No row waits for another and no load depends on one before, so the
    compiler makes vectors of it. Two questions at a time, and blocks of 256 or 1,024 rows, gained
    nothing; leaf and value in one loop cost half (`benchmarks/score_model.py`).

    Parameters
    ----------
    features : float32, shape (n_columns, n_rows)
        Read; NaN where missing. ``n_rows`` is a multiple of 512.
    threshold : float32; column : int32; keeps : uint32; all of shape (n_questions,)
        Read. Whether a ``column`` is above ``threshold``, and the leaves that remain where it is.
    starts : int32, shape (n_trees + 1,)
        Read: the first question of each tree.
    values : float64, shape (n_trees * 32,)
        Read: what a leaf adds, at (its bit + 31) % 32.
    sums : float64, shape (n_rows,)
        Written: added to.
    """
    live = np.zeros(WIDTH, np.uint32)
    leaf = np.zeros(WIDTH, np.int32)
    low = np.zeros(WIDTH, np.float32)
    exponents = low.view(np.uint32)
    every = np.uint32(0xFFFFFFFF)
    for begin in range(0, features.shape[1], WIDTH):
        out = sums[begin : begin + WIDTH]
        for tree in range(starts.size - 1):
            live[:] = every
            for k in range(starts[tree], starts[tree + 1]):
                x = features[column[k], begin : begin + WIDTH]
                limit, kept = threshold[k], np.uint32(keeps[k])
                for i in range(WIDTH):
                    live[i] = np.uint32(live[i]) & (kept if x[i] > limit else every)
            added = values[tree * LEAVES : tree * LEAVES + LEAVES]
            for i in range(WIDTH):
                bits = np.int64(live[i])
                low[i] = np.float32(bits & -bits)  # a power of two: its exponent is the bit
            for i in range(WIDTH):
                leaf[i] = (np.int32(exponents[i] >> np.uint32(23))) & np.int32(31)
            for i in range(WIDTH):
                out[i] += added[leaf[i]]


@kernel
def rank_values(
    features: NDArray[Any],
    quantiles: NDArray[Any],
    below: int,
    above: int,
    missing: int,
    steps: NDArray[Any],
) -> None:
    """Count, for each value, the quantiles of its column at or below it.

    All are compared, as the compiler makes vectors of that. With rows as the innermost loop many rows
    take three times as long, and by NumPy one row twice (`benchmarks/score_model.py`).

    Parameters
    ----------
    features : float32, shape (n_rows, n_features)
        Read; NaN where missing.
    quantiles : float32, shape (n_features, n_quantiles)
        Read; not falling.
    below, above, missing : int
        What stands for a value below all, above all, and for none; ``missing`` is the least.
    steps : uint8, shape (n_rows, at least n_features)
        Written: ranks less ``missing``.
    """
    for i in range(features.shape[0]):
        for j in range(features.shape[1]):
            x, edges = features[i, j], quantiles[j]
            count = np.int32(0)
            for k in range(edges.size):
                count += np.int32(x >= edges[k])
            rank = np.int64(count)
            rank = np.int64(below) if x < edges[0] else rank
            rank = np.int64(above) if x > edges[edges.size - 1] else rank
            rank = np.int64(missing) if np.isnan(x) else rank
            steps[i, j] = rank - missing


@kernel
def nearest_distance(
    steps: NDArray[Any],
    seen: NDArray[Any],
    n_features: int,
    spacing: float,
    enough: float,
    out: NDArray[Any],
) -> None:
    """Return the mean absolute difference to the nearest of the rows seen in training.

    Over bytes in rows of whole vectors the compiler sums absolute differences by one instruction
    (PSADBW): a third of the time that 16-bit ranks took.

    Parameters
    ----------
    steps : uint8, shape (n_rows, width)
        Read.
    seen : uint8, shape (n_seen, width)
        Read; at least one row.
    n_features : int
        Columns that count; what is beyond is equal.
    spacing : float
        Difference of two neighbouring ranks.
    enough : float
        The first that is as near is taken for the nearest.
    out : float64, shape (n_rows,)
        Written.
    """
    width = steps.shape[1]
    for row in range(steps.shape[0]):
        best = np.int64(1) << 40
        for other in range(seen.shape[0]):
            total = np.int32(0)
            for j in range(width):
                difference = np.int32(np.int32(steps[row, j]) - np.int32(seen[other, j]))
                total = np.int32(total + abs(difference))
            if total < best:
                best = np.int64(total)
                if best * spacing / n_features <= enough:
                    break
        out[row] = best * spacing / n_features


@instead_of(nearest_distance)
def _nearest_distance(
    steps: NDArray[Any],
    seen: NDArray[Any],
    n_features: int,
    spacing: float,
    enough: float,
    out: NDArray[Any],
) -> None:
    """Do the same by numpy: in plain Python 100,000 differences for one row take 0.4 s."""
    wide = seen.astype(np.int16)
    for row in range(steps.shape[0]):
        totals = np.abs(wide - steps[row]).sum(axis=1, dtype=np.int64)
        near = np.flatnonzero(totals * spacing / n_features <= enough)
        best = totals[near[0]] if near.size else totals.min()
        out[row] = best * spacing / n_features
