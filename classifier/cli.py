"""The command ``classifier``: options in, exit code out.

Exit 0: done. 1: done, and what ``--fail-on``, ``--expect`` or a bound of ``evaluate`` names
happened. 2: something could not be done; one line each on standard error.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from classifier import __version__
from classifier.errors import ClassifierError

if TYPE_CHECKING:
    from classifier.run import Replay, Run

__all__ = ["main"]

VERDICTS = ("allow", "flag", "would_throttle", "would_block")


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"{self.prog}: {message}; see {self.prog} --help\n")
        raise SystemExit(2)


def _seconds(text: str) -> float | None:
    if text == "none":
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is neither seconds above 0 nor 'none'")
    return value


def _add_reading(parser: argparse.ArgumentParser) -> None:
    """Options that change how captures are read and flows identified."""
    add = parser.add_argument
    add("--model", default="default", metavar="M", help="model, or none (default: %(default)s)")
    add("--threshold", type=float, default=0.5, help="probability of a VPN (default: %(default)s)")
    add(
        "--local",
        action="append",
        metavar="PREFIX",
        help="prefix of the inside network, repeatable (default: private, link-local and "
        "unique-local addresses)",
    )
    add(
        "--idle-timeout",
        type=_seconds,
        default=600.0,
        metavar="S",
        help="seconds without a packet that end a flow, or none (default: 600)",
    )
    add(
        "--active-timeout",
        type=_seconds,
        default=None,
        metavar="S",
        help="seconds after which a flow is split, or none (default: none)",
    )
    add("--decapsulate", action="store_true", help="make rows of inner flows (default: outer)")
    add("--separate", action="store_true", help="keep captures apart (default: one run)")


def _add_judging(parser: argparse.ArgumentParser) -> None:
    """Options for register and policy."""
    add = parser.add_argument
    add("--registry", metavar="R", help="register: .csv, .json, .db or a database URL")
    add("--skip-bad-rows", action="store_true", help="load the good rows of a register with bad")
    add(
        "--policy",
        metavar="P",
        help="policy: built-in name or .toml (default: registered-only with a register, else "
        "observe-only)",
    )
    add("--at", metavar="TIME", help="look registrations up as of this time (default: each flow's)")


def _build() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="classifier",
        description="Find VPN flows in recorded traffic and report what a policy would have done.",
    )
    parser.add_argument("--version", action="version", version=f"classifier {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="COMMAND", required=True)

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text)
        return made

    demo = verb("demo", "Run the main job on the shipped capture, register and policy.")
    demo.set_defaults(run=_demo)

    replay = verb("replay", "Read captures, identify flows, apply register and policy.")
    replay.add_argument("captures", nargs="+", metavar="CAPTURE", help="capture, or - for stdin")
    _add_judging(replay)
    _add_reading(replay)
    replay.add_argument(
        "--out",
        action="append",
        default=[],
        metavar="FILE",
        help="also write .ndjson, .parquet or .csv, repeatable",
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

    explain = verb("explain", "Show why a flow got its verdict, and the packets behind it.")
    explain.add_argument("captures", nargs="+", metavar="CAPTURE", help="capture")
    explain.add_argument("--flow", required=True, metavar="ID", help="flow id or Community ID")
    explain.add_argument("--dissect", action="store_true", help="add tshark's view of the packets")
    _add_judging(explain)
    _add_reading(explain)
    explain.set_defaults(run=_explain)

    evaluate = verb("evaluate", "Compare what was identified with labels.")
    evaluate.add_argument("captures", nargs="+", metavar="CAPTURE", help="capture")
    evaluate.add_argument("--labels", required=True, metavar="L", help="labels.csv")
    evaluate.add_argument(
        "--predictions",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="score another tool's predictions on the same flows, repeatable",
    )
    evaluate.add_argument("--min-recall", type=float, metavar="X", help="exit 1 below this recall")
    evaluate.add_argument(
        "--max-false", type=float, metavar="Y", help="exit 1 above this false-positive rate"
    )
    evaluate.add_argument(
        "--format", choices=("table", "json"), default="table", help="(default: %(default)s)"
    )
    _add_reading(evaluate)
    evaluate.set_defaults(run=_evaluate)

    detectors = verb("detectors", "List what can be recognised, how surely, and what cannot.")
    detectors.set_defaults(run=_detectors)
    _build_registry(verb("registry", "Look into a register of permitted VPN addresses."))
    _build_lab(verb("lab", "Make labelled captures from real VPN software (Linux, root)."))
    _build_policy(verb("policy", "Check and list policies."))
    return parser


def _build_registry(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="registry_verb", metavar="COMMAND", required=True)
    lookup = verbs.add_parser("lookup", help="which registration covers an address")
    lookup.add_argument("addresses", nargs="+", metavar="ADDRESS")
    lookup.add_argument("--registry", required=True, metavar="R", help=".csv, .json, .db or URL")
    lookup.add_argument("--at", metavar="TIME", help="as of this time (default: now)")
    lookup.add_argument("--side", choices=("client", "server"), help="(default: any)")
    lookup.add_argument("--proto", help="transport (default: any)")
    lookup.add_argument("--port", type=int, help="server port (default: any)")
    lookup.add_argument("--skip-bad-rows", action="store_true", help="use the good rows")
    lookup.set_defaults(run=_registry_lookup)
    imported = verbs.add_parser("import", help="copy registers into a database")
    imported.add_argument("sources", nargs="+", metavar="SOURCE", help=".csv, .json or .db")
    imported.add_argument("--into", required=True, metavar="DB", help=".db file or URL")
    imported.add_argument("--skip-bad-rows", action="store_true", help="take the good rows")
    imported.set_defaults(run=_registry_import)
    stats = verbs.add_parser("stats", help="count what a register holds")
    stats.add_argument("registry", metavar="REGISTER", help=".csv, .json, .db or URL")
    stats.add_argument("--at", metavar="TIME", help="as of this time (default: now)")
    stats.add_argument("--skip-bad-rows", action="store_true", help="use the good rows")
    stats.set_defaults(run=_registry_stats)


def _build_policy(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="policy_verb", metavar="COMMAND", required=True)
    check = verbs.add_parser("check", help="check policies without a capture")
    check.add_argument("policies", nargs="+", metavar="POLICY", help=".toml or built-in name")
    check.set_defaults(run=_policy_check)
    listed = verbs.add_parser("list", help="list the built-in policies")
    listed.set_defaults(run=_policy_list)


def _build_lab(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="lab_verb", metavar="COMMAND", required=True)
    listed = verbs.add_parser("list", help="list the scenarios")
    listed.set_defaults(run=_lab_list)
    made = verbs.add_parser("make", help="make runs of scenarios (Linux, root)")
    add = made.add_argument
    add("scenarios", nargs="*", metavar="SCENARIO", help="names, or name* (default: all)")
    add("--out", required=True, metavar="DIR", help="folder for the runs")
    add("--seed", type=int, default=1, metavar="N", help="of all choices (default: 1)")
    add("--repeat", type=int, default=1, metavar="N", help="runs of each, seeds N, N+1 ...")
    add("--jobs", type=int, default=1, metavar="N", help="runs side by side (default: 1)")
    add("--set", metavar="FILE", help="make the runs that a set's manifest names")
    add("--logs", action="store_true", help="keep logs of failed runs in DIR/logs")
    made.set_defaults(run=_lab_make)


def _print(text: str) -> None:
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def _complain(*problems: object) -> None:
    for problem in problems:
        sys.stderr.write(f"{problem}\n")


def _open_registry(options: argparse.Namespace) -> Any:
    """Open the register an option names; rows that were skipped are told."""
    if not options.registry:
        return None
    from classifier.registry import Registry

    registry = Registry.open(options.registry, skip_bad_rows=options.skip_bad_rows)
    _complain(*registry.problems)
    return registry


@contextmanager
def _replayed(options: argparse.Namespace, *, separate: bool | None = None) -> "Iterator[Replay]":
    """Classify the captures that the options name."""
    from classifier.pipeline import expand_captures, make_options
    from classifier.run import replay

    judging: dict[str, Any] = {}
    if hasattr(options, "policy"):
        judging = {
            "registry": _open_registry(options),
            "policy": options.policy,
            "at": options.at,
        }
    made = make_options(
        model=options.model,
        local=options.local,
        threshold=options.threshold,
        idle_timeout_s=options.idle_timeout,
        active_timeout_s=options.active_timeout,
        decapsulate=options.decapsulate,
        separate=options.separate if separate is None else separate,
        **judging,
    )
    _warn_of_collateral(made.policy)
    with replay(expand_captures(options.captures), made) as rows:
        _complain(*rows.reading.problems)
        yield rows


def _run(options: argparse.Namespace, *, separate: bool | None = None) -> "Run":
    with _replayed(options, separate=separate) as rows:
        return rows.run()


def _warn_of_collateral(policy: Any) -> None:
    from classifier.policy import beyond_flag_on_weak

    for rule in beyond_flag_on_weak(policy):
        _complain(
            f"{policy.path}:{rule.line}: rule '{rule.name}' goes beyond flag on weak evidence; "
            "expect it to hit ordinary traffic: see run.summary() and docs/policy.md"
        )


def _failed(run: "Run") -> int:
    return 2 if run.accounting.get("captures_failed", 0) else 0


def _demo(options: argparse.Namespace) -> int:
    from classifier.datasets import demo
    from classifier.run import classify

    files = demo()
    _print_report(classify(files.capture, registry=files.register, policy=files.policy))
    return 0


def _print_report(run: "Run") -> None:
    from classifier.report.text import report_text, wants_colour

    colour = wants_colour(sys.stdout)
    _print(report_text(run.table, run.accounting, width=_width(), colour=colour))


def _width() -> int:
    import shutil

    return shutil.get_terminal_size((110, 24)).columns if sys.stdout.isatty() else 110


def _replay(options: argparse.Namespace) -> int:
    from classifier.report.text import accounting_text
    from classifier.report.writers import output_format

    if "-" in options.out and options.format == "table":
        options.format = "ndjson"  # what ``--out -`` writes; a table beside it would spoil it
    options.out = [path for path in options.out if path != "-"]
    for path in options.out:
        output_format(path)  # refuses a suffix before the work, not after
    if options.junit and not options.expect:
        raise ClassifierError("--junit has nothing to write", remedy="give --expect too")
    with _replayed(options) as rows:
        run = rows.run() if options.format == "table" or options.expect else None
        for path in options.out:
            rows.write(path)
        if options.format == "table" and run:
            _print_report(run)
        else:
            rows.write("-", options.format)
            _complain(accounting_text(rows.reading.accounting).rstrip())
        code = 2 if rows.reading.failed else 0
        if run and options.expect and not _meets(run, options):
            code = max(code, 1)
        if options.fail_on:
            harsh = set(VERDICTS[VERDICTS.index(options.fail_on) :])
            found = any(harsh & set(b.column("verdict").to_pylist()) for b in rows.batches())
            code = max(code, 1 if found else 0)
    return code


def _meets(run: "Run", options: argparse.Namespace) -> bool:
    """Compare with expectations, tell what differs, and write JUnit where asked."""
    from classifier.report.expectations import check_expectations, junit_xml

    results = check_expectations(run.table, options.expect)
    _complain(*(f"{r.name}: {r.message}" for r in results if not r.passed))
    if options.junit:
        junit_xml(results, options.junit)
    return all(r.passed for r in results)


def _explain(options: argparse.Namespace) -> int:
    run = _run(options)
    flow_id = options.flow
    if not flow_id.isdecimal():
        import pyarrow.compute as pc

        row = pc.index(run.table.column("community_id"), flow_id).as_py()
        if row < 0:
            raise ClassifierError(
                f"there is no flow {flow_id!r}",
                remedy="give a flow_id or community_id that replay prints",
            )
        flow_id = run.table.column("flow_id")[row].as_py()
    _print(str(run.explain(int(flow_id))))
    if options.dissect:
        for packet in run.dissect(int(flow_id)):
            _print(str(packet))
    return _failed(run)


def _evaluate(options: argparse.Namespace) -> int:
    import json

    from classifier.evaluation import evaluate

    for bound in ("min_recall", "max_false"):
        value = getattr(options, bound)
        if value is not None and not 0 <= value <= 1:
            raise ClassifierError(
                f"--{bound.replace('_', '-')} {value} is no rate",
                remedy="give a number from 0 to 1",
            )
    predictions = {}
    for item in options.predictions:
        name, separator, path = item.partition("=")
        if not separator:
            raise ClassifierError(f"--predictions {item}", remedy="give NAME=FILE")
        predictions[name] = path
    run = _run(options, separate=True)
    result = evaluate(run.table, options.labels, predictions=predictions)
    as_json = options.format == "json"
    _print(json.dumps(result.to_json(), indent=2) if as_json else result.text())
    code = _failed(run)
    figures = result.to_json()
    if options.min_recall is not None and not (figures["recall"] or 0) >= options.min_recall:
        _complain(f"recall {figures['recall']} is below {options.min_recall}")
        code = max(code, 1)
    if options.max_false is not None and (figures["fpr"] or 0) > options.max_false:
        _complain(f"false-positive rate {figures['fpr']} is above {options.max_false}")
        code = max(code, 1)
    return code


def _detectors(options: argparse.Namespace) -> int:
    from classifier.detectors import DETECTORS
    from classifier.report.text import detectors_text

    _print(detectors_text(DETECTORS, width=_width()))
    return 0


def _registry_lookup(options: argparse.Namespace) -> int:
    from classifier.report.text import match_text

    table = _open_registry(options).compile()
    for address in options.addresses:
        try:
            match = table.lookup(
                address,
                at=options.at or _now(),
                side=options.side,
                proto=options.proto,
                port=options.port,
            )
        except ValueError as error:
            raise ClassifierError(str(error), path=address, remedy="correct it") from error
        _print(match_text(address, match))
    return 0


def _now() -> str:
    import datetime

    return datetime.datetime.now(datetime.UTC).isoformat()


def _registry_import(options: argparse.Namespace) -> int:
    from classifier.registry import import_rows

    done = import_rows(options.sources, options.into, skip_bad_rows=options.skip_bad_rows)
    _complain(*done.problems)
    _print(f"{done.added} added, {done.changed} changed, {done.unchanged} unchanged")
    return 0


def _registry_stats(options: argparse.Namespace) -> int:
    from classifier.report.text import stats_text

    _print(stats_text(_open_registry(options).stats(options.at or _now())))
    return 0


def _policy_check(options: argparse.Namespace) -> int:
    from classifier.policy import Policy, check

    code = 0
    for name in options.policies:
        findings = check(name)
        _complain(*findings)
        if any(finding.severity == "error" for finding in findings):
            code = 2
            continue
        policy = Policy.open(name)
        _print(f"{name}: good, {len(policy.rules)} rules, else {policy.default.label}")
    return code


def _policy_list(options: argparse.Namespace) -> int:
    from classifier.policy import Policy, builtin_names

    for name in builtin_names():
        policy = Policy.open(name)
        _print(f"{name}: {len(policy.rules)} rules, else {policy.default.label}")
        for rule in policy.rules:
            _print(f"  {rule.verdict.label:<14} {rule.name}: {rule.when}")
    return 0


def _lab_list(options: argparse.Namespace) -> int:
    from classifier.lab.make import listing

    for line in listing():
        _print(line)
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
        jobs, Path(options.out), side_by_side=options.jobs, logs=options.logs, tell=_complain
    )
    flows = sum(int(str(facts["flows"])) for facts in made.done)
    _print(
        f"{options.out}: {len(made.done)} runs, {flows} flows, {len(made.failed)} failed, "
        f"{len(made.skipped)} scenarios skipped"
    )
    return 2 if made.failed or not made.done else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    try:
        options = _build().parse_args(arguments)
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except ClassifierError as error:
        _complain(error)
        return 2
    except BrokenPipeError:
        # The reader has seen enough; what is still buffered goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except MemoryError:
        _complain("out of memory; split the capture, or use iter_flows")
        return 2
    except Exception as error:
        _complain(
            f"{type(error).__name__}: {error}; this is a fault of classifier, please report it"
        )
        if os.environ.get("CLASSIFIER_TRACEBACK"):
            raise
        return 2
