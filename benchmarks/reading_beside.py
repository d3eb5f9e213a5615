"""How long a thread takes to read a capture alone, and while another thread computes in Python.

    python benchmarks/reading_beside.py CAPTURE [--runs N]

Each way with a kernel reading stretches of the file by itself, and buffer by buffer (DESIGN.md, note 34). Medians
of wall-clock seconds, all ways in turn.
"""

import argparse
import statistics
import time
from collections import defaultdict

from classifier._jit import PLAIN_WORK, spend
from classifier.ahead import Later
from classifier.pipeline import Options, Reading
from classifier.wire import capture


def read(path: str) -> float:
    begun = time.perf_counter()
    for _ in Reading([path], Options()).batches():
        pass
    return time.perf_counter() - begun


def timed(path: str, *, beside: bool, least_stretch: int) -> float:
    capture.LEAST_STRETCH = least_stretch
    over: list[float] = []
    reading = Later(lambda: over.append(read(path)))
    while beside and not over:
        sum(range(1000))
    reading.result()
    return over[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("capture")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    spend(PLAIN_WORK)
    ways = {"stretches": capture.LEAST_STRETCH, "buffer by buffer": 1 << 62}
    for least in ways.values():
        timed(options.capture, beside=False, least_stretch=least)  # compile
    found = defaultdict(list)
    for _ in range(options.runs):
        for way, least in ways.items():
            for beside in (False, True):
                took = timed(options.capture, beside=beside, least_stretch=least)
                found[way, beside].append(took)
    print("| | alone, s | beside a loop in Python, s |\n|---|---|---|")
    for way in ways:
        alone, beside = (statistics.median(found[way, beside]) for beside in (False, True))
        print(f"| {way} | {alone:.2f} | {beside:.2f} |")


if __name__ == "__main__":
    main()
