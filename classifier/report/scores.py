"""Counts of right and wrong answers, their rates, and how far the rates can be trusted."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Counts", "Paired", "paired", "wilson"]

_Z95 = 1.959963984540054  # the 97.5 % quantile of the standard normal distribution

Interval = tuple[float, float]


def wilson(successes: int, trials: int, z: float = _Z95) -> Interval | None:
    """Return Wilson's score interval of a proportion, None without trials.

    Parameters
    ----------
    successes, trials : int
    z : float
        Quantile of the standard normal distribution; the default gives 95 %.

    References
    ----------
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22, 1927.
    """
    if not trials:
        return None
    share = successes / trials
    shrink = 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / shrink
    half = z * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2) / shrink
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == trials else min(1.0, middle + half)
    return low, high


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


@dataclass(frozen=True, slots=True)
class Counts:
    """Answers to a question of yes and no against the truth."""

    tp: int
    fp: int
    fn: int
    tn: int

    @classmethod
    def of(cls, truth: NDArray[np.bool_], called: NDArray[np.bool_]) -> "Counts":
        """Count answers; both arrays have the shape (n,)."""
        return cls(
            int((truth & called).sum()),
            int((~truth & called).sum()),
            int((truth & ~called).sum()),
            int((~truth & ~called).sum()),
        )

    @property
    def total(self) -> int:
        """How many were counted."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def precision(self) -> float | None:
        """Share of the positive answers that are right."""
        return _share(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float | None:
        """Share of the true cases that were found."""
        return _share(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall."""
        return _share(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def fpr(self) -> float | None:
        """Share of the other cases that were called positive."""
        return _share(self.fp, self.fp + self.tn)

    @property
    def f1_interval(self) -> Interval | None:
        """Wilson's interval of TP / (TP + FP + FN), which F1 grows with, carried over to F1."""
        interval = wilson(self.tp, self.tp + self.fp + self.fn)
        if interval is None:
            return None
        low, high = (2 * share / (1 + share) for share in interval)
        return low, high

    def to_json(self) -> dict[str, object]:
        """Return counts, rates and 95 % intervals; a rate without cases is None."""
        intervals = {
            "precision": wilson(self.tp, self.tp + self.fp),
            "recall": wilson(self.tp, self.tp + self.fn),
            "f1": self.f1_interval,
            "fpr": wilson(self.fp, self.fp + self.tn),
        }
        result: dict[str, object] = {"tp": self.tp, "fp": self.fp, "fn": self.fn, "tn": self.tn}
        for name, interval in intervals.items():
            result[name] = getattr(self, name)
            result[f"{name}_interval"] = None if interval is None else list(interval)
        return result


@dataclass(frozen=True, slots=True)
class Paired:
    """Two tools on the same cases: where exactly one of them is right (McNemar).

    Attributes
    ----------
    only_first, only_second : int
        Cases that the first, or the second, alone answers rightly.
    p : float
        Of a difference this large if both were equally good: exact binomial, two-sided.
    """

    only_first: int
    only_second: int
    p: float


def paired(first_right: NDArray[np.bool_], second_right: NDArray[np.bool_]) -> Paired:
    """Compare two tools on the same cases.

    Parameters
    ----------
    first_right, second_right : ndarray of bool, shape (n,)

    References
    ----------
    Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12, 1947; the exact form of the test.
    """
    b = int((first_right & ~second_right).sum())
    c = int((~first_right & second_right).sum())
    return Paired(b, c, _exact_p(b, c))


def _exact_p(b: int, c: int) -> float:
    n = b + c
    if b == c:
        return 1.0
    # in logarithms, as 2**-n leaves the floats beyond a thousand cases
    whole = math.lgamma(n + 1) - n * math.log(2)
    tail = math.fsum(
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(n - k + 1)) for k in range(min(b, c) + 1)
    )
    return min(1.0, 2 * tail)
