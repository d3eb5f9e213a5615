"""The laboratory makes runs with real software, and cleans up when it is ended in the middle."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import uuid
from pathlib import Path

import pytest

import classifier
from classifier import cli
from classifier.lab.host import BASE, extend_path
from classifier.lab.manifest import digest
from classifier.lab.stage import load

ROOT = Path(__file__).parents[2]
SCENARIOS = ["wireguard-udp", "openvpn-tcp-tls-crypt", "dnsmasq-udp"]


def lacking() -> str:
    """Return in one phrase why no run can be made here; empty where one can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "namespaces need root on Linux"
    extend_path()
    missing = [name for name in BASE if shutil.which(name) is None]
    missing += [load()[name].lacks_programs() for name in SCENARIOS]
    if any(missing):
        return f"not installed: {' '.join(filter(None, missing))}"
    argv = ["unshare", "--net", "--mount", "--pid", "--fork", "mount", "-t", "tmpfs", "x", "/run"]
    done = subprocess.run(argv, capture_output=True, check=False)
    if done.returncode:
        return "this container allows no namespaces"
    return "" if Path("/dev/net/tun").exists() else "there is no /dev/net/tun"


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(lacking()), reason=lacking() or "nothing is lacking"),
]


def test_runs_have_captures_labels_and_manifests_that_agree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path)
    assert cli.main(["lab", "make", *SCENARIOS, "--out", out, "--seed", "1", "--jobs", "3"]) == 0
    assert "3 runs" in capsys.readouterr().out
    captures = []
    for name in SCENARIOS:
        folder = tmp_path / f"{name}-1"
        facts = tomllib.loads((folder / "manifest.toml").read_text(encoding="utf-8"))
        for file in facts["file"]:
            assert digest(folder / file["name"]) == file["sha256"]
        with (folder / "labels.csv").open(encoding="utf-8") as file:
            assert len(list(csv.DictReader(file))) == facts["flows"]
        captures.append(folder / f"{name}-1.pcapng")
        families = {"wireguard-udp": ["wireguard"], "openvpn-tcp-tls-crypt": ["openvpn"]}
        assert facts["families"] == families.get(name, [])
    run = classifier.classify(captures, separate=True, labels=tmp_path / "labels.csv")
    labelled = run.flows["label_is_vpn"]
    assert labelled.notna().all(), "a flow of the captures has no label"
    assert run.accounting["packets_read"] == run.accounting["packets_in_flows"] + sum(
        count for name, count in run.accounting.items() if name.startswith("packets_not_ip")
    )


def alive(mark: str) -> list[int]:
    """Return the processes that were started with the mark in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_ended_in_the_middle_nothing_is_left(number: int, tmp_path: Path) -> None:
    mark = f"lab-mark-{uuid.uuid4()}"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    options = ["--jobs", "2", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        [sys.executable, "-m", "classifier", "lab", "make", *SCENARIOS[:2], *options],
        cwd=ROOT,
        env=os.environ | {"LAB_MARK": mark, "TMPDIR": str(scratch), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 60
    while not list(scratch.glob("lab-*/client/*.log")) and time.monotonic() < end:
        time.sleep(0.1)
    assert len(alive(mark)) > 5
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "interrupted"
    end = time.monotonic() + 10
    while alive(mark) and time.monotonic() < end:
        time.sleep(0.1)
    assert alive(mark) == []
    assert list(scratch.iterdir()) == []
    assert list((tmp_path / "out").glob("*-1")) == []
