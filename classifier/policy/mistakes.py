"""How many of those hit are mistakes, how surely, and at other base rates.

How this works
--------------
Without labels a flow with calibrated probability p is ordinary with 1 - p, so the mistakes among
flows with one verdict are a sum of such draws (Poisson-binomial). Intervals come from ``DRAWS``
repetitions with a fixed seed: each draws the flows; where there are several captures, it also draws
as many captures with replacement, as flows of one capture are alike. With labels, rates of true
and false hits are drawn from their posterior under Jeffreys' prior (a beta distribution), so that
no mistake among ten flows is not taken for none among a million, again over captures drawn with
replacement where there are several: one fewer than there are, as rates of few captures would vary
too little otherwise (Rao and Wu, "Resampling inference with complex survey data", 1988). Restated
precision without labels treats drawn numbers of mistakes as counts of a Poisson process, under
Jeffreys' prior too (a gamma distribution).

Base rates are restated by rescaling odds: hits of VPNs go with the rate, hits of ordinary flows with
one minus the rate, each class being hit as often as before.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from classifier.policy.impact import CAUSES, VERDICTS
from classifier.tables import PREVALENCE

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BASE_RATES", "arithmetic", "expected", "restated", "split"]

#: Base rates that precision is restated to: 10 % to 0.01 %.
BASE_RATES = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)

DRAWS = 2000
_SEED = 20_200_101
_LOW, _HIGH = 0.025, 0.975


def _chosen(n: int, generator: np.random.Generator, draws: int) -> NDArray[np.int64]:
    """Return for each repetition how often each of n captures is taken; int64, (DRAWS, n)."""
    if n == 1:
        return np.ones((DRAWS, 1), np.int64)
    return generator.multinomial(draws, np.full(n, 1 / n), size=DRAWS).astype(np.int64)


def _drawn(hit: "pd.DataFrame", captures: Sequence[str]) -> tuple[Any, Any]:
    """Return numbers of mistakes and of flows in each repetition; float64, shape (DRAWS,)."""
    generator = np.random.default_rng(_SEED)
    times = _chosen(len(captures), generator, len(captures))
    rows = {name: row for row, name in enumerate(captures)}
    wrong = np.zeros(DRAWS)
    flows = np.zeros(DRAWS)
    # Flows of one capture and one probability are one binomial draw.
    groups = hit.groupby(["capture", hit["vpn_probability"].round(6)], sort=True).size()
    key: Any
    for key, n in groups.items():
        capture, probability = key
        taken = times[:, rows[capture]] * int(n)
        flows += taken
        wrong += generator.binomial(taken, min(max(1 - float(probability), 0.0), 1.0))
    return wrong, flows


def expected(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return how many flows of each verdict are expected not to be VPNs.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `impact.facts`.

    Returns
    -------
    pandas.DataFrame
        Columns: verdict (all but ``allow``), flows, not_vpn, low, high (95 %), precision, method
        (how the interval was made).
    """
    import pandas as pd

    captures = sorted(set(frame["capture"]))
    method = "flows drawn by their probabilities"
    if len(captures) > 1:
        method += f", {len(captures)} captures with replacement"
    rows = []
    for verdict in VERDICTS[1:]:
        hit = frame[frame["verdict"] == verdict]
        if hit.empty:
            continue
        wrong, _ = _drawn(hit, captures)
        mean = float((1 - hit["vpn_probability"]).sum())
        rows.append(
            {
                "verdict": verdict,
                "flows": len(hit),
                "not_vpn": mean,
                "low": float(np.quantile(wrong, _LOW)),
                "high": float(np.quantile(wrong, _HIGH)),
                "precision": 1 - mean / len(hit),
                "method": method,
            }
        )
    names = ["verdict", "flows", "not_vpn", "low", "high", "precision"]
    return pd.DataFrame(rows, columns=[*names, "method"])


