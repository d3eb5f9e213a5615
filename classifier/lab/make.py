"""The laboratory's two verbs: list the scenarios, and make runs of them, some side by side."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from classifier.errors import LabError
from classifier.lab.host import require
from classifier.lab.manifest import toml
from classifier.lab.stage import Scenario, load, select

__all__ = ["Job", "Made", "jobs_of_set", "listing", "make"]

FIELDS = ("packets", "flows", "vpn_flows", "ordinary_flows", "carried_bytes")


@dataclass(frozen=True, slots=True)
class Job:
    """One run to be made."""

    scenario: Scenario
    seed: int

    @property
    def name(self) -> str:
        """Name of the run, of its folder and of its capture."""
        return f"{self.scenario.name}-{self.seed}"


@dataclass(slots=True)
class Made:
    """What became of the runs."""

    done: list[dict[str, object]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def listing() -> Iterator[str]:
    """Yield one line for each scenario: its name, what it shows, what is missing for it."""
    known = load()
    width = max(map(len, known))
    for name, one in known.items():
        lacks = "" if sys.platform != "linux" else _lacks_program(one)
        yield f"{name:{width}}  {one.shows}" + (f"  [{lacks}]" if lacks else "")


def _lacks_program(one: Scenario) -> str:
    """Return what is missing without asking the kernel, which takes root."""
    from classifier.lab.host import extend_path

    extend_path()
    return one.lacks_programs()


def jobs_of_set(path: Path) -> list[Job]:
    """Return the runs that a set's manifest names, in its order.

    Parameters
    ----------
    path : pathlib.Path
        A ``manifest.toml`` with ``[[run]]`` tables of ``scenario`` and ``seed``, or ``seeds``.

    Raises
    ------
    LabError
        If it cannot be read, or names a scenario that does not exist.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))["run"]
        named = [
            (str(row["scenario"]), int(seed))
            for row in tables
            for seed in (row["seeds"] if "seeds" in row else [row["seed"]])
        ]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise LabError(f"no set of runs ({error})", path=str(path), remedy="see docs/lab.md") from (
            error
        )
    known = {one.name: one for one in select([name for name, _ in named])}
    return [Job(known[name], seed) for name, seed in named]


