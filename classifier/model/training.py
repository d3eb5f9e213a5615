"""Trains a model of whether a flow is tunnelled, and measures it on captures it has not seen.

How this works: captures, not flows, are what is split: flows of one capture share hosts, paths and
clocks, so a random split asks a model to recognise captures. Each capture is predicted by a model that
was trained without it; from those predictions come the figures. Calibration, and a second set of figures,
come from predictions that saw no run of the row's *scenario*: what software has never been seen is the
usual case elsewhere, and a model that knows it is too sure. The model itself is then trained on
everything. In training the tunnels of a capture weigh as much together as those of any other, and so do its
other flows: one capture of a proxy has hundreds of flows, one of a VPN has one.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.errors import ModelError, must_be
from classifier.model.bench import importance, learning_curve
from classifier.model.examples import (
    CIRCUMVENTION,
    LEAST_PACKETS,
    SCOPE,
    WANTED,
    Examples,
    repeated,
)
from classifier.model.figures import (
    Fit,
    Fold,
    Progress,
    baselines,
    bins,
    figures,
    left_out,
    share_of,
    together,
)
from classifier.model.learned import Model, shrunk, unasked
from classifier.model.measures import Measures, measure
from classifier.model.novelty import learn_novelty
from classifier.model.schema import FEATURE_NAMES, FEATURE_SCHEMA_VERSION
from classifier.model.trees import log_odds, trees_of
from classifier.tables import PREVALENCE

__all__ = ["CIRCUMVENTION", "Examples", "Outcome", "evaluate", "train"]

FOLDS = 5
#: Likeness to training flows that a model asks for: of the shares tried on scenarios left out, the
#: largest at which at most one in a thousand ordinary flows was called a tunnel.
SHARE_LIKE = 0.98


@dataclass(frozen=True, slots=True)
class Outcome:
    """A trained model, and what was measured on the way."""

    model: Model
    report: dict[str, Any]


def boosting(seed: int = 1) -> Any:
    """Return the estimator that is trained unless another is given."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=200,
        max_leaf_nodes=15,
        min_samples_leaf=10,
        l2_regularization=5.0,
        max_features=0.3,
        early_stopping=False,
        random_state=seed,
    )


