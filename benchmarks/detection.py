"""What detection costs beside reading: ``detection.py CAPTURE [--runs N] [--detectors]``.

The capture is read into batches of flows once. Then each step that a replay takes with them is
timed over all batches, with kernels compiled: every detector, what they have in common, naming,
the model's features and scores, identification, columns, the register and the policy. Figures are
the least of the runs, CPU of this thread; the ratio is to reading the same capture in the same run.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from classifier._jit import plain
from classifier.datasets import demo
from classifier.detectors import DETECTORS, run_detectors
from classifier.detectors.applications import SERVICES, name_applications
from classifier.detectors.applications.naming import look_for_names
from classifier.identify import identify
from classifier.pipeline import Reading, make_options, registration_of, with_verdicts
from classifier.report.columns import observed_columns
from classifier.tables import FlowBatch


class Clock:
    """The least thread CPU seconds of each step, by name."""

    def __init__(self) -> None:
        self.least: dict[str, float] = {}

    def time(self, name: str, work: Callable[[], Any]) -> Any:
        began = time.thread_time()
        result = work()
        spent = time.thread_time() - began
        self.least[name] = min(spent, self.least.get(name, spent))
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("capture")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--detectors", action="store_true", help="each detector, not their sum")
    options = parser.parse_args()
    clock = Clock()
    with plain(False):
        for _ in range(options.runs + 1):  # the first one compiles
            last = measure(options.capture, options.detectors, clock)
            if _ == 0:
                clock.least.clear()
    report(*last, clock)


def measure(capture: str, each: bool, clock: Clock) -> tuple[int, int, int]:
    """Time every step once; return packets, flows and batches."""
    options = make_options(registry=demo().register)
    reading = Reading([capture], options)
    batches = clock.time("reading", lambda: list(reading.batches()))
    captures = reading.captures

    def over(name: str, step: Callable[..., Any], *columns: list[Any]) -> list[Any]:
        return clock.time(
            name, lambda: [step(*items) for items in zip(batches, *columns, strict=True)]
        )

    evidence = over("detectors", run_detectors)
    if each:
        over("- shared by all", lambda batch: run_detectors(batch, ()))
        for detector in DETECTORS:
            over(f"- {detector.name}", lambda batch, d=detector: run_detectors(batch, (d,)))
    names = over("naming", name_applications)
    over("- its search for names", look_for_names)
    model = options.model
    assert model is not None
    probability = over(
        "model",
        lambda batch, n: model.probability(batch, n.application, n.ja4, n.server_name),
        names,
    )
    asked = [model.speaks_of(b.flows, n.application) for b, n in zip(batches, names, strict=True)]
    matrices = over("- its features", lambda *args: features(model, *args), names, asked)
    over("- its trees", lambda batch, matrix: model.trees.score(matrix), matrices)
    over("- its novelty", lambda batch, matrix: model.novelty.trust(matrix), matrices)
    found = over(
        "identification", lambda b, e, p: identify(b, e, probability=p), evidence, probability
    )
    observed = over(
        "columns",
        lambda batch, n, f: observed_columns(batch, captures, n, SERVICES, f),
        names,
        found,
    )
    registered = over("register", lambda batch: registration_of(batch.flows, options))
    over("policy", lambda b, o, r: with_verdicts(o, r, options.policy), observed, registered)
    flows = sum(batch.flows.size for batch in batches)
    return reading.accounting["packets_read"], flows, len(batches)


def features(model: Any, batch: FlowBatch, names: Any, asked: Any) -> Any:
    rows = np.flatnonzero(asked)
    part = FlowBatch(batch.flows[rows], batch.packets, batch.payload)
    return model.matrix(part, names.ja4[rows], names.server_name[rows])


def report(packets: int, flows: int, batches: int, clock: Clock) -> None:
    reading = clock.least["reading"]
    steps = {k: v for k, v in clock.least.items() if k != "reading"}
    whole = sum(spent for name, spent in steps.items() if not name.startswith("-"))
    print(f"{packets:,} packets, {flows:,} flows in {batches} batches\n")
    print("| step | ms | share | us per flow | times reading |\n|---|---:|---:|---:|---:|")
    for name, spent in {"reading": reading, **steps, "all but reading": whole}.items():
        share = f"{spent / whole:.1%}" if name != "reading" else ""
        print(
            f"| {name} | {spent * 1e3:.1f} | {share} | {spent / flows * 1e6:.2f} "
            f"| {spent / reading:.2f} |"
        )


if __name__ == "__main__":
    main()
