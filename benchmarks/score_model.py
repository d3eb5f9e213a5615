"""Scoring of the shipped model, and of ensembles of the usual size, against scikit-learn's own.

Both score the same rows on one thread; ours and theirs alternate, and the ratio is the median of the
ratios of pairs. The rows are drawn: one in ten values is missing.

    OMP_NUM_THREADS=1 python benchmarks/score_model.py [--rows N] [--runs N]
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

from classifier import _jit
from classifier.model import Model, load_model, model_names
from classifier.model.trees import Trees, trees_of

SEED, FEATURES = 1, 60


def drawn(n: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(SEED)
    rows = rng.normal(size=(n, FEATURES)).astype(np.float32)
    labels = (rows[:, :8] @ rng.normal(size=8) + rng.normal(size=n) > 0).astype(np.int8)
    rows[rng.random(rows.shape) < 0.1] = np.nan
    return rows, labels


def seconds(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def alone(score: Callable[[Any], Any], row: Any) -> float:
    """Return the microseconds that a row by itself takes: the median of some rounds."""
    score(row)
    return (
        statistics.median(seconds(lambda: [score(row) for _ in range(500)]) for _ in range(9))
        * 2000
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    rows, labels = drawn(options.rows)
    print("| ensemble | nodes | largest difference | ours, rows/s | theirs | ratio | one row |")
    print("|---|---|---|---|---|---|---|")
    estimators = {
        "random forest, 100 trees": RandomForestClassifier(100, random_state=SEED, n_jobs=1),
        "gradient boosting, 200 trees": HistGradientBoostingClassifier(
            max_iter=200, early_stopping=False, random_state=SEED
        ),
    }
    with _jit.plain(False):
        for name, estimator in estimators.items():
            fitted = estimator.fit(rows[:8000], labels[:8000])
            compare(name, fitted, trees_of(fitted), rows, options.runs)
        for name in model_names():
            shipped(load_model(name), rows)


def compare(name: str, fitted: Any, trees: Trees, rows: Any, runs: int) -> None:
    """Print the line of an ensemble beside scikit-learn's own scoring."""
    difference = np.abs(trees.score(rows) - fitted.predict_proba(rows)[:, 1]).max()
    pairs = [
        (seconds(lambda: trees.score(rows)), seconds(lambda: fitted.predict_proba(rows)))
        for _ in range(runs)
    ]
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    print(
        f"| {name} | {trees.left.size:,} | {difference:.1e} | {len(rows) / ours:,.0f} | "
        f"{len(rows) / theirs:,.0f} | {ratio:.1f} | {alone(trees.score, rows[:1]):.0f} us |"
    )


def shipped(model: Model, rows: Any) -> None:
    """Print the line of a shipped model."""
    some = np.resize(rows, (len(rows), len(model.features)))
    model.score(some)
    took = statistics.median(seconds(lambda: model.score(some)) for _ in range(5))
    print(
        f"| shipped: {model.name}, with calibration and novelty | {model.trees.left.size:,} | | "
        f"{len(rows) / took:,.0f} | | | {alone(model.score, some[:1]):.0f} us |"
    )


if __name__ == "__main__":
    main()
