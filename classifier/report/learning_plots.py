"""Plots of what training measured: reliability, learning curve, and what the model looks at."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from classifier.report.plots import axes_of, label_of
from classifier.report.scores import wilson

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["importance", "learning_curve", "reliability"]

_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#777777"


def learning_curve(points: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draw recall at 1 % false positives and area against captures learnt from.

    Parameters
    ----------
    points : sequence of dict
        ``report["learning_curve"]`` of a model's card.
    """
    figure, axes = axes_of()
    points = [point for point in points if point["auc_interval"]]
    captures = [point["captures"] for point in points]
    for key, bounds, colour, line, name in (
        ("recall_at_1_percent", "recall_interval", _BLUE, "-", "found at 1 % false positives"),
        ("auc", "auc_interval", _ORANGE, "--", "area under ROC"),
    ):
        values = np.array([point[key] for point in points])
        low, high = np.array([point[bounds] for point in points]).reshape(-1, 2).T
        axes.plot(captures, values, line, color=colour, marker="o", label=name)
        axes.fill_between(captures, low, high, color=colour, alpha=0.15, lw=0)
    if points:
        axes.set_xscale("log")
        axes.set_xticks(captures, [f"{n:,.0f}" for n in captures], minor=False)
        axes.minorticks_off()
    axes.set_title("On captures left out, 95 % over captures", loc="left")
    axes.set_xlabel("captures in training")
    axes.set_ylabel("share")
    axes.legend(frameon=False, loc="lower right")
    return figure


def importance(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> "Figure":
    """Draw what the area loses where a kind of features is exchanged between flows.

    Parameters
    ----------
    rows : sequence of dict
        ``report["importance"]`` of a model's card.
    names : mapping of str to str
        Words for the kinds.
    """
    figure, axes = axes_of(7.2, 0.8 + 0.45 * max(len(rows), 1))
    lost = [row["auc_lost"] for row in rows]
    low, high = np.array([row["auc_lost_range"] for row in rows]).reshape(-1, 2).T
    errors = np.abs(np.array([np.array(lost) - low, high - np.array(lost)]))
    words = [
        f"{label_of(names.get(row['kind'], row['kind']), 60)} ({row['columns']})" for row in rows
    ]
    axes.barh(words, lost, xerr=errors, color=_BLUE, ecolor=_GREY, capsize=3)
    axes.invert_yaxis()
    axes.locator_params(axis="x", nbins=4)
    axes.set_title("Area under ROC lost", loc="left")
    axes.set_xlabel("on captures left out, least to greatest of the repeats")
    return figure


def reliability(bins: Sequence[Sequence[float]]) -> "Figure":
    """Draw the share of tunnels against the probability that was stated.

    Parameters
    ----------
    bins : sequence of (float, float, float)
        ``report["scenario_reliability"]`` of a model's card: mean probability, share of tunnels, flows.
    """
    figure, axes = axes_of(4.8, 4.4)
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", label="as stated")
    for said, share, n in bins:
        low, high = wilson(round(share * n), int(n)) or (share, share)
        errors = [[max(share - low, 0.0)], [max(high - share, 0.0)]]
        axes.errorbar(said, share, yerr=errors, fmt="o", color=_BLUE, capsize=3)
        axes.annotate(
            f"n={int(n):,}", (said, share), xytext=(2, -3 if share > 0.3 else 3), size=7,
            textcoords="offset points", rotation=-60 if share > 0.3 else 60,
            va="top" if share > 0.3 else "bottom",
        )  # fmt: skip
    axes.set_title("On scenarios left out", loc="left")
    axes.set_xlabel("stated probability of a tunnel")
    axes.set_ylabel("share that are tunnels, 95 % interval")
    axes.set_xlim(-0.05, 1.12)
    axes.set_ylim(-0.05, 1.08)
    axes.legend(frameon=False, loc="lower right")
    return figure
