"""Ctrl-C: the command ends at once with code 130, says so in a line, and leaves nothing half-written."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import classifier

ROOT = Path(__file__).parents[3]
DEMO = classifier.datasets.demo()
PIPE_BYTES = 65536  # what a pipe holds on Linux


def started(*arguments: str, scratch: Path) -> "subprocess.Popen[bytes]":
    """Start a command that keeps its temporary files in a folder of its own."""
    scratch.mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "classifier", *arguments],
        env=os.environ | {"TMPDIR": str(scratch), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def interrupted(process: "subprocess.Popen[bytes]") -> tuple[int, str]:
    """Send what Ctrl-C sends; return exit code and standard error."""
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    return process.returncode, err.decode()


def test_while_packets_are_read_nothing_is_written(tmp_path: Path) -> None:
    scratch, out = tmp_path / "scratch", tmp_path / "out"
    out.mkdir()
    files = [f"--out={out / name}" for name in ("a.ndjson", "b.parquet", "c.html")]
    process = started("replay", "-", *files, scratch=scratch)
    assert process.stdin is not None
    data = DEMO.capture.read_bytes()
    assert len(data) > 3 * PIPE_BYTES
    # Returns once all but what the pipe holds was read; the end of the capture never comes
    process.stdin.write(data)
    process.stdin.flush()
    assert interrupted(process) == (130, "interrupted\n")
    assert [*out.iterdir(), *scratch.iterdir()] == []


def test_while_rows_are_printed_what_was_written_before_is_whole(tmp_path: Path) -> None:
    scratch, out = tmp_path / "scratch", tmp_path / "whole.ndjson"
    captures = [str(DEMO.capture)] * 3  # more rows than the pipe holds
    options = ["--separate", "--format", "ndjson", "--out", str(out)]
    process = started("replay", *captures, *options, scratch=scratch)
    ready, _, _ = select.select([process.stdout], [], [], 60)
    assert ready, "nothing was printed"
    assert out.stat().st_size > PIPE_BYTES
    assert interrupted(process) == (130, "interrupted\n")
    assert len(out.read_text("utf-8").splitlines()) == 3 * 66
    assert list(scratch.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["whole.ndjson"]
