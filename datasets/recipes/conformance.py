"""Makes the conformance captures, one small capture per case (Linux, root).

    sudo python datasets/recipes/conformance.py                     all cases, as shipped
    sudo python datasets/recipes/conformance.py wireguard-udp       some cases
    sudo python datasets/recipes/conformance.py --out DIR --repeat 5 --seed 7   a varied set

With ``--repeat`` ports, ciphers, addresses and amounts vary from the seed, captures may be larger,
and all of them lie in one folder with one ``labels.csv``: for judging detectors on captures that
nobody looked at while writing them.
"""

import argparse
import random
import sys
import time
from pathlib import Path

import cases_ordinary
import cases_tunnels
import cases_vpn
import labels
from bench import CASES, Bench, Case
from netns import Claim, Lab, RecipeError, require

MODULES = (cases_vpn, cases_tunnels, cases_ordinary)  # importing them fills CASES
LIMIT_BYTES = 40_000
README = """\
# {name}

{shows}.

- Made by `datasets/recipes/conformance.py {name}`: {made} between two hosts in network
  namespaces, captured on the link between their routers{snaplen}.
- Software: {software}.
- {packets} packets, {size} bytes. Addresses are private and documentation ones.
- `labels.csv` says what the recipe started; keys were made for the run and thrown away.
{note}"""


def capture(one: Case, path: Path, seed: int, vary: bool) -> tuple[list[Claim], dict[str, str]]:
    """Run one case; return what it started and the software versions."""
    rng = random.Random(f"{one.name} {seed}")
    with Lab() as lab:
        bench = Bench(lab, rng, vary)
        steps = one.run(bench)
        next(steps)
        with lab.capture(path, one.snaplen, "ip or (ip6 and ip6[6] != 58 and ip6[6] != 0)"):
            for _ in steps:
                raise RecipeError(f"{one.name}: the case yields more than once")
        versions = {
            name: lab.gate.run("dpkg-query", "-Wf", "${Version}", name).strip()
            for name in one.programs
        }
    if one.rewrite is not None:
        one.rewrite(path)
    return lab.claims, versions


def ship(one: Case, folder: Path, seed: int) -> int:
    """Write one case's folder and return the capture's size in bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "capture.pcap"
    claims, versions = capture(one, path, seed, vary=False)
    size = path.stat().st_size
    if size > LIMIT_BYTES:
        raise RecipeError(f"{one.name}: {size} bytes are more than {LIMIT_BYTES}")
    rows = labels.rows(path, claims)
    if not rows:
        raise RecipeError(f"{one.name}: the capture is empty")
    (folder / "labels.csv").write_text(labels.text(rows), encoding="utf-8")
    text = README.format(
        name=one.name,
        shows=one.shows,
        made="the real programs" if one.programs else "a few pings, rewritten,",
        snaplen=f", {one.snaplen} bytes kept of each packet" if one.snaplen else "",
        software=", ".join(f"{name} {version}" for name, version in versions.items()) or "none",
        packets=len(labels.times(path)),
        size=size,
        note=f"- {one.note}\n" if one.note else "",
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
    return size


def varied(one: Case, folder: Path, seed: int) -> int:
    """Write one varied capture into the folder and add its rows to the labels there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{one.name}-{seed}.pcap"
    try:
        claims, _ = capture(one, path, seed, vary=True)
    except RecipeError:
        path.unlink(missing_ok=True)  # no capture without labels
        raise
    table = folder / "labels.csv"
    lines = labels.text(labels.rows(path, claims)).splitlines(keepends=True)
    known = table.read_text(encoding="utf-8").splitlines(keepends=True) if table.exists() else []
    kept = [line for line in known[1:] if not line.startswith(f"{path.name},")]
    table.write_text("".join([lines[0], *kept, *lines[1:]]), encoding="utf-8")
    return path.stat().st_size


def main() -> int:
    """Make the cases; 0 when all were made, 2 when some could not be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help="names (default: all)")
    parser.add_argument("--out", type=Path, default=Path("tests/conformance/default"))
    parser.add_argument("--repeat", type=int, default=0, help="varied captures per case")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers (default: 1)")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(CASES))
        return 0
    unknown = [name for name in arguments.cases if name not in CASES]
    if unknown:
        parser.error(f"unknown case {unknown[0]}; --list prints the names")
    failed = 0
    try:
        require("openssl", "dpkg-query")
        for name in arguments.cases or CASES:
            one = CASES[name]
            for number in range(max(1, arguments.repeat)):
                started = time.monotonic()
                try:
                    if arguments.repeat:
                        size = varied(one, arguments.out, arguments.seed + number)
                    else:
                        size = ship(one, arguments.out / name, arguments.seed)
                    print(f"{name:28} {size:7d} bytes {time.monotonic() - started:5.1f} s")
                except RecipeError as error:
                    failed += 1
                    print(f"conformance: {name}: {error}", file=sys.stderr)
    except RecipeError as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("conformance: stopped; nothing is left running", file=sys.stderr)
        return 130
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
