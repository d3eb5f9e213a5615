"""Verbs that classify captures: demo, replay, explain."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from classifier.commands.shared import (
    Verbs,
    add_judging,
    add_reading,
    add_verb,
    classified,
    complain,
    failed,
    prepare_arrow,
    replayed,
    say,
    width,
)
from classifier.errors import ClassifierError

if TYPE_CHECKING:
    from classifier.report.expectations import CheckResult
    from classifier.run import Run

__all__ = ["add"]

VERDICTS = ("allow", "flag", "would_throttle", "would_block")


def add(verbs: Verbs) -> None:
    """Enter the verbs."""
    demo = add_verb(verbs, "demo", "Run the main job on the shipped capture, register and policy.")
    demo.set_defaults(run=_demo)

    replay = add_verb(verbs, "replay", "Read captures, identify flows, apply register and policy.")
    replay.add_argument("captures", nargs="+", metavar="CAPTURE", help="capture, or - for stdin")
    add_judging(replay)
    add_reading(replay)
    replay.add_argument(
        "--threads",
        type=int,
        default=1,
        metavar="N",
        help="read N of several captures at a time, with the same rows (default: %(default)s)",
    )
    replay.add_argument(
        "--out",
        action="append",
        default=[],
        metavar="FILE",
        help="also write .ndjson, .parquet, .csv, a report as .html, or the packets with comments "
        "as .pcapng, repeatable",
    )
    replay.add_argument(
        "--keep-addresses",
        action="store_true",
        help="leave addresses, names and holders in a .html report (default: take them out)",
    )
    replay.add_argument(
        "--anonymize",
        metavar="KEYFILE",
        help="map addresses and names in all output by the 32 bytes of this file (default: do not)",
    )
    replay.add_argument(
        "--keep-payload",
        action="store_true",
        help="write whole packets to a .pcapng (default: their headers)",
    )
    replay.add_argument(
        "--format",
        choices=("table", "ndjson", "csv"),
        default="table",
        help="what to print (default: %(default)s)",
    )
    replay.add_argument(
        "--fail-on", choices=VERDICTS[1:], help="exit 1 if this verdict or a harsher one occurs"
    )
    replay.add_argument("--expect", metavar="FILE", help="expectations: .toml, or earlier .ndjson")
    replay.add_argument("--junit", metavar="FILE", help="write the expectations' results as JUnit")
    replay.set_defaults(run=_replay)

    explain = add_verb(
        verbs, "explain", "Show why a flow got its verdict, and the packets behind it."
    )
    explain.add_argument("captures", nargs="+", metavar="CAPTURE", help="capture")
    explain.add_argument("--flow", required=True, metavar="ID", help="flow id or Community ID")
    explain.add_argument("--dissect", action="store_true", help="add tshark's view of the packets")
    add_judging(explain)
    add_reading(explain)
    explain.set_defaults(run=_explain)


def _demo(options: argparse.Namespace) -> int:
    from classifier.datasets import demo
    from classifier.run import classify

    files = demo()
    prepare_arrow(options)
    _print_report(classify(files.capture, registry=files.register, policy=files.policy))
    return 0


def _print_report(run: "Run") -> None:
    from classifier.report.text import report_text, wants_colour

    colour = wants_colour(sys.stdout)
    say(report_text(run.table, run.accounting, width=width(), colour=colour))


def _replay(options: argparse.Namespace) -> int:
    from classifier.run import Run

    if "-" in options.out and options.format == "table":
        options.format = "ndjson"  # what ``--out -`` writes; a table beside it would spoil it
    options.out = [path for path in options.out if path != "-"]
    if options.junit and not options.expect:
        raise ClassifierError("--junit has nothing to write", remedy="give --expect too")
    expected = None
    if options.expect:
        from classifier.report.expectations import open_expectations

        expected = open_expectations(options.expect)
    for path in [*options.out, *([options.junit] if options.junit else [])]:
        _must_be_writable(path, options)
    key = None
    if options.anonymize is not None:
        from classifier.report.anonymize import Anonymizer

        if options.keep_addresses:
            raise ClassifierError(
                "--keep-addresses and --anonymize exclude each other",
                remedy="leave one of them out",
            )
        key = Anonymizer.open(options.anonymize)
    with replayed(options) as rows:
        run = rows.run() if options.format == "table" or options.expect else None
        if run and key:
            run = Run(key.table(run.table), run.accounting)
        for path in options.out:
            rows.write(
                path,
                keep_addresses=options.keep_addresses,
                anonymize=key,
                keep_payload=options.keep_payload,
            )
        if options.format == "table" and run:
            _print_report(run)
        else:
            rows.write("-", options.format, anonymize=key)
            from classifier.report.text import accounting_text

            complain(accounting_text(rows.reading.accounting).rstrip())
        code = 2 if rows.reading.failed else 0
        if run and expected and not _meets(expected(run.table), options.junit):
            code = max(code, 1)
        if options.fail_on:
            harsh = set(VERDICTS[VERDICTS.index(options.fail_on) :])
            found = any(harsh & set(b.column("verdict").to_pylist()) for b in rows.batches())
            code = max(code, 1 if found else 0)
    return code


def _must_be_writable(path: str, options: argparse.Namespace) -> None:
    """Refuse, before the work, what could not be written in the end, or is an input."""
    from classifier.report.formats import output_format
    from classifier.run import same_file

    problem = remedy = ""
    inputs = [*options.captures, options.registry, options.policy, options.expect]
    if any(same_file(given, path) for given in inputs if given):
        problem, remedy = "is one of the files that are read", "name another file"
    elif path != options.junit and output_format(path) == "pcapng":
        if "-" in options.captures:
            problem, remedy = "packets of a stream cannot be read again", "name a file"
        elif options.anonymize is not None:
            problem = "packets hold addresses that a key does not reach"
            remedy = "write flows with the key, or packets without"
    if not problem and path != "-" and not Path(path).parent.is_dir():
        problem, remedy = "the folder does not exist", "make it first"
    if problem:
        raise ClassifierError(problem, path=path, remedy=remedy)


def _meets(results: "list[CheckResult]", junit: str | None) -> bool:
    """Tell what differs from expectations, and write JUnit where asked."""
    from classifier.report.expectations import junit_xml

    complain(*(f"{r.name}: {r.message}" for r in results if not r.passed))
    if junit:
        junit_xml(results, junit)
    return all(r.passed for r in results)


def _explain(options: argparse.Namespace) -> int:
    run = classified(options)
    flow_id, *others = _flows_named(run, options.flow)
    say(str(run.explain(flow_id)))
    if others:
        complain(f"{options.flow} is also that of {', '.join(f'flow {i}' for i in others)}")
    if options.dissect:
        for packet in run.dissect(flow_id):
            say(str(packet))
    return failed(run)


def _flows_named(run: "Run", name: str) -> list[int]:
    """Return the flows of a number, or of a Community ID: several where timeouts split them."""
    import pyarrow.compute as pc

    if name.isdecimal() and len(name) < 19:
        return [int(name)]
    rows = pc.equal(run.table.column("community_id"), name)
    found: list[int] = run.table.column("flow_id").filter(rows).to_pylist()
    if not found:
        raise ClassifierError(
            f"there is no flow {name[:100]!r}",
            remedy="give a flow_id or community_id that replay prints",
        )
    return found
