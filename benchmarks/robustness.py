"""How verdicts move under perturbations, on runs of the laboratory: the tables of docs/robustness.md.

    python benchmarks/robustness.py FOLDER... [--perturb NAMES] [--model NAME...] [--write docs/robustness.md]

A FOLDER holds what ``classifier lab make --out FOLDER`` wrote: a folder for each run, with its capture and
``labels.csv``. Each capture is judged once as it is and once for each perturbation, by detectors alone
(``none``) and with each model that is named. A model's part is worth something on runs that it has not learnt from.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

import classifier
from classifier.perturb import PERTURBATIONS, Movement, movements
from classifier.pipeline import make_options
from classifier.report.labels import read_labels

BEGIN, END = "<!-- table: benchmarks/robustness.py -->", "<!-- end of the table -->"


def measured(
    folders: list[Path], names: list[str], model: str | None
) -> tuple[int, list[Movement]]:
    """Return the number of captures, and how verdicts on their labels move."""
    captures = sorted(path for folder in folders for path in folder.glob("*/*.pcap*"))
    frames = [
        pd.read_csv(path.parent / "labels.csv", dtype=str, keep_default_na=False)
        for path in captures
    ]
    labels = read_labels(pd.concat(frames, ignore_index=True))
    run = classifier.classify(list(captures), separate=True, model=model, progress=False)
    options = make_options(separate=True, model=model)
    return len(captures), movements(run.table, labels, list(captures), options, names)


def table(moved: list[Movement]) -> str:
    """Return a row for each family: labels called a VPN as they are, and under each perturbation."""
    names = list(dict.fromkeys(m.perturbation for m in moved))
    families = list(dict.fromkeys(m.family for m in moved))
    by = {(m.perturbation, m.family): m for m in moved}
    lines = [
        f"| family | labels | called | {' | '.join(f'`{name}`' for name in names)} |",
        f"|---|{'---|' * (len(names) + 2)}",
    ]
    for family in families:
        first = by[names[0], family]
        cells = []
        for name in names:
            m = by[name, family]
            gone = f" ({m.gone} gone)" if m.gone else ""
            cells.append(("=" if m.called_after == m.called_before else str(m.called_after)) + gone)
        lines.append(f"| {family} | {first.labels} | {first.called_before} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="folder")
    parser.add_argument("--perturb", default=",".join(PERTURBATIONS))
    parser.add_argument("--model", nargs="+", default=["none", "default"])
    parser.add_argument("--write", type=Path, help="page whose tables are to be replaced")
    options = parser.parse_args()
    parts = []
    for name in options.model:
        model = None if name == "none" else name
        n, moved = measured(options.folders, options.perturb.split(","), model)
        words = "Detectors alone" if model is None else "Detectors and model"
        parts.append(f"### {words}\n\n{n} captures.\n\n{table(moved)}")
    text = "\n".join(parts)
    if options.write is None:
        print(text)
    else:
        page = options.write.read_text(encoding="utf-8")
        head, tail = page.partition(BEGIN)[0], page.partition(END)[2]
        options.write.write_text(f"{head}{BEGIN}\n{text}{END}{tail}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
