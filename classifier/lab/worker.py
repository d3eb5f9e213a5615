"""Makes one run: builds the network, runs the scenario, checks the result, writes the files.

Each run has a process of its own (``python -m classifier.lab.worker JOB``), so that a run that goes
wrong, or is ended, takes its hosts with it and no other run.
"""

import contextlib
import ctypes
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from classifier.errors import LabError
from classifier.lab import labels, workloads
from classifier.lab.background import Neighbours
from classifier.lab.capture import read_pcap, write_pcapng
from classifier.lab.conditions import Conditions, draw
from classifier.lab.host import PR_SET_PDEATHSIG, extend_path
from classifier.lab.manifest import digest, machine, moment, toml
from classifier.lab.network import Network, kernel_has
from classifier.lab.stage import Scenario, Stage, Ways, load
from classifier.lab.workloads import Report, Way, Workload

__all__ = ["Play", "main", "perform", "play"]

ORDERLY = "ip or (ip6 and ip6[6] != 58 and ip6[6] != 0)"  # no talk of the hosts' kernels
SEEN_SHARE = 0.8  # of what the clients carried, the tap must have seen in labelled tunnel flows
UNEQUAL = [
    "time stamps, packet order and numbers of retransmissions",
    "keys, certificates, ephemeral ports and all bytes that depend on them",
    "which packet the relay's draws hit, as that depends on the order of arrival",
]


@dataclass(frozen=True, slots=True)
class Play:
    """What was played: what each flow is, what was carried, and how."""

    conditions: Conditions
    claims: tuple[labels.Claim, ...]
    inner: frozenset[str]
    """Addresses that must not be seen outside a tunnel."""
    report: Report
    works: tuple[str, ...]
    engine: str
    relay: dict[str, int]
    choices: tuple[str, ...]
    versions: dict[str, str]
    logs: dict[str, str]


def play(scenario: Scenario, seed: int, path: Path, conditions: Conditions | None = None) -> Play:
    """Run a scenario and capture it.

    Parameters
    ----------
    scenario : Scenario
        Which one.
    seed : int
        All choices come from it and the scenario's name.
    path : pathlib.Path
        The pcap file to write.
    conditions : Conditions, optional
        Given: exactly these, usual choices, a small workload, no neighbours.
    """
    vary = conditions is None
    key = f"{scenario.name} {seed}"
    wanted = conditions or draw(random.Random(f"{key} conditions"), scenario.allowed)
    if wanted.nat and not kernel_has("nat"):
        wanted = replace(wanted, nat=False)
    logs: dict[str, str] = {}
    try:
        with Network(wanted, key) as net:
            try:
                return _play(scenario, key, net, path, vary)
            finally:
                for host in net.hosts:
                    with contextlib.suppress(OSError):
                        logs |= host.logs()
    except LabError as error:
        error.add_note(json.dumps(logs))
        raise


def _play(scenario: Scenario, key: str, net: Network, path: Path, vary: bool) -> Play:
    stage = Stage(net, random.Random(f"{key} scenario"), vary)
    rng = random.Random(f"{key} work")
    steps = scenario.run(stage)
    next(steps)
    neighbours = Neighbours(net, random.Random(f"{key} town"), stage.authority) if vary else None
    late = net.conditions.late
    ways = _ways(next(steps, None)) if late else ()
    with net.capture(path, net.conditions.snaplen, "" if vary else ORDERLY):
        around = neighbours.start(7, rng.randint(60, 110)) if neighbours else []
        if not late:
            ways = _ways(next(steps, None))
        jobs = [(way, workloads.draw(rng, way) if vary else workloads.small(way)) for way in ways]
        if scenario.ways and not jobs:
            raise LabError(f"{scenario.name} yields no way")
        report = Report(0, 0, 0, ())
        if jobs:
            names = stage.authority.issue(workloads.NAME)
            service = workloads.Service(*names, stage.authority.certificate)
            report = workloads.drive(jobs, service)
            time.sleep(0.3 + net.conditions.delay_ms / 100)  # last segments must not outlive it
        if next(steps, ...) is not ...:
            raise LabError(f"{scenario.name} yields more than twice")
        for daemon in around:
            daemon.wait_end()
    return _outcome(scenario, stage, jobs, report)


def _ways(yielded: Ways) -> tuple[Way, ...]:
    if yielded is None:
        return ()
    return (yielded,) if isinstance(yielded, Way) else tuple(yielded)


def _outcome(
    scenario: Scenario, stage: Stage, jobs: Sequence[tuple[Way, Workload]], report: Report
) -> Play:
    inner = {address for way, _ in jobs for address in (way.target, way.bind) if address}
    return Play(
        conditions=stage.conditions,
        claims=tuple(stage.net.claims),
        inner=frozenset(inner),
        report=report,
        works=tuple(work.name for _, work in jobs),
        engine=stage.net.engine,
        relay=stage.net.relay_counts(),
        choices=tuple(stage.choices),
        versions=versions(scenario),
        logs={name: text for host in stage.net.hosts for name, text in host.logs().items()},
    )