def train(
    examples: Examples,
    *,
    estimator: Any = None,
    split: str = "grouped",
    name: str = "trained",
    seed: int = 1,
    progress: Progress | None = None,
) -> Outcome:
    """Train, calibrate and measure a model.

    Parameters
    ----------
    examples : Examples
    estimator : scikit-learn estimator, optional
        Not fitted; a kind that `trees_of` can store. Gradient boosting where left out.
    split : str
        ``grouped`` keeps each capture on one side; ``random`` does not, and is optimistic.
    name : str
    seed : int
    progress : callable, optional
        Told of each step.

    Returns
    -------
    Outcome

    Raises
    ------
    ClassifierError
        If an argument is of another type.
    ModelError
        If there are too few captures, or one class alone.

    Notes
    -----
    Families of circumvention tools are left out of training; what the model says of them is reported
    apart. Tunnels whose protocol is visible are examples too: what is inside them shows in sizes
    and bursts whatever they are called.
    """
    must_be("examples", examples, Examples, WANTED, none=False)
    must_be("seed", seed, int, "a whole number", none=False)
    must_be("name", name, str, "the model's name", none=False)
    if estimator is not None and not hasattr(estimator, "fit"):
        problem = f"the estimator is of type {type(estimator).__name__}"
        raise ModelError(
            problem, remedy="give an estimator of scikit-learn, not yet fitted, or None"
        )
    tell = progress or (lambda text: None)
    circumvention = np.isin(examples.families.astype(str), sorted(CIRCUMVENTION))
    usable = examples.in_scope | ((examples.labels == 1) & (examples.packets >= LEAST_PACKETS))
    learnt = examples.of(usable & ~circumvention)
    _check(learnt)
    base = estimator if estimator is not None else boosting(seed)
    columns = _usable_columns(learnt.features)
    known = learnt.features[:, columns]
    weights = capture_weights(learnt)

    def fit(rows: NDArray[Any] | slice) -> Any:
        return _fit(base, known[rows], learnt.labels[rows], weights[rows])

    tell("predicting each capture without it")
    folds = list(_folds(learnt, split, seed))
    seen = _predicted(fit, learnt, known, folds, seed, tell)
    tell("predicting each scenario without it")
    far_folds = _scenario_folds(learnt, split, seed)
    far = _predicted(fit, learnt, known, far_folds, seed, tell) if far_folds else seen
    slope, intercept = _calibrated(far.said, learnt.labels, weights)
    tell("training on all captures")
    novelty = learn_novelty(known, learnt.groups, share=SHARE_LIKE, seed=seed)
    features = tuple(FEATURE_NAMES[i] for i in columns)
    trees = trees_of(fit(slice(None)))
    model = Model(name, features, trees, slope, intercept, novelty, SCOPE, LEAST_PACKETS, {})
    tell("measuring")
    asked = learnt.in_scope
    report = {
        "split": split + ("" if split == "grouped" else " (optimistic)"),
        "folds": FOLDS,
        "seed": seed,
        "captures": int(np.unique(learnt.groups.astype(str)).size),
        "scenarios_left_out": bool(far_folds),
        "scenarios": int(np.unique(learnt.scenarios.astype(str)).size),
        "flows": int(learnt.labels.size),
        "tunnels": int(learnt.labels.sum()),
        "repeated_rows": repeated(learnt),
        "feature_schema_version": FEATURE_SCHEMA_VERSION,
    }
    for key, one in {"": seen, "scenario_": far}.items():
        probability = shrunk(slope * one.said + intercept, one.trust)
        report[f"{key}all_tunnels"] = figures(learnt, probability, asked | True)
        report[f"{key}in_scope"] = figures(learnt, probability, asked)
        report[f"{key}together"] = together(examples, usable & ~circumvention, probability)
        report[f"{key}reliability"] = bins(learnt, probability, asked)
        report[f"{key}silent"] = share_of(one.trust[asked] < 1, learnt.labels[asked])
    report["baselines"] = baselines(learnt, known, folds, seed, tell)
    report["left_out_families"] = left_out(fit, learnt, known, (slope, intercept), tell)
    tell("exchanging features")
    report["importance"] = importance(
        seen.models, known, learnt.labels, model.features, asked, seed
    )
    tell("learning from fewer captures")
    report["learning_curve"] = learning_curve(
        fit, known, learnt.labels, learnt.groups, asked, folds, seed
    )
    hidden = examples.of(circumvention & examples.in_scope)
    if hidden.labels.size:
        said = model.score(np.ascontiguousarray(hidden.features[:, columns]))
        report["circumvention"] = measure(hidden.labels, said, hidden.families).to_json()
    return Outcome(model, report)


def _check(examples: Examples) -> None:
    captures = np.unique(examples.groups.astype(str)).size
    both = np.unique(examples.labels).size == 2
    if captures < FOLDS or not both:
        raise ModelError(
            f"{captures} captures with {int(examples.labels.sum())} tunnels among "
            f"{examples.labels.size} flows are too few to learn from",
            remedy=f"give labelled captures of tunnels and of other traffic, {FOLDS} at least",
        )


def evaluate(model: Model, examples: Examples, *, threshold: float = 0.5) -> dict[str, Measures]:
    """Measure a model on captures that it has not seen.

    Parameters
    ----------
    model : Model
        From `train` or `load_model`.
    examples : Examples
    threshold : float
        Probability from which a flow is called a tunnel.

    Returns
    -------
    dict of str to Measures
        ``in_scope``: flows that it speaks of; ``all``: every flow, those out of scope with the
        probability of their kind; without families of circumvention tools, which are ``circumvention``.

    Raises
    ------
    ClassifierError
        If an argument is of another type.
    """
    must_be("the model", model, Model, "what load_model or train returned", none=False)
    must_be("examples", examples, Examples, WANTED, none=False)
    columns = [FEATURE_NAMES.index(name) for name in model.features]
    probability = unasked(examples.applications, model.applications)
    scope = examples.in_scope
    part = np.ascontiguousarray(examples.features[scope][:, columns])
    probability[scope] = model.score(part)
    apart = np.isin(examples.families.astype(str), sorted(CIRCUMVENTION))
    sets = {"in_scope": scope & ~apart, "all": ~apart, "circumvention": apart}
    return {
        key: measure(
            examples.labels[rows], probability[rows], examples.families[rows], threshold=threshold
        )
        for key, rows in sets.items()
    }


