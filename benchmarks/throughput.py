"""Captures to flows against nfstream: ``python benchmarks/throughput.py CAPTURE [--runs N]``.

Each measurement is a process of its own, ours and the peer's in turn; the table gives medians and
the ratio of the pairs. ``benchmarks/make_capture.py`` makes a capture. Needs the extra
``benchmark``: ``python -m pip install -e ".[benchmark]"``.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ENGINE, PEER = "engine", "nfstream"


def measure_engine(capture: str) -> dict[str, float]:
    """Packets to flow table: statistics, 32-packet series, payload heads; compiled, in process."""
    from classifier._jit import PLAIN_WORK, spend
    from classifier.flows import FlowTable
    from classifier.wire import open_capture

    def run() -> tuple[int, int]:
        table, flows = FlowTable(), 0
        reader = open_capture(capture)
        for packets, buffer in reader.batches():
            flows += sum(batch.flows.size for batch in table.add(packets, buffer))
        flows += sum(batch.flows.size for batch in table.finish())
        return reader.packets_read, flows

    from classifier.datasets import demo

    path, capture = capture, str(demo().capture)
    spend(PLAIN_WORK)
    run()  # compile, or load what was compiled
    capture = path
    cpu, wall = time.process_time(), time.perf_counter()
    packets, flows = run()
    return {
        "packets": packets,
        "flows": flows,
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
    }


def measure_nfstream(capture: str, dissections: int) -> dict[str, float]:
    from nfstream import NFStreamer

    cpu, wall = time.process_time(), time.perf_counter()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    streamer = NFStreamer(
        source=capture,
        statistical_analysis=True,
        splt_analysis=32,
        n_dissections=dissections,
        n_meters=1,
    )
    flows = packets = 0
    for flow in streamer:
        flows += 1
        packets += flow.bidirectional_packets
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    meters = after.ru_utime + after.ru_stime - children.ru_utime - children.ru_stime
    return {
        "packets": packets,
        "flows": flows,
        "cpu": time.process_time() - cpu + meters,
        "wall": time.perf_counter() - wall,
    }


def process(arguments: list[str], **environment: str) -> dict[str, float]:
    """Run a process; return its wall and CPU seconds and peak memory, its children included."""
    with tempfile.TemporaryFile() as out:
        wall = time.perf_counter()
        child = subprocess.Popen(
            arguments, stdout=out, stderr=subprocess.DEVNULL, env={**os.environ, **environment}
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - wall
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            raise SystemExit(f"{' '.join(arguments)} ended with {child.returncode}")
        out.seek(0)
        lines = out.read().splitlines()
    measured = {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "mib": usage.ru_maxrss / 1024}
    if lines and lines[-1].startswith(b'{"packets"'):
        inside = json.loads(lines[-1])
        measured |= {"inside_cpu": inside["cpu"], "packets": inside["packets"]}
        measured["flows"] = inside["flows"]
    return measured


def pairs(ours: list[str], peer: list[str], runs: int) -> list[tuple[dict, dict]]:
    process(ours), process(peer)  # warm the caches of both
    return [(process(ours), process(peer)) for _ in range(runs)]


def row(name: str, key: str, unit: str, measured: list[tuple[dict, dict]]) -> str:
    ours = statistics.median(a[key] for a, _ in measured)
    peer = statistics.median(b[key] for _, b in measured)
    ratio = statistics.median(b[key] / a[key] for a, b in measured)
    return f"| {name} | {ours:.2f} {unit} | {peer:.2f} {unit} | {ratio:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("capture", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=(ENGINE, PEER), help=argparse.SUPPRESS)
    parser.add_argument("--dissections", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    capture = str(options.capture)
    if options.only:
        engine = options.only == ENGINE
        result = (
            measure_engine(capture) if engine else measure_nfstream(capture, options.dissections)
        )
        print(json.dumps(result))
        return
    me = [sys.executable, __file__, capture, "--only"]
    with tempfile.TemporaryDirectory() as folder:
        replay = [sys.executable, "-m", "classifier", "replay", capture, "--policy"]
        replay += ["registered-only", "--out", f"{folder}/flows.parquet"]
        from classifier.datasets import demo

        replay += ["--registry", str(demo().register)]
        engine = pairs([*me, ENGINE], [*me, PEER], options.runs)
        whole = pairs(replay, [*me, PEER, "--dissections", "20"], options.runs)
        small = [sys.executable, "-m", "classifier", "replay", str(demo().capture)]
        cold = process(small, NUMBA_CACHE_DIR=f"{folder}/cold")
        warm = statistics.median(process(small)["wall"] for _ in range(options.runs))
    packets, flows = engine[0][0]["packets"], engine[0][0]["flows"]
    print(
        f"{options.capture.name}: {packets:,} packets, {flows:,} flows; medians of {options.runs}\n"
    )
    print("| | classifier | nfstream | times |\n|---|---|---|---|")
    print(row("packets to flow table, in process, CPU", "inside_cpu", "s", engine))
    print(row("the same, peak memory", "mib", "MiB", engine))
    print(row("whole process with detection, wall", "wall", "s", whole))
    print(row("the same, peak memory", "mib", "MiB", whole))
    rate = packets / statistics.median(a["inside_cpu"] for a, _ in engine) / 1e6
    print(f"\nin process: {rate:.1f} million packets/s")
    print(f"first run ever, nothing compiled, on the demo capture: {cold['wall']:.1f} s")
    print(f"later runs on it: {warm:.2f} s")


if __name__ == "__main__":
    main()
