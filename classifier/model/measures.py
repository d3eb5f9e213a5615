"""How good probabilities are: ranking, calibration, and what is left of them at lower base rates."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BASE_RATES",
    "Measures",
    "area",
    "calibration_error",
    "interval",
    "measure",
    "plain",
    "recall_at",
    "reliability",
    "restated_precision",
    "threshold_at",
]

BASE_RATES = (0.1, 0.01, 0.001, 0.0001)
_Z = 1.959964  # two-sided 95 %


@dataclass(frozen=True, slots=True)
class Measures:
    """Figures of one set of flows; rates are NaN where there is nothing to divide by."""

    flows: int
    tunnels: int
    auc: float
    found: int  # tunnels at or above the threshold
    false: int  # ordinary flows there
    recall_at: dict[float, float]  # by false-positive rate
    calibration_error: float
    brier: float
    families: dict[str, tuple[int, int]]  # flows, found

    @property
    def recall(self) -> float:
        """Share of tunnels found."""
        return self.found / self.tunnels if self.tunnels else math.nan

    @property
    def false_rate(self) -> float:
        """Share of ordinary flows called a tunnel."""
        ordinary = self.flows - self.tunnels
        return self.false / ordinary if ordinary else math.nan

    def to_json(self) -> dict[str, Any]:
        """Return plain values, NaN as None, with Wilson's 95 % intervals and restated precision."""
        ordinary = self.flows - self.tunnels
        return {
            "flows": self.flows,
            "tunnels": self.tunnels,
            "auc": plain(self.auc),
            "found": self.found,
            "recall": plain(self.recall),
            "recall_interval": interval(self.found, self.tunnels),
            "false": self.false,
            "false_rate": plain(self.false_rate),
            "false_rate_interval": interval(self.false, ordinary),
            "recall_at_false_rate": {f"{k:g}": plain(v) for k, v in self.recall_at.items()},
            "calibration_error": plain(self.calibration_error),
            "brier": plain(self.brier),
            "precision_at_base_rate": {
                f"{rate:g}": plain(restated_precision(self.recall, self.false_rate, rate))
                for rate in BASE_RATES
            },
            "families": {
                name: {"flows": n, "found": found, "interval": interval(found, n)}
                for name, (n, found) in sorted(self.families.items())
            },
        }


def measure(
    labels: NDArray[np.int8],
    probability: NDArray[np.float64],
    families: NDArray[np.object_] | None = None,
    *,
    threshold: float = 0.5,
) -> Measures:
    """Return the figures of probabilities against labels.

    Parameters
    ----------
    labels : ndarray of int8, shape (n,)
        1 is a tunnel.
    probability : ndarray of float64, shape (n,)
    families : ndarray of object (str), shape (n,), optional
        Of the tunnels.
    threshold : float
    """
    tunnel = labels == 1
    said = probability >= threshold
    per_family = {}
    if families is not None:
        for name in np.unique(families[tunnel].astype(str)):
            mine = tunnel & (families == name)
            per_family[str(name)] = (int(mine.sum()), int((mine & said).sum()))
    return Measures(
        flows=labels.size,
        tunnels=int(tunnel.sum()),
        auc=area(tunnel, probability),
        found=int((tunnel & said).sum()),
        false=int((~tunnel & said).sum()),
        recall_at={rate: recall_at(tunnel, probability, rate) for rate in (0.01, 0.001)},
        calibration_error=calibration_error(tunnel, probability),
        brier=float(((probability - tunnel) ** 2).mean()) if labels.size else math.nan,
        families=per_family,
    )


def area(tunnel: NDArray[np.bool_], probability: NDArray[np.float64]) -> float:
    """Return the area under the ROC curve by ranks; ties count half."""
    n, m = int(tunnel.sum()), int((~tunnel).sum())
    if not n or not m:
        return math.nan
    _, place, counts = np.unique(probability, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return float((ranks[place.reshape(-1)][tunnel].sum() - n * (n + 1) / 2) / (n * m))


def recall_at(
    tunnel: NDArray[np.bool_], probability: NDArray[np.float64], false_rate: float
) -> float:
    """Return the share of tunnels above the threshold that this share of ordinary flows reaches.

    Ties with the threshold are not found: the rate is never exceeded.
    """
    ordinary = probability[~tunnel]
    if not ordinary.size or not tunnel.any():
        return math.nan
    return float((probability[tunnel] > threshold_at(ordinary, false_rate)).mean())


def threshold_at(ordinary: NDArray[np.float64], false_rate: float) -> float:
    """Return what no more than this share of ordinary flows exceeds."""
    ordered = np.sort(ordinary)
    return float(ordered[ordered.size - int(false_rate * ordered.size) - 1])


def reliability(
    tunnel: NDArray[np.bool_], probability: NDArray[np.float64], bins: int = 15
) -> NDArray[np.float64]:
    """Return mean probability, share of tunnels and count of each bin of equal width.

    Returns
    -------
    ndarray of float64, shape (n_bins, 3)
        Bins without flows left out.
    """
    place = np.minimum((probability * bins).astype(int), bins - 1)
    rows = [
        (probability[place == i].mean(), tunnel[place == i].mean(), (place == i).sum())
        for i in np.unique(place)
    ]
    return np.array(rows, np.float64).reshape(-1, 3)


def calibration_error(
    tunnel: NDArray[np.bool_], probability: NDArray[np.float64], bins: int = 15
) -> float:
    """Return the expected calibration error over bins of equal width (Guo et al. 2017)."""
    if not tunnel.size:
        return math.nan
    said, true, counts = reliability(tunnel, probability, bins).T
    return float((np.abs(said - true) * counts).sum() / tunnel.size)


def restated_precision(recall: float, false_rate: float, base_rate: float) -> float:
    """Return the precision where this share of flows are tunnels."""
    hits = recall * base_rate
    every = hits + false_rate * (1 - base_rate)
    return hits / every if every > 0 else math.nan


def interval(k: int, n: int) -> list[float] | None:
    """Return Wilson's 95 % interval of a share, None where there is nothing to divide by."""
    if not n:
        return None
    share, z2 = k / n, _Z * _Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return [max(middle - half, 0.0), min(middle + half, 1.0)]


def plain(value: float) -> float | None:
    """Return a value as JSON has it: None for not a number."""
    return None if math.isnan(value) else value
