"""From labelled captures to a model and its card, and back to figures."""

import csv
import datetime
import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from classifier.errors import ClassifierError, ModelError
from classifier.identify import PROBABILITY
from classifier.model.bench import KINDS
from classifier.model.files import load_model, save_model, write_card
from classifier.model.measures import BASE_RATES, restated_precision
from classifier.model.training import SHARE_LIKE, Examples, Outcome, train
from classifier.tables import FAMILIES, PREVALENCE, Kind, Strength

if TYPE_CHECKING:
    from classifier.model.learned import Model

__all__ = ["examples_of", "note_limits", "train_to", "write_plots"]

Progress = Callable[[str], None]

#: Keys of a report by what was left out; the second where there were enough scenarios.
_SPLITS = (("", "captures left out"), ("scenario_", "scenarios left out"))

_HEADER = (
    *("flows", "tunnels", "area under ROC", "found at 0.5", "false at 0.5"),
    *("found at 1 % false", "at 0.1 % false", "calibration error"),
)


def examples_of(
    captures: Sequence[str | Path], labels: str | Path, *, progress: Progress | None = None
) -> Examples:
    """Return the labelled flows of captures, with their features.

    Parameters
    ----------
    captures : sequence of path
        Each is a group: a split keeps it on one side.
    labels : path
        Labels of all of them.
    progress : callable, optional
        Told of each capture.

    Returns
    -------
    labelled : Examples
        Without bare encapsulation, which is neither a tunnel nor an example of other traffic.

    Raises
    ------
    ModelError
        If no flow has a label.
    ClassifierError
        If a capture or the labels cannot be read.
    """
    from classifier.run import classify

    parts = []
    for done, path in enumerate(captures):
        if progress:
            progress(f"capture {done + 1} of {len(captures)}: {Path(path).name}")
        run = classify(path, labels=labels, model=None, progress=False)
        table = run.table
        known = table.column("label_is_vpn").is_valid().to_numpy()
        families = np.array(table.column("label_family").fill_null("").to_pylist(), object)
        bare = [FAMILIES.get(name) == Kind.ENCAPSULATION for name in families]
        rows = np.flatnonzero(known & ~np.array(bare, bool))
        if not rows.size:
            continue
        packets = table.column("orig_packets").to_numpy() + table.column("resp_packets").to_numpy()
        labelled = table.column("label_is_vpn").fill_null(False).to_numpy()
        parts.append(
            Examples(
                run.features.to_numpy(np.float32)[rows],
                labelled[rows].astype(np.int8),
                families[rows],
                np.array(table.column("application").to_pylist(), object)[rows],
                np.full(rows.size, Path(path).name, object),
                packets[rows],
                _raised(table.column("vpn_probability").to_numpy()[rows]),
            )
        )
    if not parts:
        raise ModelError(
            "no flow of these captures has a label", path=str(labels), remedy="check the labels"
        )
    return Examples(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in (field.name for field in fields(Examples))
        )
    )


