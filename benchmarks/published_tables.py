"""The tables of Draper-Gil et al. 2016 again, and what other splits make of them.

G. Draper-Gil, A. H. Lashkari, M. S. I. Mamun, A. A. Ghorbani, "Characterization of Encrypted and VPN
Traffic Using Time-Related Features", ICISSP 2016: 23 features of times, four flow timeouts, three
scenarios, C4.5 and k nearest neighbours in ten random folds. Beside them here: gradient boosting, the
kind of model that this project ships, and two splits that are less kind:

random      ten stratified folds, rows shuffled, as in the paper
grouped     the same, but identical rows stay on one side
contiguous  ten folds of neighbouring rows of each class, in the order of the file: rows of one recording
            stand together, so most of a recording is on one side. Captures are not named in the files,
            so this is the nearest to a split by capture that they allow.

    python benchmarks/published_tables.py FOLDER_OF_THE_ARFF_FILES [--scenario A1 ...] [--timeout 15 ...]

C4.5 here is scikit-learn's tree with entropy and two rows at least in a leaf (J48's default), which does
not prune; the neighbour is one, at distances of features scaled to 0 to 1 (IBk's defaults). Both as
one can have them today, not Weka's own.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import f1_score, precision_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.tree import DecisionTreeClassifier

from classifier import datasets

FOLDS = 10
SEED = 2016
SCENARIOS = {"A1": ("A1", "all"), "A2 VPN": ("A2", "vpn"), "A2 plain": ("A2", "no-vpn")}
SCENARIOS |= {"B": ("B", "all")}
TIMEOUTS = (15, 30, 60, 120)

MODELS: dict[str, Callable[[], Any]] = {
    "C4.5-like tree": lambda: DecisionTreeClassifier(
        criterion="entropy", min_samples_leaf=2, random_state=SEED
    ),
    "1-NN": lambda: make_pipeline(MinMaxScaler(), KNeighborsClassifier(1)),
    "gradient boosting": lambda: HistGradientBoostingClassifier(random_state=SEED),
}
#: Of two classes alone: a round grows as many trees as there are classes, where there are more.
TWO_CLASSES: dict[str, Callable[[], Any]] = {
    "the same, 300 rounds": lambda: HistGradientBoostingClassifier(
        max_iter=300, early_stopping=False, random_state=SEED
    )
}

Fold = tuple[NDArray[np.intp], NDArray[np.intp]]


def contiguous(labels: NDArray[Any]) -> Iterator[Fold]:
    """Yield folds that are stretches of each class, in the order of the rows."""
    fold = np.empty(labels.size, np.int64)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        fold[rows] = np.arange(rows.size) * FOLDS // rows.size
    for i in range(FOLDS):
        yield np.flatnonzero(fold != i), np.flatnonzero(fold == i)


def splits(labels: NDArray[Any], groups: NDArray[Any]) -> dict[str, list[Fold]]:
    rows = np.zeros((labels.size, 1))
    shuffled = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(rows, labels)
    together = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SEED)
    return {
        "random": list(shuffled),
        "grouped": list(together.split(rows, labels, groups)),
        "contiguous": list(contiguous(labels)),
    }


def measure(data: datasets.Dataset, scenario: str, timeout_s: int) -> Iterator[dict[str, Any]]:
    features = data.features.to_numpy(np.float64)
    labels = data.labels.to_numpy(str)
    groups = data.groups.to_numpy()
    repeated = 1 - np.unique(groups).size / groups.size
    models = MODELS | (TWO_CLASSES if np.unique(labels).size == 2 else {})
    for split, folds in splits(labels, groups).items():
        for name, make in models.items():
            began = time.perf_counter()
            said = np.empty_like(labels)
            for train, test in folds:
                said[test] = make().fit(features[train], labels[train]).predict(features[test])
            per_class = precision_score(labels, said, average=None, zero_division=0.0)
            yield {
                "scenario": scenario,
                "timeout_s": timeout_s,
                "rows": labels.size,
                "repeated": repeated,
                "split": split,
                "model": name,
                "accuracy": float((said == labels).mean()),
                "macro F1": float(f1_score(labels, said, average="macro")),
                "least precision": float(per_class.min()),
                "seconds": time.perf_counter() - began,
            }


def table(rows: pd.DataFrame) -> str:
    """Return accuracy (and macro F1) of each model under each split, a line for each set."""
    order = ["random", "grouped", "contiguous"]
    lines = ["| scenario | timeout | rows (repeated) | model | " + " | ".join(order) + " | drop |"]
    lines.append("|---|---|---|---|" + "---|" * (len(order) + 1))
    keys = ["scenario", "timeout_s", "model"]
    for (scenario, timeout_s, model), group in rows.groupby(keys, sort=False):
        by_split = group.set_index("split")
        cells = [
            f"{by_split.loc[s, 'accuracy']:.3f} ({by_split.loc[s, 'macro F1']:.3f})" for s in order
        ]
        drop = by_split.loc["random", "accuracy"] - by_split.loc["contiguous", "accuracy"]
        size = f"{group['rows'].iloc[0]:,} ({group['repeated'].iloc[0]:.1%})"
        lines.append(
            f"| {scenario} | {timeout_s} s | {size} | {model} | {' | '.join(cells)} | {drop:.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", help="folder of ISCXVPN2016's ARFF files")
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--timeout", nargs="+", type=int, choices=TIMEOUTS, default=list(TIMEOUTS))
    options = parser.parse_args()
    rows = []
    for name in options.scenario:
        for timeout_s in options.timeout:
            scenario, side = SCENARIOS[name]
            data = datasets.load(
                "iscxvpn2016", options.folder, scenario=scenario, timeout_s=timeout_s, side=side
            )
            for row in measure(data, name, timeout_s):
                rows.append(row)
                print(
                    f"{name} {timeout_s} s {row['split']} {row['model']}: {row['accuracy']:.3f}, "
                    f"{row['seconds']:.0f} s",
                    file=sys.stderr,
                )
    print("Accuracy, in brackets macro F1; the drop is that of accuracy, random to contiguous.\n")
    print(table(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
