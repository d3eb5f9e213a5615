"""Verbs on registers."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from classifier.commands.shared import Verbs, add_verb, complain, now, open_registry, say, width

if TYPE_CHECKING:
    from classifier.registry import Change, Window

__all__ = ["add"]

_REGISTER = ".csv, .json, .db or URL"
_DATABASE = ".db file or URL"
_MOST_FINDINGS = 30


def add(verbs: Verbs) -> None:
    """Enter the verbs."""
    parser = add_verb(verbs, "registry", "Keep a register of permitted VPN addresses, and look in.")
    inner = parser.add_subparsers(dest="registry_verb", metavar="COMMAND", required=True)
    _add_window(inner)
    _add_import(inner)
    _add_reading(inner)
    _add_churn(inner)


def _verb(inner: Verbs, name: str, text: str, run: Any) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = inner.add_parser(name, help=text, description=text)
    made.set_defaults(run=run)
    return made


def _step(inner: Verbs, name: str, text: str, run: Any) -> argparse.ArgumentParser:
    """Enter a step of the window: who, why, from when, and when it was written down."""
    made = _verb(inner, name, text, run)
    made.add_argument("database", metavar="DB", help=_DATABASE)
    made.add_argument("--by", required=True, metavar="WHO", help="who does it")
    made.add_argument("--reason", required=True, metavar="WHY", help="kept with the change")
    made.add_argument("--on", metavar="DATE", help="from when it counts (default: now)")
    made.add_argument(
        "--recorded-at", metavar="TIME", help="when it is written down (default: the clock)"
    )
    return made


def _add_window(inner: Verbs) -> None:
    made = _step(inner, "init", "make an empty register", _init)
    made.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="CATEGORY=DOCUMENT,...",
        help="documents without which nothing of a category is approved; * is any (default: none)",
    )
    made = _step(inner, "add", "apply for a registration", _add)
    made.add_argument("prefixes", nargs="+", metavar="PREFIX", help="address or prefix")
    made.add_argument("--id", metavar="ID", help="its identifier (default: the next R-000001)")
    made.add_argument("--organisation", required=True, metavar="NAME", help="the holder")
    made.add_argument("--category", required=True, metavar="WORD", help="software_house, bank ...")
    _add_fields(made, amending=False)
    made = _step(inner, "amend", "change a registration or an application", _amend)
    made.add_argument("id", metavar="ID")
    made.add_argument("--organisation", metavar="NAME", help="the holder (default: as it is)")
    made.add_argument("--category", metavar="WORD", help="its category (default: as it is)")
    for verb in ("add", "remove"):
        made.add_argument(
            f"--{verb}-prefix",
            action="append",
            metavar="PREFIX",
            help=f"{verb} an address or prefix, repeatable (default: none)",
        )
    _add_fields(made, amending=True)
    made = _step(inner, "approve", "approve an application", _decide("approve"))
    made.add_argument("id", metavar="ID")
    made = _step(inner, "reject", "reject an application", _decide("reject"))
    made.add_argument("id", metavar="ID")
    made = _step(inner, "revoke", "end a registration", _decide("revoke"))
    made.add_argument("id", metavar="ID")
    made = _step(inner, "renew", "let a registration go on", _renew)
    made.add_argument("id", metavar="ID")
    made.add_argument("--until", required=True, metavar="DATE", help="first day no longer valid")


def _add_fields(made: argparse.ArgumentParser, *, amending: bool) -> None:
    """Options for what a registration says."""
    kept = "as it is" if amending else ""
    for option, metavar, text, default in (
        ("--side", "SIDE", "client, server or either", kept or "either"),
        ("--proto", "P", "protocol", kept or "any"),
        ("--port", "N", "the server's port", kept or "any"),
        ("--from", "DATE", "valid from, of an application", kept or "the date of it"),
        ("--to", "DATE", "first day no longer valid, of an application", kept or "no end"),
        ("--contact", "TEXT", "whom to ask", kept or "empty"),
        ("--purpose", "TEXT", "what the VPN is for", kept or "empty"),
    ):
        name = {"--from": "valid_from", "--to": "valid_to"}.get(option, option[2:])
        help_text = f"{text} (default: {default})"
        made.add_argument(option, dest=name, metavar=metavar, help=help_text)
    made.add_argument(
        "--flag",
        action="append",
        choices=("dynamic", "cgnat", "shared_egress"),
        help=f"repeatable (default: {kept or 'none'})",
    )
    made.add_argument(
        "--document", action="append", metavar="NAME", help="handed in, repeatable (default: none)"
    )
    made.add_argument(
        "--no-check", action="store_true", help="do not look for overlaps (default: look)"
    )


def _add_import(inner: Verbs) -> None:
    made = _verb(inner, "import", "merge registers into a database", _import)
    made.add_argument("sources", nargs="+", metavar="SOURCE", help=_REGISTER)
    made.add_argument("--into", required=True, metavar="DB", help=_DATABASE)
    made.add_argument("--skip-bad-rows", action="store_true", help="take the good rows")
    made.add_argument("--dry-run", action="store_true", help="write nothing, tell what would be")
    made.add_argument(
        "--report", metavar="FILE", help="row by row, CSV, - for standard output (default: none)"
    )
    made.add_argument("--by", default="unnamed", metavar="WHO", help="who (default: %(default)s)")
    made.add_argument("--reason", default="", metavar="WHY", help="(default: the source's name)")
    made.add_argument("--recorded-at", metavar="TIME", help="(default: the clock)")
    made.add_argument("--no-check", action="store_true", help="do not look for overlaps and bogons")


def _reading(inner: Verbs, name: str, text: str, run: Any) -> argparse.ArgumentParser:
    made = _verb(inner, name, text, run)
    made.add_argument("registry", metavar="REGISTER", help=_REGISTER)
    return made


def _add_reading(inner: Verbs) -> None:
    lookup = _verb(inner, "lookup", "which registration covers an address, and why", _lookup)
    lookup.add_argument("addresses", nargs="+", metavar="ADDRESS")
    lookup.add_argument("--registry", required=True, metavar="R", help=_REGISTER)
    lookup.add_argument("--at", metavar="TIME", help="as of this time (default: now)")
    lookup.add_argument("--side", choices=("client", "server"), help="(default: any)")
    lookup.add_argument("--proto", help="transport (default: any)")
    lookup.add_argument("--port", type=int, help="server port (default: any)")
    _add_known(lookup)
    made = _reading(inner, "history", "who changed what, when and why", _history)
    made.add_argument("id", nargs="?", metavar="ID", help="one registration (default: all changes)")
    made.add_argument(
        "--format", choices=("table", "json"), default="table", help="(default: %(default)s)"
    )
    made = _reading(inner, "export", "write the register as of a time", _export)
    made.add_argument("out", metavar="OUT", help=".csv, .json, .db, or - for standard output")
    made.add_argument("--valid-at", metavar="TIME", help="only what is valid then (default: all)")
    made.add_argument("--details", action="store_true", help="with contact, purpose, flags")
    made.add_argument(
        "--format", choices=("csv", "json"), default="csv", help="of - (default: %(default)s)"
    )
    _add_known(made)
    made = _reading(inner, "stats", "count what a register holds", _stats)
    made.add_argument("--at", metavar="TIME", help="as of this time (default: now)")
    made.add_argument(
        "--every", choices=("month", "quarter", "year"), help="count over time (default: once)"
    )
    made.add_argument(
        "--format", choices=("table", "json"), default="table", help="(default: %(default)s)"
    )
    _add_known(made)
    made = _reading(inner, "verify", "whether history and rows are sound", _verify)
    made.add_argument(
        "--digest", metavar="D", help="what an earlier verify printed (default: not compared)"
    )


def _add_known(made: argparse.ArgumentParser) -> None:
    made.add_argument("--known-at", metavar="TIME", help="as recorded by then (default: now)")
    made.add_argument("--skip-bad-rows", action="store_true", help="use the good rows")


def _add_churn(inner: Verbs) -> None:
    text = "how many registered holders would be treated as unregistered"
    made = _reading(inner, "simulate-churn", text, _churn)
    made.add_argument("--days", type=int, required=True, metavar="N", help="how long")
    made.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    made.add_argument("--runs", type=int, default=10, help="repetitions (default: %(default)s)")
    made.add_argument(
        "--start", metavar="DATE", help="first day (default: when most rows are in force)"
    )
    for option, text in (
        ("--dynamic-share", "of holders with a dynamic address (default: by flags, else 0.3)"),
        ("--address-days", "that an address lasts, mean (default: 30)"),
        ("--delay-days", "until a new address is registered, median (default: 7)"),
        ("--delay-sigma", "shape of that delay (default: 0.8)"),
        ("--on-time", "share renewed before the end (default: 0.8)"),
        ("--never", "share never renewed (default: 0.05)"),
        ("--late-days", "by which the others are late, mean (default: 30)"),
        ("--term-days", "that a renewal adds (default: 365)"),
    ):
        made.add_argument(option, type=float, metavar="X", help=text)
    made.add_argument(
        "--format",
        choices=("table", "json", "csv"),
        default="table",
        help="csv: by day (default: %(default)s)",
    )
    made.add_argument("--skip-bad-rows", action="store_true", help="use the good rows")


def _window(options: argparse.Namespace) -> "Window":
    import datetime

    from classifier.registry import Window
    from classifier.registry.store import time_ns

    if options.recorded_at is None:
        return Window(options.database)
    ns = time_ns(options.recorded_at, "recorded_at")
    since = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    time = since + datetime.timedelta(microseconds=ns // 1000)
    return Window(options.database, clock=lambda: time)


def _tell(change: "Change") -> int:
    from classifier.report.register_text import change_text

    say(change_text(change))
    return 0


def _said(options: argparse.Namespace) -> dict[str, Any]:
    return {"by": options.by, "reason": options.reason, "on": options.on}


def _init(options: argparse.Namespace) -> int:
    from classifier.errors import RegistryError

    require: dict[str, list[str]] = {}
    for text in options.require:
        category, equals, documents = text.partition("=")
        names = [name for name in documents.split(",") if name]
        if not equals or not category or not names:
            remedy = "write CATEGORY=DOCUMENT,DOCUMENT"
            raise RegistryError(f"{text!r} names no documents", path="--require", remedy=remedy)
        require.setdefault(category, []).extend(names)
    return _tell(_window(options).init(**_said(options), require=require))


def _fields(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the options say of a registration; what they leave out is left out."""
    names = ("side", "proto", "port", "valid_from", "valid_to", "contact", "purpose")
    said = {name: getattr(options, name) for name in names}
    said |= {"flags": options.flag, "documents": options.document}
    return {name: value for name, value in said.items() if value is not None}


