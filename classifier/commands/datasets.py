"""Verbs about data sets."""

import argparse
from typing import TYPE_CHECKING

from classifier.commands.shared import Verbs, add_verb, complain, say
from classifier.errors import ClassifierError

if TYPE_CHECKING:
    from classifier.datasets import Dataset

__all__ = ["add"]

_PLACE = "name, or name=FOLDER for a set that lies elsewhere"


def add(verbs: Verbs) -> None:
    """Enter the verbs."""
    parser = add_verb(verbs, "datasets", "List, verify, split and compare data sets.")
    inner = parser.add_subparsers(dest="datasets_verb", metavar="COMMAND", required=True)
    listed = inner.add_parser("list", help="list the data sets that are known")
    listed.add_argument("--citations", action="store_true", help="also how to cite them")
    listed.set_defaults(run=_list)

    verified = inner.add_parser("verify", help="compare files with their digests")
    verified.add_argument("set", metavar="SET", help=_PLACE)
    verified.add_argument(
        "--record", action="store_true", help="write SHA256SUMS, where none is published"
    )
    _add_part(verified)
    verified.set_defaults(run=_verify)

    made = inner.add_parser("split", help="split a set so that no group is on two sides")
    made.add_argument("set", metavar="SET", help=_PLACE)
    made.add_argument("--out", required=True, metavar="FILE", help="JSON file to write")
    made.add_argument(
        "--share",
        action="append",
        metavar="SIDE=SHARE",
        help="a side and its share of the rows, repeatable (default: train=0.7 test=0.3)",
    )
    made.add_argument("--seed", type=int, default=0, help="of the draw (default: %(default)s)")
    _add_part(made)
    made.set_defaults(run=_split)

    copies = inner.add_parser("duplicates", help="find rows, or flows, that are exact copies")
    copies.add_argument("set", metavar="SET", help=_PLACE)
    copies.add_argument(
        "--most", type=int, default=10, metavar="N", help="sets to print (default: %(default)s)"
    )
    _add_part(copies)
    copies.set_defaults(run=_duplicates)

    leaks = inner.add_parser("leaks", help="find what two sets share; exit 1 where they do")
    leaks.add_argument("first", metavar="SET", help=_PLACE)
    leaks.add_argument("second", metavar="SET", help="the set that is judged by")
    _add_part(leaks)
    leaks.set_defaults(run=_leaks)


def _add_part(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--scenario", default="A1", help="part of iscxvpn2016 (default: %(default)s)")
    option("--timeout-s", type=int, default=15, help="its window (default: %(default)s)")
    option("--side", default="all", help="vpn or no-vpn of its scenario A2 (default: both)")


def _opened(text: str, options: argparse.Namespace) -> "Dataset":
    from classifier import datasets

    name, _, folder = text.partition("=")
    part = {"scenario": options.scenario, "timeout_s": options.timeout_s, "side": options.side}
    return datasets.load(name, folder or None, **part)


def _with_features(entry: "Dataset") -> "Dataset":
    """Return a set of labelled captures with the features of their flows as its rows."""
    if entry.features.shape[1]:
        return entry
    import dataclasses

    import pandas as pd

    import classifier

    captures = [path for path in entry.files.values() if path.suffix not in (".csv", ".toml")]
    if "sport" not in entry.rows or not captures:
        remedy = "give a set with features, or captures with labels of flows"
        raise ClassifierError("its flows have no labels", path=entry.manifest.name, remedy=remedy)
    run = classifier.classify(captures, labels=entry.rows, separate=True, model=None)
    features, labels, groups = run.xy()
    features = features.reset_index(drop=True)
    rows = pd.DataFrame({"path": groups})
    return dataclasses.replace(
        entry,
        features=features,
        labels=pd.Series(labels, name="label"),
        groups=pd.Series(groups, name="group"),
        rows=rows,
    )


def _list(options: argparse.Namespace) -> int:
    from classifier import datasets

    entries = datasets.list()
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        here = "yours" if entry.reader else "here"
        say(f"{entry.name:{width}}  {here:5}  {entry.title}  [{entry.licence}]")
        if options.citations:
            say(f"{'':{width}}         {entry.citation}; {entry.source}")
            say(f"{'':{width}}         gaps: {entry.gaps}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from classifier import datasets

    name, _, folder = options.set.partition("=")
    if options.record:
        if not folder:
            raise ClassifierError("nothing to record", path=name, remedy="give name=FOLDER")
        say(f"{datasets.record(name, folder)}: written")
    entry = _opened(options.set, options)
    say(f"{name}: {len(entry.files)} files, {len(entry.labels)} rows, as stated")
    if entry.manifest.reader in ("names", "labels", "cesnet"):
        from pathlib import Path

        if not Path(folder, "SHA256SUMS").is_file():
            complain(f"{name}: no digests are published; --record writes your own")
    return 0


def _split(options: argparse.Namespace) -> int:
    from classifier import datasets

    shares: dict[str, float] = {}
    for text in options.share or ["train=0.7", "test=0.3"]:
        side, _, share = text.partition("=")
        try:
            shares[side] = float(share)
        except ValueError:
            remedy = "write --share train=0.7"
            raise ClassifierError(f"{text!r} is no share", remedy=remedy) from None
    entry = _opened(options.set, options)
    split = datasets.grouped_split(entry.groups, shares, strata=entry.labels, seed=options.seed)
    split.save(options.out)
    for side, groups in split.sides.items():
        rows = int(split.rows(entry.groups, side).sum())
        say(f"{side}: {len(groups)} groups, {rows} rows")
    return 0


def _duplicates(options: argparse.Namespace) -> int:
    from classifier import datasets

    entry = _with_features(_opened(options.set, options))
    found = datasets.duplicates(entry.features, entry.labels)
    extra = int(found["copies"].sum()) - len(found)
    contradicting = int(found["contradicting"].sum())
    rows = len(entry.labels)
    share = extra / rows if rows else 0.0
    say(
        f"{rows} rows, {extra} of them copies of an earlier one ({share:.1%}), in {len(found)} sets"
        f"; {contradicting} sets have more than one label"
    )
    for copies, first, labels in found[["copies", "first", "labels"]].head(options.most).values:
        say(f"{copies} copies of row {first}: {', '.join(labels)}")
    return 0


def _leaks(options: argparse.Namespace) -> int:
    from classifier import datasets

    first, second = (_opened(text, options) for text in (options.first, options.second))
    leaks = datasets.leak_check(first, second)
    say(
        f"{leaks.rows} of {len(second.labels)} rows ({leaks.share:.1%}) are in both, "
        f"{leaks.contradicting} of them with another label; "
        f"{len(leaks.files)} files and {len(leaks.groups)} names of groups are in both"
    )
    for here, there in leaks.files:
        say(f"same content: {here} and {there}")
    return int(bool(leaks))
