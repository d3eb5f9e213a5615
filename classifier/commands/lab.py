"""Verbs of the lab."""

import argparse

from classifier.commands.shared import Verbs, add_verb, complain, say
from classifier.errors import ClassifierError

__all__ = ["add"]


def add(verbs: Verbs) -> None:
    """Enter the verbs."""
    parser = add_verb(verbs, "lab", "Make labelled captures from real VPN software (Linux, root).")
    inner = parser.add_subparsers(dest="lab_verb", metavar="COMMAND", required=True)
    listed = inner.add_parser("list", help="list the scenarios")
    listed.set_defaults(run=_lab_list)
    made = inner.add_parser("make", help="make runs of scenarios (Linux, root)")
    option = made.add_argument
    option("scenarios", nargs="*", metavar="SCENARIO", help="names, or name* (default: all)")
    option("--out", required=True, metavar="DIR", help="folder for the runs")
    option("--seed", type=int, default=1, metavar="N", help="of all choices (default: 1)")
    option("--repeat", type=int, default=1, metavar="N", help="runs of each, seeds N, N+1 ...")
    option("--jobs", type=int, default=1, metavar="N", help="runs side by side (default: 1)")
    option("--set", metavar="FILE", help="make the runs that a set's manifest names")
    option("--logs", action="store_true", help="keep logs of failed runs in DIR/logs")
    made.set_defaults(run=_lab_make)


def _lab_list(options: argparse.Namespace) -> int:
    from classifier.lab.make import listing

    for line in listing():
        say(line)
    return 0


def _lab_make(options: argparse.Namespace) -> int:
    from pathlib import Path

    from classifier.lab.make import Job, jobs_of_set, make
    from classifier.lab.stage import select

    if options.set and options.scenarios:
        raise ClassifierError("--set names the scenarios already", remedy="give one of both")
    if options.set:
        jobs = jobs_of_set(Path(options.set))
    else:
        seeds = range(options.seed, options.seed + max(1, options.repeat))
        jobs = [Job(one, seed) for one in select(options.scenarios) for seed in seeds]
    made = make(
        jobs, Path(options.out), side_by_side=options.jobs, logs=options.logs, tell=complain
    )
    flows = sum(int(str(facts["flows"])) for facts in made.done)
    say(
        f"{options.out}: {len(made.done)} runs, {flows} flows, {len(made.failed)} failed, "
        f"{len(made.skipped)} scenarios skipped"
    )
    return 2 if made.failed or not made.done else 0
