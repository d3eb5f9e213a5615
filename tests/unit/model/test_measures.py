"""Figures of probabilities, against values worked out by hand and scikit-learn's."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from classifier.model.measures import (
    calibration_error,
    interval,
    measure,
    recall_at,
    restated_precision,
)


def test_the_area_under_the_curve_counts_ties_half() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 300).astype(np.int8)
    said = np.round(rng.random(300) * 0.7 + labels * 0.2, 1)
    assert measure(labels, said).auc == pytest.approx(roc_auc_score(labels, said))
    assert math.isnan(measure(np.ones(3, np.int8), np.ones(3)).auc)


def test_recall_at_a_false_rate_never_exceeds_the_rate() -> None:
    tunnel = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], bool)
    said = np.array([0.9, 0.8, 0.6, 0.5, 0.7, 0.5, *[0.1] * 8])
    assert recall_at(tunnel, said, 0.0) == 0.5  # above 0.7
    assert recall_at(tunnel, said, 0.1) == 0.75  # one of ten allowed: above 0.5, ties not found
    assert recall_at(tunnel, said, 0.2) == 1.0


def test_calibration_error_is_the_mean_gap_between_said_and_true() -> None:
    said = np.array([0.9] * 10 + [0.1] * 10)
    tunnel = np.array([True] * 7 + [False] * 3 + [True] * 1 + [False] * 9)
    assert calibration_error(tunnel, said) == pytest.approx((0.2 + 0.0) / 2)


def test_precision_is_restated_by_the_odds() -> None:
    assert restated_precision(0.9, 0.01, 0.5) == pytest.approx(0.9 / 0.91)
    assert restated_precision(0.9, 0.01, 0.01) == pytest.approx(0.009 / (0.009 + 0.0099))
    assert math.isnan(restated_precision(0.0, 0.0, 0.1))


def test_intervals_are_wilsons() -> None:
    low, high = interval(8, 10) or (0, 0)
    assert (low, high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert interval(0, 0) is None


def test_families_are_counted_apart() -> None:
    labels = np.array([1, 1, 1, 0], np.int8)
    families = np.array(["a", "a", "b", ""], object)
    figures = measure(labels, np.array([0.9, 0.1, 0.7, 0.6]), families)
    assert figures.families == {"a": (2, 1), "b": (1, 1)}
    assert (figures.recall, figures.false_rate) == (2 / 3, 1.0)
    assert figures.to_json()["families"]["b"]["found"] == 1