def versions(scenario: Scenario) -> dict[str, str]:
    """Return the version of each package that the scenario uses, as Debian numbers them."""
    out = {}
    for package in dict.fromkeys((*scenario.packages, "tcpdump")):
        argv = ["dpkg-query", "-Wf", "${Version}", package]
        if package:
            with contextlib.suppress(FileNotFoundError):  # no Debian: the version stays unknown
                done = subprocess.run(argv, capture_output=True, text=True, check=False)
                out[package] = done.stdout.strip() or "unknown"
    return out


def check(played: Play, seen: dict[labels.FiveTuple, labels.Seen]) -> None:
    """Check a run: the tunnel carried traffic, the tap saw it, and nothing went beside it.

    Raises
    ------
    LabError
        With one line that says what is wrong.
    """
    if not seen:
        raise LabError("the capture is empty")
    for flow in seen:
        for address in (flow.src, flow.dst):
            if address in played.inner:
                raise LabError(f"traffic for {address} went beside the tunnel: {tuple(flow)}")
    carried = played.report.up_bytes + played.report.down_bytes
    if not carried:
        return
    tunnelled = 0
    for flow, counts in seen.items():
        found = labels.label(flow, played.claims)
        tunnelled += counts.wire_bytes if found is not None and found.family else 0
    if tunnelled < SEEN_SHARE * carried:
        raise LabError(
            f"the capture has {tunnelled} bytes of the tunnel, which carried {carried} and more"
        )


def perform(scenario: Scenario, seed: int, out: Path) -> dict[str, object]:
    """Make one run: ``OUT/<run>/`` with capture, labels and manifest.

    Parameters
    ----------
    scenario : Scenario
        Which one.
    seed : int
        All choices come from it and the scenario's name.
    out : pathlib.Path
        Folder of the runs.

    Returns
    -------
    dict of str to object
        The facts of the manifest.
    """
    started = time.monotonic()
    run = f"{scenario.name}-{seed}"
    folder = out / run
    folder.mkdir(parents=True, exist_ok=True)
    raw = folder / f"{run}.pcap"
    try:
        played = play(scenario, seed, raw)
        records = list(read_pcap(raw))
    finally:
        raw.unlink(missing_ok=True)
    seen = labels.survey((record.frame, record.wire_bytes) for record in records)
    try:
        check(played, seen)
        table = labels.rows(f"{run}.pcapng", seen, played.claims)
    except LabError as error:
        error.add_note(json.dumps(played.logs))
        raise
    capture, known = folder / f"{run}.pcapng", folder / "labels.csv"
    write_pcapng(capture, records, f"classifier lab, {run}", played.conditions.snaplen)
    known.write_text(labels.text(table), encoding="utf-8")
    facts: dict[str, object] = {
        "name": run,
        "scenario": scenario.name,
        "seed": seed,
        "shows": scenario.shows,
        "licence": "Apache-2.0",
        "source": "made by `classifier lab make`: real programs in Linux network namespaces",
        "capture_point": "the link between the clients' router and the servers' router",
        "labels_by": "the laboratory, from what it started; no detector, no payload was asked",
        "families": sorted({str(row[7]) for row in table if row[7]}),
        "period_start": moment(records[0].ts_ns / 1e9),
        "period_end": moment(records[-1].ts_ns / 1e9),
        "packets": len(records),
        "flows": len(table),
        "vpn_flows": sum(1 for row in table if row[6]),
        "ordinary_flows": sum(1 for row in table if not row[7]),
        "carried_bytes": played.report.up_bytes + played.report.down_bytes,
        "seconds": round(time.monotonic() - started, 1),
        "workloads": list(played.works),
        "choices": list(played.choices),
        "impaired_by": played.engine,
        "not_reproducible": UNEQUAL,
        "conditions": played.conditions.facts(),
        "relay": played.relay,
        "software": played.versions | machine(),
        "file": [
            {"role": role, "name": p.name, "sha256": digest(p), "size": p.stat().st_size}
            for role, p in (("capture", capture), ("labels", known))
        ],
    }
    (folder / "manifest.toml").write_text(toml(facts), encoding="utf-8")
    return facts


def main(arguments: Sequence[str]) -> int:
    """Make the run that a JSON object describes; print its facts, or the problem, as JSON."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    job = json.loads(arguments[0])
    extend_path()
    scenario = load()[job["scenario"]]
    try:
        answer: dict[str, object] = {"facts": perform(scenario, job["seed"], Path(job["out"]))}
    except (LabError, subprocess.SubprocessError, OSError, StopIteration) as error:
        notes = getattr(error, "__notes__", [])
        answer = {"problem": str(error) or type(error).__name__}
        answer["logs"] = json.loads(notes[0]) if notes else {}
    except KeyboardInterrupt:
        return 130
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