def _raised(detected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what evidence raises a model's word to: 0 without any, which says nothing."""
    return np.where(detected > PROBABILITY[Strength.NONE], detected, 0.0)


def train_to(
    folder: str | Path,
    captures: Sequence[str | Path],
    labels: str | Path,
    *,
    split: str = "grouped",
    seed: int = 1,
    source: str = "",
    notes: str | Path | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Train a model on labelled captures and write it with its card.

    Parameters
    ----------
    folder : path
        Where ``model.npz``, ``card.json`` and ``card.md`` are written.
    captures, labels, split, seed, progress
        As for `examples_of` and `classifier.model.train`.
    source : str
        Where the captures come from, for the card.
    notes : path, optional
        Limits for the card, as for `note_limits`.

    Returns
    -------
    Outcome
    """
    import sklearn

    limits = _limits(notes) if notes is not None else []  # what is wrong with them is told first
    examples = examples_of(captures, labels, progress=progress)
    outcome = train(examples, split=split, name=Path(folder).name, seed=seed, progress=progress)
    families = examples.families[examples.labels == 1].astype(str)
    names, counts = np.unique(families, return_counts=True)
    outcome.model.card.update(
        {
            "use": "says how likely a flow is tunnelled where no protocol can be named",
            "licence": "Apache-2.0",
            "trained": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "scikit_learn": sklearn.__version__,
            "source": source or "labelled captures",
            "prevalence": PREVALENCE,
            "like": SHARE_LIKE,
            "flows_by_family": dict(zip(names.tolist(), counts.tolist(), strict=True)),
            "report": outcome.report,
        }
        | ({"limits": limits} if limits else {})
    )
    path = save_model(outcome.model, folder)
    (path / "card.md").write_text(card_text(outcome.model), encoding="utf-8")
    return outcome


def note_limits(folder: str | Path, notes: str | Path) -> "Model":
    """Write limits into the cards of a model: what was found after it was trained; arrays stay.

    Parameters
    ----------
    folder : path
        Of the model.
    notes : path
        Text in UTF-8: a limit a line, instead of those that the card has.

    Returns
    -------
    Model
        With the new card.
    """
    limits = _limits(notes)
    model = load_model(Path(folder))
    model.card["limits"] = limits
    write_card(model.card, Path(folder))
    (Path(folder) / "card.md").write_text(card_text(model), encoding="utf-8")
    return model


def _limits(notes: str | Path) -> list[str]:
    try:
        lines = Path(notes).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ClassifierError(
            f"cannot be read ({error})", path=str(notes), remedy="give a text file, a limit a line"
        ) from error
    return [line.strip() for line in lines if line.strip()]


def card_text(model: "Model") -> str:
    """Return a model's card for people.

    Raises
    ------
    ModelError
        If what its ``card.json`` says was not written by `train_to`.
    """
    try:
        return _card_text(model)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ModelError(
            f"its card cannot be shown ({error!r})", path=model.name, remedy="train it again"
        ) from error


def _card_text(model: "Model") -> str:
    card, report = model.card, model.card["report"]
    far = report.get("scenarios_left_out", True)
    splits = _SPLITS[: 1 + far]
    lines = [
        f"# {model.name}",
        "",
        f"A model that {card['use']}. It never names a family and goes beyond no verdict of",
        "`flag` in the built-in policies.",
        "",
        f"- Trained {card['trained']} with scikit-learn {card['scikit_learn']} on {card['source']}.",
        f"- {report['captures']:,} captures with {report['flows']:,} flows, {report['tunnels']:,} of",
        f"  them tunnels; {report['repeated_rows']:.1%} of the rows repeat another.",
        f"- Split: {report['split']}, {report['folds']} folds, seed {report['seed']}.",
        f"- Asked about flows of {', '.join(model.applications)} with {model.least_packets} packets",
        f"  and more; flows farther from every training flow than {card['like']:.0%} of those are from the",
        "  other captures are only ranked: half of the log-odds above 0.005 count, 0.34 at most.",
        f"- Calibrated (Platt) for {card['prevalence']:.0%} tunnels among the flows it speaks of, on {_SPLITS[far][1]}"
        + (
            " whole:\n  its word on software that it knows is more cautious than it need be."
            if far
            else "."
        ),
        "- Families of circumvention tools are not in its training data.",
        "",
        "## On captures that the predicting model has not seen",
        "",
        "| | " + " | ".join(_HEADER) + " |",
        "|---" * (len(_HEADER) + 1) + "|",
        *(_line(words, row) for words, row in _parts(report).items()),
        *(_line(f"baseline: {name}", row) for name, row in report["baselines"].items()),
        "",
        "Hidden are tunnels that no detector is sure of. Each of their captures weighing alike, with detectors, "
        + "; ".join(
            f"{words} {_share(by['0.01'])} are found at 1 % false and {_share(by['0.001'])} at 0.1 %"
            for words, by in (
                (words, report[f"{key}together"]["hidden_by_capture"]) for key, words in splits
            )
        )
        + ".",
        "",
        "| family | flows | found at 0.5 | left out of training: found at 0.5 | at 1 % false |",
        "|---|---|---|---|---|",
    ]
    for name, row in report["all_tunnels"]["families"].items():
        left = report["left_out_families"].get(name)
        without = f"{left['found']} of {left['flows']}" if left else "-"
        at = _share(left["found_at_false_rate"]["0.01"]) if left else "-"
        lines.append(f"| {name} | {row['flows']} | {row['found']} | {without} | {at} |")
    lines += [
        "",
        "## Precision at 0.5 where tunnels are rarer",
        "",
        "Of flows it is asked about; in brackets what the 95 % intervals of both rates leave open.",
        "",
        "| share of tunnels | " + " | ".join(words for _, words in splits) + " |",
        "|---" * (1 + len(splits)) + "|",
        *(
            f"| {rate:.2%} | "
            + " | ".join(_precision(report[f"{key}in_scope"], rate) for key, _ in splits)
            + " |"
            for rate in BASE_RATES
        ),
        "",
        "## Features, in order",
        "",
        ", ".join(f"`{name}`" for name in model.features),
    ]
    lines += ["", *_bench_lines(report)]
    notes = card.get("limits")
    if notes:
        lines += ["", "## Limits", "", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def _parts(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the figures of a report by what they are of."""
    rows = {}
    for key, words in _SPLITS[: 1 + report.get("scenarios_left_out", True)]:
        rows[f"{words}: flows it is asked about"] = report[f"{key}in_scope"]
        rows[f"{words}: and tunnels with a name"] = report[f"{key}all_tunnels"]
        rows[f"{words}: with detectors, all flows"] = report[f"{key}together"]["all"]
        rows[f"{words}: with detectors, hidden tunnels"] = report[f"{key}together"]["hidden"]
    if "circumvention" in report:
        rows["circumvention"] = report["circumvention"]
    return rows


def _bench_lines(report: dict[str, Any]) -> list[str]:
    """Return what more captures bring, what the model looks at, and how true its word is."""
    if "learning_curve" not in report:
        return []
    silent, far = report["silent"], report["scenario_silent"]
    return [
        "## What more captures bring",
        "",
        "Trained on some of the captures of each fold, asked about those left out; 95 % over these.",
        "",
        "| captures | tunnels | area under ROC | found at 1 % false |",
        "|---|---|---|---|",
        *(
            f"| {point['captures']:,.0f} | {point['tunnels']:,.0f} "
            f"| {point['auc']:.4f} ({_pair(point['auc_interval'], '.4f')}) "
            f"| {point['recall_at_1_percent']:.2%} ({_pair(point['recall_interval'], '.1%')}) |"
            for point in report["learning_curve"]
            if point["auc_interval"]
        ),
        "",
        "## What it looks at",
        "",
        "What is lost on captures left out where all features of a kind are exchanged between flows:",
        "mean, least and greatest of three times.",
        "",
        "| kind | features | area lost | found at 1 % false, lost |",
        "|---|---|---|---|",
        *(
            f"| {KINDS[row['kind']]} | {row['columns']} "
            f"| {row['auc_lost']:.4f} ({_pair(row['auc_lost_range'], '.4f')}) "
            f"| {row['recall_lost']:.2%} ({_pair(row['recall_lost_range'], '.1%')}) |"
            for row in report["importance"]
        ),
        "",
        "## How true its word is",
        "",
        "On scenarios left out, at the share of tunnels that these have. Silent, and only ranked, are",
        f"{far['ordinary']:.1%} of the ordinary flows and {far['tunnels']:.1%} of the tunnels; on captures left",
        f"out {silent['ordinary']:.1%} and {silent['tunnels']:.1%}.",
        "",
        "| stated | true | flows |",
        "|---|---|---|",
        *(
            f"| {said:.3f} | {true:.3f} | {n:,.0f} |"
            for said, true, n in report["scenario_reliability"]
        ),
    ]


def _pair(bounds: Sequence[float], form: str) -> str:
    return " to ".join(format(bound, form) for bound in bounds)


def _line(name: str, row: dict[str, Any]) -> str:
    at = row["recall_at_false_rate"]
    cells = (
        f"{row['flows']:,}",
        f"{row['tunnels']:,}",
        f"{row['auc']:.4f}" if row["auc"] is not None else "-",
        f"{row['found']} ({_share(row['recall'])})",
        f"{row['false']} ({_share(row['false_rate'])})",
        _share(at["0.01"]),
        _share(at["0.001"]),
        f"{row['calibration_error']:.4f}" if row["calibration_error"] is not None else "-",
    )
    return f"| {name} | {' | '.join(cells)} |"


def _precision(row: dict[str, Any], base_rate: float) -> str:
    """Return precision at another share of tunnels, and what the rates behind it leave open."""
    at = row["precision_at_base_rate"][f"{base_rate:g}"]
    recall, false = row["recall_interval"], row["false_rate_interval"]
    if at is None or recall is None or false is None:
        return "-"
    worst = restated_precision(recall[0], false[1], base_rate)
    best = restated_precision(recall[1], false[0], base_rate)
    return f"{at:.1%} ({worst:.1%} to {best:.1%})"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def captures_of(labels: str | Path, captures: Sequence[str]) -> list[Path]:
    """Return the captures to learn from: those given, or all that a labels file names.

    Raises
    ------
    ClassifierError
        If a named capture is nowhere below the folder of the labels.
    """
    if captures:
        return [Path(path) for path in captures]
    place = Path(labels)
    try:
        with place.open(encoding="utf-8", newline="") as lines:
            names = sorted({row.get("path") or "" for row in csv.DictReader(lines)} - {""})
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ClassifierError(
            f"cannot be read ({error})", path=str(labels), remedy="give a labels.csv"
        ) from error
    there = {path.name: path for path in place.parent.rglob("*") if path.is_file()}
    missing = [name for name in names if Path(name).name not in there]
    if missing:
        raise ClassifierError(
            f"{missing[0]} is nowhere below the folder of the labels",
            path=str(labels),
            remedy="put the captures beside them, or name the captures",
        )
    return [there[Path(name).name] for name in names]


def write_plots(outcome: Outcome, folder: str | Path) -> list[Path]:
    """Write plots of what was measured as SVG beside a model; return where they lie.

    Raises
    ------
    ResourceError
        If matplotlib is not installed.
    """
    from classifier.report import learning_plots
    from classifier.report.plots import svg

    report = outcome.report
    figures = {
        "reliability": learning_plots.reliability(report["scenario_reliability"]),
        "learning_curve": learning_plots.learning_curve(report["learning_curve"]),
        "importance": learning_plots.importance(report["importance"], KINDS),
    }
    paths = [Path(folder) / f"{name}.svg" for name in figures]
    for path, figure in zip(paths, figures.values(), strict=True):
        path.write_text(svg(figure), encoding="utf-8")
    return paths


def report_json(outcome: Outcome) -> str:
    """Return a report as JSON."""
    return json.dumps(outcome.report, indent=2, allow_nan=False)