def _checked(options: argparse.Namespace, change: "Change") -> int:
    """Tell of overlaps that a step has made."""
    if not options.no_check:
        from classifier.registry import Registry, check_rows

        registry = Registry.open(options.database, skip_bad_rows=True)
        ids: Any = registry.rows.column("registration_id").to_numpy()
        wanted = ids == change.registration_id
        _findings(check_rows(registry.state, registry.name, wanted=wanted))
    return _tell(change)


def _findings(findings: Any) -> None:
    from classifier.report.text import safe_text

    listed = list(findings)
    complain(*(safe_text(finding, 500) for finding in listed[:_MOST_FINDINGS]))
    if len(listed) > _MOST_FINDINGS:
        left = len(listed) - _MOST_FINDINGS
        complain(f"and {left:,} more; classifier.registry.check_rows lists them all")


def _add(options: argparse.Namespace) -> int:
    change = _window(options).add(
        options.organisation,
        options.category,
        options.prefixes,
        registration_id=options.id,
        **_said(options),
        **_fields(options),
    )
    return _checked(options, change)


def _amend(options: argparse.Namespace) -> int:
    changes = _fields(options)
    for name in ("organisation", "category"):
        if getattr(options, name) is not None:
            changes[name] = getattr(options, name)
    changes["add_prefixes"] = options.add_prefix or ()
    changes["remove_prefixes"] = options.remove_prefix or ()
    change = _window(options).amend(options.id, **_said(options), **changes)
    return _checked(options, change)


