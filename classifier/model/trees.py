"""Trees of a fitted ensemble as plain arrays: made from scikit-learn's, checked, scored in a kernel.

How this works: nodes of all trees stand in one array, in the order in which a breadth-first walk
meets them, so that a right child follows its left one, and children follow their parents. A leaf is
its own left child. A node asks one thing, whether a column is above its threshold, which is false of
NaN, so the missing go left. Where scikit-learn sends them right, the node asks the same of the
negated column with its children exchanged: the matrix that is scored holds every column twice, once
negated. Thresholds are float32, as features are: ``x <= t`` holds for the same float32 as with the
greatest float32 that is not above ``t``.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier._jit import spend
from classifier.errors import ModelError
from classifier.model._tree_kernels import LEAVES, WIDTH, add_leaves, add_small_trees

__all__ = ["Trees", "log_odds", "trees_of"]

#: What a file may hold: a limit for hostile ones, far above any model that is of use.
MOST_NODES, MOST_DEPTH, MOST_FEATURES = 5_000_000, 500, 100_000
#: Rows from which on trees that are small are asked question by question.
_MANY = 2 * WIDTH
#: Rows whose columns are turned at a time, so that they stay in the cache.
_TURNED = 1024
#: Trees that take a row as long as reading a packet, in plain Python.
_TREES = 10
#: How sure a model may be: log-odds of one in a million.
_SURE = 1e-6
_SUREST = math.log((1 - _SURE) / _SURE)


def log_odds(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log(p / (1 - p)), within +-14."""
    inside = np.minimum(np.maximum(probability, _SURE), 1 - _SURE)  # np.clip calls more
    return np.asarray(np.log(inside / (1 - inside)))