def split(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return what the hit flows are: from labels where given, else expected from probabilities.

    Returns
    -------
    pandas.DataFrame
        Columns: verdict, cause (a word of `impact.CAUSES`), flows (a fraction where expected),
        bytes, addresses (0 where expected), source (``labels`` or ``probabilities``).
    """
    import pandas as pd

    rows = []
    for verdict in reversed(VERDICTS[1:]):
        hit = frame[frame["verdict"] == verdict]
        told, silent = hit[hit["truth"] >= 0], hit[hit["truth"] < 0]
        for cause in CAUSES:
            mine = told[told["cause"] == cause]
            if len(mine):
                addresses = mine.loc[mine["address"] != "", "address"].nunique()
                counts = (float(len(mine)), float(mine["bytes"].sum()), int(addresses))
                rows.append((verdict, cause, *counts, "labels"))
        if len(silent):
            p = silent["vpn_probability"]
            for cause, weight in (("not_vpn", 1 - p), ("unknown", p)):
                counts = (float(weight.sum()), float((weight * silent["bytes"]).sum()), 0)
                rows.append((verdict, cause, *counts, "probabilities"))
    names = ["verdict", "cause", "flows", "bytes", "addresses", "source"]
    return pd.DataFrame(rows, columns=names)


def restated(
    frame: "pd.DataFrame", base_rates: Sequence[float] = BASE_RATES
) -> "tuple[pd.DataFrame, str]":
    """Return precision and false alarms at other base rates, and where they come from.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `impact.facts`. Where all flows have labels of both sorts these count, else
        probabilities at the reference prevalence.
    base_rates : sequence of float
        Shares of VPNs among all flows.

    Returns
    -------
    pandas.DataFrame
        For each verdict but ``allow`` that occurs, and each base rate: verdict, base_rate,
        precision, precision_low, precision_high, hits_per_million, false_alarms_per_million
        (of all flows).
    source : str
    """
    labelled = frame[frame["truth"] >= 0]
    both = len(labelled) and 0 < int((labelled["truth"] == 1).sum()) < len(labelled)
    if both:
        source = f"labels of {len(labelled):,} flows ({int((labelled['truth'] == 1).sum()):,} VPNs)"
        captures = labelled["capture"].nunique()
        if captures > 1:
            source += f", {captures:,} captures with replacement"
        return _from_labels(labelled, base_rates), source
    source = f"probabilities at a reference prevalence of {PREVALENCE:.0%}"
    return _from_probabilities(frame, base_rates), source


def _table(verdict: str, tpr: Any, fpr: Any, centre: tuple[float, float], rates: Any) -> list[Any]:
    rows = []
    for rate in rates:
        true, false = tpr * rate, fpr * (1 - rate)
        mean_true, mean_false = centre[0] * rate, centre[1] * (1 - rate)
        with np.errstate(invalid="ignore"):
            share = true / (true + false)
        share = share[np.isfinite(share)]
        hits = mean_true + mean_false
        bounds = (np.nan, np.nan)
        if share.size:
            bounds = (float(np.quantile(share, _LOW)), float(np.quantile(share, _HIGH)))
        precision = mean_true / hits if hits else np.nan
        # Where no mistake was seen, the share seen is at the end of what is likely
        bounds = min(bounds[0], precision), max(bounds[1], precision)
        rows.append((verdict, rate, precision, *bounds, hits * 1e6, mean_false * 1e6))
    return rows


_RESTATED = ["verdict", "base_rate", "precision", "precision_low", "precision_high"]
_RESTATED += ["hits_per_million", "false_alarms_per_million"]


def _from_labels(labelled: "pd.DataFrame", base_rates: Sequence[float]) -> "pd.DataFrame":
    import pandas as pd

    captures = sorted(set(labelled["capture"]))
    generator = np.random.default_rng(_SEED)
    times = _chosen(len(captures), generator, len(captures) - 1)
    rows: list[Any] = []
    for verdict in reversed(VERDICTS[1:]):
        hit = labelled["verdict"] == verdict
        if not hit.any():
            continue
        counts = np.zeros((len(captures), 4), np.int64)
        for number, (truth, was_hit) in enumerate(((1, True), (1, False), (0, True), (0, False))):
            some = labelled[(labelled["truth"] == truth) & (hit == was_hit)]
            counts[:, number] = some.groupby("capture").size().reindex(captures, fill_value=0)
        tp, fn, fp, tn = counts.sum(axis=0)
        drawn = times @ counts
        tpr = generator.beta(drawn[:, 0] + 0.5, drawn[:, 1] + 0.5)
        fpr = generator.beta(drawn[:, 2] + 0.5, drawn[:, 3] + 0.5)
        rows += _table(verdict, tpr, fpr, (tp / (tp + fn), fp / (fp + tn)), base_rates)
    return pd.DataFrame(rows, columns=_RESTATED)


def _from_probabilities(frame: "pd.DataFrame", base_rates: Sequence[float]) -> "pd.DataFrame":
    import pandas as pd

    captures = sorted(set(frame["capture"]))
    generator = np.random.default_rng(_SEED)
    rows: list[Any] = []
    for verdict in reversed(VERDICTS[1:]):
        hit = frame[frame["verdict"] == verdict]
        if hit.empty:
            continue
        wrong, flows = _drawn(hit, captures)
        mean = float((1 - hit["vpn_probability"]).sum())
        n = len(frame)
        # Rates within each class, the capture taken to be at the reference prevalence
        tpr = generator.gamma(flows - wrong + 0.5) / (n * PREVALENCE)
        fpr = generator.gamma(wrong + 0.5) / (n * (1 - PREVALENCE))
        centre = ((len(hit) - mean) / (n * PREVALENCE), mean / (n * (1 - PREVALENCE)))
        rows += _table(verdict, tpr, fpr, centre, base_rates)
    result = pd.DataFrame(rows, columns=_RESTATED)
    # How many VPNs there were is not known, so neither is how many of a million flows are hit.
    result[["hits_per_million", "false_alarms_per_million"]] = np.nan
    return result


def arithmetic(
    tpr: float, fpr: float, base_rate: float, flows_per_user_day: float | None = None
) -> dict[str, float]:
    """Return what rates of true and false hits mean, without a capture.

    Parameters
    ----------
    tpr, fpr : float
        Shares of VPN flows, and of ordinary flows, that are hit; 0 to 1.
    base_rate : float
        Share of VPNs among all flows; 0 to 1.
    flows_per_user_day : float, optional
        Adds what it means for a user: false alarms a day, and the chance of at least one, flows
        taken to be independent.

    Returns
    -------
    dict of str to float
        ``precision`` (nan where nothing is hit), ``hits_per_million``,
        ``false_alarms_per_million`` and ``missed_per_million`` of all flows; with a user's flows
        also ``false_alarms_per_user_day`` and ``users_hit_by_mistake_daily``.
    """
    true, false = tpr * base_rate, fpr * (1 - base_rate)
    found = {
        "tpr": tpr,
        "fpr": fpr,
        "base_rate": base_rate,
        "precision": true / (true + false) if true + false else float("nan"),
        "hits_per_million": (true + false) * 1e6,
        "false_alarms_per_million": false * 1e6,
        "missed_per_million": (1 - tpr) * base_rate * 1e6,
    }
    if flows_per_user_day is not None:
        found["flows_per_user_day"] = flows_per_user_day
        found["false_alarms_per_user_day"] = false * flows_per_user_day
        found["users_hit_by_mistake_daily"] = 1 - (1 - false) ** flows_per_user_day
    return found
