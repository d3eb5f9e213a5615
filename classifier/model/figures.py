"""The figures of a report: of the model, beside simpler ones, together with detectors, by family."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.model.examples import CIRCUMVENTION, SCOPE, Examples
from classifier.model.learned import unasked
from classifier.model.measures import measure, reliability, threshold_at
from classifier.model.trees import log_odds

__all__ = ["baselines", "bins", "figures", "left_out", "share_of", "together"]

#: Probability by detectors from which they are sure: strong evidence.
SURE = 0.5

Fold = tuple[NDArray[Any], NDArray[Any]]
Fit = Callable[[NDArray[Any]], Any]
Progress = Callable[[str], None]


def figures(
    examples: Examples, probability: NDArray[np.float64], rows: NDArray[np.bool_]
) -> dict[str, Any]:
    """Return the figures of some rows."""
    return measure(examples.labels[rows], probability[rows], examples.families[rows]).to_json()


def bins(
    examples: Examples, probability: NDArray[np.float64], rows: NDArray[np.bool_]
) -> list[list[float]]:
    """Return mean probability, share of tunnels and count of each bin of probabilities."""
    bins: list[list[float]] = reliability(examples.labels[rows] == 1, probability[rows]).tolist()
    return bins


def together(
    examples: Examples, learnt: NDArray[np.bool_], probability: NDArray[np.float64]
) -> dict[str, Any]:
    """Return the figures of detectors and model together, over all flows.

    Hidden are tunnels that no detector is sure of; circumvention tools are left out.
    """
    said = unasked(examples.applications, SCOPE)
    asked = examples.in_scope & learnt
    said[asked] = probability[asked[learnt]]
    said = np.maximum(said, examples.by_detectors)
    rows = ~np.isin(examples.families.astype(str), sorted(CIRCUMVENTION))
    sure = examples.by_detectors[rows] >= SURE
    tunnel = examples.labels[rows] == 1
    some = tunnel & ~sure
    hidden = measure(
        examples.labels[rows][some | ~tunnel],
        said[rows][some | ~tunnel],
        examples.families[rows][some | ~tunnel],
    )
    whole = measure(examples.labels[rows], said[rows], examples.families[rows])
    ordinary, names = said[rows][~tunnel], examples.groups[rows][some].astype(str)
    _, place, counts = np.unique(names, return_inverse=True, return_counts=True)
    by_capture = {}
    for rate in (0.01, 0.001):
        above = said[rows][some] > threshold_at(ordinary, rate) if some.any() else np.zeros(0)
        shares = np.bincount(place.reshape(-1), above, counts.size) / counts
        by_capture[f"{rate:g}"] = float(shares.mean()) if counts.size else None
    return {
        "all": whole.to_json(),
        "hidden": hidden.to_json(),
        "hidden_captures": int(counts.size),
        "hidden_by_capture": by_capture,
    }


def share_of(what: NDArray[np.bool_], labels: NDArray[np.int8]) -> dict[str, float]:
    """Return the share of tunnels and of other flows that it holds for."""
    return {
        "tunnels": float(what[labels == 1].mean()) if (labels == 1).any() else 0.0,
        "ordinary": float(what[labels == 0].mean()) if (labels == 0).any() else 0.0,
    }


def baselines(
    examples: Examples, known: NDArray[np.float32], folds: list[Fold], seed: int, tell: Progress
) -> dict[str, Any]:
    """Return the figures of simpler models on the same folds."""
    from sklearn.base import clone
    from sklearn.dummy import DummyClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    simple = {
        "majority": DummyClassifier(strategy="prior"),
        "nearest neighbour": make_pipeline(
            SimpleImputer(strategy="constant", fill_value=-1.0, keep_empty_features=True),
            StandardScaler(),
            KNeighborsClassifier(1),
        ),
        "single tree": DecisionTreeClassifier(min_samples_leaf=5, random_state=seed),
    }
    table = {}
    for name, estimator in simple.items():
        tell(f"baseline: {name}")
        said = np.zeros(examples.labels.size)
        for rows, held in folds:
            fitted = clone(estimator).fit(known[rows], examples.labels[rows])
            said[held] = fitted.predict_proba(known[held])[:, 1]
        asked = examples.in_scope
        table[name] = measure(examples.labels[asked], said[asked]).to_json()
    return table


def _shifted(said: NDArray[np.float64], slope: float, intercept: float) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-(slope * said + intercept))))


def left_out(
    fit: Fit,
    examples: Examples,
    known: NDArray[np.float32],
    calibration: tuple[float, float],
    tell: Progress,
) -> dict[str, Any]:
    """Return how many flows of each family a model finds that never saw the family.

    The thresholds are those that one in a hundred and one in a thousand ordinary flows of captures that
    this model has not seen either exceed.
    """
    table = {}
    tunnels = examples.labels == 1
    captures = examples.groups.astype(str)
    for family in np.unique(examples.families[tunnels].astype(str)):
        tell(f"without {family}")
        mine = tunnels & (examples.families == family)
        held = np.isin(captures, np.unique(captures[mine]))
        if not (tunnels & ~held).any() or not (~tunnels & held).any():
            continue
        # other captures, and of none of them a flow of this family
        said = fit(~held).predict_proba(known[held])[:, 1]
        found = measure(
            np.where(mine[held], 1, 0).astype(np.int8)[mine[held] | ~tunnels[held]],
            _shifted(log_odds(said), *calibration)[mine[held] | ~tunnels[held]],
        )
        table[str(family)] = {
            "flows": int(mine.sum()),
            "found": found.found,
            "found_at_false_rate": {f"{k:g}": v for k, v in found.recall_at.items()},
        }
    return table
