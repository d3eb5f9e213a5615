"""How far a flow is from everything that a model has seen: what it says of such flows is a guess.

How this works: each feature becomes the number of training quantiles at or below it, out of 32, with
steps of their own for *below all*, *above all* and *missing*; so no unit weighs more than another. The
distance of two flows is the mean difference of these ranks, as a share of all 32. Some hundred training
flows, each the farthest from those chosen before it, stand for all of them.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from classifier._jit import spend
from classifier.errors import ModelError
from classifier.model._tree_kernels import nearest_distance, rank_values

__all__ = ["BEYOND", "Novelty", "learn_novelty"]

QUANTILES = 32
BELOW, ABOVE, MISSING = -QUANTILES // 2, QUANTILES + QUANTILES // 2, -QUANTILES
#: How much a model's word counts beyond the limit: enough to rank flows, never to call one a tunnel.
BEYOND = 0.5
#: Ranks of a flow are laid out in a multiple of this: whole vectors, whose differences sum faster.
_LINE = 64
#: Comparisons of one flow with another that take as long as reading a packet, in plain Python.
_FLOWS = 8


@dataclass(frozen=True, slots=True)
class Novelty:
    """Quantiles of each feature, and the flows that stand for the training set.

    Attributes
    ----------
    quantiles : ndarray of float32, shape (n_features, n_quantiles)
        Not falling.
    seen : ndarray of int16, shape (n_seen, n_features)
        Ranks.
    limit : float
        Distance up to which a flow is like those seen.
    """

    quantiles: NDArray[np.float32]
    seen: NDArray[np.int16]
    limit: float
    _steps: NDArray[np.uint8] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what a kernel must not read."""
        sound = (
            self.quantiles.dtype == np.float32
            and self.quantiles.ndim == self.seen.ndim == 2
            and self.seen.dtype == np.int16
            and self.seen.shape[0] > 0
            and self.seen.shape[1] == self.quantiles.shape[0]
            and 0 < self.quantiles.shape[1] <= QUANTILES
            and bool(((self.seen >= MISSING) & (self.seen <= ABOVE)).all())
            and bool(np.isfinite(self.quantiles).all())
            and 0 < self.limit < np.inf
        )
        if not sound:
            raise ModelError("what it has seen is not sound", remedy="train the model again")
        steps = _no_steps(*self.seen.shape)
        steps[:, : self.seen.shape[1]] = self.seen - MISSING
        object.__setattr__(self, "_steps", steps)

    def distance(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the distance of each row to the nearest that was seen; 0 is one of them.

        Parameters
        ----------
        features : ndarray of float32, shape (n_rows, n_features)

        Returns
        -------
        ndarray of float64, shape (n_rows,)
        """
        return self._distance(features, -1.0)

    def trust(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return how much a model's word counts: 1 up to the limit, ``BEYOND`` farther away."""
        return np.where(self._distance(features, self.limit) <= self.limit, 1.0, BEYOND)

    def _distance(self, features: NDArray[np.float32], enough: float) -> NDArray[np.float64]:
        """Return the distance to the nearest, or to the first that is near enough."""
        out = np.zeros(features.shape[0])
        spend(features.shape[0] * self.seen.shape[0] // _FLOWS)
        steps = _steps_of(features, self.quantiles)
        nearest_distance(steps, self._steps, self.seen.shape[1], 1 / QUANTILES, enough, out)
        return out


def _no_steps(n_rows: int, n_features: int) -> NDArray[np.uint8]:
    return np.zeros((n_rows, -(-n_features // _LINE) * _LINE), np.uint8)


def _steps_of(features: NDArray[np.float32], quantiles: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return ranks less the least of them, shape (n_rows, multiple of ``_LINE``), then zeros."""
    steps = _no_steps(*features.shape)
    rank_values(np.ascontiguousarray(features), quantiles, BELOW, ABOVE, MISSING, steps)
    return steps


def learn_novelty(
    features: NDArray[np.float32],
    groups: NDArray[np.object_],
    *,
    n_seen: int = 400,
    share: float = 0.95,
    seed: int = 1,
) -> Novelty:
    """Choose flows that stand for a training set, and the distance at which others are new.

    Parameters
    ----------
    features : ndarray of float32, shape (n_rows, n_features)
    groups : ndarray of object, shape (n_rows,)
        The capture of each row. The limit is the distance that this ``share`` of rows keeps to the
        flows chosen from other captures.
    n_seen : int
        Flows to choose.
    share : float
        Between 0 and 1.
    seed : int
        Of the rows to choose from, where there are more than 20,000, and of the first.
    """
    rng = np.random.default_rng(seed)
    levels = np.linspace(0, 1, QUANTILES)
    quantiles = np.zeros((features.shape[1], QUANTILES), np.float32)
    for j in range(features.shape[1]):
        values = features[:, j]
        known = values[~np.isnan(values)]
        if known.size:
            quantiles[j] = np.quantile(known, levels, method="lower")
    rows = np.arange(features.shape[0])
    if rows.size > 20_000:
        rows = np.sort(rng.choice(rows, 20_000, replace=False))
    steps = _steps_of(features[rows], quantiles)
    chosen = _spread(steps, n_seen, int(rng.integers(rows.size)))
    seen_groups = groups[rows[chosen]]
    spend(rows.size * len(chosen) // _FLOWS)
    apart = np.zeros(rows.size)
    for group in np.unique(groups[rows].astype(str)):
        mine = groups[rows] == group
        others = steps[chosen[seen_groups != group]]
        if not len(others):
            raise ModelError("one capture alone", remedy="train on several captures")
        some = np.zeros(int(mine.sum()))
        nearest_distance(steps[mine], others, features.shape[1], 1 / QUANTILES, -1.0, some)
        apart[mine] = some
    limit = max(float(np.quantile(apart, share)), 1e-6)
    seen = steps[chosen, : features.shape[1]].astype(np.int16) + np.int16(MISSING)
    return Novelty(quantiles, seen, limit)


def _spread(ranks: NDArray[np.uint8], n: int, first: int) -> NDArray[np.int64]:
    """Return rows, each the farthest from those before it (Gonzalez 1985)."""
    chosen = [first]
    wide = ranks.astype(np.int32)
    nearest = np.abs(wide - wide[first]).sum(axis=1)
    while len(chosen) < min(n, ranks.shape[0]):
        farthest = int(nearest.argmax())
        if nearest[farthest] == 0:
            break  # all others are copies
        chosen.append(farthest)
        nearest = np.minimum(nearest, np.abs(wide - wide[farthest]).sum(axis=1))
    return np.array(chosen)
