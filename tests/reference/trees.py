"""A decision tree walked node by node, and the nearest of some rows: slow twins of scoring."""

import math
from collections.abc import Sequence


def leaf(
    row: Sequence[float],
    threshold: Sequence[float],
    left: Sequence[int],
    column: Sequence[int],
    root: int,
) -> int:
    """Return the leaf that a row reaches; the row is followed by its negative."""
    twice = [*row, *(-value for value in row)]
    at = root
    while left[at] != at:
        value = twice[column[at]]
        at = left[at] + (not math.isnan(value) and value > threshold[at])
    return at


def kept(answers: Sequence[bool], leaves_left: Sequence[Sequence[int]], n: int) -> int:
    """Return the leaf that is left when each yes rules out the leaves to the left of its question."""
    left = list(range(n))
    for yes, gone in zip(answers, leaves_left, strict=True):
        if yes:
            left = [leaf for leaf in left if leaf not in gone]
    return left[0]


def nearest(row: Sequence[int], seen: Sequence[Sequence[int]]) -> int:
    """Return the least sum of differences to any of the rows seen."""
    return min(sum(abs(a - b) for a, b in zip(row, other, strict=True)) for other in seen)


def rank(value: float, quantiles: Sequence[float], below: int, above: int, missing: int) -> int:
    """Return how many quantiles a value reaches, or what stands for none, too few and too many."""
    if math.isnan(value):
        return missing
    if value < min(quantiles):
        return below
    if value > max(quantiles):
        return above
    return sum(quantile <= value for quantile in quantiles)
