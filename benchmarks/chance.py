"""How often chance passes for OpenVPN by sizes, and how often a disguise is seen through.

    python benchmarks/chance.py [FOLDER...] [--flows N]

First, flows of random datagrams, 50 ms from one to the next on average: what share ``openvpn_static`` takes for a TCP connection inside, for
sizes in multiples of 16 from a range, and from a few that an acknowledgement's and an opening's are
among. With folders of captures: each OpenVPN handshake in them is put under an XOR, and it is counted how
many ``openvpn_obfuscated`` finds; and how many flows as they are it takes for disguised ones.
"""

import argparse
import itertools
import random
from pathlib import Path

import numpy as np

from classifier.detectors import openvpn, openvpn_obfuscated, run_detectors
from classifier.detectors.openvpn_static import LAYOUTS, _came_soon, _carries_tcp, _known_at
from classifier.errors import CaptureError
from classifier.pipeline import Reading, make_options
from classifier.tables import FlowBatch, Strength

SEED, TCP, WORD = 1, 6, 0xA7
GAP_NS = 50_000_000  # from one datagram to the next, on average
RANGES = ((48, 1408), (64, 512), (64, 256), (80, 192), (48, 144), (64, 128), (80, 144))
FEW = ([64, 96, 112, 128], [80, 96, 112, 352], [48, 80, 96, 112], [64, 96, 96, 112, 112, 128, 368])


def shown(sizes: list[int], in_turn: bool, flows: int) -> float:
    """Return the share of random flows of these sizes that show a connection."""
    rng = random.Random(SEED)
    hits = 0
    for _ in range(flows):
        n = rng.randint(16, 32)
        sides = [i % 2 if in_turn else rng.randint(0, 1) for i in range(n)]
        times = list(itertools.accumulate(int(rng.expovariate(1 / GAP_NS)) for _ in sides))
        hits += _carries_tcp(sides, rng.choices(sizes, k=n), _came_soon(sides, times))
    return hits / flows


def fitting(rest: int, in_turn: bool, flows: int) -> float:
    """Return the share of flows of random sizes with one rest of 16 that are named."""
    rng = random.Random(SEED)
    least = next(layout.least for layout in LAYOUTS if (layout.block, layout.rest) == (16, rest))
    hits = 0
    for _ in range(flows):
        n = rng.randint(16, 32)
        sides = [i % 2 if in_turn else rng.randint(0, 1) for i in range(n)]
        times = list(itertools.accumulate(int(rng.expovariate(1 / GAP_NS)) for _ in sides))
        sizes = rng.choices(range(least, 1408, 16), k=n)
        hits += _known_at(sides, sizes, times, tcp=False) is not None
    return hits / flows


def under_an_xor(batch: FlowBatch, rows: list[int]) -> FlowBatch:
    """Exchange the bytes of all messages of some flows, but for the lengths before them over TCP."""
    payload = batch.payload.copy()
    for flow in batch.flows[rows]:
        head = 2 if flow["proto"] == TCP else 0
        for packet in batch.packets[flow["packets_start"] : flow["packets_stop"]]:
            payload[packet["start"] + head : packet["stop"]] ^= np.uint8(WORD)
    return FlowBatch(batch.flows, batch.packets, payload)


def disguised(folder: Path) -> tuple[int, int, int, int]:
    """Return flows, those called disguised, handshakes, and those found under an XOR."""
    flows = called = handshakes = found = 0
    paths = sorted(p for p in folder.rglob("*.pcap*") if p.is_file())
    for path in paths:
        try:
            for batch in Reading([str(path)], make_options(model=None)).batches():
                flows += batch.flows.size
                called += len(run_detectors(batch, [openvpn_obfuscated.DETECTOR]))
                seen = run_detectors(batch, [openvpn.DETECTOR])
                rows = [e.flow for e in seen if e.strength is Strength.PROOF]
                again = run_detectors(under_an_xor(batch, rows), [openvpn_obfuscated.DETECTOR])
                handshakes += len(rows)
                found += len({e.flow for e in again}.intersection(rows))
        except CaptureError:
            continue  # damaged on purpose
    return flows, called, handshakes, found


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--flows", type=int, default=10_000)
    options = parser.parse_args()
    print("| sizes of random datagrams | a connection is seen | where the sides take turns |")
    print("|---|---|---|")
    sets = [(f"{low} to {high}", list(range(low, high + 1, 16))) for low, high in RANGES]
    for name, sizes in [*sets, *((", ".join(map(str, few)), few) for few in FEW)]:
        shares = [shown(sizes, in_turn, options.flows) for in_turn in (False, True)]
        print(f"| {name} | {shares[0]:.2%} | {shares[1]:.2%} |")
    for rest in (4, 12):
        shares = [fitting(rest, in_turn, options.flows) for in_turn in (False, True)]
        print(f"| with a rest of {rest}: named | {shares[0]:.2%} | {shares[1]:.2%} |")
    if options.folders:
        print("\n| folder | flows | called disguised | handshakes | found under an XOR |")
        print("|---|---|---|---|---|")
    for folder in options.folders:
        print(f"| {folder.name} | " + " | ".join(f"{n:,}" for n in disguised(folder)) + " |")


if __name__ == "__main__":
    main()
