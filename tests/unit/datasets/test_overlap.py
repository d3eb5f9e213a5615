"""Copies within a data set, and what two data sets share, are found."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifier import datasets
from classifier.datasets import duplicates, leak_check
from classifier.errors import ResourceError

ROWS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.0, -0.0, 1.5, float("nan")])))


@given(ROWS)
def test_copies_are_those_that_a_comparison_of_all_pairs_finds(
    rows: list[tuple[int, float]],
) -> None:
    found = duplicates(pd.DataFrame(rows, columns=["a", "b"]))
    wanted: dict[str, list[int]] = {}
    for position, (a, b) in enumerate(rows):
        wanted.setdefault(f"{a} {b + 0.0}", []).append(position)
    assert sorted(found["rows"]) == sorted(tuple(own) for own in wanted.values() if len(own) > 1)


def test_copies_with_two_labels_are_marked_and_the_largest_set_is_first() -> None:
    features = pd.DataFrame({"a": [1, 1, 2, 2, 2, 3]})
    found = duplicates(features, ["x", "x", "x", "y", "y", "z"])
    assert found["copies"].tolist() == [3, 2]
    assert found["first"].tolist() == [2, 0]
    assert found["contradicting"].tolist() == [True, False]
    assert found["labels"].tolist() == [("x", "y"), ("x",)]


def test_no_columns_and_wrong_lengths_are_refused() -> None:
    with pytest.raises(ResourceError, match="no columns"):
        duplicates(pd.DataFrame(index=range(3)))
    with pytest.raises(ResourceError, match="1 labels for 2 rows"):
        duplicates(pd.DataFrame({"a": [1, 2]}), ["x"])


def test_rows_of_features_that_both_sets_have_are_leaks() -> None:
    demo = datasets.load("demo", verify=False)

    def made(values: list[float], labels: list[str]) -> datasets.Dataset:
        rows = pd.DataFrame(index=range(len(values)))
        return dataclasses.replace(
            demo,
            files={},
            features=pd.DataFrame({"x": values, "y": [np.nan] * len(values)}),
            labels=pd.Series(labels),
            groups=pd.Series(range(len(values))),
            rows=rows,
        )

    leaks = leak_check(made([1, 2, 3], ["a", "b", "c"]), made([3, 3, 4, 2], ["c", "d", "c", "b"]))
    assert (leaks.rows, leaks.contradicting, leaks.share) == (3, 1, 0.75)
    assert leaks.groups == ()
    assert not leak_check(made([1], ["a"]), made([2], ["a"]))


def test_copied_capture_under_another_name_leaks_its_flows(tmp_path: Path) -> None:
    demo = datasets.load("demo", verify=False)
    shutil.copy(demo.files["demo.pcapng"], tmp_path / "renamed.pcapng")
    text = demo.files["labels.csv"].read_text().replace("demo.pcapng", "renamed.pcapng")
    (tmp_path / "labels.csv").write_text(text)
    copy = datasets.load("captures", tmp_path)
    leaks = leak_check(demo, copy)
    assert leaks.files == (("demo.pcapng", "renamed.pcapng"),)
    assert leaks.rows == len(copy.rows)
    assert leaks.contradicting == 0
    assert leaks.groups == ()


def test_other_capture_of_the_same_addresses_is_no_leak(tmp_path: Path) -> None:
    demo = datasets.load("demo", verify=False)
    (tmp_path / "demo.pcapng").write_bytes(demo.files["demo.pcapng"].read_bytes() + b"\0\0\0\0")
    shutil.copy(demo.files["labels.csv"], tmp_path / "labels.csv")
    text = (tmp_path / "labels.csv").read_text() + "\n"
    (tmp_path / "labels.csv").write_text(text)
    leaks = leak_check(demo, datasets.load("captures", tmp_path))
    assert leaks.rows == 0
    assert leaks.files == ()
    assert leaks.groups == ("demo.pcapng",)
