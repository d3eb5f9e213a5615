"""Captures to flows against nfstream and nDPI's reader: ``throughput.py CAPTURE [--runs N]``.

Each measurement is a process of its own, ours and the peers' in turn; the tables give medians, and
the ratios of the runs of one turn. Peak memory is the largest resident set of one process (VmHWM),
so of nfstream its reader or its meter, whichever is larger. ``benchmarks/make_capture.py`` makes a
capture. Needs the extra ``benchmark`` (``python -m pip install -e ".[benchmark]"``) and, for the
second peer, ``ndpiReader`` (Debian: libndpi-bin); a peer that is missing is named and left out.
"""

import argparse
import gc
import importlib.util
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ENGINE, NFSTREAM, NDPI = "engine", "nfstream", "ndpiReader"
SMALL = 2000  # packets of the capture that first and later runs are measured on

Measured = dict[str, float]


def measure_engine(capture: str) -> Measured:
    """Packets to flow table: statistics, 32-packet series, payload heads; compiled, in process."""
    from classifier._jit import PLAIN_WORK, spend
    from classifier.datasets import demo
    from classifier.pipeline import Options, Reading
    from classifier.wire import capture as wire

    def run(path: str) -> tuple[int, int]:
        reading = Reading([path], Options())
        flows = sum(batch.flows.size for batch in reading.batches())
        return reading.accounting["packets_read"], flows

    spend(PLAIN_WORK)
    wire.LEAST_STRETCH = 1  # of a small file too, so that all kernels are there
    run(str(demo().capture))  # compile, or load what was compiled
    gc.collect()  # what importing left is not what reading costs
    cpu, wall = time.process_time(), time.perf_counter()
    packets, flows = run(capture)
    inside, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {
        "packets": packets,
        "flows": flows,
        "inside": inside,
        "inside_wall": wall,
        "copying": copying(capture),
    }


def copying(path: str) -> float:
    """Return the CPU seconds that it takes to have a file in memory of one's own, and no more."""
    room, cpu = bytearray(1 << 20), time.process_time()
    with Path(path).open("rb", buffering=0) as file:
        while file.readinto(room):
            pass
    return time.process_time() - cpu


def measure_nfstream(capture: str, dissections: int) -> Measured:
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
        "inside": time.process_time() - cpu + meters,
        "inside_wall": time.perf_counter() - wall,
    }


def process(arguments: list[str], **environment: str) -> Measured:
    """Run a process; return its wall and CPU seconds and peak memory, its children included."""
    around = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryFile() as out:
        wall = time.perf_counter()
        child = subprocess.Popen(
            arguments, stdout=out, stderr=subprocess.DEVNULL, env={**around, **environment}
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - wall
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            raise SystemExit(f"{' '.join(arguments)} ended with {child.returncode}")
        out.seek(0)
        lines = out.read().splitlines()
    measured = {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "mib": usage.ru_maxrss / 1024}
    measured["inside"] = measured["cpu"]  # a program without interpreter is measured as a whole
    if lines and lines[-1].startswith(b'{"packets"'):
        measured |= json.loads(lines[-1])
    return measured


def turns(commands: dict[str, list[str]], runs: int) -> list[dict[str, Measured]]:
    """Measure all commands in turn, as often as asked, after one turn that warms the caches."""
    for command in commands.values():
        process(command)
    return [{name: process(command) for name, command in commands.items()} for _ in range(runs)]


def line(what: str, key: str, unit: str, measured: list[dict[str, Measured]]) -> str:
    """Write one row of the table: ours, then each peer with the ratio to ours."""
    ours, *peers = measured[0]
    cells = [what, f"{statistics.median(turn[ours][key] for turn in measured):.2f} {unit}"]
    for peer in (NFSTREAM, NDPI):
        if peer in peers:
            value = statistics.median(turn[peer][key] for turn in measured)
            ratio = statistics.median(turn[peer][key] / turn[ours][key] for turn in measured)
            cells += [f"{value:.2f} {unit}", f"{ratio:.1f}"]
        else:
            cells += ["missing", ""]
    return "| " + " | ".join(cells) + " |"


def first_packets(capture: Path, out: Path, n: int) -> None:
    """Write the first packets of a little-endian pcap to a file of their own."""
    with capture.open("rb") as file, out.open("wb") as to:
        to.write(file.read(24))
        for _ in range(n):
            header = file.read(16)
            to.write(header + file.read(int.from_bytes(header[8:12], "little")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("capture", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=(ENGINE, NFSTREAM), help=argparse.SUPPRESS)
    parser.add_argument("--dissections", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    capture = str(options.capture)
    if options.only:
        engine = options.only == ENGINE
        print(
            json.dumps(
                measure_engine(capture)
                if engine
                else measure_nfstream(capture, options.dissections)
            )
        )
        return
    report(options.capture, options.runs)


def report(capture: Path, runs: int) -> None:
    from classifier.datasets import demo

    me = [sys.executable, __file__, str(capture), "--only"]
    peers, dissecting = {}, {}
    if importlib.util.find_spec("nfstream") is None:
        print('nfstream is missing: python -m pip install -e ".[benchmark]"', file=sys.stderr)
    else:
        peers[NFSTREAM] = [*me, NFSTREAM]
        dissecting[NFSTREAM] = [*me, NFSTREAM, "--dissections", "20"]
    if shutil.which(NDPI) is None:
        print("ndpiReader is missing: apt-get install libndpi-bin", file=sys.stderr)
    else:
        peers[NDPI] = dissecting[NDPI] = [NDPI, "-q", "-i", str(capture)]
    with tempfile.TemporaryDirectory() as folder:
        out = ["--registry", str(demo().register), "--policy", "registered-only"]
        out += ["--out", f"{folder}/flows.parquet"]
        replay = [sys.executable, "-m", "classifier", "replay"]
        engine = turns({ENGINE: [*me, ENGINE], **peers}, runs)
        whole = turns({"replay": [*replay, str(capture), *out], **dissecting}, runs)
        cold = process([*replay, str(capture), *out], NUMBA_CACHE_DIR=f"{folder}/cold")
        small = Path(folder, "small.pcap")
        first_packets(capture, small, SMALL)
        first = process([*replay, str(small), *out], NUMBA_CACHE_DIR=f"{folder}/none")
        later = [process([*replay, str(small), *out])["wall"] for _ in range(runs)]
    packets, flows = engine[0][ENGINE]["packets"], engine[0][ENGINE]["flows"]
    print(f"{capture.name}: {packets:,} packets, {flows:,} flows; medians of {runs} turns\n")
    print("| | classifier | nfstream | times | ndpiReader | times |\n|---|---|---|---|---|---|")
    print(line("packets to flow table, in process, CPU", "inside", "s", engine))
    print(line("the same, peak memory", "mib", "MiB", engine))
    print(line("whole process with detection, wall", "wall", "s", whole))
    print(line("the same, CPU", "cpu", "s", whole))
    print(line("the same, peak memory", "mib", "MiB", whole))
    rate = packets / statistics.median(turn[ENGINE]["inside"] for turn in engine) / 1e6
    copied = statistics.median(turn[ENGINE]["copying"] for turn in engine)
    print(f"\nin process: {rate:.1f} million packets/s; {copied:.2f} s copy the file, and no more")
    print(f"whole process with nothing compiled: {cold['wall']:.1f} s")
    print(f"{SMALL:,} packets, first run ever: {first['wall']:.2f} s")
    print(f"{SMALL:,} packets, later runs: {statistics.median(later):.2f} s")


if __name__ == "__main__":
    main()
