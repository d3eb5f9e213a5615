"""What several verbs share: options, opening what they name, and where output goes."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from classifier.run import Replay, Run

__all__ = [
    "Verbs",
    "add_judging",
    "add_reading",
    "add_verb",
    "classified",
    "complain",
    "failed",
    "now",
    "open_registry",
    "prepare_arrow",
    "reading_options",
    "replayed",
    "say",
    "width",
]

#: What ``add_subparsers`` returns.
Verbs = Any


def add_verb(verbs: Verbs, name: str, text: str) -> argparse.ArgumentParser:
    """Enter a verb; ``text`` is its line in the list and its description."""
    made: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text)
    return made


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


def add_reading(parser: argparse.ArgumentParser) -> None:
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


def reading_options(options: argparse.Namespace) -> list[str]:
    """Return which options of `add_reading` have another value than their default."""
    parser = argparse.ArgumentParser()
    add_reading(parser)
    usual = vars(parser.parse_args([]))
    return [f"--{n.replace('_', '-')}" for n, v in usual.items() if getattr(options, n) != v]


def add_judging(parser: argparse.ArgumentParser) -> None:
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


def say(text: str) -> None:
    """Print a result."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def complain(*problems: object) -> None:
    """Print to standard error, a line each."""
    for problem in problems:
        sys.stderr.write(f"{problem}\n")


def open_registry(options: argparse.Namespace) -> Any:
    """Open the register an option names; rows that were skipped are told."""
    if options.registry is None:
        return None
    from classifier.registry import Registry

    registry = Registry.open(options.registry, skip_bad_rows=options.skip_bad_rows)
    complain(*registry.problems)
    return registry


class _NoPandas:
    """A finder of modules that finds no pandas."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name == "pandas":
            raise ImportError(name)


def prepare_arrow(options: argparse.Namespace) -> None:
    """Let pyarrow start faster and hold less, where the whole process is the command's.

    Its own allocator keeps 20 MiB more than the system's, for nothing gained. To make its first
    array it imports pandas, a quarter of a second; without, it takes no Series for an array until
    a table became a DataFrame, which it does as ever.
    """
    if not options.own_process or "pandas" in sys.modules:
        return
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())
    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.array([""])  # it looks once
    finally:
        sys.meta_path.remove(_NoPandas)


@contextmanager
def replayed(options: argparse.Namespace, *, separate: bool | None = None) -> "Iterator[Replay]":
    """Classify the captures that the options name."""
    from classifier.pipeline import Options, checked_settings, expand_captures, make_options
    from classifier.run import replay

    sources = expand_captures(options.captures)
    settings: dict[str, Any] = {
        "threshold": options.threshold,
        "idle_timeout_s": options.idle_timeout,
        "active_timeout_s": options.active_timeout,
        "decapsulate": options.decapsulate,
        "separate": options.separate if separate is None else separate,
        "threads": getattr(options, "threads", 1),
    }

    def judging() -> Options:
        prepare_arrow(options)
        opened: dict[str, Any] = {}
        if hasattr(options, "policy"):
            opened = {
                "registry": open_registry(options),
                "policy": options.policy,
                "at": options.at,
            }
        made = make_options(model=options.model, local=options.local, **opened, **settings)
        _warn_of_collateral(made.policy)
        return made

    parquet = [path for path in getattr(options, "out", ()) if path.endswith(".parquet")]
    ahead = parquet if getattr(options, "anonymize", None) is None else []
    read_by = checked_settings(**settings)
    with replay(sources, read_by, judging=judging, hashed=bool(parquet), ahead=ahead) as rows:
        complain(*rows.reading.problems)
        yield rows


def classified(options: argparse.Namespace, *, separate: bool | None = None) -> "Run":
    """Classify the captures that the options name, whole."""
    with replayed(options, separate=separate) as rows:
        return rows.run()


def _warn_of_collateral(policy: Any) -> None:
    from classifier.policy import beyond_flag_on_weak

    for rule in beyond_flag_on_weak(policy):
        complain(
            f"{policy.path}:{rule.line}: rule '{rule.name}' goes beyond flag on weak evidence; "
            "it will hit ordinary traffic: how much, impact says"
        )


def failed(run: "Run") -> int:
    """Return the exit code: 2 where a capture could not be read."""
    return 2 if run.accounting.get("captures_failed", 0) else 0


def width() -> int:
    """Return the columns that a table may take."""
    import shutil

    return shutil.get_terminal_size((110, 24)).columns if sys.stdout.isatty() else 110


def now() -> str:
    """Return the time as text, for looking registrations up."""
    import datetime

    return datetime.datetime.now(datetime.UTC).isoformat()
