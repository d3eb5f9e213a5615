"""Verbs that train models and list them."""

import argparse
import sys

from classifier.commands.shared import Verbs, add_verb, complain, say
from classifier.errors import ClassifierError

__all__ = ["add"]


def add(verbs: Verbs) -> None:
    """Enter the verbs."""
    trained = add_verb(verbs, "train", "Train a model on labelled captures, and measure it.")
    option = trained.add_argument
    option(
        "captures",
        nargs="*",
        metavar="CAPTURE",
        help="captures (default: all that the labels name, below their folder)",
    )
    option("--labels", required=True, metavar="L", help="labels.csv")
    option("--out", required=True, metavar="DIR", help="folder for model.npz, card.json, card.md")
    option(
        "--split",
        choices=("grouped", "random"),
        default="grouped",
        help="keep each capture on one side, or not (default: %(default)s)",
    )
    option("--seed", type=int, default=1, metavar="N", help="of all draws (default: 1)")
    option(
        "--source", default="", metavar="TEXT", help="where the captures come from, for the card"
    )
    option("--notes", metavar="FILE", help="limits for the card, one a line")
    option(
        "--plots",
        action="store_true",
        help="also draw reliability, learning curve and importance (reliability.svg ...)",
    )
    option("--format", choices=("table", "json"), default="table", help="(default: %(default)s)")
    trained.set_defaults(run=_train)

    models = add_verb(verbs, "models", "List the shipped models, or show the card of one.")
    models.add_argument("model", nargs="?", metavar="MODEL", help="name or folder")
    models.add_argument(
        "--notes", metavar="FILE", help="write limits, one a line, into the card in folder MODEL"
    )
    models.set_defaults(run=_models)


def _train(options: argparse.Namespace) -> int:
    from classifier.learning import captures_of, card_text, report_json, train_to, write_plots

    outcome = train_to(
        options.out,
        captures_of(options.labels, options.captures),
        options.labels,
        split=options.split,
        seed=options.seed,
        source=options.source,
        notes=options.notes,
        progress=complain if sys.stderr.isatty() else None,
    )
    if options.plots:
        write_plots(outcome, options.out)
    say(report_json(outcome) if options.format == "json" else card_text(outcome.model))
    return 0


def _models(options: argparse.Namespace) -> int:
    from classifier.learning import card_text, note_limits
    from classifier.model.files import load_model, model_names

    if options.notes:
        if not options.model:
            raise ClassifierError("no model is named", remedy="give the folder of a model")
        say(card_text(note_limits(options.model, options.notes)))
        return 0
    if options.model:
        say(card_text(load_model(options.model)))
        return 0
    for name in model_names():
        model = load_model(name)
        report = model.card["report"]
        say(
            f"{name}: {len(model.features)} features, {model.trees.roots.size} trees, "
            f"trained on {report['captures']:,} captures; {model.card['source']}"
        )
    if not model_names():
        say("no model is shipped; 'classifier train' makes one")
    return 0
