"""Trains a model of whether a flow is tunnelled, and measures it on captures it has not seen.

How this works: captures, not flows, are what is split: flows of one capture share hosts, paths and
clocks, so a random split asks a model to recognise captures. Each capture is predicted by a model that
was trained without it; from those predictions come all figures and the calibration. The model
itself is then trained on everything.
"""

import warnings
from collections.abc import Callable, Iterator
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
from classifier.model.learned import Model, log_odds, shrunk, unasked
from classifier.model.measures import Measures, measure, reliability
from classifier.model.novelty import learn_novelty
from classifier.model.schema import FEATURE_NAMES, FEATURE_SCHEMA_VERSION
from classifier.model.trees import trees_of

__all__ = ["CIRCUMVENTION", "Examples", "Outcome", "evaluate", "train"]

#: Of the shares of tunnels among flows that a probability may speak of.
PREVALENCE = 0.01
N_FEATURES = 64
FOLDS = 5

Progress = Callable[[str], None]
Fold = tuple[NDArray[Any], NDArray[Any]]


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
    tell("choosing features")
    columns = _choose(learnt, seed)
    tell("predicting each capture without it")
    folds = list(_folds(learnt, split, seed))
    unseen, apart, fitted = _predicted(base, learnt, columns, folds, seed, tell)
    slope, intercept = _calibrated(unseen, learnt.labels)
    tell("training on all captures")
    known = learnt.features[:, columns]
    novelty = learn_novelty(known, learnt.groups, seed=seed)
    features = tuple(FEATURE_NAMES[i] for i in columns)
    model = Model(
        name,
        features,
        trees_of(_fit(base, known, learnt.labels)),
        slope,
        intercept,
        novelty,
        SCOPE,
        LEAST_PACKETS,
        {},
    )
    tell("measuring")
    probability = shrunk(slope * unseen + intercept, apart)
    asked = learnt.in_scope
    report = {
        "split": split + ("" if split == "grouped" else " (optimistic)"),
        "folds": FOLDS,
        "seed": seed,
        "captures": int(np.unique(learnt.groups.astype(str)).size),
        "flows": int(learnt.labels.size),
        "tunnels": int(learnt.labels.sum()),
        "repeated_rows": repeated(learnt),
        "feature_schema_version": FEATURE_SCHEMA_VERSION,
        "all_tunnels": measure(learnt.labels, probability, learnt.families).to_json(),
        "in_scope": measure(
            learnt.labels[asked], probability[asked], learnt.families[asked]
        ).to_json(),
        "reliability": reliability(learnt.labels[asked] == 1, probability[asked]).tolist(),
        "silent": _share_of(apart[asked] < 1, learnt.labels[asked]),
        "baselines": _baselines(learnt, columns, folds, seed, tell),
        "left_out_families": _left_out(base, learnt, columns, (slope, intercept), tell),
    }
    tell("exchanging features")
    report["importance"] = importance(fitted, known, learnt.labels, model.features, asked, seed)
    tell("learning from fewer captures")
    report["learning_curve"] = learning_curve(
        lambda rows: _fit(base, known[rows], learnt.labels[rows]),
        *(known, learnt.labels, learnt.groups, asked, folds, seed),
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


def _choose(examples: Examples, seed: int) -> NDArray[np.int64]:
    """Return the features that a forest uses most, of those that do not depend on the path.

    Times say more about a network than about what crosses it, and the other flows of a pair of
    endpoints more about a capture.
    """
    from sklearn.ensemble import ExtraTreesClassifier

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
    some = examples.features
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # columns without a value
        varies = np.nanmax(some, axis=0) > np.nanmin(some, axis=0)
    candidates = np.flatnonzero(told & varies)
    forest = ExtraTreesClassifier(
        200, min_samples_leaf=5, class_weight="balanced", random_state=seed
    )
    forest.fit(some[:, candidates], examples.labels)
    best = np.argsort(-forest.feature_importances_, kind="stable")[:N_FEATURES]
    return np.sort(candidates[best])


def _fit(base: Any, features: NDArray[np.float32], labels: NDArray[np.int8]) -> Any:
    from sklearn.base import clone

    return clone(base).fit(features, labels)


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


def _predicted(
    base: Any,
    examples: Examples,
    columns: NDArray[np.int64],
    folds: list[Fold],
    seed: int,
    tell: Progress,
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[tuple[Any, NDArray[Any]]]]:
    """Return what a model without each row's capture says of it, how much it trusts itself, and it."""
    said = np.zeros(examples.labels.size)
    trust = np.zeros(examples.labels.size)
    models = []
    for i, (rows, held) in enumerate(folds, start=1):
        tell(f"fold {i} of {FOLDS}")
        known = examples.features[rows][:, columns]
        fitted = _fit(base, known, examples.labels[rows])
        asked = np.ascontiguousarray(examples.features[held][:, columns])
        said[held] = log_odds(fitted.predict_proba(asked)[:, 1])
        trust[held] = learn_novelty(known, examples.groups[rows], seed=seed).trust(asked)
        models.append((fitted, held))
    return said, trust, models


def _share_of(what: NDArray[np.bool_], labels: NDArray[np.int8]) -> dict[str, float]:
    """Return the share of tunnels and of other flows that it holds for."""
    return {
        "tunnels": float(what[labels == 1].mean()) if (labels == 1).any() else 0.0,
        "ordinary": float(what[labels == 0].mean()) if (labels == 0).any() else 0.0,
    }


def _calibrated(said: NDArray[np.float64], labels: NDArray[np.int8]) -> tuple[float, float]:
    """Return slope and intercept of log-odds (Platt 1999), shifted to the reference prevalence."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=1e6).fit(said[:, None], labels)
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    share = float(labels.mean())
    shift = np.log(PREVALENCE / (1 - PREVALENCE)) - np.log(share / (1 - share))
    return max(slope, 1e-3), float(intercept + shift)


def _shifted(said: NDArray[np.float64], slope: float, intercept: float) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-(slope * said + intercept))))


def _baselines(
    examples: Examples, columns: NDArray[np.int64], folds: list[Fold], seed: int, tell: Progress
) -> dict[str, Any]:
    """Return the figures of simpler models on the same folds."""
    from sklearn.dummy import DummyClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    simple = {
        "majority": DummyClassifier(strategy="prior"),
        "nearest neighbour": make_pipeline(
            SimpleImputer(strategy="constant", fill_value=-1.0),
            StandardScaler(),
            KNeighborsClassifier(1),
        ),
        "single tree": DecisionTreeClassifier(min_samples_leaf=5, random_state=seed),
    }
    figures = {}
    for name, estimator in simple.items():
        tell(f"baseline: {name}")
        said = np.zeros(examples.labels.size)
        for rows, held in folds:
            fitted = _fit(estimator, examples.features[rows][:, columns], examples.labels[rows])
            said[held] = fitted.predict_proba(examples.features[held][:, columns])[:, 1]
        asked = examples.in_scope
        figures[name] = measure(examples.labels[asked], said[asked]).to_json()
    return figures


def _left_out(
    base: Any,
    examples: Examples,
    columns: NDArray[np.int64],
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
        fitted = _fit(base, examples.features[~held][:, columns], examples.labels[~held])
        said = fitted.predict_proba(examples.features[held][:, columns])[:, 1]
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
