"""The verb that says what a policy does to whom."""

import argparse
import math
from typing import TYPE_CHECKING, Any

from classifier.commands.shared import (
    Verbs,
    add_judging,
    add_reading,
    add_verb,
    classified,
    failed,
    open_registry,
    reading_options,
    say,
    width,
)
from classifier.errors import ClassifierError

if TYPE_CHECKING:
    from classifier.run import Run

__all__ = ["add"]


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no rate from 0 to 1")
    return value


def _days(text: str) -> float:
    from classifier.impact import MOST_DAYS

    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= MOST_DAYS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days from 0 to {MOST_DAYS:,}")
    return value


def _count(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e12:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of flows")
    return value


def add(verbs: Verbs) -> None:
    """Enter the verb."""
    impact = add_verb(
        verbs, "impact", "Say whom a policy would have hit, how often by mistake, and when."
    )
    impact.add_argument(
        "captures", nargs="*", metavar="CAPTURE", help="captures, or runs written as .parquet"
    )
    add_judging(impact)
    impact.add_argument("--labels", metavar="L", help="labels.csv; tells mistakes apart")
    impact.add_argument(
        "--base-rate",
        action="append",
        type=_rate,
        metavar="RATE",
        help="share of VPNs to restate precision to, repeatable (default: 0.1 to 0.0001)",
    )
    impact.add_argument(
        "--stale-days",
        action="append",
        type=_days,
        metavar="D",
        help="also with a register this many days old, repeatable (default: 7, 30, 90)",
    )
    impact.add_argument(
        "--cgnat",
        action="append",
        type=_rate,
        metavar="K",
        help="also with this share of users behind CGNAT, repeatable (default: 0.1, 0.5)",
    )
    impact.add_argument(
        "--format", choices=("table", "json"), default="table", help="(default: %(default)s)"
    )
    impact.add_argument("--tpr", type=_rate, metavar="X", help="without captures: VPN flows hit")
    impact.add_argument("--fpr", type=_rate, metavar="X", help="ordinary flows hit")
    impact.add_argument("--flows-per-user-day", type=_count, metavar="N", help="flows of a user")
    add_reading(impact)
    impact.set_defaults(run=_impact)


def _impact(options: argparse.Namespace) -> int:
    given = [options.tpr, options.fpr, options.flows_per_user_day]
    if not options.captures:
        return _arithmetic(options)
    if any(value is not None for value in given):
        raise ClassifierError(
            "--tpr, --fpr and --flows-per-user-day are for arithmetic without captures",
            remedy="leave the captures out, or the three options",
        )
    from classifier.impact import CGNAT_SHARES, STALE_DAYS

    labels = None
    if options.labels:  # their mistakes are told before the work, not after
        from classifier.report.labels import read_labels

        labels = read_labels(options.labels)
    run = _opened(options)
    found = run.impact(
        labels,
        base_rates=options.base_rate,
        stale_days=options.stale_days or STALE_DAYS,
        cgnat=options.cgnat or CGNAT_SHARES,
    )
    say(found.json() if options.format == "json" else found.text(width()))
    return failed(run)


def _opened(options: argparse.Namespace) -> "Run":
    """Classify captures, or open runs and judge them again where options ask for that."""
    written = [path for path in options.captures if path.endswith(".parquet")]
    if not written:
        return classified(options)
    from classifier.run import join_runs, open_run

    for path in options.captures:
        if path not in written:
            problem = "captures and written runs cannot be counted together"
            raise ClassifierError(problem, path=path, remedy="write a run of it by replay --out")
    for name in reading_options(options):
        raise ClassifierError(
            f"{name} is for reading captures, and this is a run",
            path=written[0],
            remedy="leave it out, or name the captures",
        )
    runs = [open_run(path) for path in written]
    if options.policy or options.registry or options.at:
        registry = open_registry(options)
        runs = [run.judge(options.policy, registry, options.at) for run in runs]
    return join_runs(runs) if len(runs) > 1 else runs[0]


def _arithmetic(options: argparse.Namespace) -> int:
    import json

    from classifier.policy.mistakes import arithmetic
    from classifier.report.impact import arithmetic_text

    rates = options.base_rate or []
    if options.tpr is None or options.fpr is None or not rates:
        raise ClassifierError(
            "there is nothing to count",
            remedy="name a capture, or give --tpr, --fpr and --base-rate",
        )
    rows = [arithmetic(options.tpr, options.fpr, r, options.flows_per_user_day) for r in rates]
    if options.format == "json":
        plain: list[dict[str, Any]] = [
            {k: v if math.isfinite(v) else None for k, v in row.items()} for row in rows
        ]
        say(json.dumps(plain[0] if len(plain) == 1 else plain, indent=2))
    else:
        say("\n\n".join(map(arithmetic_text, rows)))
    return 0