def _decide(step: str) -> Any:
    def run(options: argparse.Namespace) -> int:
        return _tell(getattr(_window(options), step)(options.id, **_said(options)))

    return run


def _renew(options: argparse.Namespace) -> int:
    return _tell(_window(options).renew(options.id, options.until, **_said(options)))


def _import(options: argparse.Namespace) -> int:
    from pathlib import Path

    from classifier.errors import RegistryError
    from classifier.registry import import_rows
    from classifier.report.register_text import import_text

    done = import_rows(
        options.sources,
        options.into,
        skip_bad_rows=options.skip_bad_rows,
        recorded_at=options.recorded_at,
        dry_run=options.dry_run,
        by=options.by,
        reason=options.reason,
        check=not options.no_check,
    )
    complain(*done.problems)
    _findings(done.findings)
    if options.report is not None:
        text = done.report.to_csv(index=False, lineterminator="\n")
        if options.report == "-":
            say(text)
            complain(import_text(done))
            return 0
        try:
            Path(options.report).write_text(text, encoding="utf-8")
        except OSError as error:
            reason = (error.strerror or "cannot be written").lower()
            remedy = "the import is done; choose another place"
            raise RegistryError(reason, path=options.report, remedy=remedy) from error
    say(import_text(done))
    return 0


def _opened(options: argparse.Namespace) -> Any:
    """Open the register as it was known."""
    registry = open_registry(options)
    known = getattr(options, "known_at", None)
    return registry if known is None else registry.as_of(known_at=known)


