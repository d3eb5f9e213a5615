"""Splits keep groups whole, can be repeated, and survive being written down."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifier.datasets import Split, grouped_split
from classifier.errors import ResourceError

GROUPS = st.lists(st.integers(0, 12).map(str), min_size=20, max_size=200).filter(
    lambda groups: len(set(groups)) >= 3
)
SHARES = {"train": 0.6, "tune": 0.2, "test": 0.2}


@given(GROUPS, st.integers(0, 5))
def test_every_group_is_on_one_side_and_no_side_is_empty(groups: list[str], seed: int) -> None:
    split = grouped_split(groups, SHARES, seed=seed)
    named = [name for side in split.sides.values() for name in side]
    assert sorted(named) == sorted(set(groups))
    assert all(split.sides.values())
    masks = [split.rows(groups, side) for side in SHARES]
    assert sum(mask.sum() for mask in masks) == len(groups)


@given(GROUPS, st.randoms(use_true_random=False))
def test_order_of_rows_changes_nothing(groups: list[str], rng: random.Random) -> None:
    other = list(groups)
    rng.shuffle(other)
    assert grouped_split(groups, SHARES, seed=3) == grouped_split(other, SHARES, seed=3)


def test_each_label_gets_its_share_of_groups() -> None:
    groups = [f"run{number}" for number in range(100) for _ in range(5)]
    labels = ["vpn" if number < 20 else "ordinary" for number in range(100) for _ in range(5)]
    split = grouped_split(groups, {"train": 0.5, "test": 0.5}, strata=labels, seed=1)
    for side in ("train", "test"):
        numbers = [int(name.removeprefix("run")) for name in split.sides[side]]
        assert sum(number < 20 for number in numbers) == 10
        assert len(numbers) == 50


def test_seed_changes_the_draw() -> None:
    groups = [str(number) for number in range(50)]
    assert grouped_split(groups, seed=1) == grouped_split(groups, seed=1)
    assert grouped_split(groups, seed=1) != grouped_split(groups, seed=2)


def test_split_that_was_written_is_read_again(tmp_path: Path) -> None:
    split = grouped_split(["a", "b", "c", "a"], SHARES, seed=9)
    split.save(tmp_path / "split.json")
    again = Split.load(tmp_path / "split.json")
    assert again.seed == 9
    assert dict(again.sides) == dict(split.sides)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"format": "other", "seed": 1, "sides": {}}',
        '{"format": "classifier split 1", "seed": 1, "sides": {"a": ["x"], "b": ["x"]}}',
    ],
)
def test_file_that_is_no_split_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(ResourceError, match=r"split\.json: "):
        Split.load(tmp_path / "split.json")


@pytest.mark.parametrize("shares", [{"a": 0.5}, {"a": 1.5, "b": -0.5}, {"a": 1.0, "b": 0.0}])
def test_shares_that_do_not_sum_to_one_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ResourceError, match="do not sum to 1"):
        grouped_split(["a", "b"], shares)


def test_fewer_groups_than_sides_are_refused() -> None:
    with pytest.raises(ResourceError, match="1 groups cannot go to 2 sides"):
        grouped_split(["a", "a"])


def test_group_that_the_split_does_not_know_is_refused() -> None:
    split = grouped_split(["a", "b"])
    with pytest.raises(ResourceError, match="does not know the group 'c'"):
        split.rows(["c"], "train")
    with pytest.raises(ResourceError, match="no side 'tune'"):
        split.rows(["a"], "tune")
