"""Verbs on registers."""

import argparse

from classifier.commands.shared import Verbs, add_verb, complain, now, open_registry, say
from classifier.errors import ClassifierError

__all__ = ["add"]


def add(verbs: Verbs) -> None:
    """Enter the verbs."""
    parser = add_verb(verbs, "registry", "Look into a register of permitted VPN addresses.")
    inner = parser.add_subparsers(dest="registry_verb", metavar="COMMAND", required=True)
    lookup = inner.add_parser("lookup", help="which registration covers an address")
    lookup.add_argument("addresses", nargs="+", metavar="ADDRESS")
    lookup.add_argument("--registry", required=True, metavar="R", help=".csv, .json, .db or URL")
    lookup.add_argument("--at", metavar="TIME", help="as of this time (default: now)")
    lookup.add_argument("--side", choices=("client", "server"), help="(default: any)")
    lookup.add_argument("--proto", help="transport (default: any)")
    lookup.add_argument("--port", type=int, help="server port (default: any)")
    lookup.add_argument("--skip-bad-rows", action="store_true", help="use the good rows")
    lookup.set_defaults(run=_registry_lookup)
    imported = inner.add_parser("import", help="copy registers into a database")
    imported.add_argument("sources", nargs="+", metavar="SOURCE", help=".csv, .json or .db")
    imported.add_argument("--into", required=True, metavar="DB", help=".db file or URL")
    imported.add_argument("--skip-bad-rows", action="store_true", help="take the good rows")
    imported.set_defaults(run=_registry_import)
    stats = inner.add_parser("stats", help="count what a register holds")
    stats.add_argument("registry", metavar="REGISTER", help=".csv, .json, .db or URL")
    stats.add_argument("--at", metavar="TIME", help="as of this time (default: now)")
    stats.add_argument("--skip-bad-rows", action="store_true", help="use the good rows")
    stats.set_defaults(run=_registry_stats)


def _registry_lookup(options: argparse.Namespace) -> int:
    from classifier.report.text import match_text

    table = open_registry(options).compile()
    for address in options.addresses:
        try:
            match = table.lookup(
                address,
                at=options.at or now(),
                side=options.side,
                proto=options.proto,
                port=options.port,
            )
        except ValueError as error:
            raise ClassifierError(str(error), path=address, remedy="correct it") from error
        say(match_text(address, match))
    return 0


def _registry_import(options: argparse.Namespace) -> int:
    from classifier.registry import import_rows

    done = import_rows(options.sources, options.into, skip_bad_rows=options.skip_bad_rows)
    complain(*done.problems)
    say(f"{done.added} added, {done.changed} changed, {done.unchanged} unchanged")
    return 0


def _registry_stats(options: argparse.Namespace) -> int:
    from classifier.report.text import stats_text

    say(stats_text(open_registry(options).stats(options.at or now())))
    return 0
