"""How well flows were identified, against labels, and against other tools on the same flows.

What is counted: each flow row whose capture, protocol and endpoints have a label, once. A label
whose flow was split by a timeout therefore counts once for each part. Bare encapsulation and
circumvention tools are scored apart: the first is never a VPN, the second is here to be studied,
and neither enters precision, recall, F1 or the false-positive rate.
"""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from classifier.report.labels import Labels, label_columns, match_labels, read_labels
from classifier.report.scores import Counts, paired, wilson
from classifier.report.text import columns_text
from classifier.tables import FAMILIES, Kind

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["CIRCUMVENTION", "Comparison", "Evaluation", "evaluate", "label_columns"]

#: Families that are scored apart because they are studied, not hunted.
CIRCUMVENTION = frozenset(
    {
        *("tor", "obfs4", "shadowsocks", "vmess", "vless", "trojan"),
        *("hysteria", "tuic", "psiphon", "ultrasurf", "lightway"),
    }
)

_ENCAPSULATION = frozenset(
    [*(name for name, kind in FAMILIES.items() if kind is Kind.ENCAPSULATION), "encapsulation"]
)

ORDINARY = "ordinary"
NONE = "none"
UNNAMED = "unnamed"

_SCORED, _CIRCUMVENTION, _BARE = "scored", "circumvention", "encapsulation"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Another tool on the same flows.

    Attributes
    ----------
    counts : Counts
        Its answers on the scored flows.
    missing : int
        Scored flows that it says nothing about; they count as not called VPN.
    unmatched : int
        Its rows without a flow.
    differences : dict of str to dict
        For ``all`` scored flows, ``vpn`` and ``ordinary`` ones: flows that only we or only they
        get right, McNemar's exact p, and our share of right answers less theirs.
    brier : float or None
        Mean squared error of its probabilities, where it gives one for each scored flow.
    """

    counts: Counts
    missing: int
    unmatched: int
    differences: dict[str, dict[str, float | int | None]]
    brier: float | None

    def to_json(self) -> dict[str, object]:
        """Return everything as plain values."""
        return {
            **self.counts.to_json(),
            "missing": self.missing,
            "unmatched": self.unmatched,
            "brier": self.brier,
            "differences": self.differences,
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of `evaluate`.

    Attributes
    ----------
    flows, matched : int
        Flow rows, and those of them that have a label.
    unmatched_flows, unmatched_labels : int
        Flow rows without a label, and labels without a flow.
    counts : Counts
        Is it a VPN? On the scored flows: labelled, and in neither group that is scored apart.
    macro_f1 : float or None
        Mean over the families of the scored flows of F1 of naming the family.
    per_family : dict of str to dict
        By the label's family: ``group``, ``labels`` (flows), ``detected`` (called VPN), ``named``
        (the family column says it, at whatever probability), and of the family as it was called:
        ``tp fp fn precision recall f1``.
    apart : dict of str to dict
        ``encapsulation`` and ``circumvention``.
    matrix : dict of str to dict of str to int
        Flows by label (a family, ``unnamed`` for a VPN without one, ``ordinary``) and by what was
        called (a family, ``unnamed``, ``none``).
    brier : float or None
        Mean squared error of ``vpn_probability`` on the scored flows.
    predictions : dict of str to Comparison
    """

    flows: int
    matched: int
    unmatched_flows: int
    unmatched_labels: int
    counts: Counts
    macro_f1: float | None
    per_family: dict[str, dict[str, Any]]
    apart: dict[str, dict[str, Any]]
    matrix: dict[str, dict[str, int]]
    brier: float | None
    predictions: dict[str, Comparison]

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values, what ``evaluate --format json`` prints."""
        return {
            "flows": self.flows,
            "matched": self.matched,
            "unmatched_flows": self.unmatched_flows,
            "unmatched_labels": self.unmatched_labels,
            "scored": self.counts.total,
            **self.counts.to_json(),
            "macro_f1": self.macro_f1,
            "brier": self.brier,
            "per_family": self.per_family,
            **self.apart,
            "matrix": self.matrix,
            "predictions": {name: c.to_json() for name, c in self.predictions.items()},
        }

    def text_matrix(self, *, width: int = 110) -> str:
        """Return the matrix as text: a row for each label, a column for each call."""
        called = Counter[str]()
        for row in self.matrix.values():
            called.update(row)
        names = sorted(called, key=lambda name: (name == NONE, name == UNNAMED, name))
        rows = [
            [label, *(row.get(name, 0) or "." for name in names)]
            for label, row in self.matrix.items()
        ]
        return columns_text(["label", *names], rows, width=width, right=names, least={"label": 12})

    def text(self, *, width: int = 110) -> str:
        """Return what ``evaluate`` prints."""
        head = (
            f"{self.flows:,} flows, {self.matched:,} with a label; "
            f"{self.unmatched_labels:,} labels without a flow"
        )
        tools = {"this run": self.counts, **{n: c.counts for n, c in self.predictions.items()}}
        header = ("is it a VPN?", "flows", "tp", "fp", "fn", "tn", *_RATES)
        rows = [_rate_row(name, counts) for name, counts in tools.items()]
        blocks = [
            head,
            columns_text(header, rows, width=max(width, 120), right=header[1:6]),
            *(_difference_text(name, c) for name, c in self.predictions.items()),
            *(_apart_text(name, values) for name, values in self.apart.items()),
            f"macro F1 over families: {_shown(self.macro_f1)}",
            self.text_matrix(width=width),
        ]
        return "\n\n".join(blocks) + "\n"

    def __str__(self) -> str:
        """Return `text`."""
        return self.text()

    def _repr_html_(self) -> str:
        from classifier.report.html_repr import pre_html

        return pre_html(self.text())


_RATES = ("precision", "recall", "f1", "fpr")


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _rate_row(name: str, counts: Counts) -> list[object]:
    values = counts.to_json()
    rates = []
    for rate in _RATES:
        interval = values[f"{rate}_interval"]
        bounds = ""
        if isinstance(interval, list):
            bounds = f" ({interval[0]:.3f}-{interval[1]:.3f})"
        rates.append(_shown(getattr(counts, rate)) + bounds)
    return [name, counts.total, counts.tp, counts.fp, counts.fn, counts.tn, *rates]


def _difference_text(name: str, comparison: Comparison) -> str:
    rows = [
        [group, d["only_ours"], d["only_theirs"], _shown(d["difference"]), f"{d['p']:.2g}"]
        for group, d in comparison.differences.items()
    ]
    header = (f"against {name}", "only we right", "only they right", "difference", "p")
    table = columns_text(header, rows, right=header[1:])
    return f"{table}\n{comparison.missing} scored flows are missing there"


def _apart_text(name: str, values: Mapping[str, Any]) -> str:
    facts = ", ".join(f"{key} {value}" for key, value in values.items() if type(value) is int)
    return f"{name} (apart): {facts}"


def evaluate(
    table: "pa.Table",
    labels: "Labels | str | os.PathLike[str] | pd.DataFrame",
    predictions: "Mapping[str, Labels | str | os.PathLike[str] | pd.DataFrame] | None" = None,
) -> Evaluation:
    """Score flow rows against labels.

    Parameters
    ----------
    table : pyarrow.Table
        Flow rows, of captures that were kept apart (``separate``).
    labels : path of a CSV file, or pandas.DataFrame
        ``path,proto,src,sport,dst,dport,is_vpn,family``.
    predictions : mapping of str to path or DataFrame, optional
        Other tools by name: the same columns, ``family`` and ``vpn_probability`` optional.

    Returns
    -------
    Evaluation

    Raises
    ------
    ClassifierError
        If a label or prediction cannot be used; the error names its line.
    """
    truth = labels if isinstance(labels, Labels) else read_labels(labels)
    rows = match_labels(table, truth)
    known = rows >= 0
    flows = _Flows(table, truth, rows, known)
    scored = flows.group == _SCORED
    counts = Counts.of(flows.truth[scored], flows.called[scored])
    per_family = _per_family(flows)
    scored_f1 = [f["f1"] for f in per_family.values() if f["group"] == _SCORED]
    compared = {}
    for name, source in (predictions or {}).items():
        tool = source if isinstance(source, Labels) else read_labels(source)
        compared[name] = _compared(flows, known, match_labels(table, tool), tool)
    return Evaluation(
        flows=table.num_rows,
        matched=int(known.sum()),
        unmatched_flows=int((~known).sum()),
        unmatched_labels=len(truth.is_vpn) - np.unique(rows[known]).size,
        counts=counts,
        macro_f1=float(np.mean(scored_f1)) if scored_f1 else None,
        per_family=per_family,
        apart={_BARE: _bare(flows), _CIRCUMVENTION: _circumvention(flows)},
        matrix=_matrix(flows),
        brier=_brier(flows.probability[scored], flows.truth[scored]),
        predictions=compared,
    )


class _Flows:
    """The labelled flows as columns of the same length."""

    def __init__(
        self, table: "pa.Table", labels: Labels, rows: NDArray[np.int64], known: NDArray[np.bool_]
    ) -> None:
        found = rows[known]
        self.truth = np.array(labels.is_vpn, np.bool_)[found]
        self.family = np.array(labels.family, object)[found]
        self.called = table.column("is_vpn").to_numpy()[known].astype(np.bool_)
        self.named = np.array(table.column("family").to_pylist(), object)[known]
        self.probability = table.column("vpn_probability").to_numpy()[known]
        self.bare = np.array([name in _ENCAPSULATION for name in self.named], np.bool_)
        self.group = np.array(
            [_group(f, t) for f, t in zip(self.family, self.truth, strict=True)], object
        )
        # What a flow was called: a family only where it counts as found.
        counts = self.called | self.bare
        names = np.where(self.named != "", self.named, UNNAMED)
        self.called_family = np.where(counts, names, NONE).astype(object)


def _group(family: str, is_vpn: bool) -> str:
    if family in _ENCAPSULATION:
        return _BARE
    return _CIRCUMVENTION if is_vpn and family in CIRCUMVENTION else _SCORED


def _per_family(flows: _Flows) -> dict[str, dict[str, Any]]:
    result = {}
    meant = flows.truth | (flows.group == _BARE)
    for family in sorted(set(flows.family[meant]) - {""}):
        truth = meant & (flows.family == family)
        group = str(flows.group[truth][0])
        inside = flows.group == group
        name = flows.named == family
        call = flows.called_family == family
        if family == _BARE:  # a label that names no kind of encapsulation: any will do
            name, call = flows.bare, flows.bare
        counts = Counts.of(truth[inside], call[inside])
        result[family] = {
            "group": group,
            "labels": int(truth.sum()),
            "detected": int((truth & flows.called).sum()),
            "named": int((truth & name).sum()),
            "tp": counts.tp,
            "fp": counts.fp,
            "fn": counts.fn,
            "precision": counts.precision,
            "recall": counts.recall,
            "f1": counts.f1,
        }
    return result


def _bare(flows: _Flows) -> dict[str, Any]:
    """Score bare encapsulation: it should be recognised, and must not be called a VPN."""
    here = flows.group == _BARE
    total, called = int(here.sum()), int((here & flows.called).sum())
    return {
        "flows": total,
        "recognised": int((here & flows.bare).sum()),
        "called_vpn": called,
        "called_vpn_interval": _listed(wilson(called, total)),
    }


def _circumvention(flows: _Flows) -> dict[str, Any]:
    here = flows.group == _CIRCUMVENTION
    total, found = int(here.sum()), int((here & flows.called).sum())
    return {
        "flows": total,
        "detected": found,
        "named": int((here & (flows.named == flows.family)).sum()),
        "recall": found / total if total else None,
        "recall_interval": _listed(wilson(found, total)),
    }


def _listed(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)


def _matrix(flows: _Flows) -> dict[str, dict[str, int]]:
    meant = flows.truth | (flows.group == _BARE)
    named = np.where(flows.family != "", flows.family, UNNAMED)
    labels = np.where(meant, named, ORDINARY)
    cells = Counter(zip(labels.tolist(), flows.called_family.tolist(), strict=True))
    result: dict[str, dict[str, int]] = {}
    for label, call in sorted(cells, key=lambda c: (c[0] == ORDINARY, c[0] == UNNAMED, *c)):
        result.setdefault(label, {})[call] = cells[label, call]
    return result


def _brier(probability: NDArray[np.float64], truth: NDArray[np.bool_]) -> float | None:
    return float(np.mean((probability - truth) ** 2)) if truth.size else None


def _compared(
    flows: _Flows, known: NDArray[np.bool_], rows: NDArray[np.int64], tool: Labels
) -> Comparison:
    """Score another tool; ``rows`` are its rows for all flows, -1 where it has none."""
    scored = flows.group == _SCORED
    mine = rows[known][scored]
    answers = np.array([*tool.is_vpn, False], np.bool_)  # the last stands for "no row"
    called = answers[mine]
    truth = flows.truth[scored]
    ours_right, theirs_right = flows.called[scored] == truth, called == truth
    differences: dict[str, dict[str, float | int | None]] = {}
    for name, part in (("all", truth | True), ("vpn", truth), ("ordinary", ~truth)):
        pair = paired(ours_right[part], theirs_right[part])
        difference = (pair.only_first - pair.only_second) / part.sum() if part.any() else None
        differences[name] = {
            "only_ours": pair.only_first,
            "only_theirs": pair.only_second,
            "difference": None if difference is None else float(difference),
            "p": pair.p,
        }
    values = [tool.probability[row] if row >= 0 else None for row in mine]
    given = np.array([value for value in values if value is not None], np.float64)
    return Comparison(
        counts=Counts.of(truth, called),
        missing=int((mine < 0).sum()),
        unmatched=len(tool.is_vpn) - np.unique(rows[rows >= 0]).size,
        differences=differences,
        brier=_brier(given, truth) if given.size == truth.size else None,
    )