@dataclass(frozen=True, slots=True)
class Trees:
    """An ensemble for two classes.

    Attributes
    ----------
    threshold : ndarray of float32, shape (n_nodes,)
    left, column : ndarray of int32, shape (n_nodes,)
    values : ndarray of float64, shape (n_nodes,)
    roots : ndarray of int32, shape (n_trees,)
    n_features : int
        Columns of the matrix that it scores.
    base : float
        Added to the sum of the leaves.
    logistic : bool
        Whether the sum is a log-odds (boosting) or a probability (a forest, whose leaves are divided by
        the number of trees).
    """

    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    column: NDArray[np.int32]
    values: NDArray[np.float64]
    roots: NDArray[np.int32]
    n_features: int
    base: float
    logistic: bool
    depths: NDArray[np.int32] = field(init=False, repr=False)
    _questions: "list[_Questions]" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what a kernel must not read."""
        n, left = self.left.size, self.left.astype(np.int64)
        at = np.arange(n)
        leaf = left == at
        kinds = {"threshold": "f4", "left": "i4", "column": "i4", "values": "f8", "roots": "i4"}
        sound = (
            all(getattr(self, name).dtype == kind for name, kind in kinds.items())
            and all(getattr(self, name).shape == (n,) for name in list(kinds)[:-1])
            and 0 < n <= MOST_NODES
            and self.roots.ndim == 1
            and 0 < self.roots.size <= n
            and 0 < self.n_features <= MOST_FEATURES
            and bool(np.isfinite(self.base))
            and bool(np.isfinite(self.values).all())
            and bool(((self.column >= 0) & (self.column < 2 * self.n_features)).all())
            and bool((np.isposinf(self.threshold) == leaf).all())
            # Children behind their parents: every way down ends
            and bool(((left > at) & (left < n - 1))[~leaf].all())
            and bool(((self.roots >= 0) & (self.roots < n)).all())
        )
        if not sound:
            raise ModelError("its trees are not sound", remedy="train the model again")
        object.__setattr__(self, "depths", self._depths(left))
        object.__setattr__(self, "_questions", [])

    def _depths(self, left: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the steps from each root to its deepest leaf."""
        depths = np.zeros(self.roots.size, np.int32)
        trees = np.arange(self.roots.size)
        nodes = self.roots.astype(np.int64)
        for depth in range(MOST_DEPTH):
            inner = left[nodes] != nodes
            trees, nodes = trees[inner], left[nodes[inner]]
            if not trees.size:
                return depths
            depths[trees] = depth + 1
            trees, nodes = np.tile(trees, 2), np.concatenate([nodes, nodes + 1])
            if nodes.size > MOST_NODES:
                break
        raise ModelError("its trees are too deep", remedy="train the model with less depth")

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the probability of the second class.

        Parameters
        ----------
        features : ndarray of float32, shape (n_rows, n_features)
            NaN where missing.

        Returns
        -------
        ndarray of float64, shape (n_rows,)
        """
        sums = self._added(features)
        if self.logistic:
            with np.errstate(over="ignore"):
                return np.asarray(1 / (1 + np.exp(-sums)))
        return sums

    def log_odds(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the log-odds of what ``score`` returns, within +-14, shape (n_rows,)."""
        sums = self._added(features)
        return np.minimum(np.maximum(sums, -_SUREST), _SUREST) if self.logistic else log_odds(sums)

    def _added(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the base and the leaves that each row comes to, added up."""
        features = np.ascontiguousarray(features, np.float32)
        if features.ndim != 2 or features.shape[1] != self.n_features:
            raise ModelError(
                f"{features.shape} features, not {self.n_features} columns",
                remedy="give the columns that the model names",
            )
        spend(features.shape[0] * self.roots.size // _TREES)
        questions = self._asked() if features.shape[0] >= _MANY else None
        if questions is not None:
            sums = self._sums(features, questions)
        else:
            sums = np.full(features.shape[0], self.base)
            twice = np.concatenate([features, -features], axis=1)
            columns = self.threshold, self.left, self.column, self.values
            add_leaves(twice.reshape(-1), twice.shape[1], *columns, self.roots, self.depths, sums)
        return sums

    def _asked(self) -> "_Questions | None":
        """Return the questions of the trees, None where one has too many leaves."""
        if not self._questions:
            if int((self.left == np.arange(self.left.size)).sum()) > self.roots.size * LEAVES:
                return None
            made = _questions_of(self)
            if made is None:
                return None
            self._questions.append(made)
        return self._questions[0]

    def _sums(self, features: NDArray[np.float32], questions: "_Questions") -> NDArray[np.float64]:
        """Return base and leaves of rows, some at a time with their columns one after another."""
        sums = np.full(-(-features.shape[0] // WIDTH) * WIDTH, self.base)
        n = self.n_features
        for begin in range(0, features.shape[0], _TURNED):
            part = features[begin : begin + _TURNED]
            out = sums[begin : begin + _TURNED]
            turned = np.zeros((2 * n, out.size), np.float32)
            turned[:n, : len(part)] = part.T
            np.negative(turned[:n], out=turned[n:])
            add_small_trees(turned, *questions, out)
        return sums[: features.shape[0]]


class _Questions(NamedTuple):
    """What `add_small_trees` reads, in its order."""

    threshold: NDArray[np.float32]
    column: NDArray[np.int32]
    keeps: NDArray[np.uint32]
    starts: NDArray[np.int32]
    values: NDArray[np.float64]


def _questions_of(trees: Trees) -> _Questions | None:
    """Return the questions of trees, None where one has more than 32 leaves."""
    asked: list[int] = []
    keeps: list[int] = []
    starts = [0]
    values = np.zeros(trees.roots.size * LEAVES)
    left = trees.left.tolist()
    every = (1 << LEAVES) - 1
    for tree, root in enumerate(trees.roots.tolist()):
        leaves = 0
        todo: list[tuple[int, int]] = [(root, -1)]  # node; or what was asked, and its first leaf
        while todo:
            node, first = todo.pop()
            if first >= 0:  # all leaves to the left of this question are numbered
                asked.append(node)
                keeps.append(every & ~(((1 << leaves) - 1) ^ ((1 << first) - 1)))
            elif left[node] == node:
                if leaves == LEAVES:
                    return None
                values[tree * LEAVES + (leaves + LEAVES - 1) % LEAVES] = trees.values[node]
                leaves += 1
            else:
                todo += [(left[node] + 1, -1), (node, leaves), (left[node], -1)]
        starts.append(len(asked))
    return _Questions(
        trees.threshold[asked],
        trees.column[asked],
        np.array(keeps, np.uint32),
        np.array(starts, np.int32),
        values,
    )


def trees_of(estimator: Any) -> Trees:
    """Return the trees of a fitted ensemble of scikit-learn for two classes.

    Parameters
    ----------
    estimator : RandomForestClassifier, ExtraTreesClassifier, DecisionTreeClassifier or \
HistGradientBoostingClassifier

    Raises
    ------
    ModelError
        If it is none of these, not fitted, or not for two classes.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.tree import DecisionTreeClassifier

    if len(getattr(estimator, "classes_", ())) != 2:
        raise ModelError(
            "not a fitted estimator for two classes", remedy="fit it on labels 0 and 1"
        )
    if isinstance(estimator, HistGradientBoostingClassifier):
        grown = [tree[0].nodes for tree in estimator._predictors]
        if any(nodes["is_categorical"].any() for nodes in grown):
            raise ModelError("trees with categories", remedy="train on numbers alone")
        base = float(np.ravel(estimator._baseline_prediction)[0])
        return _assembled([_boosted(nodes) for nodes in grown], estimator, base, logistic=True)
    if isinstance(estimator, DecisionTreeClassifier):
        members = [estimator]
    elif hasattr(estimator, "estimators_") and isinstance(
        estimator.estimators_[0], DecisionTreeClassifier
    ):
        members = list(estimator.estimators_)
    else:
        raise ModelError(
            f"{type(estimator).__name__} has no trees that can be stored",
            remedy="use a random forest, extra trees or histogram gradient boosting",
        )
    grown = [_forest_tree(tree.tree_, len(members)) for tree in members]
    return _assembled(grown, estimator, 0.0, logistic=False)


_Columns = dict[str, NDArray[Any]]


def _boosted(nodes: NDArray[np.void]) -> _Columns:
    leaf = nodes["is_leaf"].astype(bool)
    return {
        "leaf": leaf,
        "left": nodes["left"].astype(np.int64),
        "right": nodes["right"].astype(np.int64),
        "feature": nodes["feature_idx"],
        "threshold": nodes["num_threshold"],
        "missing_left": nodes["missing_go_to_left"],
        "value": nodes["value"],
    }


def _forest_tree(tree: Any, members: int) -> _Columns:
    share = tree.value[:, 0, :]
    return {
        "leaf": tree.children_left < 0,
        "left": tree.children_left,
        "right": tree.children_right,
        "feature": tree.feature,
        "threshold": tree.threshold,
        "missing_left": tree.missing_go_to_left,
        "value": share[:, 1] / share.sum(axis=1) / members,
    }


def _floor32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the greatest float32 that is not above each value."""
    near = values.astype(np.float32)
    return np.where(near > values, np.nextafter(near, np.float32(-np.inf)), near)


def _assembled(grown: list[_Columns], estimator: Any, base: float, *, logistic: bool) -> Trees:
    parts: dict[str, list[NDArray[Any]]] = {}
    roots, begin, n_features = [], 0, int(estimator.n_features_in_)
    for columns in grown:
        leaf = columns["leaf"]
        right = ~leaf & (columns["missing_left"] == 0)  # where the missing go
        order, left = _breadth_first(columns, right)
        threshold = _floor32(np.asarray(columns["threshold"], np.float64))
        # x <= t is x < the next float32 above t, and so -x > its negative
        negated = -np.nextafter(threshold, np.float32(np.inf))
        threshold = np.where(leaf, np.float32(np.inf), np.where(right, negated, threshold))
        column = np.where(leaf, 0, columns["feature"] + np.where(right, n_features, 0))
        tree: dict[str, NDArray[Any]] = {
            "threshold": threshold[order],
            "left": (begin + left).astype(np.int32),
            "column": column[order].astype(np.int32),
            "values": np.asarray(columns["value"], np.float64)[order],
        }
        for name, array in tree.items():
            parts.setdefault(name, []).append(array)
        roots.append(begin)
        begin += order.size
    whole = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    return Trees(
        **whole,
        roots=np.array(roots, np.int32),
        n_features=n_features,
        base=base,
        logistic=logistic,
    )


def _breadth_first(
    columns: _Columns, exchanged: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the nodes in the order of their rows, and the row of each one's left child."""
    order, left = [0], [0]
    todo = deque([(0, 0)])  # node, its row
    while todo:
        node, row = todo.popleft()
        left[row] = row
        if columns["leaf"][node]:
            continue
        left[row] = len(order)
        children = int(columns["left"][node]), int(columns["right"][node])
        for child in reversed(children) if exchanged[node] else children:
            todo.append((child, len(order)))
            order.append(child)
            left.append(0)
    return np.array(order), np.array(left)