def _usable_columns(features: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the features that vary and do not depend on the path or on other flows.

    Times say more about a network than about what crosses it, and the other flows of a pair of
    endpoints more about a capture.
    """
    told = np.array(
        [
            not (
                "ipt" in name
                or "iat" in name
                or name.endswith("_s")
                or "rate" in name
                or name.startswith(("pair_", "gap_"))
            )
            for name in FEATURE_NAMES
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # columns without a value
        varies = np.nanmax(features, axis=0) > np.nanmin(features, axis=0)
    return np.flatnonzero(told & varies)


def capture_weights(examples: Examples) -> NDArray[np.float64]:
    """Return weights by which each capture counts alike in either class, which keep their sums."""
    weights = np.zeros(examples.labels.size)
    for label in (0, 1):
        mine = examples.labels == label
        _, place, counts = np.unique(
            examples.groups[mine].astype(str), return_inverse=True, return_counts=True
        )
        weights[mine] = mine.sum() / counts.size / counts[place.reshape(-1)]
    return weights


def _fit(
    base: Any,
    features: NDArray[np.float32],
    labels: NDArray[np.int8],
    weights: NDArray[np.float64] | None = None,
) -> Any:
    from sklearn.base import clone

    empty = np.isnan(features).all(axis=0)
    if empty.any():  # no value at all among these rows: boosting finds no bins for it
        features = np.where(empty, np.float32(0), features)
    return clone(base).fit(features, labels, sample_weight=weights)


def _scenario_folds(examples: Examples, split: str, seed: int) -> list[Fold]:
    """Return folds that keep the runs of a scenario on one side; none where that cannot be."""
    from sklearn.model_selection import StratifiedGroupKFold

    scenarios = examples.scenarios.astype(str)
    of_class = [np.unique(scenarios[examples.labels == label]).size for label in (0, 1)]
    if split != "grouped" or min(of_class) < FOLDS:
        return []
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    return list(folds.split(examples.features, examples.labels, scenarios))


def _folds(examples: Examples, split: str, seed: int) -> Iterator[Fold]:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if split == "random":
        rows = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
        yield from rows.split(examples.features, examples.labels)
    elif split == "grouped":
        captures = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
        groups = examples.groups.astype(str)
        yield from captures.split(examples.features, examples.labels, groups)
    else:
        raise ModelError(f"split {split!r}", remedy="give grouped or random")


@dataclass(frozen=True, slots=True)
class _Unseen:
    """What models say of rows that they have not seen: log-odds, trust, and the models."""

    said: NDArray[np.float64]
    trust: NDArray[np.float64]
    models: list[tuple[Any, NDArray[Any]]]


def _predicted(
    fit: Fit,
    examples: Examples,
    known: NDArray[np.float32],
    folds: list[Fold],
    seed: int,
    tell: Progress,
) -> _Unseen:
    said = np.zeros(examples.labels.size)
    trust = np.zeros(examples.labels.size)
    models = []
    for i, (rows, held) in enumerate(folds, start=1):
        tell(f"fold {i} of {FOLDS}")
        fitted = fit(rows)
        asked = np.ascontiguousarray(known[held])
        said[held] = log_odds(fitted.predict_proba(asked)[:, 1])
        novelty = learn_novelty(known[rows], examples.groups[rows], share=SHARE_LIKE, seed=seed)
        trust[held] = novelty.trust(asked)
        models.append((fitted, held))
    return _Unseen(said, trust, models)


def _calibrated(
    said: NDArray[np.float64], labels: NDArray[np.int8], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """Return slope and intercept of log-odds (Platt 1999), shifted to the reference prevalence."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=1e6).fit(said[:, None], labels, sample_weight=weights)
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    share = float(labels.mean())
    shift = np.log(PREVALENCE / (1 - PREVALENCE)) - np.log(share / (1 - share))
    return max(slope, 1e-3), float(intercept + shift)