class _Running:
    """One run in its process."""

    def __init__(self, job: Job, out: Path) -> None:
        self.job = job
        self.end = time.monotonic() + job.scenario.seconds
        order = json.dumps({"scenario": job.scenario.name, "seed": job.seed, "out": str(out)})
        root = str(Path(__file__).resolve().parents[2])  # the package as it was imported here
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", ""))))
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed with the run
        self._complaint = tempfile.TemporaryFile("w+")  # noqa: SIM115  likewise
        self.process = subprocess.Popen(
            [sys.executable, "-m", "classifier.lab.worker", order],
            stdin=subprocess.DEVNULL,
            stdout=self._said,  # no pipe: nobody reads while the run goes on
            stderr=self._complaint,
            env=os.environ | {"PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C reaches this process alone, which ends the runs
        )

    def stop(self) -> None:
        """End the run; its hosts end with it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
            self.process.kill()
        self.process.wait()
        self._close()

    def _close(self) -> tuple[str, str]:
        """Return what the run printed and complained of, and let go of it."""
        texts = []
        for file in (self._said, self._complaint):
            file.seek(0)
            texts.append(file.read())
            file.close()
        return texts[0], texts[1]

    def answer(self) -> dict[str, object]:
        """Return the run's facts, or its problem and logs."""
        self.process.wait()
        printed, complaint = self._close()
        lines = printed.splitlines()
        if self.process.returncode or not lines:
            last = (complaint.strip().splitlines() or ["no output"])[-1]
            return {"problem": f"the run ended with {self.process.returncode}: {last}"}
        answer: dict[str, object] = json.loads(lines[-1])
        return answer


def make(
    jobs: Sequence[Job],
    out: Path,
    *,
    side_by_side: int = 1,
    logs: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> Made:
    """Make runs; a run that fails is reported and cleaned up, the others go on.

    Parameters
    ----------
    jobs : sequence of Job
        What to make. A scenario whose software is missing is skipped.
    out : pathlib.Path
        Folder for the runs; gets one folder for each, and ``labels.csv`` and ``manifest.toml`` of
        all runs that lie there after this.
    side_by_side : int
        Runs at once.
    logs : bool
        Keep the output of all programs of failed runs in ``OUT/logs``.
    tell : callable
        Gets one line for each run.

    Returns
    -------
    Made
        Facts of the runs made, and why others were not.

    Raises
    ------
    LabError
        If this is not Linux, or we are not root, or base programs are missing.
    """
    require()
    out.mkdir(parents=True, exist_ok=True)
    made = Made()
    waiting: list[Job] = []
    lacking: dict[str, str] = {}
    for job in jobs:
        name = job.scenario.name
        if name not in lacking:
            lacking[name] = job.scenario.lacks()
            if lacking[name]:
                made.skipped[name] = lacking[name]
                tell(f"{name}: skipped: {lacking[name]}")
        if not lacking[name]:
            waiting.append(job)
    with _ending_softly():
        try:
            _run_all(waiting, out, max(1, side_by_side), logs, tell, made)
        finally:
            _write_set(out)  # also over what was made before an interruption
    return made


@contextlib.contextmanager
def _ending_softly() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into an exit that cleans up, as Ctrl-C does."""

    def leave(number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run_all(
    waiting: list[Job],
    out: Path,
    side_by_side: int,
    logs: bool,
    tell: Callable[[str], None],
    made: Made,
) -> None:
    queue, running = list(waiting), list[_Running]()
    try:
        while queue or running:
            while queue and len(running) < side_by_side:
                running.append(_Running(queue.pop(0), out))
            time.sleep(0.1)
            for one in list(running):
                late = time.monotonic() > one.end
                if one.process.poll() is None and not late:
                    continue
                running.remove(one)
                _settle(one, late, out, logs, tell, made)
    finally:
        for one in running:
            one.stop()
            shutil.rmtree(out / one.job.name, ignore_errors=True)


def _settle(
    one: _Running, late: bool, out: Path, logs: bool, tell: Callable[[str], None], made: Made
) -> None:
    """Take what one run gave, or clean up after it."""
    name = one.job.name
    if late and one.process.poll() is None:
        one.stop()
        answer: dict[str, object] = {"problem": f"not done in {one.job.scenario.seconds:.0f} s"}
    else:
        answer = one.answer()
    facts = answer.get("facts")
    if isinstance(facts, dict):
        made.done.append(facts)
        tell(f"{name}: {facts['flows']} flows, {facts['vpn_flows']} VPN, {facts['seconds']} s")
        return
    made.failed[name] = str(answer["problem"])
    shutil.rmtree(out / name, ignore_errors=True)
    tell(f"{name}: failed: {answer['problem']}")
    said = answer.get("logs")
    if logs and isinstance(said, dict):
        for log, text in said.items():
            path = out / "logs" / name / log
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def _write_set(out: Path) -> None:
    """Write ``labels.csv`` and ``manifest.toml`` over all runs in the folder."""
    runs: list[dict[str, object]] = []
    lines: list[str] = []
    for path in sorted(out.glob("*/manifest.toml")):
        facts = tomllib.loads(path.read_text(encoding="utf-8"))
        if "scenario" not in facts:
            continue
        table = (path.parent / "labels.csv").read_text(encoding="utf-8").splitlines()
        lines += table[0 if not lines else 1 :]
        files = {file["role"]: file for file in facts["file"]}
        runs.append(
            {key: facts[key] for key in ("name", "scenario", "seed", "families", *FIELDS)}
            | {f"{role}_sha256": file["sha256"] for role, file in files.items()}
        )
    if not runs:
        return
    (out / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    totals = {f"total_{name}": sum(int(str(run[name])) for run in runs) for name in FIELDS}
    facts = {"runs": len(runs), "group_by": "name", **totals, "run": runs}
    (out / "manifest.toml").write_text(toml(facts), encoding="utf-8")
