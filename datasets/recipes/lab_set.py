"""Writes ``datasets/lab/``: the list of the standing set's runs, and a small cut of them.

    sudo classifier lab make --out RUNS --repeat 5 --jobs 4
    python datasets/recipes/lab_set.py --runs RUNS

The list has the runs that lie in RUNS, and their totals; the cut takes the smallest captures, one
for each family, then one for each ordinary scenario, while all of them stay below the limit.
"""

import argparse
import shutil
import sys
import tomllib
from pathlib import Path

from classifier.lab.manifest import digest, toml

LIMIT_BYTES = 4_500_000
COMMAND = "classifier lab make --set datasets/lab/manifest.toml --out DIR --jobs 4"
TOTALS = ("packets", "flows", "vpn_flows", "ordinary_flows")


def read(runs: Path) -> list[dict]:
    """Return the manifests of the runs in the folder."""
    return [
        tomllib.loads(path.read_text(encoding="utf-8"))
        for path in sorted(runs.glob("*/manifest.toml"))
    ]


def cut(made: list[dict]) -> list[dict]:
    """Return the smallest run of each family, then of each ordinary scenario, below the limits."""
    smallest: dict[tuple[bool, str], dict] = {}
    for facts in made:
        ordinary = not facts["families"]
        key = (ordinary, facts["scenario"] if ordinary else facts["families"][0])
        known = smallest.get(key)
        if known is None or facts["file"][0]["size"] < known["file"][0]["size"]:
            smallest[key] = facts
    chosen, total = [], 0
    for ordinary, limit in ((False, LIMIT_BYTES * 3 // 4), (True, LIMIT_BYTES)):
        group = [facts for key, facts in smallest.items() if key[0] == ordinary]
        for facts in sorted(group, key=lambda facts: facts["file"][0]["size"]):
            if total + facts["file"][0]["size"] > limit:
                break
            total += facts["file"][0]["size"]
            chosen.append(facts)
    return sorted(chosen, key=lambda facts: facts["name"])


def listed(facts: dict) -> dict[str, object]:
    """Return what the list says of one run: how to make it again, and the digest of this one."""
    return {
        "name": facts["name"],
        "scenario": facts["scenario"],
        "seed": facts["seed"],
        "group": facts["name"],
        "flows": facts["flows"],
        "vpn_flows": facts["vpn_flows"],
        "capture_sha256": facts["file"][0]["sha256"],
    }


def write(runs: Path, folder: Path) -> dict[str, object]:
    """Write manifest, labels and captures of the cut; return the manifest's facts."""
    made = read(runs)
    chosen = cut(made)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lines: list[str] = []
    for facts in chosen:
        shutil.copy(runs / facts["name"] / f"{facts['name']}.pcapng", folder)
        rows = (runs / facts["name"] / "labels.csv").read_text(encoding="utf-8").splitlines()
        lines += rows[1 if lines else 0 :]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    software: dict[str, str] = {}
    for facts in made:
        software |= facts["software"]
    families = sorted({family for facts in made for family in facts["families"]})
    counted = {f"total_{name}": sum(int(facts[name]) for facts in made) for name in TOTALS}
    ordered = sorted(made, key=lambda facts: (facts["scenario"], facts["seed"]))
    paths = sorted(path for path in folder.iterdir())
    facts: dict[str, object] = {
        "name": "lab",
        "title": "The laboratory's standing set: its list of runs, and a small cut of them",
        "licence": "Apache-2.0",
        "citation": "vpn-policy-classifier laboratory set, made by `classifier lab make`",
        "source": "made by `classifier lab make`: real programs in Linux network namespaces",
        "capture_point": "the link between the clients' router and the servers' router",
        "labels_by": "the laboratory, from what it started; no detector, no payload was asked",
        "removed": "nothing; keys and certificates were made for the runs and thrown away",
        "gaps": "scripted work by our own shapes, runs of seconds, one version of each program",
        "period_start": min(facts["period_start"] for facts in made),
        "period_end": max(facts["period_end"] for facts in made),
        "regenerate": COMMAND,
        "group_by": "a run is a group; keep the runs of a scenario on one side of a split",
        "not_reproducible": made[0]["not_reproducible"],
        "total_runs": len(made),
        "total_seconds": round(sum(facts["seconds"] for facts in made)),
        **counted,
        "families": families,
        "software": dict(sorted(software.items())),
        "run": [listed(facts) for facts in ordered],
        "file": [
            {
                "role": "labels" if path.suffix == ".csv" else "capture",
                "name": path.name,
                "sha256": digest(path),
                "size": path.stat().st_size,
            }
            for path in paths
        ],
    }
    (folder / "manifest.toml").write_text(toml(facts), encoding="utf-8")
    return facts


def main() -> int:
    """Write the folder; 0 when done, 2 where there are no runs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=Path, required=True, help="folder of `classifier lab make`")
    parser.add_argument("--out", type=Path, default=Path("datasets/lab"), help="folder to write")
    arguments = parser.parse_args()
    if not read(arguments.runs):
        print(f"lab_set: {arguments.runs}: no runs; make them first", file=sys.stderr)
        return 2
    facts = write(arguments.runs, arguments.out)
    print({name: value for name, value in facts.items() if name.startswith("total")})
    return 0


if __name__ == "__main__":
    sys.exit(main())
