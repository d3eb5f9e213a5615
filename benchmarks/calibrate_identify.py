"""Counts what each detector says of labelled flows, and what that makes of a VPN's probability.

    python benchmarks/calibrate_identify.py FOLDER... [--prevalence 0.01] [--write]

A folder holds captures and ``labels.csv`` (``path,proto,src,sport,dst,dport,is_vpn,family``), beside
the captures or above them; ``classifier lab make`` writes such folders. Printed are

- a matrix: flows by what the detector says (name and strength) and by their true family;
- posteriors: for each detector and strength the odds of a VPN among the flows that show it, shrunk
  towards all detectors' odds at that strength (``PSEUDO`` flows' worth), and brought from the
  folders' prevalence to the reference prevalence. ``proof`` is held at 0.99 or more, ``strong`` from
  0.5 up, ``weak`` below 0.5: the contract of ``identify``, which no count may break.

``--write`` keeps the counts in ``classifier/detectors/measured.json``, which ``classifier detectors``
prints. Bare encapsulation counts on neither side: it is no VPN, and evidence of it says no such thing.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np

import classifier
from classifier.evaluation import CIRCUMVENTION
from classifier.identify import PROBABILITY
from classifier.report.labels import match_labels, read_labels
from classifier.report.text import columns_text
from classifier.tables import FAMILIES, PREVALENCE, Kind, Strength

PSEUDO = 10.0  # flows that the pooled odds of a strength count for
BOUNDS = {"proof": (0.99, 0.9999), "strong": (0.5, 0.99), "weak": (0.0, 0.49)}
PLACE = Path(__file__).parents[1] / "classifier" / "detectors" / "measured.json"
ORDINARY = "ordinary"


def truths_and_evidence(folder: Path) -> list[tuple[str, set[tuple[str, str]]]]:
    """Return true family (or ``ordinary``) and {(detector, strength)} of each labelled flow."""
    labels = next(p for p in (folder / "labels.csv", folder.parent / "labels.csv") if p.is_file())
    skipped = {".csv", ".log", ".json", ".toml", ".md"}
    captures = [str(p) for p in sorted(folder.rglob("*")) if p.is_file()]
    captures = [p for p in captures if Path(p).suffix not in skipped]
    table = classifier.classify(captures, separate=True, progress=False).table
    truth = read_labels(str(labels))
    found = []
    evidence = table.column("evidence").to_pylist()
    for row, seen in zip(match_labels(table, truth).tolist(), evidence, strict=True):
        if row >= 0:
            family = truth.family[row] if truth.is_vpn[row] else ORDINARY
            bare = FAMILIES.get(truth.family[row]) == Kind.ENCAPSULATION
            if not bare and truth.family[row] != "encapsulation":
                said = {(item["detector"], item["strength"]) for item in seen}
                found.append((family or "unnamed", said))
    return found


def posteriors(
    counts: dict[tuple[str, str], tuple[int, int]], vpn: int, ordinary: int, prevalence: float
) -> dict[tuple[str, str], float]:
    """Return the probability of a VPN by detector and strength.

    Parameters
    ----------
    counts : dict of (detector, strength) to (int, int)
        VPN and ordinary flows that show it.
    vpn, ordinary : int
        Flows in all.
    prevalence : float
        Share of VPN flows where the probability is to hold.
    """
    rescale = (prevalence / (1 - prevalence)) / ((vpn + 0.5) / (ordinary + 0.5))
    result = {}
    for (detector, strength), (here, there) in counts.items():
        pooled = np.array([c for (_, s), c in counts.items() if s == strength]).sum(axis=0)
        share = (pooled[0] + 0.5) / (pooled.sum() + 1)
        odds = (here + PSEUDO * share) / (there + PSEUDO * (1 - share)) * rescale
        low, high = BOUNDS[strength]
        result[detector, strength] = float(np.clip(odds / (1 + odds), low, high))
    return result


def calibration(
    flows: list[tuple[str, set[tuple[str, str]]]], prevalence: float
) -> list[tuple[str, int, int, float, float, float, float]]:
    """Return (strength, VPN, ordinary flows, probability, its 95 % interval, the constant)."""
    rank = {strength.label: strength for strength in Strength}
    found: dict[Strength, Counter[bool]] = {strength: Counter() for strength in Strength}
    for family, seen in flows:
        if family not in CIRCUMVENTION:
            strongest = max((rank[strength] for _, strength in seen), default=Strength.NONE)
            found[strongest][family != ORDINARY] += 1
    vpn, ordinary = (sum(counts[which] for counts in found.values()) for which in (True, False))
    draw = np.random.default_rng(0)
    rows = []
    for strength in reversed(Strength):
        here, there = found[strength][True], found[strength][False]
        shares = [
            draw.beta(seen + 0.5, everything - seen + 0.5, 100_000)
            for seen, everything in ((here, vpn), (there, ordinary))
        ]
        point = (here + 0.5) / (vpn + 1) / ((there + 0.5) / (ordinary + 1))
        odds = np.array([point, *np.quantile(shares[0] / shares[1], (0.025, 0.975))])
        odds *= prevalence / (1 - prevalence)
        p, low, high = (odds / (1 + odds)).tolist()
        rows.append((strength.label or "none", here, there, p, low, high, PROBABILITY[strength]))
    return rows


def main() -> None:
    """Count, print, and write where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--prevalence", type=float, default=PREVALENCE)
    parser.add_argument("--write", action="store_true", help=f"keep the counts in {PLACE.name}")
    options = parser.parse_args()
    flows = [flow for folder in options.folders for flow in truths_and_evidence(folder)]
    families = [*sorted({family for family, _ in flows} - {ORDINARY}), ORDINARY]
    cells = Counter((said, family) for family, seen in flows for said in seen)
    rows = sorted({said for said, _ in cells})
    vpn = sum(family != ORDINARY for family, _ in flows)
    print(f"{len(flows)} labelled flows, {vpn} of them VPNs, tunnels or proxies\n")
    header = ["detector", "strength", *families]
    body = [[*said, *(cells[said, family] or "." for family in families)] for said in rows]
    print(columns_text(header, body, width=400, right=families))
    counts = {
        said: (
            sum(cells[said, family] for family in families if family != ORDINARY),
            cells[said, ORDINARY],
        )
        for said in rows
    }
    found = posteriors(counts, vpn, len(flows) - vpn, options.prevalence)
    table = [[*said, *counts[said], f"{found[said]:.4f}"] for said in rows]
    names = ["detector", "strength", "VPN", "ordinary", f"p(VPN) at {options.prevalence:g}"]
    print("\n" + columns_text(names, table, width=120, right=names[2:]))
    names = ["strongest", "VPN", "ordinary", names[-1], "low", "high", "identify"]
    rounded = [
        [*map(str, row[:3]), *(f"{p:.4f}" for p in row[3:])]
        for row in calibration(flows, options.prevalence)
    ]
    print("\n" + columns_text(names, rounded, width=120, right=names[1:]))
    if options.write:
        kept = {
            "made_by": "benchmarks/calibrate_identify.py",
            "folders": [folder.name for folder in options.folders],
            "prevalence": options.prevalence,
            "vpn_flows": vpn,
            "ordinary_flows": len(flows) - vpn,
            "seen": [
                {
                    "detector": said[0],
                    "strength": said[1],
                    "vpn": counts[said][0],
                    "ordinary": counts[said][1],
                    "posterior": round(found[said], 4),
                }
                for said in rows
            ],
        }
        PLACE.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
