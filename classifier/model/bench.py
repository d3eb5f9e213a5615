"""What more captures would bring, and what a model looks at: both told by captures left out.

How this works: the folds of training are used again. For the *learning curve* each fold's model is
trained on a share of its captures, drawn without replacement, and predicts the captures left out as
before. For the *importance* of a kind of features their values are exchanged between the flows left
out, all columns of the kind together, as columns of one kind stand in for each other; what is lost is
what the fold's model took from them.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.model.measures import Measures, area, measure, plain, recall_at
from classifier.model.schema import BLOCKS
from classifier.model.trees import log_odds

__all__ = ["KINDS", "importance", "kind_of", "learning_curve", "resampled"]

#: Of the captures that a fold may learn from.
SHARES = (0.0625, 0.125, 0.25, 0.5, 1.0)
RESAMPLES = 200
REPEATS = 3

Fold = tuple[NDArray[Any], NDArray[Any]]
Fit = Callable[[NDArray[Any]], Any]

#: What a kind of features is, by the words of a card.
KINDS = {
    "flow": "totals of the flow",
    "packets": "sizes and directions of the first packets, one by one",
    "bursts": "bursts",
    "sizes": "sizes of the first packets, all together",
    "payload": "bytes of the first payloads",
    "records": "TLS records and QUIC headers",
    "hello": "the client's hello",
    "pairs": "other flows of the same endpoints",
}
_BLOCK_OF = {feature.name: block for block, some in BLOCKS.items() for feature in some}


def kind_of(name: str) -> str:
    """Return which of ``KINDS`` a feature belongs to."""
    block = _BLOCK_OF[name]
    if block != "series":
        return block
    if name.startswith("ppi_"):
        return "packets"
    return "bursts" if "burst" in name else "sizes"


def learning_curve(
    fit: Fit,
    features: NDArray[np.float32],
    labels: NDArray[np.int8],
    groups: NDArray[np.object_],
    asked: NDArray[np.bool_],
    folds: Sequence[Fold],
    seed: int,
) -> list[dict[str, Any]]:
    """Return what models of fewer captures find in the captures left out.

    Parameters
    ----------
    fit : callable
        Trains on some rows.
    features : ndarray of float32, shape (n, n_features)
    labels : ndarray of int8, shape (n,)
    groups : ndarray of object, shape (n,)
        The capture of each row.
    asked : ndarray of bool, shape (n,)
        Rows that are measured.
    folds : sequence of (ndarray, ndarray)
        Rows to learn from, and rows left out.
    seed : int
        Of the captures drawn.

    Returns
    -------
    list of dict
        For each share: mean ``captures`` and ``tunnels`` learnt from, area and recall at 1 % false
        positives with intervals over captures left out.
    """
    rng = np.random.default_rng(seed)
    names = groups.astype(str)
    points = []
    for share in SHARES:
        said = np.full(labels.size, np.nan)
        learnt = []
        for rows, held in folds:
            every = rng.permutation(np.unique(names[rows]))
            some = every[: max(1, round(share * every.size))]
            mine = rows[np.isin(names[rows], some)]
            if np.unique(labels[mine]).size < 2:
                continue
            said[held] = log_odds(fit(mine).predict_proba(features[held])[:, 1])
            learnt.append((some.size, int(labels[mine].sum())))
        told = asked & ~np.isnan(said)
        if len(learnt) < len(folds):
            continue  # too few captures to have both classes
        found = measure(labels[told], said[told])
        captures, tunnels = np.mean(learnt, axis=0)
        points.append(
            {
                "captures": round(float(captures), 1),
                "tunnels": round(float(tunnels), 1),
                "auc": plain(found.auc),
                "recall_at_1_percent": plain(found.recall_at[0.01]),
                **resampled(labels[told], said[told], names[told], seed),
            }
        )
    return points


def resampled(
    labels: NDArray[np.int8], said: NDArray[np.float64], names: NDArray[Any], seed: int
) -> dict[str, list[float] | None]:
    """Return 95 % intervals of area and recall at 1 % false positives over draws of captures.

    None where no draw has both tunnels and other flows.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(names, kind="stable")
    _, starts, counts = np.unique(names[order], return_index=True, return_counts=True)
    drawn = []
    for _ in range(RESAMPLES):
        picked = rng.integers(starts.size, size=starts.size)
        rows = np.concatenate([order[starts[i] : starts[i] + counts[i]] for i in picked])
        tunnel, some = labels[rows] == 1, said[rows]
        if tunnel.any() and not tunnel.all():
            drawn.append((area(tunnel, some), recall_at(tunnel, some, 0.01)))
    if not drawn:
        return {"auc_interval": None, "recall_interval": None}
    low, high = np.quantile(np.array(drawn), (0.025, 0.975), axis=0)
    return {
        "auc_interval": [float(low[0]), float(high[0])],
        "recall_interval": [float(low[1]), float(high[1])],
    }


def importance(
    fitted: Iterable[tuple[Any, NDArray[Any]]],
    features: NDArray[np.float32],
    labels: NDArray[np.int8],
    columns: Sequence[str],
    asked: NDArray[np.bool_],
    seed: int,
) -> list[dict[str, Any]]:
    """Return what is lost where a kind of features is exchanged between flows left out.

    Parameters
    ----------
    fitted : iterable of (estimator, ndarray)
        Each fold's model, and the rows that it has not seen.
    features : ndarray of float32, shape (n, n_features)
    labels : ndarray of int8, shape (n,)
    columns : sequence of str
        Names of the features.
    asked : ndarray of bool, shape (n,)
        Rows that are measured.
    seed : int

    Returns
    -------
    list of dict
        For each kind: ``columns``, and the mean over repeats of what area and recall at 1 % false
        positives lose, with their least and greatest; the greatest loss of area first.
    """
    models = [(model, held[asked[held]]) for model, held in fitted]
    rows = np.concatenate([held for _, held in models])

    def measured(changed: Callable[[NDArray[np.float32]], None]) -> Measures:
        parts = []
        for model, held in models:
            some = features[held]  # a copy
            changed(some)
            parts.append(log_odds(model.predict_proba(some)[:, 1]))
        return measure(labels[rows], np.concatenate(parts))

    whole = measured(lambda some: None)
    if np.isnan(whole.auc):
        return []  # nothing to tell apart
    rng = np.random.default_rng(seed)
    kinds = np.array([kind_of(name) for name in columns])
    table = []
    for kind in dict.fromkeys(kinds.tolist()):
        mine = np.flatnonzero(kinds == kind)

        def exchanged(some: NDArray[np.float32], mine: NDArray[np.int64] = mine) -> None:
            some[:, mine] = some[rng.permutation(len(some))][:, mine]

        lost = [(whole.auc - m.auc, whole.recall_at[0.01] - m.recall_at[0.01])
                for m in (measured(exchanged) for _ in range(REPEATS))]  # fmt: skip
        area, recall = np.array(lost).T
        table.append(
            {
                "kind": kind,
                "columns": int(mine.size),
                "auc_lost": float(area.mean()),
                "auc_lost_range": [float(area.min()), float(area.max())],
                "recall_lost": float(recall.mean()),
                "recall_lost_range": [float(recall.min()), float(recall.max())],
            }
        )
    return sorted(table, key=lambda row: -row["auc_lost"])
