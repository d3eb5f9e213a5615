"""The verb that compares with labels."""

import argparse
from typing import Any

from classifier.commands.shared import (
    Verbs,
    add_reading,
    add_verb,
    classified,
    complain,
    failed,
    replayed,
    say,
)
from classifier.errors import ClassifierError

__all__ = ["add"]


def add(verbs: Verbs) -> None:
    """Enter the verbs."""
    evaluate = add_verb(verbs, "evaluate", "Compare what was identified with labels.")
    evaluate.add_argument("captures", nargs="+", metavar="CAPTURE", help="capture")
    evaluate.add_argument("--labels", required=True, metavar="L", help="labels.csv")
    evaluate.add_argument(
        "--predictions",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="score another tool's predictions on the same flows, repeatable",
    )
    evaluate.add_argument(
        "--perturb",
        nargs="?",
        const="all",
        metavar="NAMES",
        help="judge again under perturbations, all or comma-separated: padding, jitter, loss, "
        "truncation, midflow, mtu, ports",
    )
    evaluate.add_argument("--min-recall", type=float, metavar="X", help="exit 1 below this recall")
    evaluate.add_argument(
        "--max-false", type=float, metavar="Y", help="exit 1 above this false-positive rate"
    )
    evaluate.add_argument(
        "--format", choices=("table", "json"), default="table", help="(default: %(default)s)"
    )
    add_reading(evaluate)
    evaluate.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    import json

    from classifier.evaluation import evaluate
    from classifier.report.labels import read_labels

    for bound in ("min_recall", "max_false"):
        value = getattr(options, bound)
        if value is not None and not 0 <= value <= 1:
            raise ClassifierError(
                f"--{bound.replace('_', '-')} {value} is no rate",
                remedy="give a number from 0 to 1",
            )
    predictions: dict[str, Any] = {}
    for item in options.predictions:
        name, separator, path = item.partition("=")
        if not separator:
            raise ClassifierError(f"--predictions {item}", remedy="give NAME=FILE")
        predictions[name] = read_labels(path)
    if options.perturb is not None:
        return _perturb(options)
    labels = read_labels(options.labels)
    run = classified(options, separate=True)
    result = evaluate(run.table, labels, predictions=predictions)
    as_json = options.format == "json"
    say(json.dumps(result.to_json(), indent=2) if as_json else result.text())
    code = failed(run)
    figures = result.to_json()
    if options.min_recall is not None and not (figures["recall"] or 0) >= options.min_recall:
        complain(f"recall {figures['recall']} is below {options.min_recall}")
        code = max(code, 1)
    if options.max_false is not None and (figures["fpr"] or 0) > options.max_false:
        complain(f"false-positive rate {figures['fpr']} is above {options.max_false}")
        code = max(code, 1)
    return code


def _perturb(options: argparse.Namespace) -> int:
    """Print how verdicts move when packets are changed."""
    import json

    from classifier.perturb import PERTURBATIONS, movements, movements_text, perturbation
    from classifier.report.labels import read_labels

    for option in ("predictions", "min_recall", "max_false"):
        if getattr(options, option) not in ([], None):
            raise ClassifierError(
                f"--{option.replace('_', '-')} says nothing about --perturb",
                remedy="give one of them",
            )
    names = list(PERTURBATIONS) if options.perturb == "all" else options.perturb.split(",")
    for name in names:
        perturbation(name)
    labels = read_labels(options.labels)
    with replayed(options, separate=True) as rows:
        run, reading = rows.run(), rows.reading
    moved = movements(run.table, labels, reading.opened, reading.options, names)
    as_json = options.format == "json"
    say(json.dumps([m.to_json() for m in moved], indent=2) if as_json else movements_text(moved))
    return failed(run)
