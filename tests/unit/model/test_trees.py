"""Trees as plain arrays say what scikit-learn's say, and unsound ones are refused."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference import trees as twin
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.tree import DecisionTreeClassifier

from classifier._jit import plain
from classifier.errors import ModelError
from classifier.model._tree_kernels import LEAVES, add_small_trees, nearest_distance, rank_values
from classifier.model.novelty import ABOVE, BELOW, MISSING, Novelty, _steps_of
from classifier.model.trees import Trees, trees_of


def data(n: int = 400, *, seed: int = 1, missing: float = 0.2) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 7)).astype(np.float32)
    x[:, 3] = rng.integers(0, 4, n)  # ties at thresholds
    y = (x[:, 0] + x[:, 3] - x[:, 5] + rng.normal(size=n) > 1.5).astype(np.int8)
    x[rng.random(x.shape) < missing] = np.nan
    return x, y


ESTIMATORS = {
    "forest": lambda: RandomForestClassifier(12, random_state=1),
    "extra": lambda: ExtraTreesClassifier(12, random_state=1),
    "tree": lambda: DecisionTreeClassifier(min_samples_leaf=3, random_state=1),
    "boosting": lambda: HistGradientBoostingClassifier(max_iter=20, min_samples_leaf=5),
}


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("n", [1, 15, 16, 17, 400, 1024, 1100])
def test_probabilities_equal_those_of_scikit_learn(kind: str, n: int) -> None:
    x, y = data()
    fitted = ESTIMATORS[kind]().fit(x, y)
    other = data(n, seed=2)[0]
    expected = fitted.predict_proba(other)[:, 1]
    assert np.abs(trees_of(fitted).score(other) - expected).max() < 1e-12


def test_values_at_a_threshold_go_where_scikit_learn_sends_them() -> None:
    x = np.array([[0.1], [0.2], [0.3], [0.4]], np.float32)
    fitted = DecisionTreeClassifier().fit(x, [0, 0, 1, 1])
    exact = np.float32(fitted.tree_.threshold[0])
    near = np.array([[np.nextafter(exact, np.float32(s))] for s in (-1, 1)] + [[exact]], np.float32)
    expected = fitted.predict_proba(near)[:, 1]
    assert trees_of(fitted).score(near).tolist() == expected.tolist()


def test_a_tree_equals_its_twin() -> None:
    x, y = data()
    trees = trees_of(ESTIMATORS["tree"]().fit(x, y))
    arrays = trees.threshold.tolist(), trees.left.tolist(), trees.column.tolist()
    expected = [trees.values[twin.leaf(row, *arrays, 0)] for row in x.tolist()]
    assert trees.score(x).tolist() == expected


def test_leaves_by_bits_are_those_of_the_walk_and_of_the_twin() -> None:
    """One tree of 32 leaves at most, its questions in the order of its nodes."""
    x, y = data(1024)
    fitted = DecisionTreeClassifier(max_leaf_nodes=LEAVES, random_state=1).fit(x, y)
    trees = trees_of(fitted)
    asked = trees._asked()
    assert asked is not None
    sums = np.zeros(1024)
    twice = np.ascontiguousarray(np.concatenate([x, -x], axis=1).T)
    add_small_trees(twice, *asked, sums)
    arrays = trees.threshold.tolist(), trees.left.tolist(), trees.column.tolist()
    walked = [trees.values[twin.leaf(row, *arrays, 0)] for row in x.tolist()]
    assert sums.tolist() == walked
    n = int((trees.left == np.arange(trees.left.size)).sum())
    gone = [[i for i in range(n) if not keep >> i & 1] for keep in asked.keeps.tolist()]
    for row in range(0, 1024, 41):
        answers = [
            bool(twice[c, row] > t)
            for c, t in zip(asked.column.tolist(), asked.threshold.tolist(), strict=True)
        ]
        leaf = twin.kept(answers, gone, n)
        assert asked.values[(leaf + LEAVES - 1) % LEAVES] == walked[row]


def test_trees_of_more_leaves_than_bits_are_walked() -> None:
    x, y = data(1100)
    forest = RandomForestClassifier(3, random_state=1).fit(x, y)
    lopsided = trees_of(DecisionTreeClassifier(max_leaf_nodes=LEAVES + 1).fit(x, y))
    assert trees_of(forest)._asked() is None
    assert lopsided._asked() is None
    assert np.abs(trees_of(forest).score(x) - forest.predict_proba(x)[:, 1]).max() < 1e-12


@pytest.mark.parametrize(
    "estimator",
    [
        GradientBoostingClassifier(n_estimators=2),
        RandomForestClassifier(2),
    ],
)
def test_what_cannot_be_stored_is_refused(estimator: Any) -> None:
    if isinstance(estimator, GradientBoostingClassifier):
        estimator.fit(*data(missing=0))
    with pytest.raises(ModelError):
        trees_of(estimator)


def sound() -> Trees:
    return trees_of(ESTIMATORS["boosting"]().fit(*data()))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("left", -1),
        ("left", 2**30),
        ("left", 0),  # back to the root: a way without an end
        ("column", -1),
        ("column", 14),
        ("values", np.nan),
        ("threshold", np.inf),
        ("roots", 2**30),
        ("roots", -1),
    ],
)
def test_arrays_that_lead_out_of_bounds_are_refused(name: str, value: float) -> None:
    trees = sound()
    array = getattr(trees, name).copy()
    inner = int(np.flatnonzero(trees.left != np.arange(trees.left.size))[1])
    array[0 if name == "roots" else inner] = value
    fields = {f.name for f in dataclasses.fields(Trees) if f.init}
    given_ = {key: getattr(trees, key) for key in fields} | {name: array}
    with pytest.raises(ModelError):
        Trees(**given_)


def test_a_matrix_of_other_width_is_refused() -> None:
    with pytest.raises(ModelError, match="not 7 columns"):
        sound().score(np.zeros((3, 6), np.float32))


ranks = st.lists(st.integers(-32, 48), min_size=3, max_size=3)


@given(st.lists(ranks, min_size=1, max_size=6), st.lists(ranks, min_size=1, max_size=5))
def test_distances_equal_the_twin(rows: list[list[int]], seen: list[list[int]]) -> None:
    out = np.zeros(len(rows))
    given = np.array(rows, np.int16) + 32, np.array(seen, np.int16) + 32
    given = (*(padded(ranks) for ranks in given), 3, 1 / 32)
    nearest_distance(*given, -1.0, out)
    expected = [twin.nearest(row, seen) / 32 / 3 for row in rows]
    assert out == pytest.approx(expected)
    limit = float(np.median(out))
    near_enough = np.zeros(len(rows))
    nearest_distance(*given, limit, near_enough)
    assert ((near_enough <= limit) == (out <= limit)).all()
    assert near_enough[out > limit].tolist() == out[out > limit].tolist()
    for enough, compiled in ((-1.0, out), (limit, near_enough)):
        plainly = np.zeros(len(rows))
        with plain(True):
            nearest_distance(*given, enough, plainly)
        assert plainly.tolist() == compiled.tolist()


def padded(ranks: NDArray[np.int16]) -> NDArray[np.uint8]:
    steps = np.zeros((ranks.shape[0], 64), np.uint8)
    steps[:, : ranks.shape[1]] = ranks
    return steps


numbers = st.floats(width=32, allow_nan=True) | st.integers(0, 4).map(float)


@given(st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=1, max_size=6))
def test_ranks_equal_the_twin(rows: list[list[float]]) -> None:
    quantiles = np.array([[0, 1, 1, 2], [-1e30, -2, 0, 1e30], [3, 3, 3, 3]], np.float32)
    steps = np.zeros((len(rows), 64), np.uint8)
    values = np.array(rows, np.float32)
    rank_values(values, quantiles, BELOW, ABOVE, MISSING, steps)
    for row, found in zip(values.tolist(), steps.tolist(), strict=True):
        edges = quantiles.tolist()
        expected = [
            twin.rank(*pair, BELOW, ABOVE, MISSING) for pair in zip(row, edges, strict=True)
        ]
        assert [step + MISSING for step in found[:3]] == expected
        assert not any(found[3:])


def test_ranks_count_quantiles_and_have_steps_of_their_own_beyond() -> None:
    quantiles = np.array([[0, 1, 1, 2], [5, 6, 7, 8]], np.float32)
    rows = np.array([[1, 4], [np.nan, 9]], np.float32)
    assert _steps_of(rows, quantiles)[:, :2].tolist() == [[35, 16], [0, 80]]


@pytest.mark.parametrize("rank", [MISSING - 1, ABOVE + 1])
def test_ranks_that_no_flow_has_are_refused(rank: int) -> None:
    quantiles, seen = np.zeros((2, 32), np.float32), np.zeros((3, 2), np.int16)
    Novelty(quantiles, seen, 0.1)
    seen[1, 1] = rank
    with pytest.raises(ModelError):
        Novelty(quantiles, seen, 0.1)