def _lookup(options: argparse.Namespace) -> int:
    from classifier.registry import covering
    from classifier.report.register_text import covering_lines
    from classifier.report.text import match_text

    registry = _opened(options)
    table = registry.compile()
    asked = {
        "at": options.at or now(),
        "side": options.side,
        "proto": options.proto,
        "port": options.port,
    }
    for address in options.addresses:
        around = covering(table, address, **asked, most=6)
        match = around[0].match if around and around[0].chosen else None
        closed = {one.match.row: registry.why_closed(one.match.row) for one in around}
        say(match_text(address, match))
        for line in covering_lines(around, closed):
            say(f"  {line}")
    return 0


def _history(options: argparse.Namespace) -> int:
    from classifier.registry import Registry
    from classifier.report.register_text import history_text

    history = Registry.open(options.registry, skip_bad_rows=True).history(options.id)
    if options.format == "json":
        say(history.to_json(orient="records", indent=1))
    else:
        say(history_text(history))
    return 0


def _export(options: argparse.Namespace) -> int:
    registry = open_registry(options)
    if options.valid_at is not None:
        registry = registry.as_of(options.valid_at, options.known_at)
        options.known_at = None
    if options.out == "-":
        registry.write(
            sys.stdout, options.format, known_at=options.known_at, details=options.details
        )
    else:
        registry.save(options.out, known_at=options.known_at, details=options.details)
    return 0


def _stats(options: argparse.Namespace) -> int:
    import dataclasses
    import json

    from classifier.report.register_text import frame_text
    from classifier.report.text import stats_text

    registry = _opened(options)
    if options.every is not None:
        counts = registry.timeline(options.every)
        if options.format == "json":
            say(counts.to_json(orient="records", date_format="iso", indent=1))
        else:
            say(frame_text(counts, width=width()))
        return 0
    stats = registry.stats(options.at or now())
    say(
        json.dumps(dataclasses.asdict(stats), indent=1)
        if options.format == "json"
        else stats_text(stats)
    )
    return 0


def _verify(options: argparse.Namespace) -> int:
    from classifier.registry import verify
    from classifier.report.register_text import verified_text

    verified = verify(options.registry, digest=options.digest)
    _findings(verified.findings)
    say(verified_text(verified))
    return 0 if verified.whole else 2


def _churn(options: argparse.Namespace) -> int:
    from classifier.registry import ChurnModel, simulate_churn
    from classifier.report.register_text import churn_text

    names = ChurnModel.__dataclass_fields__
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    churn = simulate_churn(
        open_registry(options),
        options.days,
        seed=options.seed,
        runs=options.runs,
        start=options.start,
        model=ChurnModel(**given),
    )
    if options.format == "json":
        say(churn.to_json())
    elif options.format == "csv":
        say(churn.frame.to_csv(index=False, lineterminator="\n"))
    else:
        say(churn_text(churn, width=width()))
    return 0
