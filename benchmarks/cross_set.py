"""A model on labelled captures of other makers: what is left of its figures there.

    python benchmarks/cross_set.py LABELS... [--model lab]
    python benchmarks/cross_set.py LABELS... --train OTHER_LABELS

Each labels.csv names captures that lie in its folder or below. With ``--train`` the model is not the
shipped one but learns from those captures first, in the same way: the laboratory's model on public
captures and a model of public captures on the laboratory's are the two directions. Printed are the flows that the model is
asked about (``in_scope``), all flows, and those of circumvention tools, and how many of the former it
knows too little about to call anything (*silent*); then detectors and model together over all flows but
those of circumvention tools, and over the *hidden* tunnels, of which no detector is sure.
"""

import argparse
from dataclasses import fields
from pathlib import Path

import numpy as np

from classifier.errors import ClassifierError
from classifier.learning import captures_of, examples_of
from classifier.model import FEATURE_NAMES, Examples, Model, evaluate, load_model, train
from classifier.model.figures import together
from classifier.model.measures import interval


def readable(labels: Path) -> Examples:
    """Return the labelled flows of all captures that can be read."""
    parts = []
    for path in captures_of(labels, []):
        try:
            parts.append(examples_of([path], labels))
        except ClassifierError:
            continue  # damaged on purpose, or without a labelled flow
    names = [field.name for field in fields(Examples)]
    return Examples(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def silent(model: Model, examples: Examples) -> float:
    """Return the share of flows in scope that are unlike all that the model has seen."""
    columns = [FEATURE_NAMES.index(name) for name in model.features]
    asked = np.ascontiguousarray(examples.features[examples.in_scope][:, columns])
    return float((model.novelty.trust(asked) < 1).mean()) if len(asked) else 0.0


def with_detectors(model: Model, examples: Examples) -> str:
    """Return a row of figures of detectors and model together."""
    columns = [FEATURE_NAMES.index(name) for name in model.features]
    asked = np.flatnonzero(examples.in_scope)
    said = np.zeros(examples.labels.size)
    said[asked] = model.score(np.ascontiguousarray(examples.features[asked][:, columns]))
    found = together(examples, np.ones(said.size, bool), said)
    whole, hidden = found["all"], found["hidden"]
    at = hidden["recall_at_false_rate"]
    return " | ".join(
        [
            f"{whole['flows'] - whole['tunnels']:,}",
            f"{hidden['tunnels']:,} in {found['hidden_captures']}",
            *("-" if x is None else f"{x:.4f}" for x in (whole["auc"], at["0.01"], at["0.001"])),
            f"{hidden['found']:,}",
            f"{whole['false']:,}",
            f"{whole['calibration_error']:.4f}",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("labels", nargs="+", type=Path)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model", default="lab")
    which.add_argument("--train", type=Path, metavar="LABELS")
    options = parser.parse_args()
    if options.train:
        outcome = train(readable(options.train), name=options.train.parent.name)
        model, own = outcome.model, outcome.report["in_scope"]
        print(
            f"Trained on {outcome.report['captures']} captures with {own['tunnels']} tunnels among"
        )
        print(
            f"{own['flows']:,} flows in scope; on captures of its own left out the area is {own['auc']:.3f}.\n"
        )
    else:
        model = load_model(options.model)
    print("| set | part | flows | tunnels | silent | area | found at 0.5 | false at 0.5 | 95 % |")
    print("|---|---|---|---|---|---|---|---|---|")
    sets = {labels: readable(labels) for labels in options.labels}
    for labels, examples in sets.items():
        share = silent(model, examples)
        for key, found in evaluate(model, examples).items():
            if not found.flows:
                continue
            bounds = interval(found.false, found.flows - found.tunnels)
            says = f"{bounds[0]:.2%} to {bounds[1]:.2%}" if bounds else "-"
            print(
                f"| {labels.parent.name} | {key} | {found.flows:,} | {found.tunnels:,} | "
                f"{f'{share:.1%}' if key == 'in_scope' else '-'} | {found.auc:.3f} | "
                f"{found.found:,} | {found.false:,} | {says} |"
            )
    print("\nDetectors and model together, over all flows; hidden tunnels by captures.\n")
    print(
        "| set | ordinary | hidden | area | hidden found at 1 % false | at 0.1 % | at 0.5 | false at 0.5 | "
        "calibration error |\n|---|---|---|---|---|---|---|---|---|"
    )
    for labels, examples in sets.items():
        print(f"| {labels.parent.name} | {with_detectors(model, examples)} |")


if __name__ == "__main__":
    main()
