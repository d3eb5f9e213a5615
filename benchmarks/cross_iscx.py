"""Does a model of the ISCXVPN2016 table know a VPN in other captures, and the other way round?

The table's 23 time features are computed for windows of labelled captures (``classifier.model.iscx_features``),
so that a model of one can be asked about the other. Beside it each set by itself: the table in random
folds, as is usual, and the captures in folds that keep a capture on one side.

    python benchmarks/cross_iscx.py FOLDER_OF_THE_ARFF_FILES FOLDER_OF_RUNS [--timeout 15 ...]

FOLDER_OF_RUNS holds what ``classifier lab make --out`` wrote. Prints the area under the ROC curve and
the balanced accuracy (the mean of the rates on either side; 0.5 is chance), as shares of VPN differ.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.tree import DecisionTreeClassifier

import classifier
from classifier import datasets
from classifier.model import ISCX_FEATURES, ISCX_WINDOWS_S, iscx_features

SEED = 2016
FOLDS = 5
MODELS: dict[str, Any] = {
    "C4.5-like tree": DecisionTreeClassifier(
        criterion="entropy", min_samples_leaf=2, class_weight="balanced", random_state=SEED
    ),
    "gradient boosting": HistGradientBoostingClassifier(class_weight="balanced", random_state=SEED),
}
Set = tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[Any]]


def of_table(folder: Path, timeout_s: int) -> Set:
    """Return features, truth and groups of identical rows of scenario A1."""
    data = datasets.load("iscxvpn2016", folder, scenario="A1", timeout_s=timeout_s)
    truth = data.labels.to_numpy(str) == "VPN"
    return data.features.to_numpy(np.float64), truth, np.arange(truth.size)


def of_runs(folder: Path, timeout_s: int) -> Set:
    """Return the same of windows of labelled flows; the groups are captures."""
    parts = []
    for path in sorted(folder.glob("*/*.pcap*")):
        run = classifier.classify(
            path, labels=path.parent / "labels.csv", model=None, detectors=[], progress=False
        )
        table = run.table
        truth = pd.Series(
            table.column("label_is_vpn").to_pylist(), table.column("flow_id").to_pylist()
        )
        rows = iscx_features(path, timeout_s)
        rows["truth"], rows["group"] = rows["flow_id"].map(truth), path.name
        parts.append(rows[rows["truth"].notna()])
    every = pd.concat(parts, ignore_index=True)
    names = [feature.name for feature in ISCX_FEATURES]
    return every[names].to_numpy(), every["truth"].to_numpy(bool), every["group"].to_numpy()


def scores(truth: NDArray[np.bool_], said: NDArray[np.float64]) -> tuple[float, float]:
    return roc_auc_score(truth, said), balanced_accuracy_score(truth, said >= 0.5)


def inside(model: Any, data: Set) -> tuple[float, float]:
    """Return the scores on held-out folds of the same set."""
    x, truth, groups = data
    said = np.empty(truth.size)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SEED)
    for train, test in folds.split(x, truth, groups):
        said[test] = clone(model).fit(x[train], truth[train]).predict_proba(x[test])[:, 1]
    return scores(truth, said)


def across(model: Any, train: Set, test: Set) -> tuple[float, float]:
    said = clone(model).fit(train[0], train[1]).predict_proba(test[0])[:, 1]
    return scores(test[1], said)


def shown(pair: tuple[float, float]) -> str:
    return f"{pair[0]:.3f} ({pair[1]:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--timeout", nargs="+", type=int, default=list(ISCX_WINDOWS_S))
    options = parser.parse_args()
    print(
        "| window | model | table, random folds | table to captures | captures, held out | captures to table |"
    )
    print("|---|---|---|---|---|---|")
    sizes = []
    for timeout_s in options.timeout:
        table, runs = of_table(options.table, timeout_s), of_runs(options.runs, timeout_s)
        for name, model in MODELS.items():
            cells = (inside(model, table), across(model, table, runs))
            cells += (inside(model, runs), across(model, runs, table))
            print(f"| {timeout_s} s | {name} | {' | '.join(map(shown, cells))} |", flush=True)
        counts = [f"{data[1].size:,} rows, {data[1].mean():.1%} VPN" for data in (table, runs)]
        sizes.append(f"{timeout_s} s: table {counts[0]}; captures {counts[1]}")
    print("\n" + "\n".join(sizes))


if __name__ == "__main__":
    main()
